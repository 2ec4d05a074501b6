"""A base is taken up whole, with its own tokenizer, or refused by name before any step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

import huggingface_hub.errors  # noqa: E402
import transformers  # noqa: E402
from bases import KINDS, SHAPE, TITLES, tiny_base  # noqa: E402
from conftest import ROOT  # noqa: E402

from embedder.errors import InputError  # noqa: E402
from training import backbone  # noqa: E402
from training.backbone import load_encoder, load_tokenizer  # noqa: E402
from training.labels import Labelled, gather_products  # noqa: E402
from training.model import encode  # noqa: E402
from training.train import TrainConfig, Trainer, default_config, new_model, uses_bfloat16  # noqa: E402

WEIGHTS = ROOT.parent / "shared" / "weights"


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_answers_as_transformers_has_it(tmp_path: Path, kind: str) -> None:
    base = str(tiny_base(tmp_path / "base", kind))
    tokenizer, encoder = load_tokenizer(base, 16, "mean"), load_encoder(base, 16)
    theirs = transformers.AutoTokenizer.from_pretrained(base)
    text = TITLES[3]
    assert tokenizer.encode(text).ids == theirs(text)["input_ids"]
    assert max(len(e.ids) for e in tokenizer.encode_batch([text * 30, text])) == 16
    padded = tokenizer.encode_batch(["라면", text])[0]
    assert padded.ids[-1] == theirs.pad_token_id
    assert padded.attention_mask[-1] == 0
    assert encoder.training
    assert all(weight.dtype == torch.float32 for weight in encoder.parameters())
    expected = transformers.AutoModel.from_pretrained(base).eval()(**theirs(text, return_tensors="pt"))
    ids = torch.tensor([tokenizer.encode(text).ids])
    found = encoder.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    transformers.AutoModel.from_pretrained(base).half().save_pretrained(base)
    assert next(load_encoder(str(base), 16).parameters()).dtype == torch.float32


def test_weights_in_torchs_own_format_are_read_as_tensors(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    model = transformers.AutoModel.from_pretrained(base)
    (base / "model.safetensors").unlink()
    torch.save(model.state_dict(), base / "pytorch_model.bin")
    found = load_encoder(str(base), 16).state_dict()
    for name, value in found.items():
        torch.testing.assert_close(value, model.state_dict()[name])


def test_the_masked_lm_head_is_no_matter(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    transformers.BertForMaskedLM.from_pretrained(base).save_pretrained(base)
    assert not any("pooler" in name or "cls" in name for name in load_encoder(str(base), 16).state_dict())


# What is refused


def edit(name: str, **changes: Any) -> Callable[[Path], object]:
    def apply(base: Path) -> None:
        about = json.loads((base / name).read_text(encoding="utf-8"))
        (base / name).write_text(json.dumps(about | changes), encoding="utf-8")

    return apply


def remove(name: str) -> Callable[[Path], object]:
    return lambda base: (base / name).unlink()


def become(kind: str, **more: Any) -> Callable[[Path], object]:
    def apply(base: Path) -> None:
        transformers.AutoConfig.for_model(kind, vocab_size=300, **more).save_pretrained(base)

    return apply


def own_code(base: Path) -> None:
    (base / "model.py").write_text("raise SystemExit('run')", encoding="utf-8")
    edit("config.json", model_type="mine", auto_map={"AutoConfig": "model.C", "AutoModel": "model.M"})(base)


def another_tokenizer(base: Path) -> None:
    other = tiny_base(base.parent / "other", "roberta")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(other / name, base / name)


def other_weights(base: Path) -> None:
    torch.save({"a": torch.zeros(1)}, base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "is no folder"),
    "no config": (remove("config.json"), "cannot be loaded: .*; expected a folder that holds"),
    "no weights": (remove("model.safetensors"), "cannot be loaded: .*no file named"),
    "weights cut short": (lambda b: (b / "model.safetensors").write_bytes(b"\x00" * 40), "cannot be loaded: "),
    "weights of another model": (other_weights, "has no weights for .* tensors of its BertModel, such as "),
    "a config that is no JSON": (lambda b: (b / "config.json").write_text("{"), "cannot be loaded: "),
    "decoder only": (become("gpt2"), "is gpt2, which is no text encoder"),
    "sequence to sequence": (become("t5"), "is t5, which writes a text from a text"),
    "BERT as a decoder": (edit("config.json", is_decoder=True), "is bert, which is no text encoder"),
    "an unknown architecture": (edit("config.json", model_type="mine"), "cannot be loaded: "),
    "code of its own": (own_code, "brings code of its own, which is never run"),
    "a tokenizer of another model": (another_tokenizer, "pieces, its model rows for .*; they are not of one model"),
    "no tokenizer": (remove("tokenizer.json"), "base .*; "),
    "another padding": (edit("config.json", pad_token_id=3), "pads with 0, its model with 3"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_base_is_refused(tmp_path: Path, name: str) -> None:
    base = tiny_base(tmp_path / "base")
    damage, message = BROKEN[name]
    damage(base)
    with pytest.raises(InputError, match=message) as told:
        load_tokenizer(str(base), 16, "mean")
        load_encoder(str(base), 16)
    assert "\n" not in str(told.value)


def test_a_tokenizer_without_a_fast_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        is_fast = False

    base = tiny_base(tmp_path / "base")
    monkeypatch.setattr(backbone.AutoTokenizer, "from_pretrained", lambda *_, **__: Slow())
    with pytest.raises(InputError, match=r"\(Slow\) has no fast form"):
        load_tokenizer(str(base), 16, "mean")


def test_titles_longer_than_its_positions_are_refused(tmp_path: Path) -> None:
    base = str(tiny_base(tmp_path / "base", "roberta"))
    load_encoder(base, 64)  # positions begin behind the padding's: 66 hold 64 tokens
    with pytest.raises(InputError, match=r"cannot read titles of 65 tokens \(it has 66 positions\)"):
        load_encoder(base, 65)


def test_a_base_too_large_for_a_bundle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "_MOST_BYTES", 1_000)
    with pytest.raises(InputError, match="expected less than the 2 GiB of an ONNX file"):
        load_encoder(str(tiny_base(tmp_path / "base")), 16)


def test_cls_pooling_needs_a_token_to_pool(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    assert load_tokenizer(str(base), 16, "cls").encode("라면").tokens[0] == "[CLS]"
    edit("tokenizer.json", post_processor=None)(base)
    with pytest.raises(InputError, match=r"pooling is cls, but base .* begins a title with no special token"):
        load_tokenizer(str(base), 16, "cls")


@pytest.mark.parametrize("base", ["../no/such/folder", "./model", "/nowhere", "a/b/c", ""])
def test_a_path_is_no_name_on_the_hub(base: str) -> None:
    with pytest.raises(InputError, match="is no folder and no name on the model hub; expected a folder"):
        load_encoder(base, 16)


@pytest.mark.parametrize(
    "cause",
    [
        huggingface_hub.errors.LocalEntryNotFoundError("offline"),
        huggingface_hub.errors.OfflineModeIsEnabled("offline"),
        ConnectionError("no route"),
    ],
)
def test_without_the_hub_the_error_says_what_to_pass(monkeypatch: pytest.MonkeyPatch, cause: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect") from cause

    monkeypatch.setattr(backbone.AutoConfig, "from_pretrained", fail)
    before = transformers.utils.logging.get_verbosity()
    with pytest.raises(InputError, match="the model hub cannot be reached; expected a folder") as told:
        load_tokenizer("klue/bert-base", 16, "mean")
    assert "--base small" in str(told.value)
    assert transformers.utils.logging.get_verbosity() == before


# Training


def titles_of(product: int) -> list[str]:
    return [f"농심 라면 {product}호 120g", f"농심) 라면 {product} 호"][: 1 + product % 2]


@pytest.mark.parametrize("changes", [{}, {"dimension": 8, "batch_norm": True, "pooling": "cls"}])
def test_a_stopped_run_on_a_base_ends_as_one_that_was_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    base = str(tiny_base(tmp_path / "base", "electra"))  # its dropout draws from torch's generator
    config = TrainConfig(
        base=base, max_length=24, contrast_steps=4, arcface_steps=4, products_per_batch=8, decoys_per_batch=2,
        validate_every=2, **changes,
    )  # fmt: skip
    rows = [(title, f"p{p}") for p in range(30) for title in titles_of(p)]
    products = gather_products([Labelled("toy", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows))])
    tokenizer = load_tokenizer(base, 24, config.pooling)

    def run(folder: Path, stop_after: int = 99) -> dict[str, Any]:
        def report(_: str, __: int, ___: int, values: dict[str, float]) -> None:
            if "score" in values and len(made.history) >= stop_after:
                raise KeyboardInterrupt

        made = Trainer(config, products, tokenizer, folder, lambda *_: {"score": float(len(made.history))}, report)
        model, _ = made.run()
        assert encode(model, tokenizer, ["라면"]).shape == (1, config.dimension or SHAPE["hidden_size"])
        return dict(model.state_dict())

    whole = run(tmp_path / "whole")
    for stop_after in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / f"stopped-{stop_after}", stop_after)
        resumed = run(tmp_path / f"stopped-{stop_after}")
        for name, value in whole.items():
            torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def test_pretrained_weights_are_trained_gently() -> None:
    small, other = default_config("small"), default_config("klue/bert-base")
    assert small == TrainConfig()
    assert other.base == "klue/bert-base"
    assert other.learning_rate < small.learning_rate / 5


def test_a_checkpoint_of_before_bases_is_taken_up(tmp_path: Path) -> None:
    config = TrainConfig(hidden=16, layers=1, heads=2, intermediate=32)
    later = {"base", "pooling", "dimension", "batch_norm", "precision"}
    kept = {name: value for name, value in vars(config).items() if name not in later}
    torch.save({"config": kept, "history": [], "best": 0.5}, tmp_path / "checkpoint.pt")
    run = Trainer(config, gather_products([]), None, tmp_path, lambda *_: {}, lambda *_: None)
    assert run._load() is not None
    run.config = TrainConfig(hidden=16, layers=1, heads=2, intermediate=32, pooling="cls")
    with pytest.raises(InputError, match="another configuration"):
        run._load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "max"}, "setting pooling is 'max'; expected mean, cls"),
        ({"precision": "int8"}, "setting precision is 'int8'; expected auto, float32, bfloat16"),
        ({"dimension": -1}, "setting dimension is -1"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**changes)


def test_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, base = torch.device("cpu"), TrainConfig(base="klue/bert-base")
    assert uses_bfloat16(TrainConfig(), cpu)
    for able in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"avx512_bf16": able}, raising=False)
        assert uses_bfloat16(base, cpu) is able
    assert uses_bfloat16(TrainConfig(base="a", precision="bfloat16"), cpu)
    assert not uses_bfloat16(TrainConfig(precision="float32"), cpu)


@pytest.mark.skipif(not (WEIGHTS / "albert-kor-base").is_dir(), reason="no shared weights here")
def test_a_real_base_loads() -> None:
    base = str(WEIGHTS / "albert-kor-base")
    model = new_model(TrainConfig(base=base), 0)
    assert model.dimension == 768
    vectors = encode(model, load_tokenizer(base, 64, "mean"), ["농심 백산수 2L", "농심 백산수 2L 생수", "기타 스트랩"])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    with pytest.raises(InputError, match=r"cannot be loaded: .*no file named"):
        load_encoder(str(WEIGHTS / "klue-bert-base-tokenizer"), 64)
