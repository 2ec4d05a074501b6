"""What the environment may say, what is refused by name, and what the settings load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import Settings, load_encoder, load_matcher, read_settings
from embedder.errors import InputError

SAMPLE = Path(__file__).resolve().parent.parent / "api" / "sample" / "catalog.csv"
KEY = "k" * 16


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("DONGIL_")]:
        monkeypatch.delenv(name)


def test_nothing_need_be_set() -> None:
    settings = read_settings()
    assert (settings.model, settings.catalog, settings.api_key) == (None, None, None)
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "auto")
    assert settings.max_body_bytes == 8 * 1024 * 1024
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_every_setting_has_a_variable_and_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "model": "m", "catalog": "c.csv", "id_column": "sku", "title_column": "name", "host": "0.0.0.0", "port": "0",  # noqa: S104
        "api_key": KEY, "threads": "3", "device": "cpu", "max_concurrency": "4", "max_queue": "0",
        "max_body_bytes": "2048",
    }  # fmt: skip
    assert set(values) == set(Settings.model_fields)
    for name, value in values.items():
        monkeypatch.setenv(f"DONGIL_{name.upper()}", value)
    settings = read_settings()
    assert settings.api_key is not None and settings.api_key.get_secret_value() == KEY
    assert {name: str(getattr(settings, name)) for name in values} == values | {"api_key": "*" * 10}
    assert read_settings(port=81, catalog="d.csv").port == 81
    assert read_settings(catalog="d.csv").catalog == Path("d.csv")


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DONGIL_CATALOG", "")
    monkeypatch.setenv("DONGIL_PORT", "")
    assert (read_settings().catalog, read_settings().port) == (None, 8000)


def test_unknown_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DONGIL_CATALOGUE", "c.csv")
    monkeypatch.setenv("dongil_prot", "1")
    with pytest.raises(
        InputError, match=r"no such setting: DONGIL_CATALOGUE, dongil_prot; expected only .*DONGIL_PORT"
    ):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "http", "a valid integer, unable to parse string as an integer"),
        ("port", "65536", "less than or equal to 65535"),
        ("port", "-1", "greater than or equal to 0"),
        ("threads", "0", "greater than or equal to 1"),
        ("device", "tpu", "'auto', 'cpu' or 'gpu'"),
        ("max_concurrency", "0", "greater than or equal to 1"),
        ("max_queue", "-1", "greater than or equal to 0"),
        ("max_body_bytes", "1023", "greater than or equal to 1024"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"DONGIL_{name.upper()}", value)
    with pytest.raises(InputError) as caught:
        read_settings()
    assert str(caught.value) == f"{name} (DONGIL_{name.upper()}) is {value!r}; expected {expected}"


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(InputError, match=r"port \(DONGIL_PORT\) is 'x'; .*; threads \(DONGIL_THREADS\) is 0; "):
        read_settings(port="x", threads=0)
    with pytest.raises(InputError, match=r"colour \(DONGIL_COLOUR\) is 'red'"):
        read_settings(colour="red")


@pytest.mark.parametrize("key", ["short-secret", "열쇠" * 16, "has a space in it", "line\nbreak-in-the-key"])
def test_a_key_must_be_long_and_sendable_and_is_never_told(key: str) -> None:
    with pytest.raises(InputError, match=r"api_key .* expected at least 16 printable ASCII") as caught:
        read_settings(api_key=key)
    assert key not in str(caught.value)
    assert KEY not in repr(read_settings(api_key=KEY))


def test_an_empty_key_closes_nothing_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DONGIL_API_KEY", "")
    with pytest.raises(InputError, match="DONGIL_API_KEY is empty"):
        read_settings()
    assert read_settings(api_key=KEY).api_key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert read_settings(host=host).host == host


ELSEWHERE = ["0.0.0.0", "::", "192.168.0.2", "8.8.8.8", "example.com", "localhost.example.com", ""]  # noqa: S104


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_hosts_need_a_key(host: str) -> None:
    with pytest.raises(InputError, match=r"host .DONGIL_HOST. is"):
        read_settings(host=host)
    if host:
        assert read_settings(host=host, api_key=KEY).host == host


def test_load_matcher_reads_the_catalogue() -> None:
    reports: list[tuple[str, int, int]] = []
    settings = read_settings(catalog=SAMPLE, threads=1, device="cpu", title_column="title", id_column="cluster_id")
    with pytest.raises(InputError, match="column cluster_id: id 'p"):
        load_matcher(settings)
    encoder = load_encoder(settings)
    settings = read_settings(catalog=SAMPLE, threads=1, device="cpu")
    matcher = load_matcher(settings, lambda *report: reports.append(report), encoder=encoder)
    assert matcher is not None and matcher.encoder is encoder and encoder.threads == 1
    assert matcher.ids[0] == "s0001" and len(matcher) > 500
    assert {"encode", "search"} <= {phase for phase, _, _ in reports}


def test_without_a_catalogue_there_is_no_matcher() -> None:
    assert load_matcher(read_settings()) is None


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        load_matcher(read_settings(catalog=tmp_path / "nowhere.csv"))
    with pytest.raises(InputError, match="nowhere: no such model folder"):
        load_encoder(read_settings(model=tmp_path / "nowhere"))
