"""Search is held against brute force: exactly where it is exact, and at the recall it claims where it is not."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from conftest import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.errors import InputError
from index import vectors as module
from index.vectors import FEW, Neighbours, VectorIndex, Vectors, check_vectors, wants_gpu


def check_against_brute_force(found: Neighbours, queries: Vectors, vectors: Vectors, k: int) -> None:
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    best = -np.sort(-scores, axis=1)[:, :k]
    real = min(k, len(vectors))
    assert found.ids.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert found.ids.shape == found.scores.shape == (len(queries), k)
    assert (found.ids[:, real:] == -1).all()
    assert (found.scores[:, real:] == -np.inf).all()
    ids = found.ids[:, :real]
    np.testing.assert_allclose(found.scores[:, :real], best, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores, ids, 1), best, atol=1e-5)
    assert all(len(set(row)) == real for row in ids.tolist())
    steps = np.diff(found.scores[:, :real], axis=1)
    assert (steps <= 0).all()
    assert (np.diff(ids, axis=1)[steps == 0] > 0).all()


@given(
    rows=st.integers(0, 60), dimension=st.integers(1, 9), queries=st.integers(0, 12), k=st.integers(1, 70),
    seed=st.integers(0, 99), copies=st.integers(0, 30), zeros=st.integers(0, 10),
)  # fmt: skip
@settings(max_examples=60)
def test_exact_search(rows: int, dimension: int, queries: int, k: int, seed: int, copies: int, zeros: int) -> None:
    vectors, asked = unit_rows(rows, dimension, seed), unit_rows(queries, dimension, seed + 1)
    draw = np.random.default_rng(seed)
    if rows:
        vectors[draw.integers(rows, size=copies)] = vectors[0]
        vectors[draw.integers(rows, size=zeros)] = 0
        asked[: queries // 2] = vectors[draw.integers(rows, size=queries // 2)]
    index = VectorIndex.from_vectors(vectors, device="cpu")
    assert (len(index), index.dimension, index.exact, index.recall) == (rows, dimension, True, 1.0)
    check_against_brute_force(index.search(asked, k), asked, vectors, k)


def test_equal_vectors_stand_in_row_order() -> None:
    vectors = unit_rows(3_000, 8)
    equal = np.sort(np.random.default_rng(1).choice(3_000, 200, replace=False))
    vectors[equal] = vectors[equal[0]]
    found = VectorIndex.from_vectors(vectors, device="cpu").search(vectors[equal], 300)
    assert (found.ids[:, :200] == equal).all()


def test_a_zero_row_scores_zero_with_everything() -> None:
    vectors = unit_rows(5)
    found = VectorIndex.from_vectors(vectors, device="cpu").search(np.zeros_like(vectors[:1]), 5)
    assert found.ids.tolist() == [[0, 1, 2, 3, 4]]
    assert found.scores.tolist() == [[0] * 5]


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit_rows(101, 8)
    index, steps = VectorIndex.from_vectors(vectors, device="cpu"), list[int]()
    monkeypatch.setattr(module, "_BLOCK", 25)
    check_against_brute_force(index.search(vectors, 7, progress=steps.append), vectors, vectors, 7)
    assert steps == [25, 25, 25, 25, 1]


def test_an_index_of_nothing() -> None:
    index = VectorIndex.from_vectors(np.zeros((0, 4), np.float32), exact=False, device="cpu")
    assert index.exact
    assert index.search(unit_rows(2, 4), 3).ids.tolist() == [[-1] * 3] * 2


# Inverted files


@pytest.fixture(scope="module")
def crowd() -> Vectors:
    return unit_rows(3_000, 24, spread=0.12)


@pytest.fixture(scope="module")
def inverted(crowd: Vectors) -> VectorIndex:
    return VectorIndex.from_vectors(crowd, exact=False, min_recall=0.95, k=20, device="cpu")


def true_recall(found: Neighbours, queries: Vectors, vectors: Vectors) -> float:
    """The share of the true nearest that were found, by the ids of float64 brute force."""
    k = found.ids.shape[1]
    best = np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1, kind="stable")[:, :k]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(best.tolist(), found.ids.tolist(), strict=True)]))


def test_the_recall_it_claims_is_the_recall_it_has(inverted: VectorIndex, crowd: Vectors) -> None:
    assert not inverted.exact
    assert inverted.recall >= 0.95
    queries = crowd[::7]  # not the sample that was measured
    assert true_recall(inverted.search(queries, 20), queries, crowd) == pytest.approx(inverted.recall, abs=0.02)


@pytest.mark.parametrize("min_recall", [0.3, 0.999])
def test_more_recall_takes_more_probes(inverted: VectorIndex, crowd: Vectors, min_recall: float) -> None:
    other = VectorIndex.from_vectors(crowd, exact=False, min_recall=min_recall, k=20, device="cpu")
    assert other.recall >= min_recall
    assert (other.recall - inverted.recall) * (min_recall - 0.95) >= 0


def test_neighbours_below_the_floor_are_not_paid_for(inverted: VectorIndex, crowd: Vectors) -> None:
    near = VectorIndex.from_vectors(crowd, exact=False, min_recall=0.95, k=20, floor=0.8, device="cpu")
    assert near._index.nprobe <= inverted._index.nprobe
    queries = crowd[::7]
    cosines = queries @ crowd.T
    found = near.search(queries, 21)
    wanted = np.sort(cosines, axis=1)[:, ::-1][:, 1:21]
    assert (found.scores[:, 1:] >= 0.8).sum() / (wanted >= 0.8).sum() == pytest.approx(near.recall, abs=0.03)


def test_a_poor_recall_is_told(crowd: Vectors) -> None:
    poor = VectorIndex.from_vectors(crowd, exact=False, min_recall=0.0, k=20, device="cpu")
    assert true_recall(poor.search(crowd[::7], 20), crowd[::7], crowd) == pytest.approx(poor.recall, abs=0.03)


def test_the_same_vectors_make_the_same_index(inverted: VectorIndex, crowd: Vectors) -> None:
    again = VectorIndex.from_vectors(crowd, exact=False, min_recall=0.95, k=20, device="cpu")
    first, second = inverted.search(crowd, 20), again.search(crowd, 20)
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.scores, second.scores)
    assert again.recall == inverted.recall


@pytest.mark.parametrize("rows", [1, 2, 15, 40])
def test_an_inverted_file_of_few_rows(rows: int) -> None:
    vectors = unit_rows(rows, 4)
    index = VectorIndex.from_vectors(vectors, exact=False, min_recall=1.0, device="cpu")
    check_against_brute_force(index.search(vectors, 50), vectors, vectors, 50)


def test_size_decides_and_what_an_inverted_file_would_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)
    for worth, exact in ((1, False), (0.01, True)):
        monkeypatch.setattr(module, "_WORTH", worth)
        assert VectorIndex.from_vectors(unit_rows(100), device="cpu").exact
        assert VectorIndex.from_vectors(unit_rows(101), device="cpu").exact is exact
        assert VectorIndex.from_vectors(unit_rows(101), exact=True, device="cpu").exact
        assert not VectorIndex.from_vectors(unit_rows(101), exact=False, device="cpu").exact


# Files


@pytest.mark.parametrize("exact", [True, False])
def test_round_trip(tmp_path: Path, crowd: Vectors, exact: bool) -> None:
    index = VectorIndex.from_vectors(crowd, exact=exact, min_recall=0.9, k=20, device="cpu")
    index.save(tmp_path)
    again = VectorIndex.load(tmp_path, device="cpu")
    assert (again.exact, again.recall, len(again), again.dimension) == (exact, index.recall, 3_000, 24)
    first, second = index.search(crowd[:500], 20), again.search(crowd[:500], 20)
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.scores, second.scores)


def cut(folder: Path) -> None:
    whole = (folder / "index.faiss").read_bytes()
    (folder / "index.faiss").write_bytes(whole[: len(whole) // 2])


def about(**changes: object) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        old = json.loads((folder / "index.json").read_text())
        (folder / "index.json").write_text(json.dumps(old | changes))

    return apply


SPOILED: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "no index.faiss": lambda folder: (folder / "index.faiss").unlink(),
    "no index.json": lambda folder: (folder / "index.json").unlink(),
    "cut short": cut,
    "empty": lambda folder: (folder / "index.faiss").write_bytes(b""),
    "not an index": lambda folder: (folder / "index.faiss").write_bytes(b"not an index at all"),
    "other rows": about(rows=9),
    "no rows": lambda folder: (folder / "index.json").write_text("{}"),
    "a list": lambda folder: (folder / "index.json").write_text("[]"),
    "not json": lambda folder: (folder / "index.json").write_text('{"rows"'),
    "no recall": about(recall=None),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_what_is_not_a_whole_index_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    VectorIndex.from_vectors(unit_rows(10), device="cpu").save(folder)
    spoil(folder)
    with pytest.raises(InputError, match="index: not a whole index: ") as caught:
        VectorIndex.load(folder, device="cpu")
    assert caught.value.file == str(folder)


def test_a_row_count_that_does_not_fit_is_told_with_both_numbers(tmp_path: Path) -> None:
    VectorIndex.from_vectors(unit_rows(10), device="cpu").save(tmp_path)
    about(rows=9)(tmp_path)
    with pytest.raises(InputError, match=r"10 rows where index\.json says 9"):
        VectorIndex.load(tmp_path, device="cpu")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("rows", [1, 5_000])
def test_a_full_disk_is_not_passed_over(tmp_path: Path, rows: int) -> None:
    (tmp_path / "index.faiss").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        VectorIndex.from_vectors(unit_rows(rows), device="cpu").save(tmp_path)
    assert caught.value.errno == errno.ENOSPC


# What is refused


def spoiled(value: float) -> Vectors:
    vectors = unit_rows(5, 4)
    vectors[3] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (unit_rows(5, 4)[0], r"vectors of shape \(4,\); expected \(rows, dimensions\)"),
        (np.zeros((3, 0), np.float32), r"vectors of shape \(3, 0\); expected \(rows, dimensions\)"),
        (unit_rows(5, 4)[None], r"vectors of shape \(1, 5, 4\)"),
        (spoiled(np.nan), "vector 3 has length nan; expected 1"),
        (spoiled(np.inf), "vector 3 has length inf; expected 1"),
        (spoiled(0.25), r"vector 3 has length 0\.5; expected 1, or 0 for an unreadable title"),
        (unit_rows(5, 4) * 1.01, r"vector 0 has length 1\.0[01]"),
    ],
)
def test_vectors_that_are_no_unit_rows(vectors: Vectors, said: str) -> None:
    with pytest.raises(InputError, match=said):
        VectorIndex.from_vectors(vectors, device="cpu")
    if vectors.shape[-1:] == (4,):
        with pytest.raises(InputError, match=said):
            VectorIndex.from_vectors(unit_rows(5, 4), device="cpu").search(vectors, 1)


def test_another_dimension_is_told_with_both_numbers() -> None:
    with pytest.raises(InputError, match="vectors of 3 dimensions; the index holds 4"):
        VectorIndex.from_vectors(unit_rows(5, 4), device="cpu").search(unit_rows(5, 3), 1)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(k: int) -> None:
    with pytest.raises(InputError, match=f"k is {k}; expected at least 1"):
        VectorIndex.from_vectors(unit_rows(5), device="cpu").search(unit_rows(1), k)


def test_other_number_types_are_taken() -> None:
    vectors = np.asfortranarray(unit_rows(5, 4).astype(np.float64))
    checked = check_vectors(vectors)  # type: ignore[arg-type]
    assert checked.dtype == np.float32
    assert checked.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(checked, unit_rows(5, 4))


# Side by side, and devices


def test_searches_may_run_side_by_side(crowd: Vectors, inverted: VectorIndex) -> None:
    alone, answers = inverted.search(crowd[:300], 20), list[Neighbours]()
    threads = [threading.Thread(target=lambda: answers.append(inverted.search(crowd[:300], 20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert all(np.array_equal(answer.ids, alone.ids) for answer in answers)


gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0


@pytest.mark.skipif(gpus > 0, reason="this faiss sees a GPU")
def test_a_gpu_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match="device is gpu, but this build of faiss sees no GPU"):
        VectorIndex.from_vectors(unit_rows(5), device="gpu")
    assert not wants_gpu("auto")


@pytest.mark.skipif(not gpus, reason="needs faiss-gpu and a GPU")
@pytest.mark.parametrize("exact", [True, False])
def test_a_gpu_finds_the_same(tmp_path: Path, crowd: Vectors, exact: bool) -> None:
    there = VectorIndex.from_vectors(crowd, exact=exact, min_recall=1.0, k=20, device="gpu")
    assert there.on_gpu
    check_against_brute_force(there.search(crowd[:200], 20), crowd[:200], crowd, 20)
    there.save(tmp_path)
    again = VectorIndex.load(tmp_path, device="cpu")
    np.testing.assert_allclose(again.search(crowd[:200], 20).scores, there.search(crowd[:200], 20).scores, atol=1e-5)


# The sketch: a few queries are answered from it as by exact search


def sketched(vectors: Vectors, monkeypatch: pytest.MonkeyPatch) -> VectorIndex:
    monkeypatch.setattr(module, "_SKETCHED", 1_000)
    monkeypatch.setattr(module, "_LESSON", 1_000)
    index = VectorIndex.from_vectors(vectors, device="cpu")
    index.sketch()
    return index


def test_a_sketch_finds_what_exact_search_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = unit_rows(5_000, 32, spread=0.1), unit_rows(200, 32, 1, spread=0.1)
    vectors[7] = 0
    exact, index = VectorIndex.from_vectors(vectors, device="cpu"), sketched(vectors, monkeypatch)
    assert index._sketch is not None and exact._sketch is None
    true, found = exact.search(queries, 20), index.search(queries, 20)
    assert np.mean(found.scores >= true.scores[:, -1:]) > 0.999
    same = true.ids == found.ids
    assert same.mean() > 0.98 and (true.scores == found.scores)[same].all(), "to the bit"
    alone = [index.search(queries[row : row + 1], 20) for row in range(len(queries))]
    assert (np.concatenate([one.ids for one in alone]) == found.ids).all()
    assert (np.concatenate([one.scores for one in alone]) == found.scores).all()


def test_a_sketch_made_anew_from_what_was_kept_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = unit_rows(3_000, 32, spread=0.1), unit_rows(100, 32, 1, spread=0.1)
    index, again = sketched(vectors, monkeypatch), VectorIndex.from_vectors(vectors, device="cpu")
    kept = index.sketch()
    assert kept is not None
    assert (kept.centroids.shape, kept.codes.shape) == ((16, 16, 2), (3_000, 8))
    with pytest.raises(ValueError, match=r"\(2999, 8\); expected \(3000, 8\)"):
        again.sketch(replace(kept, codes=kept.codes[1:]))
    monkeypatch.setattr(module, "_learn", None)
    assert again.sketch(kept) is kept
    one, two = index.search(queries, 20), again.search(queries, 20)
    assert (one.ids == two.ids).all() and (one.scores == two.scores).all()


def test_a_sketch_tells_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WIDER", 1.0)  # a worse one, so that it misses some
    monkeypatch.setattr(module, "_ASKED", 250)
    vectors = unit_rows(3_000, 32, spread=0.3)
    plain, index = VectorIndex.from_vectors(vectors, device="cpu"), sketched(vectors, monkeypatch)
    assert (plain.exact, plain.way, plain.recall_of_few) == (True, "exact", 1.0)
    assert index.way == "sketch, re-scored exactly"
    queries = vectors[np.sort(np.random.default_rng(0).choice(3_000, 250, replace=False))]
    cosines = np.sort(queries @ vectors.T, axis=1)[:, ::-1][:, 1:50]  # the first is the row itself
    found = index.search(queries, 50).scores[:, 1:]
    expected = float((found >= cosines[:, -1:] - 1e-6).mean())
    assert 0.3 < expected < 0.95 and index.recall_of_few == pytest.approx(expected, abs=1e-4)
    kept = index.sketch()
    assert kept is not None and kept.recall == index.recall_of_few
    plain.sketch(replace(kept, recall=None))
    assert plain.recall_of_few == kept.recall, "what was not kept is measured"
    inverted = VectorIndex.from_vectors(vectors, exact=False, device="cpu")
    assert (inverted.way, inverted.recall_of_few) == ("inverted file", inverted.recall)


def test_many_queries_are_asked_of_the_sketch_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = unit_rows(3_000, 32, spread=0.1), unit_rows(600, 32, 1, spread=0.1)
    index, told = sketched(vectors, monkeypatch), list[int]()
    found = index.search(queries, 20, at_once=FEW, progress=told.append)
    assert told == [256, 256, 88]
    alone = [index.search(queries[row : row + 1], 20) for row in range(len(queries))]
    assert (np.concatenate([one.ids for one in alone]) == found.ids).all()
    assert (np.concatenate([one.scores for one in alone]) == found.scores).all()


def test_many_queries_and_long_lists_are_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = unit_rows(2_000, 16), unit_rows(300, 16, 1)
    index = sketched(vectors, monkeypatch)
    index._sketch = object()  # nothing may ask it
    check_against_brute_force(index.search(queries, 5), queries, vectors, 5)
    check_against_brute_force(index.search(queries[:3], 300), queries[:3], vectors, 300)


def test_only_large_exact_indexes_are_sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SKETCHED", 1_000)
    small, inverted = unit_rows(999, 16), unit_rows(3_000, 16, spread=0.1)
    for index in (
        VectorIndex.from_vectors(small, device="cpu"),
        VectorIndex.from_vectors(inverted, exact=False, device="cpu"),
        VectorIndex.from_vectors(unit_rows(2_000, 15), device="cpu"),
    ):
        index.sketch()
        assert index._sketch is None
