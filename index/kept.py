"""Kept bases: what a base took long to work out, in one file beside the store, so that a start takes seconds.

Items, titles and vectors are the store's alone. The file holds what follows from them: blended vectors, neighbours and
titles taken apart, by the store's numbers of nodes. Whatever came, changed or went since stands beside the base as it
would have without a restart. A file that is missing, torn, of another model or not of these titles is none at all.

It knows bases and files. It does not know when one is worth keeping.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from embedder.text import CLEANING_VERSION
from index.blending import BlendConfig, Blended
from index.catalog import Loaded
from index.clustering import Edges, Ids
from index.crowd import Crowd
from index.evidence import EVIDENCE, FLOOR
from index.lexical import Lexicon, Rows, Unit
from index.nodes import Nodes, key_of
from index.quantities import QuantityTable
from index.scene import JudgedPairs, Scene, readable
from index.snapshot import Base, texts_of
from index.traits import TraitTable
from index.vectors import Device, Neighbours, Sketch, VectorIndex, Vectors
from index.wording import Wording

FORMAT = 4
"""To be raised whenever titles come to be taken apart in another way."""
_ALIASES = Path(__file__).with_name("aliases.csv")
_ROWS = ("starts", "grams", "weights", "lengths", "masses")
_TRAITS = ("lengths", "codes", "numbers", "brands", "bits")
_PAIRS = ("pair_left", "pair_right", "pair_scores", "apart_left", "apart_right")
_LOCAL = struct.Struct("<26xHH")  # in a zip file, what stands before a member: at last how long its name and more are
_HEAD = 1 << 12  # bytes that say at most what an array is
_AT_ONCE = 4  # arrays that are read at the same time
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
    scene, crowd = base.scene, base.scene.side.crowd
    texts = {"texts": scene.nodes.texts, "keys": [*base.keys], "nodes": [*base.keys.values()]}
    arrays = {
        "about": _bytes({"base": _about(blend, background), "revision": base.revision, "shift": base.shift}),
        "texts": _bytes(texts), "numbers": base.numbers, "crowded": base.crowded,
        "neighbour_ids": scene.blended.neighbours.ids.astype(np.int32),
        "neighbour_scores": scene.blended.neighbours.scores,
        "crowd_nearest": crowd.nearest.astype(np.int32), "crowd_scores": crowd.scores,
        **{f"stage{at}": stage for at, stage in enumerate(scene.blended.stages) if at},
        **_of_edges(scene), **_of_wording(scene.side.wording), **_of_pairs(base.pairs),
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
    load: Callable[[], Loaded],
    blend: BlendConfig,
    background: npt.NDArray[np.uint8] | None,
    *,
    device: Device = "auto",
) -> tuple[Base, Loaded] | None:
    """The base that was kept, with the items that still stand on its nodes; and the items that do not.

    Args:
        file: where it is.
        load: what the store holds by now; called while the file is read.
        blend, background: as ``Base.of`` would be given.
        device: where to search.

    Returns:
        None where there is none that these items could follow.
    """
    if not file.exists():
        return None
    try:
        with ThreadPoolExecutor(1) as beside:
            reading = beside.submit(_arrays, file)
            loaded = load()
            arrays = reading.result()
        about = json.loads(arrays["about"].tobytes())
        if about["base"] != _about(blend, background) or about["revision"] > loaded.revision:
            return None
        return _restored(arrays, about["shift"], loaded, blend, device)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, struct.error, zipfile.BadZipFile):
        return None


def _restored(
    arrays: Arrays, shift: float, loaded: Loaded, blend: BlendConfig, device: Device
) -> tuple[Base, Loaded] | None:
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
    vectors = _vectors(loaded.matrix, node_of_row, len(numbers))
    nodes = Nodes(texts, node_of[items], readable(vectors))
    index = VectorIndex.from_vectors(vectors, k=blend.k, floor=FLOOR, device=device)
    if "sketch_codes" in arrays:
        recall = float(arrays["sketch_recall"]) if "sketch_recall" in arrays else None  # older files do not tell
        index.sketch(Sketch(arrays["sketch_centroids"], arrays["sketch_codes"], recall))
    near = Neighbours(arrays["neighbour_ids"].astype(np.int64), arrays["neighbour_scores"])
    blended = Blended((vectors, *(arrays[f"stage{1 + at}"] for at in range(blend.stages))), near)
    crowd = Crowd(arrays["crowd_nearest"].astype(np.int64), arrays["crowd_scores"])
    left, right = (arrays[f"edge_{end}"].astype(np.int64) for end in ("left", "right"))
    pairs = Edges(left, right, arrays["edge_scores"])
    scene = Scene(nodes, index, blended, kept=(pairs, crowd, _to_wording(arrays)))
    base = Base(
        ids, titles, scene, numbers, keys, loaded.revision, arrays["crowded"], _to_pairs(arrays, nodes.readable), shift
    )
    rest = np.flatnonzero(node_of < 0)
    others = Loaded(
        [loaded.ids[item] for item in rest.tolist()], [loaded.titles[item] for item in rest.tolist()],
        loaded.row_of[rest], loaded.nodes, loaded.matrix, loaded.revision,
    )  # fmt: skip
    return base, others


def _arrays(file: Path) -> Arrays:
    """What the file holds, each array straight into its memory, several at once: thrice as fast as ``np.load``.

    Raises:
        ValueError, BadZipFile: it is torn, or was changed, or holds what ``keep`` does not write.
    """
    size = file.stat().st_size

    def read(member: zipfile.ZipInfo) -> npt.NDArray[Any]:
        content = np.empty(min(member.file_size, size), np.uint8)
        with file.open("rb") as raw:
            raw.seek(member.header_offset)
            raw.seek(sum(_LOCAL.unpack(raw.read(_LOCAL.size))), os.SEEK_CUR)
            whole = raw.readinto(content.data) == len(content) and zlib.crc32(content.data) == member.CRC
        if not whole or member.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"{member.filename} is not whole")
        head = io.BytesIO(content[:_HEAD].tobytes())
        if np.lib.format.read_magic(head) != (1, 0):
            raise ValueError(f"{member.filename} is of another format")
        shape, by_columns, kind = np.lib.format.read_array_header_1_0(head)
        if by_columns or kind.hasobject:
            raise ValueError(f"{member.filename} holds {kind} in another order")
        return content[head.tell() :].view(kind).reshape(shape)

    with zipfile.ZipFile(file) as opened:
        members = opened.infolist()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return {
            member.filename.removesuffix(".npy"): array
            for member, array in zip(members, threads.map(read, members), strict=True)
        }


def _vectors(matrix: Vectors, node_of_row: Ids, nodes: int) -> Vectors:
    """The vectors of nodes, zeros where no row is of one; rows of no node are -1."""
    row_of = np.full(nodes, -1, np.int64)
    known = np.flatnonzero(node_of_row >= 0)
    row_of[node_of_row[known]] = known
    if np.array_equal(row_of, np.arange(len(matrix))):
        return matrix  # as long as nothing came or went
    vectors = matrix[row_of] if len(matrix) else np.zeros((nodes, matrix.shape[1]), np.float32)
    vectors[row_of < 0] = 0
    return vectors


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


def _of_edges(scene: Scene) -> dict[str, npt.NDArray[Any]]:
    """The candidate pairs of two nodes; and the sketch, where there is one."""
    edges, sketch = scene.candidates(), scene.index.sketch()
    two = edges.left != edges.right
    ends = {"edge_left": edges.left, "edge_right": edges.right}
    told = {name: end[two].astype(np.int32) for name, end in ends.items()} | {"edge_scores": edges.scores[two]}
    of_sketch = {} if sketch is None else vars(sketch)
    return told | {f"sketch_{name}": np.asarray(value) for name, value in of_sketch.items()}


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
