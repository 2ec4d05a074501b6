"""Mistakes: the pairs that the decision gets wrong with the most confidence, readable, both ways.

The first thing to look at in a report: many of them are errors of the labels. It knows titles and probabilities; it
does not know how the decision was chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.labelled import LabelledSet, Rows
from benchmarks.measures import Side
from benchmarks.pools import Pool
from index.reasons import reason
from training.evaluate import Pairs

SHOWN = 20
_GROUP = 40  # rows of one product among which all pairs are looked at
_Found = tuple[int, int, float, bool]


@dataclass(frozen=True)
class Mistake:
    """Two titles and what was decided of them.

    Attributes:
        title, other: the titles; the first is a judged row's.
        product, other_product: their labels.
        probability: that they are one product, as the decision has it.
        searched: whether search had brought the pair.
        reason: what speaks for the pair and against it.
    """

    title: str
    other: str
    product: str
    other_product: str
    probability: float
    searched: bool
    reason: str


def joined_wrongly(data: LabelledSet, pool: Pool, side: Side, shown: int = SHOWN) -> list[Mistake]:
    """Accepted pairs of two products, the most probable first, one for each two products.

    Pairs of equal titles are left out: see ``equal_titles``.
    """
    pairs, node = side.accepted, pool.matcher.nodes.node_of
    wrong = np.flatnonzero(~pairs.hits & (node[pairs.left] != node[pairs.right]))
    left, right = pairs.left[wrong], pairs.right[wrong]
    told = dict(zip(_keys(pool, side.pairs.left, side.pairs.right), side.pairs.scores.tolist(), strict=True))
    found = [
        (a, b, told[key], True)
        for a, b, key in zip(left.tolist(), right.tolist(), _keys(pool, left, right), strict=True)
    ]
    return _told(data, pool, side, sorted(found, key=lambda one: (-one[2], one[:2])), shown)


def equal_titles(pool: Pool, side: Side) -> int:
    """Pairs of two products whose cleaned titles are equal: the labels err, or the title alone does not tell."""
    node = pool.matcher.nodes.node_of
    return int((~side.pairs.hits & (node[side.pairs.left] == node[side.pairs.right])).sum())


def parted_wrongly(data: LabelledSet, pool: Pool, side: Side, shown: int = SHOWN) -> list[Mistake]:
    """Pairs of one product that are not accepted, the least probable first, one for each product."""
    left, right = _true_pairs(side.judged.labels, side.judged.rows)
    accepted, brought = _true_keys(pool, side.accepted), _true_keys(pool, side.pairs) | _true_keys(pool, side.found)
    keys = _keys(pool, left, right)
    probabilities = pool.probability(left, right).tolist()
    found = [
        (a, b, probability, key in brought)
        for a, b, probability, key in zip(left.tolist(), right.tolist(), probabilities, keys, strict=True)
        if key not in accepted
    ]
    return _told(data, pool, side, sorted(found, key=lambda one: (one[2], one[:2])), shown)


def _keys(pool: Pool, left: Rows, right: Rows) -> list[int]:
    """A number for each pair of rows."""
    keys: list[int] = (left * len(pool.rows) + right).tolist()
    return keys


def _true_keys(pool: Pool, pairs: Pairs) -> set[int]:
    return set(_keys(pool, pairs.left[pairs.hits], pairs.right[pairs.hits]))


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


def _told(data: LabelledSet, pool: Pool, side: Side, found: Iterable[_Found], shown: int) -> list[Mistake]:
    judged = set(side.judged.rows.tolist())
    mistakes: list[Mistake] = []
    for a, b, probability, searched in _first_of_products(found, side.judged.labels):
        a, b = (a, b) if a in judged else (b, a)
        (title, product), (other, other_product) = (
            (data.titles[pool.rows[row]], data.groups[pool.rows[row]].partition(":")[2]) for row in (a, b)
        )
        mistakes.append(Mistake(title, other, product, other_product, probability, searched, reason(title, other)))
        if len(mistakes) == shown:
            break
    return mistakes


def _first_of_products(found: Iterable[_Found], labels: Rows) -> Iterator[_Found]:
    """One pair for each two products: else one odd product would fill the page."""
    seen = set()
    for a, b, probability, searched in found:
        products = frozenset((int(labels[a]), int(labels[b])))
        if products not in seen:
            seen.add(products)
            yield a, b, probability, searched
