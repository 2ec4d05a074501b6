"""What a title says besides its quantities: model code, bare numbers, brand, colour, size, flavour and more.

`parse` reads one title, `verdicts` weighs two, `TraitTable` weighs many pairs at once, and `explain` says in Korean
what they agree and differ in. Words are looked up in the alias table (`index.words`); codes and numbers are read by
their form (`index.codes`).

It does not know quantities. Nor does it know what a verdict is worth: a seller may call navy black, and a case "for"
a telephone names the telephone's colours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from embedder.text import remembered
from index import codes
from index.verdict import Verdict
from index.words import Hit, Words, words

TRAITS = (
    "model_code", "number", "brand", "colour", "size", "flavour",
    "generation", "gender", "condition", "accessory", "edition",
)  # fmt: skip
KEPT = {"model_code": 6, "number": 6, "brand": 4}  # how many values of one title count, the first ones
SIZES = (
    *("XS S M L XL 2XL 3XL 4XL 5XL FREE".split()),
    *(str(size) for size in (*range(22, 47), *range(75, 125, 5), *range(220, 305, 5))),
)
ORDINALS = tuple(f"{number}세대" for number in range(1, 31))
_NAMES = dict(zip(TRAITS, "모델명 숫자 브랜드 색상 사이즈 맛 등급 대상 상태 부속품 구성".split(), strict=True))
_UNCLEAR = ("model_code", "number", "size")  # whose values do not tell what they are of
_SHOWN = 3
_BITS = 64
_BLOCK = 1 << 15  # pairs weighed at a time

Ids = npt.NDArray[np.int64]

_TOKEN = re.compile(r"\d+(?:\.\d+)?[가-힣]+|[0-9a-z]+(?:(?:[-&'+]|(?<=\d)\.(?=\d))[0-9a-z]+)*%?|[가-힣]+")
_LETTERS = re.compile(r"[a-z]{2,3}")
_COUNTED = re.compile(r"([\d.]+)(\D+)")
_NUMBERED = frozenset("호 번 번째 탄 편 권 년형 년식 학년 단계 차 기".split())
_AFTER = frozenset("x 택 총 usb spf hdmi 블루투스 bluetooth".split())  # the number that follows is a count or a grade
_GENERATIONS = frozenset(("gen", "generation", "세대"))
_ORDINAL = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")

_LETTER = r"(?:[2-5]xl|x{0,3}[sl]|m)"
_LETTER_OR_NUMBER = r"(?:[2-5]xl|x{0,3}[sl]|m|\d{1,3})"
_SIZE = re.compile(
    rf"(?:사이즈|size|ukuran)\s?[:.]?\s?({_LETTER_OR_NUMBER}(?:\s?[/,~-]\s?{_LETTER_OR_NUMBER})*)(?![\w.])"
    rf"|(?<![\w'&+.-])({_LETTER}(?:\s?[/,~-]\s?{_LETTER})+|[2-5]xl|x{{1,3}}[ls])(?![\w'&+-])"
)
_SHOE = re.compile(r"신발|운동화|슈즈|스니커즈|구두|샌들|슬리퍼|부츠|로퍼|shoes|sneaker|sepatu")
_SHOE_SIZE = re.compile(r"(?<![\d.~x-])()(2[2-9][05]|300)\s?mm(?![a-z])")
_REMEMBERED = 64  # letters of a token at most, as in `codes`
_ONE_SIZE = {"XXS": "XS", "XXXS": "XS", "XXL": "2XL", "XXXL": "3XL"}


@dataclass(frozen=True)
class Traits:
    """What one title says.

    Attributes:
        values: for each of ``TRAITS`` its values in the order of the title, each once; numbers as often as they
            stand. Codes keep their hyphens, in upper case; what the alias table knows is spelled as there.
    """

    values: tuple[tuple[str, ...], ...]

    def of(self, trait: str) -> tuple[str, ...]:
        """The values of one of ``TRAITS``; empty where the title says none."""
        return self.values[TRAITS.index(trait)]


@remembered
def parse(title: str) -> Traits:
    """Read a title.

    Args:
        title: cleaned text (`embedder.text.clean`), any case.
    """
    text = title.casefold()
    found: dict[str, list[str]] = {}

    def size(match: re.Match[str]) -> str:
        for part in re.findall(r"[0-9a-z]+", match[1] or match[2]):
            value = _ONE_SIZE.get(part.upper(), part.upper())
            if value in SIZES:
                _add(found, "size", value)
        return " "

    if "l" in text or "s" in text or "사이즈" in text or "ukuran" in text:
        text = _SIZE.sub(size, text)
    if "mm" in text and _SHOE.search(text):
        text = _SHOE_SIZE.sub(size, text)
    _read(_TOKEN.findall(text), words(), found)
    return Traits(tuple(tuple(found[trait][: KEPT.get(trait)]) if trait in found else () for trait in TRAITS))


def _add(found: dict[str, list[str]], trait: str, value: str) -> None:
    values = found.setdefault(trait, [])
    if trait == "number" or value not in values:
        values.append(value)


def _add_all(found: dict[str, list[str]], hits: Iterable[Hit]) -> None:
    for trait, value in hits:
        _add(found, trait, value)


def _read(tokens: Sequence[str], table: Words, found: dict[str, list[str]]) -> None:
    """Collect what tokens say, from left to right; what one rule has read, no other reads again."""
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token in table.phrases:
            length, hits = table.phrase(tokens, at)
            if length:
                _add_all(found, hits)
                at += length
                continue
        if token[-1] >= "가" or token in table.whole:
            _add_all(found, _said_by(token) if len(token) <= _REMEMBERED else _said_by.__wrapped__(token))
        elif not token.isalpha():
            at += _coded(tokens, at, table, found)
        elif token in _GENERATIONS and at + 1 < len(tokens):
            ordinal = _ORDINAL.fullmatch(tokens[at + 1])
            if ordinal:
                _add_all(found, _generation(ordinal[1]))
                at += 1
        at += 1


@lru_cache(maxsize=1 << 16)
def _said_by(token: str) -> tuple[Hit, ...]:
    """What a word of the table says, or a token that ends in Hangul, whatever stands beside it."""
    table = words()
    hits = table.whole.get(token)
    if hits:
        return hits
    return tuple(table.within(token) if token[0] >= "가" else _counted(token, table))


def _generation(digits: str) -> Iterator[Hit]:
    name = f"{digits.lstrip('0')}세대"
    if name in ORDINALS:
        yield "generation", name


def _counted(token: str, table: Words) -> Iterator[Hit]:
    """Digits with Hangul on their heels: 2세대, 21호, 12프로; anything else counts or measures."""
    counted = _COUNTED.fullmatch(token)
    if not counted:
        return
    digits, word = counted.groups()
    if word in _GENERATIONS:
        yield from _generation(digits)
    elif (word in _NUMBERED or word in table.whole) and len(digits) <= 4:
        yield "number", codes.number(digits)
    yield from table.whole.get(word, ()) or table.within(word)


def _coded(tokens: Sequence[str], at: int, table: Words, found: dict[str, list[str]]) -> int:
    """Read a token of Latin letters, digits and hyphens; how many tokens after it belong to it."""
    before = tokens[at - 1] if at else ""
    following = tokens[at + 1] if at + 1 < len(tokens) else ""
    ordinal = _ORDINAL.fullmatch(tokens[at])
    if ordinal and following in _GENERATIONS:
        _add_all(found, _generation(ordinal[1]))
        return 1
    for kind, text in codes.parts(tokens[at]):
        if kind == "word":
            _add_all(found, table.whole.get(text, ()))
        elif kind == "number":
            if following in codes.UNITS:
                return 1
            if before not in _AFTER:
                _add(found, "number", text)
        else:
            # "SM R510": the letters may belong to the code, or be a word of their own; so both are said.
            if _LETTERS.fullmatch(before) and before not in table.whole and len(codes.letters(text)) >= codes.SUFFIX:
                _add(found, "model_code", f"{before.upper()}-{text}")
            _add(found, "model_code", text)
    return 0


def _verdict(trait: str, mine: tuple[str, ...], theirs: tuple[str, ...]) -> Verdict:
    if not (mine and theirs):
        if not (mine or theirs):
            return Verdict.UNSAID
        return Verdict.DIFFERENT if trait == "accessory" else Verdict.ONE_SIDE
    if trait == "model_code":
        return Verdict.SAME if codes.shared(mine, theirs) else Verdict.DIFFERENT
    if trait in ("number", "generation"):
        own, other = Counter(mine), Counter(theirs)
        return Verdict.SAME if own == other else Verdict.ONE_SIDE if own <= other or other <= own else Verdict.DIFFERENT
    return Verdict.DIFFERENT if set(mine).isdisjoint(theirs) else Verdict.SAME


def verdicts(a: Traits, b: Traits) -> tuple[Verdict, ...]:
    """One verdict for each of ``TRAITS``; the order of the two titles does not matter.

    Sellers list options ("블랙/화이트 택1"), so one shared value makes two titles the same, and only sets without any
    are different. Except: numbers and generations must all be the same, and are said on one side where one title
    only says more ("프로", "프로 맥스"); codes agree as in `codes.agree`; and a part or accessory is another product
    than a title that names none.
    """
    return tuple(_verdict(trait, mine, theirs) for trait, mine, theirs in zip(TRAITS, a.values, b.values, strict=True))


def explain(a: Traits, b: Traits) -> list[str]:
    """What two titles agree and differ in, in Korean for a shop's staff: differences first, then what one side says."""
    said: dict[Verdict, list[str]] = {Verdict.DIFFERENT: [], Verdict.ONE_SIDE: [], Verdict.SAME: []}
    for trait, verdict, mine, theirs in zip(TRAITS, verdicts(a, b), a.values, b.values, strict=True):
        name = _NAMES[trait]
        if verdict is Verdict.DIFFERENT:
            said[verdict].append(f"{name} 다름 {_listed(mine)} ≠ {_listed(theirs)}")
        elif verdict is Verdict.ONE_SIDE:
            more = Counter(mine) - Counter(theirs) or Counter(theirs) - Counter(mine)
            said[verdict].append(f"한쪽만 {f'{name} ' * (trait in _UNCLEAR)}{_listed(tuple(more))}")
        elif verdict is Verdict.SAME:
            both = codes.shared(mine, theirs)[:1] if trait == "model_code" else [v for v in mine if v in theirs]
            said[verdict].append(f"같은 {name} {_listed(tuple(dict.fromkeys(both)))}")
    return [line for lines in said.values() for line in lines]


