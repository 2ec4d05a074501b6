"""What the environment may say, what is refused by name, and what the settings load."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import ROOT
from pydantic import ValidationError

from api.keys import add_key
from api.service import load_service
from api.settings import Settings, read_settings, settings_table
from embedder.errors import InputError

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"
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


OTHERS = {  # what a file, or the environment, may say instead of what holds by default
    "model": "m", "data": "d", "catalog": "c.csv", "id_column": "sku", "title_column": "name", "host": "::1",
    "port": 0, "allowed_hosts": ["shop.example", "b.example"], "api_key": KEY, "threads": 3, "device": "cpu",
    "max_concurrency": 4, "max_queue": 0, "max_titles": 8, "max_connections": 9, "max_body_bytes": 2_048,
    "max_upload_bytes": 4_096,
    "max_upload_rows": 7, "files": "f", "max_jobs": 2, "keep_jobs_days": 0, "header_seconds": 1.5,
    "body_seconds": 2.5, "body_rate": 100,
    "drain_seconds": 3.5, "grace_seconds": 4, "log_format": "json", "log_level": "warning", "log_titles": True,
}  # fmt: skip


def _as_text(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _plain(settings: Settings) -> dict[str, object]:
    values = {name: getattr(settings, name) for name in OTHERS}
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    assert settings.api_key is not None
    return values | {"api_key": settings.api_key.get_secret_value(), "allowed_hosts": list(values["allowed_hosts"])}


def test_every_setting_has_a_variable_and_a_place_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert set(OTHERS) | {"api_keys_file"} == set(Settings.model_fields)
    json_file, toml_file = tmp_path / "c.json", tmp_path / "c.toml"
    json_file.write_text(json.dumps(OTHERS), encoding="utf-8")
    toml_file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in OTHERS.items()))
    assert _plain(read_settings(json_file)) == _plain(read_settings(toml_file)) == OTHERS
    for name, value in OTHERS.items():
        monkeypatch.setenv(f"DONGIL_{name.upper()}", _as_text(value))
    assert _plain(read_settings()) == OTHERS
    assert read_settings(port=81, catalog="d.csv").port == 81
    assert read_settings(catalog="d.csv").catalog == Path("d.csv")


def test_flags_win_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("port = 1\nmax_queue = 1\nmax_jobs = 1\n")
    monkeypatch.setenv("DONGIL_CONFIG", str(file))
    monkeypatch.setenv("DONGIL_PORT", "2")
    monkeypatch.setenv("dongil_max_queue", "2")
    monkeypatch.setenv("DONGIL_MAX_JOBS", "")
    settings = read_settings(port=3)
    assert (settings.port, settings.max_queue, settings.max_jobs) == (3, 2, 1)
    other = tmp_path / "d.json"
    other.write_text('{"max_jobs": 4}')
    assert read_settings(other).max_jobs == 4


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("c.toml", "port = 'x'", r"port \({file}\) is 'x'; expected a valid integer"),
        ("c.toml", "prot = 1", r"{file}: no such setting: prot; expected only .*, port, "),
        ("c.json", '{"config": "d.json"}', r"{file}: no such setting: config"),
        ("c.json", "[1]", r"{file}: expected settings by their names"),
        ("c.json", "port = 1", r"{file}: neither TOML .* nor JSON of settings: "),
        ("c.toml", "port 1", r"{file}: neither TOML .* nor JSON of settings: "),
        ("c.toml", 'api_key = "short"', r"api_key \({file}\) is unfit; expected at least 16 printable"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, name: str, text: str, told: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InputError, match=told.replace("{file}", str(file))):
        read_settings(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot be read"):
        read_settings(tmp_path / "nowhere.toml")


def test_the_table_tells_every_setting() -> None:
    rows = {name: (default, meaning) for name, default, meaning in settings_table()}
    assert set(rows) == set(Settings.model_fields)
    assert all(meaning for _, meaning in rows.values())
    assert (rows["port"][0], rows["api_key"][0], rows["allowed_hosts"][0], rows["log_titles"][0]) == (
        "8000", "", "", "false",
    )  # fmt: skip


def test_the_readme_shows_the_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- begin settings -->")[2].partition("<!-- end settings -->")[0].strip().splitlines()[2:]
    assert shown == [
        f"| `{name}` | {default and f'`{default}`'} | {meaning} |" for name, default, meaning in settings_table()
    ]


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
    with pytest.raises(InputError, match=r"port \(--port\) is 'x'; .*; threads \(--threads\) is 0; "):
        read_settings(port="x", threads=0)
    with pytest.raises(InputError, match=r"colour \(--colour\) is 'red'"):
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
    with pytest.raises(InputError, match=r"host .(DONGIL_HOST|--host). is"):
        read_settings(host=host)
    if host:
        assert read_settings(host=host, api_key=KEY).host == host


def test_keys_of_a_file_open_to_other_hosts_and_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(InputError, match=r"keys\.json: cannot be read"):
        read_settings(host="0.0.0.0", api_keys_file=file)  # noqa: S104
    file.write_text('{"keys": []}')
    with pytest.raises(InputError, match=r"keys\.json: no key in it"):
        read_settings(api_keys_file=file)
    assert read_settings(api_keys_file=file, api_key=KEY).closed
    add_key(file, "shop", "read")
    settings = read_settings(host="0.0.0.0", api_keys_file=file)  # noqa: S104
    assert settings.closed and not settings.local


def test_the_service_holds_what_the_settings_name() -> None:
    reports: list[tuple[str, int, int]] = []
    settings = read_settings(catalog=SAMPLE, threads=1, device="cpu", title_column="title", id_column="cluster_id")
    with pytest.raises(InputError, match="column cluster_id: id 'p"):
        load_service(settings)
    settings = read_settings(catalog=SAMPLE, threads=1, device="cpu")
    service = load_service(settings, lambda *report: reports.append(report))
    try:
        assert (service.settings, service.encoder.threads) == (settings, 1)
        assert service.catalog.get("s0001") and service.catalog.count() > 500
        assert len(service.living.snapshot) == service.catalog.count()
        assert {"import", "encode", "search"} <= {phase for phase, _, _ in reports}
    finally:
        service.close()


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        load_service(read_settings(catalog=tmp_path / "nowhere.csv"))
    with pytest.raises(InputError, match="nowhere: no such model folder"):
        load_service(read_settings(model=tmp_path / "nowhere"))
