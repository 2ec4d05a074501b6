"""The recipe: labelled files in, a bundle out.

Reads the labels, learns a vocabulary, trains, chooses the decision on validation products, exports, holds float32
and int8 against each other, measures the test products once, and writes the bundle with its card. It ties the other
modules of this folder together and holds no method of its own.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from embedder.bundle import Bundle, BundleConfig, load_bundle, write_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from embedder.text import clean
from index.blending import BlendConfig
from index.items import read_items
from index.vectors import Vectors
from training.backbone import SMALL, load_tokenizer
from training.card import model_card
from training.export import Batch, export
from training.folds import Scores, fold_set, over_folds, withheld_set
from training.judging import decide, deciding_files, judged_sets, mean_f1, measure, validation_f1
from training.labels import Columns, Labelled, Products, gather_products, read_labelled
from training.model import TitleModel, encode
from training.pools import background_of
from training.pseudo import join_pseudo
from training.teachers import ask_teachers
from training.team import Team
from training.train import STAGES, TrainConfig, Trainer
from training.vocabulary import learn_vocabulary

INT8_MAY_LOSE = 0.003  # row-F1 on validation products, against float32
FOLD_STEPS = 0.35  # of a run's steps, for an encoder whose vectors teach the decision and are never served
_LABELS = "labels.sha256"  # beside the checkpoints: what they were trained on
_Report = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Recipe:
    """What a bundle is made from; it stands in the card.

    Attributes:
        labelled: files of titles with a product id, or of labelled pairs of titles.
        unlabelled: files of titles alone.
        test_where: (column, value) of a published test part; see ``read_labelled``.
        weights: of a set in the choice of model and decision, by name; 1 where not named.
        command: as the user typed it.
        notes: what the card is to say of data, teacher and licences.
        columns: of the labelled files, where the known names do not do.
        conflicts: whether pairs that contradict each other stop the run, or the negative ones are left out.
        teachers: bundles that the model learns from beside its labels; see ``training.distill``.
        pseudo: (bundle, number): a teacher whose clusters of so many unlabelled titles train too; see
            ``training.pseudo``.
        folds: of how many models, each trained without its fold, out-of-fold scores are to stand in the metrics;
            0 for none. The bundle's own model is trained as ever, on the usual split.
        decision_folds: of how many encoders more, each trained in ``FOLD_STEPS`` of the steps without its fold of
            the train part, the pairs of that fold teach the decision; 0 for none: then validation products alone do.
        blend: how far vectors are blended before pairs are judged.
    """

    labelled: Sequence[str]
    unlabelled: Sequence[str] = ()
    test_where: tuple[str, str] | None = None
    weights: dict[str, float] = field(default_factory=dict)
    command: str = ""
    notes: str = ""
    columns: Columns = field(default_factory=Columns)
    conflicts: Literal["stop", "drop"] = "stop"
    folds: int = 0
    decision_folds: int = 0
    teachers: Sequence[str] = ()
    pseudo: tuple[str, int] | None = None
    blend: BlendConfig = field(default_factory=BlendConfig)


@dataclass(frozen=True)
class Fitted:
    """A trained model, the sets it may be judged on, the titles it was trained on, and its teachers' fingerprints."""

    model: TitleModel
    tokenizer: Tokenizer
    history: list[dict[str, Any]]
    judged: list[Labelled]
    titles: list[str]
    teachers: tuple[str, ...] = ()

    def encode(self, titles: list[str]) -> Vectors:
        """Vectors of raw titles, in float32."""
        return encode(self.model, self.tokenizer, [clean(title) or title for title in titles])


