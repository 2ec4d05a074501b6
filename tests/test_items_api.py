"""Items over HTTP: what is put is kept and matched, what is removed is matched no more, whatever the ids."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from serving import JSON, refused, serving
from starlette.testclient import TestClient

import api.items
from api.guard import Guarded
from api.items_schemas import MAX_EXTRA_BYTES
from api.schemas import MAX_ITEMS
from api.service import Service, load_service
from api.settings import Settings
from index.living import LivingMatcher

RAMEN, MUG = "농심 신라면 120g 5개입", "모나미 머그컵 350ml 파랑"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(threads=1))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def lent(service: Service) -> Iterator[TestClient]:
    with serving(service) as client:
        yield client


@pytest.fixture
def client(lent: TestClient, service: Service) -> TestClient:
    """A client of a service with an empty catalogue."""
    with service.catalog.transaction():
        while items := service.catalog.page(limit=1_000).items:
            service.catalog.delete([item.id for item in items])
    service.living.follow()  # as a request would: else an item that comes back has never been gone
    return lent


def put(client: TestClient, *items: dict[str, Any], wait: bool = False, **headers: str) -> dict[str, Any]:
    response = client.put("/v1/items", json={"items": items}, params={"wait": wait}, headers=headers)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def matched(client: TestClient, title: str) -> list[str]:
    (result,) = client.post("/v1/match", json={"titles": [title]}).json()["results"]
    return [match["id"] for match in result["matches"]]


def path(id: str) -> str:
    return f"/v1/items/{quote(id, safe='')}"


def test_what_is_put_stands_there_as_it_was_sent(client: TestClient) -> None:
    item = {"id": "a1", "title": RAMEN, "seller": "신선마트", "category": "food", "extra": {"price": 4280, "x": [None]}}
    told = put(client, item)
    assert (told["created"], told["updated"], told["unchanged"], told["searchable"]) == (1, 0, 0, None)
    stored = client.get("/v1/items/a1").json()
    assert {name: stored[name] for name in item} == item
    assert stored["created"] == stored["updated"] == told["revision"]


def test_what_is_put_again_is_replaced_whole(client: TestClient) -> None:
    first = put(client, {"id": "a", "title": RAMEN, "seller": "s"}, {"id": "b", "title": MUG})
    told = put(client, {"id": "a", "title": RAMEN}, {"id": "b", "title": MUG}, {"id": "c", "title": MUG})
    assert (told["created"], told["updated"], told["unchanged"]) == (1, 1, 1)
    stored = client.get("/v1/items/a").json()
    assert stored["seller"] is None
    assert (stored["created"], stored["updated"]) == (first["revision"], told["revision"])


def test_with_wait_an_item_is_matched_when_the_answer_comes(client: TestClient) -> None:
    assert put(client, {"id": "a", "title": RAMEN}, {"id": "🎉", "title": "🎉"}, wait=True)["searchable"]
    assert matched(client, f"[무료배송] {RAMEN}") == ["a"]


def test_without_wait_an_item_is_matched_soon(client: TestClient) -> None:
    put(client, {"id": "a", "title": RAMEN})
    deadline = time.monotonic() + 10
    while matched(client, RAMEN) != ["a"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_item_of_a_known_title_is_matched_at_once(client: TestClient) -> None:
    put(client, {"id": "a", "title": RAMEN}, wait=True)
    put(client, {"id": "b", "title": f"{RAMEN} ★"})
    assert sorted(matched(client, RAMEN)) == ["a", "b"]


def test_an_item_with_another_title_is_matched_by_that_alone(client: TestClient) -> None:
    put(client, {"id": "a", "title": RAMEN}, {"id": "b", "title": MUG}, wait=True)
    put(client, {"id": "a", "title": MUG}, wait=True)
    assert sorted(matched(client, MUG)) == ["a", "b"]
    assert matched(client, RAMEN) == []


def test_to_wait_has_an_end(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.items, "WAIT", 0.1)
    monkeypatch.setattr(LivingMatcher, "_encode_some", lambda _: False)
    started = time.monotonic()
    assert put(client, {"id": "a", "title": "한 번도 없던 제목"}, wait=True)["searchable"] is False
    assert 0.1 <= time.monotonic() - started < 2


def test_what_is_deleted_is_never_matched_again(client: TestClient) -> None:
    put(client, *({"id": str(at), "title": RAMEN} for at in range(10)), wait=True)
    for at in range(10):
        assert client.delete(f"/v1/items/{at}").json()["deleted"] == 1
        assert sorted(matched(client, RAMEN)) == [str(other) for other in range(at + 1, 10)]
        refused(client.get(f"/v1/items/{at}"), 404)
    assert refused(client.delete("/v1/items/0"), 404)["detail"] == "no item '0'"


def test_many_are_deleted_at_once(client: TestClient) -> None:
    put(client, *({"id": str(at), "title": RAMEN} for at in range(5)), wait=True)
    assert client.post("/v1/items/delete", json={"ids": ["0", "3", "none"]}).json()["deleted"] == 2
    assert sorted(matched(client, RAMEN)) == ["1", "2", "4"]
    refused(client.post("/v1/items/delete", json={"ids": ["1", "1"]}), 422)


def test_a_key_gets_one_answer(client: TestClient, service: Service) -> None:
    item = {"id": "a", "title": RAMEN}
    told = put(client, item, **{"Idempotency-Key": "once"})
    client.delete("/v1/items/a")
    assert put(client, item, **{"Idempotency-Key": "once"}) == told
    assert service.catalog.get("a") is None  # nothing was done again
    other = client.put("/v1/items", json={"items": [{**item, "title": MUG}]}, headers={"Idempotency-Key": "once"})
    assert "another request" in refused(other, 409)["detail"]
    refused(client.put("/v1/items", json={"items": [item]}, headers={"Idempotency-Key": "x" * 256}), 422)


@pytest.mark.parametrize(
    "id", ["a/b", "/", "../x", "a//", "delete", "가/나?다#라&마", "100%", " ", "한 칸", "🎉", "é", "\t", "x" * 256, "+"]
)
def test_ids_may_be_any_text(client: TestClient, id: str) -> None:
    if not id.strip():
        refused(client.put("/v1/items", json={"items": [{"id": id, "title": RAMEN}]}), 422)
        return
    put(client, {"id": id, "title": RAMEN})
    assert client.get(path(id)).json()["id"] == id
    assert client.delete(path(id)).json()["deleted"] == 1
    refused(client.get(path(id)), 404)


# No "." and "..", which clients take for steps of a path; and no percent signs, which the test client decodes twice.
ids = st.text(st.characters(exclude_characters="\0%", codec="utf-8"), min_size=1, max_size=30)


@examples(max_examples=20, deadline=None)
@given(id=ids.filter(lambda text: text.strip() and text.strip("./")))
def test_what_is_put_by_an_id_is_got_by_it(lent: TestClient, id: str) -> None:
    put(lent, {"id": id, "title": RAMEN})
    assert lent.get(path(id)).json()["id"] == id


def test_a_page_after_the_other_sees_every_item_that_stays_once(client: TestClient) -> None:
    stay = [f"s{at:03}" for at in range(50)]
    put(client, *({"id": id, "title": RAMEN} for id in stay), *({"id": f"{id}x", "title": MUG} for id in stay))
    seen: list[str] = []
    cursor: str | None = None
    for at in range(100):
        asked = {"limit": 7} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/items", params=asked).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        # Others come before, after and between, go, and change.
        put(client, {"id": f"a{at}", "title": MUG}, {"id": f"s{at:03}y", "title": MUG}, {"id": stay[at], "title": MUG})
        client.delete(path(f"s{at * 5:03}x"))
    assert sorted(id for id in seen if id in set(stay)) == stay
    assert seen == sorted(set(seen))


def test_items_are_filtered(client: TestClient, service: Service) -> None:
    put(client, *({"id": str(at), "title": RAMEN, "seller": f"s{at % 2}", "category": f"c{at % 3}"} for at in range(6)))
    service.living.settle()
    cluster = client.get("/v1/items/0").json()["cluster"]

    def ids(**asked: str) -> list[str]:
        return [item["id"] for item in client.get("/v1/items", params=asked).json()["items"]]

    assert ids(seller="s1") == ["1", "3", "5"]
    assert ids(category="c2") == ["2", "5"]
    assert ids(seller="s1", category="c2") == ["5"]
    assert ids(cluster=cluster) == [str(at) for at in range(6)]
    assert ids(seller="nobody") == []
    for asked in ({"cursor": "x"}, {"limit": 0}, {"limit": 1_001}, {"seller": "x" * 257}):
        refused(client.get("/v1/items", params=asked), 422)


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({"id": "", "title": RAMEN}, "#/items/1/id"),
        ({"id": "a\0", "title": RAMEN}, "#/items/1/id"),
        ({"id": "x" * 257, "title": RAMEN}, "#/items/1/id"),
        ({"id": 7, "title": RAMEN}, "#/items/1/id"),
        ({"id": "ok", "title": RAMEN}, "#/items/1/id"),
        ({"id": "a"}, "#/items/1/title"),
        ({"id": "a", "title": " "}, "#/items/1/title"),
        ({"id": "a", "title": "가" * 4_000}, "#/items/1/title"),
        ({"id": "a", "title": RAMEN, "seller": ""}, "#/items/1/seller"),
        ({"id": "a", "title": RAMEN, "price": 1}, "#/items/1/price"),
        ({"id": "a", "title": RAMEN, "extra": {"x": "가" * MAX_EXTRA_BYTES}}, "#/items/1/extra"),
        ({"id": "a", "title": RAMEN, "extra": {str(at): 1 for at in range(101)}}, "#/items/1/extra"),
        ({"id": "a", "title": RAMEN, "extra": {"x": json.loads("[" * 400 + "]" * 400)}}, "#/items/1/extra"),
        ({"id": "a", "title": RAMEN, "extra": {"x": float("inf")}}, "#/items/1/extra"),
        ({"id": "a", "title": RAMEN, "extra": {"x": "\ud800"}}, "#/items/1/extra"),
        ({"id": "\ud800", "title": RAMEN}, "#/items/1/id"),
    ],
)
def test_one_item_that_is_unfit_keeps_all_out(
    client: TestClient, service: Service, item: dict[str, Any], where: str
) -> None:
    body = json.dumps({"items": [{"id": "ok", "title": RAMEN}, item]})
    problem = refused(client.put("/v1/items", content=body, headers=JSON), 422)
    assert problem["errors"][0]["location"] == where
    assert service.catalog.count() == 0


def test_limits_of_a_request(client: TestClient) -> None:
    refused(client.put("/v1/items", json={"items": []}), 422)
    many = [{"id": str(at), "title": "🎉"} for at in range(MAX_ITEMS + 1)]
    problem = refused(client.put("/v1/items", json={"items": many}), 422)
    assert "10000" in problem["errors"][0]["expected"]
    refused(client.post("/v1/items/delete", json={"ids": [str(at) for at in range(MAX_ITEMS + 1)]}), 422)
    refused(client.put("/v1/items", content="{}", headers={"content-type": "text/plain"}), 415)


READ = [
    "GET /v1/items", "GET /v1/items/{id:text}", "GET /v1/clusters", "GET /v1/clusters/{id:text}", "GET /v1/events",
    "GET /v1/events/{id}", "GET /v1/labels", "GET /v1/labels.csv", "GET /v1/review", "POST /v1/embeddings",
]  # fmt: skip
WRITE = [
    "PUT /v1/items", "POST /v1/items/delete", "DELETE /v1/items/{id:text}", "POST /v1/clusters/merge",
    "POST /v1/clusters/split", "POST /v1/events/{id}/undo", "POST /v1/events/{id}/accept", "PUT /v1/labels",
    "POST /v1/labels/delete",
]  # fmt: skip


def test_who_may_read_may_not_write(lent: TestClient) -> None:
    app: Any = lent.app
    scopes = {
        f"{method} {route.path}": route.key_scope
        for route in app.routes if isinstance(route, Guarded) for method in route.methods or ()
    }  # fmt: skip
    for expected, routes in (("read", READ), ("write", WRITE)):
        assert {route: scopes[route] for route in routes} == dict.fromkeys(routes, expected)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=9), parts, max_size=3),
    max_leaves=6,
)
item = st.fixed_dictionaries(
    {"id": st.text(max_size=5) | values, "title": st.text(max_size=9) | values},
    optional={"seller": values, "category": values, "extra": st.dictionaries(st.text(max_size=9), values)},
)


@examples(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({"items": st.lists(item, max_size=3)}) | values)
def test_no_json_makes_it_fail(lent: TestClient, service: Service, value: Any) -> None:
    response = lent.put("/v1/items", content=json.dumps(value).encode(), headers=JSON)
    assert response.status_code in {200, 422}, response.text
    if response.status_code == 200:
        for one in value["items"]:
            stored = service.catalog.get(one["id"])
            assert stored is not None
            assert (stored.title, stored.extra) == (one["title"], one.get("extra", {}))
