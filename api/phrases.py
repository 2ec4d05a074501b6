"""Phrases: what the page says, in English and in Korean, and which of the two a visitor reads.

An English phrase is its own name; ``pages/korean.json`` holds its Korean. It does not know where a phrase stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Language = Literal["ko", "en"]

# Reasons are Korean as they come from the index; these are the names in them.
_OF_REASONS: Mapping[str, str] = MappingProxyType({
    "수량": "count", "중량": "weight", "용량": "volume", "함량": "content", "길이": "length", "크기": "dimensions",
    "인치": "inches", "저장용량": "storage", "램": "memory", "배터리": "battery", "전력": "power", "전압": "voltage",
    "모델명": "model", "숫자": "number", "브랜드": "brand", "색상": "colour", "사이즈": "size", "맛": "flavour",
    "등급": "grade", "대상": "for whom", "상태": "condition", "부속품": "part", "구성": "set",
})  # fmt: skip

# What stands in records, in words; anything else is shown as it stands there.
_CODES: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "kind": {
        "match": "Match a file", "cluster": "Cluster a file", "import": "Import items",
        "rebuild": "Recluster everything", "train": "Train", "benchmark": "Benchmark", "compare": "Compare",
        "activate": "Activate", "rollback": "Roll back",
    },
    "state": {
        "queued": "waiting", "running": "running", "done": "done", "failed": "failed", "cancelled": "cancelled",
    },
    "who": {"anonymous": "anonymous", "service": "service"},
    "phase": {
        "read": "reading", "encode": "encoding", "search": "searching", "blend": "blending", "judge": "judging",
        "match": "matching", "import": "importing", "delete": "removing", "write": "writing",
        "labels": "reading labels", "learn": "learning", "check": "checking", "compare": "comparing",
        "switch": "switching", "regroup": "clustering", "cluster": "clustering",
    },
    "trail": {
        "join": "joined", "found": "founded", "propose": "merge proposed", "merge": "merged", "split": "split",
        "move": "moved", "rebuild": "reclustered", "undo": "undone",
    },
    "result": {
        "rows": "rows", "titles": "titles", "matched": "titles with a match", "matches": "matches", "items": "items",
        "clusters": "clusters", "threshold": "threshold", "model": "model", "created": "new", "updated": "changed",
        "unchanged": "unchanged", "deleted": "removed", "revision": "revision", "moved": "items that moved",
        "name": "name", "fingerprint": "fingerprint", "took_over": "took over",
    },
})  # fmt: skip


def read_korean(path: Path) -> Mapping[str, str]:
    """The Korean of each English phrase."""
    table: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return MappingProxyType(table)


@dataclass(frozen=True)
class Phrases:
    """The phrases of one language.

    Attributes:
        language: that the visitor reads.
        korean: of each English phrase.
        errors: the Korean of what the core says; None where there is none.
    """

    language: Language
    korean: Mapping[str, str] = field(repr=False)
    errors: Callable[[str], str | None] = field(default=lambda _: None, repr=False)

    def __call__(self, phrase: str, **values: object) -> str:
        """A phrase, with values where it has places for them; one without Korean stays English."""
        text = self.korean.get(phrase, phrase) if self.language == "ko" else phrase
        return text.format(**values) if values else text

    def code(self, kind: str, code: str) -> str:
        """What a code of a record means, such as of the state of a job; the code itself where nobody knows."""
        return self(_CODES[kind].get(code, code))

    def items(self, count: int) -> str:
        """So many items."""
        return self("1 item") if count == 1 else self("{n} items", n=f"{count:,}")

    def of_core(self, message: str) -> str | None:
        """What the core says, most often of an error; None where the visitor reads Korean and there is none for it."""
        return self.errors(message) if self.language == "ko" else message

    def of_reason(self, name: str) -> str:
        """What a reason is about, as the index names it in Korean."""
        return name if self.language == "ko" else _OF_REASONS.get(name, name)


def language_of(chosen: str, accepted: str) -> Language:
    """The language to answer in.

    Args:
        chosen: what the visitor chose, if anything.
        accepted: the browser's ``Accept-Language`` (RFC 9110); Korean where it names neither language.
    """
    if chosen == "ko":
        return "ko"
    if chosen == "en":
        return "en"
    wanted: list[tuple[float, int, Language]] = []
    for place, part in enumerate(accepted[:1_000].split(",")):
        tag, _, weight = part.strip().lower().partition(";q=")
        primary = tag.partition("-")[0]
        if primary in ("ko", "en"):
            wanted.append((-_weight(weight), place, "ko" if primary == "ko" else "en"))
    return min(wanted)[2] if wanted else "ko"


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
