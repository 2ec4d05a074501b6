"""Examples: the candidate pairs of labelled pools, with the evidence that trees learn from and how much each counts.

It knows scenes and labels. It does not know trees or thresholds, nor which encoder stands behind a pool.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from index.clustering import Edges, Ids
from index.evidence import EVIDENCE
from index.scene import Scene
from index.wording import Numbers

Values = npt.NDArray[np.float64]
FOLDS = 5


@dataclass(frozen=True)
class Pool:
    """A labelled catalogue of which some rows are judged.

    Attributes:
        name: of the set.
        scene: of its titles.
        labels: product of each row, unique across sets, length n.
        rows: the held-out rows, int64.
        weight: of this set in the mean over sets; one of less than 1 takes no part in what is proven.
    """

    name: str
    scene: Scene
    labels: Sequence[str]
    rows: Ids
    weight: float = 1.0


@dataclass(frozen=True)
class Examples:
    """The candidate pairs of a pool, with all that is learnt from.

    Attributes:
        name, weight: of the set.
        rows: how many rows of the pool are judged.
        pairs: as ``Scene.candidates`` gives them.
        evidence: on each pair.
        same: share of the pair's items that are one product, judged ones against any.
        concerns: judged rows that the pair concerns, 0 for a pair of training rows.
        folds: of the judged products on either side, int64, shape (pairs, 2), -1 for none.
    """

    name: str
    weight: float
    rows: int
    pairs: Edges
    evidence: Numbers
    same: Values
    concerns: Values
    folds: npt.NDArray[np.int64]


def examples_of(pool: Pool) -> Examples:
    """The candidate pairs of a pool; an item of several of equal title counts for its own pairs."""
    pairs = pool.scene.candidates()
    evidence = np.empty((len(pairs), len(EVIDENCE)), np.float32)
    for block, found in pool.scene.evidence(pairs):
        evidence[block] = found
    nodes, members = pool.scene.nodes, pool.scene.nodes.items()
    judged = np.zeros(len(nodes.node_of), bool)
    judged[pool.rows] = True
    same, concerns, folds = np.zeros(len(pairs)), np.zeros(len(pairs)), np.full((len(pairs), 2), -1, np.int64)
    fold_of = {label: _fold(label) for label in {pool.labels[row] for row in pool.rows.tolist()}}
    concerned = np.zeros(len(nodes.texts), bool)
    concerned[nodes.node_of[pool.rows]] = True
    for pair in np.flatnonzero(concerned[pairs.left] | concerned[pairs.right]).tolist():
        ends = int(pairs.left[pair]), int(pairs.right[pair])
        for side, (mine, theirs) in enumerate({ends: 0, ends[::-1]: 0}):  # one side only where a node meets itself
            own = [item for item in members[mine] if judged[item]]
            others = [[item for item in members[theirs] if item != a] for a in own]
            same[pair] += sum(
                sum(pool.labels[a] == pool.labels[b] for b in some) / len(some)
                for a, some in zip(own, others, strict=True)
            )
            concerns[pair] += len(own)
            if own:
                folds[pair, side] = fold_of[pool.labels[own[0]]]
        same[pair] /= concerns[pair]
    return Examples(pool.name, pool.weight, len(pool.rows), pairs, evidence, same, concerns, folds)


def unfolded(examples: Examples) -> Examples:
    """The same as part of every fold: of products that are never judged where these are learnt from."""
    return replace(examples, folds=np.full_like(examples.folds, -1))


def _fold(label: str) -> int:
    return hashlib.blake2b(label.encode(), digest_size=4).digest()[0] % FOLDS


def counts_of(groups: Sequence[Sequence[Examples]]) -> list[list[Values]]:
    """How much each pair counts, as the examples stand; 1 on average over the pairs that count at all.

    Every judged row counts alike within a pool, a set by its weight over all its pools.

    Args:
        groups: the pools of one set as one encoder sees it: the full one, which counts as much as its variants behind
            it together. Groups of one set count by the rows that are judged in their full pools.
    """
    rows = Counter[str]()
    for full, *_ in groups:
        rows[full.name] += full.rows
    nested = []
    for group in groups:
        part = group[0].rows / max(1, rows[group[0].name])
        shares = [0.5 if len(group) > 1 else 1.0, *[0.5 / max(1, len(group) - 1)] * (len(group) - 1)]
        nested.append([
            one.concerns * one.weight * share * part / max(1, one.rows)
            for one, share in zip(group, shares, strict=True)
        ])  # fmt: skip
    every = np.concatenate([count for some in nested for count in some])
    mean = every[every > 0].mean() if (every > 0).any() else 1.0
    return [[np.asarray(count / mean) for count in some] for some in nested]
