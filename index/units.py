"""Numbers with units in a cleaned title, as tokens in their order: "2L x 6" is a volume, then a count that multiplies.

One expression finds the numbers, a table of Korean, English and Indonesian words says what they measure, and the
text before a number says how it is joined to the one before it. Numbers inside model codes (SM-R510), versions,
months, steps and prices are no tokens. It does not know what the tokens mean together: that is the grammar's
(`index.quantities`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

COUNT, LENGTH, INCH, DIMENSIONS, MEMORY, RAM = "count", "length", "inch", "dimensions", "memory", "ram"
TIMES, PLUS, APART = "x", "+", ""  # how a token is joined to the one before it
OF = "of"  # a count that multiplies a measure, no other count
BARE: Final = ""  # the unit of a count that is a number alone behind a measure: "2L x 6"
PIECE: Final = "개"
BONUS: Final = "1+1"

# kind, factor to the base unit (g, ml, mm, piece, inch, GB, mAh, W, V, mg), words. The first word names the unit: words
# of one line count the same sort of thing. A potency in IU is weighed as vitamin D's, the vitamin that titles say
# it of. "none": what only looks like a quantity.
_TABLE = """
mass 1 g gr grm gram grams 그램 그람
mass 1000 kg kgs kilo kilogram 킬로 키로 킬로그램
mass 28.35 oz ounce ounces 온스
mass 453.6 lb lbs pound pounds 파운드
volume 1 ml cc mili 밀리 미리 밀리리터
volume 10 cl
volume 29.57 fl
volume 1000 l lt ltr liter litre liters litres 리터
length 1 mm 밀리미터
length 10 cm 센치 센티 센티미터
length 1000 m mtr meter meters metre 미터
length 914.4 yard yards yd 야드
length 304.8 ft feet
inch 1 inch inches inchi inci 인치 형
memory 1 gb giga gigabyte 기가 기가바이트
memory 1000 tb 테라 테라바이트
battery 1 mah 밀리암페어
power 1 w watt watts 와트
power 1000 kw
voltage 1 v volt volts 볼트
dose 1 mg 밀리그램
dose 0.001 mcg ug μg µg
dose 0.000025 iu
count 1 개 ea each pcs pc pce piece pieces p 피스 buah biji 개세트 개묶음
count 1 입 개입 개들이 들이 개입세트
count 1 매 장 매입 매들이 장입 sheet sheets lembar lbr pads 시트
count 1 정 정입 캡슐 베지캡슐 소프트젤 타블렛 타블릿 알 capsule capsules caps softgels kapsul kaplet
count 1 정 tablet tablets tabs
count 1 팩 팩입 pack packs pak pk 파우치
count 1 봉 봉지 봉입 bungkus bag bags
count 1 포 포입 포대 스틱 sachet sachets saset stick sticks
count 1 박스 상자 box boxes 카톤 dus kotak carton cartons
count 1 곽 갑
count 1 병 펫 페트 보틀 bottle bottles botol
count 1 캔 can cans kaleng
count 1 롤 롤입 roll rolls
count 1 켤레 족 족입 쌍 pair pairs pasang
count 1 세트 셋트 set sets 종세트 종셋트 점세트
count 1 구
count 1 포트 port ports
count 1 티백 t teabag teabags
count 1 묶음 번들 bundle
count 1 인분 serving servings
count 1 인용
count 1 단
count 1 칸
count 1 마리 미 과
count 1 조각
count 1 컵
count 1 통
count 1 판
count 1 줄
count 1 권
count 1 자루
count 1 ct count
count 12 다스 타 lusin dozen
none 1 평 평형 기가비트
none 1 개월 개월분 개국 단계 단지 정도 장르 매트 포인트 통신 판매 판매처 구역 구간 알뜰 병원 줄기 컵라면
"""
# A word of one syllable is a unit only where it ends or where one of these follows: 3개 증정, not 3개성.
_AFTER = tuple("입 들이 세트 셋트 묶음 씩 기획 증정 내외 구성 한정 추가 포함 총 택 특가 행사 더 덤 짜리 분 X x".split())
_OPEN = frozenset("단")  # 3단서랍장, 5단우산
_ATTACHED = frozenset("단 미 통 판 줄 권 컵 구 타 알 과 칸 t p m w v 그램 그람 들이 인용 포트 밀리 미리".split())
_NO_COUNT = ("이상", "부터", "당", "마다", "까지")  # "3개 이상 구입시" counts nothing that is in the parcel
_WEAK = frozenset("g l m w v p t ea pc pk ct cc oz lb lt ft yd cl ug kw set can box mg".split())
_CACHE = frozenset((64.0, 128.0, 256.0, 512.0))
_PIECES = 400
_SUMMAND = 50  # of "4+1"
_CHIPS = frozenset(size * 2.0**power for size in (1, 3) for power in range(11))

_DECIMAL = r"[0-9]+(?:\.[0-9]+|,[0-9](?![0-9]))?"
_NUMBER = re.compile(
    rf"(?P<number>(?:[0-9]\s)?[1-3]/[2-8](?![0-9./])|{_DECIMAL}(?:(?:\s?[/~]\s?|-|\+|\s\+\s){_DECIMAL}){{0,5}})"
    r"(?P<many>만)?(?P<gap>\s?-?)(?P<unit>[A-Za-zμµ]+|[가-힣]+|\")?"
)
_ONE = re.compile(_DECIMAL)
_FRACTION = re.compile(r"(?:[0-9]\s)?(?:1/[2-8]|2/[35]|3/[458])")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")
_NEXT_TIMES = re.compile(r"\s?[xX*]\s?[0-9]")
_FACTOR = re.compile(  # what may follow a unit and multiply it: 35gx20ea, but not GX950B
    r"[xX*]\s?[1-9][0-9]{0,3}(?:\.[0-9]+)?(?:ea|pcs|pc|p|t|pack|box|set|k?g|m?l|[cm]?m)?(?![A-Za-z0-9])", re.IGNORECASE
)
_PLUS = re.compile(r"(?<![A-Za-z+])\+(?!\+)")
_ISI = re.compile(r"(?:\bisi|(?:pack|set|box|case)\s+of)[\s:.]*$", re.IGNORECASE)
_STATED = re.compile(r"(?:총|합계|합|total|=)[\s:(]*(?:약\s?)?$", re.IGNORECASE)
_DEVICE = re.compile(
    r"램|ram\b|ssd|hdd|usb|ddr|lte|m\.2|cpu|win1|메모리|memory|갤럭시|galaxy|아이폰|phone|아이패드|ipad|노트북|태블릿|자급제"
    r"|휴대폰|핸드폰|스마트폰|블랙박스|내비|네비",
    re.IGNORECASE,
)
_TEA = re.compile(r"차|티|tea|teh|커피|coffee", re.IGNORECASE)
_RAM_AFTER = re.compile(r"[\s)\]]?(?:램|ram\b)", re.IGNORECASE)
_RAM_BEFORE = re.compile(r"(?:램|\bram)[\s(\[:]*$", re.IGNORECASE)
_WORD = re.compile(r"(?<![A-Za-z0-9-])[A-Za-z]{2,}$")
_PART = re.compile(r"[0-9][.,]$")  # the rest of a version or a date: 19.06.01
_LONGEST_WORD = 5
_BEFORE = 40  # characters before a number that say how it is joined
_MOST_TOKENS = 64  # no seller writes more; what follows is noise
_MOST = 1e7  # a number beyond it is a code
_MANY = 10_000  # so is a bare count beyond it


@dataclass(frozen=True, slots=True)
class _Unit:
    kind: str
    factor: float
    name: str


class Token(NamedTuple):
    """A number with its unit.

    ``values`` are in the base unit of ``kind``: one, or what a list or a range names ("30/60ml", "1~2kg").
    """

    kind: str
    values: tuple[float, ...]
    unit: str  # words that count the same sort of thing share it
    join: str
    stated: bool  # written as a total: "총 48개"
    text: str


def _units() -> dict[str, _Unit]:
    table: dict[str, _Unit] = {}
    for line in _TABLE.split("\n"):
        kind, factor, *words = line.split() or ("", "0")
        table.update((word, _Unit(kind, float(factor), words[0])) for word in words)
    return table


_UNITS: Final = _units()


def scan(title: str) -> list[Token]:
    """The quantities of a cleaned title, in their order; linear in its length, whatever it holds."""
    tokens: list[Token] = []
    waiting: list[float] = []  # numbers of a product whose unit is still to come: the 120 of 120x200cm
    end = 0
    for match in _NUMBER.finditer(title):
        if len(tokens) >= _MOST_TOKENS:
            break
        start = match.start()
        before = title[max(end, start - _BEFORE) : start] if end else "^" + title[max(0, start - _BEFORE) : start]
        join = _join(before) if tokens or waiting else APART
        if join != TIMES:
            waiting = []
        prior = " " if join == TIMES or not start else title[start - 1]
        unit, end = _unit(title, match, prior)
        values = _values(match, unit, prior)
        if not values or (unit is None and _in_a_code(match, prior)):
            waiting = []
        elif unit:
            found = _measured(title, match, unit, values, before, _of(join, unit, tokens), end)
            _append(tokens, waiting, found, unit.factor)
            waiting = []
        elif PLUS in match["number"]:
            if max(values) <= _SUMMAND:
                tokens.append(Token(COUNT, (sum(values),), BONUS, APART, False, title[start:end]))
            waiting = []
        else:
            token = Token(COUNT, values[-1:], BARE, join, False, title[start:end])
            waiting = _bare(title, end, token, before, tokens, waiting)
    return tokens


def _measured(
    title: str, match: re.Match[str], unit: _Unit, values: tuple[float, ...], before: str, join: str, end: int
) -> list[Token]:
    """A number with its unit as a token; summands ("400+50ml") as one each; none where the unit is none."""
    kind = _kind(title, unit, values, before, end)
    if not kind:
        return []
    stated = bool(before) and _STATED.search(before) is not None
    if PLUS not in match["number"]:
        base = tuple(unit.factor * value for value in values)
        return [Token(kind, base, unit.name, join, stated, title[match.start() : end])]
    written = title[match.start("unit") : end]
    joins = [join] + [PLUS] * (len(values) - 1)
    return [
        Token(kind, (unit.factor * value,), unit.name, one, stated, f"{value:g}{written}")
        for value, one in zip(values, joins, strict=True)
    ]


def _join(before: str) -> str:
    if _PLUS.search(before):
        return PLUS
    return TIMES if before.strip(" ()[]") in {"x", "X", "*"} else APART


def _of(join: str, unit: _Unit, tokens: list[Token]) -> str:
    return OF if join == TIMES and unit.kind == COUNT and tokens and tokens[-1].kind != COUNT else join


def _in_a_code(match: re.Match[str], prior: str) -> bool:
    """Whether letters hang on a number that are neither a unit nor a multiplication sign: 24h, WK107, 50+."""
    word = match["unit"] or "x"
    if not match["gap"] and word.isascii() and word not in {"x", "X"}:
        return True
    return _is_latin(prior) or (PLUS in match["number"] and prior in ".+~/-")


def _bare(title: str, end: int, token: Token, before: str, tokens: list[Token], waiting: list[float]) -> list[float]:
    """What becomes of a number without a unit; the numbers that now wait for one."""
    value = token.values[-1]
    goes_on = _NEXT_TIMES.match(title, end) is not None
    if waiting:
        waiting = [*waiting, value]
        if goes_on:
            return waiting
        # 16x25 is centimetres; 2x4 may be anything, and 500x20 is twenty bottles.
        if min(waiting) >= 10 and max(waiting) <= 10 * min(waiting):
            tokens.append(_dimensions(waiting, 10, token))
        return []
    last = tokens[-1] if tokens else None
    if token.join == TIMES and last:
        if last.kind == DIMENSIONS or (last.kind == LENGTH and last.unit in {"mm", "cm"}):
            scale = 10 if last.unit == "cm" else 1
            tokens[-1] = _dimensions([*last.values, value * scale], 1, last)
        elif value.is_integer() and 1 <= value <= _MANY:
            tokens.append(token._replace(unit=TIMES) if last.kind == COUNT else token._replace(join=OF))
        return []
    if _ISI.search(before) and value.is_integer() and value <= _MANY:
        tokens.append(token)
        return []
    return [value] if goes_on else []


def _append(tokens: list[Token], waiting: list[float], found: list[Token], factor: float) -> None:
    """Take tokens in; sides that are multiplied become one area, numbers before a measure become counts."""
    if not found:
        return
    first = found[0]
    if first.kind in {LENGTH, INCH}:
        if waiting:
            found[0] = _dimensions([factor * side for side in waiting] + [*first.values], 1, first)
        elif first.join == TIMES and tokens and tokens[-1].kind in {LENGTH, INCH, DIMENSIONS}:
            found[0] = _dimensions([*tokens.pop().values, *first.values], 1, first)
    else:
        counts = [value for value in waiting if value.is_integer() and 1 <= value <= _MANY]
        tokens += [Token(COUNT, (value,), BARE, APART, False, f"{value:g}") for value in counts]
    tokens += found


def _dimensions(sides: list[float], factor: float, token: Token) -> Token:
    """Sides as one number, their product: 120x200 and 160x200 are two sizes, whichever side comes first."""
    product = 1.0
    for side in sides:
        product *= side * factor
    return Token(DIMENSIONS, (product,), token.unit, APART, False, "x".join(f"{side:g}" for side in sides))


def _unit(title: str, match: re.Match[str], prior: str) -> tuple[_Unit | None, int]:
    """The unit behind a number and where it ends; (None, the number's end) when there is none."""
    word, none = match["unit"], (None, match.end("many") if match["many"] else match.end("number"))
    if word is None or _PART.search(title, max(match.start() - 2, 0), match.start()):
        return none
    begin, gap = match.start("unit"), match["gap"]
    if gap and _is_latin(prior):
        return none  # HC550 박스
    if word == '"':
        return none if gap or title.count('"', 0, begin) % 2 else (_UNITS["inch"], begin + 1)
    if word[0] >= "가":
        found = _korean(word, gap)
        if found and title[begin + len(found) :].lstrip().startswith(_NO_COUNT):
            return none
    else:
        found = _latin(title, match, word.lower(), prior)
    return (_UNITS[found.lower()], begin + len(found)) if found else none


def _korean(word: str, gap: str) -> str:
    """The longest unit that a run of Hangul begins with; "" when it begins with none."""
    for length in range(min(len(word), _LONGEST_WORD), 0, -1):
        unit, rest = word[:length], word[length:]
        if unit in _UNITS and not (gap and unit in _ATTACHED):
            fits = not rest or rest.startswith(_AFTER) or unit in _OPEN or (length > 1 and not gap)
            return unit if fits else ""
    return ""


def _latin(title: str, match: re.Match[str], word: str, prior: str) -> str:
    """The unit that a run of Latin letters is, its case and a multiplication sign behind it aside ("gx4")."""
    end, gap, start = match.end("unit"), match["gap"], match.start()
    if word == "fl" and not title[end : end + 4].lower().strip(" .").startswith("oz"):
        return ""
    if word not in _UNITS and word[-1] == "x" and _FACTOR.match(title, end - 1):
        word, end = word[:-1], end - 1
    elif title[end : end + 1].isdigit() and word in _WEAK and (gap or word != "g"):
        return ""
    if word not in _UNITS or (gap and (word in _ATTACHED or (gap[-1] == "-" and len(word) < 2))):
        return ""
    if _is_latin(prior) and (word in _WEAK or not _WORD.search(title, max(start - 9, 0), start)):
        return ""  # AC10L, GP50ML; but SERUM30ml
    return "" if word in _WEAK and prior in "-." and _is_latin(title[start - 2 : start - 1]) else word


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _values(match: re.Match[str], unit: _Unit | None, prior: str) -> tuple[float, ...]:
    """The numbers of a match: one, a fraction, a list, a range's ends or summands; () when they are a code's."""
    text = match["number"]
    scale = 10_000.0 if match["many"] else 1.0
    if unit and unit.kind == "none":
        return ()
    if text.isdigit():
        values = [] if len(text) > 8 or (text[0] == "0" and unit) else [float(text)]
    elif unit and unit.kind != COUNT and _FRACTION.fullmatch(text):
        *whole, above, below = [float(one) for one in _ONE.findall(text)]
        values = [sum(whole) + above / below]
    elif unit and unit.factor == 1 and _GROUPED.fullmatch(text):  # 10.000mAh, 1.500 ml
        values = [float(text.replace(".", ""))]
    else:
        if PLUS in text:  # of "10+1/10매" the last
            text = re.split("[/~-]", text)[-1]
        if unit and unit.kind == COUNT and "." in text:
            return ()  # the 8.0 of a name
        values = [float(one.replace(",", ".")) for one in _ONE.findall(text) if len(one) < 12]
        rising = all(a < b <= 20 * a for a, b in pairwise(values))
        if _is_latin(prior) or not ("/" in text or PLUS in text or rising):
            values = values[-1:]
    kept = [scale * value for value in values if 0 < scale * value <= _MOST]
    return tuple(kept if PLUS in text else dict.fromkeys(kept))


def _kind(title: str, unit: _Unit, values: tuple[float, ...], before: str, end: int) -> str:
    """What a unit measures in this title; "" when it is none here."""
    name, kind, value = unit.name, unit.kind, values[-1]
    if (
        name == "g"
        and (value in _CHIPS or value == 5 or value >= 1000)
        and title[end - 1] in "gG"
        and _DEVICE.search(title)
    ):
        kind = MEMORY if 5 < value < 1000 else ""  # 8G beside DDR is memory, 5G a network, 5600G a processor
    elif name == "티백" and title[end - 1] in "tT" and not _TEA.search(title):
        kind = ""  # thickness, terabytes, or a version
    elif name == PIECE and title[end - 1] in "pP" and value > _PIECES:
        kind = ""  # 1080p is a picture, 1008P a model
    elif title[end - 6 : end].lower() == "tablet" and _DEVICE.search(title):
        kind = ""
    elif name == "inch" and title[end - 1] == "형" and not 10 <= value <= 120:
        kind = ""  # 65형 is a television, 2018형 a year
    elif name == "m" and title[end - 1] == "M" and (value == 3 or value in _CACHE):
        kind = ""  # 3M makes tapes, 256M is a cache
    elif name == "l" and title[end - 2] == " " and value >= 80:
        kind = ""  # a size: 95 L
    if kind == COUNT and not all((unit.factor * one).is_integer() for one in values):
        return ""
    if kind == MEMORY:
        said_before = _RAM_BEFORE.search(before) and not _RAM_AFTER.match(before)  # then it is of the number before
        return RAM if said_before or _RAM_AFTER.match(title, end) else MEMORY
    return kind
