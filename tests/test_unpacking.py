"""Models that come as zip files: a bundle comes out, or nothing gets anywhere."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from api.unpacking import unpack
from embedder.bundle import DEFAULT, FILES, load_bundle
from embedder.errors import InputError

LIMIT = 1_000_000


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in entries:
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("inside", ["", "autumn/"])
def test_a_bundle_is_unpacked(tmp_path: Path, inside: str) -> None:
    files = [(inside + path.name, path.read_bytes()) for path in DEFAULT.iterdir()]
    unpack(zipped(tmp_path / "m.zip", *files), tmp_path / "model", 1 << 30)
    assert load_bundle(tmp_path / "model").fingerprint == load_bundle().fingerprint


def test_an_ensemble_keeps_its_folders(tmp_path: Path) -> None:
    names = ["config.json", *(f"{member}/{name}" for member in ("one", "two") for name in FILES)]
    unpack(zipped(tmp_path / "m.zip", *((name, name.encode()) for name in names)), tmp_path / "model", LIMIT)
    found = {str(path.relative_to(tmp_path / "model")) for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert found == set(names)


@pytest.mark.parametrize(
    "name",
    [
        "../config.json", "/config.json", "a/../config.json", "a\\..\\config.json", "a/b/c/config.json", "run.sh",
        "config.json/run.sh", ".hidden/config.json", "a//config.json", "__MACOSX/config.json", "C:/config.json",
    ],
)  # fmt: skip
def test_no_name_gets_out_of_its_folder(tmp_path: Path, name: str) -> None:
    home = tmp_path / "deep" / "down"
    home.mkdir(parents=True)
    with pytest.raises(InputError):
        unpack(zipped(home / "m.zip", ("README.md", b"x"), (name, b"x")), home / "model", LIMIT)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"m.zip", "README.md"}


def test_a_file_stands_there_once(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zipped(tmp_path / "m.zip", ("config.json", b"1"), ("config.json", b"2"))
    with pytest.raises(InputError, match="once"):
        unpack(path, tmp_path / "model", LIMIT)


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("config.json")
    link.external_attr = 0o120777 << 16
    with pytest.raises(InputError, match="link"):
        unpack(zipped(tmp_path / "m.zip", (link, b"/etc/passwd")), tmp_path / "model", LIMIT)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_packing_is_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(InputError, match="rare"):
        unpack(zipped(tmp_path / "m.zip", ("config.json", b"x"), kind=kind), tmp_path / "model", LIMIT)


def test_what_comes_out_is_counted(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "m.zip", ("model.onnx", bytes(5_000_000)), ("README.md", b"x"))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(InputError, match="holds more"):
        unpack(bomb, tmp_path / "model", LIMIT)
    assert sum(path.stat().st_size for path in (tmp_path / "model").iterdir()) <= 2 * LIMIT
    with pytest.raises(InputError, match="holds more"):  # of all together
        two = zipped(tmp_path / "n.zip", ("model.onnx", bytes(600_000)), ("background.npy", bytes(600_000)))
        unpack(two, tmp_path / "other", LIMIT)


def test_a_zip_file_that_says_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "m.zip", ("model.onnx", bytes(3_000_000)))
    size = (3_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(InputError):
        unpack(path, tmp_path / "model", LIMIT)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    names = [(f"m{number}/config.json", b"x") for number in range(600)]
    with pytest.raises(InputError, match="600 files"):
        unpack(zipped(tmp_path / "m.zip", *names), tmp_path / "model", LIMIT)


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"no zip file at all", bytes(100)])
def test_what_is_no_zip_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.zip").write_bytes(data)
    with pytest.raises(InputError):
        unpack(tmp_path / "m.zip", tmp_path / "model", LIMIT)


def test_a_zip_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO(zipped(tmp_path / "m.zip", ("config.json", b"x" * 1_000)).read_bytes()).getvalue()
    for length in range(1, len(data), 7):
        (tmp_path / "m.zip").write_bytes(data[:length])
        with pytest.raises(InputError):
            unpack(tmp_path / "m.zip", tmp_path / f"model{length}", LIMIT)
