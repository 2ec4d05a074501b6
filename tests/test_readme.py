"""Tables between their markers: put in place, or the file is left as it is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from test_labelled import groups_file, pair_folder

from benchmarks import datasets, readme
from benchmarks.datasets import DATA_SETS
from benchmarks.readme import COMPARED, MEASURED, SOAK_PARTS, SPEED_PARTS, make_tables, put_tables
from benchmarks.recall import Settings
from embedder.errors import InputError

TEXT = "# Benchmarks\n<!-- begin a -->\nold\n<!-- end a -->\nbetween\n<!-- begin b c -->\n<!-- end b c -->\nend\n"


def test_tables_are_put_between_their_markers(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    put_tables(path, {"a": "| new |\n", "b c": "| more |"})
    expected = TEXT.replace("old\n", "| new |\n").replace("<!-- begin b c -->\n", "<!-- begin b c -->\n| more |\n")
    assert path.read_text() == expected
    put_tables(path, {"a": "| new |\n", "b c": "| more |"})
    assert path.read_text() == expected


@pytest.mark.parametrize("text", ["", "<!-- begin a -->\n", "<!-- end a -->\n<!-- begin a -->\n"])
def test_a_missing_marker_changes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(InputError, match="no <!-- begin a --> before <!-- end a -->"):
        put_tables(path, {"a": "new"})
    assert path.read_text() == text
    with pytest.raises(InputError, match="cannot be read"):
        put_tables(tmp_path / "nowhere.md", {})


def test_every_set_that_is_measured_is_known() -> None:
    assert {*MEASURED, *COMPARED} <= {data.name for data in DATA_SETS}
    with pytest.raises(InputError, match="no part 'colour'; expected recall, ladder, decision, peers, speed, soak"):
        make_tables(Path(), Path(), parts=["colour"])


def test_one_command_makes_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "DATA_SETS", tuple(replace(d, rows=0, products=None) for d in DATA_SETS))
    monkeypatch.setattr(readme, "MEASURED", ("korea_cvs",))
    monkeypatch.setattr(readme, "COMPARED", ("korea_cvs",))
    groups_file(tmp_path, name="data/korea_cvs/titles.csv")
    pair_folder(tmp_path / "data" / "abt-buy")
    path = tmp_path / "README.md"
    names = ("recall", "promises", "pairs", "pools", "ladder korea_cvs")
    path.write_text("".join(f"<!-- begin {name} -->\n<!-- end {name} -->\n" for name in names))
    said: list[str] = []
    tables = make_tables(
        tmp_path / "data", tmp_path / "out", parts=["recall", "ladder"], readme=path, settings=Settings(threads=1),
        say=said.append,
    )  # fmt: skip
    assert tuple(tables) == names
    assert "recall on korea_cvs" in said
    assert (tmp_path / "out" / "recall" / "korea_cvs" / "index.html").exists()
    assert (tmp_path / "out" / "ladder" / "korea_cvs" / "index.html").exists()
    text = path.read_text()
    assert all(table.rstrip() in text for table in tables.values())
    assert text.count("| korea_cvs |") == 1 + sum(len(tables[name].splitlines()) - 2 for name in ("promises", "pools"))


def test_the_readme_has_a_place_for_every_table() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    names = ["recall", "promises", "pairs", "pools", *(f"ladder {name}" for name in COMPARED), "decision", "peers"]
    names += [f"speed {part}" for part in SPEED_PARTS] + [f"soak {part}" for part in SOAK_PARTS]
    assert re.findall(r"<!-- begin (.+) -->", text) == re.findall(r"<!-- end (.+) -->", text) == names


def test_reports_of_others_are_put_under_the_readmes_headings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> Path:
        parts = [f"speed-{part}" for part in SPEED_PARTS] + [f"soak-{part}" for part in SOAK_PARTS]
        for name in ("peers", *parts):
            (tmp_path / f"{name}.md").write_text("# Title\n\ntext\n\n## set\n\n| a |\n")
        return tmp_path

    monkeypatch.setattr("benchmarks.peers.run_peers", run)
    monkeypatch.setattr("benchmarks.speed.run_speed", run)
    monkeypatch.setattr("benchmarks.soak.run_soak", run)
    tables = make_tables(tmp_path, tmp_path, parts=["peers", "speed", "soak"])
    assert tables["peers"] == "text\n\n#### set\n\n| a |"
    places = [f"speed {part}" for part in SPEED_PARTS] + [f"soak {part}" for part in SOAK_PARTS]
    assert list(tables) == ["peers", *places]
    (tmp_path / "peers.md").unlink()
    monkeypatch.setattr("benchmarks.peers.run_peers", lambda *_, **__: tmp_path)
    with pytest.raises(InputError, match=r"peers.md: cannot be read"):
        make_tables(tmp_path, tmp_path, parts=["peers"])
