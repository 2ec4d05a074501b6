"""The shelf: the models that a data folder holds, each a bundle in ``models/NAME``, and the one given from outside.

A bundle appears on the shelf whole or not at all, and is never changed there: another one gets another name. Two
bundles of one fingerprint make the same vectors and may still decide differently, so a digest tells decisions apart.

It knows folders, names and which model is active. It does not know how one model takes over from another.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedder.bundle import BACKGROUND, DEFAULT, PROBABILITY, Bundle, load_bundle
from embedder.errors import InputError
from embedder.folders import replacing_folder
from index.activations import Activation, Called
from index.catalog import Catalog
from index.decision import Decision
from index.store import ConflictError

MODELS = "models"
"""The folder in a data folder."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DECIDE = ("decision.json", PROBABILITY, BACKGROUND)


@dataclass(frozen=True)
class Entry:
    """A model on the shelf.

    Attributes:
        model: what it is called.
        bundle: checked.
        created: when it came to where it stands, seconds since 1970.
        size: bytes.
        metrics: what its ``metrics.json`` says.
    """

    model: Called
    bundle: Bundle
    created: float
    size: int
    metrics: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """By which people call it."""
        return self.model.name

    @property
    def parent(self) -> str | None:
        """The fingerprint of the model that it was made from; None for none that is known."""
        return self.bundle.config.parent


def digest_of(bundle: Bundle) -> str:
    """What tells how a bundle decides: its decision, its probability model, and how common grams are."""
    told = hashlib.sha256()
    for name in _DECIDE:
        path = bundle.folder / name
        told.update(f"{name}:".encode() + (hashlib.sha256(path.read_bytes()).digest() if path.exists() else b""))
    return told.hexdigest()[:16]


class Shelf:
    """The models of a catalogue's data folder. Safe to use from several threads."""

    def __init__(self, catalog: Catalog, outside: Bundle) -> None:
        """Look at what stands there; what a stopped process left half done is swept away.

        Args:
            catalog: whose folder it is, and where it is written down which model works.
            outside: the bundle that the service was given.
        """
        self.folder = catalog.folder / MODELS
        self._activations = catalog.activations
        self._turn = threading.RLock()
        self._known: dict[str, Entry] = {}
        for left in self.folder.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)
        self.outside = self._outside(outside)

    def entries(self) -> list[Entry]:
        """The models that can be used: the one from outside first, then those of the folder by their names."""
        with self._turn:
            whole = [self.get(name) for name in self._names() if self._fault(name) is None]
        return [*([self.outside] if self.outside.model.outside else []), *whole]

    def faults(self) -> dict[str, str]:
        """What is wrong with those that cannot be used, by their names."""
        with self._turn:
            return {name: fault for name in self._names() if (fault := self._fault(name)) is not None}

    def get(self, name: str) -> Entry:
        """The model of a name.

        Raises:
            InputError: there is none, or what stands there is no whole bundle.
        """
        with self._turn:
            if self.outside.model.outside and name == self.outside.name:
                return self.outside
            if name not in self._names():
                self._known.pop(name, None)
                known = ", ".join([self.outside.name, *(one for one in self._names() if one != self.outside.name)])
                raise InputError(f"no model {name[:80]!r}; expected one of {known}")
            if name not in self._known:
                self._known[name] = _entry(name, load_bundle(self.folder / name), outside=False)
            return self._known[name]

    def check_free(self, name: str) -> None:
        """Refuse a name that no new model can have.

        Raises:
            InputError: another kind of name.
            ConflictError: the name is taken.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"name {name[:80]!r}; expected up to 64 of A-Z, a-z, 0-9, '.', '_' and '-', not '.' first")
        if name == self.outside.name or (self.folder / name).exists():
            raise ConflictError(f"model {name!r} is there already; expected another name")

    def put(self, name: str, folder: str | Path) -> Entry:
        """Copy a bundle from elsewhere onto the shelf.

        Args:
            name: of up to 64 letters of ASCII, digits, dots, hyphens and underscores, a letter or digit first.
            folder: where the bundle is.

        Raises:
            InputError: another kind of name, or no whole bundle that decides.
            ConflictError: the name is taken.
        """
        self.check_free(name)
        bundle = load_bundle(folder)
        Decision.of(bundle)
        with self._turn:
            self.check_free(name)
            with replacing_folder(self.folder / name, "config.json") as beside:
                bundle.copy_to(beside)
                load_bundle(
                    beside
                )  # what was copied is what was there, although somebody may have changed it meanwhile
            return self.get(name)

    def remove(self, name: str) -> None:
        """Remove a model, unless it works.

        Raises:
            InputError: there is none of that name.
            ConflictError: it is the active one, or stands outside the data folder.
        """
        with self._turn:
            if self.outside.model.outside and name == self.outside.name:
                raise ConflictError(
                    f"model {name!r} stands outside the data folder; expected one of {self.folder.name}"
                )
            if name not in self._names():
                self.get(name)
            active = self._activations.active()
            if active is not None and not active.model.outside and active.model.name == name:
                raise ConflictError(f"model {name!r} is active; expected another one to be activated first")
            gone = (self.folder / name).rename(self.folder / f".{name}.gone")  # at once, whatever happens to the rest
            self._known.pop(name, None)
            shutil.rmtree(gone, ignore_errors=True)

    def start(self, who: str) -> Entry:
        """The model to serve with: the active one, or the one from outside while no other one was activated.

        Where that is not what was written down, such as at the first start, it is now.

        Raises:
            InputError: the active one stood in this folder, and is not there or not whole any more.
        """
        with self._turn:
            active = self._activations.active()
            entry = self.outside if active is None or active.model.outside else self.get(active.model.name)
            if active is None or active.model != entry.model:
                self._activations.add(entry.model, who, clustered=active is None)
            return entry

    def before(self) -> Entry | None:
        """The model that comes back when the active one is taken back; None where there is none.

        Raises:
            InputError: it is not there any more, or another one has its name.
        """
        before = self._activations.before()
        return None if before is None else self.of(before)

    def of(self, activation: Activation) -> Entry:
        """The model that worked then.

        Raises:
            InputError: it is not there any more, or another one has its name.
        """
        entry = self.get(activation.model.name)
        if entry.model != activation.model:
            raise InputError(
                f"model {entry.name!r} is not the one that worked then; expected its bundle to be put back"
            )
        return entry

    def _names(self) -> list[str]:
        """Names on the shelf, as the folder has them."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))

    def _fault(self, name: str) -> str | None:
        try:
            self.get(name)
        except InputError as error:
            return str(error)
        return None

    def _outside(self, bundle: Bundle) -> Entry:
        folder = bundle.folder.resolve()
        if folder.parent == self.folder.resolve():
            return _entry(folder.name, bundle, outside=False)
        name = "default" if folder == DEFAULT.resolve() else folder.name
        if not _NAME.fullmatch(name) or name in self._names():
            name = f"given-{bundle.fingerprint}"
        return _entry(name, bundle, outside=True)


def _entry(name: str, bundle: Bundle, *, outside: bool) -> Entry:
    sizes = sum((bundle.folder / path).stat().st_size for path in bundle.files())
    created = (bundle.folder / "config.json").stat().st_mtime
    model = Called(name, bundle.fingerprint, digest_of(bundle), outside)
    return Entry(model, bundle, created, sizes, bundle.read_json("metrics.json"))
