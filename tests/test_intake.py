"""Strangers' files are counted before they are unpacked, and errors call them as their users do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import api.intake
from api.intake import MAX_COLUMNS, bounded_reading, by_users_names, read_rows
from embedder.errors import InputError


@pytest.fixture(autouse=True)
def as_much_memory_as_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker may have is too little for all that these tests stand among."""
    monkeypatch.setattr(api.intake, "_LEAST", 1 << 40)


def task(path: Path, **more: Any) -> dict[str, Any]:
    return {"file": str(path), "file_name": "mine", "max_rows": 10, **more}


def parquet(path: Path, **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=4)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error, bounded_reading(task(path)):
        pass
    return str(by_users_names(error.value, task(path)))


def test_rows_are_counted(tmp_path: Path) -> None:
    assert len(read_rows(task(parquet(tmp_path / "a.parquet", title=["a"] * 10)))) == 10
    assert "11 rows; expected at most 10" in refused(parquet(tmp_path / "b.parquet", title=["a"] * 11))
    (tmp_path / "a.csv").write_text("title\n" + "a\n" * 11, encoding="utf-8")
    with pytest.raises(InputError, match="11 rows; expected at most 10"):
        read_rows(task(tmp_path / "a.csv"))


def test_columns_are_counted(tmp_path: Path) -> None:
    columns = {str(number): [1] for number in range(MAX_COLUMNS + 1)}
    assert "1,001 columns; expected at most 1,000" in refused(parquet(tmp_path / "a.parquet", **columns))


def test_what_is_unpacked_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.intake, "_UNPACKED", 100_000)
    path = parquet(tmp_path / "a.parquet", title=["x" * 30_000] * 6)
    assert path.stat().st_size < 10_000
    assert "when unpacked" in refused(path)


def test_a_file_is_called_as_its_user_calls_it(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.csv") == "mine: cannot be read: No such file or directory"
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    assert refused(tmp_path / "a.parquet").startswith("mine: not a readable Parquet file")
    own, other = task(tmp_path / "a.csv"), InputError("x", file=str(tmp_path / "model" / "config.json"), line=2)
    assert (
        str(by_users_names(InputError("x", file=own["file"], line=3, column="c"), own)) == "mine, line 3, column c: x"
    )
    assert str(by_users_names(other, own)) == "config.json, line 2: x"
    assert str(by_users_names(InputError("x"), own)) == "x"


def test_memory_is_given_back(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    (tmp_path / "a.csv").write_text("title\na\n", encoding="utf-8")
    with bounded_reading(task(tmp_path / "a.csv")):
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