def _listed(values: Sequence[str]) -> str:
    return "/".join(values[:_SHOWN]) or "없음"


@dataclass(frozen=True)
class TraitTable:
    """The traits of many titles as arrays, made for weighing pairs of them.

    Attributes:
        spelled: the distinct codes, as bytes that stand left and right of 16 places, uint64 of shape (codes, 2) each;
            big-endian, so that the first letter weighs most.
        lengths: of the distinct codes, int64.
        codes, numbers, brands: of each title, int32, shape (titles, kept), padded with -1; a number that stands twice
            is told apart from one that stands once.
        bits: the values of the other traits, one bit each, uint64, shape (titles, traits).
    """

    spelled: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]
    lengths: Ids
    codes: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int32]
    brands: npt.NDArray[np.int32]
    bits: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, titles: Sequence[str]) -> TraitTable:
        """Read cleaned titles."""
        places = _places()
        known: dict[str, int] = {}
        codes_, numbers, brands = (_empty(len(titles), trait) for trait in TRAITS[:3])
        bits = np.zeros((len(titles), len(TRAITS) - 3), np.uint64)
        for row, title in enumerate(titles):
            read = parse(title).values
            for at, code in enumerate(read[0]):
                codes_[row, at] = known.setdefault(codes.letters(code), len(known))
            for at, value in enumerate(read[1]):
                # Hundredths, and eight places to tell a second 2 from the first.
                numbers[row, at] = round(float(value) * 100) * 8 + read[1][:at].count(value)
            for at, value in enumerate(read[2]):
                brands[row, at] = places["brand"][value]
            for column, values in enumerate(read[3:]):
                if values:
                    own = places[TRAITS[3 + column]]
                    bits[row, column] = sum(1 << own[value] for value in values)
        return cls(*_spelled(list(known)), codes_, numbers, brands, bits)

    def __len__(self) -> int:
        return len(self.bits)

    def compare(self, left: Ids, right: Ids, other: TraitTable | None = None) -> npt.NDArray[np.int8]:
        """What `verdicts` says of every pair: int8, shape (pairs, len(TRAITS)).

        Args:
            left: rows of this table, int64, shape (pairs,).
            right: rows of ``other``, of the same shape.
            other: another table; this one when None.

        Raises:
            InputError: ``left`` and ``right`` differ in length.
        """
        if left.shape != right.shape:
            raise InputError(f"{len(left)} left rows and {len(right)} right rows; expected pairs")
        other = other or self
        out = np.empty((len(left), len(TRAITS)), np.int8)
        for start in range(0, len(left), _BLOCK):
            mine, theirs = left[start : start + _BLOCK], right[start : start + _BLOCK]
            block = out[start : start + _BLOCK]
            block[:, 0] = self._codes(mine, theirs, other)
            block[:, 1] = _sets(self.numbers[mine], other.numbers[theirs], nested=True)
            block[:, 2] = _sets(self.brands[mine], other.brands[theirs], nested=False)
            block[:, 3:] = _bits(self.bits[mine], other.bits[theirs])
        return out

    def _codes(self, left: Ids, right: Ids, other: TraitTable) -> npt.NDArray[np.int8]:
        mine, theirs = self.codes[left], other.codes[right]
        verdict = _said(mine[:, 0] >= 0, theirs[:, 0] >= 0)
        rows = np.flatnonzero(verdict == Verdict.SAME)
        if not len(rows):
            return verdict
        mine, theirs = mine[rows][:, :, None], theirs[rows][:, None, :]
        own, its = np.where(mine >= 0, self.lengths[mine], 0), np.where(theirs >= 0, other.lengths[theirs], 0)
        short = np.minimum(own, its)
        places = np.arange(codes.CODE_LENGTH)
        head = _masks(places < np.arange(codes.CODE_LENGTH + 1)[:, None])[short]
        tail = _masks(places >= codes.CODE_LENGTH - np.arange(codes.CODE_LENGTH + 1)[:, None])[short]
        begins, ends = (
            (((a[mine] ^ b[theirs]) & mask) == 0).all(axis=3)
            for a, b, mask in zip(self.spelled, other.spelled, (head, tail), strict=True)
        )
        agree = (begins & ((own == its) | (short >= codes.PREFIX))) | (ends & (short >= codes.SUFFIX))
        long = (own >= codes.PREFIX).any(axis=(1, 2)) & (its >= codes.PREFIX).any(axis=(1, 2))
        agree &= short >= np.where(long, codes.PREFIX, 1)[:, None, None]
        verdict[rows[~agree.any(axis=(1, 2))]] = Verdict.DIFFERENT
        return verdict


