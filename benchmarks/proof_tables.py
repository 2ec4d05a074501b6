"""The proof of a decision as tables: Markdown for a README and a terminal, JSON, PNG plots, one self-contained page.

Titles are strangers' text: the template escapes all it is given. It does not know how anything was measured.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bootstrap import Interval
from benchmarks.certainty import INJECTED, PURE, AtPromise, Clustering
from benchmarks.figures import markdown_table, report_folder, write_file
from benchmarks.parts import OF_ROWS, Rung
from benchmarks.proof import Proof
from benchmarks.proof_plots import parts_plot, purity_plot, reliability_plot
from benchmarks.report import render, spread, to_json


@dataclass(frozen=True)
class Section:
    """One table and how to read it.

    Attributes:
        title, korean: headings.
        words: how to read the table.
        header, rows: of it.
        plot: stem of the picture that goes with it; "" for none.
    """

    title: str
    korean: str
    words: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    plot: str = ""


def write_proof(proof: Proof, folder: str | Path, command: str) -> Path:
    """Write ``decision.json``, ``decision.md``, the plots and ``index.html``.

    Args:
        proof: what was measured.
        folder: to write into; made if it is not there.
        command: that made it, told on the page.

    Raises:
        InputError: nothing can be written there.
    """
    folder, plots = report_folder(folder), _plots(proof)
    for stem, data in plots.items():
        write_file(folder / f"{stem}.png", data)
    write_file(folder / "decision.json", to_json({"format": 1, "command": command, **asdict(proof)}))
    write_file(folder / "decision.md", to_markdown(proof).encode())
    inlined = {stem: f"data:image/png;base64,{base64.b64encode(data).decode()}" for stem, data in plots.items()}
    page = render("decision.html", proof=proof, sections=sections(proof), command=command, plots=inlined)
    write_file(folder / "index.html", page.encode())
    return folder


def to_markdown(proof: Proof) -> str:
    """All tables, each under its heading."""
    judged = "; ".join(f"{name} {rows:,} of {pool:,}" for name, (rows, pool) in proof.judged.items())
    pools = f" Test listings and their pools: {judged}." if judged else ""
    head = f"Model {proof.model} (`{proof.fingerprint}`).{pools}"
    parts = [f"#### {s.title}\n\n{s.words}\n\n{markdown_table(s.header, s.rows)}" for s in sections(proof)]
    return "\n".join([f"{head}\n", *parts])


def sections(proof: Proof) -> list[Section]:
    """The tables of what was measured, in the order in which a reader asks."""
    found = []
    if proof.parts:
        found += _parts(proof)
    if proof.promises:
        found += [
            _sizes(proof),
            _promises(proof),
            _attainable(proof),
            _clusters(proof),
            _injected(proof),
            _calibrated(proof),
        ]
    return [*found, *([_hard(proof)] if proof.hard else [])]


def _plots(proof: Proof) -> dict[str, bytes]:
    plots = {"parts": parts_plot(proof.parts)} if proof.parts else {}
    if proof.calibration:
        plots |= {"reliability": reliability_plot(proof.calibration), "clusters": purity_plot(proof.purity)}
    return plots


def _gain(interval: Interval | None) -> str:
    """A gain with its interval, marked where the interval holds no 0."""
    if interval is None:
        return "-"
    mark = " ✓" if interval.low > 0 else " ✗" if interval.high < 0 else ""
    return spread(interval, sign="+") + mark


def _parts(proof: Proof) -> list[Section]:
    if proof.parts is None:
        return []
    parts, names = proof.parts, list(proof.judged)
    first, *rest = parts.steps
    of_clusters = [one for one in rest if one.name != OF_ROWS]

    def lines(rungs: Sequence[Rung], bcubed: bool) -> list[list[str]]:
        return [[r.name, *(_gain((r.bcubed_gain if bcubed else r.gain)[name]) for name in names)] for r in rungs]

    how = "✓ where the 95 % interval lies above 0, ✗ where below."
    steps = "One frozen encoder; each line adds to the one above it, the last is all of them over the first. "
    more = "One probability accepts for all sets, where the first line has a cosine tuned for each. "
    return [
        Section(
            "What each part adds: row-F1", "구성 요소별 효과: 상품별 F1", steps + more + how, ("step", *names),
            [[first.name, *(spread(first.row_f1[name]) for name in names)], *lines([*rest, parts.whole], False)],
            "parts",
        ),
        Section(
            "What each part adds: B-cubed F1 of the clusters", "구성 요소별 효과: 클러스터",
            steps + "The first line's clusters are connected components. " + how, ("step", *names),
            [
                [first.name, *(spread(first.bcubed_f1[name]) for name in names)],
                *lines([*of_clusters, parts.whole], True),
            ],
        ),
        Section(
            "What each part adds to all the others: row-F1", "나머지가 모두 있을 때의 효과",
            "The decision with everything less the one that never saw the part. " + how, ("part", *names),
            lines(parts.left_out, False),
        ),
    ]  # fmt: skip


def _sizes(proof: Proof) -> Section:
    rows = [
        [f"{s.rows:,}", f"{s.judged:,}", spread(s.shipped), spread(s.best), f"{s.threshold:.3f}", spread(s.below, "+")]
        for s in proof.sizes
    ]
    return Section(
        "It follows the catalogue's size", "카탈로그 크기에 따른 변화",
        f"The same test listings of {proof.followed} in growing pools, never retuned, beside the threshold that is "
        "best for these very listings in that pool. The aim is at most .003 below it.",
        ("pool", "judged", "row-F1 as shipped", "row-F1, pool's own best", "that threshold", "below it"), rows,
    )  # fmt: skip


def _promises(proof: Proof) -> Section:
    rows = [
        [
            f"{kept.target:g}", _number(kept.threshold, "none proven"), spread(kept.together.precision),
            spread(kept.together.recall), _share(kept.together.held), _number(kept.proven, "none"),
            _share(kept.kept) if kept.proven is not None else "-", spread(kept.everywhere.precision),
        ]
        for kept in proof.promises
    ]  # fmt: skip
    return Section(
        "Promised precisions", "정밀도 약속",
        "Each promise was proven on validation products of some sets together, and is held against their test pairs: "
        f"{', '.join(proof.proven_on) or 'all sets'}. Held: share of 1,000 draws of test products in which the "
        "precision at the shipped threshold is at least the "
        "promised one. Kept: the proof is led anew on each of 1,000 draws of test products; share of them whose "
        "threshold truly has the precision.",
        ("promised", "threshold", "precision on test pairs", "recall", "held", "test pairs prove", "kept",
         "precision on all sets"), rows,
    )  # fmt: skip


def _attainable(proof: Proof) -> Section:
    names = list(proof.judged)

    def cell(at: AtPromise) -> str:
        if at.precision is None or at.recall is None:
            return f"- / {_number(at.attainable, 'none')}"
        return f"{at.precision.value:.3f}, {at.recall.value:.3f} / {_number(at.attainable, 'none')}"

    return Section(
        "Promised precisions, set by set", "세트별 정밀도",
        "Precision and recall at the promise's threshold / recall at the threshold that has the precision on these "
        "very pairs. The promise is about no set by itself.",
        ("promised", *names), [[f"{k.target:g}", *(cell(k.by_set[name]) for name in names)] for k in proof.promises],
    )  # fmt: skip


def _clusters(proof: Proof) -> Section:
    rows = [
        [
            one.name, _b3(one.shipped), _b3(one.best), _b3(one.pure), _b3(one.components), _b3(one.pure_components),
            f"{one.pure.f1 - one.components.f1:+.3f}" if one.pure else "-",
        ]
        for one in proof.purity
    ]  # fmt: skip
    return Section(
        "Clusters: B-cubed precision and F1", "클러스터 순도",
        f"At the threshold that ships, at that of the best F1, and at the best that has a precision of at least "
        f"{PURE:g}; all but the first chosen on these very listings. Last: F1 of the pure clusters less the best F1 of "
        "connected components.",
        (
            "set", "as shipped", "best F1", f"precision {PURE:g}", "components, best F1", f"components, {PURE:g}",
            "pure - components",
        ),
        rows, "clusters",
    )  # fmt: skip


def _injected(proof: Proof) -> Section:
    rows = [
        [
            one.way, f"{one.threshold:.2f}", f"{one.edges:,}", f"{one.before:.3f}", f"{one.after:.3f}",
            f"{one.after - one.before:+.3f}", f"{one.largest_before:,}", f"{one.largest_after:,}",
        ]
        for one in proof.injected
    ]  # fmt: skip
    product = proof.injected[0].largest_product if proof.injected else 0
    return Section(
        "False edges", "잘못된 연결을 넣었을 때",
        f"{100 * INJECTED:g} % random false edges, each as probable as a true one, put into the whole catalogue of "
        f"{proof.followed}; B-cubed F1 of the test listings, and the largest cluster that holds two products (the "
        f"largest product has {product} listings). Mean and worst of three draws.",
        ("clusters", "threshold", "false edges", "F1 before", "F1 after", "change", "largest before", "largest after"),
        rows,
    )  # fmt: skip


def _calibrated(proof: Proof) -> Section:
    rows = [
        [name, f"{sum(b['pairs'] for b in of['bins']):,}", f"{of['error']:.3f}"]
        for name, of in proof.calibration.items()
    ]
    return Section(
        "Calibration", "확률의 신뢰도",
        "Expected calibration error: by how much the promised probability and the share of right pairs differ, over "
        "the test pairs from a probability of .01 on.",
        ("set", "pairs", "calibration error"), rows, "reliability",
    )  # fmt: skip


def _hard(proof: Proof) -> Section:
    rows = [
        [
            hard.name, f"{hard.number + hard.option:,}", way.way, f"{way.pairs:,}",
            f"{100 * way.right / max(1, way.pairs):.1f} %", f"{way.number:,}", f"{way.option:,}",
            f"{100 * way.share:.2f} %",
        ]
        for hard in proof.hard for way in hard.accepted
    ]  # fmt: skip
    return Section(
        "Same except a number", "숫자만 다른 상품",
        "Hard pairs: two products by their labels whose titles are equal once numbers, or numbers and the words of "
        "options, are hidden; one listing at least is a test listing, among all listings of the set. The aim is under "
        "1 % of the accepted pairs.",
        ("set", "hard pairs", "decided by", "accepted pairs", "right", "number differs", "option differs", "share"),
        rows,
    )  # fmt: skip


def _number(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _b3(one: Clustering | None) -> str:
    return "-" if one is None else f"{one.precision:.3f}, {one.f1:.3f}"
