"""What tests of the page share: a catalogue with strangers' text in it, and a look at a page as strict as can be."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from serving import SAMPLE

from api.service import Service, load_service
from api.settings import Settings
from index.listings import Item

HERE = {"sec-fetch-site": "same-origin"}
PART = {**HERE, "hx-request": "true"}
BASE = "http://127.0.0.1"
HOSTILE = '<script>alert(1)</script> "너구리" & \u202e<b>'
ROOMS = ("/", "/clusters", "/review", "/threshold", "/items", "/jobs", "/models")
FORM = "application/x-www-form-urlencoded"


@contextmanager
def stocked(data: Path) -> Iterator[Service]:
    """A service with the sample catalogue, and items that would rather be markup."""
    loaded = load_service(Settings(catalog=SAMPLE, data=data, threads=1))
    hostile = Item("<i>&", HOSTILE, seller="<b>가게", category="x\u202ey", extra={"<u>": "</dl><script>"})
    loaded.catalog.put([hostile, Item("a/b?c", "농심 너구리 120g 5개입 [무료배송]")])
    assert loaded.living.settle()
    yield loaded
    loaded.close()


class Tags(HTMLParser):
    """Reads a page as strictly as the library can: every tag that is opened is closed in its turn."""

    void = frozenset({"meta", "link", "input", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.loose = ""  # text that is not isolated
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not {"bdi", "textarea", "title"} & set(self.open):
            self.loose += data

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.open)


def whole(response: Any, status: int = 200) -> str:
    """The text of a page that is sound, says so in its headers, and holds nothing that its policy forbids."""
    assert response.status_code == status, response.text[:2_000]
    policy = response.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    text: str = response.text
    tags = Tags(text).tags
    for tag, attributes in tags:
        assert not any(name == "style" or name.startswith(("on", "hx-on", "hx-vals")) for name in attributes), tag
        assert tag != "style"
        assert tag != "script" or set(attributes) == {"src", "defer"}
        assert not str(attributes.get("href", "")).startswith(("http", "javascript", "//"))
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names)), "an id stands twice"
    labelled = {attributes.get("for") for tag, attributes in tags if tag == "label"}
    for tag, attributes in tags:
        assert tag != "textarea" or attributes.get("id") in labelled
    return text


def card_of(text: str) -> tuple[str, str]:
    """The two items of the pair that waits for an answer."""
    found = re.findall(r'(?s)class="card duel".*?name="left" value="([^"]*)".*?name="right" value="([^"]*)"', text)[0]
    return html.unescape(found[0]), html.unescape(found[1])


def quoted(text: str) -> str:
    """Text as it stands in an address, half of a surrogate pair too."""
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
