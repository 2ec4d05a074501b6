"""The frame of the page: who is let in, what is kept of a visitor, and where requests may come from."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import BASE, HERE, PART, ROOMS, card_of, stocked, whole
from pydantic import SecretStr
from serving import KEY, serving
from starlette.testclient import TestClient

import api.app
from api.app import create_app
from api.keys import add_key
from api.page_frame import back_path
from api.service import Service
from api.settings import Settings


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with stocked(tmp_path_factory.mktemp("data")) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with serving(service, base_url=BASE) as client:
        yield client


def test_language_and_theme_are_kept_when_chosen(service: Service) -> None:
    with serving(service, base_url=BASE) as client:
        given = {"lang": "en", "theme": "dark", "back": "/clusters?order=largest"}
        answer = client.post("/choose", data=given, headers=HERE, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/clusters?order=largest")
        text = whole(client.get("/", headers={"accept-language": "ko"}))
        assert '<html lang="en" data-theme="dark">' in text
        client.post("/choose", data={"lang": "<b>", "theme": "x"}, headers=HERE)
        assert '<html lang="en" data-theme="dark">' in whole(client.get("/"))


@pytest.mark.parametrize(
    "there", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nSet-Cookie: x"]
)
def test_nobody_is_sent_to_another_site(there: str) -> None:
    assert back_path(there) == "/"


def test_every_file_is_there_and_kept_by_its_digest(client: TestClient) -> None:
    for source in re.findall(r'(?:src|href)="(/static/[^"]+)"', whole(client.get("/"))):
        answer = client.get(html.unescape(source))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert "immutable" not in client.get(source.partition("?")[0]).headers["cache-control"]
    assert client.get("/static/..%2fpage.py").status_code == 404
    assert client.get("/static/nothing.js").status_code == 404


# Who is let in


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    return file, {"reader": add_key(file, "reader", "read"), "writer": add_key(file, "writer", "write")}


def test_a_key_is_asked_for_once(service: Service) -> None:
    with serving(service, settings=Settings(api_key=SecretStr(KEY)), base_url=BASE) as client:
        for path in ROOMS:
            answer = client.get(path, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"][:7]) == (303, "/login?")
        assert client.post("/review/retrain", headers=PART).headers["hx-redirect"].startswith("/login")
        assert "너구리" not in whole(client.get("/?q=너구리"))
        wrong = client.post("/login", data={"key": "x" * 20, "next": "/models"}, headers=HERE)
        assert "set-cookie" not in wrong.headers
        whole(wrong, 403)
        answer = client.post("/login", data={"key": KEY, "next": "/models"}, headers=HERE, follow_redirects=False)
        assert answer.headers["location"] == "/models"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie and KEY not in cookie
        assert "default" in whole(client.get("/models"))
        client.post("/logout", headers=HERE)
        assert client.get("/models", follow_redirects=False).status_code == 303


def test_a_link_from_elsewhere_finds_the_session_again(service: Service) -> None:
    with serving(service, settings=Settings(api_key=SecretStr(KEY)), base_url=BASE) as client:
        answer = client.get("/?q=a%22%3E%3Cb%3E", headers={"sec-fetch-site": "cross-site"})
        assert 'content="0;url=/?q=a%22%3E%3Cb%3E"' in whole(answer)
        assert "너구리" not in answer.text


def test_by_https_the_session_never_goes_by_http(service: Service) -> None:
    settings = Settings(api_key=SecretStr(KEY), host="0.0.0.0")  # noqa: S104 - what is tested
    with serving(service, settings=settings, base_url="https://shop.example") as client:
        answer = client.post("/login", data={"key": KEY}, headers=HERE, follow_redirects=False)
        assert "secure" in answer.headers["set-cookie"].lower()


def test_a_key_allows_what_its_scope_says(service: Service, keys: tuple[Path, dict[str, str]]) -> None:
    file, secrets = keys
    with serving(service, settings=Settings(api_keys_file=file), base_url=BASE) as client:
        client.post("/login", data={"key": secrets["reader"]}, headers=HERE)
        for path in ROOMS:
            text = whole(client.get(path, headers={"accept-language": "en"}))
            assert 'id="retrain"' not in text and 'name="verdict"' not in text and 'type="file"' not in text
        left, right = card_of(whole(client.get("/review")))
        said = {"left": left, "right": right, "verdict": "same"}
        for path in ("/review", "/review/undo", "/remove/items/s0001", "/review/retrain", "/jobs", "/models/rollback"):
            assert client.post(path, data=said, headers=PART).status_code == 403, path
        client.post("/login", data={"key": secrets["writer"]}, headers=HERE)
        assert client.post("/review", data=said, headers=PART).status_code == 200
        label = service.catalog.labels.get(left, right)
        assert label is not None and label.who == "writer"
        assert client.post("/review/retrain", headers=PART).status_code == 403
        assert service.catalog.labels.delete(left, right)


def test_while_it_loads_it_says_so(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    gate: list[bool] = []

    def load(*_: object) -> Service:
        while not gate:
            time.sleep(0.01)
        raise RuntimeError

    monkeypatch.setattr(api.app, "load_service", load)
    with TestClient(create_app(Settings(), on_failure=lambda _: None), base_url=BASE) as client:
        answer = client.get("/clusters", headers={"accept-language": "en"})
        assert "Getting ready" in whole(answer, 503)
        assert "retry-after" in answer.headers
        gate.append(True)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"},
        {"origin": "null"}, {"origin": "http://127.0.0.1.evil.example"},
    ],
)  # fmt: skip
def test_other_sites_can_change_nothing(client: TestClient, service: Service, headers: dict[str, str]) -> None:
    before = service.catalog.count(), service.catalog.labels.count()
    for path in (
        "/",
        "/choose",
        "/review",
        "/remove/items/s0001",
        "/trail/1/undo",
        "/review/retrain",
        "/jobs",
        "/login",
    ):
        assert client.post(path, data={"q": "a"}, headers=headers).status_code == 403, path
    assert (service.catalog.count(), service.catalog.labels.count()) == before
