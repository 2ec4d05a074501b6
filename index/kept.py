"""Kept bases: what a base took long to work out, in one file beside the store, so that a start takes seconds.

Items, titles and vectors are the store's alone. The file holds what follows from them: blended vectors, neighbours and
titles taken apart, by the store's numbers of nodes. Whatever came, changed or went since stands beside the base as it
would have without a restart. A file that is missing, torn, of another model or not of these titles is none at all.

It knows bases and files. It does not know when one is worth keeping.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from embedder.text import CLEANING_VERSION
from index.blending import BlendConfig, Blended
from index.catalog import Loaded
from index.clustering import Edges
from index.evidence import EVIDENCE, FLOOR
from index.lexical import Lexicon, Rows, Unit
from index.nodes import Nodes, key_of
from index.quantities import QuantityTable
from index.scene import JudgedPairs, Scene, readable
from index.snapshot import Base, texts_of
from index.traits import TraitTable
from index.vectors import Device, Neighbours, VectorIndex
from index.wording import Wording

FORMAT = 2
"""To be raised whenever titles come to be taken apart in another way."""
_ALIASES = Path(__file__).with_name("aliases.csv")
_ROWS = ("starts", "grams", "weights", "lengths", "masses")
_TRAITS = ("lengths", "codes", "numbers", "brands", "bits")
_PAIRS = ("pair_left", "pair_right", "pair_scores", "apart_left", "apart_right")
Arrays = Mapping[str, npt.NDArray[Any]]


def file_of(folder: Path, fingerprint: str, digest: str) -> Path:
    """Where the base of a model is kept, by the fingerprint of its vectors and the digest of its decision."""
    return folder / f"base-{fingerprint}-{digest}.npz"


def forget_bases(folder: Path, wanted: Collection[Path]) -> None:
    """Remove the bases in a folder that nobody wants any more."""
    for file in folder.glob("base-*.npz"):
        if file not in wanted:
            file.unlink(missing_ok=True)


def keep(base: Base, file: Path, blend: BlendConfig, background: npt.NDArray[np.uint8] | None) -> None:
    """Write a base, whole or not at all; the one that stood there is replaced.

    Raises:
        OSError: it cannot be written; then what stood there still does.
    """
    scene, found = base.scene, Scene.found(base.scene.blended)
    texts = {"texts": scene.nodes.texts, "keys": [*base.keys], "nodes": [*base.keys.values()]}
    arrays = {
        "about": _bytes({"base": _about(blend, background), "revision": base.revision}),
        "texts": _bytes(texts), "numbers": base.numbers, "crowded": base.crowded,
        "neighbour_ids": scene.blended.neighbours.ids.astype(np.int32),
        "neighbour_scores": scene.blended.neighbours.scores,
        "found_ids": found.ids.astype(np.int32), "found_scores": found.scores,
        **{f"stage{at}": stage for at, stage in enumerate(scene.blended.stages) if at},
        **_of_wording(scene.side.wording), **_of_pairs(base.pairs),
    }  # fmt: skip
    beside = file.with_suffix(".part")
    try:
        with beside.open("wb") as opened:
            np.savez(opened, allow_pickle=False, **cast("dict[str, Any]", arrays))
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def read_kept(
    file: Path,
    loaded: Loaded,
    blend: BlendConfig,
    background: npt.NDArray[np.uint8] | None,
    *,
    device: Device = "auto",
) -> tuple[Base, Loaded] | None:
    """The base that was kept, with the items that still stand on its nodes; and the items that do not.

    Args:
        file: where it is.
        loaded: what the store holds by now.
        blend, background: as ``Base.of`` would be given.
        device: where to search.

    Returns:
        None where there is none that these items could follow.
    """
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
        about = json.loads(arrays["about"].tobytes())
        if about["base"] != _about(blend, background) or about["revision"] > loaded.revision:
            return None
        return _restored(arrays, loaded, blend, device)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile):
        return None


def _restored(arrays: Arrays, loaded: Loaded, blend: BlendConfig, device: Device) -> tuple[Base, Loaded] | None:
    told, numbers = json.loads(arrays["texts"].tobytes()), arrays["numbers"]
    by_number = np.argsort(numbers)
    at = np.minimum(np.searchsorted(numbers, loaded.nodes, sorter=by_number), max(len(numbers) - 1, 0))
    known = numbers[by_number[at]] == loaded.nodes if len(numbers) else np.zeros(len(loaded.nodes), bool)
    node_of_row = np.where(known, by_number[at] if len(numbers) else -1, -1)
    node_of = node_of_row[loaded.row_of]
    items = np.flatnonzero(node_of >= 0)
    ids, titles = [loaded.ids[item] for item in items.tolist()], [loaded.titles[item] for item in items.tolist()]
    texts = texts_of(titles, node_of[items], len(numbers))
    keys: dict[str, int] = dict(zip(told["keys"], told["nodes"], strict=True))
    for node, (text, was) in enumerate(zip(texts, told["texts"], strict=True)):
        # A number that came to another title says that the store was put back to an earlier state.
        if text and text != was and (key := key_of(text)) and keys.get(key) != node:
            return None
    vectors = np.zeros((len(numbers), loaded.matrix.shape[1]), np.float32)
    vectors[node_of_row[known]] = loaded.matrix[known]
    nodes = Nodes(texts, node_of[items], readable(vectors))
    index = VectorIndex.from_vectors(vectors, k=blend.k, floor=FLOOR, device=device)
    near, found = (
        Neighbours(arrays[f"{name}_ids"].astype(np.int64), arrays[f"{name}_scores"]) for name in ("neighbour", "found")
    )
    blended = Blended((vectors, *(arrays[f"stage{1 + at}"] for at in range(blend.stages))), near)
    scene = Scene(nodes, index, blended, kept=(found, _to_wording(arrays)))
    base = Base(
        ids, titles, scene, numbers, keys, loaded.revision, arrays["crowded"], _to_pairs(arrays, nodes.readable)
    )
    rest = np.flatnonzero(node_of < 0)
    others = Loaded(
        [loaded.ids[item] for item in rest.tolist()], [loaded.titles[item] for item in rest.tolist()],
        loaded.row_of[rest], loaded.nodes, loaded.matrix, loaded.revision,
    )  # fmt: skip
    return base, others


def _about(blend: BlendConfig, background: npt.NDArray[np.uint8] | None) -> dict[str, Any]:
    """What else a base follows from: nothing of it may have changed since."""
    told = hashlib.sha256(_ALIASES.read_bytes())
    told.update(b"" if background is None else background.tobytes())
    return {
        "format": FORMAT, "cleaning": CLEANING_VERSION, "blend": asdict(blend), "evidence": list(EVIDENCE),
        "words": told.hexdigest(),
    }  # fmt: skip


def _bytes(value: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _of_pairs(pairs: JudgedPairs | None) -> dict[str, npt.NDArray[Any]]:
    """Nothing where nothing was judged; whether twins are one product is not asked of a base."""
    if pairs is None:
        return {}
    left, right = (end.astype(np.int32) for end in (pairs.edges.left, pairs.edges.right))
    one, other = (end.astype(np.int32) for end in pairs.apart)
    return dict(zip(_PAIRS, (left, right, pairs.edges.scores, one, other), strict=True))


def _to_pairs(arrays: Arrays, there: npt.NDArray[np.bool_]) -> JudgedPairs | None:
    """The pairs of nodes that are there still."""
    if _PAIRS[0] not in arrays:
        return None
    left, right, scores, one, other = (arrays[name] for name in _PAIRS)
    edges, apart = there[left] & there[right], there[one] & there[other]
    return JudgedPairs(
        Edges(left[edges].astype(np.int64), right[edges].astype(np.int64), scores[edges]), np.ones(len(there)),
        (one[apart].astype(np.int64), other[apart].astype(np.int64)),
    )  # fmt: skip


def _of_wording(wording: Wording) -> dict[str, npt.NDArray[Any]]:
    rows = {"char": wording.char_rows, "word": wording.word_rows}
    return {
        **{f"{unit}_{part}": getattr(some, part) for unit, some in rows.items() for part in _ROWS},
        "char_idf": wording.char.idf, "word_idf": wording.word.idf,
        **{f"trait_{part}": getattr(wording.traits, part) for part in _TRAITS},
        "trait_left": wording.traits.spelled[0], "trait_right": wording.traits.spelled[1],
        "quantities": wording.quantities.values, "words": wording.words, "shape": wording.shape,
    }  # fmt: skip


def _to_wording(arrays: Arrays) -> Wording:
    def rows(unit: Unit) -> Rows:
        return Rows(*(arrays[f"{unit}_{part}"] for part in _ROWS))

    char, word = rows("char"), rows("word")
    traits = TraitTable((arrays["trait_left"], arrays["trait_right"]), *(arrays[f"trait_{part}"] for part in _TRAITS))
    return Wording(
        Lexicon("char", arrays["char_idf"], char), Lexicon("word", arrays["word_idf"], word), char, word,
        QuantityTable(arrays["quantities"]), traits, arrays["words"], arrays["shape"],
    )  # fmt: skip
