"""Phrases: every one has its Korean, and a browser's wishes choose between the two languages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from api import phrases
from api.phrases import Phrases, language_of, read_korean

PAGES = ROOT / "api" / "pages"
KOREAN = read_korean(PAGES / "korean.json")
_SAID = re.compile(r"""\bt\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")
# Loops in templates that say a name of a list, as pairs or triples.
_LISTED = re.compile(r"""\{% for [^%]* in \[(\(.*?\))\] %\}""")


def said() -> Iterator[tuple[str, str]]:
    """Every phrase that a template or a module says, and where."""
    for path in sorted(PAGES.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        for found in _SAID.finditer(text):
            yield path.name, (found[1] or found[2])
    for path in [*sorted((ROOT / "api").glob("page*.py")), ROOT / "api" / "phrases.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("t", "self")
            if isinstance(node, ast.Call) and called and node.args and isinstance(node.args[0], ast.Constant):
                yield path.name, str(node.args[0].value)
    for codes in phrases._CODES.values():
        for phrase in codes.values():
            yield "phrases.py", phrase


def test_every_phrase_has_its_korean() -> None:
    missing = sorted({f"{where}: {phrase}" for where, phrase in said() if phrase not in KOREAN})
    assert not missing
    listed = {part for path in PAGES.glob("*.html") for found in _LISTED.finditer(path.read_text()) for part in
              re.findall(r'"([A-Z][a-z][^"]{3,})"', found[1])}  # fmt: skip
    assert {part for part in listed if part not in KOREAN} <= {"Ctrl Enter", "Space"}


def test_both_languages_have_the_same_places_for_values() -> None:
    for english, korean in KOREAN.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", korean)), english


def test_no_korean_is_left_that_nobody_says() -> None:
    everything = "\n".join(path.read_text(encoding="utf-8") for path in PAGES.glob("*.html"))
    everything += "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "api").glob("p*.py"))
    assert not [phrase for phrase in KOREAN if phrase not in everything]


def test_values_stand_in_their_places() -> None:
    english, korean = Phrases("en", KOREAN), Phrases("ko", KOREAN)
    assert english("{n} items wait for a cluster.", n=3) == "3 items wait for a cluster."
    assert "3" in korean("{n} items wait for a cluster.", n=3)
    assert english("no such phrase {x}") == korean("no such phrase {x}") == "no such phrase {x}"
    assert (english.items(1), english.items(1_200)) == ("1 item", "1,200 items")
    assert (english.of_reason("수량"), korean.of_reason("수량"), english.of_reason("색")) == ("count", "수량", "색")
    assert (english.code("state", "done"), korean.code("state", "done"), english.code("phase", "x")) == (
        "done",
        "완료",
        "x",
    )


@pytest.mark.parametrize(
    ("chosen", "accepted", "expected"),
    [
        ("", "", "ko"), ("", "fr,de;q=0.5", "ko"), ("", "en-GB,ko;q=0.9", "en"), ("", "en;q=0.2, ko-KR;q=0.7", "ko"),
        ("en", "ko", "en"), ("ko", "en", "ko"), ("xx", "en", "en"), ("", "EN-us", "en"), ("", "en;q=x,ko;q=0.1", "ko"),
    ],
)  # fmt: skip
def test_the_language_is_the_one_wished_for_most(chosen: str, accepted: str, expected: str) -> None:
    assert language_of(chosen, accepted) == expected


@given(st.text(), st.text())
def test_any_wish_gets_a_language(chosen: str, accepted: str) -> None:
    assert language_of(chosen, accepted) in ("ko", "en")


def test_the_table_is_plain(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    file.write_text('{"a": "가"}', encoding="utf-8")
    assert read_korean(file) == {"a": "가"}
