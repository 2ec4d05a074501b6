"""Parts of the evidence, one at a time: what each adds to telling products apart, so that one that does not pay goes.

One frozen encoder; the probability is learnt anew for every step, from validation products, by training's own code, and
judged on test products. It starts from the decision that everybody makes first: a cosine, tuned for each set by itself.
It knows columns of evidence; it does not know how a column is worked out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from benchmarks.bootstrap import Interval, Resamples, Values
from benchmarks.measures import chosen, harmonic, mean
from index.blending import BlendConfig, rescore
from index.clustering import Edges, connected_components
from index.decision import Decision
from index.evidence import EVIDENCE, STANDING
from index.nodes import Nodes, row_edges, row_neighbours
from index.prior import prior_shift
from index.scene import Scene
from index.vectors import Neighbours
from index.wording import WORDING, Numbers
from training.decide import accept, choose_decision, clusters_of, row_lists
from training.evaluate import bcubed_curve, bcubed_rows, row_curve, row_scores
from training.examples import Pool
from training.labels import Labelled
from training.pools import Background, Encode, pool_of, variants_of
from training.trees import TreeConfig

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "cosines": STANDING[:2],
    "crowd": STANDING[2:],
    "characters and words": tuple(name for name in WORDING if not name.startswith(("quantity_", "trait_"))),
    "quantities": tuple(name for name in WORDING if name.startswith("quantity_")),
    "traits": tuple(name for name in WORDING if name.startswith("trait_")),
})  # fmt: skip
"""The columns of each part, in the order in which they are turned on."""
PLAIN = "plain cosine, tuned for each set"
OF_ROWS = "+ expected F1 of each row"  # the one step that clusters have no part in
SHIPPED = "+ pairs of training products"
_PAIRS = 1 << 17  # pairs whose evidence is handed on at once
_FLOOR = 0.2  # cosine below which no threshold is looked for


class Glimpse(Scene):
    """A scene whose evidence was worked out once, of which only some columns are seen: the others are 0 everywhere.

    What never differs is never split on, so trees learn as if the columns were not there; and a contradiction on a
    column that is not seen holds no clusters apart. The vectors are not kept.
    """

    def __init__(self, nodes: Nodes, pairs: Edges, evidence: Numbers, columns: Sequence[str] = EVIDENCE) -> None:
        """Take what a scene gathered on its candidates; ``columns`` are those that are seen."""
        self.nodes = nodes
        self._pairs, self._gathered = pairs, evidence
        self._unseen = [at for at, name in enumerate(EVIDENCE) if name not in columns]

    @classmethod
    def at(cls, scene: Scene) -> Glimpse:
        """All columns of a scene."""
        pairs = scene.candidates()
        gathered = np.empty((len(pairs), len(EVIDENCE)), np.float32)
        for block, evidence in scene.evidence(pairs):
            gathered[block] = evidence
        return cls(scene.nodes, pairs, gathered)

    def seeing(self, columns: Sequence[str]) -> Glimpse:
        """The same scene through other columns."""
        return Glimpse(self.nodes, self._pairs, self._gathered, columns)

    def candidates(self) -> Edges:
        """The pairs of the scene, scored by cosine."""
        return self._pairs

    def evidence(self, edges: Edges) -> Iterator[tuple[slice, Numbers]]:
        """What is seen of the evidence; ``edges`` are the candidates."""
        if edges is not self._pairs:
            raise ValueError("other pairs than the candidates; their evidence was never gathered")
        for start in range(0, len(edges), _PAIRS):
            block = slice(start, start + _PAIRS)
            seen = self._gathered[block].copy()
            seen[:, self._unseen] = 0
            yield block, seen


@dataclass(frozen=True)
class Plain:
    """A pool by nothing but cosines: the judged rows' lists, and the edges between all rows."""

    lists: Neighbours
    edges: Edges


@dataclass(frozen=True)
class Material:
    """What every step is learnt from and judged on; every scene is a ``Glimpse``.

    Attributes:
        validation, test: a pool of each set, in the same order.
        variants: smaller pools of the validation rows.
        plain: of each set, by cosines: validation and test.
    """

    validation: list[Pool]
    test: list[Pool]
    variants: list[Pool]
    plain: dict[str, tuple[Plain, Plain]]


@dataclass(frozen=True)
class Rung:
    """One step, on every set.

    Attributes:
        name: of what is turned on.
        against: the step that gains are over; "" for the first.
        row_f1, bcubed_f1: of the test rows, by set.
        gain, bcubed_gain: over ``against``, on the same rows; empty for the first.
    """

    name: str
    against: str
    row_f1: dict[str, Interval | None]
    bcubed_f1: dict[str, Interval | None]
    gain: dict[str, Interval | None]
    bcubed_gain: dict[str, Interval | None]


@dataclass(frozen=True)
class Parts:
    """What the parts add: each in its turn, then each to all the others, then all of them to the plain cosine."""

    steps: list[Rung]
    left_out: list[Rung]
    whole: Rung


@dataclass(frozen=True)
class _Scored:
    """The test rows of one set: F1, and B-cubed precision and recall of the clusters."""

    f1: Values
    precision: Values
    recall: Values


