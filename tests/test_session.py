"""Sessions: whoever has shown a key is known by it, as long as it holds, and nobody else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import Request, Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.keys import add_key
from api.session import COOKIE, LASTS, log_in, log_out, visitor_of
from api.settings import Settings

KEY = "0123456789abcdef"
SETTINGS = Settings(api_key=SecretStr(KEY))


def now() -> float:
    return 1_800_000_000.0


def request(cookie: str | None) -> Request:
    headers = [] if cookie is None else [(b"cookie", f"{COOKIE}={cookie}".encode("latin-1", "replace"))]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


def cookie_of(settings: Settings, key: str = KEY, **how: Any) -> str:
    response = Response()
    assert log_in(response, settings, key, **{"secure": False, "clock": now, **how})
    return response.headers["set-cookie"].partition("=")[2].partition(";")[0].strip('"')


def test_a_session_holds_until_it_ends() -> None:
    cookie = cookie_of(SETTINGS)
    visitor = visitor_of(request(cookie), SETTINGS, lambda: now() + LASTS - 1)
    assert visitor is not None and (visitor.who, visitor.may("admin")) == ("admin", True)
    assert visitor_of(request(cookie), SETTINGS, lambda: now() + LASTS) is None


def test_without_keys_everybody_may() -> None:
    visitor = visitor_of(request(None), Settings())
    assert visitor is not None and (visitor.who, visitor.may("admin")) == ("anonymous", True)


def test_another_key_gives_no_session() -> None:
    response = Response()
    assert not log_in(response, SETTINGS, KEY[:-1], secure=False)
    assert not log_in(response, SETTINGS, "", secure=False)
    assert "set-cookie" not in response.headers


def test_a_session_ends_with_its_key() -> None:
    other = Settings(api_key=SecretStr(KEY[::-1]))
    assert visitor_of(request(cookie_of(SETTINGS)), other, now) is None


@given(
    st.integers(min_value=0, max_value=200),
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=';,"\\'),
)
def test_a_changed_cookie_is_none(place: int, letter: str) -> None:
    cookie = cookie_of(SETTINGS)
    place %= len(cookie)
    changed = cookie[:place] + letter + cookie[place + 1 :]
    if changed != cookie:
        assert visitor_of(request(changed), SETTINGS, now) is None


@pytest.mark.parametrize(
    "cookie", [None, "", "~", "~~", "admin", "admin~1~", "admin~9999999999~", "admin~²~x", "a~b~c~d", "é~1~é"]
)
def test_what_is_no_session_is_none(cookie: str | None) -> None:
    assert visitor_of(request(cookie), SETTINGS, now) is None


def test_a_scope_goes_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    reader = add_key(file, "reader", "read")
    settings = Settings(api_keys_file=file)
    cookie = cookie_of(settings, reader)
    visitor = visitor_of(request(cookie), settings, now)
    assert visitor is not None and visitor.who == "reader"
    assert [visitor.may(scope) for scope in ("read", "write", "admin")] == [True, False, False]
    file.write_text('{"keys": []}')
    assert visitor_of(request(cookie), settings, now) is None


def test_logging_out_takes_the_cookie_away() -> None:
    response = Response()
    log_out(response)
    assert f'{COOKIE}=""' in response.headers["set-cookie"] and "Max-Age=0" in response.headers["set-cookie"]
