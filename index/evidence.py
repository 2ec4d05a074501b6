"""Evidence: what two titles share and what only one of them says, in words.

It knows cleaned text; it does not know vectors, scores or thresholds.
"""

from __future__ import annotations

import re

from embedder.text import clean

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_SHOWN = 4


def words(title: str) -> list[str]:
    """Runs of letters and numbers of a cleaned title, lower case, each once, in their order."""
    return list(dict.fromkeys(_WORD.findall(clean(title).casefold())))


def reason(query: str, item: str) -> str:
    """Why two titles stand together, and what speaks against it: shared words, then numbers that only one has.

    A word counts as shared when it stands anywhere in the other title, spaces aside: sellers space as they like.
    """
    mine, theirs = words(query), words(item)
    query_text, item_text = "".join(mine), "".join(theirs)
    shared = [word for word in mine if word in theirs or (len(word) > 1 and not word[0].isdigit() and word in item_text)]
    shared += [w for w in theirs if w not in shared and len(w) > 1 and not w[0].isdigit() and w in query_text]
    numbers = [[w for w in own if w[0].isdigit() and w not in other] for own, other in ((mine, theirs), (theirs, mine))]
    parts = [f"공통: {', '.join(shared[:_SHOWN])}"] if shared else []
    if any(numbers):
        parts.append("숫자 차이: " + " ↔ ".join(", ".join(side[:_SHOWN]) or "없음" for side in numbers))
    return " · ".join(parts) or "글자는 다르지만 뜻이 가까움"
