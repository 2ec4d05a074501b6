"""Title cleaning: what a seller wrote, less what says nothing about the product.

Cleaning unifies spellings (Unicode forms, multiplication signs, thousands separators), drops what no product is
told apart by (markup, emoji, delivery and promotion words), and keeps everything that may tell two products
apart: quantities, units, model codes and options always survive. Digits go only with the markup or the promise
("100% 정품") that they are a part of.

It does not know what a quantity means (that is evidence, weighed later), nor any tokenizer or model. A model is
trained on one CLEANING_VERSION and its bundle says which; another version is refused, because a vector of
differently cleaned text is another vector.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

CLEANING_VERSION = 1

T = TypeVar("T")
_REMEMBERED, _LONGEST = 1 << 12, 512  # texts, and characters of one: as many of the longest fill a few megabytes

# Words that sellers of every product use and that carry nothing about it. Words that may name a product or its
# condition (중고, 리퍼, 세트, 정품충전기) are not here.
_NOISE_KO = """
    무료배송 당일발송 당일배송 당일출고 당일출발 오늘출발 오늘발송 익일발송 익일배송 새벽배송 총알배송 로켓배송 로켓와우
    빠른배송 퀵배송 무료반품 무배 배송비무료 핫딜 핫세일 타임딜 타임세일 특가세일 초특가 특가판매 특가상품 오늘특가
    한정특가 특가 최저가도전 최저가 정품보장 국내정품 정품인증 정품 인기상품 추천상품 추천템 베스트상품 무료증정
    사은품증정 사은품 쿠폰할인 할인쿠폰 할인행사 즉시할인 카드할인 중복할인 당일택배 안전배송 묶음배송 할인이벤트
    이벤트상품 단독특가 행사상품
