"""Tables as values, the choice of format, standard streams, and targets that are whole or untouched."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import index.tables
from embedder.errors import InputError
from index.tables import FORMATS, Table, check_writable, read_table, write_table

SMALL = Table("made", {"id": ["1", "2"], "title": ['a "b",\r\nc\td', "백산수 🎁"]})
HALF = Table("made", {"id": ["1", "2"], "title": ["good", "\ud83c"]})
Patch = pytest.MonkeyPatch


def pipe(patch: Patch, data: str) -> None:
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.encode())))


# Table


def test_columns_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match="'a': 1, 'b': 2"):
        Table("t", {"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match="lines"):
        Table("t", {"a": [1]}, [2, 3])
    assert len(Table("t", {})) == 0


def test_with_column_appends_or_replaces_in_place() -> None:
    table = Table("t", {"a": [1, 2], "b": [3, 4]}, [2, 3])
    more = table.with_column("c", (5, 6)).with_column("a", ["x", "y"])
    assert list(more.columns.items()) == [("a", ["x", "y"]), ("b", [3, 4]), ("c", [5, 6])]
    assert (more.name, more.lines) == ("t", [2, 3])
    assert table.columns == {"a": [1, 2], "b": [3, 4]}
    with pytest.raises(ValueError, match="1 values for column 'c' of a table of 2 rows"):
        table.with_column("c", [1])


def test_errors_name_the_line_or_the_row() -> None:
    lined, unlined = Table("t.csv", {"a": [1, 2]}, [2, 5]), Table("t.pq", {"a": [1, 2]})
    assert (lined.place(1), unlined.place(1)) == ("line 5", "row 2")
    assert str(lined.error(1, "bad", column="a")) == "t.csv, line 5, column a: bad"
    assert str(unlined.error(1, "bad", column="a")) == "t.pq, column a: row 2: bad"


# Which format


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, repeat=2)))
def test_every_suffix_is_read_and_written_in_any_case(tmp_path: Path, first: str, second: str) -> None:
    write_table(SMALL, tmp_path / f"a{first.upper()}")
    write_table(read_table(str(tmp_path / f"a{first.upper()}")), tmp_path / f"b{second}")
    assert read_table(tmp_path / f"b{second}").columns == SMALL.columns


@pytest.mark.parametrize("name", ["t.csv.gz", "t.xlsx", "t", ".csv"])
@pytest.mark.parametrize("use", [read_table, check_writable, lambda path: write_table(SMALL, path)])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str, use: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match=r"unknown suffix '.*'; expected one of .csv, .tsv, .jsonl, .ndjson,"):
        use(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    with pytest.raises(InputError, match=r"missing\.csv: cannot be read: No such file"):
        read_table(tmp_path / "missing.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv: cannot be read: Is a directory"):
        read_table(tmp_path / "folder.csv")

    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match=r"secret\.csv: cannot be read: Permission denied"):
        read_table(tmp_path / "secret.csv")


# Standard streams


@pytest.mark.parametrize(
    "text",
    [
        '\ufeff\n {"id": "1", "title": "a,b"}\n',
        'id,title\n1,"a,b"\n',
        'id,"title"\r\n1,"a,b"\r\n',
        "\nid\ttitle\r\n1\ta,b\r\n",
    ],
)
def test_the_format_of_standard_input_is_guessed(monkeypatch: Patch, text: str) -> None:
    pipe(monkeypatch, text)
    table = read_table("-")
    assert table.name == "<stdin>"
    assert table.columns == {"id": ["1"], "title": ["a,b"]}


@pytest.mark.parametrize(("text", "names"), [("title\n1\t2\n", ["title"]), ("id,a\tb\n1,2\n", ["id", "a\tb"])])
def test_standard_input_is_csv_unless_its_header_is_tabbed(monkeypatch: Patch, text: str, names: list[str]) -> None:
    pipe(monkeypatch, text)
    assert list(read_table(Path("-")).columns) == names


def test_errors_in_standard_input_name_it(monkeypatch: Patch) -> None:
    pipe(monkeypatch, "id,title\n1\n")
    with pytest.raises(InputError, match="<stdin>, line 2: 1 fields"):
        read_table("-")
    pipe(monkeypatch, "")
    with pytest.raises(InputError, match="<stdin>: empty"):
        read_table("-")


def test_standard_output_is_csv_and_stays_open_and_in_order(monkeypatch: Patch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown))
    check_writable("-")
    print("before")
    write_table(SMALL, "-")
    print("after", flush=True)
    assert shown.getvalue().decode() == 'before\nid,title\n"1","a ""b"",\r\nc\td"\n2,백산수 🎁\nafter\n'


@pytest.mark.parametrize(("code", "raised"), [(errno.ENOSPC, InputError), (errno.EPIPE, BrokenPipeError)])
def test_standard_output_that_ends(monkeypatch: Patch, code: int, raised: type[Exception]) -> None:
    class Ended(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Ended(), write_through=True))  # type: ignore[type-var]
    with pytest.raises(raised):
        write_table(SMALL, "-")


# Whole or untouched


@pytest.fixture(params=[".csv", ".tsv", ".jsonl", ".parquet"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"target{request.param}"
    path.write_text("as it was")
    return path


def untouched(target: Path) -> bool:
    return target.read_text() == "as it was" and list(target.parent.iterdir()) == [target]


def test_a_value_that_fails_midway_leaves_the_target(target: Path) -> None:
    with pytest.raises(InputError, match="not valid Unicode") as caught:
        write_table(HALF, target)
    str(caught.value).encode()
    assert untouched(target)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError, "cannot be written: no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), InputError, "cannot be written: no space left"),
        (PermissionError(errno.EPERM, "Not permitted"), InputError, "cannot be written: Not permitted"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failing_disk_or_an_interrupt_leaves_the_target(
    target: Path, monkeypatch: Patch, step: str, raised: BaseException, expected: type, message: str | None
) -> None:
    def fail(*arguments: object) -> None:
        raise raised

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(expected, match=message):
        write_table(SMALL, target)
    assert untouched(target)


@pytest.mark.parametrize("raised", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failure_between_two_rows_leaves_the_target(target: Path, monkeypatch: Patch, raised: BaseException) -> None:
    class Failing(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 4:
                raise raised
            return super().write(data)

        def fileno(self) -> int:
            return -1

    def opened(path: Path, mode: str) -> BinaryIO:
        assert (path.parent, mode) == (target.parent, "xb")
        path.touch()
        return Failing()

    monkeypatch.setattr(index.tables, "open", opened, raising=False)
    with pytest.raises((InputError, KeyboardInterrupt)) as caught:
        write_table(SMALL, target)
    assert isinstance(caught.value, KeyboardInterrupt) or "no space left" in str(caught.value)
    assert untouched(target)


def test_a_replaced_file_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    (tmp_path / "real.csv").touch(mode=0o600)
    (tmp_path / "link.csv").symlink_to("real.csv")
    write_table(SMALL, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").stat().st_mode & 0o777 == 0o600
    assert read_table(tmp_path / "real.csv").columns == SMALL.columns


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    write_table(SMALL, tmp_path / ("n" * 251 + ".csv"))


def test_a_table_without_rows_is_written_with_its_header(tmp_path: Path) -> None:
    write_table(Table("made", {"id": [], "title": []}), tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == "id,title\n"
    write_table(Table("made", {"id": []}), tmp_path / "none.parquet")


# Before any work


def test_check_writable_accepts_new_and_existing_files_and_makes_none(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.csv")
    assert not list(tmp_path.iterdir())
    (tmp_path / "old.parquet").touch()
    check_writable(str(tmp_path / "old.parquet"))


@pytest.mark.parametrize("use", [check_writable, lambda path: write_table(SMALL, path)])
def test_targets_that_cannot_be_written_are_refused(tmp_path: Path, use: Callable[[Path], object]) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv: is a folder; expected a file"):
        use(tmp_path / "folder.csv")
    with pytest.raises(InputError, match=r"no folder '.*nowhere' to write into"):
        use(tmp_path / "nowhere" / "t.csv")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"no folder '.*file' to write into"):
        use(tmp_path / "file" / "t.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_and_files_without_permission_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch(mode=0o400)
    with pytest.raises(InputError, match="is read-only"):
        check_writable(tmp_path / "t.csv")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"no permission to write into folder '.*locked'"):
        check_writable(tmp_path / "locked" / "t.csv")


def test_permission_is_asked_of_the_folder_and_of_the_file(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "t.csv").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match="no permission to write into folder"):
        check_writable(tmp_path / "t.csv")
    monkeypatch.setattr(os, "access", lambda path, mode: path == tmp_path)
    with pytest.raises(InputError, match="is read-only"):
        check_writable(tmp_path / "t.csv")
