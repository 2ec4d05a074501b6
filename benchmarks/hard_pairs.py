"""Hard pairs: two products whose titles are the same except for a number or an option, and which of them are merged.

"Same except the number" is what users of every title matcher complain of: 120 g and 240 g, red and blue, 8 GB and 16 GB
stand a hair apart. The pairs are found in labelled catalogues by hiding numbers and the words of options, so no judge
has a say in which pairs are hard. It knows titles, labels and what was accepted; it does not know how.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.certainty import JudgedPool
from benchmarks.measures import chosen
from embedder.text import clean
from index.blending import rescore
from index.clustering import Ids
from index.decision import Decision
from index.nodes import row_neighbours
from index.reasons import reason
from index.traits import SIZES
from index.vectors import Neighbours
from index.words import words
from training.decide import accept, own_clusters, own_rows
from training.evaluate import pairs_of, row_curve
from training.examples import Pool

OPTIONS = ("colour", "flavour", "generation", "gender", "edition")
"""Traits whose words are hidden; sizes are hidden by their letters."""
PLAIN, SHIPPED, CLUSTERS = "plain cosine, tuned", "as shipped", "clusters as shipped"
WORST = 12
_NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")
_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = frozenset(size.casefold() for size in SIZES if size.isalpha())
_KINDS = ("number", "option")


@dataclass(frozen=True)
class Merged:
    """Two products that were taken for one, although their titles say a number or an option differs.

    Attributes:
        title, other: raw.
        kind: "number" or "option": what has to be hidden for the titles to be equal.
        probability: that the decision gives the pair.
        reason: in words.
    """

    title: str
    other: str
    kind: str
    probability: float
    reason: str


@dataclass(frozen=True)
class Accepted:
    """What one way of deciding accepts.

    Attributes:
        way: of deciding.
        pairs: distinct ones with a judged row, accepted.
        right: those of one product.
        number, option: hard pairs among them.
    """

    way: str
    pairs: int
    right: int
    number: int
    option: int

    @property
    def share(self) -> float:
        """Hard pairs by all accepted pairs."""
        return (self.number + self.option) / max(1, self.pairs)


@dataclass(frozen=True)
class HardPairs:
    """The hard pairs of one catalogue.

    Attributes:
        name: of the set.
        rows, judged: of the catalogue, and of those the judged.
        number, option: hard pairs with a judged row.
        accepted: by each way of deciding.
        worst: of the pairs accepted as shipped, the most probable first, one of each two products.
    """

    name: str
    rows: int
    judged: int
    number: int
    option: int
    accepted: list[Accepted]
    worst: list[Merged]


class Masks:
    """Titles with what may differ hidden: two that are equal then are the same except for that.

    Attributes:
        keys: number of each row's title as it is compared, case and spaces aside.
        hidden: kind -> number of each row's title with numbers, or numbers and options, hidden.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Take cleaned titles."""
        mask = _option_mask()
        folded = [text.casefold() for text in texts]
        numberless = [_NUMBER.sub("0", text) for text in folded]
        self.keys = _codes(text.replace(" ", "") for text in folded)
        self.hidden = {
            "number": _codes(text.replace(" ", "") for text in numberless),
            "option": _codes(mask(text).replace(" ", "") for text in numberless),
        }

    def kind(self, left: Ids, right: Ids) -> npt.NDArray[np.int64]:
        """What differs in each pair of rows: 0 for a number, 1 for an option, -1 for more than that or nothing."""
        differ = self.keys[left] != self.keys[right]
        number = differ & (self.hidden["number"][left] == self.hidden["number"][right])
        option = differ & (self.hidden["option"][left] == self.hidden["option"][right])
        return np.where(number, 0, np.where(option, 1, -1))

    def count(self, labels: Ids, judged: npt.NDArray[np.bool_]) -> tuple[int, int]:
        """Hard pairs by number and by option: pairs of different labels, one row of each judged at least."""
        number, either = (self._count(self.hidden[kind], labels, judged) for kind in _KINDS)
        return number, either - number

    def _count(self, hidden: Ids, labels: Ids, judged: npt.NDArray[np.bool_]) -> int:
        def pairs(rows: npt.NDArray[np.bool_]) -> int:
            columns = hidden[rows].tolist(), labels[rows].tolist(), self.keys[rows].tolist()
            same, label, key = columns
            # All pairs of equal masks, less those of one label or of one title, which the two last have in common.
            terms = (same, zip(same, label, strict=True), zip(same, key, strict=True), zip(*columns, strict=True))
            every, of_label, of_title, of_both = (sum(n * (n - 1) // 2 for n in Counter(t).values()) for t in terms)
            return every - of_label - of_title + of_both

        return pairs(np.ones(len(labels), bool)) - pairs(~judged)


def _codes(texts: Iterable[str]) -> Ids:
    return np.unique(np.array(list(texts), object), return_inverse=True)[1].astype(np.int64)


def _option_mask() -> Callable[[str], str]:
    """Hides the words of options, those within longer Hangul words too."""
    table = words()
    whole = {word for word, hits in table.whole.items() if any(trait in OPTIONS for trait, _ in hits)} | _LETTERS
    stems = sorted(
        (stem for some in table.stems.values() for stem, _, _, hits in some if any(t in OPTIONS for t, _ in hits)),
        key=lambda stem: (-len(stem), stem),
    )  # fmt: skip
    within = re.compile("|".join(map(re.escape, stems)))

    def hide(match: re.Match[str]) -> str:
        word = match.group()
        return "*" if word in whole else within.sub("*", word)

    return lambda text: _WORD.sub(hide, text)


def measure_hard_pairs(judged: JudgedPool, validation: Ids, decision: Decision) -> HardPairs:
    """Build the hard pairs of a catalogue and count those that are accepted.

    Args:
        judged: the catalogue; its scene keeps its vectors.
        validation: rows of it that the plain cosine is tuned on.
        decision: that it was judged by.
    """
    pool = judged.pool
    nodes = pool.scene.nodes
    masks = Masks([clean(nodes.texts[node]) for node in nodes.node_of.tolist()])
    codes = np.unique(np.asarray(pool.labels), return_inverse=True)[1].astype(np.int64)
    asked = np.zeros(len(codes), bool)
    asked[pool.rows] = True
    shipped = _pairs(own_rows(decision, pool, judged.pairs), codes, pool.rows)
    ways = {
        PLAIN: _by_cosine(pool, validation, codes),
        SHIPPED: shipped,
        **{
            f"precision of {promise.precision:g} promised": _pairs(
                accept(decision, judged.lists, promise.threshold), codes, pool.rows
            )
            for promise in decision.promises
        },
        CLUSTERS: _within(own_clusters(decision, pool, judged.pairs), asked),
    }
    return HardPairs(
        pool.name, len(codes), len(pool.rows), *masks.count(codes, asked),
        accepted=[_counted(way, *pairs, masks, codes) for way, pairs in ways.items()],
        worst=_worst(judged, *shipped, masks, codes),
    )  # fmt: skip


_PairRows = tuple[Ids, Ids]


def _pairs(lists: Neighbours, codes: Ids, rows: Ids) -> _PairRows:
    pairs = pairs_of(lists, codes, rows)
    return pairs.left, pairs.right


def _by_cosine(pool: Pool, validation: Ids, codes: Ids) -> _PairRows:
    """What the cosine before blending accepts from the threshold of the validation rows' best row-F1."""
    scene = pool.scene
    near = rescore(scene.blended.stages[0], scene.blended.stages[0], scene.blended.neighbours)
    threshold = chosen(row_curve(row_neighbours(scene.nodes, near, validation), codes, validation))
    lists = row_neighbours(scene.nodes, near, pool.rows)
    return _pairs(
        Neighbours(np.where(lists.scores >= np.float32(threshold), lists.ids, -1), lists.scores), codes, pool.rows
    )


def _within(clusters: Ids, asked: npt.NDArray[np.bool_]) -> _PairRows:
    """The distinct pairs that stand in one cluster, one row of each judged at least."""
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for members in np.split(order, starts[1:]):
        if len(members) > 1 and asked[members].any():
            a, b = np.triu_indices(len(members), 1)
            a, b = members[a], members[b]
            kept = asked[a] | asked[b]
            left.append(a[kept])
            right.append(b[kept])
    return np.concatenate(left), np.concatenate(right)


def _counted(way: str, left: Ids, right: Ids, masks: Masks, codes: Ids) -> Accepted:
    same = codes[left] == codes[right]
    kinds = masks.kind(left[~same], right[~same])
    return Accepted(way, len(left), int(same.sum()), int((kinds == 0).sum()), int((kinds == 1).sum()))


def _worst(judged: JudgedPool, left: Ids, right: Ids, masks: Masks, codes: Ids) -> list[Merged]:
    nodes = judged.pool.scene.nodes
    probabilities = dict(
        zip(
            zip(judged.rows.left.tolist(), judged.rows.right.tolist(), strict=True),
            judged.rows.scores.tolist(),
            strict=True,
        )
    )
    kinds = np.where(codes[left] != codes[right], masks.kind(left, right), -1)
    hard = [
        (probabilities[a, b], a, b, kind)
        for a, b, kind in zip(left.tolist(), right.tolist(), kinds.tolist(), strict=True)
        if kind >= 0
    ]
    told: dict[tuple[int, int], Merged] = {}
    for probability, a, b, kind in sorted(hard, key=lambda one: (-one[0], one[1], one[2])):
        products = min(codes[a], codes[b]), max(codes[a], codes[b])
        title, other = nodes.texts[nodes.node_of[a]], nodes.texts[nodes.node_of[b]]
        told.setdefault(products, Merged(title, other, _KINDS[kind], probability, reason(title, other)))
        if len(told) == WORST:
            break
    return list(told.values())
