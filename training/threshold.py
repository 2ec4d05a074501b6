"""Thresholds by somebody's own labels: which precisions they prove for a model that is there already, and where.

The model and its probabilities stay; what is chosen anew are the thresholds, and what is proven anew are precisions.
The labels must be of products that the model has not seen: on those that it learnt, it is right more often than it
will be. It knows labels, scenes and bundles; it does not know how a probability was learnt.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.bundle import Bundle, copy_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.decision import Decision, Promise
from index.matcher import common_grams
from index.scene import JudgedPairs, Progress, Scene
from index.vectors import Device
from training.decide import (
    CLUSTER_THRESHOLDS,
    GRID,
    THRESHOLDS,
    accept,
    own_clusters,
    own_rows,
    pair_lists,
    row_lists,
)
from training.evaluate import bcubed, row_curve, row_scores
from training.examples import Pool
from training.labels import Labelled
from training.prove import Proof, prove

_HEADING = "## Thresholds by own labels"


@dataclass(frozen=True)
class Proven:
    """What labels say of a model's decision.

    Attributes:
        name: of the labelled set.
        decision: the model's, with thresholds chosen and precisions proven by the labels.
        proofs: of every precision that was asked for, proven or not, the lowest first.
        scores: of the judged rows at that decision, and how many there are in how large a catalogue.
        curve: recall and precision of pairs over falling thresholds; float64, shape (2, thresholds).
    """

    name: str
    decision: Decision
    proofs: tuple[Proof, ...]
    scores: dict[str, float]
    curve: npt.NDArray[np.float64]


def pool_of_labels(
    labelled: Labelled,
    encoder: Encoder,
    decision: Decision,
    part: str | None = None,
    *,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Pool:
    """The labelled rows as a catalogue of which all are judged, or those of one part among training's.

    Args:
        labelled: titles with their products.
        encoder: of the model.
        decision: of the model; its blending is used.
        part: "validation" or "test", as training split the products of this set; None for all rows.
        device: where to search.
        progress: see ``Progress``.

    Raises:
        InputError: the part holds no two rows of one product.
    """
    judged = labelled.part(part) if part else (labelled.titles, labelled.groups)
    others = labelled.part("train") if part else ([], [])
    if len(set(judged[1])) == len(judged[1]):
        raise InputError(f"{labelled.name}: no product of the {part} part has two listings; expected pairs to prove by")

    def encode(texts: list[str], advance: Any) -> npt.NDArray[np.float32]:
        return encoder.encode(texts, progress=advance)

    scene = Scene.of(
        judged[0] + others[0], encode, decision.blend,
        background=common_grams(encoder.bundle), device=device, progress=progress,
    )  # fmt: skip
    return Pool(labelled.name, scene, judged[1] + others[1], np.arange(len(judged[0])))


def prove_on(pool: Pool, decision: Decision, targets: Iterable[float], progress: Progress | None = None) -> Proven:
    """Choose the thresholds of a decision by a pool's judged rows, and prove precisions by their pairs.

    Args:
        pool: of products that neither model nor decision has seen.
        decision: whose probabilities are judged.
        targets: precisions to prove with 95 % confidence, each between 0 and 1; see ``training.prove``.
        progress: see ``Progress``.

    Raises:
        InputError: a target out of range.
    """
    pairs = pool.scene.judge(decision, progress)
    scores, right, products, possible = pair_lists([(pool, pairs)])
    found = np.array([right[scores >= t].sum() for t in GRID], np.float64) / max(1, possible)
    proofs = tuple(prove(scores, right, products, t, grid=GRID, recall_at=found) for t in sorted(set(targets)))
    promises = tuple(
        Promise(proof.target, proof.threshold, proof.recall, proof.words)
        for proof in proofs
        if proof.threshold is not None
    )
    decision = replace(_rechosen(pool, pairs, decision), promises=promises)
    falling = np.argsort(-scores, kind="stable")
    hits, last = np.cumsum(right[falling]), np.flatnonzero(np.diff(scores[falling], append=-1.0))
    curve = np.stack([hits[last] / max(1, possible), hits[last] / (last + 1)])
    return Proven(pool.name, decision, proofs, _scores(pool, pairs, decision), curve)


def _rechosen(pool: Pool, pairs: JudgedPairs, decision: Decision) -> Decision:
    """The thresholds of the best row-F1 and of the best B-cubed F1."""
    curve = row_curve(row_lists(pool, pairs), pool.labels, pool.rows)
    rows = [curve.f1[curve.at(t)] for t in THRESHOLDS]
    ways = [replace(decision, cluster_threshold=t) for t in CLUSTER_THRESHOLDS]
    clusters = [bcubed(own_clusters(way, pool, pairs), pool.labels, pool.rows).f1 for way in ways]
    return replace(
        decision,
        threshold=float(THRESHOLDS[int(np.argmax(rows))]),
        cluster_threshold=CLUSTER_THRESHOLDS[int(np.argmax(clusters))],
    )


def _scores(pool: Pool, pairs: JudgedPairs, decision: Decision) -> dict[str, float]:
    lists = row_lists(pool, pairs)
    own = row_scores(own_rows(decision, pool, pairs), pool.labels, pool.rows, 0.5)
    at = row_scores(accept(decision, lists, decision.threshold), pool.labels, pool.rows, 0.5)
    clusters = bcubed(own_clusters(decision, pool, pairs), pool.labels, pool.rows)
    return {
        "rows": len(pool.rows), "pool": len(pool.labels), "row_f1": float(own.f1.mean()),
        "row_f1_at_threshold": float(at.f1.mean()), "bcubed_f1": clusters.f1,
        "bcubed_precision": clusters.precision, "bcubed_recall": clusters.recall,
    }  # fmt: skip


def check_output(output: Path) -> None:
    """Refuse a place that no bundle could be written to, before the work is done.

    Raises:
        InputError: something else than a bundle stands there.
    """
    full = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if full and not (output / "config.json").is_file():
        raise InputError("something else stands here; expected a new folder or a model's", file=str(output))


def check_plot(path: Path | None) -> None:
    """Refuse a place that no plot could be written to, before the work is done.

    Raises:
        InputError: another suffix than .png, a folder, or one in a folder that is not there.
    """
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise InputError("unknown suffix; expected .png", file=str(path))
    if path.is_dir() or not path.parent.is_dir():
        raise InputError("no file can stand here; expected a name in a folder that is there", file=str(path))


def write_proven(bundle: Bundle, output: str | Path, proven: Proven) -> Bundle:
    """Write a copy of a bundle that decides by what was proven: whole or not at all.

    Raises:
        InputError: the output is something else than a bundle, or cannot be written.
    """
    decision = bundle.read_json("decision.json") | proven.decision.to_json()
    decision |= {"chosen_on": {proven.name: proven.scores}, "proven_on": [proven.name]}
    decision |= {"proofs": [asdict(proof) for proof in proven.proofs]}
    return copy_bundle(
        bundle, output, decision=decision,
        metrics=bundle.read_json("metrics.json") | {"threshold": {proven.name: proven.scores}},
        card=_card((bundle.folder / "README.md").read_text(encoding="utf-8"), proven),
    )  # fmt: skip


def _card(card: str, proven: Proven) -> str:
    """The model's card with a section on these labels, in place of one on other labels."""
    decision, scores = proven.decision, proven.scores
    lines = [
        _HEADING, "",
        f"By {scores['rows']:,} rows of `{proven.name}` among {scores['pool']:,}: matches from a probability of "
        f"{decision.threshold:.2f} where one threshold is to hold for all, clusters from "
        f"{decision.cluster_threshold:.2f}; row-F1 {scores['row_f1']:.3f} by each row's own choice, B-cubed F1 "
        f"{scores['bcubed_f1']:.3f}. These thresholds hold in place of those above.", "",
        *(f"- {proof.words}" for proof in proven.proofs), "",
    ]  # fmt: skip
    rest = re.sub(rf"^{_HEADING}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL)
    return rest.rstrip() + "\n\n" + "\n".join(lines)


def plot_file(path: Path | None, proven: Proven) -> None:
    """Write the plot, where one is wanted: beside its place, then renamed into it.

    Raises:
        OSError: it cannot be written.
    """
    if path is not None:
        beside = path.with_name(f".{path.name}.new")
        try:
            beside.write_bytes(precision_recall_plot(proven))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def precision_recall_plot(proven: Proven) -> bytes:
    """Precision against recall of pairs as PNG, with the points that are promised."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*proven.curve, color="#1f5fbf", label="observed")
    for proof in proven.proofs:
        if proof.threshold is not None:
            axes.vlines(proof.recall, proof.target, proof.precision, color="#d1495b", linewidth=1)
            axes.plot(proof.recall, proof.target, "v", color="#d1495b")
            told = f"{proof.target:g} from {proof.threshold:.3f}"
            axes.annotate(told, (proof.recall, proof.target), (4, -12), textcoords="offset points", fontsize=8)
    axes.plot([], [], "v", color="#d1495b", label="promised with 95 % confidence")
    axes.set(xlabel="recall of pairs", ylabel="precision of pairs", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()
