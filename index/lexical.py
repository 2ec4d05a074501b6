"""Lexical similarity of pairs of titles: how alike their spelling is, by the TF-IDF of character n-grams or of words.

A model's cosine says that two titles mean alike; this says how much of their letters they share, and rare letters
count for more. It scores pairs that something else found. It knows cleaned text; it does not know search, vectors,
what a word means, or that two words mean the same. A gram is known by its hash alone, so that two grams may share a
bucket: among 100,000 Korean titles that moves the cosine of near ones by 0.005 on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from embedder.text import clean

Unit = Literal["char", "word"]
Ids = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]

LONGEST = 4  # characters of a gram, and two at least; a space is a character
PRIOR = 100_000  # titles that a background counts for: a catalogue weighs more only once it is larger
BACKGROUND = 1 << 16  # bytes of a background table

_BITS = 20  # of a gram's hash; 2**18 buckets would move a cosine by 0.015 on average
_BUCKETS = 1 << _BITS
_BLOCK = 1 << (32 - _BITS)  # rows whose number and bucket together fill 32 bits, which sort fast
_FEW = 1 << 14  # entries of right rows up to which they are looked up without a table
_ENTRIES = 1 << 17  # entries of right rows compared at a time: what they need fits in the processor's cache
_STEP = 1 / 16  # of a background's logarithms: rounding moves an idf by 0.03 at most
_UNSEEN = 255

_ODD = np.uint64(0x9E3779B97F4A7C15)
_LETTER, _DIGIT = 1, 2


@dataclass(frozen=True)
class Rows:
    """Titles as sparse rows of weighted grams.

    Attributes:
        starts: where each row's entries start, and where the last one's end; int64, shape (n + 1,).
        grams: buckets, uint32, ascending and each once within a row.
        weights: times that the title says the gram, times its idf; float32, as many as grams.
        lengths: Euclidean length of each row, float32, shape (n,).
        masses: sum of each row's weights, float32, shape (n,); 0 for a title without a gram.
    """

    starts: Ids
    grams: npt.NDArray[np.uint32]
    weights: Numbers
    lengths: Numbers
    masses: Numbers

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Similarities:
    """What the two titles of each pair share; 0 where either has no gram.

    Attributes:
        cosine: of their TF-IDF vectors, float32, 0 to 1.
        containment: share of the lighter title's mass that stands in the other too, float32, 0 to 1. It is 1 where
            one title says all of the other and more, which a cosine holds against them.
        alone_least, alone_most: mass that only one of the titles has, of the one with less of it and of the other,
            float32: two different words leave something alone on both sides, a word left out only on one.
    """

    cosine: Numbers
    containment: Numbers
    alone_least: Numbers
    alone_most: Numbers


@dataclass(frozen=True)
class Lexicon:
    """The grams of a catalogue's titles and what each is worth. Make one with ``from_titles`` or ``from_texts``.

    Attributes:
        unit: "char" for n-grams of 2 to 4 characters, "word" for runs of letters or digits ("1.5" is one).
        idf: worth of a gram of each bucket, ln((1 + titles) / (1 + titles that say it)) + 1, float32; a background's
            titles are counted in.
        rows: the catalogue's titles, in their order.
    """

    unit: Unit
    idf: Numbers
    rows: Rows

    @classmethod
    def from_titles(
        cls, titles: Sequence[str], unit: Unit = "char", background: npt.NDArray[np.uint8] | None = None
    ) -> Lexicon:
        """Weigh the grams of raw titles.

        Args:
            titles: as sellers wrote them; one counts as often as it stands here.
            unit: what a gram is.
            background: counts of a larger corpus, by ``background`` for the same unit. Three titles cannot tell a
                rare word from a common one.

        Raises:
            InputError: the background is not such a table, or there is no such unit.
        """
        return cls.from_texts(_texts(titles), unit, background)

    @classmethod
    def from_texts(
        cls, texts: Sequence[str], unit: Unit = "char", background: npt.NDArray[np.uint8] | None = None
    ) -> Lexicon:
        """As ``from_titles``, for who has the titles cleaned and casefolded already; cleaning takes the longest."""
        before = np.zeros(_BUCKETS) if background is None else PRIOR * _shares(background)
        total = 1 + len(texts) + (0 if background is None else PRIOR)
        starts, grams, counts = _count(texts, unit)
        said = np.bincount(grams, minlength=_BUCKETS)
        idf = (np.log(total / (1 + said + before)) + 1).astype(np.float32)
        return cls(unit, idf, _weigh(starts, grams, counts, idf))

    def queries(self, titles: Sequence[str]) -> Rows:
        """Rows of other raw titles at this catalogue's worth of grams; unknown grams are worth the most."""
        return self.queries_of_texts(_texts(titles))

    def queries_of_texts(self, texts: Sequence[str]) -> Rows:
        """As ``queries``, for who has the titles cleaned and casefolded already."""
        return _weigh(*_count(texts, self.unit), self.idf)


