"""What is under way ends when it is to stop, and nothing is mended before the pairs of a base are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from living import DECISION, TITLES, loaded_of

from embedder.encoder import Encoder
from index import upkeep as module
from index.catalog import Catalog
from index.snapshot import Base, Snapshot
from index.upkeep import Stopped, Upkeep, unless

IDS = [f"i{place:03d}" for place in range(len(TITLES))]


def test_it_ends_at_the_next_step() -> None:
    stopping, told = [False], list[tuple[str, int, int]]()
    progress = unless(lambda: stopping[0], lambda *what: told.append(what))
    progress("judge", 1, 2)
    stopping[0] = True
    with pytest.raises(Stopped):
        progress("judge", 2, 2)
    with pytest.raises(Stopped):
        unless(lambda: True)
    assert told == [("judge", 1, 2)]
    unless(lambda: False)("judge", 1, 2)


def test_it_mends_what_came_once(tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[set[int]] = []
    vectors = encoder.encode(TITLES)
    base = Base.of(loaded_of(IDS[:40], TITLES[:40], vectors[:40]), DECISION.blend, None, device="cpu")
    more = loaded_of(IDS[40:44], TITLES[40:44], vectors[40:44])
    with Catalog.open(tmp_path) as catalog:
        upkeep = Upkeep(catalog)
        monkeypatch.setattr(module, "mend", lambda *given: called.append({*given[3]}))
        upkeep.mend(Snapshot.first(base, encoder.encode, DECISION).after(more, (), 2))
        assert called == [], "nobody has judged its pairs"
        judged = base.judged(base.scene.judge(DECISION), DECISION)
        first = Snapshot.first(judged, encoder.encode, DECISION)
        upkeep.mend(first)
        assert called == [], "nothing came"
        snapshot = first.after(more, (), 2)
        new = {*range(len(judged.scene.nodes.texts), len(snapshot.dead))}

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(module, "mend", full)
            with pytest.raises(OSError, match="No space"):
                upkeep.mend(snapshot)
        upkeep.mend(snapshot)
        upkeep.mend(snapshot)
        assert new <= called[0], "what could not be done is tried again"
        assert called[1:] == [set()]