def gather_material(
    sets: Sequence[Labelled],
    weights: Mapping[str, float],
    encode: Encode,
    blend: BlendConfig,
    common: Background | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Material:
    """Search and take apart every pool once; arguments as of ``training.pools.pool_of``, a set weighs 1 by default."""
    found = Material([], [], [], {})
    for data in sets:
        say(f"evidence on {data.name}")
        weight, plain = weights.get(data.name, 1.0), []
        for split, pools in (("validation", found.validation), ("test", found.test)):
            pool = pool_of(data, split, encode, blend, weight=weight, common=common)
            plain.append(_plain(pool))
            pools.append(replace(pool, scene=Glimpse.at(pool.scene)))
        found.plain[data.name] = plain[0], plain[1]
        for pool in variants_of(data, "validation", encode, blend, weight=weight, common=common):
            found.variants.append(replace(pool, scene=Glimpse.at(pool.scene)))
    return found


def measure_parts(
    material: Material,
    trees: TreeConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
    shipped: Decision | None = None,
) -> Parts:
    """Learn and judge every step.

    Steps accept from one probability on, the same for all sets, that the validation rows chose, until each row chooses
    the set of its best expected F1; behind that, as with one part left out, each catalogue's prior is taken into
    account besides. All of that is learnt from validation rows alone.

    Args:
        material: of the sets.
        trees: how trees are grown.
        say: is told what is learnt.
        shipped: a decision that learnt from other rows too, for a last step: what they add.
    """

    def learn(columns: Sequence[str]) -> tuple[list[Pool], Decision]:
        validation, test, variants = (
            [replace(pool, scene=_glimpse(pool).seeing(columns)) for pool in pools]
            for pools in (material.validation, material.test, material.variants)
        )
        return test, choose_decision(validation, variants, trees=trees).decision

    def name_of(part: str) -> str:
        return "trees on the cosines" if part == "cosines" else f"+ {part}"

    scored = {PLAIN: _by_cosine(material)}
    left_out: dict[str, dict[str, _Scored]] = {}
    names = list(PARTS)
    for at, part in enumerate(names):
        say(name_of(part))
        test, decision = learn([column for name in names[: at + 1] for column in PARTS[name]])
        scored[name_of(part)] = _judge(test, decision, decision.threshold)
        if at == len(names) - 2:
            left_out[names[-1]] = _judge(test, decision, None, prior=True)
    scored[OF_ROWS] = _judge(test, decision, None)
    every = "+ prior of each catalogue"
    scored[every] = _judge(test, decision, None, prior=True)
    if shipped is not None:
        scored[SHIPPED] = _judge(material.test, shipped, None, prior=True)
    for part in names[:-1]:
        say(f"all but {part}")
        seen = [column for name in names if name != part for column in PARTS[name]]
        left_out[part] = _judge(*learn(seen), None, prior=True)
    draws = {pool.name: Resamples([pool.labels[row] for row in pool.rows.tolist()]) for pool in material.test}
    order = list(scored)
    steps = [_rung(name, scored, before, draws) for name, before in zip(order, ["", *order], strict=False)]
    without = {f"all but {part}": left_out[part] for part in names} | {"all": scored[every]}
    return Parts(
        steps,
        [replace(_rung("all", without, f"all but {part}", draws), name=part) for part in names],
        replace(_rung(order[-1], scored, PLAIN, draws), name="all of them"),
    )


def _glimpse(pool: Pool) -> Glimpse:
    if not isinstance(pool.scene, Glimpse):
        raise TypeError(f"{pool.name}: its scene was not looked at before")
    return pool.scene


def _plain(pool: Pool) -> Plain:
    scene = pool.scene
    near = rescore(scene.blended.stages[0], scene.blended.stages[0], scene.blended.neighbours)
    return Plain(row_neighbours(scene.nodes, near, pool.rows), row_edges(scene.nodes, near, _FLOOR))


def _by_cosine(material: Material) -> dict[str, _Scored]:
    """One cosine for rows and one for clusters, chosen by the set's own validation rows; connected components."""
    found = {}
    for asked, pool in zip(material.validation, material.test, strict=True):
        mine, theirs = material.plain[pool.name]
        threshold = chosen(row_curve(mine.lists, asked.labels, asked.rows))
        f1 = row_scores(theirs.lists, pool.labels, pool.rows, threshold).f1
        threshold = chosen(bcubed_curve(mine.edges, asked.labels, asked.rows))
        clusters = connected_components(len(pool.labels), theirs.edges.over(threshold))
        found[pool.name] = _Scored(f1, *bcubed_rows(clusters, pool.labels, pool.rows))
    return found


def _judge(
    pools: Sequence[Pool], decision: Decision, threshold: float | None, *, prior: bool = False
) -> dict[str, _Scored]:
    found = {}
    for pool in pools:
        pairs = pool.scene.judge(decision)
        shift = prior_shift(pool.scene.nodes, pairs) if prior else 0.0
        accepted = accept(decision, row_lists(pool, pairs), threshold, shift=shift)
        f1 = row_scores(accepted, pool.labels, pool.rows, 0.5).f1
        clusters = clusters_of(pool, pairs, decision.clusters_from(shift))
        found[pool.name] = _Scored(f1, *bcubed_rows(clusters, pool.labels, pool.rows))
    return found


def _rung(name: str, scored: Mapping[str, Mapping[str, _Scored]], against: str, draws: Mapping[str, Resamples]) -> Rung:
    rung = Rung(name, against, {}, {}, {}, {})
    for of, now in scored[name].items():
        interval, ones = draws[of].interval, np.ones(len(now.f1))
        rung.row_f1[of] = interval(mean, now.f1, ones)
        rung.bcubed_f1[of] = interval(harmonic, now.precision, now.recall, ones)
        if against:
            then = scored[against][of]
            rung.gain[of] = interval(mean, now.f1 - then.f1, ones)
            four = now.precision, now.recall, then.precision, then.recall
            rung.bcubed_gain[of] = interval(_more, *four, ones)
    return rung


def _more(precision: Values, recall: Values, before: Values, recall_before: Values, count: Values) -> Values:
    """By how much one B-cubed F1 is above another, from sums over rows."""
    return harmonic(precision, recall, count) - harmonic(before, recall_before, count)
