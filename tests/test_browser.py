"""The page in a real browser: try, browse, review by keys, retrain, promote, roll back; and how it looks on a phone."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from serving import SAMPLE

sync_api = pytest.importorskip("playwright.sync_api", reason="driving a browser needs dongil[dev]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium; expected chromium on the PATH (apt install chromium)"
)
READABLE = (ROOT / "tests" / "readable.js").read_text(encoding="utf-8").rstrip().removesuffix(";")
LABELS = 200
SLOW = 120_000  # milliseconds that a job may take on a busy machine
ROOMS = ("/", "/?q=농심 너구리 얼큰한맛 120g 5개입", "/clusters", "/review", "/threshold", "/items", "/jobs", "/models")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the sample catalogue, labelled as far as its own groups tell."""
    data = tmp_path_factory.mktemp("data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--catalog", str(SAMPLE)]
    with (data / "log").open("wb") as log:
        server = subprocess.Popen([*command, "--data", str(data / "d"), "--port", str(port)], stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _until_ready(address, server, data / "log")
        _label(address)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def _until_ready(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        try:
            _get(f"{address}/readyz")
            clusters = _get(f"{address}/v1/clusters?order=loosest&limit=1")["items"]
            if clusters and clusters[0]["cohesion"] is not None:
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own address
        return json.load(answer)


def _label(address: str) -> None:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        product = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    given = 0
    while given < LABELS:
        pairs = [(one["left"]["id"], one["right"]["id"]) for one in _get(f"{address}/v1/review?limit=50")["items"]]
        labels = [
            {"left": left, "right": right, "verdict": "same" if product[left] == product[right] else "different"}
            for left, right in pairs
        ]
        body = json.dumps({"labels": labels}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{address}/v1/labels", body, headers, method="PUT")  # noqa: S310 - as above
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
        assert labels
        given += len(labels)


@contextmanager
def page_of(browser: Any, **how: Any) -> Iterator[Any]:
    """A page in which nothing fails that nobody asked to: no script, no file, no rule of the policy."""
    context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **how})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_default_timeout(20_000)
    yield page
    context.close()
    # What is asked while typing takes the place of what was asked before.
    assert not [line for line in said if not line.startswith(("htmx:sendAbort", "htmx:afterRequest"))]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def test_a_title_is_tried_and_its_address_shared(address: str, browser: Any) -> None:
    with page_of(browser) as page:
        page.goto(address)
        page.keyboard.press("/")
        page.keyboard.type("농심 너구리 얼큰한맛 120g 5개입")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".answer .match")
        assert "q=" in page.url
        first = page.inner_text(".match >> nth=0")
        assert "너구리" in first and "%" in first
        page.reload()
        assert page.inner_text(".match >> nth=0") == first
        page.check("input[value=threshold]", force=True)
        page.fill("input[name=threshold]", "0.99")
        page.click("text=Find")
        page.wait_for_selector("text=99.0 %")


def test_clusters_are_browsed_searched_split_and_put_back(address: str, browser: Any) -> None:
    with page_of(browser) as page:
        page.goto(address)
        page.keyboard.press("g")
        page.keyboard.press("c")
        page.wait_for_url("**/clusters")
        page.fill("#cluster-q", "너구리")
        page.wait_for_url("**q=*")
        _until(lambda: all("너구리" in row for row in page.locator(".row").all_inner_texts()))
        page.check("input[value=largest]", force=True)
        page.wait_for_url("**order=largest*")
        page.keyboard.press("Escape")
        page.locator("body").click(position={"x": 5, "y": 5})
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/clusters/c*")
        sync_api.expect(page.locator("body")).to_contain_text("너구리")
        items = page.locator("input[name=item]")
        count = items.count()
        assert count > 1 and page.is_disabled("[data-needs-ticks]")
        items.nth(count - 1).check()
        page.click("[data-needs-ticks]")
        sync_api.expect(items).to_have_count(count - 1 if count > 2 else 0)  # one alone cannot be split
        page.click(".trail button")
        sync_api.expect(items).to_have_count(count)


