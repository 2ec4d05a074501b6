"""The matcher: a catalogue of titles that answers "which of these are the same product?".

Ties encoder, index, blending and decision together, and saves and loads itself; command line, service and benchmarks
all go through it. Items whose cleaned titles are equal are one node here: they are searched once and always stand
together. It does not know files of items, HTTP or how a decision was chosen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.encoder import Encoder
from embedder.errors import InputError
from embedder.folders import replacing_folder
from embedder.text import clean
from index.blending import Blended, blend_catalogue, blend_queries
from index.clustering import Edges, connected_components, edges_of
from index.decision import Decision
from index.evidence import reason
from index.vectors import Device, Neighbours, VectorIndex, Vectors

FORMAT = 1
_SLACK = 0.1  # blending may lift a cosine by this much
Progress = Callable[[str, int, int], None]
"""Called with a phase ("encode", "search", "blend"), what is done of it and what there is to do."""


@dataclass(frozen=True)
class Match:
    """One item of the catalogue that is the same product as a query.

    Attributes:
        id, title: the item's, as given.
        score: cosine after blending.
        probability: calibrated, between 0 and 1.
        reason: in words.
    """

    id: str
    title: str
    score: float
    probability: float
    reason: str


@dataclass(frozen=True)
class Nodes:
    """Items grouped by equal cleaned title.

    Attributes:
        texts: the raw title that stands for each node (the smallest, so that the order of items does not matter).
        node_of: node of each item, int64.
        readable: whether the encoder could read the node, bool; a node that it cannot read matches nothing.
    """

    texts: list[str]
    node_of: npt.NDArray[np.int64]
    readable: npt.NDArray[np.bool_]

    def items(self) -> list[list[int]]:
        """Item numbers of each node."""
        members: list[list[int]] = [[] for _ in self.texts]
        for item, node in enumerate(self.node_of.tolist()):
            members[node].append(item)
        return members


def _group(titles: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    texts: list[str] = []
    known: dict[str, int] = {}
    node_of = np.empty(len(titles), np.int64)
    for item, title in enumerate(titles):
        # Titles without a letter or digit say nothing, not even that they are alike.
        key = clean(title).casefold() or f"\0{item}"
        node = known.setdefault(key, len(texts))
        if node == len(texts):
            texts.append(title)
        texts[node] = min(texts[node], title)
        node_of[item] = node
    return texts, node_of


class Matcher:
    """A searchable catalogue. Make one with ``from_items`` or ``load``; it never changes afterwards."""

    def __init__(
        self,
        encoder: Encoder,
        decision: Decision,
        ids: Sequence[str],
        titles: Sequence[str],
        nodes: Nodes,
        index: VectorIndex,
        blended: Blended,
    ) -> None:
        self.encoder = encoder
        self.decision = decision
        self.ids = list(ids)
        self.titles = list(titles)
        self.index = index
        self.nodes = nodes
        self.blended = blended
        self._items = nodes.items()

    @classmethod
    def from_items(
        cls,
        ids: Sequence[str],
        titles: Sequence[str],
        encoder: Encoder,
        decision: Decision | None = None,
        *,
        device: Device = "auto",
        progress: Progress | None = None,
    ) -> Matcher:
        """Encode, index and blend a catalogue.

        Args:
            ids: one per item, unique.
            titles: raw titles, as many.
            encoder: makes the vectors.
            decision: the bundle's own by default.
            device: where to search.
            progress: see ``Progress``.

        Raises:
            InputError: no items, another number of titles than ids, or an id that stands twice.
        """
        if len(ids) != len(titles) or not len(ids):
            raise InputError(f"{len(ids)} ids for {len(titles)} titles; expected as many, at least one")
        if len(set(ids)) != len(ids):
            twice = next(id for id, count in Counter(ids).items() if count > 1)
            raise InputError(f"id {twice!r} stands twice; expected unique ids")
        decision = decision or Decision.of(encoder.bundle)
        texts, node_of = _group(titles)
        vectors = encoder.encode(texts, progress=_phase(progress, "encode", len(texts)))
        # A neighbour well below every threshold is neither blended nor accepted.
        floor = min(decision.blend.threshold, decision.threshold, decision.cluster_threshold) - _SLACK
        index = VectorIndex.from_vectors(vectors, k=decision.blend.k, floor=floor, device=device)
        found = index.search(vectors, decision.blend.k, progress=_phase(progress, "search", len(texts)))
        advance = _phase(progress, "blend", len(texts) * decision.blend.stages)
        blended = blend_catalogue(vectors, found, decision.blend, progress=advance)
        nodes = Nodes(texts, node_of, _readable(vectors))
        return cls(encoder, decision, ids, titles, nodes, index, blended)

    def __len__(self) -> int:
        return len(self.ids)

    def match(self, titles: Sequence[str], *, k: int = 10, threshold: float | None = None) -> list[list[Match]]:
        """The items that are the same product as each title, best first, at most k a title.

        Args:
            titles: raw titles; one that the encoder cannot read gets no matches.
            k: at least 1.
            threshold: a blended cosine; the decision's by default.

        Raises:
            InputError: k or threshold out of range.
        """
        if k < 1:
            raise InputError(f"k is {k}; expected at least 1")
        decision = self.decision.with_threshold(threshold)
        vectors = self.encoder.encode(titles)
        neighbours = self.search(vectors, max(k, decision.blend.k))
        accepted = (neighbours.scores >= decision.threshold) & _readable(vectors)[:, None]
        probabilities = decision.probability(neighbours.scores)
        results: list[list[Match]] = []
        for row, title in enumerate(titles):
            matches: list[Match] = []
            for rank in np.flatnonzero(accepted[row]).tolist():
                node = int(neighbours.ids[row, rank])
                if len(matches) == k:
                    break
                if self.nodes.readable[node]:
                    score, probability = float(neighbours.scores[row, rank]), float(probabilities[row, rank])
                    why, items = reason(title, self.nodes.texts[node]), self._items[node][: k - len(matches)]
                    matches += [Match(self.ids[item], self.titles[item], score, probability, why) for item in items]
            results.append(matches)
        return results

    def search(self, vectors: Vectors, k: int) -> Neighbours:
        """The k nearest nodes of new vectors, scored after blending, best first; float32 unit rows in."""
        return blend_queries(vectors, self.blended.stages, self.index.search(vectors, k), self.decision.blend)

    def edges(self, floor: float | None = None) -> Edges:
        """Pairs of nodes whose blended cosine is at least ``floor`` (the decision's for clusters by default)."""
        floor = self.decision.with_threshold(floor).cluster_threshold
        edges = edges_of(self.blended.neighbours, floor)
        keep = self.nodes.readable[edges.left] & self.nodes.readable[edges.right]
        return Edges(edges.left[keep], edges.right[keep], edges.scores[keep])

    def cluster(self, threshold: float | None = None) -> list[str]:
        """The cluster of each item, in the items' order: the smallest id of the items in it.

        Args:
            threshold: a blended cosine; the decision's by default.
        """
        node_clusters = connected_components(len(self.nodes.texts), self.edges(threshold))
        clusters = node_clusters[self.nodes.node_of]
        names: dict[int, str] = {}
        for cluster, id in zip(clusters.tolist(), self.ids, strict=True):
            if cluster not in names or id < names[cluster]:
                names[cluster] = id
        return [names[cluster] for cluster in clusters.tolist()]

    def save(self, folder: str | Path) -> None:
        """Write the catalogue; a catalogue that stood there is replaced whole.

        Raises:
            InputError: something else stands there, or it cannot be written.
        """
        about = {
            "format": FORMAT, "fingerprint": self.encoder.fingerprint, "items": len(self),
            "decision": self.decision.to_json(),
        }  # fmt: skip
        items = {"ids": self.ids, "titles": self.titles, "texts": self.nodes.texts}
        with replacing_folder(Path(folder), "matcher.json") as beside:
            self.index.save(beside)
            for name, array in self._arrays().items():
                np.save(beside / f"{name}.npy", array, allow_pickle=False)
            text = json.dumps(items, ensure_ascii=False)
            (beside / "items.json").write_bytes(text.encode("utf-8", "surrogatepass"))  # half an emoji is a title too
            (beside / "matcher.json").write_text(json.dumps(about), encoding="utf-8")

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {
            "node_of": self.nodes.node_of, "readable": self.nodes.readable, "stages": np.stack(self.blended.stages),
            "neighbour_ids": self.blended.neighbours.ids, "neighbour_scores": self.blended.neighbours.scores,
        }  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder, *, device: Device = "auto") -> Matcher:
        """Read what ``save`` wrote.

        Raises:
            InputError: not a whole catalogue, or one made with another model than ``encoder``'s.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "matcher.json").read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise InputError(f"format {about['format']}; this dongil reads {FORMAT}", file=str(folder))
            if about["fingerprint"] != encoder.fingerprint:
                raise InputError(
                    f"made with model {about['fingerprint']}, but this model is {encoder.fingerprint}; "
                    "vectors of two models cannot be compared: index the catalogue again",
                    file=str(folder),
                )
            items = json.loads((folder / "items.json").read_bytes().decode("utf-8", "surrogatepass"))
            arrays = {
                name: np.load(folder / f"{name}.npy", allow_pickle=False)
                for name in ("node_of", "readable", "stages", "neighbour_ids", "neighbour_scores")
            }
            decision = Decision.from_json(about["decision"], file=str(folder / "matcher.json"))
            nodes = Nodes(items["texts"], arrays["node_of"], arrays["readable"])
            blended = Blended(tuple(arrays["stages"]), Neighbours(arrays["neighbour_ids"], arrays["neighbour_scores"]))
            index = VectorIndex.load(folder, device=device)
            if not len(items["ids"]) == len(items["titles"]) == len(nodes.node_of) == about["items"]:
                raise ValueError("its files hold different numbers of items")
            of_nodes = (nodes.readable, blended.stages[0], blended.neighbours.ids, blended.neighbours.scores, index)
            if {len(part) for part in of_nodes} != {len(nodes.texts)}:
                raise ValueError("its files hold different numbers of titles")
        except InputError:
            raise
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"not a whole catalogue: {error}", file=str(folder)) from error
        return cls(encoder, decision, items["ids"], items["titles"], nodes, index, blended)


def _readable(vectors: Vectors) -> npt.NDArray[np.bool_]:
    return np.asarray(vectors.any(axis=1))


def _phase(progress: Progress | None, phase: str, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        progress(phase, done, total)

    return advance
