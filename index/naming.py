"""Naming: clusters that are made anew keep the ids that they had, and what changes is told in whole pieces.

It knows which item stood in which cluster, and which stands with which now. It does not know why, or how ids are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from index.clustering import Ids


def kept_names(old: Sequence[str | None], new: Ids, fresh: Callable[[int], list[str]]) -> list[str]:
    """The id of each item's new cluster.

    An id goes to the cluster that shares most items with the one that had it: so a cluster of the same items keeps its
    own, and of the parts of a split or the wholes of a merge the largest does. Of equal shares the smaller id goes
    first, to the cluster whose first item comes first.

    Args:
        old: the id of the cluster that each item stood in; None for none.
        new: which cluster each item stands in now, as any number, int64, shape (items,).
        fresh: makes as many ids as it is asked for, for clusters that keep none, in the order of their first items.
    """
    first: dict[int, int] = {}
    for item, cluster in enumerate(new.tolist()):
        first.setdefault(cluster, item)
    shared = Counter((cluster, id) for cluster, id in zip(new.tolist(), old, strict=True) if id is not None)
    names: dict[int, str] = {}
    given: set[str] = set()
    for cluster, id in sorted(shared, key=lambda one: (-shared[one], one[1], first[one[0]])):
        if cluster not in names and id not in given:
            names[cluster] = id
            given.add(id)
    nameless = [cluster for cluster in first if cluster not in names]
    names.update(zip(nameless, fresh(len(nameless)), strict=True))
    return [names[cluster] for cluster in new.tolist()]


def pieces(old: Mapping[str, str | None], new: Mapping[str, str], most: int) -> Iterator[dict[str, str]]:
    """The new cluster of each item that moves, a piece after the other; each leaves every cluster whole.

    Clusters between which items move stand in one piece, with all those between which theirs move.

    Args:
        old, new: the cluster of each item, before and after; items that ``new`` does not tell of stay.
        most: items of a piece, unless what hangs together is more.
    """
    parent: dict[str, str] = {}

    def root(cluster: str) -> str:
        while (above := parent.setdefault(cluster, cluster)) != cluster:
            parent[cluster] = cluster = parent[above]
        return cluster

    moved = [item for item, name in new.items() if old.get(item) != name]
    for item in moved:
        if (before := old.get(item)) is not None:
            parent[root(before)] = root(new[item])
    connected: dict[str, list[str]] = {}
    for item in moved:
        connected.setdefault(root(new[item]), []).append(item)
    piece: dict[str, str] = {}
    for items in connected.values():
        if piece and len(piece) + len(items) > most:
            yield piece
            piece = {}
        piece.update((item, new[item]) for item in items)
    if piece:
        yield piece
