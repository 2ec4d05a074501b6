"""Export: a trained model as ONNX for serving, in float32 and int8, and the proof that the graph is the model.

Our own BERT is written by ``training.graph``; any other encoder is traced by torch, and its int8 graph is made here:
every matrix multiplication with a weight takes int8 on both sides, where each token has a scale of its own (token-wise
quantisation: Yao et al. 2022, ZeroQuant). onnxruntime's own dynamic quantisation has one scale a batch, so that a
title's vector would hang on its batch mates by 0.01 and more. Weights keep 7 bits, as in ``training.graph``.

All graphs share one face: ``input_ids`` int64 (batch, tokens) and ``lengths`` int32 (batch,) in, ``vectors`` float32
(batch, dimension) out, unit rows. It does not know labels, thresholds or bundles, nor which precision is good enough.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from transformers import BertModel

from embedder.errors import InputError
from training.graph import MS, calibrate, quantized_columns, quantized_rows, to_onnx
from training.model import TitleModel

PARITY = 0.9999  # the least cosine between the model's vector and the float32 graph's
_OPSET = 20  # the first with Gelu as one operator

Batch = tuple[torch.Tensor, torch.Tensor]
"""Token ids and attention mask, both int64, shape (batch, tokens); padding stands at the right."""


def export(model: TitleModel, batches: Sequence[Batch]) -> Iterator[tuple[str, bytes]]:
    """The serving graphs of a model on the CPU, float32 first, each made when it is asked for.

    Args:
        model: trained; it is left in ``eval``.
        batches: of sample titles, for activation scales and parity.

    Yields:
        The precision, "float32" or "int8", and the ONNX file.

    Raises:
        InputError: torch cannot trace the encoder, or the float32 graph answers otherwise than the model.
    """
    model.eval()
    own = isinstance(model.bert, BertModel) and model.bert.config.hidden_act == "relu"
    graph = to_onnx(model) if own else trace(model)
    data = graph.SerializeToString()
    check_parity(model, data, batches[:: max(1, len(batches) // 8)])
    yield "float32", data
    small = to_onnx(model, calibrate(model, batches)) if own else quantize(graph)
    yield "int8", small.SerializeToString()


@torch.no_grad()
def check_parity(model: TitleModel, data: bytes, batches: Sequence[Batch]) -> float:
    """The least cosine between the model's vectors and a graph's.

    Raises:
        InputError: it is below ``PARITY``.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # as it is served
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    least = 1.0
    for ids, mask in batches:
        given = {"input_ids": ids.numpy(), "lengths": mask.sum(1).numpy().astype(np.int32)}
        cosines = (session.run(None, given)[0] * model(ids, mask).numpy()).sum(1)
        least = float(np.minimum(least, cosines.min()))  # and not min, which forgets a value that is no number
    if not least >= PARITY:
        raise InputError(
            f"the exported graph answers otherwise than the trained model: a cosine of {least:.6f}; expected {PARITY}"
        )
    return least


class _Served(nn.Module):
    """The model with the serving graph's inputs, and its head folded into one layer."""

    def __init__(self, model: TitleModel) -> None:
        super().__init__()
        self.model = model
        self.padding = int(model.bert.config.pad_token_id or 0)
        self.head: nn.Linear | None = None
        if head := model.head():
            self.head = nn.Linear(head[0].shape[1], head[0].shape[0])
            self.head.load_state_dict({"weight": head[0], "bias": head[1]})

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(input_ids.shape[1], device=input_ids.device) < lengths.unsqueeze(1)
        # Some encoders count positions by what is not padding, and the server pads with 0 whatever the model.
        pooled = self.model.pool(torch.where(mask, input_ids, self.padding), mask.long())
        if self.head is not None:
            pooled = self.head(pooled)
        return nn.functional.normalize(pooled, dim=-1)


