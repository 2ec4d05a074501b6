"""Clusters over HTTP: listed, found, merged, split and put back by hand, with a trail that says who did it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from serving import KEY, SAMPLE, refused, serving
from starlette.testclient import TestClient

from api.keys import OWNER
from api.service import Service, load_service
from api.settings import Settings
from index.listings import Item


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE, threads=1))
    assert loaded.living.settle()
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with serving(service) as client:
        yield client


@pytest.fixture
def trio(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Three clusters of two items each, at hand for a test, and nobody in the background who knows better."""
    monkeypatch.setattr(service.living._upkeep, "mend", lambda *_: None)
    ids = service.catalog.clusters.fresh(3)
    names = {f"{id}/{at}": id for id in ids for at in "ab"}
    things = dict(zip(ids, ("시험용 화분 받침", "무선 청소기 필터", "유아 실내 미끄럼틀"), strict=True))
    service.catalog.put([Item(name, f"{things[id]} {name[-1]}형 시험용 물건") for name, id in names.items()])
    service.catalog.clusters.move(names, "move", "test", by_hand=True)  # by a machine, the background would undo it
    yield ids
    service.catalog.delete(list(names))


def listed(client: TestClient, path: str, **asked: Any) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        response = client.get(path, params=asked | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        page = response.json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def done(client: TestClient, path: str, body: Any = None) -> dict[str, Any]:
    response = client.post(path, json=body) if body is not None else client.post(path)
    assert response.status_code == 200, response.text
    event: dict[str, Any] = response.json()
    return event


def items_of(client: TestClient, id: str) -> list[str]:
    return [item["id"] for item in listed(client, f"/v1/clusters/{quote(id, safe='')}", limit=1)]


def test_every_cluster_is_listed_once(client: TestClient, service: Service) -> None:
    clusters = listed(client, "/v1/clusters", limit=37)
    ids = [cluster["id"] for cluster in clusters]
    assert ids == sorted(set(ids))
    assert sum(cluster["size"] for cluster in clusters) == service.catalog.count()
    assert all(1 <= len(cluster["titles"]) <= min(3, cluster["size"]) for cluster in clusters)


def test_the_largest_and_the_loosest_come_first(client: TestClient) -> None:
    sizes = [cluster["size"] for cluster in listed(client, "/v1/clusters", order="largest")]
    assert sizes == sorted(sizes, reverse=True)
    cohesion = [cluster["cohesion"] for cluster in listed(client, "/v1/clusters", order="loosest")]
    assert cohesion == sorted(cohesion, key=lambda value: 2 if value is None else value)
    assert cohesion[0] < 1


def test_a_cluster_tells_its_items_and_its_history(client: TestClient) -> None:
    (largest,) = client.get("/v1/clusters", params={"order": "largest", "limit": 1}).json()["items"]
    told = client.get(f"/v1/clusters/{largest['id']}").json()
    assert told["size"] == len(told["items"]) == largest["size"]
    assert {item["cluster"] for item in told["items"]} == {largest["id"]}
    assert [event["kind"] for event in told["events"]] == ["rebuild"]
    assert items_of(client, largest["id"]) == [item["id"] for item in told["items"]]


@pytest.mark.parametrize("q", ["신라면", "농심 신라면 120g 5개입", "SINRAMYUN 120g x 5 nongshim", "%", "ꆈꌠ", "🎉"])
def test_clusters_are_found_by_words_and_by_titles(client: TestClient, q: str) -> None:
    found = client.get("/v1/clusters", params={"q": q, "limit": 20}).json()
    assert found["next_cursor"] is None
    assert len({cluster["id"] for cluster in found["items"]}) == len(found["items"]) <= 20
    if "신라면" in q:
        assert "신라면" in " ".join(found["items"][0]["titles"])


def test_the_matched_cluster_comes_first(client: TestClient, service: Service) -> None:
    for id in ("s0001", "s0100", "s0200"):
        item = service.catalog.get(id)
        assert item is not None
        found = client.get("/v1/clusters", params={"q": f"[무료배송] {item.title}", "limit": 5}).json()["items"]
        assert item.cluster == found[0]["id"]


def test_merged_and_undone_stands_as_before(client: TestClient, trio: list[str]) -> None:
    before = {id: client.get(f"/v1/clusters/{id}").json()["items"] for id in trio}
    merged = done(client, "/v1/clusters/merge", {"into": trio[0], "others": trio[1:]})
    assert (merged["kind"], merged["who"], merged["by_hand"]) == ("merge", "anonymous", True)
    assert (merged["moved"], merged["into"]) == (4, [trio[0]])
    assert datetime.now(UTC) - datetime.fromisoformat(merged["at"]) < timedelta(minutes=1)
    assert items_of(client, trio[0]) == sorted(item["id"] for some in before.values() for item in some)
    assert f"event {merged['id']} was its last" in refused(client.get(f"/v1/clusters/{trio[1]}"), 404)["detail"]

    undone = done(client, f"/v1/events/{merged['id']}/undo")
    assert (undone["kind"], undone["detail"], undone["into"]) == ("undo", {"event": merged["id"]}, sorted(trio[1:]))
    assert {id: [item["id"] for item in items] for id, items in before.items()} == {
        id: items_of(client, id) for id in trio
    }
    assert "moved again" in refused(client.post(f"/v1/events/{merged['id']}/undo"), 409)["detail"]
    done(client, f"/v1/events/{undone['id']}/undo")  # to undo an undo is to do it again
    assert len(items_of(client, trio[0])) == 6


def test_split_off_items_get_a_cluster_of_their_own(client: TestClient, trio: list[str]) -> None:
    id = trio[0]
    split = done(client, "/v1/clusters/split", {"items": [f"{id}/b"]})
    (fresh,) = split["into"]
    assert split["moves"] == [{"item": f"{id}/b", "before": id, "after": fresh}]
    assert (items_of(client, id), items_of(client, fresh)) == ([f"{id}/a"], [f"{id}/b"])
    done(client, f"/v1/events/{split['id']}/undo")
    assert items_of(client, id) == [f"{id}/a", f"{id}/b"]
    refused(client.get(f"/v1/clusters/{fresh}"), 404)


def test_what_cannot_be_merged_or_split_is_refused(client: TestClient, trio: list[str], service: Service) -> None:
    one, other, _ = trio
    before = service.catalog.clusters.events(limit=1)[0]

    def merge(**body: Any) -> Any:
        return client.post("/v1/clusters/merge", json=body)

    def split(*items: str) -> Any:
        return client.post("/v1/clusters/split", json={"items": items})

    assert refused(merge(into=one, others=["none"]), 404)["detail"] == "no cluster 'none'"
    refused(merge(into="none", others=[one]), 404)
    refused(merge(into=one, others=[one]), 422)
    refused(merge(into=one, others=[other, other]), 422)
    refused(merge(into=one, others=[]), 422)
    refused(split("none"), 404)
    refused(split(f"{one}/a", f"{one}/b"), 422)  # all of it
    refused(split(f"{one}/a", f"{other}/a"), 422)  # of two
    refused(client.post("/v1/clusters/split", content="{}", headers={"content-type": "text/plain"}), 415)
    assert service.catalog.clusters.events(limit=1)[0] == before


def test_the_trail_is_told_newest_first_and_filtered(client: TestClient, trio: list[str]) -> None:
    one, other, third = trio
    merged = done(client, "/v1/clusters/merge", {"into": one, "others": [other]})
    split = done(client, "/v1/clusters/split", {"items": [f"{third}/a"]})

    def ids(**asked: Any) -> list[int]:
        return [event["id"] for event in listed(client, "/v1/events", **asked)]

    assert ids(limit=1)[:2] == [split["id"], merged["id"]]
    assert ids() == sorted(ids(), reverse=True)
    assert ids(kind="split")[0] == split["id"]
    assert ids(item=f"{other}/a")[0] == merged["id"]
    assert ids(cluster=other)[0] == merged["id"]
    assert ids(cluster=third)[0] == split["id"]
    assert ids(cluster="none") == []
    told = client.get(f"/v1/events/{merged['id']}").json()
    assert told == merged
    refused(client.get("/v1/events/999999999"), 404)
    refused(client.post("/v1/events/999999999/undo"), 404)
    refused(client.get("/v1/events/x"), 422)
    refused(client.get("/v1/events", params={"kind": "x"}), 422)
    refused(client.get("/v1/events", params={"cursor": "x"}), 422)


def test_a_proposal_is_accepted_once(client: TestClient, trio: list[str], service: Service) -> None:
    clusters = service.catalog.clusters
    small, large, third = trio
    service.catalog.put([Item(f"{large}/c", "시험용 물건 하나 더")])
    clusters.move({f"{large}/c": large}, "join", "test")
    proposed = clusters.move({}, "propose", "dongil", detail={"clusters": [small, large], "item": f"{small}/a"})
    stale = clusters.move({}, "propose", "dongil", detail={"clusters": [third, small]})
    try:
        refused(client.post(f"/v1/events/{proposed.id}/undo"), 422)  # it moved nothing
        merged = done(client, f"/v1/events/{proposed.id}/accept")
        assert (merged["kind"], merged["by_hand"], merged["into"]) == ("merge", True, [large])
        assert len(items_of(client, large)) == 5
        for id in (proposed.id, stale.id):
            assert repr(small) in refused(client.post(f"/v1/events/{id}/accept"), 409)["detail"]
        refused(client.post(f"/v1/events/{merged['id']}/accept"), 422)
        refused(client.post("/v1/events/999999999/accept"), 404)
    finally:
        service.catalog.delete([f"{large}/c"])


def test_what_people_did_outlives_a_clustering_of_everything(
    client: TestClient, trio: list[str], service: Service
) -> None:
    done(client, "/v1/clusters/merge", {"into": trio[0], "others": trio[1:]})
    split = done(client, "/v1/clusters/split", {"items": [f"{trio[1]}/a", f"{trio[1]}/b"]})
    assert service.living.settle()
    service.living.rebuild()
    assert items_of(client, trio[0]) == [f"{id}/{at}" for id in (trio[0], trio[2]) for at in "ab"]
    assert items_of(client, split["into"][0]) == [f"{trio[1]}/a", f"{trio[1]}/b"]


def test_the_trail_names_the_key(service: Service, trio: list[str]) -> None:
    with serving(service, settings=Settings(api_key=SecretStr(KEY))) as client:
        body = {"into": trio[0], "others": [trio[1]]}
        refused(client.post("/v1/clusters/merge", json=body), 401)
        client.headers["authorization"] = f"Bearer {KEY}"
        merged = done(client, "/v1/clusters/merge", body)
        assert merged["who"] == client.get(f"/v1/events/{merged['id']}").json()["who"] == OWNER


def test_a_query_must_say_something(client: TestClient) -> None:
    for asked in ({"q": " "}, {"q": "x" * 1_001}, {"q": "a\0"}, {"order": "x"}, {"cursor": "x"}, {"limit": 0}):
        refused(client.get("/v1/clusters", params=asked), 422)
    refused(client.get("/v1/clusters/none"), 404)
    refused(client.get("/v1/clusters/c1", params={"cursor": "x"}), 422)
