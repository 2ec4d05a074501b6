"""Mistakes: the pairs that were decided wrongly with the most confidence, readable, both ways.

The first thing to look at in a report: many of them are errors of the labels. It knows titles and scores; it does
not know how a threshold was chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.labelled import LabelledSet, Rows
from benchmarks.measures import Side
from benchmarks.pools import Pool
from index.decision import Decision
from index.evidence import reason
from index.vectors import Vectors

SHOWN = 20
_GROUP = 40  # rows of one product among which all pairs are looked at


@dataclass(frozen=True)
class Mistake:
    """Two titles and what was decided of them.

    Attributes:
        title, other: the titles; the first is a judged row's.
        product, other_product: their labels.
        score: blended cosine; probability: what the decision makes of it.
        searched: whether search had brought the pair.
        reason: what the two share and what not.
    """

    title: str
    other: str
    product: str
    other_product: str
    score: float
    probability: float
    searched: bool
    reason: str


def joined_wrongly(
    data: LabelledSet, pool: Pool, side: Side, decision: Decision, threshold: float, shown: int = SHOWN
) -> list[Mistake]:
    """Accepted pairs of two products, highest score first, one for each two products.

    Pairs of equal titles are left out: see ``equal_titles``.
    """
    pairs, node = side.pairs, pool.matcher.nodes.node_of
    told_apart = node[pairs.left] != node[pairs.right]
    wrong = np.flatnonzero(~pairs.hits & (pairs.scores >= np.float32(threshold)) & told_apart)
    found = ((int(pairs.left[i]), int(pairs.right[i]), float(pairs.scores[i]), True) for i in wrong)
    return _told(data, pool, side, decision, found, shown)


def equal_titles(pool: Pool, side: Side) -> int:
    """Pairs of two products whose cleaned titles are equal: the labels err, or the title alone does not tell."""
    node = pool.matcher.nodes.node_of
    return int((~side.pairs.hits & (node[side.pairs.left] == node[side.pairs.right])).sum())


def parted_wrongly(
    data: LabelledSet,
    pool: Pool,
    side: Side,
    decision: Decision,
    threshold: float,
    vectors: Vectors,
    shown: int = SHOWN,
) -> list[Mistake]:
    """Pairs of one product that are not accepted, lowest score first, one for each product.

    Args:
        vectors: of the pool's nodes after blending, which score the pairs that search did not bring.
    """
    labels, n = side.judged.labels, len(side.judged.labels)
    left, right = _true_pairs(labels, side.judged.rows)
    true = side.pairs.hits
    keys_known = (side.pairs.left * n + side.pairs.right)[true].tolist()
    known = dict(zip(keys_known, side.pairs.scores[true].tolist(), strict=True))
    keys = (left * n + right).tolist()
    node = pool.matcher.nodes.node_of
    scores = np.einsum("ij,ij->i", vectors[node[left]], vectors[node[right]]).astype(np.float32)
    searched = np.array([key in known for key in keys], bool)
    scores[searched] = [known[key] for key in keys if key in known]
    parted = np.flatnonzero(~searched | (scores < np.float32(threshold)))
    parted = parted[np.argsort(scores[parted], kind="stable")]
    found = ((int(left[i]), int(right[i]), float(scores[i]), bool(searched[i])) for i in parted)
    return _told(data, pool, side, decision, found, shown)


def _true_pairs(labels: Rows, judged: Rows) -> tuple[Rows, Rows]:
    """Pairs of rows of one product with a judged row in them, within the first rows of very large products."""
    members: dict[int, list[int]] = {label: [] for label in labels[judged].tolist()}
    for row, label in enumerate(labels.tolist()):
        if label in members and len(members[label]) < _GROUP:
            members[label].append(row)
    ends = [(a, b) for rows in members.values() for at, a in enumerate(rows) for b in rows[at + 1 :]]
    left, right = np.array(ends, np.int64).reshape(-1, 2).T
    marked = np.zeros(len(labels), bool)
    marked[judged] = True
    keep = marked[left] | marked[right]
    return left[keep], right[keep]


def _told(
    data: LabelledSet,
    pool: Pool,
    side: Side,
    decision: Decision,
    found: Iterable[tuple[int, int, float, bool]],
    shown: int,
) -> list[Mistake]:
    judged = set(side.judged.rows.tolist())
    mistakes: list[Mistake] = []
    for a, b, score, searched in _first_of_products(found, side.judged.labels):
        a, b = (a, b) if a in judged else (b, a)
        (title, product), (other, other_product) = (
            (data.titles[pool.rows[row]], data.groups[pool.rows[row]].partition(":")[2]) for row in (a, b)
        )
        probability = float(decision.probability(np.array([score], np.float32))[0])
        mistakes.append(
            Mistake(title, other, product, other_product, score, probability, searched, reason(title, other))
        )
        if len(mistakes) == shown:
            break
    return mistakes


def _first_of_products(
    found: Iterable[tuple[int, int, float, bool]], labels: Rows
) -> Iterator[tuple[int, int, float, bool]]:
    """One pair for each two products: else one odd product would fill the page."""
    seen = set()
    for a, b, score, searched in found:
        products = frozenset((int(labels[a]), int(labels[b])))
        if products not in seen:
            seen.add(products)
            yield a, b, score, searched
