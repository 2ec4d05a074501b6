"""The contract: whatever is asked, the service answers as its OpenAPI description says, and never fails.

Schemathesis draws requests for every operation from the description, good ones and bad ones, and holds the answers
against it. DONGIL_TEST_EXAMPLES sets how many it draws for each operation; from fifty on, it also chains operations.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import uvicorn
from pydantic import SecretStr
from serving import SAMPLE
from starlette.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from api.tasks import Tasks

EXAMPLES = int(os.environ.get("DONGIL_TEST_EXAMPLES", "5"))
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "use_after_free",
)  # fmt: skip
CONFIG = """
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 428, 429, "5xx"]
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A service whose jobs do nothing: what they do is tested elsewhere, and training takes hours."""
    settings = Settings(catalog=SAMPLE, max_body_bytes=1 << 20, max_upload_bytes=1 << 20)
    # A server cuts off a request line that is too long before the service sees it; here nothing is drawn that long.
    config = uvicorn.Config(
        create_app(settings), port=0, log_config=None, ws="none", lifespan="on", h11_max_incomplete_event_size=1 << 22
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tasks, "__call__", lambda *_: {})
        thread.start()
        try:
            until = time.monotonic() + 60
            while not server.started and time.monotonic() < until:
                time.sleep(0.01)
            there = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            until_ready(there, until)
            yield there
        finally:
            server.should_exit = True
            thread.join()


def until_ready(address: str, until: float) -> None:
    with httpx.Client(base_url=address) as client:
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_answers_are_as_described(address: str, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    phases = "examples,coverage,fuzzing" + (",stateful" if EXAMPLES >= 50 else "")
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml"),
        "run", f"{address}/openapi.json", "--phases", phases, "--max-examples", str(EXAMPLES),
        "--checks", ",".join(CHECKS), "--continue-on-failure", "--seed", "1", "--no-color", "--request-timeout", "60",
        "--generation-database", "none", "--warnings", "off",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=3_600, check=False)
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2_000:]


def test_every_operation_is_described_whole() -> None:
    described = create_app(Settings()).openapi()
    operations = {
        f"{method} {path}": operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1/")
    }
    assert len(operations) > 30
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names)
    for name, operation in operations.items():
        assert {"summary", "description", "responses"} <= operation.keys(), name
        assert {"401", "403", "500", "503"} <= operation["responses"].keys(), name
        assert ("422" in operation["responses"]) or not ("requestBody" in operation or operation.get("parameters")), (
            name
        )


def test_every_operation_asks_for_a_key() -> None:
    key = "0123456789abcdef"
    with TestClient(create_app(Settings(api_key=SecretStr(key))), raise_server_exceptions=False) as client:
        described = client.get("/openapi.json").json()
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                if path.startswith("/v1/"):
                    place = path.replace("{id}", "1").replace("{name}", "a")
                    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {key}"}):
                        answer = client.request(method, place, headers=headers)
                        assert answer.status_code == 401, (method, path, answer.text)
                    assert [list(one) for one in operation["security"]] == [["key"]]
