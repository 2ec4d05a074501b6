"""The wheel holds what it must, and only the top-level names that dongil owns."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from embedder.bundle import BACKGROUND, FILES, PROBABILITY

ROOT = Path(__file__).parents[1]
OWNED = {"embedder", "index", "training", "benchmarks", "api"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of what git tracks, built without the network."""
    pytest.importorskip("build", reason="building the wheel needs dongil[dev]")
    pytest.importorskip("setuptools", reason="building without isolation needs setuptools")
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path)


def test_only_owned_names_stand_at_the_top(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == OWNED


def test_model_sample_and_licence_travel(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    model = (*FILES, PROBABILITY, BACKGROUND)
    assert {f"embedder/default/{name}" for name in model} <= names
    assert "api/sample/catalog.csv" in names
    assert {f"api/pages/{name}" for name in ("layout.html", "korean.json", "static/htmx.min.js.LICENSE")} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_the_model_is_small_enough_to_ship(wheel: zipfile.ZipFile) -> None:
    assert sum(i.file_size for i in wheel.infolist() if i.filename.startswith("embedder/default/")) <= 16 * 2**20


def test_serving_needs_neither_torch_nor_two_builds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    serving = " ".join(project["dependencies"] + extras["cpu"])
    assert "torch" not in serving
    assert "transformers" not in serving
    for package in ("faiss", "onnxruntime"):
        assert package not in " ".join(project["dependencies"])
        assert sum(package in line for line in extras["cpu"]) == sum(package in line for line in extras["gpu"]) == 1
    pins = (ROOT / "constraints.txt").read_text()
    assert "torch==" in pins
