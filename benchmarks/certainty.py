"""Certainty: whether the decision keeps what it promises, on test products and in catalogues of other sizes.

Does it follow the catalogue's size without retuning? Do promised precisions hold? How pure are the clusters, and what
do false edges do to them? Is a probability of .8 right eight times in ten? It knows judged pools; it does not know how
the decision was learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.bootstrap import Interval, Resamples, Values
from benchmarks.measures import mean
from index.clustering import Edges, Ids, connected_components
from index.decision import Decision
from index.prior import prior_shift
from index.scene import JudgedPairs, Scene
from index.vectors import Neighbours
from training.decide import GRID, TARGETS, clusters_of, own_clusters, own_rows, reliability, row_lists
from training.evaluate import Pairs, bcubed_rows, pairs_of, row_curve, row_scores
from training.examples import Pool
from training.labels import Labelled
from training.pools import Background, Encode
from training.prove import prove, resample_check

SIZES = (3_000, 8_000)  # rows of the smaller pools; all rows stand behind them
JUDGED = 1_500  # rows that are judged in every size, about
PURE = 0.97
INJECTED = 0.01
_TRIES = 10  # pairs drawn for every false edge: most nodes have no product in common
CLUSTER_GRID = np.round(np.concatenate([np.arange(0.05, 0.95, 0.05), np.arange(0.95, 1.0, 0.01)]), 2)


@dataclass(frozen=True)
class PoolSize:
    """The same rows in a pool of another size.

    Attributes:
        rows, judged: of the pool, and of those the judged.
        shipped: row-F1 of the decision as it ships.
        best: row-F1 at the threshold that is best for these very rows.
        threshold: that one.
        below: by how much ``shipped`` is below ``best``; less than 0 where it is above.
    """

    rows: int
    judged: int
    shipped: Interval | None
    best: Interval | None
    threshold: float
    below: Interval | None


@dataclass(frozen=True)
class AtPromise:
    """The test pairs of one set, or of all, at a promise's threshold.

    Attributes:
        precision, recall: of pairs at the threshold; None where there is no promise or no such pair.
        held: share of 1,000 draws of the products in which that precision is at least the promised one.
        attainable: recall at the loosest threshold that has the precision on these very pairs; None where none has.
    """

    precision: Interval | None
    recall: Interval | None
    held: float | None
    attainable: float | None


@dataclass(frozen=True)
class Kept:
    """What became of one promise.

    Attributes:
        target: the precision.
        threshold: that ships; None where the validation products could not prove one.
        proven: that the test pairs prove by themselves; None likewise.
        kept: share of 1,000 draws of test products in which the threshold that the draw proves has the precision.
        together: the sets that it was proven on, together, which it is about.
        everywhere: all sets together, which it is not about.
        by_set: each set by itself, which it is not about either.
    """

    target: float
    threshold: float | None
    proven: float | None
    kept: float
    together: AtPromise
    everywhere: AtPromise
    by_set: dict[str, AtPromise]


@dataclass(frozen=True)
class Clustering:
    """B-cubed scores of the judged rows in the clusters that a threshold makes."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Purity:
    """Clusters over all thresholds, chosen on these very rows.

    Attributes:
        name: of the set.
        shipped: at the threshold that ships.
        best: of the best F1.
        pure: of the best F1 among those with a precision of at least ``PURE``; None where none has.
        components, pure_components: the same two of connected components.
        curve: at every threshold of ``CLUSTER_GRID``.
    """

    name: str
    shipped: Clustering
    best: Clustering
    pure: Clustering | None
    components: Clustering
    pure_components: Clustering | None
    curve: list[Clustering]


@dataclass(frozen=True)
class Injected:
    """What false edges do to one way of clustering.

    Attributes:
        way: of clustering.
        threshold: of it.
        edges: false ones put in.
        before, after: B-cubed F1 of the judged rows; after: mean over the draws.
        largest_before, largest_after: rows of the largest cluster that holds two products; after: the largest of all
            draws.
        largest_product: rows of the largest product.
    """

    way: str
    threshold: float
    edges: int
    before: float
    after: float
    largest_before: int
    largest_after: int
    largest_product: int


