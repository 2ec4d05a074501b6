"""Errors on the page: each that it can give is Korean there, with its values; and nothing is lost where none is."""

from __future__ import annotations

import ast
import html
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from browsing import BASE, FORM, HERE, PART, Tags, stocked, whole
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from serving import refused, serving
from starlette.testclient import TestClient

from api.keys import add_key
from api.page_errors import KoreanErrors
from api.service import Service
from api.settings import Settings
from embedder.errors import InputError
from index.store import StorageError

TABLE = KoreanErrors.read(ROOT / "api" / "pages" / "korean_errors.json")
KO = {"accept-language": "ko"}
_PLACE = re.compile(r"\{\w*\}")

# Where the errors are raised that the page shows, by itself or as what became of a job.
ROOMS = (
    "api/batching", "api/children", "api/clusters", "api/intake", "api/jobs", "api/line", "api/orders", "api/page",
    "api/page_clusters", "api/page_frame", "api/page_items", "api/page_jobs", "api/page_models", "api/page_review",
    "api/page_try", "api/rows", "api/runner", "api/uploads", "embedder/bundle", "index/activations", "index/formats",
    "index/items", "index/ledger", "index/listings", "index/shelf", "index/switching", "index/trail",
)  # fmt: skip
# Of these, what only programs and operators can bring about, and what only says what it is given.
ELSEWHERE = (
    "field 'job' is no JSON", "files of the service's machine", "no {} {}; expected one inside the folder",
    "a file to relearn from", "name {}; expected up to 64", "{} is {}; expected {}", "a NUL character; {}",
    "not written: {}",
    "a file came with the job, and", "{}; expected a name that ends with",
)  # fmt: skip
# Sentences that are put together of parts, or come from pydantic.
PIECED = re.compile(
    r"\{file}, |row \{row}: |\{message}|\{same} more|\{different} more|\{packages} not|a file (called|without)|a NUL|"
    r"byte \{byte}|min precision|no cluster \{id}; event|a valid|greater than|less than|String should|Dictionary should"
)