@dataclass(frozen=True)
class _Run:
    """What every encoder of a recipe is trained with."""

    recipe: Recipe
    unlabelled: Sequence[str]
    config: TrainConfig
    report: _Report
    team: Team

    def fit(self, sets: Sequence[Labelled], work: Path) -> Fitted:
        """Train on the train parts; the best model is that of the best validation score."""
        products = gather_products(sets, self.unlabelled)
        judged = judged_sets(sets)
        if self.recipe.pseudo:
            pseudo, alone = self.recipe.pseudo, products
            products = self.team.after_first(
                lambda: join_pseudo(alone, *pseudo, work, seed=self.config.seed, sure=self.config.pseudo_sure)
            )
            joined = np.diff(products.offsets)[products.sources == -1]
            self.report(
                "pseudo", int(joined[joined > 1].sum()), self.recipe.pseudo[1], {"products": float((joined > 1).sum())}
            )
        self.team.after_first(lambda: _note_labels(work, products))
        tokenizer = self.team.after_first(lambda: vocabulary_at(work / "tokenizer.json", products.titles, self.config))

        def validate(model: TitleModel, tokenizer: Tokenizer) -> dict[str, float]:
            now = Fitted(model, tokenizer, [], judged, products.titles)
            scores = {s.name: validation_f1(s, now.encode) for s in judged}
            weights = [self.recipe.weights.get(name, 1.0) for name in scores]
            return scores | {"score": float(np.average(list(scores.values()), weights=weights))}

        teachers = None
        if self.recipe.teachers:

            def asked(name: str, done: int, titles: int) -> None:
                self.report(f"teacher {name}", done, titles, {})

            titles = products.titles
            teachers = self.team.after_first(
                lambda: ask_teachers(self.recipe.teachers, titles, work / "teachers", asked)
            )
        model, history = Trainer(
            self.config, products, tokenizer, work, validate, self.report, teachers, self.team
        ).run()
        return Fitted(model, tokenizer, history, judged, products.titles, teachers.names if teachers else ())

    def fit_folds(self, parts: Sequence[Sequence[Labelled]], work: Path, what: str) -> list[Fitted]:
        """An encoder for each of these splits; their folders and what they report are named by ``what`` they are."""
        fitted = []
        for fold, part in enumerate(parts):

            def within(stage: str, step: int, steps: int, values: dict[str, float], fold: int = fold) -> None:
                self.report(f"{what} {fold + 1} of {len(parts)}, {stage}", step, steps, values)

            folder = work / f"{what.replace(' ', '-')}-{fold}-of-{len(parts)}"
            fitted.append(replace(self, report=within).fit(part, folder))
        return fitted

    def fold_scores(self, parts: Sequence[Sequence[Labelled]], work: Path) -> list[Scores]:
        """Of each fold: a model that never saw its products, a decision chosen on others, and the scores on them.

        Only the process that leads its team scores.
        """
        scores = []
        for fitted in self.fit_folds(parts, work, "fold"):
            if self.team.leads:
                common = background_of(fitted.titles)
                choice = decide(self.recipe, fitted.judged, fitted.encode, common)
                scores.append(measure(choice, fitted.judged, fitted.encode, common))
        return scores

    def shortened(self) -> _Run:
        """The same in ``FOLD_STEPS`` of the steps."""
        names = [f"{stage}_steps" for stage in STAGES]
        steps = {name: round(FOLD_STEPS * getattr(self.config, name)) for name in names}
        return replace(self, config=replace(self.config, **steps))


def make_bundle(
    recipe: Recipe,
    output: str | Path,
    config: TrainConfig,
    work: Path,
    report: _Report,
    say: Callable[[str], None] = lambda _: None,
    team: Team | None = None,
) -> Bundle | None:
    """Run a recipe. ``work`` keeps checkpoints: the same call takes up where an interrupted one stood.

    Args:
        say: is told, in a sentence each, what of the labels was left out.
        team: of the processes that train together; the first one packs, and the others return None.

    Raises:
        InputError: a file cannot be used, no set has enough validation rows to choose by, or the output is in the way.
    """
    check_output(Path(output))
    sets, unlabelled = read_sets(recipe), read_unlabelled(recipe)
    for one in sets:
        if one.conflicts:
            say(f"{one.name}: {one.conflicts:,} pairs called different left out: pairs called the same contradict them")
    run = _Run(recipe, unlabelled, config, report, team or Team())
    parts = [[fold_set(s, fold, recipe.folds) for s in sets] for fold in range(recipe.folds)]
    withheld = [[withheld_set(s, fold, recipe.decision_folds) for s in sets] for fold in range(recipe.decision_folds)]
    for some in (sets, *parts, *withheld):
        judged_sets(some)  # before hours are spent
    scores = run.fold_scores(parts, work)
    fitted = run.fit(sets, work)
    others = run.shortened().fit_folds(withheld, work, "decision fold")
    if not run.team.leads:
        return None
    return _pack(recipe, output, config, sets, fitted, others, {"folds": over_folds(scores)} if recipe.folds else {})


def check_output(output: Path) -> None:
    """Refuse a place that no bundle could be written to, before hours are spent.

    Raises:
        InputError: something else than a bundle stands there.
    """
    full = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if full and not (output / "config.json").is_file():
        raise InputError("something else stands here; expected a new folder or a model's", file=str(output))


def read_sets(recipe: Recipe) -> list[Labelled]:
    """The labelled files of a recipe. Raises as ``read_labelled``."""
    return [
        read_labelled(path, test_where=recipe.test_where, columns=recipe.columns, conflicts=recipe.conflicts)
        for path in recipe.labelled
    ]


def read_unlabelled(recipe: Recipe) -> list[str]:
    """The titles of a recipe's unlabelled files."""
    return [title for path in recipe.unlabelled for title in read_items(path).titles]


def check_labels(work: Path, products: Products) -> str:
    """Refuse checkpoints of a run on other labels: its held-out products may be those trained on now.

    Returns:
        What tells these labels from others, as text.

    Raises:
        InputError: the run in this folder has other titles, products or sides.
    """
    content = (products.titles, *(a.tolist() for a in (products.offsets, products.sources, products.negatives)))
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    path = work / _LABELS
    if path.exists() and path.read_text(encoding="utf-8") != digest:
        raise InputError("a run on other labels; expected the same ones, or another folder", file=str(work))
    return digest


