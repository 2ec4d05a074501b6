"""Labels over HTTP: kept, listed, taken back, handed out to learn from; and the pairs that are asked for next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from serving import JSON, SAMPLE, refused, serving
from starlette.testclient import TestClient

import api.labels
from api.labels import no_formula
from api.service import Service, load_service
from api.settings import Settings
from embedder.text import clean
from index.items import MAX_TITLE_BYTES
from index.tables import read_table
from training.pairs import pair_columns, read_pairs

FORMULAS = [
    '=HYPERLINK("http://x","신라면")',
    "+1 행사 신라면",
    "-50% 신라면",
    "@home 컵",
    " =1+1",
    "\t=1",
    "＝1+1",
    "\u200b=1",
]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE, threads=1))
    assert loaded.living.settle()
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def lent(service: Service) -> Iterator[TestClient]:
    with serving(service) as client:
        yield client


@pytest.fixture
def client(lent: TestClient, service: Service) -> TestClient:
    """A client of a service without labels."""
    for label in service.catalog.labels.page(limit=10_000)[0]:
        service.catalog.labels.delete(label.left, label.right, label.of)
    return lent


def put(client: TestClient, *labels: tuple[str, str, str], of: str = "items") -> dict[str, Any]:
    told = [{"left": left, "right": right, "verdict": verdict, "of": of} for left, right, verdict in labels]
    response = client.put("/v1/labels", json={"labels": told})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def listed(client: TestClient, **asked: Any) -> list[tuple[str, str, str]]:
    found, cursor = [], None
    while True:
        page = client.get("/v1/labels", params=asked | ({"cursor": cursor} if cursor else {})).json()
        found += [(label["left"], label["right"], label["verdict"]) for label in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_a_label_is_kept_with_the_titles_that_it_was_given_for(client: TestClient, service: Service) -> None:
    told = put(client, ("s0002", "s0001", "different"))
    assert told["kept"] == 1
    (label,) = client.get("/v1/labels").json()["items"]
    titles = [item.title for id in ("s0001", "s0002") if (item := service.catalog.get(id))]
    assert [label["left_title"], label["right_title"]] == titles
    assert (label["left"], label["right"], label["of"]) == ("s0001", "s0002", "items")
    assert (label["verdict"], label["who"], label["revision"]) == ("different", "anonymous", told["revision"])


def test_the_last_label_of_a_pair_holds(client: TestClient) -> None:
    put(client, ("s0001", "s0002", "same"), ("s0001", "s0003", "skip"))
    put(client, ("s0002", "s0001", "different"))
    assert listed(client) == [("s0001", "s0002", "different"), ("s0001", "s0003", "skip")]


def test_labels_are_paged_and_filtered(client: TestClient) -> None:
    put(client, *((f"s{at:04}", "s0100", "same" if at % 2 else "different") for at in range(1, 10)))
    put(client, ("나", "가", "same"), of="titles")
    assert len(listed(client, limit=3)) == len(set(listed(client, limit=3))) == 10
    assert listed(client, limit=3) == listed(client)
    assert {verdict for _, _, verdict in listed(client, verdict="different", limit=2)} == {"different"}
    assert listed(client, verdict="skip") == []
    for asked in ({"verdict": "x"}, {"cursor": "x"}, {"limit": 0}):
        refused(client.get("/v1/labels", params=asked), 422)


def test_labels_are_taken_back_in_either_order(client: TestClient) -> None:
    put(client, ("s0001", "s0002", "same"), ("s0001", "s0003", "same"))
    put(client, ("가", "나", "same"), of="titles")
    pairs = [
        {"left": "s0002", "right": "s0001"},
        {"left": "나", "right": "가", "of": "titles"},
        {"left": "x", "right": "y"},
    ]
    assert client.post("/v1/labels/delete", json={"labels": pairs}).json()["deleted"] == 2
    assert listed(client) == [("s0001", "s0003", "same")]


def test_labels_of_items_move_them_when_all_is_clustered_anew(client: TestClient, service: Service) -> None:
    page = service.catalog.clusters.page("largest", limit=1)[0]
    one, other, *_ = (item.id for item in service.catalog.page(cluster=page[0].id).items)
    put(client, (one, other, "different"))
    service.living.rebuild()
    clusters = {id: client.get(f"/v1/items/{id}").json()["cluster"] for id in (one, other)}
    assert clusters[one] != clusters[other]
    put(client, (one, other, "same"))
    service.living.rebuild()
    assert client.get(f"/v1/items/{one}").json()["cluster"] == client.get(f"/v1/items/{other}").json()["cluster"]


@pytest.mark.parametrize(
    ("label", "where"),
    [
        ({"left": "s0001", "right": "s0001", "verdict": "same"}, "#/labels/1/right"),
        ({"left": "s0001", "right": "x" * 257, "verdict": "same"}, "#/labels/1/right"),
        ({"left": "가" * 4_000, "right": "x", "of": "titles", "verdict": "same"}, "#/labels/1/left"),
        ({"left": " ", "right": "x", "of": "titles", "verdict": "same"}, "#/labels/1/left"),
        ({"left": "s0001", "right": "s0002", "verdict": "maybe"}, "#/labels/1/verdict"),
        ({"left": "s0001", "right": "s0002", "verdict": "same", "of": "pairs"}, "#/labels/1/of"),
        ({"left": "s0001", "right": "s0002", "verdict": "same", "who": "me"}, "#/labels/1/who"),
        ({"left": "s0001", "right": "s0002"}, "#/labels/1/verdict"),
    ],
)
def test_one_label_that_is_unfit_keeps_all_out(client: TestClient, label: dict[str, Any], where: str) -> None:
    good = {"left": "s0001", "right": "s0004", "verdict": "same"}
    problem = refused(client.put("/v1/labels", json={"labels": [good, label]}), 422)
    assert problem["errors"][0]["location"] == where
    unknown = client.put("/v1/labels", json={"labels": [good, {**good, "right": "none"}]})
    assert "no item 'none'" in refused(unknown, 422)["detail"]
    assert listed(client) == []


def test_what_is_downloaded_teaches_what_was_labelled(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.labels, "_PAGE", 3)
    titles = [*FORMULAS, 'a "b", c;=d', "줄\n바꿈\r컵"]
    put(client, *((title, "농심 신라면 120g", "different") for title in titles), of="titles")
    put(client, ("s0001", "s0002", "same"), ("s0001", "s0003", "skip"))
    taught = []
    for exact in (False, True):
        response = client.get("/v1/labels.csv", params={"exact": exact})
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        assert response.headers["content-disposition"] == 'attachment; filename="labels.csv"'
        file = tmp_path / f"{exact}.csv"
        file.write_bytes(response.content)
        table = read_table(file)
        assert len(table) == len(titles) + 1
        columns = pair_columns(table)
        assert columns is not None
        pairs = read_pairs(table, columns)
        taught.append((pairs.texts, pairs.same, pairs.different))
        cells = {cell for name in ("title_a", "title_b") for cell in table.columns[name]}
        assert exact == (set(titles) <= cells)
        assert exact or not any(cell.lstrip("\u200b\ufeff \t")[0] in "=+-@＝" for cell in cells)
    assert taught[0] == taught[1]


def test_without_labels_the_download_is_a_header(client: TestClient) -> None:
    assert client.get("/v1/labels.csv", params={"exact": True}).text == '"title_a","title_b","label"\r\n'
    refused(client.get("/v1/labels.csv", params={"exact": "perhaps"}), 422)


@given(st.sampled_from([*FORMULAS, ""]), st.text(st.characters(codec="utf-8"), max_size=20))
def test_what_keeps_a_formula_from_running_changes_nothing_that_is_learnt(start: str, text: str) -> None:
    title = start + text
    assert clean(no_formula(title)) == clean(title)
    assert no_formula(no_formula(title)) == no_formula(title)


def test_a_title_of_full_length_stays_readable() -> None:
    longest = "=" + "a" * (MAX_TITLE_BYTES - 1)
    assert no_formula(longest) == "`=" + "a" * (MAX_TITLE_BYTES - 2)


def test_the_queue_asks_for_what_is_not_labelled(client: TestClient, service: Service) -> None:
    first = client.get("/v1/review", params={"limit": 10}).json()["items"]
    assert len(first) == 10
    for pair in first:
        stored = [client.get(f"/v1/items/{pair[end]['id']}").json() for end in ("left", "right")]
        assert [pair["left"], pair["right"]] == stored
        assert pair["reason"] and 0 <= pair["probability"] <= 1
    assert client.get("/v1/review", params={"limit": 10}).json()["items"] == first
    put(client, *((pair["left"]["id"], pair["right"]["id"], "skip") for pair in first))
    more = client.get("/v1/review", params={"limit": 10}).json()["items"]
    asked = {frozenset((pair["left"]["id"], pair["right"]["id"])) for pair in first}
    assert not asked & {frozenset((pair["left"]["id"], pair["right"]["id"])) for pair in more}
    for unfit in ({"limit": 0}, {"limit": 101}, {"seed": -1}):
        refused(client.get("/v1/review", params=unfit), 422)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=9),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=9), parts, max_size=3),
    max_leaves=6,
)
end = st.sampled_from(["s0001", "s0002", "none"]) | st.text(st.characters(), max_size=5) | values
pair = st.fixed_dictionaries(
    {"left": end, "right": end},
    optional={"of": st.sampled_from(["items", "titles"]), "verdict": st.sampled_from(["same", "skip", "x"])},
)


@examples(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({"labels": st.lists(pair, max_size=3)}) | values)
def test_no_json_makes_it_fail(lent: TestClient, value: Any) -> None:
    body = json.dumps(value).encode()
    assert lent.put("/v1/labels", content=body, headers=JSON).status_code in {200, 422}
    assert lent.post("/v1/labels/delete", content=body, headers=JSON).status_code in {200, 422}
