"""Trees: a gradient-boosted probability, learnt by LightGBM and written as ONNX.

What a tree may learn is held where common sense is sure: a higher similarity never lowers the probability. It knows
columns of evidence and labels; it does not know titles, nor what a probability is used for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from index.evidence import EVIDENCE
from index.probability import COLUMNS
from index.wording import Numbers

_RISING = {"cosine", "blended_cosine", "char_cosine", "word_cosine"}
_OPSET = (17, 3)  # of ai.onnx and of ai.onnx.ml


@dataclass(frozen=True)
class TreeConfig:
    """How trees are grown, and which ``columns`` of the evidence they may look at; ``grow`` has LightGBM's names."""

    trees: int = 300
    leaves: int = 48
    learning_rate: float = 0.1
    fewest_pairs: int = 20
    ridge: float = 10.0
    columns_share: float = 0.4
    pairs_share: float = 0.8
    columns: tuple[str, ...] = EVIDENCE
    seed: int = 0


def grow(evidence: Numbers, same: npt.NDArray[np.bool_], weights: Numbers, config: TreeConfig) -> lightgbm.Booster:
    """Learn the probability that a pair is one product.

    Args:
        evidence: shape (pairs, len(EVIDENCE)).
        same: whether each pair is one product.
        weights: how much each pair counts.
        config: of the trees.
    """
    options = {
        "objective": "binary", "learning_rate": config.learning_rate, "num_leaves": config.leaves,
        "min_data_in_leaf": config.fewest_pairs, "lambda_l2": config.ridge, "feature_fraction": config.columns_share,
        "bagging_fraction": config.pairs_share, "bagging_freq": 1, "max_bin": 127,
        "monotone_constraints": [int(name in _RISING) for name in EVIDENCE],
        "seed": config.seed, "deterministic": True, "force_row_wise": True, "verbose": -1,
    }  # fmt: skip
    unseen = [column for column, name in enumerate(EVIDENCE) if name not in config.columns]
    if unseen:
        evidence = evidence.copy()
        evidence[:, unseen] = 0  # what never differs is never split on
    data = lightgbm.Dataset(evidence, same.astype(np.float32), weight=weights, free_raw_data=True)
    return lightgbm.train(options, data, config.trees)


def to_onnx(booster: lightgbm.Booster, slope: float = 1.0, intercept: float = 0.0) -> bytes:
    """The trees as ONNX: ``evidence`` in, ``probability`` of shape (pairs, 1) out.

    Args:
        booster: what ``grow`` made.
        slope, intercept: probability = sigmoid(slope * sum of the trees + intercept).
    """
    nodes = _Nodes()
    for tree, structure in enumerate(booster.dump_model()["tree_info"]):
        nodes.add(tree, structure["tree_structure"], slope)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor", ["evidence"], ["sum"], domain="ai.onnx.ml", n_targets=1,
        base_values=[intercept], **nodes.attributes(),
    )  # fmt: skip
    logistic = helper.make_node("Sigmoid", ["sum"], ["probability"])
    graph = helper.make_graph(
        [ensemble, logistic], "probability",
        [helper.make_tensor_value_info("evidence", TensorProto.FLOAT, [None, len(EVIDENCE)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", _OPSET[0]), helper.make_opsetid("ai.onnx.ml", _OPSET[1])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, {COLUMNS: json.dumps(list(EVIDENCE))})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@dataclass
class _Nodes:
    """The arrays in which ONNX keeps trees: one entry a node, and one more for the weight of each leaf."""

    entries: list[tuple[int, int, int, str, float, int, int]] = field(default_factory=list)
    leaves: list[tuple[int, int, float]] = field(default_factory=list)

    def add(self, tree: int, root: dict[str, Any], slope: float) -> None:
        """One tree, its nodes numbered as they are met and its leaves multiplied by a slope."""
        for at, node, low, high in _walk(root):
            if low < 0:
                self.entries.append((tree, at, 0, "LEAF", 0.0, 0, 0))
                self.leaves.append((tree, at, slope * float(node["leaf_value"])))
            else:
                if node["decision_type"] != "<=":
                    raise ValueError(f"a split by {node['decision_type']}; expected <=")
                limit = _below(float(node["threshold"]))
                self.entries.append((tree, at, int(node["split_feature"]), "BRANCH_LEQ", limit, low, high))

    def attributes(self) -> dict[str, Any]:
        """By ONNX's names."""
        trees, ids, columns, modes, values, low, high = map(list, zip(*self.entries, strict=True))
        of_tree, of_node, weights = map(list, zip(*self.leaves, strict=True))
        return {
            "nodes_treeids": trees, "nodes_nodeids": ids, "nodes_featureids": columns, "nodes_modes": modes,
            "nodes_values": values, "nodes_truenodeids": low, "nodes_falsenodeids": high,
            "nodes_missing_value_tracks_true": [0] * len(ids),
            "target_treeids": of_tree, "target_nodeids": of_node, "target_ids": [0] * len(of_node),
            "target_weights": weights,
        }  # fmt: skip


def _walk(root: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any], int, int]]:
    """Each node with its number and its children's; -1 for a leaf's."""
    waiting, known = [(0, root)], 1
    while waiting:
        at, node = waiting.pop()
        if "leaf_value" in node:
            yield at, node, -1, -1
        else:
            yield at, node, known, known + 1
            waiting += [(known, node["left_child"]), (known + 1, node["right_child"])]
            known += 2


def _below(threshold: float) -> float:
    """The largest float32 that is not above a threshold: float32 evidence falls on the same side of both."""
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))
