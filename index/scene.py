"""The scene of a catalogue: its titles grouped, searched, blended and taken apart, ready to be judged.

Items whose cleaned titles are equal are one node here: they are searched once and always stand together. It knows
titles, vectors and candidate pairs; it does not know how vectors are made, nor items' ids, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index.blending import BlendConfig, Blended, blend_catalogue, rescore
from index.clustering import Edges, Ids
from index.crowd import Crowd
from index.decision import Decision
from index.evidence import FLOOR, Side, candidates, gather
from index.nodes import Nodes, group
from index.vectors import Device, VectorIndex, Vectors
from index.wording import Numbers, Wording

LEAST = 0.01
"""Probability below which a pair is forgotten."""
_PAIRS = 1 << 17  # pairs whose evidence is held at once
Progress = Callable[[str, int, int], None]
"""Called with a phase ("encode", "search", "blend", "judge"), what is done of it and what there is to do."""


@dataclass(frozen=True)
class JudgedPairs:
    """The pairs of nodes that may be one product.

    Attributes:
        edges: scored by probability.
        twins: probability that two items of a node are one product, float64, shape (nodes,); 1 for a node of one item.
        apart: the pairs that contradict each other on a quantity or a model code: two arrays of nodes.
    """

    edges: Edges
    twins: npt.NDArray[np.float64]
    apart: tuple[Ids, Ids]


def readable(vectors: Vectors) -> npt.NDArray[np.bool_]:
    """Which vectors are of titles that the encoder could read."""
    return np.asarray(vectors.any(axis=1))


class Scene:
    """A catalogue of nodes that can be judged. Make one with ``of``; it never changes afterwards.

    Attributes:
        nodes, index, blended: as given.
        side: the nodes as one side of pairs.
    """

    def __init__(
        self,
        nodes: Nodes,
        index: VectorIndex,
        blended: Blended,
        background: npt.NDArray[np.uint8] | None = None,
        *,
        kept: tuple[Edges, Crowd, Wording] | None = None,
    ) -> None:
        """Take the titles of a blended catalogue apart; ``background`` as in ``Wording.of``.

        What takes long may have been ``kept``: the pairs of two nodes worth a look, the crowd, and the wording.
        """
        self.nodes, self.index, self.blended = nodes, index, blended
        edges, crowd, wording = kept or (*_seen(blended), Wording.of(nodes.texts, background))
        self._candidates = _with_twins(edges, nodes)
        self.side = Side(blended.stages[0], blended.stages[-1], crowd, wording)

    @classmethod
    def of(
        cls,
        titles: Sequence[str],
        encode: Callable[[list[str], Callable[[int], None] | None], Vectors],
        blend: BlendConfig,
        *,
        background: npt.NDArray[np.uint8] | None = None,
        device: Device = "auto",
        progress: Progress | None = None,
    ) -> Scene:
        """Group, encode, search and blend a catalogue's raw titles, at least one.

        Args:
            titles: raw.
            encode: makes float32 unit rows of titles, and tells how many it has done since it last told.
            blend: how far to blend.
            background: see ``Wording.of``.
            device: where to search.
            progress: see ``Progress``.
        """
        texts, node_of = group(titles)
        vectors = encode(texts, phase(progress, "encode", len(texts)))
        nodes = Nodes(texts, node_of, readable(vectors))
        return cls.on(nodes, vectors, blend, background=background, device=device, progress=progress)

    @classmethod
    def on(
        cls,
        nodes: Nodes,
        vectors: Vectors,
        blend: BlendConfig,
        *,
        background: npt.NDArray[np.uint8] | None = None,
        device: Device = "auto",
        progress: Progress | None = None,
    ) -> Scene:
        """Search and blend nodes whose vectors are there, perhaps none; arguments as in ``of``."""
        index = VectorIndex.from_vectors(vectors, k=blend.k, floor=FLOOR, device=device)
        found = index.search(vectors, blend.k, progress=phase(progress, "search", len(vectors)))
        blended = blend_catalogue(
            vectors, found, blend, progress=phase(progress, "blend", len(vectors) * blend.stages)
        )  # fmt: skip
        return cls(nodes, index, blended, background)

    def candidates(self) -> Edges:
        """The pairs worth a look, scored by cosine before blending; a node of several items is a pair with itself."""
        return self._candidates

    def around(self, nodes: Ids) -> tuple[Ids, Ids]:
        """The candidates of some nodes: of each pair the place in ``nodes`` and the other node, place by place."""
        near, starts = self._ways
        counts = starts[nodes + 1] - starts[nodes]
        place = np.repeat(np.arange(len(nodes)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place, near[starts[nodes][place] + within]

    @cached_property
    def _ways(self) -> tuple[Ids, Ids]:
        """The candidate pairs of two nodes from both ends: other ends by the one end, and where each one's start."""
        edges, nodes = self._candidates, len(self.nodes.texts)
        two = edges.left != edges.right
        left, right = edges.left[two], edges.right[two]
        ends = np.concatenate([left, right])
        near = np.concatenate([right, left])[np.argsort(ends, kind="stable")]
        return near, np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=nodes))])

    def evidence(self, edges: Edges) -> Iterator[tuple[slice, Numbers]]:
        """The evidence on pairs of nodes, a slice of them after the other."""
        for start in range(0, len(edges), _PAIRS):
            block = slice(start, start + _PAIRS)
            yield block, gather(self.side, edges.left[block], self.side, edges.right[block])

    def judge(self, decision: Decision, progress: Progress | None = None) -> JudgedPairs:
        """The candidate pairs with their probabilities, and which of them contradict themselves."""
        edges = self.candidates()
        advance = phase(progress, "judge", len(edges))
        probabilities, apart = np.empty(len(edges)), np.empty(len(edges), bool)
        for block, evidence in self.evidence(edges):
            probabilities[block], apart[block] = decision.probability(evidence), decision.contradictions(evidence)
            if advance:
                advance(len(evidence))
        return judged_pairs(len(self.nodes.texts), edges, probabilities, apart)