def background(titles: Sequence[str], unit: Unit = "char") -> npt.NDArray[np.uint8]:
    """How common grams are in a large corpus of raw titles, for the idf of small catalogues; ``BACKGROUND`` bytes.

    A byte stands for several buckets and holds the commonest one's share of titles s as -16 ln(s), 255 for none. What
    is common is known well so, and what is rare seems a little commoner than it is.
    """
    _, grams, _ = _count(_texts(titles), unit)
    said = np.bincount(grams, minlength=_BUCKETS).reshape(BACKGROUND, -1).max(axis=1)
    table = np.full(BACKGROUND, _UNSEEN, np.uint8)
    seen = np.flatnonzero(said)
    logs = np.log(len(titles) / said[seen]) / _STEP
    table[seen] = np.minimum(np.rint(logs), _UNSEEN - 1)
    return table


def similarities(lefts: Rows, left: Ids, rights: Rows, right: Ids) -> Similarities:
    """Cosine and containment of pairs of titles of one lexicon.

    Args:
        lefts: rows that ``left`` numbers.
        left: int64, shape (pairs,). Pairs of one left title are best side by side: each run of them costs extra.
        rights: rows that ``right`` numbers, perhaps the same ones.
        right: int64, shape (pairs,).

    Raises:
        InputError: another number of left ids than right ones, or an id that is no row.
    """
    if len(left) != len(right):
        raise InputError(f"{len(left)} left ids for {len(right)} right ids; expected as many")
    _check_ids("left", left, lefts)
    _check_ids("right", right, rights)
    products, shared = np.zeros((2, len(left)), np.float32)
    sizes = rights.starts[right + 1] - rights.starts[right]
    ends = np.cumsum(sizes)
    # Zeroing a table takes longer than looking up a few grams one by one.
    table = np.zeros(_BUCKETS if sizes.sum() > _FEW else 0, np.float32)
    start = 0
    while start < len(left):
        done = ends[start] - sizes[start]
        stop = max(start + 1, int(np.searchsorted(ends, done + _ENTRIES, "right")))
        block = slice(start, stop)
        products[block], shared[block] = _compare(lefts, left[block], rights, right[block], table)
        start = stop
    lengths = lefts.lengths[left] * rights.lengths[right]
    masses = lefts.masses[left], rights.masses[right]
    lighter, heavier = np.minimum(*masses), np.maximum(*masses)
    return Similarities(
        _share(products, lengths),
        _share(shared, lighter),
        np.maximum(lighter - shared, 0),
        np.maximum(heavier - shared, 0),
    )


def _compare(lefts: Rows, left: Ids, rights: Rows, right: Ids, table: Numbers) -> tuple[Numbers, Numbers]:
    """Dot product and shared mass of each pair; ``table`` is zeros, one for each bucket or none, before and after."""
    sizes = rights.starts[right + 1] - rights.starts[right]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    entries = np.repeat(rights.starts[right] - starts[:-1], sizes) + np.arange(starts[-1])
    grams, weights = rights.grams[entries], rights.weights[entries]
    others = np.empty_like(weights)
    runs = _firsts(left)
    bounds = [*starts[runs].tolist(), int(starts[-1])]
    for row, (start, stop) in zip(left[runs].tolist(), pairwise(bounds), strict=True):
        own = slice(lefts.starts[row], lefts.starts[row + 1])
        if not len(table):
            others[start:stop] = _looked_up(lefts.grams[own], lefts.weights[own], grams[start:stop])
            continue
        table[lefts.grams[own]] = lefts.weights[own]
        table.take(grams[start:stop], out=others[start:stop], mode="clip")  # clip: no copy of what is written
        table[lefts.grams[own]] = 0
    return _row_sums(weights * others, starts), _row_sums(np.minimum(weights, others), starts)


def _looked_up(
    grams: npt.NDArray[np.uint32], weights: Numbers, wanted: npt.NDArray[np.uint32]
) -> npt.NDArray[np.float32]:
    """The weights of the wanted grams in one row, 0 for those that it does not say."""
    if not len(grams):
        return np.zeros(len(wanted), np.float32)
    at = np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)
    return np.where(grams[at] == wanted, weights[at], np.float32(0))


def _share(part: Numbers, whole: Numbers) -> Numbers:
    """``part / whole``, 0 where there is nothing; rounding may not lift it over 1."""
    return np.minimum(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0), np.float32(1))


def _check_ids(name: str, ids: Ids, rows: Rows) -> None:
    wrong = np.flatnonzero((ids < 0) | (ids >= len(rows)))
    if len(wrong):
        raise InputError(f"{name} id {ids[wrong[0]]} of pair {wrong[0]}; expected one of {len(rows)} rows")


