"""Speed: what is measured is what is meant, and whatever was started is ended."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serving, speed
from benchmarks.load import ask, asking
from benchmarks.rebuild import bert_weights, rebuild_bert
from benchmarks.rounds import Runs
from benchmarks.server import Server, free_port, serve_command
from benchmarks.serving import hold_out
from benchmarks.speed import PARTS, exponent, run_speed
from benchmarks.titles import SAMPLE, checked_sizes, made_titles, titles_for
from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.items import read_items

# Titles


def test_made_titles_are_as_long_as_real_ones_and_come_in_spellings() -> None:
    titles, real = made_titles(3000), read_items(SAMPLE).titles
    assert titles == made_titles(3000)
    assert len(titles) == 3000
    assert 0.6 < np.mean([len(t) for t in titles]) / np.mean([len(t) for t in real]) < 1.5
    products = {title.split()[-1] for title in titles}
    assert all(title.strip() for title in titles)
    assert len(products) < 3000


def test_a_files_titles_are_drawn_alike_every_time() -> None:
    assert titles_for(SAMPLE, 10) == titles_for(SAMPLE, 10)
    assert len(titles_for(SAMPLE, 10_000)) == len(read_items(SAMPLE).titles)


def test_sizes_that_a_file_cannot_fill_are_left_out() -> None:
    assert checked_sizes([300, 100, 100_000, 100], SAMPLE) == [100, 300]
    assert checked_sizes([300, 100_000], None) == [300, 100_000]
    with pytest.raises(InputError, match="538 titles; expected at least 1,000"):
        checked_sizes([1000, 2000], SAMPLE)
    with pytest.raises(InputError, match="size 99; expected at least 100"):
        checked_sizes([99], None)


def test_the_exponent_is_the_slope() -> None:
    sizes = [10, 100, 1000]
    assert exponent(sizes, [3 * n**1.5 for n in sizes]) == pytest.approx(1.5)
    assert exponent([10], [1.0]) is None
    assert exponent([10, 10], [1.0, 2.0]) is None


# The model, rebuilt


def test_an_exported_model_comes_back_whole() -> None:
    torch, onnx = pytest.importorskip("torch"), pytest.importorskip("onnx")
    graph, train = pytest.importorskip("training.graph"), pytest.importorskip("training.train")
    small = train.TrainConfig(hidden=16, layers=2, heads=2, intermediate=32, max_length=8)
    model = train.new_model(small, 50)
    batch = torch.randint(5, 50, (8, 8)), torch.ones(8, 8, dtype=torch.long)
    state = {name: value.numpy() for name, value in model.bert.state_dict().items()}
    for scales, within in ((None, 1e-6), (graph.calibrate(model, [batch]), 0.02)):
        made = graph.to_onnx(model, scales).graph
        weights = bert_weights({one.name: onnx.numpy_helper.to_array(one) for one in made.initializer})
        for name, value in state.items():
            if "position_embeddings" in name:
                value = value + state["embeddings.token_type_embeddings.weight"][0]
            if "token_type" not in name and "position_ids" not in name:
                assert weights[name].shape == value.shape
                assert np.abs(weights[name] - value).max() <= within * max(1.0, float(np.abs(value).max())), name


def test_the_rebuilt_model_gives_the_encoders_vectors(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    bundle = load_bundle()
    bert = transformers.BertModel.from_pretrained(rebuild_bert(bundle, tmp_path)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    titles = ["농심 백산수 2L x 6", "Logitech MX Master 3S", "서울우유 흰우유 1000ml", "오뚜기 참기름 320ml 2개"]
    given = tokenizer(titles, padding=True, return_tensors="pt")
    assert (
        given["input_ids"].tolist()[0][: len(Encoder(bundle).tokenize(titles)[0])]
        == Encoder(bundle).tokenize(titles)[0]
    )
    with torch.no_grad():
        mask = given["attention_mask"].unsqueeze(-1)
        vectors = (bert(**given).last_hidden_state * mask).sum(1).numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert ((vectors * Encoder(bundle).encode(titles)).sum(axis=1) > 0.99).all()


def test_a_graph_of_somebody_else_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["a"], ["b"])], "g", [], [])
    bundle = load_bundle()
    (tmp_path / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(InputError, match="no 'num_heads' in the graph"):
        rebuild_bert(type(bundle)(tmp_path, bundle.config, ""), tmp_path)


# The parts


def test_a_peer_with_other_vectors_gets_no_figure() -> None:
    runs = {"dongil": Runs("dongil", seconds=[1.0]), "other": Runs("other", seconds=[2.0])}
    good = speed._encode_part(runs, {"other": 0.999}, 100, 1000)
    assert good.values["contenders"][1]["dongil_times_as_fast"]["median"] == 2
    assert good.values["contenders"][0]["tokens_per_s"] == 1000
    bad = speed._encode_part(runs, {"other": 0.5}, 100, 1000)
    assert "titles_per_s" not in bad.values["contenders"][1]
    assert "| other | other vectors: a cosine of 0.500" in bad.markdown


def test_a_small_catalogue_is_clustered_and_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_CLUSTERED", speed._CLUSTERED[:1])  # the other loads torch
    told: list[str] = []
    folder = run_speed(tmp_path, parts=["scale", "cluster"], sizes=[200, 400], titles=SAMPLE, say=told.append)
    scale = json.loads((folder / "speed-scale.json").read_text())
    assert [one["titles"] for one in scale["catalogues"]] == [200, 400]
    assert all(one["status"] == "ok" and one["recall"] == 1 for one in scale["catalogues"])
    phases = scale["catalogues"][0]["phases"]
    assert list(phases) == ["encode", "search", "blend", "judge", "cluster"]
    assert sum(phases.values()) == pytest.approx(scale["catalogues"][0]["seconds"], rel=0.2)
    assert set(scale["exponents"]) == {*phases, "all"}
    cluster = json.loads((folder / "speed-cluster.json").read_text())
    ours, raw = cluster["contenders"][:2]
    assert ours["name"] == "dongil"
    assert len(ours["seconds"]) == len(raw["seconds"]) == 3
    assert raw["dongil_costs_times"]["least"] > 0
    spent = ours["result"]["phases"]
    assert len(spent) == 3
    for seconds, one in zip(ours["seconds"], spent, strict=True):
        assert sum(one.values()) == pytest.approx(seconds, rel=0.2)
    shares = [(sum(one.values()) - one["search"] - one["blend"]) / one["search"] for one in spent]
    assert cluster["deciding_by_search"]["median"] == pytest.approx(np.median(shares))
    assert "times as long as search" in (folder / "speed-cluster.md").read_text()
    for name in ("cluster", "scale"):
        assert (folder / f"speed-{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "processors" in (folder / f"speed-{name}.md").read_text()
    assert "| exponent |" in (folder / "speed-scale.md").read_text()
    assert any(line.startswith("cluster: round 1: dongil") for line in told)


def test_bad_questions_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no part 'speed'; expected {', '.join(PARTS)}"):
        run_speed(tmp_path / "r", parts=["speed"])
    with pytest.raises(InputError, match="cannot be read"):
        run_speed(tmp_path / "r", titles=tmp_path / "none.csv")
    with pytest.raises(InputError, match="no such model folder"):
        run_speed(tmp_path / "r", model=tmp_path / "none", sizes=[100])
    assert not list((tmp_path / "r").iterdir())


# The service

SERVICE = """
import http.server, json, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200 if self.path == "/readyz" else 404, {})
    def do_POST(self):
        titles = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["titles"]
        time.sleep(0.01)
        self.answer(500 if titles == ["bad"] else 200, {"results": titles})
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_clients_ask_at_once_and_bad_answers_are_counted() -> None:
    port = free_port()
    with Server([sys.executable, "-c", SERVICE, str(port)], port) as server:
        alone = ask(port, asking(["a"]), 1, most=10, seconds=10)
        four = ask(port, asking(["a", "bad"]), 4, most=40, seconds=10)
        short = ask(port, asking(["a"]), 2, most=10**6, seconds=0.3)
        pairs = ask(port, asking(["a", "b", "c", "d", "e"], at_once=2), 1, most=3, seconds=10)
        odd = ask(port, asking(["a"], good="no such text"), 1, most=3, seconds=10)
        assert server.peak_mb() is None or 5 < (server.peak_mb() or 0) < 500
    assert (alone.requests, alone.failures) == (10, 0)
    assert alone.p50_ms is not None
    assert alone.p99_ms is not None
    assert 10 <= alone.p50_ms <= alone.p99_ms <= (alone.worst_ms or 0)
    assert alone.per_second < 100
    assert (four.requests, four.failures) == (20, 20)
    assert (pairs.requests, pairs.titles, odd.requests, odd.failures) == (3, 6, 0, 3)
    assert short.seconds < 5
    assert 0 < short.requests < 1000


