"""Contenders of ``dongil bench speed``: encoding, searching and clustering, each loaded once and run again and again.

Called in workers; a tool is imported where it is used. Each loads and warms up, and returns a ``run`` whose seconds
the worker takes. It does not know what is compared with what.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], dict[str, Any]]
Options = dict[str, Any]

_WARM = 256  # titles encoded before the clock starts; their vectors are kept to be compared
_LISTED = 100  # candidates of a title that its own choice looks at


def _titles(options: Options) -> list[str]:
    return list(json.loads(Path(options["titles"]).read_text(encoding="utf-8")))


def _encoder(options: Options) -> Any:
    bundle = import_module("embedder.bundle").load_bundle(options["model"])
    return import_module("embedder.encoder").Encoder(bundle, device="cpu")


def encode(options: Options) -> Run:
    """This project's encoder: cleaning and tokenising are in its time."""
    encoder, titles = _encoder(options), _titles(options)
    np.save(options["sample"], encoder.encode(titles[:_WARM]))

    def run() -> dict[str, Any]:
        encoder.encode(titles)
        return {}

    return run


def encode_bare(options: Options) -> Run:
    """One onnxruntime session in a plain loop over ready-made batches: nothing but the model is in its time."""
    runtime, encoder = import_module("onnxruntime"), _encoder(options)
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = encoder.threads
    settings.log_severity_level = 3
    if options["optimisation"] == "basic":
        settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    path = str(encoder.bundle.model_path)
    session = runtime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    budget = import_module("embedder.encoder").TOKENS_PER_BATCH
    tokens = sorted((ids for ids in encoder.tokenize(_titles(options)) if ids), key=len)
    batches = [_padded(rows) for rows in _by_budget(tokens, budget)]
    session.run(None, batches[0])

    def run() -> dict[str, Any]:
        for batch in batches:
            session.run(None, batch)
        return {}

    return run


def _by_budget(tokens: list[list[int]], budget: int) -> list[list[list[int]]]:
    """Length-sorted titles in batches of at most so many padded tokens, as the encoder cuts them."""
    batches: list[list[list[int]]] = [[]]
    for ids in tokens:
        if batches[-1] and (len(batches[-1]) + 1) * len(ids) > budget:
            batches.append([])
        batches[-1].append(ids)
    return batches


def _padded(rows: list[list[int]]) -> dict[str, Any]:
    lengths = np.array([len(ids) for ids in rows], np.int32)
    padded = np.zeros((len(rows), int(lengths.max())), np.int64)
    for row, ids in enumerate(rows):
        padded[row, : len(ids)] = ids
    return {"input_ids": padded, "lengths": lengths}


def encode_sentence_transformers(options: Options) -> Run:
    """sentence-transformers' default ``encode`` of the same weights, on torch or on its ONNX backend."""
    if options["backend"] == "onnx":
        import_module("optimum.onnxruntime")  # else the backend hides which package is missing
    package, folder = import_module("sentence_transformers"), Path(tempfile.mkdtemp())
    bundle = import_module("embedder.bundle").load_bundle(options["model"])
    import_module("benchmarks.rebuild").rebuild_bert(bundle, folder)
    model = package.SentenceTransformer(str(folder), backend=options["backend"], device="cpu")
    clean = import_module("embedder.text").clean
    cleaned = [clean(title) or title for title in _titles(options)]

    def vectors(titles: list[str]) -> Any:
        return model.encode(titles, batch_size=32, normalize_embeddings=True, show_progress_bar=False)

    np.save(options["sample"], vectors(cleaned[:_WARM]))

    def run() -> dict[str, Any]:
        vectors(cleaned)
        return {}

    return run


