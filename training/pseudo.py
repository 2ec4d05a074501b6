"""A noisy student's products: titles of unknown product that a teacher is sure are one.

A teacher clusters unlabelled titles, and clusters at a high probability train as products do in contrastive batches,
rewritten harder than labelled ones (Xie et al. 2020, self-training with a noisy student). They never become classes of
a margin loss: a wrong class would be held together for the whole run. It knows bundles and products; it does not know
how sure a teacher ought to be of a catalogue unlike its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from index.matcher import Matcher
from index.scene import Progress
from training.labels import Products

_RUN = 64  # titles that stand together by spelling and are drawn together, for single ones have no partner
_MOST = 30  # titles; a larger cluster is a family of products rather than one


def join_pseudo(
    products: Products,
    teacher: str | Path,
    number: int,
    kept: Path | None = None,
    *,
    seed: int = 0,
    sure: float = 0.9,
    progress: Progress | None = None,
) -> Products:
    """The same titles, with those of unknown product joined where the teacher is sure.

    Args:
        products: labelled ones and titles of unknown product.
        teacher: a bundle; it should not have seen the held-out products of this run.
        number: of titles of unknown product to cluster: runs of them by spelling, drawn by the seed.
        kept: a folder that keeps the clusters, so that a run taken up again has the very same; None keeps nothing.
        seed: of the draw.
        sure: the least mean probability between the titles of a cluster.
        progress: see ``index.scene.Progress``.

    Raises:
        InputError: the bundle cannot be used.
    """
    single = np.flatnonzero((products.sources == -1) & (np.diff(products.offsets) == 1))
    drawn = _draw(products, single.tolist(), number, seed)
    titles = [products.titles[products.offsets[product]] for product in drawn]
    clusters = _clusters(titles, teacher, kept, sure, progress) if titles else np.empty(0, np.int64)
    members: dict[int, list[int]] = {}
    for product, cluster in zip(drawn, clusters.tolist(), strict=True):
        members.setdefault(cluster, []).append(product)
    return _regroup(products, [own for own in members.values() if 1 < len(own) <= _MOST])


def _draw(products: Products, single: Sequence[int], number: int, seed: int) -> list[int]:
    """So many of the products of one title, ascending."""
    ordered = sorted(single, key=lambda product: products.titles[products.offsets[product]])
    runs = [ordered[start : start + _RUN] for start in range(0, len(ordered), _RUN)]
    order = np.random.default_rng(seed).permutation(len(runs)).tolist()
    return sorted([product for run in order for product in runs[run]][:number])


def _clusters(
    titles: Sequence[str], teacher: str | Path, kept: Path | None, sure: float, progress: Progress | None
) -> npt.NDArray[np.int64]:
    """The cluster of each title, numbered in the order in which they come."""
    bundle = load_bundle(teacher)
    asked = "\0".join([bundle.fingerprint, str(sure), *titles]).encode("utf-8", "surrogatepass")
    path = kept / f"pseudo-{hashlib.sha256(asked).hexdigest()[:16]}.npy" if kept else None
    if path and path.exists():
        found: npt.NDArray[np.int64] = np.load(path, allow_pickle=False)
        return found
    ids = [str(row) for row in range(len(titles))]
    names = Matcher.from_items(ids, titles, Encoder(bundle), progress=progress).cluster(sure)
    first: dict[str, int] = {}
    clusters = np.array([first.setdefault(name, len(first)) for name in names], np.int64)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        with beside.open("wb") as file:
            np.save(file, clusters, allow_pickle=False)
        os.replace(beside, path)
    return clusters


def _regroup(products: Products, clusters: Sequence[Sequence[int]]) -> Products:
    """The products with each cluster of them, all of unknown source, joined into one behind all others.

    Only products of unknown source change their numbers: they stand behind the labelled ones, which other numbers
    name.
    """
    joined = {product for own in clusters for product in own}
    order = [[product] for product in range(len(products)) if product not in joined] + [list(own) for own in clusters]
    titles = [[title for product in own for title in products.of(product)] for own in order]
    return replace(
        products,
        titles=[title for own in titles for title in own],
        offsets=np.cumsum([0, *map(len, titles)]).astype(np.int64),
        sources=np.array([products.sources[own[0]] for own in order], np.int32),
    )
