"""Quantities of a title: how much a piece holds, how many pieces there are, and how much that makes.

A small grammar over the tokens of `index.units`. Containers of containers multiply ("24입 2박스" is 48 pieces), a total
that is said again does not ("120g x 40개입 (5개입*8봉)" is 40), plus signs add up ("1+1", "500ml+200ml"), and what is
listed for choice stays a choice ("1kg/2kg"). Two titles then agree on a kind, contradict each other, or one says more.

It does not know products: whether 3단 is a shelf or an umbrella, or whether 500 g is the drained weight. Sizes and
numbered shades (270, 21호) are options, not quantities. A list of more than four choices says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from embedder.text import remembered
from index.units import BARE, BONUS, COUNT, DIMENSIONS, INCH, LENGTH, MEMORY, OF, PLUS, RAM, TIMES, Token, scan
from index.verdict import Verdict

KINDS: tuple[str, ...] = (
    COUNT, "mass", "volume", "dose", LENGTH, DIMENSIONS, INCH, MEMORY, RAM, "battery", "power", "voltage",
)  # fmt: skip
_NAMES = ("수량", "중량", "용량", "함량", "길이", "크기", "인치", "저장용량", "램", "배터리", "전력", "전압")
_SLOTS = 4  # values kept of a kind
_COUNT = KINDS.index(COUNT)
_COUNTS = _SLOTS * _COUNT
_TOTALLED = frozenset(("mass", "volume", MEMORY))  # so many pieces hold so many times as much
_ADDED = frozenset(("mass", "volume", LENGTH))  # 8G+1TB adds up to nothing
_TOLERANCE = 0.01
_INSIDE = frozenset(("마리",))  # "2kg (16~25과)" says what is in the weight
_HOLDERS = frozenset(("박스", "세트"))
_ECHOES = frozenset((BARE, BONUS))  # units that say another count again, rather than multiply an equal one
_ECHOED = 12  # and so does any from here on
_MOST_COUNTS = 6  # that are held against one another
_MOST = 1e9  # a product beyond it is no parcel
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Quantity:
    """One value that a title says, in the base unit of its kind.

    Base units: pieces, g, ml, mg, mm, square or cubic mm (the product of the sides), inches, GB, GB, mAh, W, V.
    A ``part`` is one factor of a count (24 of "24입 2박스") or one summand ("500ml+200ml"): it meets a whole of another
    title, never another part.
    """

    kind: str
    value: float
    text: str
    part: bool = False


@dataclass(frozen=True, slots=True)
class Quantities:
    """What a title says: of each kind at most four values, in the order of the title; then what all pieces make."""

    said: tuple[Quantity, ...] = ()

    def of(self, kind: str) -> tuple[Quantity, ...]:
        """The values of one kind, in their order."""
        return tuple(one for one in self.said if one.kind == kind)


@remembered
def parse(title: str) -> Quantities:
    """The quantities of a cleaned title (`embedder.text.clean`); never raises, whatever the text."""
    tokens = scan(title)
    if not tokens:
        return Quantities()
    terms: list[list[Token]] = [[]]
    for token in tokens:
        if token.join == PLUS and terms[-1]:
            terms.append([])
        terms[-1].append(token)
    found = _term(terms[0]) if len(terms) == 1 else _sum([_term(term) for term in terms])
    counts = [token for token in tokens if token.kind == COUNT]
    if len(counts) == 1 and counts[0].unit in _HOLDERS and [one.value for one in found[COUNT]] == [1]:
        del found[COUNT]  # one box of how many?
    if MEMORY in found:
        _split_memory(found)
    return Quantities(tuple(one for values in found.values() if len(values) <= _SLOTS for one in values))


_Said = dict[str, list[Quantity]]


def _term(tokens: Sequence[Token]) -> _Said:
    """What tokens without a plus sign between them say."""
    found: _Said = {}
    counts = []
    for token in tokens:
        if token.kind == COUNT:
            counts.append(token)
        else:
            found.setdefault(token.kind, []).extend(Quantity(token.kind, v, token.text) for v in token.values)
    found = {kind: _distinct(values) for kind, values in found.items()}
    if counts:
        measure = next((token.text for token in tokens if token.kind != COUNT), "") if counts[0].unit == BARE else ""
        pieces = _count(counts, measure)
        inside = any(token.unit in _INSIDE for token in counts)
        for kind in _TOTALLED & found.keys():
            if pieces and pieces[0].value > 1 and not inside and len(found[kind]) < _SLOTS:
                stated = any(token.stated and token.kind == kind for token in tokens)
                found[kind] = _distinct([*found[kind], _whole(found[kind], pieces[0], stated)])
        found[COUNT] = pieces
    return found


def _whole(values: Sequence[Quantity], pieces: Quantity, stated: bool) -> Quantity:
    """What all pieces hold; of a stated total, what one holds."""
    least = min(values, key=lambda one: one.value)
    if stated and len(values) == 1:
        return Quantity(least.kind, least.value / pieces.value, f"{least.text}÷{pieces.value:g}")
    return Quantity(least.kind, least.value * pieces.value, f"{least.text}×{pieces.value:g}")


def _distinct(values: Iterable[Quantity]) -> list[Quantity]:
    """Values less those that repeat another within the tolerance: "907g(2lb)" is one weight."""
    kept: list[Quantity] = []
    for one in values:
        if one.value <= _MOST and not any(_near(one.value, other.value) for other in kept):
            kept.append(one)
    return kept


def _split_memory(found: _Said) -> None:
    """Of two sizes as far apart as "8GB 256GB" the small one is working memory, though nobody says so."""
    sizes = found[MEMORY]
    if len(sizes) == 2 and RAM not in found and not any("×" in one.text for one in sizes):
        small, large = sorted(sizes, key=lambda one: one.value)
        if small.value <= 64 and large.value >= 8 * small.value:
            found[MEMORY], found[RAM] = [large], [Quantity(RAM, small.value, small.text)]


def _count(tokens: Sequence[Token], measure: str) -> list[Quantity]:
    """The number of pieces, or the numbers to choose from; then the factors of a product, as parts."""
    counts = _without_repeats(tokens)
    stated = _stated(counts)
    groups: list[list[Token]] = []
    for token in counts:
        if token is stated:
            continue
        same = next((group for group in groups if _chosen(token, group[0])), None)
        if same:
            same.append(token)
        else:
            groups.append([token])
    choices = [1.0]
    for group in [[stated]] if stated else groups:
        choices = [a * b for a in choices for token in group for b in token.values][: _SLOTS + 1]
    text = stated.text if stated else "×".join([measure] * bool(measure) + [group[0].text for group in groups])
    wholes = [Quantity(COUNT, value, text) for value in dict.fromkeys(choices) if value <= _MOST]
    factors = [Quantity(COUNT, one.values[0], one.text, True) for one, *_ in groups if one.values[0] > 1]
    if len(wholes) == 1 and (stated or len(factors) > 1):
        wholes += factors[: _SLOTS - 1]
    return wholes


def _stated(counts: Sequence[Token]) -> Token | None:
    """The count that is written as the total ("총 48개"), unless another sort of thing is counted beside it."""
    for token in counts:
        others = [one for one in counts if one is not token]
        if token.stated and (
            any(one.unit == token.unit for one in others)
            or prod(one.values[0] for one in others) in {1.0, token.values[0]}
        ):
            return token
    return None


def _without_repeats(tokens: Sequence[Token]) -> list[Token]:
    """Counts less what says another count again: the same one, or the parts of a product that another one is.

    "40개입 (5개입*8봉)" is a total and its parts; "1+1 2개" is two; "3개 (100g x 3)" is three.
    """
    kept: list[Token] = []
    for token in tokens:
        again = [one for one in kept if one.values == token.values]
        if not any(_repeats(token, one) for one in again):
            kept.append(token)
    if len(kept) < 3:
        return kept
    kept = kept[:_MOST_COUNTS]
    for token in kept:
        others = [one for one in kept if one is not token and one.values[0] > 1]
        for size in range(len(others), 1, -1):
            for some in combinations(others, size):
                if prod(one.values[0] for one in some) == token.values[0]:
                    rest = [one for one in others if one not in some]
                    return [token, *rest] if rest else [token._replace(stated=True), *some]
    return kept


def _chosen(token: Token, other: Token) -> bool:
    """Whether two counts are a choice: "5개입 10개입", "1.5Lx12 500mlx20"."""
    return (token.unit == other.unit and token.join != TIMES) or token.join == other.join == OF


def _repeats(token: Token, other: Token) -> bool:
    """Whether a count says again an equal one: "24캔 24ea" is no product, "5개입 5봉" is."""
    units = {token.unit, other.unit}
    if token.join == TIMES:
        return False
    return len(units) == 1 or bool(units & _ECHOES) or token.values[0] >= _ECHOED


def _sum(terms: Sequence[_Said]) -> _Said:
    """What terms say together: what several of them weigh or count adds up, the rest stands side by side."""
    found: _Said = {}
    for kind in dict.fromkeys(kind for term in terms for kind in term):
        values = [term[kind] for term in terms if term.get(kind)]
        if kind != COUNT:
            found[kind] = _distinct(one for some in values for one in some)
    counts = [term[COUNT][0] if term.get(COUNT) else None for term in terms]
    said = [one for one in counts if one]
    for kind in [kind for kind in found if kind in _ADDED]:
        adding = [(term[kind][0], count) for term, count in zip(terms, counts, strict=True) if term.get(kind)]
        if len(adding) < 2:
            continue
        if len(said) == 1 and said[0].value == len(adding) and PLUS in said[0].text:  # "[1+1] (200ml+200ml)"
            adding = [(each, None) for each, _ in adding]
        pieces = [count.value if count else 1.0 for _, count in adding]
        whole = sum(each.value * number for (each, _), number in zip(adding, pieces, strict=True))
        text = "+".join(each.text for each, _ in adding)
        parts = _distinct(each for each, _ in adding)
        if len(parts) == 1:
            said = [Quantity(COUNT, sum(pieces), text)]
            found[kind] = [parts[0], Quantity(kind, whole, text)]
        else:
            said = [Quantity(COUNT, sum(pieces), text)] if any(count for _, count in adding) else said[:1]
            found[kind] = [Quantity(kind, whole, text), *(replace(one, part=True) for one in parts[: _SLOTS - 1])]
        break
    if said:
        found[COUNT] = _added(said) if len(said) > 1 else said
    return found


def _added(counts: Sequence[Quantity]) -> list[Quantity]:
    whole = Quantity(COUNT, sum(one.value for one in counts), "+".join(one.text for one in counts))
    return [whole, *(replace(one, part=True) for one in _distinct(counts)[: _SLOTS - 1])]


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _TOLERANCE * max(one, other)


def verdicts(a: Quantities, b: Quantities) -> tuple[Verdict, ...]:
    """One verdict for each of `KINDS`.

    Two titles say the SAME where a whole of one is a whole of the other within one percent, of one piece or of all
    (2L×6 is 12L, and per piece it is 2L). Where only one of them says parts, and a part is a whole of the other, it is
    ONE_SIDE: one title says more ("24입 2박스" and "24입"). A count of one is the SAME as none. What is said on both
    sides and meets nowhere is DIFFERENT.
    """
    return tuple(_verdict(kind, a.of(kind), b.of(kind)) for kind in KINDS)


def _verdict(kind: str, mine: Sequence[Quantity], theirs: Sequence[Quantity]) -> Verdict:
    if not mine or not theirs:
        said = [*mine, *theirs]
        if not said:
            return Verdict.UNSAID
        return Verdict.SAME if kind == COUNT and said[0].value == 1 else Verdict.ONE_SIDE
    met = [(one, other) for one in mine for other in theirs if _near(_stored(one.value), _stored(other.value))]
    if any(not one.part and not other.part for one, other in met):
        return Verdict.SAME
    detailed = any(one.part for one in mine) and any(one.part for one in theirs)
    more = not detailed and any(one.part != other.part for one, other in met)
    return Verdict.ONE_SIDE if more else Verdict.DIFFERENT


def _stored(value: float) -> float:
    """A value as a table keeps it, so that a pair is judged alike wherever it stands."""
    return float(np.float32(value))


def explain(a: Quantities, b: Quantities) -> list[str]:
    """What two titles contradict each other on and what they agree on, for a reader; contradictions first."""
    different, same = [], []
    both = {one.kind for one in a.said} & {one.kind for one in b.said}
    for kind, name in ((kind, name) for kind, name in zip(KINDS, _NAMES, strict=True) if kind in both):
        mine, theirs = a.of(kind), b.of(kind)
        verdict = _verdict(kind, mine, theirs)
        if verdict is Verdict.DIFFERENT:
            different.append(f"{name} 다름 {_shown(mine)} ≠ {_shown(theirs)}")
        elif verdict is Verdict.SAME:
            met = ((x.text, y.text) for x in mine for y in theirs if _near(x.value, y.value) and not x.part | y.part)
            one, other = next(met)
            alike = _bare(one).casefold() == _bare(other).casefold()
            same.append(f"{name} 같음 {_bare(one)}" if alike else f"{name} 같음 {_bare(one)} = {_bare(other)}")
    return different + same


def _bare(text: str) -> str:
    return text.replace(" ", "")


def _shown(values: Sequence[Quantity]) -> str:
    """The values as they are written, less what was worked out from them."""
    written = [_bare(one.text) for one in values if not one.part]
    return "/".join(dict.fromkeys(written[:1] + [text for text in written[1:] if "×" not in text and "÷" not in text]))


@dataclass(frozen=True, slots=True)
class QuantityTable:
    """The quantities of many titles, for comparing pairs of them at once.

    ``values`` is float32, (titles, 4 x len(KINDS)): four slots a kind, filled from the left; NaN is unsaid, and a part
    is negated.
    """

    values: NDArray[np.float32]

    @classmethod
    def of(cls, titles: Sequence[str]) -> QuantityTable:
        """The table of cleaned titles, a row each."""
        values = np.full((len(titles), _SLOTS * len(KINDS)), np.nan, np.float32)
        first = {kind: _SLOTS * place for place, kind in enumerate(KINDS)}
        for row, title in enumerate(titles):
            filled = dict(first)
            for one in parse(title).said:
                values[row, filled[one.kind]] = -one.value if one.part else one.value
                filled[one.kind] += 1
        return cls(values)

    def compare(
        self, left: NDArray[np.int64], right: NDArray[np.int64], other: QuantityTable | None = None
    ) -> NDArray[np.int8]:
        """The `Verdict` of every pair on every kind, (pairs, len(KINDS)); `verdicts` of one pair says the same.

        Args:
            left: rows of this table.
            right: rows of ``other``; without it, of this table.
            other: the table that ``right`` numbers: a catalogue's, when this one is of queries.

        Raises:
            IndexError: an id beyond the table that it numbers.
        """
        theirs = self if other is None else other
        found = np.empty((len(left), len(KINDS)), np.int8)
        for start in range(0, len(left), _BLOCK):
            block = slice(start, start + _BLOCK)
            mine, yours = self.values[left[block]], theirs.values[right[block]]
            said, told = ~np.isnan(mine[:, ::_SLOTS]), ~np.isnan(yours[:, ::_SLOTS])
            found[block] = np.where(said | told, np.int8(Verdict.ONE_SIDE), np.int8(Verdict.UNSAID))
            alone = (said != told)[:, _COUNT] & (np.fmax(mine[:, _COUNTS], yours[:, _COUNTS]) == 1)
            found[block, _COUNT][alone] = Verdict.SAME
            pairs, kinds = np.nonzero(said & told)
            found[start + pairs, kinds] = _compare(
                mine.reshape(len(mine), -1, _SLOTS)[pairs, kinds], yours.reshape(len(yours), -1, _SLOTS)[pairs, kinds]
            )
        return found


def _compare(mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.int8]:
    """The verdicts on values of one kind that both sides say, (pairs, _SLOTS) each."""
    one, other = mine.astype(np.float64)[:, :, None], theirs.astype(np.float64)[:, None, :]
    size, its_size = np.abs(one), np.abs(other)
    met = np.abs(size - its_size) <= _TOLERANCE * np.maximum(size, its_size)
    wholes = (one > 0).astype(np.int8) + (other > 0)
    same = (met & (wholes == 2)).any(axis=(1, 2))
    detailed = (one < 0).any(axis=(1, 2)) & (other < 0).any(axis=(1, 2))
    more = (met & (wholes == 1)).any(axis=(1, 2)) & ~detailed
    found = np.where(more, np.int8(Verdict.ONE_SIDE), np.int8(Verdict.DIFFERENT))
    found[same] = Verdict.SAME
    return found
