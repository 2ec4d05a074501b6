"""Tiny bases for tests: folders of random encoders with tokenizers of their own, as a user has them on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from training.vocabulary import learn_vocabulary

TITLES = [f"{name} {n}호 {n % 7 * 50}g" for n in range(40) for name in ("농심 라면", "Sony 헤드폰")]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
KINDS = ("bert", "albert", "roberta", "electra", "distilbert")


def bytes_tokenizer() -> Tokenizer:
    """A byte-level BPE as RoBERTa has it: padding is 1, and nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TITLES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def write_tokenizer(folder: Path, tokenizer: Tokenizer, **special: str) -> None:
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")


def tiny_config(kind: str, vocabulary: int) -> Any:
    if kind == "distilbert":
        return transformers.DistilBertConfig(vocab_size=vocabulary, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    narrow = {"embedding_size": 16} if kind in ("albert", "electra") else {}
    return transformers.AutoConfig.for_model(
        kind, vocab_size=vocabulary, max_position_embeddings=66, pad_token_id=int(kind == "roberta"), **SHAPE, **narrow
    )  # fmt: skip


def tiny_base(folder: Path, kind: str = "bert", **changes: Any) -> Path:
    """Write a random base of a kind into a new folder."""
    folder.mkdir()
    if kind == "roberta":
        tokenizer = bytes_tokenizer()
        write_tokenizer(folder, tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>")  # noqa: S106
    else:
        tokenizer = learn_vocabulary(TITLES, 300)
        special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        write_tokenizer(folder, tokenizer, **special)
    config = tiny_config(kind, tokenizer.get_vocab_size())
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder
