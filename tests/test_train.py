"""Training learns, resumes exactly, and what is exported answers as the trained model does."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

from pytorch_metric_learning.losses import ArcFaceLoss, SupConLoss  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from embedder.errors import InputError  # noqa: E402
from training.graph import calibrate, to_onnx  # noqa: E402
from training.labels import Labelled, Products, gather_products  # noqa: E402
from training.losses import SteadyArcFace  # noqa: E402
from training.model import TitleModel, embed, encode  # noqa: E402
from training.sampling import Batch, Sampler, class_batches, contrast_batches  # noqa: E402
from training.train import TrainConfig, Trainer, branch_off, new_model  # noqa: E402
from training.vocabulary import learn_vocabulary  # noqa: E402

TINY = TrainConfig(
    hidden=32, layers=2, heads=2, intermediate=64, vocabulary=400, max_length=24, contrast_steps=6, arcface_steps=6,
    products_per_batch=12, decoys_per_batch=4, validate_every=3, neighbours_per_draw=3,
)  # fmt: skip


def titles_of(product: int) -> list[str]:
    rng = random.Random(product)
    brand, thing = rng.choice(["농심", "오뚜기", "삼성"]), rng.choice(["라면", "참기름", "이어폰"])
    return [f"{brand} {thing} {product}호 120g", f"{brand}){thing}{product}호 120g 무료"][
        : 1 + product % 2 + product % 3 % 2
    ]


@pytest.fixture(scope="module")
def products() -> Products:
    rows = [(title, f"p{product}") for product in range(60) for title in titles_of(product)]
    labelled = Labelled("toy", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows))
    return gather_products([labelled], [f"아무 상품 {i}개" for i in range(30)])


@pytest.fixture(scope="module")
def tokenizer(products: Products) -> Tokenizer:
    tokenizer = learn_vocabulary(products.titles, TINY.vocabulary)
    tokenizer.enable_truncation(TINY.max_length)
    return tokenizer


def trainer(
    folder: Path, products: Products, tokenizer: Tokenizer, stop_after: int = 10**9, config: TrainConfig = TINY
) -> Trainer:
    """A run whose every validation is better than the last, and that is killed as the given one is told."""

    def validate(model: TitleModel, _: Tokenizer) -> dict[str, float]:
        return {"score": float(len(run.history))}

    def report(stage: str, done: int, steps: int, values: dict[str, float]) -> None:
        if "score" in values and len(run.history) >= stop_after:
            raise KeyboardInterrupt

    run = Trainer(config, products, tokenizer, folder, validate, report)
    return run


def the_plain_loop(products: Products, tokenizer: Tokenizer) -> dict[str, torch.Tensor]:
    """What a run with the default loss is, written out: the weights that it must end with, to the last bit."""
    model = new_model(TINY, tokenizer.get_vocab_size())
    contrast = SupConLoss(temperature=TINY.temperature)

    def steps(batches: Iterator[Batch], number: int, rate: float, centres: ArcFaceLoss | None) -> None:
        groups = [{"params": list(model.parameters()), "rate": rate}]
        if centres is not None:
            groups += [{"params": [centres.W], "rate": TINY.centre_learning_rate, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=TINY.weight_decay)
        for step in range(number):
            batch = next(batches)
            factor = 1.0 if step < 1 else 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - 1) / (number - 1)))
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * factor
            vectors, labels = embed(model, tokenizer, batch.titles, bfloat16=True), torch.tensor(batch.labels)
            loss = contrast(vectors, labels)
            if centres is not None:
                ramp = min(1.0, 2 * step / number)
                centres.margin = math.radians(TINY.margin_start + ramp * (TINY.margin_end - TINY.margin_start))
                loss = centres(vectors[labels >= 0], labels[labels >= 0]) + TINY.contrast_weight * loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    steps(contrast_batches(Sampler(products, TINY)), TINY.contrast_steps, TINY.learning_rate, None)
    classes = Trainer(TINY, products, tokenizer, Path(), lambda *_: {}, lambda *_: None)._classes()
    head = SteadyArcFace(len(classes), TINY.hidden, scale=TINY.scale)
    owners = [(title, row) for row, product in enumerate(classes) for title in products.of(int(product))]
    sums = np.zeros((len(classes), TINY.hidden), np.float32)
    np.add.at(sums, [row for _, row in owners], encode(model, tokenizer, [title for title, _ in owners]))
    with torch.no_grad():
        head.W.copy_(torch.from_numpy(sums / np.linalg.norm(sums, axis=1, keepdims=True)).T)
    sampler = Sampler(products, TINY, labelled_only=True)
    batches = class_batches(sampler, classes, TINY.decoys_per_batch)
    steps(batches, TINY.arcface_steps, TINY.arcface_learning_rate, head)
    return model.state_dict()


def test_the_default_run_is_the_plain_loop(tmp_path: Path, products: Products, tokenizer: Tokenizer) -> None:
    model, _ = trainer(tmp_path, products, tokenizer).run()
    for name, value in the_plain_loop(products, tokenizer).items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0, msg=name)


VARIANTS = (
    {"loss": "subcenter"}, {"loss": "cosface"}, {"loss": "adaptive+multisimilarity:0.3"}, {"loss": "supcon"},
    {"loss": "arcface+supcon:0.5"}, {"loss": "arcface+cached-ranking"}, {"centre_share": 0.3},
    {"loss": "subcenter", "centre_share": 0.3, "mine_every": 2}, {"mine_every": 1}, {"mine_every": 3},
    {"mine_every": 4}, {"mlm_steps": 5, "mlm_whole_words": True},
)  # fmt: skip


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_kind_of_run_learns_and_is_taken_up_exactly(
    tmp_path: Path, products: Products, tokenizer: Tokenizer, changes: dict[str, Any]
) -> None:
    config = replace(TINY, **changes)
    whole, _ = trainer(tmp_path / "whole", products, tokenizer, config=config).run()
    plain, _ = trainer(tmp_path / "plain", products, tokenizer).run()
    assert any(not torch.equal(value, plain.state_dict()[name]) for name, value in whole.state_dict().items())
    for stop_after in (1, 3):
        folder = tmp_path / f"stopped-{stop_after}"
        with pytest.raises(KeyboardInterrupt):
            trainer(folder, products, tokenizer, stop_after, config).run()
        resumed, history = trainer(folder, products, tokenizer, config=config).run()
        assert len(history) == 4
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_a_run_stopped_while_it_guesses_words_goes_on(tmp_path: Path, products: Products, tokenizer: Tokenizer) -> None:
    config = replace(TINY, mlm_steps=60)
    losses: dict[str, list[float]] = {"whole": [], "stopped": []}

    def run(name: str, stop: bool) -> TitleModel:
        def report(stage: str, done: int, steps: int, values: dict[str, float]) -> None:
            if stage == "mlm":
                losses[name].append(values["loss"])
                if stop:
                    raise KeyboardInterrupt

        return Trainer(config, products, tokenizer, tmp_path / name, lambda *_: {"score": 0.0}, report).run()[0]

    whole = run("whole", False)
    with pytest.raises(KeyboardInterrupt):
        run("stopped", True)  # told after 50 steps, of which 48 stand in a checkpoint
    resumed = run("stopped", False)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)
    assert losses["whole"][-1] < math.log(tokenizer.get_vocab_size()) - 0.3
    assert losses["stopped"][-1] == losses["whole"][-1]


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_a_stopped_run_ends_as_one_that_was_not(
    tmp_path: Path, products: Products, tokenizer: Tokenizer, stop_after: int
) -> None:
    whole, _ = trainer(tmp_path / "whole", products, tokenizer).run()
    stopped = trainer(tmp_path / "stopped", products, tokenizer, stop_after)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed, history = trainer(tmp_path / "stopped", products, tokenizer).run()
    assert len(history) == 4
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_another_configuration_does_not_take_up_a_run(tmp_path: Path, products: Products, tokenizer: Tokenizer) -> None:
    trainer(tmp_path, products, tokenizer).run()
    other = trainer(tmp_path, products, tokenizer)
    other.config = replace(TINY, seed=1)
    with pytest.raises(InputError, match="another configuration"):
        other.run()


@pytest.mark.parametrize("changes", [{}, {"loss": "subcenter"}, {"loss": "supcon", "centre_share": 0.3}], ids=str)
def test_a_branch_ends_as_a_whole_run(
    tmp_path: Path, products: Products, tokenizer: Tokenizer, changes: dict[str, Any]
) -> None:
    config = replace(TINY, **changes)
    whole, history = trainer(tmp_path / "whole", products, tokenizer, config=config).run()
    trainer(tmp_path / "first", products, tokenizer, config=replace(TINY, arcface_steps=0)).run()
    before = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    branch_off(tmp_path / "first", tmp_path / "branch", config)
    branch, told = trainer(tmp_path / "branch", products, tokenizer, config=config).run()
    assert told == history
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(branch.state_dict()[name], value, rtol=0, atol=0, msg=name)
    assert {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()} == before


@pytest.mark.parametrize("mined", [(2, 0), (0, 2)], ids=str)
def test_a_branch_is_mined_or_not_whatever_was_before(
    tmp_path: Path, products: Products, tokenizer: Tokenizer, mined: tuple[int, int]
) -> None:
    was, now = (replace(TINY, mine_every=every) for every in mined)
    trainer(tmp_path / "first", products, tokenizer, config=replace(was, arcface_steps=0)).run()
    branch_off(tmp_path / "first", tmp_path / "branch", now)
    assert len(trainer(tmp_path / "branch", products, tokenizer, config=now).run()[1]) == 4


def test_a_branch_needs_a_run_at_the_end_of_its_contrast(
    tmp_path: Path, products: Products, tokenizer: Tokenizer
) -> None:
    with pytest.raises(InputError, match="no checkpoint is here"):
        branch_off(tmp_path / "first", tmp_path / "branch", TINY)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "first", products, tokenizer, 2).run()
    with pytest.raises(InputError, match="a run at step 3 of contrast; expected step 6 of contrast"):
        branch_off(tmp_path / "first", tmp_path / "branch", TINY)
    with pytest.raises(InputError, match=r"setting temperature was 0\.05, is 0\.1"):
        branch_off(tmp_path / "first", tmp_path / "branch", replace(TINY, temperature=0.1))
    trainer(tmp_path / "first", products, tokenizer).run()
    with pytest.raises(InputError, match="a run at step 6 of arcface"):
        branch_off(tmp_path / "first", tmp_path / "branch", TINY)
    assert not (tmp_path / "branch").exists()


def test_training_brings_titles_of_a_product_together(tmp_path: Path, products: Products, tokenizer: Tokenizer) -> None:
    config = replace(TINY, contrast_steps=40, arcface_steps=20, validate_every=40)
    model, _ = Trainer(config, products, tokenizer, tmp_path, lambda *_: {"score": 0.0}, lambda *_: None).run()
    pairs = [products.of(i) for i in range(len(products)) if len(products.of(i)) == 2]

    def gap(model: TitleModel) -> float:
        left, right = (encode(model, tokenizer, [pair[side] for pair in pairs]) for side in (0, 1))
        cosines = left @ right.T
        own = float(np.trace(cosines)) / len(pairs)
        return own - float(cosines.sum() - np.trace(cosines)) / (cosines.size - len(pairs))

    assert gap(model) > gap(new_model(config, tokenizer.get_vocab_size())) + 0.1


def test_batches_hold_distinct_products_and_both_kinds(products: Products) -> None:
    sampler = Sampler(products, TINY)
    for _ in range(20):
        drawn = sampler.draw()
        assert len(drawn) == len(set(drawn)) == TINY.products_per_batch
        kinds = products.sources[drawn]
        assert (kinds == -1).sum() == round(TINY.products_per_batch * TINY.unlabelled_share)


def test_a_small_set_cannot_hang_the_sampler() -> None:
    labelled = Labelled("toy", ["a 1", "a 2"], ["a", "a"], ["train"] * 2)
    drawn = Sampler(gather_products([labelled]), TINY).draw()
    assert drawn == [0]


@pytest.fixture
def opposed() -> Products:
    """Ten products of two titles and thirty of one, some of them called different from others."""
    many = [(f"라면 {n}호 {way}", f"a{n}") for n in range(10) for way in ("순한맛", "매운맛")]
    alone = [(f"두부 {n}모", f"b{n}") for n in range(30)]
    rows = many + alone
    negatives = [(0, 20), (0, 14), (21, 25)]  # a0 and b0, a0 and a7, b1 and b5; none are neighbours
    return gather_products(
        [Labelled("p", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows), negatives)]
    )


def test_a_product_is_drawn_with_those_it_was_called_different_from(opposed: Products) -> None:
    at = {opposed.of(i)[0]: i for i in range(len(opposed))}
    a0, a7, b0, b1, b5 = (at[t] for t in ("라면 0호 순한맛", "라면 7호 순한맛", "두부 0모", "두부 1모", "두부 5모"))

    def together(products: Products, one: int, other: int) -> float:
        sampler = Sampler(products, replace(TINY, products_per_batch=6))
        drawn = [set(sampler.draw()) for _ in range(500)]
        assert all(len(batch) == 6 for batch in drawn)
        return sum({one, other} <= batch for batch in drawn) / sum(one in batch for batch in drawn)

    blind = replace(opposed, negatives=np.empty((0, 2), np.int64))
    for one, other in ((a0, b0), (a0, a7), (b1, b5)):
        # Not always: the batch may be full, or one may be there on another's account.
        assert together(opposed, one, other) > together(blind, one, other) + 0.1
        assert together(opposed, one, other) > 0.3


def test_a_product_with_many_negatives_does_not_fill_the_batch() -> None:
    titles = ["라면 1호", "라면 일호", *(f"두부 {n}모" for n in range(40))]
    groups = ["a", "a", *(f"b{n}" for n in range(40))]
    negatives = [(0, 2 + n) for n in range(40)]
    sampler = Sampler(gather_products([Labelled("p", titles, groups, ["train"] * 42, negatives)]), TINY)
    hub = sampler.products.titles.index("라면 1호")
    product = int(np.searchsorted(sampler.products.offsets, hub, side="right")) - 1
    assert len(sampler.against(product)) == TINY.neighbours_per_draw


def test_explicit_negatives_are_told_apart_and_never_classes(
    tmp_path: Path, opposed: Products, tokenizer: Tokenizer
) -> None:
    run = trainer(tmp_path, opposed, tokenizer)
    classes = run._classes()
    assert len(opposed.unjoined) == 3
    assert not set(classes.tolist()) & set(opposed.unjoined.tolist())
    batches = class_batches(Sampler(opposed, TINY, labelled_only=True), classes, TINY.decoys_per_batch)
    strangers = 0
    for _ in range(30):
        batch = next(batches)
        labels = batch.labels
        assert len(batch.titles) == len(labels) == len(batch.rows)
        assert max(labels) < len(classes)
        below = [label for label in labels if label < 0]
        drawn = {opposed.of(-1 - label)[0] for label in below if -1 - label < len(opposed)}
        assert drawn <= {"두부 0모", "두부 1모", "두부 5모"}
        strangers += len(drawn)
    assert strangers


def test_the_run_trains_on_explicit_negatives(tmp_path: Path, opposed: Products, tokenizer: Tokenizer) -> None:
    _, history = trainer(tmp_path, opposed, tokenizer).run()
    assert len(history) == 4


@pytest.mark.parametrize("number", [1, 2, 3])
def test_very_few_products_still_have_classes(tmp_path: Path, tokenizer: Tokenizer, number: int) -> None:
    rows = [(f"라면 {n}호 {way}", f"a{n}") for n in range(number) for way in "12"]
    few = gather_products([Labelled("p", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows))])
    assert len(trainer(tmp_path, few, tokenizer)._classes()) == number


def test_vectors_keep_the_order_of_titles(products: Products, tokenizer: Tokenizer) -> None:
    model = new_model(TINY, tokenizer.get_vocab_size()).eval()
    titles = products.titles[:70]
    together = embed(model, tokenizer, titles).detach().numpy()
    alone = np.concatenate([embed(model, tokenizer, [title]).detach().numpy() for title in titles])
    # autocast to bfloat16 is on while gradients are; without them the vectors agree to float32
    np.testing.assert_allclose((together * alone).sum(1), 1, atol=1e-3)
    np.testing.assert_allclose(encode(model, tokenizer, titles[:3]), encode(model, tokenizer, titles)[:3], atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_exported_graph_answers_as_the_model(products: Products, tokenizer: Tokenizer, precision: str) -> None:
    model = new_model(TINY, tokenizer.get_vocab_size()).eval()
    encoded = tokenizer.encode_batch(products.titles[:40])
    ids, mask = (torch.tensor([getattr(e, name) for e in encoded]) for name in ("ids", "attention_mask"))
    scales = calibrate(model, [(ids, mask)]) if precision == "int8" else None
    graph = to_onnx(model, scales).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    lengths = mask.sum(1).numpy().astype(np.int32)
    (vectors,) = session.run(None, {"input_ids": ids.numpy(), "lengths": lengths})
    with torch.no_grad():
        expected = model(ids, mask).numpy()
    cosines = (vectors * expected).sum(1)
    assert cosines.min() > (0.999999 if precision == "float32" else 0.998)
    # Padding and batch mates change nothing.
    row, length = 5, int(lengths[5])
    (alone,) = session.run(None, {"input_ids": ids.numpy()[row : row + 1, :length], "lengths": lengths[row : row + 1]})
    np.testing.assert_allclose(alone[0], vectors[row], atol=1e-6)


def test_int8_is_a_quarter_of_the_size(tokenizer: Tokenizer) -> None:
    model = new_model(replace(TINY, hidden=128, intermediate=512), tokenizer.get_vocab_size())
    ids = torch.ones((2, 5), dtype=torch.long)
    small = to_onnx(model, calibrate(model, [(ids, ids)])).ByteSize()
    assert small < 0.35 * to_onnx(model).ByteSize()


def test_another_activation_is_refused(tokenizer: Tokenizer) -> None:
    model = new_model(TINY, tokenizer.get_vocab_size())
    model.bert.config.hidden_act = "gelu"
    with pytest.raises(ValueError, match="hidden_act is 'gelu'"):
        to_onnx(model)