def _note_labels(work: Path, products: Products) -> None:
    """Note beside the checkpoints what they are trained on."""
    digest = check_labels(work, products)
    work.mkdir(parents=True, exist_ok=True)
    (work / f"{_LABELS}.new").write_text(digest, encoding="utf-8")
    (work / f"{_LABELS}.new").replace(work / _LABELS)


def vocabulary_at(path: Path, titles: list[str], config: TrainConfig) -> Tokenizer:
    """The base's tokenizer; for our small model a vocabulary that is learnt once, then kept with the checkpoints.

    Raises:
        InputError: the base or its tokenizer cannot be used; see ``load_tokenizer``.
    """
    if config.base != SMALL:
        return load_tokenizer(config.base, config.max_length, config.pooling)
    if path.exists():
        return Tokenizer.from_file(str(path))
    tokenizer = learn_vocabulary(titles, config.vocabulary)
    tokenizer.enable_truncation(config.max_length)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return tokenizer


def _pack(
    recipe: Recipe,
    output: str | Path,
    config: TrainConfig,
    sets: Sequence[Labelled],
    fitted: Fitted,
    others: Sequence[Fitted],
    more: dict[str, Any],
) -> Bundle:
    model, tokenizer, judged, titles = fitted.model, fitted.tokenizer, fitted.judged, fitted.titles
    about = BundleConfig(
        architecture=_architecture(model, config),
        dimensions=model.dimension,
        vocabulary=model.bert.config.vocab_size,
        max_length=config.max_length,
        precision="int8",
        pooling=config.pooling,
    )
    metrics: dict[str, Any] = {"history": fitted.history, "config": asdict(config)} | more
    if others:
        metrics["decision_folds"] = len(others)
    if fitted.teachers:
        metrics["teachers"] = list(fitted.teachers)
    common = background_of(titles)
    with tempfile.TemporaryDirectory() as folder:
        graphs, plain = dict(export(model, sample_batches(tokenizer, titles))), {}
        for precision, data in graphs.items():
            encoder = Encoder(_draft(Path(folder) / precision, about, precision, data, tokenizer))
            plain[precision] = mean_f1(recipe, judged, encoder.encode)
        lost = plain["float32"] - plain["int8"]
        precision = "int8" if lost <= INT8_MAY_LOSE else "float32"
        encoder = Encoder(load_bundle(Path(folder) / precision))
        choice = decide(recipe, judged, encoder.encode, common, [(other.judged, other.encode) for other in others])
        metrics |= {"validation": choice.by_set, "calibration": choice.calibration}
        metrics["precision"] = {"served": precision, "int8_loses": lost} | plain
        metrics["test"] = measure(choice, judged, encoder.encode, common)
    about = BundleConfig(**(asdict(about) | {"precision": precision}))
    card = model_card(
        recipe, config, about, choice, metrics, [(s.name, len(s.titles), len(set(s.groups))) for s in sets]
    )
    return write_bundle(
        output, about, model=graphs[precision], tokenizer=tokenizer.to_str(),
        decision=choice.to_json(), metrics=metrics, card=card,
        more=deciding_files(choice, common),
    )  # fmt: skip


def _architecture(model: TitleModel, config: TrainConfig) -> str:
    """The model in words a person reads."""
    if config.base == SMALL:
        return f"BERT, {config.layers} layers, hidden {config.hidden}, feed-forward {config.intermediate}, ReLU"
    shape, name = model.bert.config, Path(config.base).name if Path(config.base).is_dir() else config.base
    layers = getattr(shape, "num_hidden_layers", "?")
    return f"{type(model.bert).__name__} of {name}, {layers} layers, hidden {shape.hidden_size}"


def _draft(folder: Path, about: BundleConfig, precision: str, model: bytes, tokenizer: Tokenizer) -> Bundle:
    about = BundleConfig(**(asdict(about) | {"precision": precision}))
    return write_bundle(
        folder, about, model=model, tokenizer=tokenizer.to_str(), decision={}, metrics={}, card=""
    )  # fmt: skip


def sample_batches(tokenizer: Tokenizer, titles: list[str]) -> list[Batch]:
    """Titles drawn by a fixed seed, 4,096 at most, in batches of like length: an export is held by them."""
    chosen: npt.NDArray[np.int64] = np.random.default_rng(0).permutation(len(titles))[:4096]
    texts = sorted((titles[i] for i in chosen), key=len)
    encoded = [tokenizer.encode_batch_fast(texts[i : i + 64]) for i in range(0, len(texts), 64)]
    return [
        (torch.tensor([e.ids for e in batch]), torch.tensor([e.attention_mask for e in batch])) for batch in encoded
    ]
