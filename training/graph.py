"""The serving graph of our own BERT, in float32 or int8, written operator by operator rather than traced.

Three reasons, measured in benchmarks/LOG.md: quantised attention and feed-forward layers map onto single onnxruntime
kernels; layer norms stay apart (fused with the residual they run seven times slower on a CPU); and activation scales
are constants, so that a title's vector does not depend on its batch mates. Weights keep 7 bits: 8 saturate in the
16-bit sums of processors without VNNI, and the same title would get another vector on another machine.

It knows trained weights and ONNX. It does not know other architectures, nor whether a graph is good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from training.model import TitleModel

MS = "com.microsoft"
_OPSET = 18
_WEIGHT_LEVELS = 63  # 7 bits, signed

Float = npt.NDArray[np.float32]


class _Graph:
    """Nodes and constants in the making; every method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        # ascontiguousarray would make a scalar a vector
        self.constants.setdefault(name, numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def add(self, op: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        output = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def layer_norm(self, value: str, name: str, weights: Mapping[str, Float], epsilon: float) -> str:
        gamma = self.constant(f"{name}.weight", weights[f"{name}.weight"])
        beta = self.constant(f"{name}.bias", weights[f"{name}.bias"])
        return self.add("LayerNormalization", value, gamma, beta, axis=-1, epsilon=epsilon)

    def quantize(self, value: str, name: str, scale: float) -> tuple[str, str]:
        step = self.constant(f"{name}.step", scale)
        return self.add("QuantizeLinear", value, step, self.constant("middle", 128, np.uint8)), step


def quantized_columns(weight: Float) -> tuple[npt.NDArray[np.int8], Float]:
    """Column-wise symmetric quantisation of an (inputs, outputs) matrix: levels and the step of each column."""
    step = np.abs(weight).max(axis=0) / _WEIGHT_LEVELS
    step = np.where(step == 0, 1, step).astype(np.float32)
    return np.round(weight / step).astype(np.int8), step


def quantized_rows(table: Float) -> tuple[npt.NDArray[np.int8], Float]:
    """Row-wise symmetric quantisation of a table that rows are looked up in: levels, and steps of shape (rows, 1)."""
    step = np.abs(table).max(axis=1, keepdims=True) / 127
    step = np.where(step == 0, 1, step).astype(np.float32)
    return np.round(table / step).astype(np.int8), step


def _embedding(graph: _Graph, name: str, table: Float, ids: str, *, small: bool) -> str:
    """Look up rows of a table; ``small`` keeps it as int8 with a step a row: a quarter of the size, on disk and off."""
    if not small:
        return graph.add("Gather", graph.constant(name, table), ids)
    levels, step = quantized_rows(table)
    kept = graph.constant(f"{name}.int8", levels, np.int8)
    rows = graph.add("Cast", graph.add("Gather", kept, ids), to=TensorProto.FLOAT)
    return graph.add("Mul", rows, graph.add("Gather", graph.constant(f"{name}.step", step), ids))


def _linear(graph: _Graph, value: str, name: str, weights: Mapping[str, Float], scale: float | None) -> str:
    """``value @ W.T + b`` over the last axis; in int8 when the activation's scale is given."""
    matrix, bias = weights[f"{name}.weight"].T, graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    if scale is None:
        return graph.add("Add", graph.add("MatMul", value, graph.constant(f"{name}.weight", matrix)), bias)
    levels, step = quantized_columns(matrix)
    quantized, value_step = graph.quantize(value, name, scale)
    return graph.add(
        "MatMulIntegerToFloat", quantized, graph.constant(f"{name}.int8", levels, np.int8),
        value_step, graph.constant(f"{name}.steps", step), "middle", graph.constant("zero", 0, np.int8), bias,
        domain=MS,
    )  # fmt: skip


def _attention(
    graph: _Graph, value: str, layer: str, weights: Mapping[str, Float], heads: int, scale: float | None
) -> str:
    parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
    matrix = np.concatenate([weights[f"{part}.weight"].T for part in parts], axis=1)
    bias = graph.constant(f"{layer}.qkv.bias", np.concatenate([weights[f"{part}.bias"] for part in parts]))
    if scale is None:
        matrix_name = graph.constant(f"{layer}.qkv.weight", matrix)
        return graph.add("Attention", value, matrix_name, bias, "lengths", domain=MS, num_heads=heads)
    levels, step = quantized_columns(matrix)
    quantized, value_step = graph.quantize(value, f"{layer}.qkv", scale)
    return graph.add(
        "QAttention", quantized, graph.constant(f"{layer}.qkv.int8", levels, np.int8), bias,
        value_step, graph.constant(f"{layer}.qkv.steps", step), "lengths", "middle",
        graph.constant("zero", 0, np.int8), domain=MS, num_heads=heads,
    )  # fmt: skip


def _feed_forward(
    graph: _Graph, value: str, layer: str, weights: Mapping[str, Float], scales: Mapping[str, float] | None, hidden: int
) -> str:
    up, down = f"{layer}.intermediate.dense", f"{layer}.output.dense"
    if scales is None:
        return _linear(graph, graph.add("Relu", _linear(graph, value, up, weights, None)), down, weights, None)
    # One kernel multiplies, adds the bias, requantises and, because its smallest output level is zero, is the ReLU.
    levels, step = quantized_columns(weights[f"{up}.weight"].T)
    quantized, value_step = graph.quantize(value, up, scales[up])
    rows = graph.add("Reshape", quantized, graph.constant("rows", [-1, hidden], np.int64))
    bias = np.round(weights[f"{up}.bias"] / (np.float32(scales[up]) * step))
    out_step = graph.constant(f"{down}.step", scales[down])
    nothing = graph.constant("nothing", 0, np.uint8)
    inner = graph.add(
        "QGemm", rows, value_step, "middle", graph.constant(f"{up}.int8", levels, np.int8),
        graph.constant(f"{up}.steps", step), graph.constant(f"{up}.zeros", np.zeros(len(step)), np.int8),
        graph.constant(f"{up}.bias.int32", bias, np.int32), out_step, nothing, domain=MS,
    )  # fmt: skip
    levels, step = quantized_columns(weights[f"{down}.weight"].T)
    outer = graph.add(
        "MatMulIntegerToFloat", inner, graph.constant(f"{down}.int8", levels, np.int8), out_step,
        graph.constant(f"{down}.steps", step), nothing, graph.constant("zero", 0, np.int8),
        graph.constant(f"{down}.bias", weights[f"{down}.bias"]), domain=MS,
    )  # fmt: skip
    return graph.add("Reshape", outer, graph.add("Shape", value))


def to_onnx(model: TitleModel, scales: Mapping[str, float] | None = None) -> onnx.ModelProto:
    """The serving graph of a model.

    Inputs ``input_ids`` int64 (batch, tokens) and ``lengths`` int32 (batch,), the number of tokens of each title, whose
    padding stands at the right. Output ``vectors`` float32 (batch, dimensions), unit rows.

    Args:
        model: a BERT with ReLU, on the CPU.
        scales: activation scales from ``calibrate`` for int8; None for float32.

    Raises:
        ValueError: the model has another activation than ReLU.
    """
    config = model.bert.config
    if config.hidden_act != "relu":
        raise ValueError(f"hidden_act is {config.hidden_act!r}; the exporter writes relu")
    weights: dict[str, Float] = {k: v.float().numpy() for k, v in model.bert.state_dict().items()}
    graph, epsilon = _Graph(), float(config.layer_norm_eps)
    small = scales is not None
    words = _embedding(graph, "words", weights["embeddings.word_embeddings.weight"], "input_ids", small=small)
    # Positions 0..tokens-1, and the one token type there is, as one table.
    place = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    tokens = graph.add("Shape", "input_ids", start=1, end=2)
    first = graph.constant("first", [0], np.int64)
    places = graph.add("Slice", graph.constant("places", place), first, tokens, first)
    value = graph.layer_norm(graph.add("Add", words, places), "embeddings.LayerNorm", weights, epsilon)
    for number in range(config.num_hidden_layers):
        layer = f"encoder.layer.{number}"
        out = f"{layer}.attention.output.dense"
        scale = scales[f"{layer}.qkv"] if scales else None
        mixed = _attention(graph, value, layer, weights, config.num_attention_heads, scale)
        mixed = graph.add("Add", _linear(graph, mixed, out, weights, scales[out] if scales else None), value)
        value = graph.layer_norm(mixed, f"{layer}.attention.output.LayerNorm", weights, epsilon)
        fed = _feed_forward(graph, value, layer, weights, scales, config.hidden_size)
        value = graph.layer_norm(graph.add("Add", fed, value), f"{layer}.output.LayerNorm", weights, epsilon)
    _pool(graph, value, tokens, model)
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "title encoder",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
                helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
            ],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", model.dimension])],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(MS, 1)],
        ir_version=9,
        producer_name="dongil",
    )


