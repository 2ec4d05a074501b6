"""Serving: ``dongil serve`` on a catalogue of some size, asked by few and many, beside servers that only embed.

One title a request is what a shop's back office sends; many a request is what fills a machine. The rivals run the same
weights and answer with vectors alone: sentence-transformers behind plain FastAPI, and infinity. All are started and
measured one after the other in the same minutes; how many titles the encoder manages without any server stands beside.
It does not know how good the answers are.
"""

from __future__ import annotations

import csv
import http.client
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import markdown_table
from benchmarks.job import Job, Part, bars
from benchmarks.load import Asked, Load, ask, asking
from benchmarks.rebuild import rebuild_bert
from benchmarks.rounds import Spread, take_turns
from benchmarks.server import Server, bare_environment, free_port, serve_command
from benchmarks.sockets import HOST
from benchmarks.titles import titles_for
from benchmarks.worker import Contender, interpreters
from embedder.bundle import load_bundle
from embedder.errors import InputError

ROWS = 100_000  # of the catalogue
ASKED = 20_000  # titles that are asked, none of them in it
CLIENTS = (1, 8, 32)
AT_ONCE = 32  # titles in a request of many
LIMITS = (2_000, 10.0)  # requests of each client, and seconds, at most
_AGREE = 0.99  # cosine from which a rival's vector is the same model's
_OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}


@dataclass(frozen=True)
class Rival:
    """A server that embeds: its name, how to start it on a port, when it is ready, and what its requests say."""

    name: str
    command: tuple[str, ...]
    ready: str
    fields: dict[str, str]
    note: str = ""