def raised(room: str) -> Iterator[str]:
    """The messages of a module that stand in its errors, with {} for values."""
    for node in ast.walk(ast.parse((ROOT / f"{room}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            place = {"InputError": 0, "ConflictError": 0, "HTTPException": 1}.get(node.func.id)
            if place is not None and len(node.args) > place and (text := words_of(node.args[place])):
                yield text


def words_of(node: ast.expr) -> str:
    """A text in a module, with {} for values; none where it is put together elsewhere."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize("room", ROOMS)
def test_every_error_that_is_raised_has_its_korean(room: str) -> None:
    messages = [one for one in raised(room) if _PLACE.sub("", one).strip() and not one.startswith(ELSEWHERE)]
    missing = [one for one in messages if TABLE(one.replace("{}", "7")) is None]
    assert not missing


@cache
def said() -> str:
    """All texts of all modules, with {} for values."""
    rooms = ("embedder", "index", "training", "benchmarks", "api")
    trees = [ast.parse(path.read_text(encoding="utf-8")) for room in rooms for path in (ROOT / room).glob("*.py")]
    return "\n".join(words_of(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr))


def test_no_korean_is_left_that_nobody_says() -> None:
    assert not [one for one in TABLE.sentences if _PLACE.sub("{}", one) not in said() and not PIECED.match(one)]


def test_the_korean_has_all_values_and_places() -> None:
    for english, korean in TABLE.sentences.items():
        # The option is one of the command line's.
        assert set(_PLACE.findall(english)) - {"{option}"} == set(_PLACE.findall(korean)), english


@pytest.mark.parametrize(
    ("message", "korean"),
    [
        (
            "a.csv, line 3, column id: title of 12000 bytes; expected at most 10000 bytes of UTF-8",
            "a.csv 3행, id 열: 상품명이 12000바이트입니다. UTF-8로 10000바이트까지 쓸 수 있습니다.",
        ),
        (
            "a.parquet, column id: row 6: missing id; expected one for every row",
            "a.parquet id 열: 6번째 행: 번호가 비어 있습니다. 모든 행에 번호가 있어야 합니다.",
        ),
        (
            "a.csv, line 9: id 'x' stands on line 3 too; expected distinct ids",
            "a.csv 9행: 번호 'x': 3행에도 있습니다. 번호는 서로 달라야 합니다.",
        ),
        (
            "a.csv, line 2: seller is 'abc'; expected String should have at most 256 characters",
            "a.csv 2행: 판매자: 'abc'. 256자 이하여야 합니다.",
        ),
        (
            "precision of at least 0.9 is proven with 95 % confidence: 1,744 of 2,332 accepted pairs are right "
            "(bound 0.9059); recall 0.23; of pairs drawn as the catalogue's are",
            "신뢰도 95 %로 정밀도 0.9 이상이 증명되었습니다. 채택한 2,332쌍 가운데 1,744쌍이 맞습니다(하한 0.9059). "
            "재현율 0.23. 카탈로그의 쌍 기준입니다.",
        ),
        ("loading: encode 1,200 of 5,000", "불러오는 중: 인코딩 1,200/5,000"),
        (
            "3 pairs called the same and 9 called different; expected at least 20 of both to learn from: 17 more "
            "called same and 11 more called different\n  left out: 2 pairs of equal titles, of which titles cannot "
            "tell more\n  left out: something new",
            "라벨이 같음 3개, 다름 9개입니다. 학습하려면 각각 20개 이상 있어야 합니다: 같음 17개, 다름 11개 더"
            "\n  제외: 상품명이 똑같은 쌍 2개(상품명으로는 더 가릴 수 없음)\n  제외: something new",
        ),
        (
            "matplotlib, scipy not installed; a benchmark needs pip install 'dongil[bench]'",
            "벤치마크: 이 설치에는 없는 기능입니다. 없는 패키지: matplotlib, scipy. 관리자가 설치해야 합니다: "
            "pip install 'dongil[bench]'",
        ),
        (
            "kind is 'x'; expected one of 'match', 'import'",
            "할 일: 'x'. 다음 가운데 하나여야 합니다: 'match', 'import'",
        ),
    ],
)
def test_a_message_keeps_its_file_its_line_and_its_values(message: str, korean: str) -> None:
    assert TABLE(message) == korean


@pytest.mark.parametrize(
    "message", ["", "something new", "a.csv, line 3: something new", "x" * 10_000, "{n}", "k is 3; expected {message}"]
)
def test_what_has_no_korean_stays_whole(message: str) -> None:
    assert TABLE(message) is None


@given(st.text(max_size=60))
def test_any_value_comes_through(value: str) -> None:
    told = TABLE(f"no cluster {value!r}; expected one that items stand in")
    assert told is not None and repr(value) in told


# As the page shows them


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with stocked(tmp_path_factory.mktemp("data")) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with serving(service, base_url=BASE, headers=KO) as client:
        yield client


def told(text: str) -> str:
    """What a page says went wrong."""
    shown = re.findall(r'(?s)class="(?:notice bad|lead)"[^>]*>(.*?)</(?:div|p)>', text)
    return html.unescape(re.sub(r"<[^>]+>", "", " ".join(shown))).strip()


POSTED = [
    ("/", {"q": "\n".join("abcdefghij" * 6)}, 422, "상품명이 60개입니다"),
    ("/", {"q": "가" * 5_000}, 422, "5,000자"),
    ("/", {"q": "a", "mode": "threshold", "threshold": "높게"}, 422, "임계값: '높게'. 0에서 1"),
    ("/", {"q": "a", "mode": "threshold", "threshold": "1.5"}, 422, "임계값: 1.5. 0에서 1"),
    ("/", {"q": "a", "mode": "precision", "precision": ""}, 422, "정밀도: ''. 0에서 1"),
    ("/", {"q": "a", "mode": "precision", "precision": "1"}, 422, "정밀도: 1.0. 0에서 1"),
    ("/", {"q": "a", "mode": "precision", "precision": "0.999"}, 422, "정밀도 0.999"),
    ("/clusters/LARGEST/merge", {"other": "없음"}, (404, 422), "없는 클러스터입니다: '없음'"),
    ("/clusters/LARGEST/merge", {"other": "LARGEST"}, 422, "자기 자신과는 합칠 수 없습니다"),
    ("/clusters/LARGEST/merge", {}, (404, 422), "없는 클러스터입니다: ''"),
    ("/clusters/x/merge", {"other": "LARGEST"}, (404, 422), "없는 클러스터입니다: 'x'"),
    ("/clusters/LARGEST/split", {}, 422, "이 클러스터의 상품이 아닙니다"),
    ("/clusters/LARGEST/split", {"item": "s9999"}, 422, "이 클러스터의 상품이 아닙니다"),
    ("/clusters/LARGEST/split", {"item": "ALL"}, 422, "하나 이상은 남아야 합니다"),
    ("/trail/99999999/undo", {}, (404, 422), "없는 이력입니다: 99999999번"),
    ("/trail/x/undo", {}, 422, "이력 번호: 'x'. 정수여야 합니다"),
    ("/trail/99999999/decide", {"verdict": "same"}, (404, 422), "없는 이력입니다: 99999999번"),
    ("/trail/1/decide", {"verdict": "same"}, 422, "이력 1번은 병합 제안이 아닙니다"),
    ("/trail/1/decide", {"verdict": "different", "left": "a", "right": "b"}, 422, "카탈로그에 없는 상품입니다: 'a'"),
    ("/trail/1/decide", {"verdict": "different", "left": "a", "right": "a"}, 422, "서로 다른 두 상품"),
    ("/review", {"verdict": "perhaps"}, 422, "답이 없습니다"),
    ("/review", {"verdict": "same", "left": "a", "right": "b"}, 422, "라벨을 달 수 없습니다"),
    ("/review/undo", {"left": "a", "right": "b"}, 422, "카탈로그에서 지워졌습니다"),
    ("/review/undo", {}, 422, "서로 다른 두 상품"),
    ("/review/promote", {"name": "x"}, 422, "없는 모델입니다: 'x'. 쓸 수 있는 모델: default"),
    ("/review/promote", {"name": "???"}, 422, "모델: '???'"),
    ("/review/rollback", {}, 409, "되돌릴 수 없습니다"),
    ("/remove/items/nothing", {}, 404, "없는 상품입니다: 'nothing'"),
    ("/jobs/nothing/cancel", {}, 404, "없는 작업입니다: 'nothing'"),
    ("/jobs/nothing/delete", {}, 404, "없는 작업입니다: 'nothing'"),
    ("/jobs", {"kind": "match"}, 415, "'application/x-www-form-urlencoded'"),
    ("/models/rollback", {}, 409, "되돌릴 수 없습니다"),
    ("/models/nothing/activate", {}, 422, "없는 모델입니다: 'nothing'"),
    ("/models/nothing/compare", {}, 422, "없는 모델입니다: 'nothing'"),
    ("/models/nothing/delete", {}, 422, "없는 모델입니다: 'nothing'"),
    ("/models/default/delete", {}, 409, "모델 'default'"),
    ("/models/default/shred", {}, 404, "모델에는 없는 기능"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "form", "status", "korean"), POSTED)
def test_a_wrong_form_is_refused_in_korean(
    client: TestClient, service: Service, path: str, form: dict[str, str], status: int | tuple[int, ...], korean: str
) -> None:
    cluster = service.catalog.clusters.page("largest", limit=1)[0][0].id
    items = [item.id for item in service.catalog.page(None, 200, cluster=cluster).items]
    sent = {name: items if value == "ALL" else value.replace("LARGEST", cluster) for name, value in form.items()}
    for headers in (PART, HERE):
        answer = client.post(path.replace("LARGEST", cluster), data=sent, headers={**headers, "content-type": FORM})
        assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text[-2_000:]
        Tags(answer.text)
        assert korean in told(answer.text), told(answer.text)
        assert "번역이 없는" not in answer.text


def uploaded(client: TestClient, name: str, data: bytes, **fields: str) -> str:
    """What the page says of a file."""
    answer = client.post("/jobs", data=fields, files={"file": (name, data, "text/csv")}, headers=PART)
    if "hx-redirect" not in answer.headers:
        assert answer.status_code >= 400
        return answer.text
    deadline = time.monotonic() + 120
    while "pill failed" not in (text := client.get(answer.headers["hx-redirect"]).text):
        assert time.monotonic() < deadline and "pill done" not in text
        time.sleep(0.1)
    return text


ROWS = "id,title\na,농심 너구리\n".encode()
UPLOADED = [
    ("a.exe", ROWS, {"kind": "import"}, "쓸 수 없는 파일입니다: 'a.exe'"),
    ("?", ROWS, {"kind": "import"}, "쓸 수 없는 파일입니다: '?'"),
    ("a.csv", ROWS, {"kind": "x"}, "할 일: 'x'. 다음 가운데 하나여야 합니다: 'cluster'"),
    ("a.csv", ROWS, {}, "이 항목이 꼭 있어야 합니다: 'kind'"),
    ("a.csv", ROWS, {"kind": "match", "threshold": "높게"}, "임계값: '높게'"),
    ("a.csv", ROWS, {"kind": "match", "threshold": "2"}, "임계값: 2.0. 1 이하여야"),
    ("a.csv", ROWS, {"kind": "match", "threshold": "-1"}, "임계값: -1.0. 0 이상이어야"),
    ("a.csv", ROWS, {"kind": "match", "threshold": "nan"}, "임계값: nan. 유한한 수"),
    ("a.csv", ROWS, {"kind": "cluster", "threshold": "0"}, "임계값: 0.0. 0보다 커야"),
    ("a.csv", ROWS, {"kind": "import", "threshold": "0.5"}, "임계값: 0.5. 여기에는 없는 항목"),
    ("a.csv", ROWS, {"kind": "match", "id_column": "a" * 300}, "256자 이하여야"),
    ("a.csv", ROWS, {"kind": "match", "delete_missing": "1"}, "파일에 없는 상품은 지우기: True"),
    ("a.csv", ROWS, {"kind": "rollback"}, "이 작업에는 파일이 필요 없습니다('rollback')"),
    ("a.csv", ROWS, {"kind": "match", "other": "1"}, "받지 않거나 두 번 온 항목입니다: 'other'"),
    ("a.csv", ROWS, {"kind": "match", "id_column": "a" * 200_000}, "항목 하나가 너무 큽니다"),
    ("a.csv", b"id,title\na,\n", {"kind": "import"}, "a.csv 2행, title 열: 상품명이 빈칸"),
    ("a.csv", "id,title\na,가\na,나\n".encode(), {"kind": "match"}, "a.csv 3행, id 열: 번호 'a': 2행에도 있습니다"),
    ("a.csv", "번호,이름\na,가\n".encode("cp949"), {"kind": "match"}, "다시 저장해 주세요"),
    ("a.csv", "번호,이름\na,가\n".encode(), {"kind": "match"}, "파일의 열: '번호', '이름'"),
    ("a.csv", b"id,title\n", {"kind": "cluster"}, "a.csv: 파일이 비어 있습니다"),
    ("a.jsonl", b"{", {"kind": "cluster"}, "a.jsonl 1행: JSON을 읽을 수 없습니다"),
    ("a.parquet", b"PAR1", {"kind": "cluster"}, "a.parquet: 읽을 수 있는 Parquet 파일이 아닙니다"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "fields", "korean"), UPLOADED)
def test_a_wrong_file_is_refused_in_korean(
    client: TestClient, name: str, data: bytes, fields: dict[str, str], korean: str
) -> None:
    text = uploaded(client, name, data, **fields)
    assert korean in told(text), told(text)
    assert "번역이 없는" not in text


@pytest.mark.parametrize(
    ("path", "korean"),
    [
        ("/nothing", "이 주소에는 아무것도 없습니다: '/nothing'"), ("/clusters/x9", "없는 클러스터입니다: 'x9'"),
        ("/items/x", "없는 상품입니다: 'x'"), ("/jobs/x", "없는 작업입니다: 'x'"), ("/items?after=?", "쪽 위치를"),
        ("/jobs/x/files/y", "없는 작업입니다: 'x'"), ("/trail/1/undo", "GET"), ("/static/x", "없는 파일"),
        ("/clusters?after=%00", "쪽 위치를"), ("/jobs?after=x", "쪽 위치를"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_told_in_korean(client: TestClient, path: str, korean: str) -> None:
    answer = client.get(path, headers={"accept": "text/html"})
    assert answer.status_code in (404, 405, 422), answer.text
    assert korean in told(whole(answer, answer.status_code)), told(answer.text)
    assert "번역이 없는" not in answer.text
    assert ("allow" in answer.headers) == (answer.status_code == 405)


def test_a_program_is_told_as_before(client: TestClient) -> None:
    refused(client.get("/nothing"), 404)
    refused(client.get("/v1/nothing", headers={"accept": "text/html"}), 404)


def test_what_is_too_much_is_told_in_korean(service: Service) -> None:
    settings = Settings(max_body_bytes=1_024, max_upload_bytes=1_024)
    with serving(service, settings=settings, base_url=BASE, headers=KO) as client:
        assert "1024바이트까지 보낼 수" in told(client.post("/", data={"q": "a" * 2_000}, headers=HERE).text)
        assert "1024바이트까지 올릴 수" in uploaded(client, "a.csv", b"a" * 2_000, kind="import")
    with serving(service, settings=Settings(max_concurrency=1, max_queue=0), base_url=BASE, headers=KO) as client:
        given = client.app.state.shared.service  # type: ignore[attr-defined]
        given.line._places = given.desk._places = 0
        for path in ("/clusters/c1", "/items", "/jobs"):
            answer = client.get(path)
            assert answer.status_code == 503 and "retry-after" in answer.headers
            assert "기다리는 요청이 너무 많습니다" in told(answer.text)
        given.line._places = given.desk._places = 1


def test_a_key_that_does_not_suffice_is_told_in_korean(service: Service, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "reader", "read")
    settings = Settings(api_keys_file=tmp_path / "keys.json")
    with serving(service, settings=settings, base_url=BASE, headers=KO) as client:
        assert "이 서비스의 키가 아닙니다" in told(client.post("/login", data={"key": "x" * 20}, headers=HERE).text)
        client.post("/login", data={"key": key}, headers=HERE)
        for path, scope in (("/review", "쓰기"), ("/models/rollback", "관리")):
            assert f"{scope} 권한이 있는 키" in told(client.post(path, headers=PART).text)


@pytest.mark.parametrize("error", [StorageError("x", full=True), StorageError("x"), RuntimeError("x")])
def test_a_failure_is_told_in_korean(client: TestClient, service: Service, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(service.catalog), "count", fail)
        text = client.get("/items").text
    assert "번역이 없는" not in text and "습니다" in told(text)


def test_an_error_without_korean_is_told_whole(client: TestClient, service: Service) -> None:
    def fail(*_: object) -> None:
        raise InputError("a <new> thing is 'x'; expected y")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(service.catalog), "count", fail)
        korean, english = client.get("/items").text, client.get("/items", headers={"accept-language": "en"}).text
    assert "a <new> thing is 'x'; expected y" in told(korean) and "번역이 없는" in korean
    assert told(english) == "a <new> thing is 'x'; expected y"


def test_a_form_without_its_file_is_told_in_korean(client: TestClient) -> None:
    body = '--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--x--\r\n'
    for text, korean in ((body, "파일이 없습니다"), ("--x--\r\n", "파일이 없습니다"), ("--x\r\n", "중간에 끊겼습니다"),
                         ("???", "양식을 읽을 수 없습니다")):  # fmt: skip
        answer = client.post("/jobs", content=text, headers={**PART, "content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 422
        assert korean in told(answer.text)
