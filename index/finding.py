"""Finding items by what stands in their titles, letter by letter: for people who know a word of what they look for.

It goes through all titles, a second for a million, and stops when it has found enough. It does not know products that
are written in another way; matching does.
"""

from __future__ import annotations

from index.listings import ITEMS, Item, from_row
from index.store import Store, from_cursor, to_cursor

_WORDS = 8  # looked for at once


class Finder:
    """Looks through the items of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def items(self, text: str, after: str | None = None, limit: int = 50) -> tuple[list[Item], str | None]:
        """Items whose id is the text, or whose titles hold each of its words, in the order of their ids.

        Args:
            text: words apart by spaces, of which the first few count; letters A to Z in either case.
            after: the cursor of the page before.
            limit: of items, at least 1.

        Returns:
            Them, and the cursor for those after them.

        Raises:
            InputError: a cursor that no page gave.
        """
        patterns = [_pattern(word) for word in text.replace("\0", " ").split()[:_WORDS]]
        if not patterns:
            return [], None
        (place,) = from_cursor(after, str) if after is not None else ("",)
        titled = " AND ".join(["title LIKE ? ESCAPE '\\'"] * len(patterns))
        query = f"{ITEMS} WHERE id > ? AND (id = ? OR ({titled})) ORDER BY id LIMIT ?"
        with self._store.read() as (connection, _):
            rows = connection.execute(query, (place, text.strip(), *patterns, limit + 1)).fetchall()
        found = [from_row(row) for row in rows[:limit]]
        return found, to_cursor(found[-1].id) if len(rows) > limit else None


def _pattern(word: str) -> str:
    return "%" + "".join(f"\\{letter}" if letter in "%_\\" else letter for letter in word) + "%"
