"""Keys: names, scopes and digests in a file, and who is let in by them."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.cli import app as cli
from api.guard import guarded_route
from api.keys import Key, Keyring, KeyScope, add_key, find_key, read_keys
from api.problems import handlers
from api.settings import Settings
from embedder.errors import InputError

OWN = "0123456789abcdef"
SCOPES: tuple[KeyScope, ...] = ("read", "write", "admin")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("DONGIL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_larger_scope_includes_the_smaller_ones() -> None:
    allowed = {have: [asked for asked in SCOPES if Key("a", have, b"").allows(asked)] for have in SCOPES}
    assert allowed == {"read": ["read"], "write": ["read", "write"], "admin": ["read", "write", "admin"]}


def test_a_made_key_is_found_and_not_kept(file: Path) -> None:
    made = [add_key(file, f"shop-{scope}", scope) for scope in SCOPES]
    assert len(set(made)) == 3 and all(len(secret) > 40 and secret.isascii() for secret in made)
    text = file.read_text()
    assert not any(secret in text for secret in made)
    assert [entry["sha256"] for entry in json.loads(text)["keys"]] == [
        hashlib.sha256(secret.encode()).hexdigest() for secret in made
    ]
    settings = Settings(api_key=SecretStr(OWN), api_keys_file=file)
    found = [find_key(settings, secret) for secret in (OWN, *made)]
    assert [(key.name, key.scope) for key in found if key] == [
        ("admin", "admin"), ("shop-read", "read"), ("shop-write", "write"), ("shop-admin", "admin"),
    ]  # fmt: skip
    for wrong in ("", made[0][:-1], made[0] + "x", made[0].swapcase(), json.loads(text)["keys"][0]["sha256"], "열쇠"):
        assert find_key(settings, wrong) is None


@given(st.text(st.characters()))
def test_no_text_is_a_key_by_chance(presented: str) -> None:
    assert Keyring(OWN, None).find(presented) is None or presented == OWN


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    made = [add_key(file, name, "read") for name in "abc"]
    ring, same = Keyring(OWN, file), hmac.compare_digest
    compared: list[bytes] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return same(left, right)

    monkeypatch.setattr("api.keys.hmac.compare_digest", compare)
    for presented in (OWN, made[0], made[2], "nothing"):
        compared.clear()
        ring.find(presented)
        assert len(compared) == 4


def test_a_file_that_was_changed_is_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = add_key(file, "first", "read")
    ring = Keyring(None, file)
    second = add_key(file, "second", "write")
    assert ring.find(second) is not None
    assert (key := ring.named("second")) is not None and key.scope == "write"
    entries = json.loads(file.read_text())["keys"]
    file.write_text(json.dumps({"keys": entries[1:]}))
    assert ring.find(first) is ring.named("first") is None
    file.write_text("{")
    assert ring.find(second) is not None
    assert "the keys stay as they were" in caplog.text
    file.write_text('{"keys": []}')
    assert ring.find(second) is None and ring.empty


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", 'no file of keys; expected {"keys"'),
        ("[]", "no file of keys"),
        ('{"keys": {}}', "no file of keys"),
        ('{"keys": [1]}', "key 1: name is None; expected 1 to 64 letters"),
        ('{"keys": [{"name": "a b"}]}', "key 1: name is 'a b'; expected 1 to 64 letters"),
        ('{"keys": [{"name": "admin"}]}', "key 1: name is 'admin'; expected"),
        ('{"keys": [{"name": "a", "scope": "all"}]}', "key 1: scope is 'all'; expected read, write, admin"),
        (
            '{"keys": [{"name": "a", "scope": "read", "sha256": "secret"}]}',
            "key 1: sha256 is unfit; expected 64 digits",
        ),
        (
            json.dumps({"keys": [{"name": "a", "scope": "read", "sha256": DIGEST}] * 2}),
            "key 2: name 'a' stands there twice",
        ),
    ],
)
def test_a_file_that_is_none_of_keys_is_refused(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_keys(file)
    assert caught.value.message.startswith(told) and caught.value.file == str(file)
    with pytest.raises(InputError):
        add_key(file, "new", "read")
    assert file.read_text() == text


@pytest.mark.parametrize("name", ["", "a b", "admin", "anonymous", "-a", "열쇠", "a" * 65, "a\n"])
def test_an_unfit_name_makes_no_key(file: Path, name: str) -> None:
    with pytest.raises(InputError, match="the new key: name is"):
        add_key(file, name, "read")
    assert not list(file.parent.iterdir())


def test_the_mode_of_the_file_is_kept(file: Path) -> None:
    add_key(file, "a", "read")
    file.chmod(0o600)
    add_key(file, "b", "read")
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


# The command


def test_the_command_prints_a_key_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    made = run(cli, ["key", "shop", "--scope", "write", "--file", str(file)])
    assert made.exit_code == 0
    (secret,) = made.stdout.splitlines()
    assert secret not in made.stderr and "shop may write" in made.stderr
    (key,) = read_keys(file)
    assert (key.name, key.scope, key.digest) == ("shop", "write", hashlib.sha256(secret.encode()).digest())
    again = run(cli, ["key", "shop", "--file", str(file)])
    assert (again.exit_code, again.stdout) == (1, "") and "name 'shop' is taken" in again.stderr
    assert "no file of keys; expected --file" in run(cli, ["key", "other"]).stderr
    monkeypatch.setenv("DONGIL_API_KEYS_FILE", str(file))
    assert run(cli, ["key", "other"]).exit_code == 0
    assert [(key.name, key.scope) for key in read_keys(file)] == [("shop", "write"), ("other", "read")]


# At the guard


def guarded(settings: Settings) -> TestClient:
    async def who(request: Request) -> str:
        return str(request.state.who)

    app = FastAPI(exception_handlers=handlers())
    for scope in SCOPES:
        app.router.add_api_route(f"/{scope}", who, route_class_override=guarded_route(settings, scope))
    return TestClient(app)


def test_scopes_at_the_guard(file: Path) -> None:
    made = {scope: add_key(file, f"shop-{scope}", scope) for scope in SCOPES}
    client = guarded(Settings(api_keys_file=file))
    for have, secret in made.items():
        for asked in SCOPES:
            response = client.get(f"/{asked}", headers={"authorization": f"Bearer {secret}"})
            if SCOPES.index(have) >= SCOPES.index(asked):
                assert (response.status_code, response.json()) == (200, f"shop-{have}")
            else:
                detail = f"the API key allows {have}; expected one that allows {asked}"
                assert (response.status_code, response.json()["detail"]) == (403, detail)
    for headers in ({}, {"authorization": "Bearer nothing"}, {"authorization": f"Basic {made['admin']}"}):
        response = client.get("/read", headers=headers)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_without_keys_everybody_is_anonymous_and_may_do_everything() -> None:
    client = guarded(Settings())
    assert [client.get(f"/{scope}").json() for scope in SCOPES] == ["anonymous"] * 3
    assert (
        guarded(Settings(api_key=SecretStr(OWN))).get("/admin", headers={"authorization": f"Bearer {OWN}"}).json()
        == "admin"
    )


def test_a_key_that_is_taken_back_no_longer_opens(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = add_key(file, "shop", "read")
    client = guarded(Settings(api_keys_file=file))
    headers = {"authorization": f"Bearer {secret}"}
    assert client.get("/read", headers=headers).status_code == 200
    file.write_text('{"keys": []}')
    assert client.get("/read", headers=headers).status_code == 401
    caplog.set_level(logging.DEBUG)
    assert secret not in caplog.text