def cluster(options: Options) -> Run:
    """This project from distinct titles and their vectors to clusters, and to each row's own matches.

    Tells the seconds of every phase of every run so far: "search" and "blend"; "titles" are taken apart; "evidence" is
    gathered on the candidate pairs, "probability" follows from it; then "cluster" and each row's "choice".
    """
    matchers, scenes, clustering = (import_module(f"index.{name}") for name in ("matcher", "scene", "clustering"))
    cohesion, blending, nodes = (import_module(f"index.{name}") for name in ("cohesion", "blending", "nodes"))
    evidence, index = import_module("index.evidence"), import_module("index.vectors").VectorIndex
    priors = import_module("index.prior")
    bundle = import_module("embedder.bundle").load_bundle(options["model"])
    threads = import_module("embedder.encoder").available_cpus()
    decision = import_module("index.decision").Decision.of(bundle, threads=threads)
    common, vectors = matchers.common_grams(bundle), np.load(options["vectors"])
    titles = _titles(options)[: len(vectors)]
    every = nodes.Nodes(titles, np.arange(len(titles)), scenes.readable(vectors))
    told: list[dict[str, float]] = []

    def run() -> dict[str, Any]:
        seconds, lap = dict.fromkeys(("search", "blend", "titles", "evidence", "probability"), 0.0), _clock()
        made = index.from_vectors(vectors, k=decision.blend.k, floor=evidence.FLOOR, device="cpu")
        found = made.search(vectors, decision.blend.k)
        seconds["search"] = lap()
        blended = blending.blend_catalogue(vectors, found, decision.blend)
        seconds["blend"] = lap()
        scene = scenes.Scene(every, made, blended, common)
        seconds["titles"] = lap()
        pairs = scene.candidates()
        probabilities, apart = np.empty(len(pairs)), np.empty(len(pairs), bool)
        for block, gathered in scene.evidence(pairs):
            apart[block] = evidence.contradictions(gathered)
            seconds["evidence"] += lap()
            probabilities[block] = decision.probability(gathered)
            seconds["probability"] += lap()
        judged = scenes.judged_pairs(len(titles), pairs, probabilities, apart)
        shift = priors.prior_shift(every, judged)
        limit, keys = decision.clusters_from(shift), np.array(titles, object)
        clusters = cohesion.cohesive_clusters(len(titles), judged.edges, limit, apart=judged.apart, keys=keys)
        seconds["cluster"] = lap()
        lists = clustering.lists_of(len(titles), judged.edges, _LISTED)
        decision.accepted(np.where(lists.ids >= 0, lists.scores, 0).astype(np.float64), shift=shift)
        seconds["choice"] = lap()
        told.append(seconds)
        return {"clusters": len(np.unique(clusters)), "pairs": len(pairs), "phases": told}

    return run


def _clock() -> Callable[[], float]:
    """A clock that tells the seconds since it was last asked."""
    last = time.perf_counter()

    def lap() -> float:
        nonlocal last
        before, last = last, time.perf_counter()
        return last - before

    return lap


def search_bare(options: Options) -> Run:
    """One exact FAISS search of all vectors among themselves, in one call."""
    faiss, vectors = import_module("faiss"), np.load(options["vectors"])

    def run() -> dict[str, Any]:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        index.search(vectors, options["k"])
        return {}

    return run


def communities(options: Options) -> Run:
    """sentence-transformers' ``community_detection`` of the same vectors at the threshold that is its default."""
    detect, vectors = import_module("sentence_transformers.util").community_detection, np.load(options["vectors"])

    def run() -> dict[str, Any]:
        groups = detect(vectors, min_community_size=2)
        return {"clusters": len(groups) + len(vectors) - sum(map(len, groups))}

    return run


def catalogue(options: Options) -> Run:
    """What ``dongil cluster`` does between reading and writing, with the seconds of each phase."""
    encoder, titles = _encoder(options), _titles(options)
    matchers = import_module("index.matcher")
    encoder.encode(titles[:_WARM])

    def run() -> dict[str, Any]:
        start = time.perf_counter()
        last: dict[str, float] = {}

        def progress(phase: str, done: int, total: int) -> None:
            last[phase] = time.perf_counter() if done <= total else start

        ids = [str(row) for row in range(len(titles))]
        matcher = matchers.Matcher.from_items(ids, titles, encoder, device="cpu", progress=progress)
        blended, pairs = last.get("blend", last["search"]), len(matcher.pairs.edges)
        judged = time.perf_counter()
        clusters = matcher.cluster()
        end = time.perf_counter()
        phases = {
            "encode": last["encode"] - start, "search": last["search"] - last["encode"],
            "blend": blended - last["search"], "judge": judged - blended, "cluster": end - judged,
        }  # fmt: skip
        return {"phases": phases, "clusters": len(set(clusters)), "pairs": pairs, "recall": matcher.index.recall}

    return run
