"""The page as a browser meets it: every room, in both languages, by odd requests and with strangers' text."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from browsing import BASE, FORM, HERE, HOSTILE, PART, ROOMS, Tags, card_of, quoted, stocked, whole
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from serving import serving
from starlette.testclient import TestClient

from api.service import Service
from index.items import MAX_TITLE_BYTES


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with stocked(tmp_path_factory.mktemp("data")) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with serving(service, base_url=BASE) as client:
        yield client


@pytest.mark.parametrize("path", ROOMS)
@pytest.mark.parametrize(("language", "word"), [("ko-KR,ko;q=0.9", "임계값"), ("en-GB,en;q=0.8", "Threshold")])
def test_every_room_is_sound_in_both_languages(client: TestClient, path: str, language: str, word: str) -> None:
    text = whole(client.get(path, headers={"accept-language": language}))
    assert f'<html lang="{language[:2]}"' in text
    assert word in text
    assert f'href="{path}"' in re.sub(r"(?s)aria-current.*", "", text)


def test_strangers_text_stays_text(client: TestClient, service: Service) -> None:
    cluster = service.catalog.get("<i>&")
    assert cluster is not None and cluster.cluster is not None
    paths = [f"/?q={HOSTILE}", f"/clusters?q={HOSTILE}", f"/items?q={HOSTILE}", "/items/%3Ci%3E%26", "/items?q=너구리"]
    for path in (*paths, f"/clusters/{cluster.cluster}", f"/clusters?q={HOSTILE}&by=title"):
        text = whole(client.get(path))
        assert "<script>alert" not in text
        assert "<i>&" not in text
        assert "\u202e" in text and "\u202e" not in Tags(text).loose


def test_a_title_is_looked_up_and_its_address_leads_back(client: TestClient) -> None:
    answer = client.post("/", data={"q": "농심 너구리 얼큰한맛 120g 5개입\n\n소니 헤드폰"}, headers=PART)
    assert answer.status_code == 200
    assert answer.text.count('class="card answer"') == 2
    assert "너구리" in answer.text
    again = whole(client.get(answer.headers["hx-push-url"]))
    assert [line for line in answer.text.splitlines() if 'class="num"' in line] == [
        line
        for line in again.splitlines()
        if 'class="match' not in line and line in answer.text and 'class="num"' in line
    ]
    assert "<html" in whole(client.post("/", data={"q": "농심 너구리"}, headers=HERE))


def test_the_threshold_that_was_asked_for_decides(client: TestClient) -> None:
    def matches(threshold: float) -> int:
        answer = client.get(
            "/", params={"q": "농심 너구리 얼큰한맛 120g 5개입", "mode": "threshold", "threshold": threshold}
        )
        return whole(answer).count('<li class="match">')

    assert matches(0.0) > matches(0.5) >= matches(0.99)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"q": "x" * (MAX_TITLE_BYTES + 1)}, 422), ({"q": "\n".join("abcdefgh") * 20}, 422),
        ({"q": "a", "mode": "threshold", "threshold": "nan"}, 422),
        ({"q": "a", "mode": "precision", "precision": "0.999"}, 422),
        ({"q": "\0\0", "mode": "?"}, 200), ({}, 200), ({"q": "🎉"}, 200), ({"q": "\ud800"}, 200),
    ],
)  # fmt: skip
def test_odd_forms_are_answered(client: TestClient, form: dict[str, str], status: int) -> None:
    body = "&".join(f"{name}={quoted(value)}" for name, value in form.items())
    for headers in (PART, HERE):
        answer = client.post("/", content=body, headers={**headers, "content-type": FORM})
        assert answer.status_code == status, answer.text[:500]


@examples(max_examples=40)
@given(
    st.sampled_from(["/", "/clusters", "/items", "/jobs", "/threshold", "/review"]),
    st.text(max_size=40),
    st.text(max_size=20),
)
def test_no_query_makes_it_fail(client: TestClient, path: str, text: str, other: str) -> None:
    names = ("q", "after", "order", "by", "at", "threshold", "mode", "precision", "next")
    query = "&".join(f"{name}={quoted(text if number % 2 else other)}" for number, name in enumerate(names))
    assert client.get(f"{path}?{query}").status_code < 500


@examples(max_examples=30)
@given(st.binary(max_size=60))
def test_no_path_makes_it_fail(client: TestClient, raw: bytes) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in raw)
    for folder in ("/clusters/", "/items/", "/jobs/", "/static/"):
        assert client.get(folder + quoted).status_code < 500


def test_what_is_not_there_is_said_in_words(client: TestClient) -> None:
    for path in ("/clusters/c999999", "/items/nothing", "/jobs/nothing", "/jobs/x/files/index.html"):
        text = whole(client.get(path, headers={"accept-language": "ko"}), 404)
        assert "여기에는 아무것도 없습니다" in text
    part = client.get("/jobs/nothing", headers=PART)
    assert part.status_code == 404
    assert "<html" not in part.text


def test_a_cluster_is_split_merged_and_put_back(client: TestClient, service: Service) -> None:
    first = service.catalog.clusters.page("largest", limit=1)[0][0]
    items = [item.id for item in service.catalog.page(None, 100, cluster=first.id).items]
    path = f"/clusters/{first.id}"
    assert "data-needs-ticks" in whole(client.get(path))
    for wrong in ([], items, ["s9999"], [items[0], "<i>&"]):
        assert client.post(f"{path}/split", data={"item": wrong}, headers=PART).status_code in (404, 422)
    answer = client.post(f"{path}/split", data={"item": items[:1]}, headers=PART)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, path)
    left = service.catalog.get(items[0])
    assert left is not None and left.cluster is not None and left.cluster != first.id
    text = whole(client.get(path))
    event = re.findall(r"/trail/(\d+)/undo", text)[0]
    client.post(f"/trail/{event}/undo", data={"cluster": first.id}, headers=PART)
    back = service.catalog.get(items[0])
    assert back is not None and back.cluster == first.id
    assert "trail" in whole(client.get(f"/clusters/{left.cluster}"), 404)
    other = service.catalog.clusters.page("largest", limit=2)[0][1]
    client.post(f"{path}/merge", data={"other": other.id}, headers=HERE)
    merged = service.catalog.clusters.get(first.id)
    assert merged is not None and merged.size == first.size + other.size
    event = re.findall(r"/trail/(\d+)/undo", whole(client.get(path)))[0]
    assert client.post(f"/trail/{event}/undo", data={"cluster": first.id}, headers=PART).status_code == 204


def test_a_proposed_merge_is_made_or_refused(client: TestClient, service: Service) -> None:
    catalog = service.catalog
    one, other, third = catalog.clusters.page("largest", limit=3)[0]
    item = catalog.page(None, 1, cluster=one.id).items[0]
    for two in (other, third):
        detail = {"item": item.id, "clusters": [one.id, two.id]}
        catalog.clusters.move({}, "propose", "service", detail=detail)
    text = whole(client.get("/proposals"))
    events = re.findall(r'action="/trail/(\d+)/decide"', text)
    assert len(events) == 2, "the newest first"
    left, right = re.findall(r'name="left" value="([^"]*)"><input type="hidden" name="right" value="([^"]*)"', text)[0]
    said = {"verdict": "different", "left": left, "right": right}
    assert client.post(f"/trail/{events[0]}/decide", data=said, headers=PART).headers["hx-redirect"] == "/proposals"
    label = catalog.labels.get(left, right)
    assert label is not None and label.verdict == "different"
    assert re.findall(r'action="/trail/(\d+)/decide"', client.get("/proposals").text) == events[1:]
    client.post(f"/trail/{events[1]}/decide", data={"verdict": "same"}, headers=PART)
    assert "decide" not in whole(client.get("/proposals"))
    merged = catalog.get(item.id)
    assert merged is not None
    (event,) = catalog.clusters.events(limit=1, kind="merge")
    client.post(f"/trail/{event.id}/undo", headers=HERE)
    assert catalog.labels.delete(left, right)


def test_an_answer_is_kept_shown_and_taken_back(client: TestClient, service: Service) -> None:
    left, right = card_of(whole(client.get("/review")))
    answer = client.post("/review", data={"left": left, "right": right, "verdict": "same"}, headers=PART)
    assert 'class="answered same"' in answer.text
    label = service.catalog.labels.get(left, right)
    assert label is not None and (label.verdict, label.who) == ("same", "anonymous")
    assert card_of(answer.text) != (left, right)
    again = client.post("/review/undo", data={"left": left, "right": right}, headers=PART)
    assert card_of(again.text) == (left, right)
    assert service.catalog.labels.get(left, right) is None
    for wrong in ({"verdict": "perhaps"}, {"verdict": "same", "left": "nothing", "right": right}, {"verdict": "same"}):
        assert client.post("/review", data=wrong, headers=PART).status_code == 422


def test_what_the_model_thinks_is_hidden_until_somebody_has_answered(client: TestClient) -> None:
    text = whole(client.get("/review"))
    duel = re.findall(r'(?s)<form class="card duel".*?</form>', text)[0]
    assert "%" not in re.sub(r"<bdi.*?</bdi>|href=\S+", "", duel)
    assert 'class="why"' not in duel


def test_the_slider_moves_the_figures_and_the_line(client: TestClient) -> None:
    low, high = (client.get("/threshold", params={"at": at}, headers=PART).text for at in (0.1, 0.9))
    assert 'hx-swap-oob="true"' in low and "<html" not in low
    assert _tile(low) > _tile(high) > 0
    assert "M90.00 0V100" in high
    assert whole(client.get("/threshold", params={"at": "inf"}))


def _tile(text: str) -> int:
    return int(re.findall(r'<b class="num">(?:≈ )?([\d,]+)</b></div>\s*</div>', text)[0].replace(",", ""))


def test_a_file_is_taken_in_and_its_job_watched(client: TestClient, service: Service) -> None:
    table = "id,title,shop\nnew-1,빙그레 바나나맛 우유 240ml 8개,가게\nnew-2,빙그레 바나나우유 240ml x 8,마트\n"
    file = {"file": ("../../items.csv", table.encode(), "text/csv")}
    answer = client.post("/jobs", data={"kind": "import"}, files=file, headers=PART)
    assert answer.status_code == 204, answer.text
    path = answer.headers["hx-redirect"]
    deadline = time.monotonic() + 60
    while 'class="pill done"' not in (text := whole(client.get(path))):
        assert time.monotonic() < deadline
        assert "pill failed" not in text
        time.sleep(0.1)
    assert "items.csv" in text and "../" not in text
    assert service.catalog.get("new-1") is not None
    assert "items.csv" in whole(client.get("/jobs"))
    assert client.post(f"{path}/cancel", headers=PART).status_code == 409
    assert client.post(f"{path}/delete", headers=PART).headers["hx-redirect"] == "/jobs"
    assert client.get(path).status_code == 404
    client.post("/remove/items/new-1", headers=HERE)
    assert service.catalog.get("new-1") is None
    assert client.post("/remove/items/new-1", headers=PART).status_code == 404


@pytest.mark.parametrize("kind", ["", "train", "rollback", "<b>"])
def test_no_other_job_takes_a_file(client: TestClient, kind: str) -> None:
    file = {"file": ("items.csv", b"id,title\n1,a\n", "text/csv")}
    assert client.post("/jobs", data={"kind": kind}, files=file, headers=PART).status_code in (409, 422)
    wrong = {"file": ("items.exe", b"MZ", "text/csv")}
    assert client.post("/jobs", data={"kind": "import"}, files=wrong, headers=PART).status_code == 422


def test_models_are_told_and_wrong_wishes_refused(client: TestClient) -> None:
    text = whole(client.get("/models", headers={"accept-language": "en"}))
    assert "default" in text and "There is none to roll back to." in text
    assert client.post("/models/rollback", headers=PART).status_code == 409
    assert client.post("/models/nothing/activate", headers=PART).status_code == 422
    assert client.post("/models/default/shred", headers=PART).status_code == 404
    assert client.post("/models/default/delete", headers=PART).status_code == 409


def test_the_page_stands_in_no_description_for_programs(client: TestClient) -> None:
    described = json.loads(client.get("/openapi.json").text)["paths"]
    assert not {"/", "/review", "/clusters", "/login"} & set(described)
