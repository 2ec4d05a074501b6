"""The matcher: a catalogue of titles that answers "which of these are the same product?".

Ties encoder, index, blending, evidence and decision together, and saves and loads itself; command line, service and
benchmarks all go through it. Items whose cleaned titles are equal are one node here: they are searched once and always
stand together. It does not know files of items, HTTP or how a decision was chosen.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.bundle import BACKGROUND, Bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from embedder.folders import replacing_folder
from index.answers import Answer as Answer
from index.answers import Answerer, Judged
from index.answers import Match as Match
from index.answers import assigned as assigned
from index.blending import BlendConfig, Blended, blend_queries, blend_vectors
from index.clustering import Ids
from index.crowd import Crowd
from index.decision import Decision
from index.evidence import Side, gather, worth_a_look
from index.grouping import Grouping, group_items
from index.nodes import Nodes, key_of
from index.prior import prior_shift
from index.scene import JudgedPairs, Progress, Scene, readable
from index.vectors import Device, Neighbours, VectorIndex, Vectors

FORMAT = 2


class Matcher(Answerer):
    """A searchable catalogue. Make one with ``from_items`` or ``load``; it never changes afterwards."""

    def __init__(
        self,
        encoder: Encoder,
        decision: Decision,
        ids: Sequence[str],
        titles: Sequence[str],
        scene: Scene,
        progress: Progress | None = None,
    ) -> None:
        self.encoder = encoder
        self.decision = decision
        self.ids = list(ids)
        self.titles = list(titles)
        self.scene = scene
        self._items = scene.nodes.items()
        self._nodes = {key_of(t): node for node, t in enumerate(scene.nodes.texts) if scene.nodes.readable[node]}
        self._progress = progress

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
        decision = decision or Decision.of(encoder.bundle, threads=encoder.threads)

        def encode(texts: list[str], advance: Callable[[int], None] | None) -> Vectors:
            return encoder.encode(texts, progress=advance)

        scene = Scene.of(
            titles, encode, decision.blend,
            background=common_grams(encoder.bundle), device=device, progress=progress,
        )  # fmt: skip
        return cls(encoder, decision, ids, titles, scene, progress)

    @property
    def nodes(self) -> Nodes:
        """The catalogue's items, grouped by equal cleaned title."""
        return self.scene.nodes

    @property
    def index(self) -> VectorIndex:
        """The index of the nodes' vectors."""
        return self.scene.index

    @property
    def blended(self) -> Blended:
        """The nodes, blended."""
        return self.scene.blended

    def __len__(self) -> int:
        return len(self.ids)

    def _judge_known(self, nodes: Ids) -> list[list[Judged]]:
        """Of nodes of the catalogue: the pairs that are judged when all of it is, the node with itself first."""
        at, near = self.scene.around(nodes)
        at, near = np.concatenate([np.arange(len(nodes)), at]), np.concatenate([nodes, near])
        own, side = nodes[at], self.scene.side
        return self._weigh(len(nodes), at, near, gather(side, np.minimum(own, near), side, np.maximum(own, near)))

    def _judge_new(self, titles: Sequence[str]) -> list[list[Judged]]:
        vectors = self.encoder.encode(titles)
        found = self.index.search(vectors, self.decision.blend.k)
        found.ids[~readable(vectors)] = -1
        blended = blend_vectors(vectors, self.blended.stages, found, self.decision.blend)
        theirs = self.scene.side
        side = Side(vectors, blended, Crowd.of(found), theirs.wording.queries(titles), new=True)
        seen = worth_a_look(found, theirs.crowd)
        seen &= self.nodes.readable[found.ids]
        at, column = np.nonzero(seen)
        near = found.ids[at, column]
        return self._weigh(len(titles), at, near, gather(side, at, theirs, near))

    def _node(self, key: str) -> int:
        return self._nodes.get(key, -1)

    def _text(self, node: int) -> str:
        return self.nodes.texts[node]

    def _members(self, node: int) -> Sequence[int]:
        return self._items[node]

    def _item(self, item: int) -> tuple[str, str]:
        return self.ids[item], self.titles[item]

    def search(self, vectors: Vectors, k: int) -> Neighbours:
        """The k nearest nodes of new vectors, scored after blending, best first; float32 unit rows in."""
        return blend_queries(vectors, self.blended.stages, self.index.search(vectors, k), self.decision.blend)

    @cached_property
    def pairs(self) -> JudgedPairs:
        """The catalogue's candidate pairs, judged; worked out once, so that another threshold costs seconds."""
        return self.scene.judge(self.decision, self._progress)

    @cached_property
    def shift(self) -> float:
        """Logits by which the catalogue's own pairs are more probable than their evidence has it."""
        return prior_shift(self.nodes, self.pairs)

    @property
    def cluster_threshold(self) -> float:
        """The least mean probability that makes two clusters one, where none is named."""
        return self.decision.clusters_from(self.shift)

    def cluster(self, threshold: float | None = None) -> list[str]:
        """The cluster of each item, in the items' order: ``names`` of ``group``, whose argument this is."""
        return self.group(threshold).names

    def group(self, threshold: float | None = None, *, one_per: Sequence[str] | None = None) -> Grouping:
        """The items in clusters.

        Two clusters become one while the pairs between them are probable enough on average, and never when a pair
        of them contradicts itself on a quantity or a model code.

        Args:
            threshold: the least mean probability, above 0; ``cluster_threshold`` by default.
            one_per: a value of each item, such as its seller; see ``index.grouping``.

        Raises:
            InputError: the threshold is no probability, or 0; another number of values than items.
        """
        threshold = self.cluster_threshold if threshold is None else threshold
        return group_items(self.nodes, self.pairs, self.ids, threshold, one_per)

    def save(self, folder: str | Path) -> None:
        """Write the catalogue; a catalogue that stood there is replaced whole.

        Raises:
            InputError: something else stands there, or it cannot be written.
        """
        about = {
            "format": FORMAT, "fingerprint": self.encoder.fingerprint, "items": len(self),
            "blend": asdict(self.decision.blend),
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
            decision = Decision.of(encoder.bundle, threads=encoder.threads)
            if BlendConfig(**about["blend"]) != decision.blend:
                raise InputError("made with another way of blending: index the catalogue again", file=str(folder))
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
        scene = Scene(nodes, index, blended, common_grams(encoder.bundle))
        return cls(encoder, decision, items["ids"], items["titles"], scene)


def common_grams(bundle: Bundle) -> npt.NDArray[np.uint8] | None:
    """How common grams are in titles at large, as the bundle has it; see ``Wording.of``."""
    path = bundle.folder / BACKGROUND
    return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) if path.exists() else None