def _texts(titles: Sequence[str]) -> list[str]:
    return [clean(title).casefold() for title in titles]


def _shares(table: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The share of titles that say a gram of each bucket, by a background table."""
    if table.shape != (BACKGROUND,) or table.dtype != np.uint8:
        raise InputError(f"a background of {table.dtype} and shape {table.shape}; expected uint8 and ({BACKGROUND},)")
    shares = np.where(table == _UNSEEN, 0, np.exp(table.astype(np.float64) * -_STEP))
    return np.repeat(shares, _BUCKETS // BACKGROUND)


def _weigh(starts: Ids, grams: npt.NDArray[np.uint32], counts: Numbers, idf: Numbers) -> Rows:
    weights = counts * idf[grams]
    lengths = np.sqrt(_row_sums(weights * weights, starts))
    return Rows(starts, grams, weights, lengths, _row_sums(weights, starts))


def _row_sums(values: Numbers, starts: Ids) -> Numbers:
    """The sum of each row's entries; 0 for an empty row, which reduceat alone would give the next row's first."""
    sums = np.zeros(len(starts) - 1, np.float32)
    full = np.flatnonzero(np.diff(starts))
    if len(full):
        sums[full] = np.add.reduceat(values, starts[full])
    return sums


def _firsts(values: npt.NDArray[np.integer]) -> Ids:
    """Where each run of equal values starts."""
    changes = np.ones(len(values), bool)
    changes[1:] = values[1:] != values[:-1]
    return np.flatnonzero(changes)


def _count(texts: Sequence[str], unit: Unit) -> tuple[Ids, npt.NDArray[np.uint32], Numbers]:
    """Starts, grams and counts of each text's row."""
    if unit not in get_args(Unit):
        raise InputError(f"unit {unit!r}; expected one of {', '.join(get_args(Unit))}")
    grams, counts, sizes = [np.empty(0, np.uint32)], [np.empty(0, np.float32)], [np.zeros(1, np.int64)]
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        rows, hashes = (_char_grams if unit == "char" else _words)(block)
        keys = (rows << np.uint32(_BITS)) | (hashes >> np.uint64(64 - _BITS)).astype(np.uint32)
        keys.sort()
        first = _firsts(keys)
        counts.append(np.diff(first, append=len(keys)).astype(np.float32))
        keys = keys[first]
        grams.append(keys & np.uint32(_BUCKETS - 1))
        sizes.append(np.bincount(keys >> np.uint32(_BITS), minlength=len(block)))
    return np.cumsum(np.concatenate(sizes)), np.concatenate(grams), np.concatenate(counts)


def _characters(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The row and the code point of every character."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)
    return np.repeat(np.arange(len(texts), dtype=np.uint32), lengths), codes


def _char_grams(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], Hashes]:
    """The row and the hash of every n-gram; a text shorter than a gram has none."""
    row_of, codes = _characters(texts)
    rows, hashes = [], []
    rolling = codes.astype(np.uint64)
    for more in range(1, LONGEST):
        rolling = rolling[:-1] * _ODD + codes[more:]
        whole = row_of[more:] == row_of[: len(rolling)]
        rows.append(row_of[more:][whole])
        hashes.append(_mix(rolling[whole]))
    return np.concatenate(rows), np.concatenate(hashes)


def _words(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], Hashes]:
    """The row and the hash of every run of letters or of digits."""
    row_of, codes = _characters(texts)
    if not len(codes):
        return row_of, codes.astype(np.uint64)
    kinds = _kinds(codes)
    # A point between digits is part of a number, unless the digit after it opens the next title.
    points = np.flatnonzero((codes[1:-1] == ord(".")) & (row_of[:-2] == row_of[2:])) + 1
    kinds[points[(kinds[points - 1] == _DIGIT) & (kinds[points + 1] == _DIGIT)]] = _DIGIT
    first = _firsts(row_of.astype(np.int64) * 4 + kinds)
    place = np.arange(len(codes)) - np.repeat(first, np.diff(first, append=len(codes)))
    hashes = np.add.reduceat(_mix(codes.astype(np.uint64) * _ODD + place.astype(np.uint64)), first)
    kept = kinds[first] > 0
    return row_of[first][kept], hashes[kept]


def _kinds(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Letter, digit or neither, as Python has it for each character."""
    known, which = np.unique(codes, return_inverse=True)
    kinds = [_DIGIT if char.isdecimal() else _LETTER if char.isalnum() else 0 for char in map(chr, known.tolist())]
    return np.array(kinds, np.int64)[which]


def _mix(hashes: Hashes) -> Hashes:
    """Every bit moved by every other: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
