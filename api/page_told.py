"""How pages tell things: numbers, times, words that two titles share, reasons in parts that can be coloured.

It knows titles and reasons as text. It does not know HTML: templates escape what this returns.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment

from api.phrases import Phrases
from embedder.text import clean

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_DIFFERENT = re.compile(r"(?P<name>.+?) 다름 (?P<rest>.+)", re.DOTALL)
_SAME = re.compile(r"(?P<name>.+?) 같음 (?P<rest>.+)|같은 (?P<trait>\S+) (?P<what>.+)", re.DOTALL)
_ONE_SIDE = re.compile(r"한쪽만 (?P<rest>.+)", re.DOTALL)
_SHARED, _NUMBERS, _MEANING = "공통: ", "숫자 차이: ", "글자는 다르지만 뜻이 가까움"

Kind = Literal["same", "different", "aside", "shared", "plain"]


@dataclass(frozen=True)
class Chip:
    """A part of a reason: its kind, what it is about, and what there is to say of it."""

    kind: Kind
    name: str
    text: str


def chips(reason: str, t: Phrases) -> list[Chip]:
    """A reason in parts, named in a language; what the titles say stays as it is written."""
    return [_chip(part, t) for part in reason.split(" · ") if part]


def _chip(part: str, t: Phrases) -> Chip:
    if found := _DIFFERENT.fullmatch(part):
        return Chip("different", t.of_reason(found["name"]), found["rest"])
    if found := _SAME.fullmatch(part):
        return Chip("same", t.of_reason(found["name"] or found["trait"]), found["rest"] or found["what"])
    if found := _ONE_SIDE.fullmatch(part):
        return Chip("aside", t("only one says"), found["rest"])
    if part.startswith(_SHARED):
        return Chip("shared", t("shared words"), part.removeprefix(_SHARED))
    if part.startswith(_NUMBERS):
        return Chip("aside", t("numbers"), part.removeprefix(_NUMBERS).replace("없음", t("none")))
    return Chip("plain", "", t("other letters, but close in meaning") if part == _MEANING else part)


@dataclass(frozen=True)
class Piece:
    """A stretch of a title: a word that the other title has too, one that only this has, or what does not count."""

    kind: Literal["both", "only", "noise", "between"]
    text: str


def pieces(title: str, other: str) -> list[Piece]:
    """A title in pieces, each marked by whether another title has it too.

    A word counts as shared when it stands anywhere in the other title, spaces aside, as in ``index.reasons``; one that
    cleaning drops, such as a promise to deliver, is noise.
    """
    counted, theirs = _words(clean(title)), _words(clean(other))
    joined, own = "".join(theirs), "".join(counted)
    both, kept = set(theirs), set(counted)
    found: list[Piece] = []
    at = 0
    for word in _WORD.finditer(title):
        if word.start() > at:
            found.append(Piece("between", title[at : word.start()]))
        text = word.group().casefold()
        bare = text.replace(",", "")
        kind: Literal["both", "only", "noise"] = "only"
        if bare not in kept and bare not in own:
            kind = "noise"
        elif bare in both or (len(bare) > 1 and not bare[0].isdigit() and bare in joined):
            kind = "both"
        found.append(Piece(kind, word.group()))
        at = word.end()
    if at < len(title):
        found.append(Piece("between", title[at:]))
    return found


def _words(text: str) -> list[str]:
    return [word.replace(",", "") for word in _WORD.findall(text.casefold())]


def share(value: float | None, digits: int = 1) -> str:
    """A part of one in per cent; never "100" for less than all, nor "0" for more than nothing."""
    if value is None:
        return "–"
    least = 10.0**-digits
    shown = 100 * value
    if 0 < value < 1:
        shown = min(max(shown, least), 100 - least)
    return f"{shown:.{digits}f} %" if 0 < value < 1 else f"{shown:.0f} %"


def count(value: int | float) -> str:
    """A number with its thousands apart."""
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def ago(then: float | None, t: Phrases) -> str:
    """How long ago something was."""
    if then is None:
        return "–"
    passed = max(0.0, time.time() - then)
    if passed < 45:
        return t("just now")
    for least, unit, name in ((86_400, 86_400, "{n} d ago"), (3_600, 3_600, "{n} h ago"), (0, 60, "{n} min ago")):
        if passed >= least:
            return t(name, n=max(1, round(passed / unit)))
    return ""


def lasted(seconds: float, t: Phrases) -> str:
    """A stretch of time."""
    if seconds < 60:
        return t("{n} s", n=max(1, round(seconds)))
    if seconds < 5_400:
        return t("{n} min", n=round(seconds / 60))
    return t("{n} h", n=round(seconds / 3_600))


def stamp(then: float) -> str:
    """A moment for machines, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then))


def add_filters(templates: Environment) -> None:
    """Let templates tell things so."""
    templates.filters |= {
        "chips": chips, "pieces": pieces, "share": share, "count": count, "size": size, "ago": ago, "lasted": lasted,
        "stamp": stamp,
    }  # fmt: skip