@dataclass(frozen=True)
class JudgedPool:
    """A pool, its pairs with probabilities, and the judged rows' lists and distinct pairs."""

    pool: Pool
    pairs: JudgedPairs
    lists: Neighbours
    rows: Pairs

    @classmethod
    def of(cls, pool: Pool, decision: Decision) -> JudgedPool:
        """Judge a pool."""
        pairs = pool.scene.judge(decision)
        lists = row_lists(pool, pairs)
        return cls(pool, pairs, lists, pairs_of(lists, np.asarray(pool.labels), pool.rows))

    def draws(self) -> Resamples:
        """Draws of the judged products."""
        return Resamples([self.pool.labels[row] for row in self.pool.rows.tolist()])


def catalogue(
    data: Labelled, rows: Ids, judged: Ids, encode: Encode, decision: Decision, common: Background | None = None
) -> Pool:
    """Some rows of a set as one catalogue, of which ``judged`` are judged; both as sorted row numbers of the set."""
    scene = Scene.of(
        [data.titles[row] for row in rows.tolist()], lambda texts, _: encode(texts), decision.blend,
        background=common, device="cpu",
    )  # fmt: skip
    return Pool(data.name, scene, [data.groups[row] for row in rows.tolist()], np.flatnonzero(np.isin(rows, judged)))


