"""Quantities: what titles say, read off two tables; and what pairs of them make of it, against an oracle."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from embedder.text import clean
from index.quantities import KINDS, Quantities, QuantityTable, explain, parse, verdicts
from index.verdict import Verdict

DATA = ROOT.parent / "shared" / "data"
HERE = Path(__file__).parent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read(title: str) -> Quantities:
    return parse(clean(title))


def shown(quantities: Quantities) -> str:
    """As the tables write it, kinds in alphabetical order: "count 48 (24 2); mass 210 10080", parts in brackets."""
    said = []
    for kind in sorted(KINDS):
        wholes = [f"{one.value:.6g}" for one in quantities.of(kind) if not one.part]
        parts = [f"{one.value:.6g}" for one in quantities.of(kind) if one.part]
        if wholes:
            said.append(" ".join([kind, *wholes]) + (f" ({' '.join(parts)})" if parts else ""))
    return "; ".join(said)


def told(one: str, other: str) -> dict[str, Verdict]:
    found = zip(KINDS, verdicts(read(one), read(other)), strict=True)
    return {kind: verdict for kind, verdict in found if verdict is not Verdict.UNSAID}


def test_titles_in_the_manner_of_real_ones() -> None:
    found = {row["title"]: shown(read(row["title"])) for row in rows(HERE / "quantities.csv")}
    wanted = {row["title"]: row["expected"] for row in rows(HERE / "quantities.csv")}
    assert len(found) > 300
    assert found == wanted


@pytest.mark.parametrize("source", ["korea_cvs", "naver_model_code", "danawa", "shopee", "korean_unlabelled"])
def test_real_titles(source: str) -> None:
    path = DATA / source / "titles.csv"
    if not path.exists():
        pytest.skip("the data set is not here")
    titles = rows(path)
    wanted = {int(row["row"]): row["expected"] for row in rows(HERE / "quantities_real.csv") if row["source"] == source}
    assert len(wanted) > 30
    assert {row: shown(read(titles[row]["title"])) for row in wanted} == wanted


SAME, DIFFERENT, ONE_SIDE = Verdict.SAME, Verdict.DIFFERENT, Verdict.ONE_SIDE


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("1kg", "1000g", {"mass": SAME}),
        ("1L", "1,000㎖", {"volume": SAME}),
        ("2L x 6", "12L", {"volume": SAME, "count": ONE_SIDE}),
        ("120g x 5", "120g", {"mass": SAME, "count": ONE_SIDE}),
        ("120g", "120g x 40", {"mass": SAME, "count": ONE_SIDE}),
        ("2L x 6", "2L x 12", {"volume": SAME, "count": DIFFERENT}),
        ("500ml x 20", "2L x 6", {"volume": DIFFERENT, "count": DIFFERENT}),
        ("24입 2박스", "48개", {"count": SAME}),
        ("24입 2박스", "24입", {"count": ONE_SIDE}),
        ("24입 2박스", "12입 2박스", {"count": DIFFERENT}),
        ("1+1", "물", {"count": ONE_SIDE}),
        ("1+1", "2개", {"count": SAME}),
        ("물 1개", "물", {"count": SAME}),
        ("물 1개", "물 6개", {"count": DIFFERENT}),
        ("귤 10kg 1박스", "귤 10kg", {"mass": SAME}),
        ("500ml+200ml", "500ml", {"volume": ONE_SIDE}),
        ("500ml+200ml", "500ml+100ml", {"volume": DIFFERENT}),
        ("500ml+200ml", "700ml", {"volume": SAME}),
        ("1kg/2kg/3kg", "2kg", {"mass": SAME}),
        ("1kg/2kg/3kg", "4kg", {"mass": DIFFERENT}),
        ("10g/20g/30g/40g/50g", "60g", {"mass": ONE_SIDE}),
        ("16GB램 512GB", "16GB램 1TB", {"memory": DIFFERENT, "ram": SAME}),
        ("120x200cm", "160x200cm", {"dimensions": DIFFERENT}),
        ("65인치", "163cm", {"inch": ONE_SIDE, "length": ONE_SIDE}),
        ("100g", "101g", {"mass": SAME}),
        ("100g", "102g", {"mass": DIFFERENT}),
        ("SM-R510", "SM-R520", {}),
    ],
)
def test_verdicts(one: str, other: str, found: dict[str, Verdict]) -> None:
    assert told(one, other) == found
    assert told(other, one) == found


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("샘물 2L × 6", "샘물 2L × 12", ["수량 다름 2L×6 ≠ 2L×12", "용량 같음 2L"]),
        ("샘물 500ml 24입 2박스", "샘물 500ML 48개", ["수량 같음 24입×2박스 = 48개", "용량 같음 500ml"]),
        ("샘물 2L x 6", "샘물 12L", ["용량 같음 2L×6 = 12L"]),
        ("쌀 1kg/2kg", "쌀 5 kg", ["중량 다름 1kg/2kg ≠ 5kg"]),
        ("쌀", "쌀 5kg", []),
        ("쌀 1개", "쌀", []),
    ],
)
def test_reasons(one: str, other: str, said: list[str]) -> None:
    assert explain(read(one), read(other)) == said


UNITS = {
    "mass": (("g", 1), ("G", 1), ("gr", 1), ("kg", 1000), ("KG", 1000), ("㎏", 1000)),
    "volume": (("ml", 1), ("ML", 1), ("㎖", 1), ("l", 1000), ("L", 1000), ("ℓ", 1000), ("리터", 1000)),
}
TIMES = ("x", " x ", "X", "*", " * ", "×", " × ")
COUNTS = ("", "개", "입", "팩", "봉", "매", "pcs", "EA")


@st.composite
def respelt(draw: st.DrawFn) -> tuple[str, str]:
    """One measure, a number of packs and of boxes, written in two ways."""
    kind = draw(st.sampled_from(("mass", "volume")))
    base = draw(st.sampled_from((50, 85, 100, 120, 500, 1000, 1500, 2000)))
    pieces, boxes = draw(st.integers(2, 40)), draw(st.integers(1, 4))
    word = draw(st.sampled_from(COUNTS))

    def written() -> str:
        unit, factor = draw(st.sampled_from(UNITS[kind]))
        gap = "" if unit == "리터" else draw(st.sampled_from(("", " ")))
        text = f"고향 상품 {base / factor:g}{gap}{unit}{draw(st.sampled_from(TIMES))}{pieces}"
        text += draw(st.sampled_from((word, word.upper(), word.lower())))
        return text + (f" {boxes}박스" if boxes > 1 else "")

    return written(), written()


@given(respelt())
def test_spelling_changes_nothing(titles: tuple[str, str]) -> None:
    one, other = (read(title) for title in titles)
    assert shown(one) == shown(other) != ""


FRAGMENTS = (
    "샘물 2L 500ml 1.5ℓ x x6 ×12 *24 개 24입 2박스 총48개 1+1 2+1 120g 1kg 5kg내외 (5개입*8봉) 30매x3팩 / + , ( ) 총 "
    "isi 10p 20T 차 120x200cm 10cm 27인치 27형 16GB램 8G 512GB 1TB 220V 110/220V 60W 10000mAh 500mg 5000IU 1~2kg "
    "4~6마리 1/2 kg SM-R510 GX950B 1박스 1개 30m 6롤 500ml+200ml 1kg/2kg/3kg/4kg/5kg "
    "0 0g 000 1.2.3g 99999999kg 9999999개"
).split(" ")
titles = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(" ".join) | st.text(max_size=30)


@given(st.lists(titles, min_size=1, max_size=8), st.lists(titles, min_size=1, max_size=8))
def test_a_table_says_what_pairs_say(mine: list[str], theirs: list[str]) -> None:
    mine, theirs = [clean(title) for title in mine], [clean(title) for title in theirs]
    table, other = QuantityTable.of(mine), QuantityTable.of(theirs)
    left, right = (ids.ravel() for ids in np.indices((len(mine), len(theirs))))
    found = table.compare(left, right, other)
    assert found.dtype == np.int8
    wanted = [verdicts(parse(mine[one]), parse(theirs[two])) for one, two in zip(left, right, strict=True)]
    np.testing.assert_array_equal(found, np.array(wanted))
    np.testing.assert_array_equal(found, other.compare(right, left, table))
    same = np.arange(len(mine))
    assert not (table.compare(same, same) == Verdict.DIFFERENT).any()


def test_an_empty_table_and_no_pairs() -> None:
    none = np.array([], np.int64)
    assert QuantityTable.of([]).compare(none, none).shape == (0, len(KINDS))
    with pytest.raises(IndexError):
        QuantityTable.of(["2L"]).compare(np.array([0]), np.array([1]))


def test_pairs_are_judged_alike_beyond_one_block() -> None:
    table = QuantityTable.of(["2L x 6", "2L x 12", "1.5L", ""])
    draw = np.random.default_rng(0)
    left, right = draw.integers(4, size=(2, 70_000))
    one, other = (ids.ravel() for ids in np.indices((4, 4)))
    each = table.compare(one, other).reshape(4, 4, len(KINDS))
    np.testing.assert_array_equal(table.compare(left, right), each[left, right])


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    for title in (text, clean(text)):
        assert all(len(parse(title).of(kind)) <= 4 for kind in KINDS)


HOSTILE = (
    ["9" * 10_000, "(" * 5_000 + "2L" + ")" * 5_000, "8G " * 3_000 + "DDR", "가" * 10_000 + "1", "총" * 10_000]
    + [text * 5_000 for text in ("1+", "1x", "1/", "8g", '1"', "1 ", "2개 3입 5팩 ", "10cm x ", "1.", "1,")]
)  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: text[:12])
def test_hostile_text_takes_no_longer_than_it_must(hostile: str) -> None:
    started = time.process_time()
    parse(hostile)
    assert time.process_time() - started < 0.5
