"""Title cleaning: what a seller wrote, less what says nothing about the product.

Cleaning unifies spellings (Unicode forms, multiplication signs, thousands separators), drops what no product is
told apart by (markup, emoji, delivery and promotion words), and keeps everything that may tell two products
apart: quantities, units, model codes and options always survive.

It does not know what a quantity means (that is evidence, weighed later), nor any tokenizer or model. A model is
trained on one CLEANING_VERSION and its bundle says which; another version is refused, because a vector of
differently cleaned text is another vector.
"""

from __future__ import annotations

import html
import re
import unicodedata

CLEANING_VERSION = 1

# Words that sellers of every product use and that carry nothing about it. Longer forms stand before their
# prefixes. Words that may name a product or its condition (중고, 리퍼, 세트, 정품충전기) are not here.
_NOISE_KO = (
    "무료배송 당일발송 당일배송 당일출고 당일출발 오늘출발 오늘발송 익일발송 익일배송 새벽배송 총알배송 로켓배송 로켓와우 빠른배송 "
    "퀵배송 무료반품 무배 배송비무료 핫딜 핫세일 타임딜 타임세일 특가세일 초특가 특가판매 특가상품 오늘특가 한정특가 특가 최저가도전 최저가 "
    "정품보장 100%정품 국내정품 정품인증 정품 인기상품 추천상품 추천템 베스트상품 무료증정 사은품증정 사은품 쿠폰할인 할인쿠폰 할인행사 "
    "즉시할인 카드할인 중복할인 당일택배 안전배송 묶음배송 할인이벤트 이벤트상품 단독특가 행사상품"
).split()
_NOISE_EN = (
    r"free\s+(?:shipping|delivery)|fast\s+(?:shipping|delivery)|same\s+day\s+(?:shipping|delivery)|best\s+seller"
    r"|hot\s+(?:deal|sale)|100\s*%\s*(?:original|authentic|genuine|ori|asli)|ready\s+sto[ck]+|ready\s+stok"
    r"|(?:gratis|free)\s+ongkir|bisa\s+cod|termurah|best\s+price|promo\s+murah"
)
_NOISE = re.compile(
    r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(_NOISE_KO, key=len, reverse=True))) + "|" + _NOISE_EN + r")(?!\w)",
    re.IGNORECASE,
)
_NOISE_STARS = re.compile(r"\*+|~+|!+")
_EMPTY_BRACKETS = re.compile(r"[(\[{<]\s*[,/·|&+\-]*\s*[)\]}>]")
_MARKUP = re.compile(r"</?(?:b|br|em|i|strong|span|p|font)\b[^<>]{0,80}>", re.IGNORECASE)
_BYTE_ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")
_VULGAR_FRACTION = re.compile("(\\d?)([\u00bc-\u00be\u2150-\u215e\u2189])")
_TIMES = re.compile(r"(?<=[\w)])(\s*)[*×✕✖⨯╳](\s*)(?=\d)")
_THOUSANDS = re.compile(r"(?<![\d,.])(\d{1,3})((?:,\d{3})+)(?![\d,])")
# Letters, marks and digits of every script stay (\w); of the rest, only what quantities, codes and options use.
_DROPPED = re.compile(r"[^\w\s.,:;&+\-/%#'\"()\[\]~*°=<>{}|]|_")
_SPACES = re.compile(r"\s+")
_DASHES = str.maketrans({c: "-" for c in "‐‑‒–—―−﹣－"} | {c: "~" for c in "∼〜～"} | {c: "'" for c in "‘’′"} | {c: '"' for c in "“”″"})


def _decode_byte_escapes(match: re.Match[str]) -> str:
    raw = bytes.fromhex(match.group().replace("\\x", ""))
    return raw.decode("utf-8", errors="ignore")


def _spell_fraction(match: re.Match[str]) -> str:
    # NFKC alone turns "2½" into "21⁄2": twenty-one halves.
    fraction = unicodedata.normalize("NFKC", match.group(2)).replace("\u2044", "/")
    return f"{match.group(1)} {fraction}" if match.group(1) else fraction


def _is_invisible(char: str) -> bool:
    """Format, control, surrogate and private characters, and variation selectors and other emoji glue."""
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn"} or "\ufe00" <= char <= "\ufe0f"


def normalize(title: str) -> str:
    """Unify the spelling of a title without judging any of its words.

    Undoes HTML entities, tags and ``\\x..`` byte escapes of careless exports; applies Unicode NFKC (``㎖`` -> ``ml``,
    ``①`` -> ``1``) with fractions kept apart from the number before them (``2½`` -> ``2 1/2``); drops invisible
    characters, emoji and decoration; writes multiplication as ``x`` and thousands without separators.
    """
    text = _BYTE_ESCAPES.sub(_decode_byte_escapes, title) if "\\x" in title else title
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _VULGAR_FRACTION.sub(_spell_fraction, text))
        text = text.translate(_DASHES).replace("\u2044", "/")
    if not text.isprintable():
        text = "".join(" " if c.isspace() else "" if _is_invisible(c) else c for c in text)
    text = _TIMES.sub(r"\1x\2", text)
    text = _DROPPED.sub(" ", text)
    text = _THOUSANDS.sub(lambda m: m.group(1) + m.group(2).replace(",", ""), text)
    return _SPACES.sub(" ", text).strip()


def clean(title: str) -> str:
    """The text of a title that is encoded: normalised, and without delivery and promotion words.

    Args:
        title: as the seller wrote it, any length, any characters.

    Returns:
        The cleaned title; ``""`` when it holds no letter or digit. Cleaning twice changes nothing. A title made of
        noise words alone keeps them: something must tell it from an empty one.
    """
    text = normalize(title)
    kept = text
    # Dropping a word can bring a new noise phrase together ("무료 [특가] 배송" never, "free 특가 shipping" yes).
    while (shorter := _drop_noise(kept)) != kept:
        kept = shorter
    for candidate in (kept, text):
        if any(char.isalnum() for char in candidate):
            return candidate
    return ""


def _drop_noise(text: str) -> str:
    text = _NOISE.sub(" ", text)
    text = _NOISE_STARS.sub(" ", text) if "**" in text or "~~" in text else text
    while (closed := _EMPTY_BRACKETS.sub(" ", text)) != text:
        text = closed
    return _SPACES.sub(" ", text).strip()