def follow_size(
    data: Labelled,
    encode: Encode,
    decision: Decision,
    common: Background | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    judged: int = JUDGED,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> list[PoolSize]:
    """The same test rows in pools of growing size, each the one before and more, without any retuning."""
    rng = np.random.default_rng(seed)
    asked = _test_rows(data, judged, rng)
    others = rng.permutation(np.setdiff1d(np.arange(len(data.titles)), asked))
    found = []
    for size in [*(size for size in sizes if len(asked) < size < len(data.titles)), len(data.titles)]:
        say(f"{data.name} among {size:,}")
        rows = np.sort(np.concatenate([asked, others[: size - len(asked)]]))
        found.append(
            _at_size(JudgedPool.of(catalogue(data, rows, asked, encode, decision, common), decision), decision)
        )
    return found


def _test_rows(data: Labelled, many: int, rng: np.random.Generator) -> Ids:
    """All rows of test products, drawn until there are about so many."""
    members: dict[str, list[int]] = {}
    for row, (group, side) in enumerate(zip(data.groups, data.splits, strict=True)):
        if side == "test":
            members.setdefault(group, []).append(row)
    taken: list[int] = []
    products = sorted(members)
    for number in rng.permutation(len(products)).tolist():
        if len(taken) >= many:
            break
        taken += members[products[number]]
    return np.array(sorted(taken), np.int64)


def _at_size(judged: JudgedPool, decision: Decision) -> PoolSize:
    pool, ones = judged.pool, np.ones(len(judged.pool.rows))
    curve = row_curve(judged.lists, pool.labels, pool.rows)
    threshold = float(curve.thresholds[curve.best])
    best = row_scores(judged.lists, pool.labels, pool.rows, threshold).f1
    shipped = row_scores(own_rows(decision, pool, judged.pairs), pool.labels, pool.rows, 0.5).f1
    interval = judged.draws().interval
    return PoolSize(
        len(pool.labels), len(pool.rows), interval(mean, shipped, ones), interval(mean, best, ones), threshold,
        interval(mean, best - shipped, ones),
    )  # fmt: skip


def keep_promises(
    pools: Sequence[JudgedPool], decision: Decision, proven_on: Collection[str] = (), *, draws: int = 1000
) -> list[Kept]:
    """Each promise of ``training.decide.TARGETS`` on the test pairs.

    Args:
        pools: of every set one.
        decision: with the promises.
        proven_on: names of the sets that they were proven on; all where none of them is here.
        draws: as in ``resample_check``.
    """
    about = [judged for judged in pools if judged.pool.name in proven_on] or list(pools)
    scores = np.concatenate([judged.rows.scores for judged in about]).astype(np.float64)
    hits = np.concatenate([judged.rows.hits for judged in about])
    labels = [judged.pool.labels[judged.pool.rows[owner]] for judged in about for owner in judged.rows.owner.tolist()]
    products = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    promised = {promise.precision: promise.threshold for promise in decision.promises}
    found = []
    for target in TARGETS:
        threshold = promised.get(target)
        found.append(
            Kept(
                target,
                threshold,
                proven=prove(scores, hits, products, target, grid=GRID).threshold,
                kept=resample_check(scores, hits, products, target, GRID, draws=draws),
                together=_at_promise(about, threshold, target),
                everywhere=_at_promise(pools, threshold, target),
                by_set={judged.pool.name: _at_promise([judged], threshold, target) for judged in pools},
            )
        )
    return found


def _at_promise(pools: Sequence[JudgedPool], threshold: float | None, target: float) -> AtPromise:
    counts = [judged.rows.counts(2.0 if threshold is None else threshold) for judged in pools]
    right, accepted, possible = (np.concatenate(parts) for parts in zip(*counts, strict=True))
    resamples = Resamples([judged.pool.labels[row] for judged in pools for row in judged.pool.rows.tolist()])
    scores, hits = (np.concatenate([getattr(one.rows, name) for one in pools]) for name in ("scores", "hits"))
    attainable = _attainable(scores, hits, float(possible.sum()), target)
    if not accepted.any():
        return AtPromise(None, None, None, attainable)
    held = [
        float(weights @ right >= target * (weights @ accepted))
        for weights in resamples.row_weights(1000)
        if weights @ accepted > 0
    ]
    precision, recall = resamples.interval(mean, right, accepted), resamples.interval(mean, right, possible)
    return AtPromise(precision, recall, float(np.mean(held)), attainable)


def _attainable(scores: Any, hits: Any, possible: float, target: float) -> float | None:
    """Recall of the most pairs, best first, that have the precision."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1) if len(order) else order
    reached = last[right[last] >= target * (last + 1)]
    return float(right[reached[-1]] / max(1, possible)) if len(reached) else None


def measure_purity(judged: JudgedPool, decision: Decision, grid: Sequence[float] | Values = CLUSTER_GRID) -> Purity:
    """B-cubed scores over cluster thresholds, beside those of connected components."""
    pool = judged.pool
    curve = [_clustering(judged, t, clusters_of(pool, judged.pairs, t)) for t in map(float, grid)]
    components = [_clustering(judged, t, _components(pool, judged.pairs.edges, t)) for t in map(float, grid)]
    own = decision.clusters_from(prior_shift(pool.scene.nodes, judged.pairs))
    return Purity(
        pool.name, _clustering(judged, own, clusters_of(pool, judged.pairs, own)),
        max(curve, key=_f1), _pure(curve), max(components, key=_f1), _pure(components), curve,
    )  # fmt: skip


def _f1(one: Clustering) -> float:
    return one.f1


def _pure(curve: Sequence[Clustering]) -> Clustering | None:
    return max((one for one in curve if one.precision >= PURE), key=_f1, default=None)


def _clustering(judged: JudgedPool, threshold: float, clusters: Ids) -> Clustering:
    precision, recall = bcubed_rows(clusters, np.asarray(judged.pool.labels), judged.pool.rows)
    means = float(precision.mean()), float(recall.mean())
    return Clustering(threshold, *means, 2 * means[0] * means[1] / sum(means))


def _components(pool: Pool, edges: Edges, threshold: float) -> Ids:
    nodes = pool.scene.nodes
    return np.asarray(connected_components(len(nodes.texts), edges.over(threshold))[nodes.node_of])


def inject(
    judged: JudgedPool, decision: Decision, components_threshold: float, *, share: float = INJECTED, draws: int = 3
) -> list[Injected]:
    """Random false edges, as probable as the true ones are, put among the accepted ones of a catalogue.

    Args:
        judged: the catalogue.
        decision: tells which edges are accepted, and how clusters are made.
        components_threshold: probability from which connected components join.
        share: false edges by accepted ones.
        draws: of the false edges.
    """
    pool = judged.pool
    dirtied = [_with_false_edges(judged, decision.threshold, share, seed) for seed in range(draws)]
    ways: list[tuple[str, float, Callable[[JudgedPairs], Ids]]] = [
        ("as shipped", decision.cluster_threshold, lambda p: own_clusters(decision, pool, p)),
        ("connected components", components_threshold, lambda p: _components(pool, p.edges, components_threshold)),
    ]
    found = []
    for way, threshold, cluster in ways:
        clean, *dirty = [cluster(pairs) for pairs in (judged.pairs, *dirtied)]
        found.append(
            Injected(
                way,
                threshold,
                edges=len(dirtied[0].edges) - len(judged.pairs.edges),
                before=_clustering(judged, threshold, clean).f1,
                after=float(np.mean([_clustering(judged, threshold, clusters).f1 for clusters in dirty])),
                largest_before=largest_mixed(clean, pool.labels),
                largest_after=max(largest_mixed(clusters, pool.labels) for clusters in dirty),
                largest_product=int(np.unique(np.asarray(pool.labels), return_counts=True)[1].max()),
            )
        )
    return found


def largest_mixed(clusters: Ids, labels: Sequence[str]) -> int:
    """Rows of the largest cluster that holds two products; 0 where none does."""
    product = np.unique(np.asarray(labels), return_inverse=True)[1]
    _, cluster, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    cells = np.unique(cluster * (product.max() + 1) + product) // (product.max() + 1)
    return int(sizes[np.bincount(cells, minlength=len(sizes)) > 1].max(initial=0))


def _with_false_edges(judged: JudgedPool, threshold: float, share: float, seed: int) -> JudgedPairs:
    """The pairs and, by the accepted among them, a share of others between nodes without a product in common."""
    rng, nodes, edges = np.random.default_rng(seed), judged.pool.scene.nodes, judged.pairs.edges
    product_of = [{judged.pool.labels[item] for item in items} for items in nodes.items()]
    accepted = edges.over(threshold)
    ends = zip(accepted.left.tolist(), accepted.right.tolist(), strict=True)
    true = np.array([bool(product_of[a] & product_of[b]) for a, b in ends], bool)
    wanted = round(share * len(accepted)) if true.any() else 0
    known = set(zip(edges.left.tolist(), edges.right.tolist(), strict=True))
    drawn = np.sort(rng.integers(len(product_of), size=(_TRIES * wanted, 2)), axis=1).tolist()
    false = [(a, b) for a, b in dict.fromkeys(map(tuple, drawn)) if a != b and not product_of[a] & product_of[b]]
    left, right = np.array([pair for pair in false if pair not in known][:wanted], np.int64).reshape(-1, 2).T
    scores = rng.choice(accepted.scores[true], len(left)) if len(left) else accepted.scores[:0]
    merged = [np.concatenate(p) for p in ((edges.left, left), (edges.right, right), (edges.scores, scores))]
    order = np.lexsort((merged[1], merged[0]))
    return JudgedPairs(Edges(*(part[order] for part in merged)), judged.pairs.twins, judged.pairs.apart)


def calibration(judged: JudgedPool) -> dict[str, Any]:
    """Promised against true shares of the test pairs of a set; see ``training.decide.reliability``."""
    return reliability(judged.rows.hits.astype(np.float64), judged.rows.scores.astype(np.float64))
