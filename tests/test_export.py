"""Whatever the encoder, pooling and head: the served graph answers as the model does, and to each title alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

import onnx  # noqa: E402
from bases import KINDS, TITLES, tiny_base  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from embedder.bundle import BundleConfig, write_bundle  # noqa: E402
from embedder.encoder import Encoder  # noqa: E402
from embedder.errors import InputError  # noqa: E402
from embedder.text import clean  # noqa: E402
from training import export as module  # noqa: E402
from training.backbone import load_tokenizer  # noqa: E402
from training.export import Batch, check_parity, export, trace  # noqa: E402
from training.model import TitleModel, encode  # noqa: E402
from training.train import TrainConfig, new_model  # noqa: E402
from training.vocabulary import learn_vocabulary  # noqa: E402

HEADS: list[dict[str, Any]] = [
    {}, {"pooling": "cls"}, {"dimension": 8}, {"batch_norm": True},
    {"pooling": "cls", "dimension": 8, "batch_norm": True},
]  # fmt: skip
SMALL = {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 64, "max_length": 24}


def made(base: str, **changes: Any) -> tuple[TitleModel, Tokenizer]:
    """A model whose batch norm has seen something, and its tokenizer."""
    if base == "small":
        tokenizer = learn_vocabulary(TITLES, 300)
        tokenizer.enable_truncation(24)
        model = new_model(TrainConfig(**SMALL, **changes), tokenizer.get_vocab_size())
    else:
        config = TrainConfig(base=base, max_length=24, **changes)
        model, tokenizer = new_model(config, 0), load_tokenizer(base, 24, config.pooling)
    if model.norm is not None:
        torch.manual_seed(1)
        for name in ("running_mean", "bias"):
            getattr(model.norm, name).data.normal_()
        for name in ("running_var", "weight"):
            getattr(model.norm, name).data.uniform_(0.5, 2)
    return model.eval(), tokenizer


def batches_of(tokenizer: Tokenizer) -> list[Batch]:
    texts = sorted(TITLES, key=len)
    encoded = [tokenizer.encode_batch(texts[at : at + 16]) for at in range(0, len(texts), 16)]
    return [(torch.tensor([e.ids for e in b]), torch.tensor([e.attention_mask for e in b])) for b in encoded]


def served(folder: Path, model: TitleModel, tokenizer: Tokenizer, precision: str) -> Encoder:
    """The encoder of a bundle with the graph of a precision."""
    data = dict(export(model, batches_of(tokenizer)))[precision]
    rows = model.bert.config.vocab_size
    about = BundleConfig("tiny", model.dimension, rows, 24, precision, pooling=model.pooling)
    text = tokenizer.to_str()
    bundle = write_bundle(folder, about, model=data, tokenizer=text, decision={}, metrics={}, card="")
    return Encoder(bundle, threads=1, device="cpu")


def check(encoder: Encoder, model: TitleModel, tokenizer: Tokenizer, least: float) -> None:
    titles = [*TITLES[:30], TITLES[0] * 9, "라"]
    vectors = encoder.encode(titles)
    expected = encode(model, tokenizer, [clean(title) for title in titles])
    assert vectors.shape == expected.shape == (len(titles), model.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * expected).sum(1).min() > least
    # Padding, company and order change nothing, in int8 either.
    np.testing.assert_allclose(encoder.encode(titles, tokens_per_batch=1), vectors, atol=2e-6)
    np.testing.assert_allclose(encoder.encode(titles[::-1])[::-1], vectors, atol=2e-6)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_is_served(tmp_path: Path, kind: str, precision: str) -> None:
    model, tokenizer = made(str(tiny_base(tmp_path / "base", kind)))
    encoder = served(tmp_path / "bundle", model, tokenizer, precision)
    check(encoder, model, tokenizer, 0.99999 if precision == "float32" else 0.995)


@pytest.mark.parametrize("changes", HEADS, ids=str)
@pytest.mark.parametrize("own", [True, False])
def test_every_head_is_served(tmp_path: Path, changes: dict[str, Any], own: bool) -> None:
    base = "small" if own else str(tiny_base(tmp_path / "base"))
    model, tokenizer = made(base, **changes)
    for precision, least in (("float32", 0.99999), ("int8", 0.99)):
        encoder = served(tmp_path / precision, model, tokenizer, precision)
        check(encoder, model, tokenizer, least)


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    model, tokenizer = made(str(tiny_base(tmp_path / "base")))
    batches = batches_of(tokenizer)
    assert dict(export(model, batches)) == dict(export(model, batches))


def test_shared_layers_are_stored_once(tmp_path: Path) -> None:
    counts: dict[int, dict[str, int]] = {}
    for layers in (2, 6):
        base = tiny_base(tmp_path / f"base-{layers}", "albert", num_hidden_layers=layers)
        model, tokenizer = made(str(base))
        counts[layers] = {
            name: sum(len(one.raw_data) for one in onnx.load_from_string(data).graph.initializer)
            for name, data in export(model, batches_of(tokenizer))
        }
    assert counts[2] == counts[6]


def test_int8_is_a_quarter_of_the_size(tmp_path: Path) -> None:
    wide = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}
    model, tokenizer = made(str(tiny_base(tmp_path / "base", "bert", **wide)))
    sizes = {name: len(data) for name, data in export(model, batches_of(tokenizer))}
    assert sizes["int8"] < 0.35 * sizes["float32"]


def test_a_tokenizer_of_bytes_reads_everything(tmp_path: Path) -> None:
    model, tokenizer = made(str(tiny_base(tmp_path / "base", "roberta")))
    encoder = served(tmp_path / "bundle", model, tokenizer, "float32")
    assert [bool(ids) for ids in encoder.tokenize(["ꆈꌠꁱꂷ", "라면", "", "★"])] == [True, True, False, False]


def test_a_word_that_no_piece_spells_is_not_read(tmp_path: Path) -> None:
    model, tokenizer = made(str(tiny_base(tmp_path / "base")))
    encoder = served(tmp_path / "bundle", model, tokenizer, "float32")
    assert [bool(ids) for ids in encoder.tokenize(["ꆈꌠꁱꂷ", "라면"])] == [False, True]


# The gate


def test_a_graph_of_another_model_is_refused(tmp_path: Path) -> None:
    model, tokenizer = made(str(tiny_base(tmp_path / "base")))
    batches = batches_of(tokenizer)
    data = trace(model).SerializeToString()
    assert check_parity(model, data, batches) > 0.99999
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.normal_()
    with pytest.raises(InputError, match=r"answers otherwise than the trained model: a cosine of -?0\.\d+; expected"):
        check_parity(model, data, batches)


def test_a_vector_that_is_no_number_is_refused(tmp_path: Path) -> None:
    model, tokenizer = made(str(tiny_base(tmp_path / "base")))
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="a cosine of nan"):
        next(export(model, batches_of(tokenizer)))


def test_an_encoder_that_torch_cannot_trace_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no symbol for it")

    model, _ = made(str(tiny_base(tmp_path / "base")))
    monkeypatch.setattr(module.torch.onnx, "export", fail)
    with pytest.raises(InputError, match="torch cannot trace BertModel into ONNX: no symbol for it"):
        trace(model)


def test_int8_needs_nothing_but_the_operators_that_serving_has(tmp_path: Path) -> None:
    model, tokenizer = made(str(tiny_base(tmp_path / "base", "albert")))
    for _, data in export(model, batches_of(tokenizer)):
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        assert [(one.name, one.type, one.shape) for one in session.get_inputs()] == [
            ("input_ids", "tensor(int64)", ["batch", "tokens"]), ("lengths", "tensor(int32)", ["batch"]),
        ]  # fmt: skip
        assert [one.name for one in session.get_outputs()] == ["vectors"]
