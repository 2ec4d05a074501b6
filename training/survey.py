"""A survey of labels before they are trained on: what is in them, what the run will take, and what would stop it.

It reads what a run would read and writes nothing. It counts what can be counted (titles of one text under two
products, pairs that contradict each other); it does not know which of two such labels is the wrong one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tokenizers import Tokenizer

from embedder.errors import InputError
from embedder.text import clean
from training.judging import QUICK_POOL, judged_sets
from training.labels import SPLITS, Labelled, Products, gather_products, read_labelled
from training.pools import SIZE
from training.recipe import FOLD_STEPS, Recipe, check_labels, check_output, read_unlabelled, vocabulary_at
from training.rehearsal import Cost, check_work, rehearse
from training.train import TrainConfig

SIZES: Sequence[tuple[str, int]] = (("1", 1), ("2", 2), ("3-5", 5), ("6-10", 10))  # name, most titles; more is "11+"
_EXAMPLES = 5
_SAMPLE = 20_000  # titles whose tokens are counted
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class SetSurvey:
    """What one set holds. A title here is a cleaned text: two spellings of one text are a duplicate.

    Attributes:
        name: as training calls the set.
        rows, unknown, products: rows; of them without a label; distinct products.
        sizes: how many products have 1, 2, 3-5, 6-10 and 11+ different titles.
        repeats: rows whose title stands in an earlier row of the same product.
        shared: titles that stand under two products or more: labels that cannot all be right.
        examples: some of those titles, with the products of each.
        negatives, conflicts, told: as in ``Labelled``.
        splits: side -> rows and products.
    """

    name: str
    rows: int
    unknown: int
    products: int
    sizes: Mapping[str, int]
    repeats: int
    shared: int
    examples: tuple[tuple[str, tuple[str, ...]], ...]
    negatives: int
    conflicts: int
    told: tuple[str, ...]
    splits: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Tokens:
    """Tokens of a title: their mean, how many 95 in 100 titles have at most, and the share of titles cut short."""

    mean: float
    most: int
    cut: float


@dataclass(frozen=True)
class Survey:
    """What a run would find.

    Attributes:
        sets: of each file that can be read.
        unlabelled: titles of unknown product that would be trained on.
        left_out: different titles of train products that are left out because a held-out product has them too.
        tokens, cost: None where there is nothing to train on.
        times: part of the run -> seconds, over all folds.
        stops: what would stop the run, in a sentence each; none when it would go through.
    """

    sets: tuple[SetSurvey, ...]
    unlabelled: int
    left_out: int
    tokens: Tokens | None
    cost: Cost | None
    times: Mapping[str, float]
    stops: tuple[str, ...]


def survey(recipe: Recipe, config: TrainConfig, output: Path | None, work: Path | None) -> Survey:
    """Read what the run would read, look at it, and rehearse a few steps. Nothing is written.

    Args:
        recipe: of the run; what would stop it is told in ``stops`` instead of being raised.
        config: of the run.
        output: where the bundle is to stand; None when that is not known yet.
        work: where the checkpoints are to stand; None when that is not known yet.
    """
    stops: list[str] = []

    def tried(part: Callable[[], _Part]) -> _Part | None:
        try:
            return part()
        except InputError as error:
            stops.append(str(error))
            return None

    if output:
        tried(partial(check_output, output))
    sets = [s for path in recipe.labelled if (s := tried(partial(_read, recipe, path, stops)))]
    unlabelled = tried(partial(read_unlabelled, recipe))
    judged = tried(partial(judged_sets, sets)) if sets else None
    products = gather_products(sets, unlabelled or ())
    tokens, cost, times = None, None, {}
    if products.titles and (tokenizer := tried(partial(_tokenizer, config, products))):
        tokens = _tokens(tokenizer, products.titles, config.max_length)
        if cost := tried(partial(rehearse, config, products, tokenizer)):
            times = _times(recipe, config, cost, judged or sets, products)
        # Where files are missing, the labels are others anyway; and a teacher's clusters are not known yet.
        if work and not stops and not recipe.pseudo:
            tried(partial(check_labels, work, products))
            tried(partial(check_work, work, config, products, tokenizer))
    train = {text for s in sets for title in s.part("train")[0] if (text := clean(title))}
    return Survey(
        tuple(survey_set(s) for s in sets), int((products.sources == -1).sum()), len(train - set(products.titles)),
        tokens, cost, times, tuple(stops),
    )  # fmt: skip


def _read(recipe: Recipe, path: str, stops: list[str]) -> Labelled:
    """One file without its conflicts, which are told among the stops where they stop."""
    labelled = read_labelled(path, test_where=recipe.test_where, columns=recipe.columns, conflicts="drop")
    if labelled.conflicts and recipe.conflicts == "stop":
        stops.append(
            f"{path}: {labelled.conflicts:,} pairs called different contradict pairs called the same; "
            "expected labels that agree, or --conflicts drop to leave those out"
        )
    return labelled


def survey_set(labelled: Labelled) -> SetSurvey:
    """Count what one set holds."""
    titles: dict[str, set[str]] = {}
    owners: dict[str, set[str]] = {}
    for title, group in zip(labelled.titles, labelled.groups, strict=True):
        text = clean(title) or title.strip()
        titles.setdefault(group, set()).add(text)
        owners.setdefault(text, set()).add(group)
    sizes = dict.fromkeys([*(name for name, _ in SIZES), "11+"], 0)
    for texts in titles.values():
        sizes[next((name for name, most in SIZES if len(texts) <= most), "11+")] += 1
    shared = sorted(text for text, groups in owners.items() if len(groups) > 1)
    prefix = f"{labelled.name}:"
    examples = tuple((t, tuple(sorted(g.removeprefix(prefix) for g in owners[t]))) for t in shared[:_EXAMPLES])
    return SetSurvey(
        labelled.name, len(labelled.titles), labelled.unknown, len(titles), sizes,
        repeats=len(labelled.titles) - sum(map(len, titles.values())),
        shared=len(shared), examples=examples,
        negatives=len(labelled.negatives), conflicts=labelled.conflicts, told=labelled.told,
        splits={side: (len(part[1]), len(set(part[1]))) for side in SPLITS for part in [labelled.part(side)]},
    )  # fmt: skip


def _tokenizer(config: TrainConfig, products: Products) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        return vocabulary_at(Path(folder) / "tokenizer.json", products.titles, config)


def _tokens(tokenizer: Tokenizer, titles: Sequence[str], most: int) -> Tokens:
    chosen = np.random.default_rng(0).permutation(len(titles))[:_SAMPLE]
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    lengths = np.array([len(e.ids) for e in whole.encode_batch_fast([titles[i] for i in chosen])])
    return Tokens(float(lengths.mean()), int(np.quantile(lengths, 0.95)), float((lengths > most).mean()))


def _times(
    recipe: Recipe, config: TrainConfig, cost: Cost, judged: Sequence[Labelled], products: Products
) -> dict[str, float]:
    """Seconds of the parts of a run, its folds among them, and the encoders that serve its decision alone."""
    runs = 1 + recipe.folds
    trained = runs + FOLD_STEPS * recipe.decision_folds
    judged_steps = (steps for stage, steps in cost.steps.items() if stage != "mlm")
    checkpoints = sum(-(-steps // config.validate_every) for steps in judged_steps)
    quick = sum(min(QUICK_POOL, len(s.titles)) for s in judged)
    whole = sum(min(SIZE, len(s.titles)) for s in judged)
    starts = cost.classes * len(products.titles) // max(1, len(products))  # titles whose mean is a centre at first
    return {
        "training": trained * cost.training + (runs + recipe.decision_folds) * cost.encoding(starts),
        "judging checkpoints": trained * checkpoints * cost.encoding(quick),
        # Validation and test pools; those of validation once more, because a bundle is tried in two precisions.
        "choosing the decision": (2 * runs + 1 + recipe.decision_folds) * cost.encoding(whole),
    }
