"""Small ONNX files: a linear classifier of blurred images, written in the ways there are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from worker.data import Dataset

_POOLED = 8
"""Pixels a side of what is averaged; 4 × 4 are left."""


class Linear(NamedTuple):
    """Logits W a + b of the averages a of an image in [0, 1], (48,)."""

    weight: NDArray[np.float32]
    """(K, 48)"""
    bias: NDArray[np.float32]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Of images (N, 3, 32, 32)."""
        pooled = torch.nn.functional.avg_pool2d(x, _POOLED).flatten(1)
        return pooled @ torch.from_numpy(self.weight.T) + torch.from_numpy(self.bias)

    def only(self, rows: list[int]) -> Linear:
        """With these outputs, in this order."""
        return Linear(self.weight[rows], self.bias[rows])


def fitted(dataset: Dataset) -> Linear:
    """The ridge regression of the classes."""
    x, y = dataset.split("train").to("cpu").batch(torch.arange(900))
    pooled = torch.nn.functional.avg_pool2d(x, _POOLED).flatten(1).double()
    ones = torch.cat([pooled, torch.ones(len(x), 1)], dim=1)
    targets = torch.nn.functional.one_hot(y, dataset.num_classes).double() * 10
    ridge = 0.1 * torch.eye(ones.shape[1], dtype=ones.dtype)
    solved = torch.linalg.solve(ones.T @ ones + ridge, ones.T @ targets).float().numpy()
    return Linear(np.ascontiguousarray(solved[:-1].T), solved[-1].copy())


def model_of(
    net: Linear,
    *,
    shape: tuple[Any, ...] = ("N", 3, 32, 32),
    channels_last: bool = False,
    white: float = 1.0,
    kind: int = TensorProto.FLOAT,
    softmax: bool = False,
    hidden: bool = False,
    for_one: bool = False,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """The network as an ONNX model.

    `white`: the value of white that it expects. `hidden`: with what it averages as a second output.
    `for_one`: its shapes hold for a batch of one, whatever its input says.
    """
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)]
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["f"], ["first"], perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node(
            "AveragePool", ["first" if channels_last else "f"], ["pooled"],
            kernel_shape=[_POOLED, _POOLED], strides=[_POOLED, _POOLED],
        ),
        helper.make_node("Reshape", ["pooled", "rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
    ]  # fmt: skip
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["shares"], axis=1))
    outputs = ["shares" if softmax else "logits", *(["flat"] if hidden else [])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(net.weight / np.float32(white), "weight"),
            numpy_helper.from_array(net.bias, "bias"),
            numpy_helper.from_array(np.array([1 if for_one else -1, 48]), "rows"),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="a test"
    )
    model.ir_version = 9
    helper.set_model_props(model, metadata or {})
    return model
