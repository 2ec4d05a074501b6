"""The Python client against the app itself, and against answers that go wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from conftest import ROOT
from serving import SAMPLE, serving

from api.client import Client
from api.client_answers import Item, Job, Label, Matched, read
from api.client_calls import Calls, Fault, ProblemError
from api.client_jobs import JobError
from api.service import Service, load_service
from api.settings import Settings
from embedder.bundle import load_bundle

RAMEN = [
    Item("r1", "농심 신라면 120g 5개입", seller="신선마트", extra={"price": 4280}),
    Item("r2", "신라면 120g x 5봉"),
]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def dongil(service: Service) -> Iterator[Client]:
    with serving(service) as http, Client(http=http) as client:
        yield client


# Every use


def test_titles_are_matched(dongil: Client) -> None:
    told = dongil.match(["오뚜기 진라면 순한맛 120g 5개입", "🎉"], k=3, explain=True)
    assert [result.title for result in told.results] == ["오뚜기 진라면 순한맛 120g 5개입", "🎉"]
    assert told.results[0].matches[0].id == "s0008"
    assert told.results[0].near_misses is not None
    assert told.results[1].matches == []
    assert (told.model.decision, told.model.threshold) == ("expected F1", None)
    assert dongil.match(["a"], threshold=0.5).model.threshold == 0.5
    assert dongil.model()["revision"] == told.revision


def test_items_are_grouped(dongil: Client) -> None:
    told = dongil.cluster([*RAMEN, Item("x", "닌텐도 스위치 OLED")])
    assert sorted(id for group in told.clusters for id in group.items) == ["r1", "r2", "x"]


def test_titles_are_encoded(dongil: Client) -> None:
    one, two = dongil.embeddings(["신라면", "진라면"])
    assert len(one) == len(two) == dongil.model()["dimensions"]
    assert sum(value * value for value in one) == pytest.approx(1, abs=1e-4)


def test_items_come_and_go(dongil: Client) -> None:
    put = dongil.put_items([*RAMEN, Item("a/b?c#d e%", "슬래시"), Item("..", "점")], wait=True)
    assert (put.created, put.searchable) == (4, True)
    again = dongil.put_items(RAMEN, idempotency_key="once")
    assert again.unchanged == 2
    assert dongil.put_items(RAMEN, idempotency_key="once") == again
    with pytest.raises(ProblemError) as conflict:
        dongil.put_items(RAMEN[:1], idempotency_key="once")
    assert conflict.value.status == 409
    assert dongil.get_item("r1").extra == {"price": 4280}
    assert dongil.get_item("a/b?c#d e%").title == "슬래시"
    assert [item.id for item in dongil.items(seller="신선마트")] == ["r1"]
    whole = list(dongil.items(page=100))
    assert len(whole) == 538 + 4
    assert len({item.id for item in whole}) == len(whole)
    assert dongil.delete_items(["r1", "r2", "a/b?c#d e%", "..", "nobody"]).deleted == 4
    with pytest.raises(ProblemError, match="404 Not Found: no item 'r1'"):
        dongil.get_item("r1")


def test_any_number_of_items_is_put(dongil: Client) -> None:
    items = [Item(f"many{number}", f"물건 {number}") for number in range(25)]
    assert [put.created for put in dongil.put_all(iter(items), batch=10)] == [10, 10, 5]
    assert dongil.delete_items(item.id for item in items).deleted == 25


def test_clusters_are_merged_split_and_put_back(dongil: Client, service: Service) -> None:
    assert service.living.settle(60)
    largest, *_ = dongil.clusters(order="largest")
    whole = dongil.get_cluster(largest.id)
    assert len(whole.items) == whole.size == largest.size >= 2
    first = whole.items[0].id
    split = dongil.split([first])
    (made,) = split.into
    assert (split.kind, split.moved, split.by_hand) == ("split", 1, True)
    assert dongil.get_item(first).cluster == made
    merged = dongil.merge(largest.id, [made])
    assert [(move.item, move.before, move.after) for move in merged.moves] == [(first, made, largest.id)]
    undone = dongil.undo(merged.id)
    assert undone.detail["event"] == merged.id
    assert dongil.undo(split.id).moves[0].after == largest.id
    assert [event.id for event in dongil.events(item=first)][:2] == [undone.id + 1, undone.id]
    assert dongil.get_event(merged.id) == merged
    assert {cluster.id for cluster in dongil.find_clusters(whole.items[0].title)} >= {largest.id}
    with pytest.raises(ProblemError) as unknown:
        dongil.accept(merged.id)
    assert unknown.value.status in (404, 409, 422)


def test_labels_are_kept_and_pairs_suggested(dongil: Client, service: Service) -> None:
    assert service.living.settle(60)
    pair, *_ = dongil.review(limit=3)
    assert 0 <= pair.probability <= 1
    labels = [
        Label(pair.left.id, pair.right.id, "same"),
        Label("신라면 5개", "신라면 20개", "different", of="titles"),
    ]
    assert dongil.put_labels(labels).kept == 2
    kept = list(dongil.labels(page=1))
    assert {(label.of, label.verdict, label.who) for label in kept} == {
        ("items", "same", "anonymous"), ("titles", "different", "anonymous"),
    }  # fmt: skip
    assert kept[0].at is not None
    assert [label.of for label in dongil.labels(verdict="different")] == ["titles"]
    assert dongil.delete_labels(labels).deleted == 2


def test_jobs_are_waited_for_and_their_files_fetched(dongil: Client, tmp_path: Path) -> None:
    table, seen = tmp_path / "items.csv", list[Job]()
    table.write_text("id,title\na,농심 신라면 120g 5개입\nb,신라면 농심 120g x 5\nc,=1+1 계산기\n", encoding="utf-8")
    job = dongil.submit("cluster", upload=table, idempotency_key="j")
    assert dongil.submit("cluster", upload=table, idempotency_key="j").id == job.id
    done = dongil.wait(job, progress=seen.append, poll=0.05, timeout=60)
    assert (done.state, done.result["items"], seen[-1]) == ("done", 3, done)
    (name,) = done.files
    made = dongil.download(job.id, name, tmp_path / "out.csv")
    assert made.read_text(encoding="utf-8-sig").splitlines()[0] == "id,title,cluster_id"
    assert "`=1+1" in made.read_text(encoding="utf-8-sig")
    assert "`" not in dongil.download(job.id, name, made, exact=True).read_text(encoding="utf-8-sig")
    with pytest.raises(ProblemError):
        dongil.download(job.id, "../../catalog.sqlite3", tmp_path / "no")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.csv", "out.csv"]
    assert job.id in {one.id for one in dongil.jobs(state="done")}
    with pytest.raises(ProblemError) as ended:
        dongil.cancel(job.id)
    assert ended.value.status == 409
    dongil.delete_job(job.id)
    with pytest.raises(ProblemError, match="no job"):
        dongil.get_job(job.id)


def test_a_job_that_fails_says_why(dongil: Client, tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text("id,title\na,\n", encoding="utf-8")
    with pytest.raises(JobError, match=r"items\.csv.*line 2") as failed:
        dongil.wait(dongil.submit("cluster", upload=table), poll=0.05, timeout=60)
    assert failed.value.job.state == "failed"
    with pytest.raises(ProblemError) as unknown:
        dongil.submit("dance")
    assert unknown.value.faults


def test_a_model_comes_takes_over_and_goes(dongil: Client, service: Service, tmp_path: Path) -> None:
    assert service.living.settle(60)
    zipped = Path(shutil.make_archive(str(tmp_path / "twin"), "zip", load_bundle().folder))
    added = dongil.add_model("twin", zipped)
    assert (added.name, added.active, added.fingerprint) == ("twin", False, dongil.model()["fingerprint"])
    assert added.card == dongil.get_model("twin").card != ""
    compared = dongil.wait(dongil.compare("twin", idempotency_key="c"), poll=0.05, timeout=120)
    assert compared.kind == "compare"
    assert dongil.compare("twin", idempotency_key="c").id == compared.id
    dongil.wait(dongil.activate("twin"), poll=0.05, timeout=120)
    assert [model.name for model in dongil.models() if model.active] == ["twin"]
    dongil.wait(dongil.roll_back(), poll=0.05, timeout=120)
    assert [model.name for model in dongil.models() if model.active] != ["twin"]
    assert "twin" in [entry.model for entry in dongil.activations()]
    dongil.delete_model("twin")
    with pytest.raises(ProblemError, match="no model"):
        dongil.get_model("twin")
    with pytest.raises(ProblemError):
        dongil.add_model("other", "models/other")


def test_faults_say_where_they_stand(dongil: Client) -> None:
    with pytest.raises(ProblemError) as refused:
        dongil.match(["신라면", "  "])
    assert refused.value.status == 422
    assert refused.value.faults == (Fault("#/titles/1", "'  '", "text that is not blank"),)
    assert "#/titles/1 is '  ', expected text that is not blank" in str(refused.value)


# What goes wrong


class Script:
    """A service that answers by a list, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.asked, self.slept = list(answers), list[httpx.Request](), list[float]()
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def calls(self, patience: float = 60) -> Calls:
        http = httpx.Client(transport=httpx.MockTransport(self), base_url="http://test")
        return Calls(http, patience=patience, sleep=self.sleep, clock=lambda: self.now)


