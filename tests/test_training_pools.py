"""Pools to decide by: whose rows are judged, how products are cut, and that no title is encoded twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="pools to decide by need dongil[train]")

from index.blending import BlendConfig
from index.vectors import Vectors
from training.labels import Labelled
from training.pools import background_of, pool_of, remembering, variants_of

PLAIN = BlendConfig(stages=0)


def labelled(products: int = 300) -> Labelled:
    titles = [f"상품 {i // 3} 제{i % 3}판" for i in range(3 * products)]
    groups = [f"s:{i // 3}" for i in range(3 * products)]
    splits = [("validation", "train", "train", "test")[i // 3 % 4] for i in range(3 * products)]
    return Labelled("s", titles, groups, splits)


def encode(titles: list[str]) -> Vectors:
    vectors = np.array([[1 + len(t), sum(map(ord, t)) % 97, ord(t[-1]) % 13] for t in titles], np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_held_out_rows_are_judged_among_training_rows_and_no_others() -> None:
    pool = pool_of(labelled(), "validation", encode, PLAIN)
    sides = dict(zip(labelled().groups, labelled().splits, strict=True))
    assert {sides[label] for label in np.array(pool.labels)[pool.rows]} == {"validation"}
    assert {sides[label] for label in np.delete(np.array(pool.labels), pool.rows)} == {"train"}
    assert (len(pool.rows), len(pool.labels)) == (225, 675)


@pytest.mark.parametrize("size", [500, 100])
def test_a_pool_has_a_size_and_keeps_products_whole(size: int) -> None:
    pool = pool_of(labelled(), "validation", encode, PLAIN, size=size)
    assert len(pool.labels) <= size
    counts = Counter(np.array(pool.labels)[pool.rows].tolist())
    assert set(counts.values()) == {3}
    assert len(pool.rows) == min(225, size // 3 * 3)


def test_products_are_cut_to_one_listing() -> None:
    pool = pool_of(labelled(), "validation", encode, PLAIN, single=0.6)
    counts = Counter(pool.labels)
    assert sum(count == 1 for count in counts.values()) == int(0.6 * len(counts))
    assert Counter(np.array(pool.labels)[pool.rows].tolist()).keys() <= counts.keys()


def test_variants_are_smaller_or_cut() -> None:
    pools = variants_of(labelled(), "validation", encode, PLAIN, weight=2.0)
    assert len(pools) >= 2 and {pool.weight for pool in pools} == {2.0}
    assert all(len(pool.labels) < 675 for pool in pools)


def test_no_title_is_encoded_twice() -> None:
    asked: list[str] = []

    def counted(titles: list[str]) -> Vectors:
        asked.extend(titles)
        return encode(titles)

    remembered = remembering(counted)
    first, second = remembered(["가", "나", "가"]), remembered(["나", "다"])
    assert asked == ["가", "나", "다"]
    assert np.array_equal(first, encode(["가", "나", "가"])) and np.array_equal(second, encode(["나", "다"]))


def test_the_background_counts_characters_and_words() -> None:
    table = background_of(["농심 백산수 2L", "농심 신라면"])
    assert table.dtype == np.uint8 and len(table) == 2