def _pool(graph: _Graph, value: str, tokens: str, model: TitleModel) -> None:
    """One row a title, through the head where there is one, scaled to length 1."""
    head = model.head()
    if model.pooling == "cls":
        pooled = graph.add("Gather", value, graph.constant("start", 0, np.int64), axis=1)
    else:
        scalar = graph.add("Squeeze", tokens)
        zero, one = graph.constant("from", 0, np.int64), graph.constant("by", 1, np.int64)
        steps = graph.add("Cast", graph.add("Range", zero, scalar, one), to=TensorProto.INT32)
        ends = graph.add("Unsqueeze", "lengths", graph.constant("column", [1], np.int64))
        mask = graph.add("Cast", graph.add("Less", steps, ends), to=TensorProto.FLOAT)
        summed = graph.add("MatMul", graph.add("Unsqueeze", mask, "column"), value)
        pooled = graph.add("Squeeze", summed, "column")
        if head:  # without one, the mean's factor falls out when the vector is scaled
            pooled = graph.add("Div", pooled, graph.add("Cast", ends, to=TensorProto.FLOAT))
    if head:
        weight, bias = graph.constant("head.weight", head[0].numpy()), graph.constant("head.bias", head[1].numpy())
        pooled = graph.add("Gemm", pooled, weight, bias, transB=1)
    graph.add("LpNormalization", pooled, output="vectors", axis=-1, p=2)


@torch.no_grad()
def calibrate(model: TitleModel, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    """The step of each quantised activation, from the largest value met over sample batches.

    Args:
        model: the trained encoder.
        batches: (input_ids, attention_mask) pairs; padding is left out of the count.
    """
    largest: dict[str, float] = {}
    mask = torch.empty(0)

    def watch(name: str, levels: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            peak = float(inputs[0][mask].abs().max())
            largest[name] = max(largest.get(name, 1e-6), peak / levels)

        return hook

    handles = []
    for number, layer in enumerate(cast(Any, model.bert.encoder).layer):
        prefix = f"encoder.layer.{number}"
        for name, module, levels in (
            (f"{prefix}.qkv", layer.attention.self.query, 127),
            (f"{prefix}.attention.output.dense", layer.attention.output.dense, 127),
            (f"{prefix}.intermediate.dense", layer.intermediate.dense, 127),
            (f"{prefix}.output.dense", layer.output.dense, 255),
        ):
            handles.append(module.register_forward_pre_hook(watch(name, levels)))
    model.eval()
    for ids, attention_mask in batches:
        mask = attention_mask.bool()
        model(ids, attention_mask)
    for handle in handles:
        handle.remove()
    return largest
