"""A close look at a cluster: its middle, what does not fit, its weakest pair, and what stands near."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from serving import SAMPLE

from api.cluster_look import judged_pair, look_at
from api.service import Service, load_service
from api.settings import Settings


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE, threads=1))
    assert loaded.living.settle()
    yield loaded
    loaded.close()


def test_fits_are_means_over_the_other_titles(service: Service) -> None:
    snapshot = service.living.snapshot
    for cluster in service.catalog.clusters.page("largest", limit=12)[0]:
        look = look_at(service, cluster.id)
        assert look is not None and len(look.rows) == cluster.size and look.more == 0
        nodes = sorted({snapshot.node(row.item.id) for row in look.rows})
        judged = {
            (a, b): float(snapshot.decision.probability(snapshot.between(np.array([a]), np.array([b])))[0])
            for a in nodes for b in nodes if a != b
        }  # fmt: skip
        for row in look.rows:
            own = snapshot.node(row.item.id)
            others = [judged[own, other] for other in nodes if other != own]
            assert row.fit == (pytest.approx(sum(others) / len(others)) if others else None)
        if len(nodes) > 1:
            assert look.rows[0].fit == max(row.fit for row in look.rows if row.fit is not None)
            assert look.weakest is not None and look.weakest.probability == pytest.approx(min(judged.values()))
            assert look.rows[0].reason == ""


def test_what_was_put_in_by_hand_does_not_fit(service: Service) -> None:
    clusters = service.catalog.clusters
    first, second = (one.id for one in clusters.page("largest", limit=2)[0])
    stranger = service.catalog.page(None, 1, cluster=second).items[0]
    event = clusters.move({stranger.id: first}, "move", "me", by_hand=True)
    service.living.follow()
    look = look_at(service, first)
    assert look is not None
    odd = [row.item.id for row in look.rows if row.odd]
    assert stranger.id in odd and len(odd) < len(look.rows) / 2
    assert stranger.id == min((row for row in look.rows if row.fit is not None), key=lambda row: row.fit or 0).item.id
    assert stranger.id in (look.weakest.left.id, look.weakest.right.id) if look.weakest else False
    assert second in {near.cluster for near in look.near}
    clusters.undo(event.id, "me")
    service.living.follow()


def test_what_is_not_there_is_none(service: Service) -> None:
    assert look_at(service, "nothing") is None
    assert judged_pair(service, "s0001", "nothing") is None
    pair = judged_pair(service, "s0001", "s0002")
    assert pair is not None and 0 <= pair.probability <= 1
