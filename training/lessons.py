"""Lessons: labelled pairs of titles, with the evidence that a catalogue has on each.

Labels come from a file of pairs or from the catalogue that lives, where each keeps the titles that it was given for: so
an item that has another title by now still teaches what was said of the old one. A pair called different whose titles
pairs called the same join is left out and told; which of these labels is the wrong one nobody knows. Pairs that people
chose to label are no fair sample of those that a catalogue holds, so each is told how many it stands for: strata of
equal probability count as much as the catalogue has pairs in them (post-stratification). Within one the labelled pairs
are taken for the others, though a review queue prefers those that look wrong: figures err towards the worse there.

It needs numpy alone, no part of dongil[train]. It does not know what is learnt from a lesson.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.encoder import Encoder
from index.catalog import Catalog, Loaded
from index.decision import Decision
from index.matcher import common_grams
from index.nodes import group
from index.review import NODES, draw
from index.scene import Progress
from index.snapshot import Base, Snapshot
from index.vectors import Device, Vectors
from index.wording import Numbers
from training.pairs import PAIR_COLUMNS, Pair, TitlePairs, read_pairs
from training.told import labels_of

Values = npt.NDArray[np.float64]
Encode = Callable[[Sequence[str]], Vectors]
STRATA = np.array([0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95])
"""Probabilities between which pairs are taken for one another."""
TOLD = 20  # conflicts that are told in full


@dataclass(frozen=True)
class Lessons:
    """n labelled pairs of different titles.

    Attributes:
        evidence: on each pair, float32, shape (n, columns).
        same: the labels, bool.
        products: of the two titles of each pair, as pairs called the same join them; int64, shape (n, 2).
        names: a title of each product that stays the same whatever other labels there are, by number.
        strata: which of the strata of probability each is in, int64.
        weights: how many pairs of the catalogue each stands for, of mean 1; None where it is not known.
        covered: share of the catalogue's candidate pairs that are like one of these; None as well.
        left_out: a sentence for each kind of label that teaches nothing here, or each conflict.
    """

    evidence: Numbers
    same: npt.NDArray[np.bool_]
    products: npt.NDArray[np.int64]
    names: list[str]
    strata: npt.NDArray[np.int64]
    weights: Values | None = None
    covered: float | None = None
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.same)


def lessons_of(catalog: Catalog, snapshot: Snapshot, encode: Encode, *, seed: int = 0) -> Lessons:
    """The labels that a living catalogue keeps, as ``weigh`` sees them; arguments as there."""
    return weigh(read_pairs(labels_of(catalog), PAIR_COLUMNS), snapshot, encode, seed=seed)


def weigh(pairs: TitlePairs, snapshot: Snapshot, encode: Encode, *, sample: bool = True, seed: int = 0) -> Lessons:
    """The evidence that a catalogue has on labelled pairs, and how many of its own pairs each stands for.

    Args:
        pairs: perhaps of titles that the catalogue does not hold; they are looked at as if it did.
        snapshot: the catalogue.
        encode: makes float32 unit rows of raw titles.
        sample: whether the catalogue's pairs are those that matter; False where it holds the labelled titles alone.
        seed: of the draw of its pairs.
    """
    conflicts = pairs.conflicts()
    wrong = {pair.row for pair in conflicts}
    told = list(pairs.told(conflicts[:TOLD]))
    if len(conflicts) > TOLD:
        told.append(f"and {len(conflicts) - TOLD:,} more pairs called different that pairs called the same contradict")
    stands = with_titles(snapshot, pairs.titles, encode)
    node = [stands.node(_name(number)) for number in range(len(pairs.titles))]
    labels: dict[tuple[int, int], tuple[Pair, bool]] = {}
    twins = 0
    for same, some in ((True, pairs.same), (False, pairs.different)):
        for pair in some:
            one, other = sorted((node[pair.left], node[pair.right]))
            if one == other:
                twins += 1  # nothing that a title could tell from itself by
            elif pair.row not in wrong:
                labels[one, other] = pair, same
    if twins:
        told.append(f"{twins:,} pairs of equal titles, of which titles cannot tell more")
    ends = np.array(list(labels), np.int64).reshape(-1, 2)
    evidence = stands.between(ends[:, 0], ends[:, 1])
    product = pairs.products()
    names = {number: pairs.texts[number] for number in range(len(product))}
    for number, text in enumerate(pairs.texts):
        names[int(product[number])] = min(names[int(product[number])], text)
    strata = np.searchsorted(STRATA, snapshot.decision.probability(evidence), "right").astype(np.int64)
    weights, covered = _weights(strata, snapshot, seed) if sample else (None, None)
    return Lessons(
        evidence, np.array([same for _, same in labels.values()], bool),
        np.array([(product[p.left], product[p.right]) for p, _ in labels.values()], np.int64).reshape(-1, 2),
        [names[number] for number in range(len(product))], strata, weights, covered, tuple(told),
    )  # fmt: skip


def _weights(strata: npt.NDArray[np.int64], snapshot: Snapshot, seed: int) -> tuple[Values | None, float | None]:
    """How many of the catalogue's candidate pairs each labelled one stands for, and the share that any stands for."""
    many = len(STRATA) + 1
    there = np.bincount(np.searchsorted(STRATA, draw(snapshot, NODES, seed).probabilities, "right"), minlength=many)
    labelled = np.bincount(strata, minlength=many)
    weights = (there / np.maximum(labelled, 1))[strata]
    if not weights.sum():
        return None, None
    return np.asarray(weights / weights.mean()), float(there[labelled > 0].sum() / there.sum())


def with_titles(snapshot: Snapshot, titles: Sequence[str], encode: Encode) -> Snapshot:
    """A catalogue as it would be with more titles, the n-th by an id that ends in its number; nothing is stored."""
    ids = [_name(number) for number in range(len(titles))]
    return snapshot.after(_loaded(ids, titles, encode), (), snapshot.revision)


def _name(number: int) -> str:
    return f"\0labelled {number}"  # no item has such an id: the service refuses NUL


def _loaded(ids: Sequence[str], titles: Sequence[str], encode: Encode) -> Loaded:
    texts, node_of = group(titles)
    return Loaded(list(ids), list(titles), node_of, np.arange(len(texts)), encode(texts), 0)


def catalogue_of(
    titles: Sequence[str],
    encoder: Encoder,
    decision: Decision,
    *,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Snapshot:
    """A catalogue of raw titles that lives only as long as it is held; arguments as in ``Matcher.from_items``."""

    def encode(texts: Sequence[str]) -> Vectors:
        done = 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            if progress is not None:
                progress("encode", done, len(texts))

        return encoder.encode(list(texts), progress=advance)

    loaded = _loaded([str(row) for row in range(len(titles))], titles, encode)
    base = Base.of(loaded, decision.blend, common_grams(encoder.bundle), device=device, progress=progress)
    return Snapshot.first(base, encoder.encode, decision)