def _seen(blended: Blended) -> tuple[Edges, Crowd]:
    """The pairs worth a look, and the crowds, by the cosines before blending."""
    found = rescore(blended.stages[0], blended.stages[0], blended.neighbours)
    return candidates(found), Crowd.of(found, np.arange(len(found.ids)))


def _with_twins(edges: Edges, nodes: Nodes) -> Edges:
    """The edges between nodes that the encoder could read, and those of several items with themselves."""
    several = np.bincount(nodes.node_of, minlength=len(nodes.texts)) > 1
    twins = np.flatnonzero(several & nodes.readable)
    real = nodes.readable[edges.left] & nodes.readable[edges.right]
    left, right, scores = edges.left[real], edges.right[real], edges.scores[real]
    places = np.searchsorted(left, twins)  # a node's pair with itself comes first of its pairs
    return Edges(np.insert(left, places, twins), np.insert(right, places, twins), np.insert(scores, places, 1))


def judged_pairs(
    nodes: int, pairs: Edges, probabilities: npt.NDArray[np.float64], apart: npt.NDArray[np.bool_]
) -> JudgedPairs:
    """Candidate pairs with what was found out of them, nodes that pair with themselves told apart."""
    twin = pairs.left == pairs.right
    twins = np.ones(nodes)
    twins[pairs.left[twin]] = probabilities[twin]
    kept = ~twin & (probabilities >= LEAST)
    edges = Edges(pairs.left[kept], pairs.right[kept], probabilities[kept].astype(np.float32))
    apart = apart & ~twin
    return JudgedPairs(edges, twins, (pairs.left[apart], pairs.right[apart]))


def phase(progress: Progress | None, name: str, total: int) -> Callable[[int], None] | None:
    """A counter of what is done of a phase, that tells ``progress``; None where nobody listens."""
    if progress is None:
        return None
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        progress(name, done, total)

    return advance
