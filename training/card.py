"""The model card: what a bundle says of itself to the people who use it.

It knows how to tell a recipe and its figures in Markdown; it does not compute any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from embedder.bundle import BundleConfig
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
    decision = choice.decision
    defaults = asdict(TrainConfig())
    changed = {name: value for name, value in asdict(config).items() if value != defaults[name]}
    lines = [
        "# Title encoder", "",
        f"{about.architecture}; {about.vocabulary:,} WordPiece pieces learnt from titles; "
        f"{about.dimensions}-dimensional mean-pooled unit vectors; {about.max_length} tokens at most; "
        f"served as {about.precision}.", "",
        "## Trained with", "", "```", recipe.command or "training.recipe.make_bundle(...)", "```", "",
        f"Contrastive pass of {config.contrast_steps:,} steps, then ArcFace for {config.arcface_steps:,}, "
        f"{2 * config.products_per_batch} titles a step, seed {config.seed}"
        + (f"; differing from the defaults: {changed}" if changed else "") + ".", "",
        "| set | rows | products |", "|---|---|---|",
        *(f"| {name} | {rows:,} | {products:,} |" for name, rows, products in sets), "",
        "70 % of the products of each set train, 10 % choose, 20 % test, split by a hash of the product id"
        + (f"; rows with {recipe.test_where[0]}={recipe.test_where[1]} are the test part where a set has that column"
           if recipe.test_where else "") + ". Titles of held-out products were left out of the unlabelled text.", "",
        "## Decision", "",
        f"Matches from a blended cosine of {decision.threshold:.2f}, clusters from {decision.cluster_threshold:.2f}, "
        f"after {decision.blend.stages} stage(s) of blending over neighbours from {decision.blend.threshold:.2f}; "
        "chosen on validation products, in a pool with their set's training rows.", "",
        "## Test products", "",
        "Measured at that decision; nothing is chosen by them.", "",
        "| set | rows | pool | row-F1 | precision | recall | B-cubed F1 |", "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {s['rows']:,} | {s['pool']:,} | {s['row_f1']:.3f} | {s['row_precision']:.3f} | "
            f"{s['row_recall']:.3f} | {s['bcubed_f1']:.3f} |"
            for name, s in metrics["test"].items()
        ), "",
        f"int8 against float32 on validation products: {-metrics['precision']['int8_loses']:+.4f} row-F1.", "",
    ]  # fmt: skip
    if recipe.notes:
        lines += ["## Data and licences", "", recipe.notes, ""]
    return "\n".join(lines)
