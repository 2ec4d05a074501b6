"""The recipe: labelled files in, a bundle out.

Reads the labels, learns a vocabulary, trains, chooses the decision on validation products, exports, holds float32
and int8 against each other, measures the test products once, and writes the bundle with its card. It ties the other
modules of this folder together and holds no method of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from embedder.bundle import Bundle, BundleConfig, load_bundle, write_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from embedder.text import clean
from index.items import read_items
from index.vectors import VectorIndex, Vectors
from training.card import model_card
from training.decide import Choice, Pool, choose_decision, scores_at
from training.evaluate import row_curve
from training.export import calibrate, to_onnx
from training.labels import Labelled, gather_products, read_labelled
from training.train import TitleModel, TrainConfig, Trainer, encode
from training.vocabulary import learn_vocabulary

INT8_MAY_LOSE = 0.003  # row-F1 on validation products, against float32
_ENOUGH_ROWS = 150  # validation rows; a smaller set is not asked when a larger one can be
_FEWEST_ROWS = 20
_POOL = 20_000  # rows of the pool in which rows are judged, at most
_QUICK_POOL = 5_000  # the same while training
_Report = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Recipe:
    """What a bundle is made from; it stands in the card.

    Attributes:
        labelled: files of titles with a product id.
        unlabelled: files of titles alone.
        test_where: (column, value) of a published test part; see ``read_labelled``.
        weights: of a set in the choice of model and decision, by name; 1 where not named.
        command: as the user typed it.
        notes: what the card is to say of data, teacher and licences.
    """

    labelled: Sequence[str]
    unlabelled: Sequence[str] = ()
    test_where: tuple[str, str] | None = None
    weights: dict[str, float] = field(default_factory=dict)
    command: str = ""
    notes: str = ""


def make_bundle(recipe: Recipe, output: str | Path, config: TrainConfig, work: Path, report: _Report) -> Bundle:
    """Run a recipe. ``work`` keeps checkpoints: the same call takes up where an interrupted one stood.

    Raises:
        InputError: a file cannot be used, no set has enough validation rows to choose by, or the output is in the way.
    """
    sets = [read_labelled(path, test_where=recipe.test_where) for path in recipe.labelled]
    unlabelled = [title for path in recipe.unlabelled for title in read_items(path).titles]
    products = gather_products(sets, unlabelled)
    judged = _judged(sets)
    tokenizer = _vocabulary(work / "tokenizer.json", products.titles, config)

    def validate(model: TitleModel, tokenizer: Tokenizer) -> dict[str, float]:
        def vectors(titles: list[str]) -> Vectors:
            return encode(model, tokenizer, [clean(title) or title for title in titles])

        scores = {s.name: _validation_f1(s, vectors) for s in judged}
        weights = [recipe.weights.get(name, 1.0) for name in scores]
        return scores | {"score": float(np.average(list(scores.values()), weights=weights))}

    model, history = Trainer(config, products, tokenizer, work, validate, report).run()
    return _pack(recipe, output, config, sets, judged, products.titles, model, tokenizer, history)


def _judged(sets: Sequence[Labelled]) -> list[Labelled]:
    """The sets whose validation rows choose model and decision."""
    for enough in (_ENOUGH_ROWS, _FEWEST_ROWS):
        if judged := [s for s in sets if s.splits.count("validation") >= enough and s.splits.count("test")]:
            return judged
    raise InputError(
        f"no file has {_FEWEST_ROWS} validation rows and a test part (10 % and 20 % of the products) to choose and "
        "prove a threshold by; expected more labelled rows"
    )


def _vocabulary(path: Path, titles: list[str], config: TrainConfig) -> Tokenizer:
    """The run's vocabulary: learnt once, then kept with its checkpoints."""
    if path.exists():
        return Tokenizer.from_file(str(path))
    tokenizer = learn_vocabulary(titles, config.vocabulary)
    tokenizer.enable_truncation(config.max_length)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return tokenizer


def parse_config(text: str) -> TrainConfig:
    """``"layers=4,seed=1"`` as a configuration.

    Raises:
        InputError: a name that TrainConfig does not have, or a value of another type.
    """
    known: dict[str, type] = {f.name: type(f.default) for f in fields(TrainConfig)}
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in known:
            raise InputError(f"no setting {name!r}; expected one of {', '.join(known)}")
        try:
            values[name] = known[name](value)
        except ValueError as error:
            raise InputError(f"setting {name} is {value!r}; expected {known[name].__name__}") from error
    return TrainConfig(**values)


