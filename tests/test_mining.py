"""Mined neighbours are the nearest other products of the same set, and batches are drawn around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs dongil[train]")

from tokenizers import Tokenizer

from training.labels import Labelled, Products, gather_products
from training.mining import nearest_products
from training.model import TitleModel, encode
from training.sampling import Sampler
from training.train import TrainConfig, new_model
from training.vocabulary import learn_vocabulary

TINY = TrainConfig(hidden=16, layers=1, heads=2, intermediate=32, vocabulary=300, max_length=24, neighbours_per_draw=4)


@pytest.fixture(scope="module")
def products() -> Products:
    """Two sets, a product that only a pair called different names, and titles of unknown product."""
    rows = [
        (f"{'생수 물 라면'.split()[n % 3]} {n * 37 % 100}호 {way}", f"g{n}")
        for n in range(30)
        for way in "12가"[: 1 + n % 3]
    ]
    other = [(f"라면 {n}호", f"h{n}") for n in range(5)] + [("라면 여섯호", "h0")]
    return gather_products(
        [
            Labelled("a", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows)),
            Labelled("b", [r[0] for r in other], [r[1] for r in other], ["train"] * len(other), [(0, 3)]),
        ],
        [f"두부 {n}모" for n in range(9)],
    )


@pytest.fixture(scope="module")
def tokenizer(products: Products) -> Tokenizer:
    return learn_vocabulary(products.titles, TINY.vocabulary)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> TitleModel:
    return new_model(TINY, tokenizer.get_vocab_size())


@pytest.mark.parametrize("k", [0, 3, 50])
def test_neighbours_are_those_of_a_full_comparison(
    model: TitleModel, tokenizer: Tokenizer, products: Products, k: int
) -> None:
    mined = nearest_products(model, tokenizer, products, k)
    assert mined.shape == (len(products), k)
    known = [p for p in range(len(products)) if products.sources[p] >= 0 and p not in products.unjoined]
    means = {p: encode(model, tokenizer, products.of(p)[:2]).mean(0) for p in known}
    means = {p: mean / np.linalg.norm(mean) for p, mean in means.items()}
    assert len(known) == 34
    for product in range(len(products)):
        others = [o for o in known if o != product and products.sources[o] == products.sources[product]]
        found = [int(one) for one in mined[product] if one >= 0]
        if product not in known:
            assert not found
            continue
        assert len(found) == len(set(found)) == min(k, len(others))
        assert set(found) <= set(others)
        best = sorted((float(means[product] @ means[o]) for o in others), reverse=True)[:k]
        np.testing.assert_allclose([means[product] @ means[o] for o in found], best, atol=1e-5)


def test_batches_hold_mined_neighbours_together(products: Products) -> None:
    config = replace(TINY, products_per_batch=12, mined_share=1.0, unlabelled_share=0.0)
    first = {int(p) for p in np.flatnonzero(products.sources == 0)}
    mined = np.full((len(products), 3), -1, np.int64)
    for product in first:
        mined[product, :2] = [(product + 11) % 30, (product + 17) % 30]

    def together(sampler: Sampler) -> float:
        drawn = [set(sampler.draw()) for _ in range(300)]
        assert all(len(batch) == 12 and -1 not in batch for batch in drawn)
        has = [(p in batch, (p + 11) % 30 in batch) for batch in drawn for p in first]
        return sum(a and b for a, b in has) / sum(a for a, _ in has)

    sampler = Sampler(products, config)
    by_spelling = together(sampler)
    sampler.restart(1, mined)
    assert together(sampler) > by_spelling + 0.15


def test_after_a_restart_draws_hang_on_the_turn_alone(products: Products) -> None:
    mined = np.full((len(products), 3), -1, np.int64)
    config = replace(TINY, products_per_batch=8)
    one, other = Sampler(products, config), Sampler(products, config)
    one.draw()
    one.restart(2, mined)
    other.restart(2, mined)
    told = [one.draw(), one.draw()]
    assert told == [other.draw(), other.draw()]
    other.restart(3, mined)
    assert other.draw() != told[0]
