"""The description of the API for people: whole without the internet, and open to no script but its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browsing import BASE, Tags, whole
from pydantic import SecretStr
from serving import KEY
from starlette.testclient import TestClient

from api.app import create_app
from api.settings import Settings

NAMES = ("swagger-ui-bundle.js", "swagger-ui.css")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    # Nothing is loaded: the description stands before there is anything to ask.
    yield TestClient(create_app(Settings(api_key=SecretStr(KEY))), base_url=BASE)


def test_it_names_no_other_host_and_has_all_its_files(client: TestClient) -> None:
    text = whole(client.get("/docs"))
    assert "//" not in re.sub(r"<!.*?>", "", text)
    named = [
        str(attributes[name])
        for tag, attributes in Tags(text).tags
        for name in ("src", "href")
        if name in attributes and tag in ("script", "link")
    ]
    assert all(any(f"/docs/{name}?v=" in one for one in named) for name in NAMES)
    for path in named:
        answer = client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith(("text/javascript", "text/css", "image/svg+xml"))


def test_its_policy_lets_no_other_script_run(client: TestClient) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "connect-src 'self';" in policy and "http" not in policy and "unsafe" not in policy


def test_the_description_that_it_reads_is_there(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    "path", ["/docs/nothing.js", "/docs/__init__.py", "/docs/..%2fmain.py", "/docs/oauth2-redirect"]
)
def test_no_other_file_is_given(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_it_is_light_or_dark_as_chosen(client: TestClient) -> None:
    assert 'data-theme="dark"' in client.get("/docs", headers={"cookie": "theme=dark"}).text
