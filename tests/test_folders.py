"""A folder appears whole or not at all, and what is not ours is left alone."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from embedder.errors import InputError
from embedder.folders import replacing_folder

MARK = "mark.json"
FULL = OSError(errno.ENOSPC, "No space left on device")


def fill(folder: Path, text: str) -> None:
    with replacing_folder(folder, MARK) as beside:
        (beside / MARK).write_text(text)
        (beside / "data").write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def alone(folder: Path) -> bool:
    """Whether nothing temporary stands beside the folder."""
    return [path.name for path in folder.parent.iterdir()] == ([folder.name] if folder.exists() else [])


def test_a_new_folder_with_its_parents(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    fill(folder, "new")
    assert content(folder) == {MARK: "new", "data": "new"}
    assert folder.stat().st_mode & 0o777 == 0o755
    assert alone(folder)


def test_nothing_stands_before_the_end(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "f", MARK) as beside:
        assert beside.parent == tmp_path
        assert not (tmp_path / "f").exists()
    assert (tmp_path / "f").is_dir()


def test_a_folder_of_its_kind_is_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "f", "old")
    (tmp_path / "f" / "more").write_text("old")
    fill(tmp_path / "f", "new")
    assert content(tmp_path / "f") == {MARK: "new", "data": "new"}
    assert alone(tmp_path / "f")


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    fill(tmp_path / "f", "new")
    assert alone(tmp_path / "f")


@pytest.mark.parametrize("make", [
    lambda path: (path.mkdir(), (path / "thesis.docx").write_text("life's work")),
    lambda path: path.write_text("life's work"),
])  # fmt: skip
def test_something_else_is_not_replaced(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "f")
    with pytest.raises(InputError, match="f: something else stands here; expected a new folder or one that holds"):
        fill(tmp_path / "f", "new")
    kept = tmp_path / "f"
    assert (kept if kept.is_file() else kept / "thesis.docx").read_text() == "life's work"
    assert alone(kept)


def test_a_file_where_a_parent_should_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(InputError, match="a/f: cannot be written: "):
        fill(tmp_path / "a" / "f", "new")


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("failure", [FULL, KeyboardInterrupt(), ValueError()])
def test_a_failure_midway_changes_nothing(tmp_path: Path, failure: BaseException, old: bool) -> None:
    if old:
        fill(tmp_path / "f", "old")
    expected = InputError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected) as caught, replacing_folder(tmp_path / "f", MARK) as beside:
        (beside / MARK).write_text("new")
        raise failure
    if isinstance(failure, OSError):
        assert str(caught.value) == f"{tmp_path / 'f'}: cannot be written: No space left on device"
    assert (content(tmp_path / "f") == {MARK: "old", "data": "old"}) if old else not (tmp_path / "f").exists()
    assert alone(tmp_path / "f")


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 2])
def test_a_failure_between_the_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, at: int
) -> None:
    fill(tmp_path / "f", "old")
    rename, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == at:
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(InputError if isinstance(failure, OSError) else KeyboardInterrupt):
        fill(tmp_path / "f", "new")
    assert content(tmp_path / "f") == {MARK: "old", "data": "old"}
    assert alone(tmp_path / "f")
