"""Hard negatives: of each product the nearest other ones, by the model as it stands and the index that serves.

Neighbours are looked for among the products of one labelled set: that two of them differ was said by its labels.
Titles of unknown product, and products of another set, may be the very same product, and are never taken for
negatives. It knows products and vectors; it does not know how batches are drawn or what is learnt from them.
"""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer

from index.vectors import VectorIndex, Vectors
from training.labels import Products
from training.model import TitleModel, encode
from training.sampling import Mined

_TITLES = 2  # of a product, the first ones: they say where it stands, and encoding is what mining takes


def nearest_products(model: TitleModel, tokenizer: Tokenizer, products: Products, k: int) -> Mined:
    """The k nearest other products of each, by the mean vector of its first titles.

    Products of unknown source, and those that pairs name but never join, have no neighbours and are none.

    Returns:
        int64, shape (products, k), nearest first; -1 where there are no more.
    """
    mined = np.full((len(products), k), -1, np.int64)
    known = np.setdiff1d(np.flatnonzero(products.sources >= 0), products.unjoined)
    if not k or len(known) < 2:
        return mined
    vectors = _mean_vectors(model, tokenizer, [products.of(int(product))[:_TITLES] for product in known])
    for source in np.unique(products.sources[known]):
        at = np.flatnonzero(products.sources[known] == source)
        found = VectorIndex.from_vectors(vectors[at], k=k).search(vectors[at], k + 1).ids
        for row, near in enumerate(found):
            others = near[(near >= 0) & (near != row)][:k]
            mined[known[at[row]], : len(others)] = known[at[others]]
    return mined


def _mean_vectors(model: TitleModel, tokenizer: Tokenizer, titles: list[list[str]]) -> Vectors:
    """A unit row for each list of titles; a row of zeros where they cancel out."""
    encoded = encode(model, tokenizer, [title for own in titles for title in own])
    starts = np.cumsum([0, *map(len, titles[:-1])])
    sums = np.add.reduceat(encoded, starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), 0).astype(np.float32)