def hold_out(titles: list[str], asked: int) -> tuple[list[str], list[str]]:
    """A catalogue, and titles at even steps that are kept out of it to be asked: at most every second one."""
    step = max(2, len(titles) // max(1, asked))
    out = titles[::step][:asked]
    return [title for row, title in enumerate(titles) if row % step or row // step >= asked], out


def write_catalog(titles: list[str], path: Path) -> Path:
    """A file of items for ``dongil serve --catalog``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "title"), *((f"i{row}", title) for row, title in enumerate(titles))])
    return path


def measure_service(job: Job) -> Part:
    """Latency and throughput of the service and of its rivals; all are ended whatever happens."""
    rows = job.upto(ROWS)
    every = titles_for(job.titles, rows + min(ASKED, rows))
    kept, asked = hold_out(every, min(ASKED, len(every) // 2))
    offline = _offline(job, asked)
    job.say(f"the encoder alone: {offline.median:,.0f} titles/s")
    catalog, port, loads = write_catalog(kept[:rows], job.work / "catalog.csv"), free_port(), list[dict[str, Any]]()
    command = serve_command(port, catalog=catalog, data=job.work / "data", model=job.model)
    with Server(command, port, limit_s=3600) as server:
        job.say(f"ready with {len(kept[:rows]):,} items after {server.start_seconds:.0f} s")
        rested = server.rest(3600)  # the first clustering of all
        embed: dict[str, Any] = {"path": "/v1/embeddings", "field": "input", "good": '"embedding"', "model": "dongil"}
        ours = [("match", count, asking(asked, k=10)) for count in CLIENTS]
        ours += [("match", CLIENTS[-1], asking(asked, at_once=AT_ONCE, k=10))]
        ours += [("embed", CLIENTS[-1], asking(asked, at_once=each, **embed)) for each in (1, AT_ONCE)]
        loads += _measured(job, "dongil", server, ours)
        reference, memory = _vector(port, asking(asked[:1], **embed)), server.peak_mb()
    with Server(serve_command(port, data=job.work / "data", model=job.model), port, limit_s=600) as server:
        again = server.start_seconds
    status: dict[str, str] = {}
    for rival, why in _rivals(job.model, job.work / "rebuilt", port := free_port()):
        status[rival.name] = why or _measure_rival(job, rival, port, asked, reference, loads)
        job.say(f"{rival.name}: {status[rival.name]}")
    about = {
        "items": len(kept[:rows]), "start_seconds": again, "peak_mb": memory, "rested": rested,
        "encoder_titles_per_s": asdict(offline), "rivals": status,
    }  # fmt: skip
    return _part(loads, about, "titles of a file" if job.titles else "made titles")


def _offline(job: Job, titles: list[str]) -> Spread:
    """Titles a second of the encoder alone, on the titles that are asked."""
    path = job.work / "asked.json"
    path.write_text(json.dumps(titles, ensure_ascii=False), encoding="utf-8")
    options = {"model": job.model_name, "titles": str(path), "sample": str(job.work / "asked.npy")}
    runs = take_turns([Contender("dongil", "benchmarks.timed:encode", options)], rounds=3)["dongil"]
    if not runs.ok:
        raise InputError(f"the encoder gave no figure to compare with: {runs.status}")
    return Spread.of([len(titles) / seconds for seconds in runs.seconds])


def _measured(job: Job, name: str, server: Server, asked: list[tuple[str, int, Asked]]) -> Iterator[dict[str, Any]]:
    """What each number of clients got, after a few requests that warm the server up."""
    for what, clients, one in asked:
        ask(server.port, one, min(clients, 4), most=20, seconds=5)
        load = ask(server.port, one, clients, most=LIMITS[0] * clients, seconds=LIMITS[1])
        job.say(f"{name}, {what}, {clients} clients, {one.titles} a request: {load.titles_per_second:,.0f} titles/s")
        yield _entry(name, what, one.titles, load)


def _entry(name: str, what: str, at_once: int, load: Load) -> dict[str, Any]:
    entry = {"server": name, "what": what, "titles_a_request": at_once, **asdict(load)}
    return entry | {"requests_per_s": load.per_second, "titles_per_s": load.titles_per_second}


def _measure_rival(
    job: Job, rival: Rival, port: int, asked: list[str], ours: np.ndarray[Any, Any], loads: list[dict[str, Any]]
) -> str:
    """Measure a rival, and say how that went."""
    how: dict[str, Any] = {"path": "/embeddings", "field": "input", "good": '"embedding"', **rival.fields}
    try:
        with Server(rival.command, port, path=rival.ready, limit_s=180) as server:
            cosine = float(_vector(port, asking(asked[:1], **how)) @ ours)
            if cosine < _AGREE:
                return f"other vectors: a cosine of {cosine:.3f} with ours; expected {_AGREE}"
            each = [("embed", CLIENTS[0], asking(asked, **how)), ("embed", CLIENTS[-1], asking(asked, **how))]
            each += [("embed", CLIENTS[-1], asking(asked, at_once=AT_ONCE, **how))]
            loads += _measured(job, rival.name, server, each)
    except (InputError, OSError, ValueError) as error:
        return f"failed: {error}"
    return f"measured; {rival.note}"


def _vector(port: int, asked: Asked) -> np.ndarray[Any, Any]:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("POST", asked.path, asked.bodies[0].encode(), {"Content-Type": "application/json"})
    vector = np.array(json.loads(connection.getresponse().read())["data"][0]["embedding"], np.float64)
    connection.close()
    return vector / np.linalg.norm(vector)


def _rivals(model: Path | None, folder: Path, port: int) -> Iterator[tuple[Rival, str]]:
    """Each rival, and why it cannot run here; nothing where it can."""
    folder.mkdir()
    built = ""
    try:
        rebuild_bert(load_bundle(model), folder)
    except (InputError, ModuleNotFoundError) as error:
        built = f"no weights for it: {error}"
    offline = ("env", *(f"{name}={value}" for name, value in _OFFLINE.items()))
    plain = next(filter(_has_sentence_transformers, interpreters()), None)
    command = (*offline, plain or "", "-m", "benchmarks.plain_server", str(folder), str(port))
    yield (
        Rival("sentence-transformers, FastAPI", command, "/health", {}, "torch, a thread for each request"),
        built or ("" if plain else "not installed: pip install sentence-transformers"),
    )
    scripts = [Path(python).with_name("infinity_emb") for python in interpreters()]
    script = next((one for one in scripts if one.is_file()), None)
    command = (
        *offline, f"INFINITY_HOME={folder}", str(script), "v2", "--model-id", str(folder), "--served-model-name=same",
        "--engine", "torch", "--device", "cpu", "--no-bettertransformer", "--host", HOST, "--port", str(port),
    )  # fmt: skip
    yield (
        Rival("infinity", command, "/health", {"model": "same"}, "torch, its own batching"),
        built or ("" if script else "not installed: pip install 'infinity-emb[server,torch]'"),
    )


def _has_sentence_transformers(python: str) -> bool:
    wanted = "import sentence_transformers, fastapi, uvicorn"
    command = [python, "-c", wanted]
    return not subprocess.run(command, env=bare_environment(), capture_output=True, check=False).returncode  # noqa: S603


def _part(loads: list[dict[str, Any]], about: dict[str, Any], kind: str) -> Part:
    offline = about["encoder_titles_per_s"]["median"]

    def ms(value: float | None) -> str:
        return f"{value:.1f}" if value is not None else ""

    rows = [
        [
            one["server"], one["what"], str(one["clients"]), str(one["titles_a_request"]),
            f"{one['titles_per_s']:,.0f}", f"{one['titles_per_s'] / offline:.2f}", ms(one["p50_ms"]),
            ms(one["p99_ms"]), ms(one["worst_ms"]), f"{one['requests']:,}", str(one["failures"]),
        ]
        for one in loads
    ]  # fmt: skip
    rows += [[name, status, *[""] * 9] for name, status in about["rivals"].items() if not status.startswith("measured")]
    header = (
        "server", "does", "clients", "titles a request", "titles/s", "of the encoder's", "p50 ms", "p99 ms", "worst ms",
        "requests", "failures",
    )  # fmt: skip
    notes = "".join(f" {name}: {status[10:]}." for name, status in about["rivals"].items() if status[:8] == "measured")
    kept = f", {about['peak_mb']:,.0f} MiB at most" if about["peak_mb"] is not None else ""
    words = (
        f"A catalogue of {about['items']:,} items ({kind}), asked for titles that are not in it; match is "
        "all of `POST /v1/match`, embed is vectors alone. Each client waits for its answer, and all share the machine "
        f"with the server. The encoder alone manages {offline:,.0f} titles/s of these. dongil was ready "
        f"{about['start_seconds']:.1f} s after its second start{kept}.{notes}\n"
    )
    shown = {
        f"{one['server']}, {one['what']}, {one['clients']} x {one['titles_a_request']}": one["titles_per_s"]
        for one in loads
    }
    return Part(about | {"loads": loads}, f"{words}\n{markdown_table(header, rows)}", bars(shown, "titles/s"))