def busy(status: int = 503, after: str | None = "2") -> httpx.Response:
    headers = {"content-type": "application/problem+json"} | ({"retry-after": after} if after else {})
    return httpx.Response(status, headers=headers, content=json.dumps({"title": "Busy", "detail": "later"}))


LOST = httpx.ReadTimeout("no answer")
NOBODY = httpx.ConnectError("nobody listens")


def test_a_busy_service_is_asked_again_when_it_says() -> None:
    script = Script(busy(), busy(429, "1"), httpx.Response(200, json=1))
    assert script.calls().ask("POST", "/x", repeatable=False).json() == 1
    assert 2 <= script.slept[0] <= 2.25
    assert 1 <= script.slept[1] <= 1.5


def test_without_a_time_it_waits_longer_each_time() -> None:
    script = Script(*[busy(after=None) for _ in range(10)])
    with pytest.raises(ProblemError, match="503 Busy: later"):
        script.calls(20).ask("GET", "/x")
    assert all(a < b for a, b in zip(script.slept, script.slept[2:], strict=False))
    assert sum(script.slept) <= 20


@pytest.mark.parametrize("wrong", [LOST, httpx.Response(502), httpx.Response(504)])
def test_what_may_have_been_done_is_not_done_twice(wrong: Any) -> None:
    script = Script(wrong, httpx.Response(200, json=1))
    assert script.calls().ask("POST", "/x").json() == 1
    script = Script(wrong, httpx.Response(200, json=1))
    with pytest.raises((ProblemError, httpx.ReadTimeout)):
        script.calls().ask("POST", "/x", repeatable=False)
    assert len(script.asked) == 1


