"""A base comes back from its file as it was, beside whatever changed since; and no other file is taken for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from living import DECISION, QUERIES, TITLES, loaded_of
from test_snapshot import IDS, first_of, told

from embedder.encoder import Encoder
from index import vectors as search
from index.blending import BlendConfig
from index.catalog import Loaded
from index.kept import file_of, forget_bases, keep, read_kept
from index.nodes import key_of
from index.snapshot import Base, Snapshot


def back(
    file: Path, loaded: Loaded, blend: BlendConfig, background: npt.NDArray[np.uint8] | None
) -> tuple[Base, Loaded] | None:
    return read_kept(file, lambda: loaded, blend, background, device="cpu")


@pytest.fixture(scope="module")
def whole(encoder: Encoder) -> Snapshot:
    return first_of(IDS, TITLES, encoder)


@pytest.fixture
def file(whole: Snapshot, tmp_path: Path) -> Path:
    keep(whole.base, file_of(tmp_path, "0123", "ab"), DECISION.blend, None)
    assert [path.name for path in tmp_path.iterdir()] == ["base-0123-ab.npz"]
    return tmp_path / "base-0123-ab.npz"


def test_it_comes_back_as_it_was(whole: Snapshot, file: Path, encoder: Encoder) -> None:
    found = back(file, loaded_of(IDS, TITLES, encoder.encode(TITLES)), DECISION.blend, None)
    assert found is not None
    base, rest = found
    assert (base.ids, base.titles, base.keys, rest.ids) == (whole.base.ids, whole.base.titles, whole.base.keys, [])
    again = Snapshot.first(base, encoder.encode, DECISION)
    assert told(again.match(QUERIES, k=50)) == told(whole.match(QUERIES, k=50))
    left, right = base.scene.candidates(), whole.base.scene.candidates()
    np.testing.assert_array_equal(left.left, right.left)
    np.testing.assert_allclose(left.scores, right.scores, atol=1e-6)


def test_judged_pairs_come_back_and_none_where_nobody_judged(whole: Snapshot, file: Path, encoder: Encoder) -> None:
    loaded = loaded_of(IDS, TITLES, encoder.encode(TITLES))
    plain = back(file, loaded, DECISION.blend, None)
    assert plain is not None
    assert plain[0].pairs is None
    judged = whole.base.judged(whole.base.scene.judge(DECISION), DECISION)
    keep(judged, file, DECISION.blend, None)
    found = back(file, loaded, DECISION.blend, None)
    assert found is not None
    ours, theirs = found[0].pairs, judged.pairs
    assert ours is not None
    assert theirs is not None
    for mine, other in zip(
        (*ours.apart, ours.edges.left, ours.edges.right, ours.edges.scores),
        (*theirs.apart, theirs.edges.left, theirs.edges.right, theirs.edges.scores),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(found[0].crowded, judged.crowded)


def test_candidates_come_back_between_the_nodes_that_are_there_still(
    whole: Snapshot, file: Path, encoder: Encoder
) -> None:
    """The twins among them are those of now: one of two items may have gone, and a second one may have come."""
    node_of = whole.base.scene.nodes.node_of
    gone = set(node_of[::5].tolist())
    stay = [item for item in range(len(IDS)) if int(node_of[item]) not in gone]
    ids, titles = [*(IDS[item] for item in stay), "twin"], [*(TITLES[item] for item in stay), TITLES[stay[3]]]
    vectors = encoder.encode(titles)
    loaded = loaded_of(ids, titles, vectors)
    number = dict(zip([*whole.base.keys], whole.base.numbers.tolist(), strict=True))
    first = [ids.index(ids[int(np.flatnonzero(loaded.row_of == row)[0])]) for row in range(len(loaded.nodes))]
    nodes = np.array([number[key_of(titles[item])] for item in first])
    found = back(file, replace(loaded, nodes=nodes), DECISION.blend, None)
    assert found is not None
    now, was = found[0].scene.candidates(), whole.base.scene.candidates()
    pairs, before = ([*zip(one.left.tolist(), one.right.tolist(), strict=True)] for one in (now, was))
    items = found[0].scene.nodes.items()
    twins = [(node, node) for node, some in enumerate(items) if len(some) > 1]
    assert pairs == sorted([*twins, *(pair for pair in before if pair[0] != pair[1] and not gone & {*pair})])
    assert (int(node_of[stay[3]]),) * 2 in pairs
    np.testing.assert_array_equal(found[0].scene.side.crowd.scores, whole.base.scene.side.crowd.scores)


def test_a_sketch_comes_back_and_is_not_learnt_again(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_SKETCHED", 20)
    monkeypatch.setattr(search, "_LESSON", 40)
    monkeypatch.setattr(search, "_WANTED", 2)
    vectors = encoder.encode(TITLES)
    loaded, file = loaded_of(IDS, TITLES, vectors), file_of(tmp_path, "0123", "ab")
    base = Base.of(loaded, DECISION.blend, None, device="cpu")
    keep(base, file, DECISION.blend, None)
    monkeypatch.setattr(search, "_learn", None)  # whoever calls it fails
    found = back(file, loaded, DECISION.blend, None)
    assert found is not None
    assert found[0].scene.index.way == "sketch, re-scored exactly"
    assert found[0].scene.index.recall_of_few == base.scene.index.recall_of_few
    for k in (1, 3):
        ours, theirs = (one.scene.index.search(vectors[:20], k) for one in (found[0], base))
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_bases_that_nobody_wants_go(file: Path) -> None:
    other = file_of(file.parent, "0123", "cd")
    other.touch()
    (file.parent / "catalog.sqlite3").touch()
    forget_bases(file.parent, [file])
    assert {path.name for path in file.parent.iterdir()} == {file.name, "catalog.sqlite3"}


def test_what_changed_since_stands_beside_it(whole: Snapshot, file: Path, encoder: Encoder) -> None:
    """As it does without a restart: items that went, that came, that have another title, and whole nodes that went."""
    gone = [*IDS[:8], IDS[20]]
    changes = {IDS[30]: "새우깡 90g", "x": "새우깡 90g", "y": TITLES[40], "z": "소니 WH-1000XM5 블랙"}
    loaded = loaded_of([*changes], [*changes.values()], encoder.encode([*changes.values()]))
    without_restart = whole.after(loaded, gone, 7)
    now = {id: title for id, title in zip(IDS, TITLES, strict=True) if id not in gone} | changes
    # The store's numbers of nodes stay; those of new nodes go on.
    vectors = encoder.encode([*now.values()])
    number = dict(zip([*whole.base.keys], whole.base.numbers.tolist(), strict=True))
    every = loaded_of([*now], [*now.values()], vectors, 7)
    texts = [every.titles[int(np.flatnonzero(every.row_of == row)[0])] for row in range(len(every.nodes))]
    nodes = np.array([number.get(key_of(text), 1_000 + place) for place, text in enumerate(texts)])
    found = back(file, replace(every, nodes=nodes), DECISION.blend, None)
    assert found is not None
    again = Snapshot.first(found[0], encoder.encode, DECISION).after(found[1], (), 7)
    assert len(again) == len(without_restart) == len(now)
    for title in (*QUERIES, "새우깡 90g"):
        ours, theirs = ({m.id for m in one.match([title], threshold=0.5, k=99)[0]} for one in (again, without_restart))
        assert ours == theirs
    assert {again.title(id) for id in changes} == {*changes.values()}


def test_a_number_that_came_to_another_title_is_seen(file: Path, encoder: Encoder) -> None:
    loaded = loaded_of(IDS, TITLES, encoder.encode(TITLES))
    assert back(file, replace(loaded, nodes=loaded.nodes[::-1].copy()), DECISION.blend, None) is None


def test_what_it_follows_from_must_be_the_same(file: Path, encoder: Encoder) -> None:
    loaded = loaded_of(IDS, TITLES, encoder.encode(TITLES))
    background = np.zeros((2, 1 << 16), np.uint8)
    assert back(file, loaded, replace(DECISION.blend, stages=1), None) is None
    assert back(file, loaded, DECISION.blend, background) is None
    assert back(file, replace(loaded, revision=0), DECISION.blend, None) is None
    assert back(file.with_name("nothing.npz"), loaded, DECISION.blend, None) is None
    assert back(file, loaded, DECISION.blend, None) is not None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_file_is_none(file: Path, encoder: Encoder, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert back(file, loaded_of(IDS, TITLES, encoder.encode(TITLES)), DECISION.blend, None) is None


def test_a_changed_byte_is_seen(whole: Snapshot, file: Path, encoder: Encoder) -> None:
    """Or does no harm: nobody asks when a part of the file was written."""
    content, loaded, seen = file.read_bytes(), loaded_of(IDS, TITLES, encoder.encode(TITLES)), 0
    for place in [len(content) // 2, *range(0, len(content), len(content) // 150), *range(-600, 0, 7)]:
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        found = back(file, loaded, DECISION.blend, None)
        seen += found is None
        if found is not None:
            assert (found[0].titles, found[0].keys) == (whole.base.titles, whole.base.keys)
            np.testing.assert_array_equal(found[0].scene.blended.stages[-1], whole.base.scene.blended.stages[-1])
    assert seen > 150


def test_nothing_can_be_kept_too(tmp_path: Path, encoder: Encoder) -> None:
    none = loaded_of([], [], np.empty((0, encoder.dimension), np.float32))
    file = file_of(tmp_path, "0123", "ab")
    keep(Base.of(none, DECISION.blend, None, device="cpu"), file, DECISION.blend, None)
    found = back(file, loaded_of(IDS, TITLES, encoder.encode(TITLES)), DECISION.blend, None)
    assert found is not None
    assert (found[0].ids, found[1].ids) == ([], IDS)


def test_a_failure_midway_leaves_the_old_file(whole: Snapshot, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        keep(whole.base, file, DECISION.blend, None)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
