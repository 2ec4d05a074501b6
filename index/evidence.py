"""Evidence: everything that speaks for or against two titles being one product, as numbers.

Cosines before and after blending, how either title ranks among the other's neighbours and how far it stands out, how
thick the crowd around them is, and what their words, quantities and traits say. Every number is the same whichever of
the two titles comes first. It does not know what a number is worth: the probability model learns that.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.clustering import Edges, Ids, edges_of
from index.crowd import Crowd, Numbers
from index.vectors import Neighbours, Vectors
from index.verdict import Verdict
from index.wording import WORDING, Wording

_SEEN = (4, 19)  # the 5th and the 20th other tell how thick a crowd is
STANDING = (
    "cosine", "blended_cosine", "rank_least", "rank_most", "gap_least", "gap_most",
    "fifth_least", "fifth_most", "twentieth_least", "twentieth_most",
)  # fmt: skip
EVIDENCE = (*STANDING, *WORDING)
"""What each column of the evidence is."""

FLOOR = 0.4  # cosine below which a pair is never looked at
NEAR, SURE = 10, 0.6  # a pair is looked at when it is among the first so many of either title, or has such a cosine
_BLOCK = 2048
VETOES = ("quantity_count", "quantity_mass", "quantity_volume", "trait_model_code")
"""What no two titles of one product contradict each other on, unless labels say so."""


@dataclass(frozen=True)
class Side:
    """Titles that stand on one side of pairs: a catalogue's, or new ones that are looked up in it.

    Attributes:
        vectors, blended: float32 unit rows before and after blending, shape (n, d).
        crowd: of the rows, by the cosines before blending.
        wording: of the titles.
        new: whether the titles stand outside the catalogue's own neighbour lists.
    """

    vectors: Vectors
    blended: Vectors
    crowd: Crowd
    wording: Wording
    new: bool = False


def worth_a_look(neighbours: Neighbours, theirs: Crowd | None = None) -> npt.NDArray[np.bool_]:
    """Which neighbours evidence is gathered for, by their cosines before blending; bool, the lists' shape.

    Args:
        neighbours: best first.
        theirs: the crowd of the rows that the lists number, where the lists are of new titles: such a title stands in
            no list of a catalogue's row, but would be among the first of some.
    """
    near = np.arange(neighbours.ids.shape[1]) <= NEAR  # the first is perhaps the row itself
    if theirs is not None:
        ranks = theirs.ranks(np.maximum(neighbours.ids, 0).ravel(), neighbours.scores.ravel())
        near = near | (ranks < NEAR).reshape(neighbours.ids.shape)
    return np.asarray((neighbours.ids >= 0) & (neighbours.scores >= FLOOR) & (near | (neighbours.scores >= SURE)))


def candidates(neighbours: Neighbours) -> Edges:
    """The pairs of a catalogue that are worth a look, each once, from its lists with itself."""
    seen = worth_a_look(neighbours)
    return edges_of(Neighbours(np.where(seen, neighbours.ids, -1), np.where(seen, neighbours.scores, -np.inf)))


def gather(lefts: Side, left: Ids, rights: Side, right: Ids) -> Numbers:
    """The evidence of each pair: float32, shape (pairs, len(EVIDENCE)).

    Args:
        lefts, rights: what the two sides number; the same one for pairs within a catalogue.
        left, right: int64, shape (pairs,); pairs of one left row are best side by side.
    """
    found = np.empty((len(left), len(EVIDENCE)), np.float32)
    found[:, : len(STANDING)] = standing(lefts, left, rights, right)
    found[:, len(STANDING) :] = lefts.wording.compare(left, right, rights.wording)
    return found


def standing(lefts: Side, left: Ids, rights: Side, right: Ids) -> Numbers:
    """The part of the evidence that hangs on where the titles stand: float32, shape (pairs, len(STANDING))."""
    found = np.empty((len(left), len(STANDING)), np.float32)
    cosines = _cosines(lefts.vectors, left, rights.vectors, right)
    found[:, 0], found[:, 1] = cosines, _cosines(lefts.blended, left, rights.blended, right)
    pairs = (
        (lefts.crowd.ranks(left, cosines), rights.crowd.ranks(right, cosines)),
        (
            lefts.crowd.gaps(left, cosines, right),
            rights.crowd.gaps(right, cosines, None if lefts.new else left),
        ),
        *((lefts.crowd.scores[left, at], rights.crowd.scores[right, at]) for at in _SEEN),
    )
    for place, (mine, theirs) in enumerate(pairs):
        found[:, 2 + 2 * place], found[:, 3 + 2 * place] = np.minimum(mine, theirs), np.maximum(mine, theirs)
    return found


def contradictions(evidence: Numbers, lifted: Collection[str] = ()) -> npt.NDArray[np.bool_]:
    """The pairs that are two products whatever else they share: another quantity, or another model code.

    Args:
        evidence: on each pair.
        lifted: those of ``VETOES`` that count no more.
    """
    columns = [EVIDENCE.index(name) for name in VETOES if name not in lifted]
    return np.asarray((evidence[:, columns] == Verdict.DIFFERENT).any(axis=1))


def _cosines(mine: Vectors, left: Ids, theirs: Vectors, right: Ids) -> Numbers:
    out = np.empty(len(left), np.float32)
    for start in range(0, len(left), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.einsum("ij,ij->i", mine[left[block]], theirs[right[block]], out=out[block])
    return out
