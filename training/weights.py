"""The weights of an ensemble: how much each model is to say, and the decision for all of them together.

Weights are found by coordinate search on validation products: one member's share after the other is set to what gives
the best row-F1, the others keeping their proportions, until no share changes. The labels must be those that the
members were trained on, split the same way by the sets' names, or ones that no member has seen. It knows encoders and
labels; it does not know how a model is trained, nor how an ensemble is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedder.bundle import BACKGROUND, PROBABILITY, Bundle, Member, load_bundle
from embedder.encoder import Device, Encoder
from embedder.ensemble import concatenated, members_of, write_ensemble
from index.decision import Decision
from index.vectors import Vectors
from training.card import decision_lines, test_lines
from training.judging import decide, deciding_files, judged_sets, mean_f1, measure
from training.labels import gather_products
from training.pools import Encode, background_of, remembering
from training.recipe import Recipe, check_output, read_sets

SHARES = tuple(np.round(np.arange(0.1, 0.95, 0.1), 1).tolist())
ROUNDS = 5


@dataclass(frozen=True)
class Weighed:
    """What a search for weights has found.

    Attributes:
        weights: of each member, summing to 1.
        f1: weighted mean row-F1 on validation rows, by plain cosine.
        equal: the same with equal weights.
        alone: the same of each member by itself.
    """

    weights: tuple[float, ...]
    f1: float
    equal: float
    alone: tuple[float, ...]


def best_weights(score: Callable[[Sequence[float]], float], members: int) -> tuple[tuple[float, ...], float]:
    """Coordinate search over shares, from equal ones; of equal scores the first stays.

    Args:
        score: of weights that sum to 1; higher is better.
        members: how many, two at least.

    Returns:
        The weights and their score.
    """
    best = (1 / members,) * members
    known = {best: score(best)}
    for _ in range(ROUNDS):
        before = best
        for member in range(members):
            for share in SHARES:
                tried = _with_share(best, member, share)
                if tried not in known:
                    known[tried] = score(tried)
                if known[tried] > known[best]:
                    best = tried
        if best == before:
            break
    return best, known[best]


def _with_share(weights: tuple[float, ...], member: int, share: float) -> tuple[float, ...]:
    """The weights with one member's share set; the others keep their proportions."""
    rest = 1 - weights[member]
    return tuple(
        round(share if place == member else weight * (1 - share) / rest, 6) for place, weight in enumerate(weights)
    )


def make_ensemble(
    recipe: Recipe,
    folders: Sequence[str | Path],
    output: str | Path,
    weights: Sequence[float] | None = None,
    *,
    threads: int | None = None,
    device: Device = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Write an ensemble of bundles, decided for by a recipe's labels.

    Args:
        recipe: its labelled files, columns, weights and notes are read. Without labels the members weigh the same, the
            decision is the first member's, and no precision is promised.
        folders: of the members.
        output: folder of the ensemble.
        weights: of the members; None searches for them.
        threads, device: as for ``Encoder``.
        say: is told what was found, in a sentence each.

    Raises:
        InputError: models that cannot serve as one, labels that cannot be used, or an output in the way.
    """
    check_output(Path(output))
    members = members_of([load_bundle(folder) for folder in folders], weights or [1.0] * len(folders))
    if not recipe.labelled:
        return _unlabelled(recipe, members, output)
    sets = read_sets(recipe)
    judged, titles = judged_sets(sets), gather_products(sets).titles
    encoders = [Encoder(member.bundle, threads=threads, device=device) for member in members]
    parts = [remembering(encoder.encode) for encoder in encoders]

    def score(shares: Sequence[float]) -> float:
        return mean_f1(recipe, judged, _together(parts, shares))

    weighed = _weigh(score, parts, members, recipe, judged, searching=weights is None)
    say(_told(members, weighed))
    members = members_of([member.bundle for member in members], weighed.weights)
    encode, common = _together(parts, [member.weight for member in members]), background_of(titles)
    choice = decide(recipe, judged, encode, common)
    metrics: dict[str, Any] = {
        "ensemble": {"weights": weighed.weights, "row_f1": weighed.f1, "equal": weighed.equal, "alone": weighed.alone},
        "validation": choice.by_set, "calibration": choice.calibration,
        "test": measure(choice, judged, encode, common),
    }  # fmt: skip
    card = [*_opening(recipe, members), _told(members, weighed), "", *decision_lines(choice)]
    return write_ensemble(
        output, members, decision=choice.to_json(), metrics=metrics,
        card=_card([*card, *test_lines(metrics["test"])], recipe), more=deciding_files(choice, common),
    )  # fmt: skip


def _weigh(
    score: Callable[[Sequence[float]], float],
    parts: Sequence[Encode],
    members: Sequence[Member],
    recipe: Recipe,
    judged: Any,
    *,
    searching: bool,
) -> Weighed:
    alone = tuple(mean_f1(recipe, judged, part) for part in parts)
    equal = score([1 / len(members)] * len(members))
    given = tuple(member.weight for member in members)
    weights, f1 = best_weights(score, len(members)) if searching else (given, score(given))
    return Weighed(weights, f1, equal, alone)


def _together(parts: Sequence[Encode], weights: Sequence[float]) -> Encode:
    def encode(titles: list[str]) -> Vectors:
        return concatenated([part(titles) for part in parts], weights)

    return encode


def _told(members: Sequence[Member], weighed: Weighed) -> str:
    """The members' weights and what they are worth, in a sentence."""
    alone = ", ".join(
        f"{member.bundle.folder.name} {f1:.4f} (weight {weight:.2f})"
        for member, f1, weight in zip(members, weighed.alone, weighed.weights, strict=True)
    )
    verdict = "" if weighed.f1 > max(weighed.alone) else "; no better than the best of them alone"
    return (
        f"Validation row-F1 by plain cosine: {alone}; together {weighed.f1:.4f}, with equal weights "
        f"{weighed.equal:.4f}{verdict}."
    )


def _unlabelled(recipe: Recipe, members: Sequence[Member], output: str | Path) -> Bundle:
    """An ensemble that decides as its first member does, though its cosines are others: nothing is promised."""
    first = members[0].bundle
    decision = replace(Decision.of(first), promises=()).to_json()
    more = {name: path.read_bytes() for name in (PROBABILITY, BACKGROUND) if (path := first.folder / name).exists()}
    note = f"No labels: it decides as `{first.folder.name}` does, which is not measured here, and promises nothing."
    return write_ensemble(
        output, members, decision=decision, metrics={"ensemble": {"weights": [m.weight for m in members]}},
        card=_card([*_opening(recipe, members), note, ""], recipe), more=more,
    )  # fmt: skip


def _opening(recipe: Recipe, members: Sequence[Member]) -> list[str]:
    return [
        "# Title encoder, an ensemble", "",
        "The unit vectors of its members side by side, each multiplied by the root of its weight, so that a cosine is "
        "the weighted mean of theirs.", "",
        "| member | weight | model | dimensions | fingerprint |", "|---|---|---|---|---|",
        *(
            f"| member-{number} ({m.bundle.folder.name}) | {m.weight:.3f} | {m.bundle.config.architecture} | "
            f"{m.bundle.config.dimensions} | {m.bundle.fingerprint} |"
            for number, m in enumerate(members, 1)
        ), "",
        "Each member's own card stands in its folder.", "",
        "```", recipe.command or "training.weights.make_ensemble(...)", "```", "",
    ]  # fmt: skip


def _card(lines: Sequence[str], recipe: Recipe) -> str:
    notes = ["## Data and licences", "", recipe.notes, ""] if recipe.notes else []
    return "\n".join([*lines, *notes])
