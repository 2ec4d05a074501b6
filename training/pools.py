"""Pools: held-out rows as catalogues, among training rows of their set, in the sizes and regimes that users have.

It knows labelled sets and how titles become vectors; it does not know what is learnt from a pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from index.blending import BlendConfig
from index.lexical import background
from index.scene import Scene
from index.vectors import Vectors
from training.examples import Pool
from training.labels import Labelled

SIZE = 20_000  # rows of a pool, at most
SIZES = (8000, 3000, 1200, 400)  # of the smaller pools to learn from, where a set has more rows
SINGLE = 0.6  # of the products are cut to one listing where a pool is to have listings without a partner
Encode = Callable[[list[str]], Vectors]
Background = npt.NDArray[np.uint8]


def remembering(encode: Encode) -> Encode:
    """The same, but no title is encoded twice."""
    known: dict[str, int] = {}
    kept: list[Vectors] = []

    def remembered(titles: list[str]) -> Vectors:
        new = [title for title in dict.fromkeys(titles) if title not in known]
        if new:
            known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
            kept.append(encode(new))
            kept[:] = [np.concatenate(kept)]
        return np.ascontiguousarray(kept[0][[known[title] for title in titles]])

    return remembered


def background_of(titles: Sequence[str]) -> Background:
    """How common grams are in titles at large: of characters and of words, uint8, shape (2, ...)."""
    return np.stack([background(titles, "char"), background(titles, "word")])


def pool_of(
    labelled: Labelled,
    split: str,
    encode: Encode,
    blend: BlendConfig,
    *,
    weight: float = 1.0,
    size: int = SIZE,
    single: float = 0.0,
    common: Background | None = None,
    seed: int = 0,
) -> Pool:
    """The rows of a split, judged among training rows of their set.

    Args:
        labelled: the set.
        split: whose rows are judged. Of more than ``size``, as many as fit.
        encode: makes float32 unit rows of raw titles.
        blend: how far to blend.
        weight: of the set.
        size: rows in all, at most.
        single: share of the products that are cut to one listing.
        common: see ``background_of``.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    judged, others = labelled.part(split), labelled.part("train")
    first = _whole_products(judged[1], size, rng) if len(judged[0]) > size else list(range(len(judged[0])))
    keep = rng.permutation(len(others[0]))[: max(0, size - len(first))].tolist()
    titles = [judged[0][row] for row in first] + [others[0][row] for row in keep]
    labels = [judged[1][row] for row in first] + [others[1][row] for row in keep]
    counted = len(first)
    if single:
        rows = _cut(labels, single, rng)
        counted = sum(row < counted for row in rows)
        titles, labels = [titles[row] for row in rows], [labels[row] for row in rows]
    scene = Scene.of(titles, lambda texts, _: encode(texts), blend, background=common, device="cpu")
    return Pool(labelled.name, scene, labels, np.arange(counted), weight)


def variants_of(
    labelled: Labelled,
    split: str,
    encode: Encode,
    blend: BlendConfig,
    *,
    weight: float = 1.0,
    common: Background | None = None,
) -> list[Pool]:
    """Smaller pools of the rows of a split, and pools in which most products have one listing."""
    most = min(SIZE, labelled.splits.count(split) + labelled.splits.count("train"))
    sizes = [(most, SINGLE), *((size, 0.0) for size in SIZES if size < 0.7 * most)]
    if len(sizes) > 2:
        sizes.append((sizes[2][0], SINGLE))
    return [
        pool_of(
            labelled, split, encode, blend,
            weight=weight, size=size, single=single, common=common, seed=seed,
        )
        for seed, (size, single) in enumerate(sizes, 1)
    ]  # fmt: skip


def _whole_products(labels: Sequence[str], size: int, rng: np.random.Generator) -> list[int]:
    """Rows of products drawn until the next would not fit; at least one product's."""
    members: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label, []).append(row)
    products = sorted(members)
    taken: list[int] = []
    for number in rng.permutation(len(products)).tolist():
        rows = members[products[number]]
        if taken and len(taken) + len(rows) > size:
            break
        taken += rows[:size]
    return sorted(taken)


def _cut(labels: Sequence[str], share: float, rng: np.random.Generator) -> list[int]:
    """The rows that stay when a share of the products keep one listing."""
    products = sorted(set(labels))
    single = {products[number] for number in rng.permutation(len(products))[: int(share * len(products))].tolist()}
    seen: set[str] = set()
    kept = []
    for row, label in enumerate(labels):
        if label not in single or label not in seen:
            kept.append(row)
        seen.add(label)
    return kept