def test_the_server_is_ended_even_after_an_error() -> None:
    port = free_port()
    with pytest.raises(RuntimeError), Server([sys.executable, "-c", SERVICE, str(port)], port):
        raise RuntimeError
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    nobody = ask(port, asking(["a"]), 1, most=3, seconds=5)
    assert (nobody.requests, nobody.failures, nobody.p50_ms) == (0, 3, None)


def test_a_server_that_does_not_start_is_told_and_ended() -> None:
    with pytest.raises(InputError, match="ended with 3: no such luck"):
        Server([sys.executable, "-c", "import sys; sys.stderr.write('no such luck'); sys.exit(3)"], free_port())
    started = time.monotonic()
    with pytest.raises(InputError, match="not ready in time: waiting"):
        Server(
            [sys.executable, "-c", "print('waiting', flush=True); import time; time.sleep(60)"],
            free_port(),
            limit_s=0.7,
        )
    assert time.monotonic() - started < 10


def test_serve_is_asked_for_as_a_user_would() -> None:
    command = serve_command(81, catalog=Path("c.csv"), model=Path("m"))
    assert command[-9:] == ["serve", "--host", "127.0.0.1", "--port", "81", "--catalog", "c.csv", "--model", "m"]
    assert serve_command(81, data=Path("d"), model=None)[-2:] == ["--data", "d"]


def test_titles_that_are_asked_are_not_in_the_catalogue() -> None:
    titles = [str(number) for number in range(100)]
    for asked in (1, 7, 50, 80):
        kept, out = hold_out(titles, asked)
        assert sorted(kept + out, key=int) == titles
        assert len(out) == min(asked, 50)


def test_the_service_itself_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "CLIENTS", (1, 2))
    monkeypatch.setattr(serving, "LIMITS", (20, 2.0))
    monkeypatch.setattr(serving, "_rivals", lambda *_: [(serving.Rival("other", (), "/", {}), "not installed")])
    run_speed(tmp_path, parts=["service"], sizes=[100])
    found = json.loads((tmp_path / "speed-service.json").read_text())
    told = [(one["what"], one["clients"], one["titles_a_request"], one["failures"]) for one in found["loads"]]
    assert told == [
        ("match", 1, 1, 0),
        ("match", 2, 1, 0),
        ("match", 2, 32, 0),
        ("embed", 2, 1, 0),
        ("embed", 2, 32, 0),
    ]
    assert all(one["requests"] for one in found["loads"])
    assert found["rested"]
    assert found["rivals"] == {"other": "not installed"}
    assert "| other | not installed |" in (tmp_path / "speed-service.md").read_text()
