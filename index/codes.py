"""Model codes and bare numbers, read off their form: SM-R510, WH-1000XM4, S21; the 12 of 아이폰12.

Quantities (500ml, 24p, 10x20cm), grades (KF94, DDR4) and the long numbers that sellers count their stock by look like
codes or numbers and are neither; they are left out here. It does not know what a quantity amounts to, nor any word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

CODE_LENGTH = 16  # letters of a code that count
PREFIX, SUFFIX = 5, 4  # how short a code may be that stands for the beginning or the end of a longer one

UNITS = frozenset(
    """
    ml cl l cc fl oz mg mcg ug kg gram gr g lbs lb cm mm km m inch in ft yd ea pcs pc piece pieces pack packs pak pk p
    tablets tablet tabs tab caps cap ct t gb tb mb kb mah ah a w v kw khz mhz ghz hz k b iu cfu rpm dpi bit fps btu wh
    box boxes rolls roll sheets sheet sets set pairs pair ply port ports way ch years year yr thn th tahun x
    개 개입 입 매 매입 팩 봉 봉지 박스 캔 병 펫 포 포입 정 캡슐 롤 장 켤레 세트 구 개월 월 일 시간 분 초 인 인용 명 종
    색 단 쪽 페이지 그램 그람 킬로 키로 리터 밀리 인치 와트 볼트 평 층 원 만원 번들 묶음 줄 알 통 곽 갑 티백 스틱 컵
    미터 센티 가지 채널 포트 형
    """.split()
)
_LATIN = "|".join(sorted(filter(str.isascii, UNITS), key=lambda unit: (-len(unit), unit)))
_N = r"\d++(?:\.\d++)?"
_QUANTITY = re.compile(rf"(?:x|pet|p)?{_N}(?:(?:{_LATIN})?x{_N}|(?:kg|g|ml|l|cm|mm){_N})*(?:{_LATIN})?(?:pet|p)?")
# A phone number, a number of things by name (360drajat, 10-cup), or a share.
_OTHER = re.compile(r"(?:0\d{1,2}-\d{3,4}|1\d{3})-\d{4}|\d{1,4}[a-z]{4,}|\d{1,2}-[a-z]{3,}|.*%")
_NUMBER = re.compile(r"\d{1,4}(?:\.\d{1,2})?")  # longer ones are the seller's own
_GRADE = re.compile(
    r"(?:kf|spf|usb|ddr|hdmi|mp|pa|ip|no|vol|ver|pcie|wifi|cat|type|win|windows)\d+|\din\d|\d{1,2}(?:st|nd|rd|th)"
)
# A name and its number, where the name is known: iphone12pro is no code, and says what "iphone 12 pro" says.
_NAMED = re.compile(r"([a-z]{3,})(\d{1,4})([a-z]*)")
_NAMES = frozenset(
    "iphone ipad galaxy note redmi mate tab watch buds macbook switch playstation xbox vitamin gen generation".split()
)
_REMEMBERED = 64  # letters of a chunk at most: longer ones come once, and as many as are remembered fill a gigabyte
_WORD = 4  # letters from which a part between hyphens is a word and not part of a code


def number(text: str) -> str:
    """A number as it is compared: without idle zeros."""
    return f"{float(text):g}"


def parts(chunk: str) -> tuple[tuple[str, str], ...]:
    """What a run of lower-case Latin letters, digits and hyphens holds: ("word" | "number" | "model_code", text)."""
    return _parts(chunk) if len(chunk) <= _REMEMBERED else _parts.__wrapped__(chunk)


@lru_cache(maxsize=1 << 16)
def _parts(chunk: str) -> tuple[tuple[str, str], ...]:
    if _QUANTITY.fullmatch(chunk):
        return (("number", number(chunk)),) if _NUMBER.fullmatch(chunk) else ()
    if _GRADE.fullmatch(chunk) or _OTHER.fullmatch(chunk):
        return ()
    named = _NAMED.fullmatch(chunk)
    if named and named[1] in _NAMES:
        words = [("word", word) for word in (named[1], named[3]) if word]
        return (*words, ("number", number(named[2])))
    pieces = re.split(r"[-&'+]", chunk)
    whole = "".join(pieces)
    if not whole.isdecimal() and (_QUANTITY.fullmatch(whole) or _GRADE.fullmatch(whole)):
        return ()
    words = [("word", piece) for piece in pieces if piece.isalpha() and len(piece) >= _WORD]
    rest = [piece for piece in pieces if not (piece.isalpha() and len(piece) >= _WORD)]
    if len(rest) < len(pieces):
        return (*words, *parts("-".join(rest))) if rest else tuple(words)
    if all(_QUANTITY.fullmatch(piece) for piece in pieces):
        if "+" in chunk:  # 1+1
            return ()
        return tuple(("number", number(piece)) for piece in pieces if _NUMBER.fullmatch(piece))
    if whole.isalpha():
        return tuple(("word", piece) for piece in pieces)
    return (("model_code", "-".join(pieces).upper()),)


def letters(code: str) -> str:
    """What of a code is compared: no hyphens, spaces or points, and no more than its first letters."""
    return code.replace("-", "").replace(".", "")[:CODE_LENGTH]


def compared(codes: Sequence[str], others: Sequence[str]) -> bool:
    """Whether only the long codes count: where both sides say one, "S21" beside it tells nothing more."""
    return all(any(len(letters(code)) >= PREFIX for code in side) for side in (codes, others))


def agree(code: str, other: str) -> bool:
    """Whether two codes may be one: alike, or one the beginning (SM-R510 of SM-R510NZWAKOO) or end of the other."""
    short, long = sorted((letters(code), letters(other)), key=len)
    return (
        short == long
        or (len(short) >= PREFIX and long.startswith(short))
        or (len(short) >= SUFFIX and long.endswith(short))
    )


def shared(codes: Sequence[str], others: Sequence[str]) -> list[str]:
    """The codes that both sides say, each in its shorter spelling; empty where they say none together."""
    only_long = compared(codes, others)
    both = [
        min(code, other, key=lambda one: len(letters(one)))
        for code in codes
        for other in others
        if agree(code, other) and not (only_long and min(len(letters(code)), len(letters(other))) < PREFIX)
    ]
    return list(dict.fromkeys(both))
