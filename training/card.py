"""The model card: what a bundle says of itself to the people who use it.

It knows how to tell a recipe and its figures in Markdown; it does not compute any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from embedder.bundle import BundleConfig
from training.backbone import SMALL
from training.decide import Choice
from training.train import TrainConfig

if TYPE_CHECKING:
    from training.recipe import Recipe


def model_card(
    recipe: Recipe,
    config: TrainConfig,
    about: BundleConfig,
    choice: Choice,
    metrics: dict[str, Any],
    sets: Sequence[tuple[str, int, int]],
) -> str:
    """The card in Markdown.

    Args:
        sets: name, rows and products of each labelled set.
    """
    defaults = asdict(TrainConfig())
    changed = {name: value for name, value in asdict(config).items() if value != defaults[name]}
    pieces = "WordPiece pieces learnt from titles" if config.base == SMALL else "pieces of its own tokenizer"
    lines = [
        "# Title encoder", "",
        f"{about.architecture}; {about.vocabulary:,} {pieces}; "
        f"{about.dimensions}-dimensional {about.pooling}-pooled unit vectors; {about.max_length} tokens at most; "
        f"served as {about.precision}.", "",
        "## Trained with", "", "```", recipe.command or "training.recipe.make_bundle(...)", "```", "",
        (f"Guessing of hidden words for {config.mlm_steps:,} steps. " if config.mlm_steps else "")
        + f"Contrastive pass of {config.contrast_steps:,} steps, then "
        f"{'ArcFace' if config.loss == 'arcface' else config.loss} for {config.arcface_steps:,}, "
        f"{2 * config.products_per_batch} titles a step, seed {config.seed}"
        + (f"; differing from the defaults: {changed}" if changed else "") + ".", "",
        *([f"Taught by the vectors of {', '.join(metrics['teachers'])}.", ""] if "teachers" in metrics else []),
        "| set | rows | products |", "|---|---|---|",
        *(f"| {name} | {rows:,} | {products:,} |" for name, rows, products in sets), "",
        "70 % of the products of each set train, 10 % choose, 20 % test, split by a hash of the product id"
        + (f"; rows with {recipe.test_where[0]}={recipe.test_where[1]} are the test part where a set has that column"
           if recipe.test_where else "") + ". Titles of held-out products were left out of the unlabelled text.", "",
        *decision_lines(choice),
        *([
            f"Learnt besides from the products that train: {metrics['decision_folds']} encoders more, a third of the "
            "steps each, saw the pairs of products that they were not trained on.", "",
        ] if "decision_folds" in metrics else []),
        *test_lines(metrics["test"]),
        f"int8 against float32 on validation products: {-metrics['precision']['int8_loses']:+.4f} row-F1.", "",
    ]  # fmt: skip
    if recipe.notes:
        lines += ["## Data and licences", "", recipe.notes, ""]
    return "\n".join(lines)


def decision_lines(choice: Choice) -> list[str]:
    """How the model decides, and what that was worth on the products it was chosen on."""
    decision = choice.decision
    return [
        "## Decision", "",
        (
            "A pair is judged by trees over its evidence: cosines, rank and crowd, characters and words, quantities, "
            "traits. " if choice.trees else "A pair is judged by its blended cosine: the labels were too few for more. "
        )
        + "A title gets the matches whose expected F1 is best; clusters join from a mean probability of "
        f"{decision.cluster_threshold:g}; how many of a catalogue's listings seem to have a partner shifts both. "
        "Learnt and chosen on validation products, in pools with their set's training rows; each figure by trees "
        "that never saw the product.", "",
        "| set | row-F1 | at one threshold of " f"{decision.threshold:g} | B-cubed F1 | calibration error |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {s['row_f1']:.3f} | {s['row_f1_at_threshold']:.3f} | {s['bcubed_f1']:.3f} | "
            f"{choice.calibration[name]['error']:.3f} |"
            for name, s in choice.by_set.items()
        ), "",
        *([f"- {promise.words}" for promise in decision.promises] or ["No precision could be proven."]), "",
    ]  # fmt: skip


def test_lines(test: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The scores on each set's test products."""
    return [
        "## Test products", "",
        "Measured at that decision; nothing is chosen by them.", "",
        "| set | rows | pool | row-F1 | precision | recall | B-cubed F1 |", "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {s['rows']:,} | {s['pool']:,} | {s['row_f1']:.3f} | {s['row_precision']:.3f} | "
            f"{s['row_recall']:.3f} | {s['bcubed_f1']:.3f} |"
            for name, s in test.items()
        ), "",
    ]  # fmt: skip