"""
_NOISE_MORE = (
    r"free\s+(?:shipping|delivery)|fast\s+(?:shipping|delivery)|same\s+day\s+(?:shipping|delivery)|best\s+seller"
    r"|hot\s+(?:deal|sale)|100\s*%\s*(?:original|authentic|genuine|ori|asli|정품)|ready\s+sto[ck]+|ready\s+stok"
    r"|(?:gratis|free)\s+ongkir|bisa\s+cod|termurah|best\s+price|promo\s+murah"
)
_NOISE = re.compile(rf"(?<!\w)(?:{'|'.join(_NOISE_KO.split())}|{_NOISE_MORE})(?!\w)", re.IGNORECASE)
_STARS = re.compile(r"[*~]{2,}")
_EMPTY_BRACKETS = re.compile(r"[(\[{<][\s,/·|&+\-]*[)\]}>]")

_BYTE_ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_MARKUP = re.compile(r"</?(?:b|br|em|i|strong|span|p|font)(?:\s+[\w-]+\s*=[^<>]{0,80})?\s*/?>", re.IGNORECASE)
_NESTING = re.compile(r"[&<>]")
_VULGAR_FRACTION = re.compile("(\\d?)([\u00bc-\u00be\u2150-\u215f\u2189])")
_TIMES = re.compile(r"(?<=[\w)])(\s*)[*×✕✖⨯╳](\s*)(?=\d)")
_THOUSANDS = re.compile(r"(?<![\d,.])([1-9]\d{0,2})((?:,\d{3})+)(?![\d,])")
# Letters and digits of every script stay (\w); of the rest, only what quantities, codes and options use.
_OTHER = re.compile(r"[^\w\s.,:;&+\-/%#'\"()\[\]~*°=<>{}|]|_")
_SPACES = re.compile(r"\s+")
# Signs that NFKC keeps apart or takes apart, and what is no letter although Unicode says so (Hangul fillers, the
# letter ㆍ typed for a dot). Variation selectors and keycaps only change how the character before them looks.
_SIGNS = str.maketrans(
    dict.fromkeys("‐‑‒–—―−⁻₋﹘", "-")
    | dict.fromkeys("∼〜", "~")
    | dict.fromkeys("‘’′´", "'")
    | dict.fromkeys("“”″", '"')
    | dict.fromkeys("™℠ㆍᆞ\u115f\u1160\u3164\uffa0", " ")
    | {"⁄": "/", "\u20e3": ""}
    | {chr(code): "" for code in range(0xFE00, 0xFE10)}
)
_LAYERS = 5  # what sellers' software nests ("&amp;lt;b&amp;gt;") is undone in three


def _decode_byte_escapes(match: re.Match[str]) -> str:
    raw = bytes.fromhex(match.group().replace("\\x", ""))
    return raw.decode("utf-8", errors="ignore")


def _spell_fraction(match: re.Match[str]) -> str:
    # NFKC alone turns "2½" into "21⁄2": twenty-one halves.
    fraction = unicodedata.normalize("NFKC", match.group(2)).replace("\u2044", "/")
    return f"{match.group(1)} {fraction}" if match.group(1) else fraction


def _keep_mark(match: re.Match[str]) -> str:
    """A vowel sign or accent stays with its letter; anything else becomes a space."""
    return match.group() if unicodedata.category(match.group()) in {"Mn", "Mc"} else " "


def _unify(text: str) -> str:
    if "\\x" in text:
        text = _BYTE_ESCAPES.sub(_decode_byte_escapes, text)
    if "&" in text:
        text = _ENTITY.sub(lambda m: html.unescape(m.group()), text)
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    if not text.isprintable():  # format, control, surrogate, private and unassigned characters
        text = "".join(" " if c.isspace() else c if c.isprintable() else "" for c in text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _VULGAR_FRACTION.sub(_spell_fraction, text.translate(_SIGNS)))
    text = _TIMES.sub(r"\1x\2", text)
    text = _OTHER.sub(_keep_mark, text)
    text = _THOUSANDS.sub(lambda m: m.group(1) + m.group(2).replace(",", ""), text)
    return _SPACES.sub(" ", text).strip()


def normalize(title: str) -> str:
    r"""Unify the spelling of a title without judging any of its words.

    Undoes HTML entities, tags and ``\x..`` byte escapes of careless exports; applies Unicode NFKC (``㎖`` -> ``ml``,
    ``①`` -> ``1``) with fractions kept apart from the number before them (``2½`` -> ``2 1/2``); drops invisible
    characters, emoji and decoration; writes multiplication as ``x`` and thousands without separators. Normalising
    twice changes nothing.
    """
    # One step's result may be food for an earlier one: "&amp;lt;" twice over, or a letter met by its accent.
    for _ in range(_LAYERS):
        text = _unify(title)
        if text == title:
            return text
        title = text
    return _unify(_NESTING.sub(" ", title))


def remembered(of_text: Callable[[str], T]) -> Callable[[str], T]:
    """A function of a text that remembers its last answers: a title on its way is read in several places."""
    cached = lru_cache(maxsize=_REMEMBERED)(of_text)

    @wraps(of_text)
    def answer(text: str) -> T:
        return cached(text) if len(text) <= _LONGEST else of_text(text)

    return answer


@remembered
def clean(title: str) -> str:
    """The text of a title that is encoded: normalised, and without delivery and promotion words.

    Args:
        title: as the seller wrote it, any length, any characters.

    Returns:
        The cleaned title; ``""`` when it holds no letter or digit. Cleaning twice changes nothing. A title made of
        noise words alone keeps them: something must tell it from an empty one. So does one that nests them deeper
        than any seller does ("free free free free free free shipping shipping ..."): unnesting it could take forever.
    """
    text = kept = normalize(title)
    # Dropping a word can bring a new noise phrase together: "free 특가 shipping".
    for _ in range(_LAYERS):
        shorter = _drop_noise(kept)
        if shorter == kept:
            break
        kept = normalize(shorter)
    else:
        kept = text
    for candidate in (kept, text):
        if any(char.isalnum() for char in candidate):
            return candidate
    return ""


def _drop_noise(text: str) -> str:
    for pattern in (_NOISE, _STARS, _EMPTY_BRACKETS):
        text = pattern.sub(" ", text)
    return _SPACES.sub(" ", text).strip()
