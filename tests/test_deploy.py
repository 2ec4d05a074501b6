"""The image and what runs beside it: read as a user's tools would, since none can be built here."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import ROOT

from api.metrics import Metrics
from api.settings import Settings
from api.state import Shared

yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return read


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_every_name_in_the_environment_is_a_setting(compose: dict[str, Any]) -> None:
    known = {f"DONGIL_{name.upper()}" for name in Settings.model_fields} | {"DONGIL_CONFIG"}
    text = dockerfile() + (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"DONGIL_[A-Z_]+", text)) <= known
    assert set(compose["services"]["dongil"]["environment"]) <= known


def test_the_service_keeps_its_catalogue_and_ends_in_time(compose: dict[str, Any]) -> None:
    service = compose["services"]["dongil"]
    (volume,) = service["volumes"]
    name, _, folder = volume.partition(":")
    assert name in compose["volumes"] and f"DONGIL_DATA={folder}" in dockerfile()
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().grace_seconds + Settings().drain_seconds
    for stage in dockerfile().split("\nFROM ")[2:]:
        assert f"VOLUME {folder}" in stage and "STOPSIGNAL SIGTERM" in stage and "/healthz" in stage
        assert "USER dongil" in stage and f"--group=dongil {folder}" in stage


def test_what_is_published_is_published_to_this_machine(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service["ports"]]
    assert len(ports) == 2 and all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_asks_for_what_there_is(compose: dict[str, Any]) -> None:
    read = {name: yaml.safe_load(config["content"]) for name, config in compose["configs"].items()}
    targets = {one["source"]: one["target"] for one in compose["services"]["prometheus"]["configs"]}
    assert read["prometheus"]["rule_files"] == [targets["alerts"]]
    (scrape,) = read["prometheus"]["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["dongil:8000"]}]
    secret = scrape["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    assert secret in compose["secrets"] and secret in compose["services"]["prometheus"]["secrets"]
    figures = Metrics(Shared(Settings()))
    figures.count("GET", "/", 200, 0.1)
    text = figures.text("")[0].decode() + "dongil_background_trouble "
    for rule in read["alerts"]["groups"][0]["rules"]:
        for name in re.findall(r"\bdongil_\w+", rule["expr"]):
            assert re.search(rf"^{name}\b", text, re.MULTILINE) or f"{name} " in text, name
