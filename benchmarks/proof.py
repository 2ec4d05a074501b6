"""The proof of a decision: what each part of it adds, whether it keeps its promises, and how it does on hard pairs.

Runs `benchmarks.parts`, `benchmarks.certainty` and `benchmarks.hard_pairs` on the sets that the shipped model was
trained on, always on test products. It holds no measure of its own and does not know how a report looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.certainty import (
    Injected,
    JudgedPool,
    Kept,
    PoolSize,
    Purity,
    calibration,
    catalogue,
    follow_size,
    inject,
    keep_promises,
    measure_purity,
)
from benchmarks.hard_pairs import HardPairs, measure_hard_pairs
from benchmarks.parts import Parts, gather_material, measure_parts
from benchmarks.pools import CachedEncoder
from embedder.bundle import BACKGROUND, load_bundle
from embedder.errors import InputError
from index.clustering import Ids
from index.decision import Decision
from training.examples import Pool
from training.labels import Labelled, read_labelled
from training.pools import Background, Encode, pool_of, remembering

WEIGHTS: Mapping[str, float] = MappingProxyType({
    "korea_cvs": 3, "naver_model_code": 2, "danawa": 0.3, "shopee": 3, "abt-buy": 1, "amazon-google": 0.5,
    "walmart-amazon": 0.3,
})  # fmt: skip
"""The sets with labels enough to judge by, and what each weighs in ``make model``."""
TEST_WHERE = ("fold", "1")
HARD = ("korea_cvs", "naver_model_code", "danawa", "shopee")
FOLLOWED = "shopee"  # or the first set, where this one was not asked for
PARTS = ("parts", "certainty", "hard")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Proof:
    """Everything that was measured; what was not asked for is None or empty.

    Attributes:
        model, fingerprint: of the bundle.
        judged: of each set the test rows and the rows of their pool.
        followed: the set whose catalogue is followed as it grows, and gets false edges.
        parts: see ``benchmarks.parts``.
        sizes, promises, purity, injected: see ``benchmarks.certainty``.
        proven_on: names of the sets that the promises were proven on.
        calibration: of each set, see ``training.decide.reliability``.
        hard: see ``benchmarks.hard_pairs``.
    """

    model: str
    fingerprint: str
    judged: dict[str, tuple[int, int]]
    followed: str
    parts: Parts | None
    sizes: list[PoolSize]
    promises: list[Kept]
    proven_on: list[str]
    purity: list[Purity]
    injected: list[Injected]
    calibration: dict[str, dict[str, Any]]
    hard: list[HardPairs]


@dataclass(frozen=True)
class Bench:
    """What every measurement needs: the sets, a bundle's encoder and decision, and how common grams are.

    ``taught`` says whether the decision learnt from more than validation rows.
    """

    fingerprint: str
    sets: list[Labelled]
    encode: Encode
    decision: Decision
    common: Background | None
    say: Say
    proven_on: list[str]
    taught: bool

    @property
    def followed(self) -> Labelled:
        """The set whose catalogue is followed."""
        return next((one for one in self.sets if one.name == FOLLOWED), self.sets[0])

    def whole(self, data: Labelled) -> JudgedPool:
        """All rows of a set as one catalogue, its test rows judged."""
        self.say(f"{data.name}: all {len(data.titles):,} rows")
        rows = np.arange(len(data.titles), dtype=np.int64)
        pool = catalogue(data, rows, _side(data, "test"), self.encode, self.decision, self.common)
        return JudgedPool.of(pool, self.decision)


def prove_decision(
    data: Path,
    model: Path | None = None,
    *,
    sets: Sequence[str] = tuple(WEIGHTS),
    parts: Sequence[str] = PARTS,
    cache: Path | None = None,
    threads: int | None = None,
    say: Say = lambda _: None,
) -> Proof:
    """Measure a bundle's decision.

    Args:
        data: folder that holds the sets, each with its ``titles.csv``.
        model: bundle; the one that ships by default.
        sets: of ``WEIGHTS``.
        parts: of ``PARTS``.
        cache: folder of vectors.
        threads: processors to encode and judge with; all by default.
        say: is told what is being done.

    Raises:
        InputError: a set or part is unknown or missing, or the bundle cannot be used.
    """
    for what, asked, known in (("set", sets, tuple(WEIGHTS)), ("part", parts, PARTS)):
        if unknown := set(asked) - set(known):
            raise InputError(f"no {what} {min(unknown)!r}; expected {', '.join(known)}")
    read = [read_labelled(data / name / "titles.csv", name=name, test_where=TEST_WHERE) for name in sets]
    bench = _bench(read, CachedEncoder(load_bundle(model), cache, threads=threads), say)
    measured, test = _parts(bench) if "parts" in parts else (None, _test(bench) if "certainty" in parts else [])
    say("promises and clusters")
    judged = [JudgedPool.of(pool, bench.decision) for pool in (test if "certainty" in parts else [])]
    purity = [measure_purity(one, bench.decision) for one in judged]
    hard, injected = _catalogues(bench, parts, {one.name: one.components.threshold for one in purity})
    return Proof(
        model.resolve().name if model else "default",
        bench.fingerprint,
        judged={pool.name: (len(pool.rows), len(pool.labels)) for pool in test},
        followed=bench.followed.name,
        parts=measured,
        sizes=follow_size(bench.followed, bench.encode, bench.decision, bench.common, say=say) if judged else [],
        promises=keep_promises(judged, bench.decision, bench.proven_on) if judged else [],
        proven_on=bench.proven_on,
        purity=purity,
        injected=injected,
        calibration={one.pool.name: calibration(one) for one in judged},
        hard=hard,
    )


def _bench(sets: list[Labelled], encoder: CachedEncoder, say: Say) -> Bench:
    decision = Decision.of(encoder.bundle, threads=encoder.threads)
    path = encoder.bundle.folder / BACKGROUND
    common = np.load(path, allow_pickle=False) if path.exists() else None
    say(f"encoding {sum(len(one.titles) for one in sets):,} titles")
    encoder.warm([title for one in sets for title in one.titles])
    proven_on = encoder.bundle.read_json("decision.json").get("proven_on", [])
    taught = bool(encoder.bundle.read_json("metrics.json").get("decision_folds"))
    return Bench(encoder.fingerprint, sets, remembering(encoder.encode), decision, common, say, proven_on, taught)


def _parts(bench: Bench) -> tuple[Parts, list[Pool]]:
    material = gather_material(bench.sets, WEIGHTS, bench.encode, bench.decision.blend, bench.common, bench.say)
    shipped = bench.decision if bench.taught else None
    return measure_parts(material, say=bench.say, shipped=shipped), material.test


def _test(bench: Bench) -> list[Pool]:
    return [pool_of(s, "test", bench.encode, bench.decision.blend, common=bench.common) for s in bench.sets]


def _catalogues(
    bench: Bench, parts: Sequence[str], thresholds: Mapping[str, float]
) -> tuple[list[HardPairs], list[Injected]]:
    """What is measured in whole catalogues: hard pairs, and false edges in the one that is followed."""
    hard: list[HardPairs] = []
    injected: list[Injected] = []
    for data in bench.sets:
        dirty = "certainty" in parts and data is bench.followed
        if not dirty and not ("hard" in parts and data.name in HARD):
            continue
        judged = bench.whole(data)
        if "hard" in parts and data.name in HARD:
            hard.append(measure_hard_pairs(judged, _side(data, "validation"), bench.decision))
        if dirty:
            injected += inject(judged, bench.decision, thresholds[data.name])
    return hard, injected


def _side(data: Labelled, side: str) -> Ids:
    return np.flatnonzero(np.array(data.splits) == side)
