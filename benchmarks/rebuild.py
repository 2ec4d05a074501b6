"""A bundle's ONNX graph turned back into a Hugging Face ``BertModel``, so that other tools can run the same weights.

Reads the initialisers by the names that ``training.graph`` gives them, int8 ones multiplied out, and writes the
folder that ``transformers`` and ``sentence-transformers`` load: ``config.json``, ``model.safetensors`` and the
tokenizer. Activations are not quantised there, so vectors agree closely, not exactly. It does not know torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.bundle import Bundle
from embedder.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]
Floats = dict[str, npt.NDArray[np.float32]]


def rebuild_bert(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle's model as a Hugging Face BERT into ``folder``, which exists; pooling is left to the loader.

    Raises:
        InputError: the graph is not one that ``dongil train`` exported.
        ModuleNotFoundError: onnx or safetensors is not installed.
    """
    onnx, save_file = import_module("onnx"), import_module("safetensors.numpy").save_file
    graph = onnx.load(str(bundle.model_path)).graph
    arrays: Arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    try:
        heads, epsilon = _attribute(graph, "num_heads"), _attribute(graph, "epsilon")
        weights = bert_weights(arrays)
    except KeyError as error:
        message = f"no {error} in the graph; expected one that dongil train exported"
        raise InputError(message, file=str(bundle.model_path)) from error
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    vocabulary, hidden = weights["embeddings.word_embeddings.weight"].shape
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocabulary, "hidden_size": hidden,
        "num_hidden_layers": _layers(arrays), "num_attention_heads": heads, "hidden_act": "relu",
        "intermediate_size": len(weights["encoder.layer.0.intermediate.dense.bias"]), "type_vocab_size": 2,
        "max_position_embeddings": len(weights["embeddings.position_embeddings.weight"]), "layer_norm_eps": epsilon,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": 0, "torch_dtype": "float32",
    }  # fmt: skip
    special = {f"{part}_token": f"[{part.upper()}]" for part in ("pad", "unk", "cls", "sep", "mask")}
    tokenizer = special | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": bundle.config.max_length}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer.json").write_bytes((bundle.folder / "tokenizer.json").read_bytes())
    return folder


def bert_weights(arrays: Mapping[str, npt.NDArray[Any]]) -> Floats:
    """A ``BertModel``'s parameters by name, float32, from the graph's initialisers.

    Raises:
        KeyError: an initialiser is missing.
    """
    words = arrays["words.int8"] * arrays["words.step"] if "words.int8" in arrays else arrays["words"]
    hidden = words.shape[1]
    weights = {
        "embeddings.word_embeddings.weight": words,
        # The graph holds positions and the one token type as one table. Exporters try two types on every BERT.
        "embeddings.position_embeddings.weight": arrays["places"],
        "embeddings.token_type_embeddings.weight": np.zeros((2, hidden)),
        # Never read: mean pooling is over the last hidden states. Loaders complain where it is missing.
        "pooler.dense.weight": np.zeros((hidden, hidden)),
        "pooler.dense.bias": np.zeros(hidden),
    }
    weights |= {name: arrays[name] for name in arrays if ".LayerNorm." in name}
    for number in range(_layers(arrays)):
        layer = f"encoder.layer.{number}"
        qkv, bias = _matrix(arrays, f"{layer}.qkv"), arrays[f"{layer}.qkv.bias"]
        parts = zip(("query", "key", "value"), np.split(qkv, 3, axis=1), np.split(bias, 3), strict=True)
        for part, matrix, row in parts:
            weights[f"{layer}.attention.self.{part}.weight"] = matrix.T
            weights[f"{layer}.attention.self.{part}.bias"] = row
        for name in ("attention.output.dense", "intermediate.dense", "output.dense"):
            weights[f"{layer}.{name}.weight"] = _matrix(arrays, f"{layer}.{name}").T
            weights[f"{layer}.{name}.bias"] = _bias(arrays, f"{layer}.{name}")
    return {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def _layers(arrays: Mapping[str, Any]) -> int:
    return sum(name.endswith(".qkv.bias") for name in arrays)


def _matrix(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    """Shape (inputs, outputs); an int8 one times the step of each column."""
    if f"{name}.int8" in arrays:
        return np.asarray(arrays[f"{name}.int8"] * arrays[f"{name}.steps"])
    return arrays[f"{name}.weight"]


def _bias(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    """A bias kept as int32 is counted in steps of its input times steps of its column."""
    if f"{name}.bias.int32" in arrays:
        return np.asarray(arrays[f"{name}.bias.int32"] * arrays[f"{name}.step"] * arrays[f"{name}.steps"])
    return arrays[f"{name}.bias"]


def _attribute(graph: Any, name: str) -> Any:
    """The first attribute of that name on any node."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == name:
                return attribute.i if name == "num_heads" else attribute.f
    raise KeyError(name)