def pool_of(
    labelled: Labelled,
    split: str,
    encoder: Callable[[list[str]], Vectors],
    *,
    weight: float = 1.0,
    size: int = _POOL,
) -> Pool:
    """The rows of a split, judged among training rows of their set: ``size`` rows in all, at most.

    Of more rows than that, as many as fit are judged.
    """
    judged, others = labelled.part(split), labelled.part("train")
    titles, labels = judged[0][:size], judged[1][:size]
    keep = np.random.default_rng(0).permutation(len(others[0]))[: size - len(titles)]
    pool = titles + [others[0][i] for i in keep]
    return Pool(
        labelled.name, encoder(pool), labels + [others[1][i] for i in keep], np.arange(len(titles)), weight
    )  # fmt: skip


def _validation_f1(labelled: Labelled, encoder: Callable[[list[str]], Vectors]) -> float:
    """Best row-F1 of a set's validation rows over all thresholds, by plain cosine in a pool that is quick to encode."""
    pool = pool_of(labelled, "validation", encoder, size=_QUICK_POOL)
    found = VectorIndex.from_vectors(pool.vectors, exact=True).search(pool.vectors[pool.rows], 20)
    curve = row_curve(found, pool.labels, pool.rows)
    return round(float(curve.f1[curve.best]), 4)


def _pack(
    recipe: Recipe,
    output: str | Path,
    config: TrainConfig,
    sets: Sequence[Labelled],
    judged: Sequence[Labelled],
    titles: list[str],
    model: TitleModel,
    tokenizer: Tokenizer,
    history: list[dict[str, Any]],
) -> Bundle:
    model.eval()
    scales = calibrate(model, _sample_batches(tokenizer, titles))
    choices: dict[str, tuple[Choice, bytes]] = {}
    about = BundleConfig(
        architecture=f"BERT, {config.layers} layers, hidden {config.hidden}, feed-forward {config.intermediate}, ReLU",
        dimensions=config.hidden,
        vocabulary=model.bert.config.vocab_size,
        max_length=config.max_length,
        precision="int8",
    )
    metrics: dict[str, Any] = {"history": history, "config": asdict(config)}
    with tempfile.TemporaryDirectory() as folder:
        for precision, graph in (("float32", to_onnx(model)), ("int8", to_onnx(model, scales))):
            data = graph.SerializeToString()
            bundle = _draft(Path(folder) / precision, about, precision, data, tokenizer)
            encoder = Encoder(bundle)
            pools = [pool_of(s, "validation", encoder.encode, weight=recipe.weights.get(s.name, 1.0)) for s in judged]
            choices[precision] = choose_decision(pools), data
            metrics[precision] = {"validation": choices[precision][0].by_set, "row_f1": choices[precision][0].f1}
        lost = choices["float32"][0].f1 - choices["int8"][0].f1
        precision = "int8" if lost <= INT8_MAY_LOSE else "float32"
        choice, data = choices[precision]
        encoder = Encoder(load_bundle(Path(folder) / precision))
        metrics["tried"], metrics["precision"] = choice.tried, {"served": precision, "int8_loses": lost}
        metrics["test"] = _measure(choice, [pool_of(s, "test", encoder.encode) for s in judged])
    about = BundleConfig(**(asdict(about) | {"precision": precision}))
    card = model_card(
        recipe, config, about, choice, metrics, [(s.name, len(s.titles), len(set(s.groups))) for s in sets]
    )
    return write_bundle(
        output, about, model=data, tokenizer=tokenizer.to_str(),
        decision=choice.decision.to_json() | {"chosen_on": choice.by_set}, metrics=metrics, card=card,
    )  # fmt: skip


def _draft(folder: Path, about: BundleConfig, precision: str, model: bytes, tokenizer: Tokenizer) -> Bundle:
    about = BundleConfig(**(asdict(about) | {"precision": precision}))
    return write_bundle(
        folder, about, model=model, tokenizer=tokenizer.to_str(), decision={}, metrics={}, card=""
    )  # fmt: skip


def _sample_batches(tokenizer: Tokenizer, titles: list[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    chosen: npt.NDArray[np.int64] = np.random.default_rng(0).permutation(len(titles))[:4096]
    texts = sorted((titles[i] for i in chosen), key=len)
    encoded = [tokenizer.encode_batch_fast(texts[i : i + 64]) for i in range(0, len(texts), 64)]
    return [
        (torch.tensor([e.ids for e in batch]), torch.tensor([e.attention_mask for e in batch])) for batch in encoded
    ]


def _measure(choice: Choice, pools: Sequence[Pool]) -> dict[str, dict[str, float]]:
    """Test rows, at the decision chosen on validation rows: measured once, for the card."""
    return {pool.name: scores_at(choice.decision, pool) for pool in pools}
