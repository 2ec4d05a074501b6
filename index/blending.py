"""Iterative neighbourhood blending (INB): every vector drawn towards the neighbours it is sure of, in stages.

From the winners of Kaggle "Shopee - Price Match Guarantee" (1st place, discussion 238136): keep the neighbours over a
threshold, and by "min2" the nearest other one unless it is beyond a looser threshold; the new vector is the
normalised sum of similarity times neighbour, self included; search again; repeat. Here a stage searches only among
the candidates of the first search, which is what makes three stages cheaper than a second search.

It knows vectors and neighbour lists; it does not know titles, decisions or how neighbours were found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from index.vectors import Neighbours, Vectors

Rows = npt.NDArray[np.int64]

_BLOCK = 512  # rows blended or rescored at a time: their candidates' vectors fit in the processor's cache


@dataclass(frozen=True)
class BlendConfig:
    """How far and how often to blend.

    Attributes:
        stages: times to blend; 0 leaves vectors as they are.
        k: candidates of each row, itself included.
        threshold: cosine from which a neighbour joins the blend.
        min2_threshold: cosine from which the nearest other row joins although it is under ``threshold``; None for a
            catalogue in which rows may have no partner at all.
        power: neighbours weigh their similarity to this power.
        weight: all neighbours' weights are multiplied by this; the row itself weighs 1.
    """

    stages: int = 1
    k: int = 50
    threshold: float = 0.7
    min2_threshold: float | None = None
    power: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("stages", 0), ("k", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(f"blending {name} is {value!r}; expected a whole number of at least {least}")
        for name in ("threshold", "min2_threshold"):
            value = getattr(self, name)
            if value is not None and not -1 <= value <= 1:
                raise InputError(f"blending {name} is {value}; expected a cosine between -1 and 1")
        for name in ("power", "weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"blending {name} is {getattr(self, name)}; expected a number of at least 0")


def rescore(queries: Vectors, vectors: Vectors, candidates: Neighbours) -> Neighbours:
    """The same candidates with the cosines of other vectors, best first; equal scores in the order of ids.

    Args:
        queries: float32 unit rows, shape (m, d), one for each row of candidates.
        vectors: float32 unit rows, shape (n, d), that ``candidates.ids`` number.
        candidates: shape (m, k), -1 padded.
    """
    scores = np.empty_like(candidates.scores)
    for start in range(0, len(queries), _BLOCK):
        block = slice(start, start + _BLOCK)
        near = vectors[np.maximum(candidates.ids[block], 0)]
        scores[block] = np.matmul(near, queries[block][:, :, None])[:, :, 0]
    scores[candidates.ids < 0] = -np.inf
    order = np.lexsort((candidates.ids, -scores), axis=1)
    return Neighbours(np.take_along_axis(candidates.ids, order, 1), np.take_along_axis(scores, order, 1))


def blend_once(
    queries: Vectors, vectors: Vectors, neighbours: Neighbours, config: BlendConfig, own: Rows | None = None
) -> Vectors:
    """One stage: each query drawn towards its accepted neighbours.

    Args:
        queries: float32 unit rows, shape (m, d).
        vectors: what ``neighbours.ids`` number, at the same stage, shape (n, d).
        neighbours: of each query, best first.
        config: which of them are accepted, and what they weigh.
        own: row number of each query in ``vectors``, int64, when the queries are the catalogue itself: a row is no
            neighbour of its own. None for new titles.

    Returns:
        float32 unit rows, shape (m, d); a row without accepted neighbours stays as it was.
    """
    ids, scores = neighbours.ids, neighbours.scores
    other = ids >= 0
    if own is not None:
        other &= ids != own[:, None]
    accepted = other & (scores >= config.threshold)
    if config.min2_threshold is not None:
        first = np.argmax(other, axis=1)[:, None]
        nearest = np.take_along_axis(scores, first, 1) >= config.min2_threshold
        np.put_along_axis(accepted, first, np.take_along_axis(accepted | (other & nearest), first, 1), 1)
    weights = np.where(accepted, np.maximum(scores, 0) ** config.power, 0).astype(np.float32) * config.weight
    blended = queries.copy()
    touched = np.flatnonzero(accepted.any(axis=1))
    # Accepted neighbours stand first, so the widest row of a block tells how many columns it needs.
    width = accepted.shape[1] - np.argmax(accepted[:, ::-1], axis=1)
    for rows in _blocks(touched, None if own is not None else width):
        columns = int(width[rows].max())
        near = vectors[np.maximum(ids[rows, :columns], 0)]
        blended[rows] += np.matmul(weights[rows, None, :columns], near)[:, 0]
    lengths = np.linalg.norm(blended[touched], axis=1, keepdims=True)
    blended[touched] /= np.maximum(lengths, 1e-12)
    return blended


def _blocks(rows: Rows, width: Rows | None) -> Iterator[Rows]:
    """Rows that are blended at a time; of one width, where it is given: a sum is rounded by how many it adds up."""
    parts = [rows] if width is None else [rows[width[rows] == one] for one in sorted(set(width[rows].tolist()))]
    for part in parts:
        for start in range(0, len(part), _BLOCK):
            yield part[start : start + _BLOCK]


@dataclass(frozen=True)
class Blended:
    """A blended catalogue.

    Attributes:
        stages: vectors before the first stage, after it, and so on; each float32, shape (n, d).
        neighbours: the catalogue's candidates, scored by the last stage's vectors.
    """

    stages: tuple[Vectors, ...]
    neighbours: Neighbours


def blend_catalogue(
    vectors: Vectors, neighbours: Neighbours, config: BlendConfig, *, progress: Callable[[int], None] | None = None
) -> Blended:
    """Blend a catalogue with itself.

    Args:
        vectors: float32 unit rows, shape (n, d).
        neighbours: their nearest rows, shape (n, k), best first, the row itself included or not.
        config: how far and how often.
        progress: called with the number of rows blended since the last call; a row counts once a stage.
    """
    stages, own = [vectors], np.arange(len(vectors), dtype=np.int64)
    for _ in range(config.stages):
        stages.append(blend_once(stages[-1], stages[-1], neighbours, config, own))
        neighbours = rescore(stages[-1], stages[-1], neighbours)
        if progress:
            progress(len(vectors))
    return Blended(tuple(stages), neighbours)


def blend_vectors(queries: Vectors, stages: Sequence[Vectors], near: Neighbours, config: BlendConfig) -> Vectors:
    """The vectors of new titles after the stages that a blended catalogue went through; see ``blend_queries``."""
    for before, after in pairwise(stages):
        queries = blend_once(queries, before, near, config)
        near = rescore(queries, after, near)
    return queries


def blend_queries(
    queries: Vectors, stages: Sequence[Vectors], neighbours: Neighbours, config: BlendConfig
) -> Neighbours:
    """Neighbours of new titles in a blended catalogue, which stays as it is.

    A new title goes through the stages that the catalogue's rows went through, each against the catalogue's vectors of
    that stage, and is scored against the last.

    Args:
        queries: float32 unit rows, shape (m, d).
        stages: as in ``Blended``.
        neighbours: of the queries among ``stages[0]``, shape (m, k), best first. The first ``config.k`` blend; where
            there are more, the others are scored only, so that asking for more changes no score.
        config: the one that the catalogue was blended with.

    Returns:
        The same neighbours, scored by the last stage's vectors, best first.
    """
    if len(stages) == 1:
        return neighbours
    near = Neighbours(neighbours.ids[:, : config.k], neighbours.scores[:, : config.k])
    return rescore(blend_vectors(queries, stages, near, config), stages[-1], neighbours)
