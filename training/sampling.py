"""Batches: which products a step sees, which of their titles, and in what words.

It knows products and draws by a seed. It does not know tensors, models or losses; neighbours are mined elsewhere.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.augment import augment, decoy
from training.config import TrainConfig
from training.labels import Products

Mined = npt.NDArray[np.int64]
"""Of each product the nearest other products, nearest first, shape (products, n); -1 where there are no more."""


@dataclass(frozen=True)
class Batch:
    """Titles of one step, as many labels, and the rows in ``Products.titles`` that the titles were rewritten from.

    Titles of one label are one product. A label below 0 is no class, only other than every other: a product without
    a centre, or a decoy. A decoy's row is -1.
    """

    titles: list[str]
    labels: list[int]
    rows: list[int]


class Sampler:
    """Draws products for a batch: runs of look-alikes from the labelled sets, and titles of unknown product.

    Each set is drawn as often as the square root of its number of products, so that none drowns the others. With a
    product come those that it was called different from, at most ``neighbours_per_draw`` of them. Of the titles of
    unknown product, those that a teacher joined are drawn by ``pseudo_share``.
    """

    def __init__(self, products: Products, config: TrainConfig, *, labelled_only: bool = False) -> None:
        self.products = products
        self.seed = config.seed + labelled_only
        self.rng = random.Random(self.seed)
        self.run = config.neighbours_per_draw
        known = sorted(set(products.sources.tolist()) - {-1})
        self.sets = [np.flatnonzero(products.sources == source) for source in known]
        self.weights = [math.sqrt(len(s)) for s in self.sets]
        unlabelled = np.flatnonzero(products.sources == -1)
        share = 0.0 if labelled_only or not len(unlabelled) else config.unlabelled_share if self.sets else 1.0
        self.n_unlabelled = round(config.products_per_batch * share)
        joined = np.diff(products.offsets)[unlabelled] > 1
        self.unlabelled, self.joined = unlabelled[~joined], unlabelled[joined]
        self.n_joined = min(len(self.joined), round(self.n_unlabelled * config.pseudo_share))
        self.size = config.products_per_batch
        self.mined: Mined | None = None
        self.mined_share = config.mined_share
        self.apart: dict[int, list[int]] = {}
        for left, right in products.negatives.tolist():
            self.apart.setdefault(left, []).append(right)
            self.apart.setdefault(right, []).append(left)

    def restart(self, turn: int, mined: Mined) -> None:
        """Draw with these neighbours from now on. What follows hangs on the turn alone, not on what was drawn."""
        self.mined = mined
        self.rng.seed(f"{self.seed}:{turn}")

    def draw(self) -> list[int]:
        """Distinct products of one batch."""
        n_single = self.n_unlabelled - self.n_joined
        chosen = set(self.rng.sample(range(len(self.unlabelled)), min(n_single, len(self.unlabelled))))
        picked = {int(self.unlabelled[i]) for i in chosen}
        if self.n_joined:
            picked.update(self.rng.sample(self.joined.tolist(), self.n_joined))
        tries = 0
        while self.sets and len(picked) < self.size and (tries := tries + 1) < 50 * self.size:
            members = self.rng.choices(self.sets, self.weights)[0]
            start = self.rng.randrange(len(members))
            run = [q for p in self._alike(members, start) for q in (p, *self.against(p))]
            picked.update(run[: self.size - len(picked)])
        return sorted(picked)

    def _alike(self, members: npt.NDArray[np.int64], start: int) -> list[int]:
        """A product and those like it: the nearest ones where they are mined, else its neighbours by spelling."""
        if self.mined is None or self.rng.random() >= self.mined_share:
            return [int(product) for product in members[start : start + self.run]]
        product = int(members[start])
        return [product, *(near for near in self.mined[product].tolist() if near >= 0)]

    def against(self, product: int) -> list[int]:
        """Products that this one was called different from."""
        others = self.apart.get(product, [])
        return self.rng.sample(others, self.run) if len(others) > self.run else others

    def pair(self, product: int) -> list[tuple[str, int]]:
        """Two titles of a product, rewritten, each with its row; two rewritings where it has one title.

        Titles that only a teacher joined are rewritten twice over: the student is to learn more than the teacher saw
        (Xie et al. 2020).
        """
        first, last = self.products.offsets[product : product + 2].tolist()
        rows = self.rng.sample(range(first, last), 2) if last - first > 1 else [first, first]
        texts = [self.products.titles[row] for row in rows]
        joined = last - first > 1 and self.products.sources[product] == -1
        if joined:
            texts = [augment(text, self.rng) for text in texts]
        elif last - first > 1 and self.rng.random() < 0.4:
            return list(zip(texts, rows, strict=True))
        return [(augment(text, self.rng), row) for text, row in zip(texts, rows, strict=True)]

    def decoys(self, titles: list[str], number: int) -> list[str]:
        """At most ``number`` titles that look like these and are other products."""
        made = (decoy(title, self.rng) for title in self.rng.sample(titles, min(number, len(titles))))
        return [text for text in made if text is not None]


def contrast_batches(sampler: Sampler) -> Iterator[Batch]:
    """Two titles of each product; products are numbered within the batch."""
    while True:
        pairs = [sampler.pair(product) for product in sampler.draw()]
        told = [(text, number, row) for number, pair in enumerate(pairs) for text, row in pair]
        yield Batch([text for text, _, _ in told], [label for _, label, _ in told], [row for _, _, row in told])


def class_batches(sampler: Sampler, classes: npt.NDArray[np.int64], decoys: int) -> Iterator[Batch]:
    """Two titles of each product, labelled by the place of its class, and decoys of them.

    Args:
        sampler: made with ``labelled_only``; from now on it starts its draws from products with a class.
        classes: the products that have a centre, ascending.
        decoys: of a batch, at most.
    """
    centre_of = {int(product): centre for centre, product in enumerate(classes)}
    sampler.sets = [kept for s in sampler.sets if len(kept := s[np.isin(s, classes)])]
    sampler.weights = [math.sqrt(len(s)) for s in sampler.sets]
    while True:
        drawn = sampler.draw()
        told = [one for product in drawn for one in sampler.pair(product)]
        titles = [text for text, _ in told]
        changed = sampler.decoys(titles, decoys)
        labels = [centre_of.get(product, -1 - product) for product in drawn for _ in (0, 1)]
        labels += [-1 - len(sampler.products) - number for number in range(len(changed))]
        yield Batch(titles + changed, labels, [row for _, row in told] + [-1] * len(changed))