def test_pairs_are_reviewed_by_keys_and_what_they_teach_goes_in_and_out_of_use(address: str, browser: Any) -> None:
    with page_of(browser) as page:
        page.goto(f"{address}/review")
        before = _tally(page)
        first = _pair(page)
        for key, verdict in (("s", "same"), ("ArrowRight", "different"), (" ", "skip"), ("d", "different")):
            card = _pair(page)
            page.keyboard.press(key)
            page.wait_for_selector(f".answered.{verdict}")
            _until(lambda card=card: _pair(page) != card)
        assert _tally(page) == (before[0] + 1, before[1] + 2, before[2] + 1)
        last = _pair(page)
        page.keyboard.press("u")
        page.wait_for_selector(".answered", state="detached")
        assert _tally(page) == (before[0] + 1, before[1] + 1, before[2] + 1)
        assert _pair(page) not in (first, last)

        page.click("#retrain")
        page.wait_for_selector("#outcome", timeout=SLOW)
        told = page.inner_text("#outcome")
        assert "before" in told and "after" in told
        assert len(re.findall(r"\b0\.\d{3}\b", told)) >= 12
        assert page.inner_text("#active") == "default"
        page.click("#promote")
        page.wait_for_selector("#rollback", timeout=SLOW)
        assert page.inner_text("#active").startswith("relearn-")
        assert [one["active"] for one in _get(f"{address}/v1/models")["items"]] == [False, True]
        page.goto(f"{address}/?q=농심 너구리 얼큰한맛 120g 5개입")
        assert page.locator(".match").count()
        page.goto(f"{address}/review")
        page.click("#rollback")
        page.wait_for_selector("#promote", timeout=SLOW)
        assert page.inner_text("#active") == "default"
        page.goto(f"{address}/models")
        assert page.locator(".model").count() == 2
        assert page.inner_text(".model.active h2") == "default"


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _tally(page: Any) -> tuple[int, ...]:
    return tuple(int(page.inner_text(f"[data-tally={one}]").replace(",", "")) for one in ("same", "different", "skip"))


def _pair(page: Any) -> str:
    return str(page.inner_text(".duel"))


def test_the_slider_tells_what_a_threshold_is_worth(address: str, browser: Any) -> None:
    with page_of(browser) as page:
        page.goto(f"{address}/threshold")
        page.focus("[data-threshold]")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        at = page.input_value("[data-threshold]")
        sync_api.expect(page.locator(".tile.at b")).to_have_text(f"{float(at):.2f}")
        assert page.get_attribute("#marker path", "d") == f"M{100 * float(at):.2f} 0V100"
        assert page.locator(".line").count() == 5


@pytest.mark.parametrize(
    ("width", "scheme", "locale"), [(360, "light", "ko-KR"), (360, "dark", "en-GB"), (1280, "dark", "ko-KR")]
)
def test_nothing_is_cut_off_and_everything_can_be_read(
    address: str, browser: Any, width: int, scheme: str, locale: str
) -> None:
    screen = {"width": width, "height": 800}
    with page_of(browser, viewport=screen, color_scheme=scheme, locale=locale) as page:
        for room in ROOMS:
            page.goto(address + room)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, room
            assert page.evaluate(READABLE) == [], room


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_api_is_described_and_tried_without_another_host(address: str, browser: Any, theme: str) -> None:
    with page_of(browser, color_scheme=theme) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/docs")
        page.locator("[id$='-match'] .opblock-summary-control").click()
        page.get_by_text("Try it out").click()
        page.get_by_text("Execute", exact=True).click()
        page.locator(".live-responses-table .response-col_status").last.wait_for()
        assert "200" in page.locator(".live-responses-table .response-col_status").last.inner_text()
        assert page.evaluate("document.documentElement.classList.contains('dark-mode')") == (theme == "dark")
        assert all(url.startswith((address, "data:")) for url in asked), asked


@pytest.mark.parametrize("path", ["/jobs", "/items"])
def test_forms_for_files_fit_a_phone(address: str, browser: Any, path: str) -> None:
    with page_of(browser, viewport={"width": 390, "height": 844}, locale="ko-KR") as page:
        page.goto(f"{address}{path}")
        # What is open at first hangs on whether there are jobs.
        page.evaluate("document.querySelectorAll('.upload, .upload details').forEach((one) => { one.open = true; })")
        card = page.locator(".upload").bounding_box()
        for part in page.locator(".upload label:visible, .upload input:visible, .upload button:visible").all():
            box = part.bounding_box()
            assert box["x"] >= card["x"] and box["x"] + box["width"] <= card["x"] + card["width"]


def test_what_went_wrong_is_seen_where_it_was_asked_for(address: str, browser: Any) -> None:
    (cluster,) = _get(f"{address}/v1/clusters?order=loosest&limit=1")["items"]
    context = browser.new_context(viewport={"width": 390, "height": 600}, locale="ko-KR")
    page = context.new_page()
    page.goto(f"{address}/clusters/{cluster['id']}")
    page.locator(".by-id summary").click()
    page.locator(".by-id input").fill("없음")
    page.locator(".by-id button").click()
    alert = page.locator("#alert .notice")
    alert.wait_for()
    assert alert.inner_text() == "처리하지 못했습니다. 없는 클러스터입니다: '없음'"
    box = alert.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 600
    context.close()