@lru_cache(maxsize=1)
def _places() -> dict[str, dict[str, int]]:
    """The number of each value of the traits that have a list of them."""
    table = words()
    return {trait: {value: at for at, value in enumerate(_values(trait, table))} for trait in TRAITS[2:]}


def _values(trait: str, table: Words) -> tuple[str, ...]:
    if trait == "size":
        return SIZES
    values = table.values.get(trait, ())
    if trait == "generation":
        values += ORDINALS
    if trait != "brand" and len(values) > _BITS:
        raise InputError(f"{trait} has {len(values)} values; expected at most {_BITS}")
    return values


def _empty(rows: int, trait: str) -> npt.NDArray[np.int32]:
    return np.full((rows, KEPT[trait]), -1, np.int32)


def _spelled(some: Sequence[str]) -> tuple[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]], Ids]:
    blank, size = b"\0", codes.CODE_LENGTH
    left = b"".join(code.encode().ljust(size, blank) for code in some)
    right = b"".join(code.encode().rjust(size, blank) for code in some)
    a, b = (np.frombuffer(side, ">u8").astype(np.uint64).reshape(-1, 2) for side in (left, right))
    return (a, b), np.array([len(code) for code in some], np.int64)


def _masks(kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Bytes that count as two numbers, shape (..., 2)."""
    return np.ascontiguousarray(kept * np.uint8(255)).view(">u8").astype(np.uint64)


def _said(mine: npt.ArrayLike, theirs: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """UNSAID, ONE_SIDE, or SAME for the time being."""
    return np.add(mine, theirs, dtype=np.int8)


def _sets(mine: npt.NDArray[np.int32], theirs: npt.NDArray[np.int32], *, nested: bool) -> npt.NDArray[np.int8]:
    verdict = _said(mine[:, 0] >= 0, theirs[:, 0] >= 0)
    rows = np.flatnonzero(verdict == Verdict.SAME)
    if not len(rows):
        return verdict
    mine, theirs = mine[rows], theirs[rows]
    equal = (mine[:, :, None] == theirs[:, None, :]) & (mine >= 0)[:, :, None]
    if nested:
        within = (equal.any(axis=2) | (mine < 0)).all(axis=1).astype(np.int8)
        within += (equal.any(axis=1) | (theirs < 0)).all(axis=1)
        verdict[rows[within == 1]] = Verdict.ONE_SIDE
        verdict[rows[within == 0]] = Verdict.DIFFERENT
    else:
        verdict[rows[~equal.any(axis=(1, 2))]] = Verdict.DIFFERENT
    return verdict


def _bits(mine: npt.NDArray[np.uint64], theirs: npt.NDArray[np.uint64]) -> npt.NDArray[np.int8]:
    shared = mine & theirs
    verdict = _said(mine != 0, theirs != 0)
    both = verdict == Verdict.SAME
    verdict[both & (shared == 0)] = Verdict.DIFFERENT
    generation, accessory = (TRAITS.index(trait) - 3 for trait in ("generation", "accessory"))
    nested = (shared == mine) | (shared == theirs)
    column = verdict[:, generation]
    column[both[:, generation] & (mine != theirs)[:, generation]] = Verdict.DIFFERENT
    column[both[:, generation] & (mine != theirs)[:, generation] & nested[:, generation]] = Verdict.ONE_SIDE
    verdict[verdict[:, accessory] == Verdict.ONE_SIDE, accessory] = Verdict.DIFFERENT
    return verdict
