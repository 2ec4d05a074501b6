"""Titles to measure speed on: a user's own, or made ones of realistic length and likeness.

Made titles are put together from the words of the sample catalogue, each product in a few spellings. They stand for
no market: they cost what real titles cost, and say nothing of quality. It does not know models.
"""

from __future__ import annotations

import random
from pathlib import Path

from embedder.errors import InputError
from index.items import read_items

SAMPLE = Path(__file__).parents[1] / "api" / "sample" / "catalog.csv"
_SPELLINGS = (1, 1, 1, 2, 2, 3, 4, 8)  # listings a product, drawn from these


def titles_for(path: Path | None, count: int) -> list[str]:
    """``count`` titles: of a user's file in a fixed order of chance, fewer where it holds fewer; or made ones.

    Raises:
        InputError: the file cannot be used.
    """
    return file_titles(path)[:count] if path else made_titles(count)


def file_titles(path: Path) -> list[str]:
    """All titles of a file in a fixed order of chance.

    Raises:
        InputError: the file cannot be used.
    """
    titles = read_items(path).titles
    random.Random(0).shuffle(titles)
    return titles


def made_titles(count: int) -> list[str]:
    """Titles recombined from the sample: the first half of one, the second of another, and a number of its own."""
    words = [title.split() for title in read_items(SAMPLE).titles]
    draw = random.Random(0)
    titles: list[str] = []
    while len(titles) < count:
        front, back = draw.choice(words), draw.choice(words)
        product = front[: (len(front) + 1) // 2] + back[len(back) // 2 :] + [f"{draw.randrange(10**5)}"]
        for _ in range(draw.choice(_SPELLINGS)):
            titles.append(" ".join(word for word in product if word is product[-1] or draw.random() < 0.9))
            draw.shuffle(product)
    return [title or "0" for title in titles[:count]]


def checked_sizes(sizes: list[int], path: Path | None) -> list[int]:
    """Catalogue sizes in rising order, those that a user's file can fill.

    Raises:
        InputError: a size below 100, or none that the file can fill.
    """
    for size in sizes:
        if size < 100:
            raise InputError(f"size {size}; expected at least 100 titles")
    there = len(read_items(path)) if path else max(sizes)
    kept = sorted({size for size in sizes if size <= there})
    if not kept:
        raise InputError(f"{there:,} titles; expected at least {min(sizes):,}, the smallest size", file=str(path))
    return kept
