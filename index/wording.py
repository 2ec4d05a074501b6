"""Wording: what the titles of a catalogue say, taken apart once so that pairs of them compare in bulk.

It ties the lexicons, quantities and traits together, and adds words and numbers that only one of two titles says. It
knows cleaned text; it does not know vectors, candidates or what a difference is worth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from zlib import crc32

import numpy as np
import numpy.typing as npt

from embedder.text import clean
from index.clustering import Ids
from index.lexical import Lexicon, Rows, similarities
from index.quantities import KINDS, QuantityTable
from index.traits import TRAITS, TraitTable

Numbers = npt.NDArray[np.float32]
WORDING = (
    *(f"{unit}_{what}" for unit in ("char", "word") for what in ("cosine", "containment", "alone_least", "alone_most")),
    "length_least", "length_most", "hangul_least", "hangul_most",
    "words_alone_least", "words_alone_most", "numbers_alone_least", "numbers_alone_most", "numbers_shared",
    *(f"quantity_{kind}" for kind in KINDS), *(f"trait_{trait}" for trait in TRAITS),
)  # fmt: skip
"""What each column of ``Wording.compare`` is: "least" and "most" of the two titles, so that no side is the first."""

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_HANGUL = re.compile("[가-힣]")
_MOST_WORDS = 24
_BLOCK = 1 << 14


@dataclass(frozen=True)
class Wording:
    """n titles, taken apart; make it with ``of``, and that of new titles beside them with ``queries``.

    Attributes:
        char, word: lexicons of the catalogue.
        char_rows, word_rows: the titles in them.
        quantities, traits: tables of n rows.
        words: hashes of the words and numbers of each title, uint32, shape (n, _MOST_WORDS), 0 padded; a number's
            lowest bit is set, a word's is not.
        shape: characters without spaces, and the share of them that is Hangul; float32, shape (n, 2).
    """

    char: Lexicon
    word: Lexicon
    char_rows: Rows
    word_rows: Rows
    quantities: QuantityTable
    traits: TraitTable
    words: npt.NDArray[np.uint32]
    shape: Numbers

    @classmethod
    def of(cls, titles: Sequence[str], background: npt.NDArray[np.uint8] | None = None) -> Wording:
        """Take a catalogue's raw titles apart.

        Args:
            titles: raw.
            background: how common grams are elsewhere, one row for characters and one for words, as
                ``index.lexical.background`` counts them: a small catalogue cannot tell what a gram is worth.
        """
        texts = [clean(title) for title in titles]
        folded = [text.casefold() for text in texts]
        char = Lexicon.from_texts(folded, "char", None if background is None else background[0])
        word = Lexicon.from_texts(folded, "word", None if background is None else background[1])
        return cls(
            char,
            word,
            char.rows,
            word.rows,
            QuantityTable.of(texts),
            TraitTable.of(texts),
            _words(folded),
            _shape(texts),
        )

    def queries(self, titles: Sequence[str]) -> Wording:
        """New raw titles, weighed as this catalogue's are."""
        texts = [clean(title) for title in titles]
        folded = [text.casefold() for text in texts]
        return replace(
            self, char_rows=self.char.queries_of_texts(folded), word_rows=self.word.queries_of_texts(folded),
            quantities=QuantityTable.of(texts), traits=TraitTable.of(texts), words=_words(folded), shape=_shape(texts),
        )  # fmt: skip

    def compare(self, left: Ids, right: Ids, other: Wording) -> Numbers:
        """What each pair of titles shares and where it differs: float32, shape (pairs, len(WORDING)).

        Args:
            left: rows of this wording, int64; pairs of one row are best side by side.
            right: rows of ``other``, of the same catalogue's lexicons, int64.
            other: perhaps this wording itself.
        """
        char = similarities(self.char_rows, left, other.char_rows, right)
        word = similarities(self.word_rows, left, other.word_rows, right)
        mine, theirs = self.shape[left], other.shape[right]
        found = np.empty((len(left), len(WORDING)), np.float32)
        for place, lexical in enumerate((char, word)):
            told = (lexical.cosine, lexical.containment, lexical.alone_least, lexical.alone_most)
            found[:, 4 * place : 4 * place + 4] = np.stack(told, axis=1)
        found[:, 8:12:2], found[:, 9:12:2] = np.minimum(mine, theirs), np.maximum(mine, theirs)
        found[:, 12:17] = _alone(self.words, left, other.words, right)
        kinds = 17 + len(KINDS)
        found[:, 17:kinds] = self.quantities.compare(left, right, other.quantities)
        found[:, kinds:] = self.traits.compare(left, right, other.traits)
        return found


def _words(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    table = np.zeros((len(texts), _MOST_WORDS), np.uint32)
    for row, text in enumerate(texts):
        said = islice(dict.fromkeys(_WORD.findall(text)), _MOST_WORDS)
        hashes = [(crc32(word.encode("utf-8", "replace")) & ~1) | word[0].isdigit() or 2 for word in said]
        table[row, : len(hashes)] = hashes
    return table


def _shape(texts: Sequence[str]) -> Numbers:
    lengths = [len(text.replace(" ", "")) for text in texts]
    hangul = [len(_HANGUL.findall(text)) / max(1, length) for text, length in zip(texts, lengths, strict=True)]
    return np.stack([np.array(lengths, np.float32), np.array(hangul, np.float32)], axis=1).reshape(-1, 2)


def _alone(mine: npt.NDArray[np.uint32], left: Ids, theirs: npt.NDArray[np.uint32], right: Ids) -> Numbers:
    """Least and most words, least and most numbers that only one of the titles says; numbers that both say."""
    found = np.empty((len(left), 5), np.float32)
    for start in range(0, len(left), _BLOCK):
        block = slice(start, start + _BLOCK)
        a, b = _columns(mine[left[block]]), _columns(theirs[right[block]])
        met, its_met = np.zeros(a.shape, bool), np.zeros(b.shape, bool)
        for place, words in enumerate(b):  # many pairs at a time: a word after the other is what costs least
            same = a == words
            met |= same
            its_met[place] = same.any(axis=0)
        only = [(a > 0) & ~met, (b > 0) & ~its_met]
        numbers = [(side & (row % 2 == 1)).sum(0) for side, row in zip(only, (a, b), strict=True)]
        others = [side.sum(0) - count for side, count in zip(only, numbers, strict=True)]
        found[block, 0], found[block, 1] = np.minimum(*others), np.maximum(*others)
        found[block, 2], found[block, 3] = np.minimum(*numbers), np.maximum(*numbers)
        found[block, 4] = ((a % 2 == 1) & met).sum(0)
    return found


def _columns(rows: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Rows of words as columns, as many as any row has."""
    columns = np.ascontiguousarray(rows.T)
    return columns[: max(1, int(columns.any(axis=1).sum()))]
