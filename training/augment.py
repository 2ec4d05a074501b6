"""Augmentation: rewritings of a title that sellers really do, and decoys that look like one and are another product.

Two rewritings of a title are a positive pair for contrastive training. A rewriting may move, join, split, misspell
or drop a word without digits; it never changes, adds or drops a quantity or a model code, because those tell
products apart. A decoy changes just that: one number, or one option such as a colour. It does not know labels,
tokenizers or models.
"""

from __future__ import annotations

import random
import re

_BRACKETED = re.compile(r"[\[(][^\[\]()]{1,40}[\])]")
_MAKER = re.compile(r"^([^\s()\[\]]{1,12})\)\s*(?=\S)")
_QUANTITY = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s?(ml|l|g|kg)(?![a-z])", re.IGNORECASE)
_MODEL_CODE = re.compile(r"\b([A-Za-z]{1,5})-(\d[\w]*)\b")
_TIMES = re.compile(r"(?<=[\w)])\s?x\s?(?=\d)")
_HANGUL_RUN = re.compile(r"[가-힣]{4,}")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_OPTIONS = (
    "블랙 화이트 그레이 레드 블루 핑크 베이지 네이비 브라운 그린 옐로우 퍼플 실버 골드 크림 카키 아이보리 민트".split(),
    "black white gray red blue pink beige navy brown green yellow purple silver gold".split(),
    "딸기 초코 바나나 포도 사과 복숭아 망고 레몬 녹차 커피 오렌지 자몽 블루베리 바닐라 민트 고구마".split(),
    "매운맛 순한맛 오리지널 라이트 제로 플레인".split(),
    "강아지 고양이".split(), "남성 여성".split(), "좌 우".split(), "소형 중형 대형 특대형".split(),
    "XS S M L XL XXL".split(), "pro max plus mini lite ultra air".split(),
    "프로 맥스 플러스 미니 라이트 울트라 에어".split(),
)  # fmt: skip
_SMALLER = {"l": ("ml", 1000), "kg": ("g", 1000)}
_LARGER = {"ml": ("L", 1000), "g": ("kg", 1000)}


def has_digit(word: str) -> bool:
    """Whether a word may be (part of) a quantity or a model code, and so must survive as it is."""
    return any(char.isdigit() for char in word)


def _respell_quantity(match: re.Match[str], rng: random.Random) -> str:
    amount, unit = match.group(1), match.group(2).lower()
    value = float(amount)
    choice = rng.random()
    if choice < 0.3 and unit in _SMALLER:
        name, factor = _SMALLER[unit]
        return f"{value * factor:g}{name}" if value * factor < 1e6 else match.group()
    if choice < 0.3 and unit in _LARGER and value >= 500:
        name, factor = _LARGER[unit]
        return f"{value / factor:g}{name}"
    if choice < 0.5:
        return f"{amount} {match.group(2)}"
    if choice < 0.75:
        return f"{amount}{match.group(2).upper()}"
    return f"{amount}{match.group(2).lower()}"


def _split_run(match: re.Match[str], rng: random.Random) -> str:
    run = match.group()
    if rng.random() > 0.25:
        return run
    cut = rng.randrange(2, len(run) - 1)
    return f"{run[:cut]} {run[cut:]}"


def _misspell(word: str, rng: random.Random) -> str:
    if len(word) < 4 or has_digit(word):
        return word
    at = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _reorder(words: list[str], rng: random.Random) -> list[str]:
    if len(words) < 3 or rng.random() > 0.3:
        return words
    cut = rng.randrange(1, len(words))
    return words[cut:] + words[:cut] if rng.random() < 0.5 else rng.sample(words, len(words))


def augment(title: str, rng: random.Random) -> str:
    """One rewriting of a cleaned title.

    Args:
        title: cleaned text.
        rng: the source of every choice; the same state gives the same rewriting.

    Returns:
        A title of the same product, never empty when ``title`` is not.
    """
    text = _TIMES.sub("x", title)  # "500ml x 20" must travel as one word
    if rng.random() < 0.5:
        text = _MAKER.sub(lambda m: rng.choice((f"{m.group(1)} ", f"{m.group(1)})", "")), text)
    if rng.random() < 0.2:
        text = _BRACKETED.sub(lambda m: m.group() if has_digit(m.group()) or rng.random() < 0.5 else " ", text)
    if rng.random() < 0.5:
        text = _QUANTITY.sub(lambda m: _respell_quantity(m, rng), text)
    if rng.random() < 0.3:
        text = _MODEL_CODE.sub(r"\1\2", text)
    if rng.random() < 0.5:
        text = _HANGUL_RUN.sub(lambda m: _split_run(m, rng), text)
    drop = rng.choice((0.0, 0.0, 0.1, 0.25))
    words = [word for word in text.split() if has_digit(word) or rng.random() >= drop]
    words = _reorder(words, rng)
    words = [_misspell(word, rng) if rng.random() < 0.03 else word for word in words]
    joined = ""
    for word in words:
        glued = joined and rng.random() < 0.12 and not (has_digit(joined[-1:]) and has_digit(word[:1]))
        joined = joined + ("" if glued or not joined else " ") + word
    return (_TIMES.sub(" x ", joined) if rng.random() < 0.3 else joined) or title


def _other_number(text: str, rng: random.Random) -> str:
    """Another number that a sibling product might bear: a step, a double, a half, or other digits of that length."""
    if "." in text or len(text) > 6:
        digits = [i for i, char in enumerate(text) if char.isdigit()]
        at = rng.choice(digits)
        return text[:at] + rng.choice([d for d in "0123456789" if d != text[at]]) + text[at + 1 :]
    value = int(text)
    near = {value + 1, value - 1, value * 2, value + 10, value + 5, rng.randrange(10 ** len(text))}
    if value % 2 == 0:
        near.add(value // 2)
    return str(rng.choice(sorted(n for n in near if n > 0 and n != value)))


def decoy(title: str, rng: random.Random) -> str | None:
    """A title that differs from this one in a single number or option, and so is another product.

    Args:
        title: cleaned text.
        rng: the source of every choice.

    Returns:
        The decoy, or None for a title with neither number nor option.
    """
    changes = [(*match.span(), _other_number(match.group(), rng)) for match in _NUMBER.finditer(title)]
    for group in _OPTIONS:
        for match in re.finditer(rf"(?<![^\W\d_])(?:{'|'.join(group)})(?![^\W\d_])", title, re.IGNORECASE):
            other = rng.choice([option for option in group if option.lower() != match.group().lower()])
            changes.append((*match.span(), other))
    if not changes:
        return None
    start, end, text = rng.choice(changes)
    return title[:start] + text + title[end:]