def test_what_was_surely_not_done_is_done_again() -> None:
    script = Script(NOBODY, httpx.Response(200, json=1))
    assert script.calls().ask("POST", "/x", repeatable=False).json() == 1
    with pytest.raises(httpx.ConnectError):
        Script(*[NOBODY] * 30).calls(5).ask("GET", "/x")


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 500, 507])
def test_other_refusals_are_told_at_once(status: int) -> None:
    script = Script(httpx.Response(status, text="<html>", headers={"x-request-id": "r7"}))
    with pytest.raises(ProblemError) as refused:
        script.calls().ask("GET", "/x")
    assert (refused.value.status, refused.value.request_id, script.slept) == (status, "r7", [])


def test_repetitions_carry_one_key() -> None:
    script = Script(LOST, busy(), httpx.Response(200, json={"created": 1, "updated": 0, "unchanged": 0, "revision": 2}))
    client = Client()
    client._calls = script.calls()
    assert client.put_items(RAMEN).created == 1
    keys = {request.headers["idempotency-key"] for request in script.asked}
    assert len(script.asked) == 3
    assert len(keys) == 1


def test_the_key_is_sent() -> None:
    client = Client("http://test", key="0123456789abcdef")
    assert client._calls.http.headers["authorization"] == "Bearer 0123456789abcdef"
    client.close()


@pytest.mark.parametrize("wrong", [1, [], {"results": []}, {"results": 1, "model": {}, "revision": 1}])
def test_what_is_no_answer_of_dongil_is_a_value_error(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        read(Matched, wrong)


def test_fields_of_a_newer_service_are_passed_over() -> None:
    told = {"id": "a", "title": "b", "seller": None, "category": None, "extra": {}, "cluster": None, "new": 1}
    assert read(Item, told) == Item("a", "b")


def test_the_client_needs_nothing_heavy() -> None:
    heavy = {"numpy", "faiss", "onnxruntime", "fastapi", "pydantic", "pyarrow", "tokenizers"}
    code = f"import sys, api.client; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr
