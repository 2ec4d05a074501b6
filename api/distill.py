"""``dongil distill``: a thin command over training, which needs dongil[train].

It knows options and what to print; it does not train, and imports training only when it is called.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.console import plain_failures
from api.learn import DecisionFolds, check_folds, make
from api.options import (
    Conflicts,
    LabelColumn,
    TestWhere,
    TitleAColumn,
    TitleBColumn,
    TitleColumn,
    Weight,
    named_value,
)


def distill(
    labelled: Annotated[
        list[str], typer.Argument(help="Files of titles with a product id, or of pairs: title_a, title_b, label.")
    ],
    teacher: Annotated[
        list[Path], typer.Option(help="Folder of a model to learn from; may be given several times: their mean counts.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    unlabelled: Annotated[
        list[str] | None, typer.Option(help="File of titles alone; may be given several times.")
    ] = None,
    test_where: TestWhere = None,
    weight: Weight = None,
    base: Annotated[
        str, typer.Option(help="Encoder the student starts from: small (ours, from nothing), a hub name, or a folder.")
    ] = "small",
    config: Annotated[
        str,
        typer.Option(
            help="NAME=VALUE,...: settings that differ from the defaults, such as the student's size "
            "(hidden, layers) and distil_cosine, distil_relations, distil_temperature."
        ),
    ] = "",
    work: Annotated[Path | None, typer.Option(help="Folder of checkpoints; beside the output by default.")] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown for the model card: data, teachers, licences.")] = None,
    title_column: TitleColumn = None,
    label_column: LabelColumn = None,
    title_a_column: TitleAColumn = None,
    title_b_column: TitleBColumn = None,
    conflicts: Conflicts = "stop",
    decision_folds: DecisionFolds = 0,
) -> None:
    """Train a small student by what larger models make of titles, beside its labels, and pack it for serving.

    The teachers encode all titles once; their vectors are kept with the checkpoints. They must not have been trained
    on this run's held-out products, or its figures are too good. A killed run goes on from where it stood.
    """
    check_folds("--decision-folds", decision_folds)
    with plain_failures("interrupted; the same command goes on from the last checkpoint"):
        from training.labels import Columns
        from training.recipe import Recipe
        from training.settings import parse_config

        recipe = Recipe(
            labelled, unlabelled or (), named_value(test_where) if test_where else None,
            {n: float(v) for n, v in map(named_value, weight or ())},
            command=shlex.join(["dongil", *sys.argv[1:]]),
            notes=notes.read_text(encoding="utf-8") if notes else "",
            columns=Columns(title_column, label_column, title_a_column, title_b_column),
            conflicts=conflicts, teachers=[str(one) for one in teacher], decision_folds=decision_folds,
        )  # fmt: skip
        settings = parse_config(config, base)
        make(recipe, output, settings, work)