@torch.no_grad()
def trace(model: TitleModel) -> onnx.ModelProto:
    """The float32 graph of any encoder, as torch traces it.

    Raises:
        InputError: torch cannot.
    """
    served = _Served(model).eval()
    example = (torch.ones((2, 7), dtype=torch.int64), torch.tensor([7, 3], dtype=torch.int32))
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "traced.onnx"
            # of Python values that a trace makes constants; parity on titles of other lengths tells if one mattered
            warnings.simplefilter("ignore")
            torch.onnx.export(
                served, example, path, dynamo=False, opset_version=_OPSET,
                input_names=["input_ids", "lengths"], output_names=["vectors"],
                dynamic_axes={"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}, "vectors": {0: "batch"}},
            )  # fmt: skip
            return _resolved(onnx.load(path).graph)
    except (RuntimeError, TypeError, ValueError, NotImplementedError, torch.onnx.errors.OnnxExporterError) as error:
        kind = type(model.bert).__name__
        raise InputError(f"torch cannot trace {kind} into ONNX: {error}; expected another base") from error
    finally:
        logger.setLevel(level)


def _resolved(graph: onnx.GraphProto) -> onnx.ModelProto:
    """The graph without its Identity nodes, so that layers that share a weight name it alike."""
    same: dict[str, str] = {}
    nodes, ends = [], {one.name for one in graph.output}
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
        if node.op_type == "Identity" and node.output[0] not in ends:
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    return _model(graph, nodes, graph.initializer)


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A traced graph with int8 multiplications and tables; the head, one row a title, stays float32."""
    weights = {one.name: one for one in model.graph.initializer}
    rewriting = _Rewriting()
    for node in model.graph.node:
        name = {"MatMul": node.input[-1:], "Gather": node.input[:1]}.get(node.op_type, [""])[0]
        fits = name in weights and len(weights[name].dims) == 2 and weights[name].data_type == TensorProto.FLOAT
        if fits and node.op_type == "MatMul":
            rewriting.multiply(node, numpy_helper.to_array(weights[name]))
        elif fits and not any(one.name == "axis" and one.i for one in node.attribute):
            rewriting.look_up(node, numpy_helper.to_array(weights[name]))
        else:
            rewriting.nodes.append(node)
    used = {name for node in rewriting.nodes for name in node.input}
    kept = [one for name, one in weights.items() if name in used]
    return _model(model.graph, rewriting.nodes, [*kept, *rewriting.constants.values()])


def _model(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto]
) -> onnx.ModelProto:
    """A model with the inputs and outputs of a graph."""
    return helper.make_model(
        helper.make_graph(nodes, "title encoder", graph.input, graph.output, constants),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(MS, 1)], ir_version=9,
        producer_name="dongil",
    )  # fmt: skip


class _Rewriting:
    """Nodes and constants of an int8 graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        self.constants[name] = numpy_helper.from_array(np.array(value, dtype, order="C"), name)
        return name

    def add(self, op: str, *inputs: str, output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def multiply(self, node: onnx.NodeProto, weight: npt.NDArray[np.float32]) -> None:
        """``value @ weight`` in int8: each row of ``value`` is scaled to the levels -127 to 127, and back."""
        value, name = node.input
        out = node.output[0]
        if f"{name}.int8" not in self.constants:
            levels, steps = quantized_columns(weight)
            self.constant(f"{name}.int8", levels, np.int8)
            self.constant(f"{name}.steps", steps, np.float32)
        last, most = self.constant("int8.last", [-1], np.int64), self.constant("int8.most", 127, np.float32)
        one, middle = self.constant("int8.one", 1, np.float32), self.constant("int8.middle", 128, np.uint8)
        least = self.constant("int8.least", 1e-12, np.float32)
        peak = self.add("ReduceMax", self.add("Abs", value, output=f"{out}.abs"), last, output=f"{out}.peak")
        step = self.add("Div", self.add("Max", peak, least, output=f"{out}.held"), most, output=f"{out}.step")
        scaled = self.add("Div", value, step, output=f"{out}.scaled")
        rounded = self.add("QuantizeLinear", scaled, one, middle, output=f"{out}.levels")
        product = self.add(
            "MatMulIntegerToFloat", rounded, f"{name}.int8", one, f"{name}.steps", middle,
            self.constant("int8.zero", 0, np.int8), output=f"{out}.product", domain=MS,
        )  # fmt: skip
        self.add("Mul", product, step, output=out)

    def look_up(self, node: onnx.NodeProto, table: npt.NDArray[np.float32]) -> None:
        """Rows of a table that is kept as int8 with a step a row: a quarter of the size, on disk and off."""
        name, ids = node.input
        out = node.output[0]
        if f"{name}.int8" not in self.constants:
            levels, steps = quantized_rows(table)
            self.constant(f"{name}.int8", levels, np.int8)
            self.constant(f"{name}.steps", steps, np.float32)
        rows = self.add("Gather", f"{name}.int8", ids, output=f"{out}.int8")
        floats = self.add("Cast", rows, output=f"{out}.float", to=TensorProto.FLOAT)
        self.add("Mul", floats, self.add("Gather", f"{name}.steps", ids, output=f"{out}.step"), output=out)
