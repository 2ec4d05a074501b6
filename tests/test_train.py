"""Training learns, resumes exactly, and what is exported answers as the trained model does."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

from tokenizers import Tokenizer  # noqa: E402

from embedder.errors import InputError  # noqa: E402
from training.export import calibrate, to_onnx  # noqa: E402
from training.labels import Labelled, Products, gather_products  # noqa: E402
from training.train import Sampler, TitleModel, TrainConfig, Trainer, embed, encode, new_model  # noqa: E402
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


def trainer(folder: Path, products: Products, tokenizer: Tokenizer, stop_after: int = 10**9) -> Trainer:
    """A run whose every validation is better than the last, and that is killed as the given one is told."""

    def validate(model: TitleModel, _: Tokenizer) -> dict[str, float]:
        return {"score": float(len(run.history))}

    def report(stage: str, done: int, steps: int, values: dict[str, float]) -> None:
        if "score" in values and len(run.history) >= stop_after:
            raise KeyboardInterrupt

    run = Trainer(TINY, products, tokenizer, folder, validate, report)
    return run


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
