"""What a catalogue was told: its labels and sure clusters as pairs of titles, in the form that training takes.

It knows labels, ties and clusters, and numpy alone. It does not know what is learnt from them: ``training.relearn``
takes the labels in seconds, ``dongil train`` the file in hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from index.catalog import Catalog
from index.nodes import key_of
from index.tables import Table, write_table
from index.ties import ties_of
from training.pairs import PAIR_COLUMNS

SURE = 0.9
"""Mean probability from which a cluster is taken for one product."""
_PAGE = 1_000


def labels_of(catalog: Catalog) -> Table:
    """The labels of a catalogue as a table of pairs, by the titles they were given for; skipped pairs left out.

    An item that has another title by now still teaches what was said of the old one.
    """
    rows: list[tuple[str, ...]] = []
    cursor: str | None = None
    while True:
        labels, cursor = catalog.labels.page(cursor, _PAGE)
        rows += [
            (label.left_title, label.right_title, label.verdict)
            for label in labels
            if label.verdict != "skip" and label.left_title.strip() and label.right_title.strip()
        ]
        if cursor is None:
            return _table("labels", rows)


def write_training_file(catalog: Catalog, path: str | Path, *, sure: float | None = SURE) -> int:
    """Write what a catalogue knows as labelled pairs, which ``dongil train`` takes: title_a, title_b, label.

    The labels come first, then what people tied or kept apart by hand, then chains through clusters that hold
    together: of n titles n - 1 pairs. Of these, what contradicts a pair before it is left out; labels that contradict
    each other stand as they are, and ``dongil train --conflicts drop`` leaves them out.

    Args:
        catalog: the store.
        path: CSV, TSV, JSON Lines or Parquet by its suffix.
        sure: cohesion from which a cluster is taken for one product; None for no clusters.

    Returns:
        How many pairs were written.

    Raises:
        InputError: it cannot be written.
    """
    with catalog.snapshot():
        pairs = _Pairs()
        labels = labels_of(catalog).columns
        for left, right, verdict in zip(*(labels[name] for name in PAIR_COLUMNS), strict=True):
            pairs.add(left, right, verdict)
        ties = ties_of(catalog)
        for group in ties.together:
            pairs.chain(_titles(catalog, group))
        for ends in ties.apart:
            pairs.part(_titles(catalog, ends))
        for items in _clusters(catalog, sure) if sure is not None else ():
            pairs.chain(_titles(catalog, items))
    write_table(_table(str(path), pairs.rows), path)
    return len(pairs.rows)


def _table(name: str, rows: Sequence[tuple[str, ...]]) -> Table:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return Table(name, {column: list(values) for column, values in zip(PAIR_COLUMNS, columns, strict=True)})


def _titles(catalog: Catalog, items: Sequence[str]) -> list[str]:
    found = (catalog.get(id) for id in items)
    return [item.title for item in found if item is not None and key_of(item.title)]


def _clusters(catalog: Catalog, sure: float) -> Iterator[list[str]]:
    """The items of each cluster of several that holds together so well."""
    cursor: str | None = None
    while True:
        clusters, cursor = catalog.clusters.page("id", cursor, _PAGE)
        for cluster in clusters:
            if cluster.size > 1 and cluster.cohesion is not None and cluster.cohesion >= sure:
                yield [item.id for item in catalog.page(None, _PAGE, cluster=cluster.id).items]
        if cursor is None:
            return


class _Pairs:
    """Pairs to write, each once, and which titles they make one product or two."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self._above: dict[str, str] = {}
        self._foes = defaultdict[str, set[str]](set)
        self._seen: set[frozenset[str]] = set()

    def add(self, left: str, right: str, verdict: str) -> None:
        """Take a pair, unless it stands there or is of equal titles."""
        one, other = key_of(left), key_of(right)
        if not one or not other or one == other or frozenset((one, other)) in self._seen:
            return
        self._seen.add(frozenset((one, other)))
        self.rows.append((left, right, verdict))
        a, b = self._root(one), self._root(other)
        if verdict == "different":
            self._foes[a].add(b)
            self._foes[b].add(a)
        elif a != b:
            self._above[a] = b
            for foe in self._foes.pop(a, ()):
                self._foes[foe].discard(a)
                self._foes[foe].add(b)
                self._foes[b].add(foe)

    def chain(self, titles: Sequence[str]) -> None:
        """Take titles as one product, or not at all where any two of them are known to be two."""
        roots = {self._root(key_of(title)) for title in titles}
        if not any(self._foes.get(root, set()) & roots for root in roots):
            for left, right in pairwise(titles):
                self.add(left, right, "same")

    def part(self, titles: Sequence[str]) -> None:
        """Take two titles as two products, unless they are known to be one."""
        if len({self._root(key_of(title)) for title in titles}) == 2:
            left, right = titles
            self.add(left, right, "different")

    def _root(self, one: str) -> str:
        while (above := self._above.get(one, one)) != one:
            self._above[one] = self._above.get(above, above)
            one = above
        return one
