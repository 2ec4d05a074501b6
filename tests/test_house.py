"""The house rules that can be read off the code: which folder knows which, and what no file does."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT

HOUSE = ("embedder", "index", "training", "benchmarks", "api")  # a folder imports only from folders on its left
TRAINING_ONLY = {"torch", "transformers", "pytorch_metric_learning"}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FILES = [path for folder in HOUSE for path in sorted((ROOT / folder).rglob("*.py"))]


@dataclass(frozen=True)
class Import:
    name: str  # whole, dotted; "." for a relative one, "?" for one by a name that is only known when it runs
    line: int
    late: bool  # in a function, or for the type checker alone: not when the module is imported

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def imports(node: ast.AST, late: bool = False) -> Iterator[Import]:
    """Every import under a node, by statement or by name, however deep."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield Import("." if child.level else child.module or "", child.lineno, late)
        elif isinstance(child, ast.Call) and called(child) in {"import_module", "__import__"}:
            names = [part.value for part in child.args[:1] if isinstance(part, ast.Constant)]
            yield Import(str(names[0]) if names else "?", child.lineno, late)
        deeper = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(child, ast.If) and not child.orelse and ast.unparse(child.test) == "TYPE_CHECKING"
        yield from imports(child, late or deeper or typing)


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def folder(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_folder_stands() -> None:
    assert {folder(path) for path in FILES} == set(HOUSE)
    assert all(path.parent.parent == ROOT for path in FILES), "no sub-packages"
    assert not {path.name for path in FILES} & {"utils.py", "base.py"}


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_folder_imports_only_from_folders_on_its_left(path: Path) -> None:
    known = HOUSE[: HOUSE.index(folder(path)) + 1]
    for found in imports(tree(path)):
        where = f"{named(path)}:{found.line} imports {found.name}"
        assert found.name != ".", f"{where}: relative"
        assert found.name != "?" or folder(path) == "benchmarks", f"{where}: only peers to compare with are named late"
        assert found.top not in HOUSE or found.top in known, where
        if folder(path) == "api" and found.top in {"training", "benchmarks"}:
            assert found.late, f"{where} at import; serving must not need it"
        if folder(path) in {"embedder", "index", "api"}:
            assert found.top not in TRAINING_ONLY, where


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_module_says_what_it_does(path: Path) -> None:
    module = tree(path)
    if path.name == "__init__.py":
        assert len(module.body) <= 3
    else:
        assert ast.get_docstring(module)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_file_unpickles_or_runs_text(path: Path) -> None:
    module = tree(path)
    for found in imports(module):
        assert found.top not in PICKLES, f"{named(path)}:{found.line} imports {found.name}"
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            where = f"{named(path)}:{node.lineno}"
            assert not (isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "compile"}), where
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert options.get("allow_pickle", "False") == "False", where
            assert options.get("weights_only", "True") == "True", where


@pytest.mark.skipif(not (ROOT / "api" / "app.py").exists(), reason="there is no service yet")
@pytest.mark.parametrize("module", ["api.app", "api.cli"])
def test_serving_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({TRAINING_ONLY | {'training', 'benchmarks'}} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


def test_the_reader_of_imports_misses_none() -> None:
    code = """
import a.b
from c.d import e
if x:
    import f
if TYPE_CHECKING:
    from u.v import w
def g():
    from . import h
    async def i():
        import j as k
class L:
    def m(self): import_module("n.o"); importlib.import_module(p); __import__("q")
r = lambda: __import__("s")
find_spec("t")
"""
    found = [(one.name, one.late) for one in imports(ast.parse(code))]
    assert found == [
        ("a.b", False), ("c.d", False), ("f", False), ("u.v", True), (".", True), ("j", True),
        ("n.o", True), ("?", True), ("q", True), ("s", True),
    ]  # fmt: skip
