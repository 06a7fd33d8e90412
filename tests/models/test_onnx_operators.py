"""Each operator computes what onnxruntime does, and its gradient is that of what it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from worker.jobs.plain_onnx import Unknown, plain_graph
from worker.models.converted import Interpreter, Unlike
from worker.models.operators import FUNCTIONS
from worker.onnx_graph import OPERATORS

IMAGES = (2, 3, 6, 6)
ROWS = (2, 3)
RNG = np.random.default_rng(0)
OPSET = 22


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


POSITIVE = np.abs(floats(1, 3, 1, 1)) + 0.5
Case = tuple[str, tuple[Any, ...], dict[str, Any]]
"""An operator, what it takes beside or in place of the images `x`, and its attributes."""
X = "x"

WINDOWS: list[Case] = [
    ("Conv", (X, floats(4, 3, 3, 3), floats(4)), {}),
    ("Conv", (X, floats(4, 3, 3, 3)), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", (X, floats(6, 1, 3, 3)), {"group": 3, "dilations": [2, 2]}),
    ("Conv", (X, floats(4, 3, 3, 2)), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", (X, floats(4, 3, 2, 2)), {"auto_pad": "SAME_LOWER"}),
    ("Conv", (X, floats(4, 3, 2, 2)), {"auto_pad": "VALID"}),
    ("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", (X,), {"kernel_shape": [2, 2], "pads": [1, 0, 0, 0]}),
    ("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", (X,), {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    ("MaxPool", (X,), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1], "count_include_pad": 1}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("GlobalAveragePool", (X,), {}),
    ("GlobalMaxPool", (X,), {}),
]  # fmt: skip
NORMALISATIONS: list[Case] = [
    ("BatchNormalization", (X, floats(3), floats(3), floats(3), np.abs(floats(3)) + 0.5),
     {"epsilon": 1e-3}),
    ("LayerNormalization", (X, floats(6), floats(6)), {"epsilon": 1e-3}),
    ("LayerNormalization", (X, floats(3, 6, 6)), {"axis": 1}),
    ("InstanceNormalization", (X, floats(3), floats(3)), {}),
    ("GroupNormalization", (X, floats(3), floats(3)), {"num_groups": 3}),
]  # fmt: skip
ARITHMETIC: list[Case] = [
    *((op, (X,), {}) for op in (
        "Abs", "Erf", "Exp", "HardSwish", "Identity", "Mish", "Neg", "Reciprocal", "Relu",
        "Sigmoid", "Softplus", "Softsign", "Tanh", "Elu", "Selu", "Gelu", "HardSigmoid",
        "LeakyRelu", "Ceil", "Floor",
    )),
    ("Elu", (X,), {"alpha": 0.3}),
    ("Selu", (X,), {"alpha": 1.5, "gamma": 1.2}),
    ("Gelu", (X,), {"approximate": "tanh"}),
    ("HardSigmoid", (X,), {"alpha": 0.5, "beta": 0.3}),
    ("LeakyRelu", (X,), {"alpha": 0.2}),
    ("PRelu", (X, floats(3, 1, 1)), {}),
    ("Clip", (X, np.float32(-0.5), np.float32(0.7)), {}),
    ("Clip", (X, "", np.float32(0.7)), {}),
    ("Clip", (X, np.float32(0)), {}),
    *((op, (X, floats(1, 3, 1, 6)), {}) for op in ("Add", "Mul", "Sub")),
    ("Sub", (floats(3, 1, 1), X), {}),
    ("Div", (X, POSITIVE), {}),
    ("Pow", (X, np.float32(2)), {}),
    ("Pow", (POSITIVE, X), {}),
    *((op, (X, floats(*IMAGES), floats(3, 1, 1)), {}) for op in ("Max", "Min", "Sum")),
    ("MatMul", (X, floats(6, 4)), {}),
    ("MatMul", (floats(4, 6), X), {}),
    ("Softmax", (X,), {"axis": 1}),
    ("Softmax", (X,), {}),
    ("LogSoftmax", (X,), {"axis": 2}),
    ("Cast", (X,), {"to": TensorProto.FLOAT}),
    ("Dropout", (X,), {}),
    ("Dropout", (X, np.float32(0.4)), {}),
]  # fmt: skip
SHAPES: list[Case] = [
    ("Flatten", (X,), {}),
    ("Flatten", (X,), {"axis": -1}),
    ("Reshape", (X, ints(0, -1)), {}),
    ("Reshape", (X, ints(-1, 3, 36)), {}),
    ("Transpose", (X,), {"perm": [0, 2, 3, 1]}),
    ("Transpose", (X,), {}),
    ("Unsqueeze", (X, ints(0, -1)), {}),
    ("Concat", (X, floats(2, 1, 6, 6), X), {"axis": 1}),
    ("Slice", (X, ints(1, 0), ints(6, 100), ints(2, 3)), {}),
    ("Slice", (X, ints(-1, 0), ints(-100, 6), ints(2, -1), ints(-2, 3)), {}),
    ("Gather", (X, ints(2, 0, -1)), {"axis": 2}),
    ("Gather", (X, np.array(1)), {"axis": 1}),
    ("Pad", (X, ints(0, 0, 1, 2, 0, 1, 0, 1)), {}),
    ("Pad", (X, ints(1, 2), np.float32(0.5), ints(2)), {}),
    ("Pad", (X, ints(0, 0, 1, 2, 0, 0, 2, 1)), {"mode": "reflect"}),
    ("Pad", (X, ints(0, 0, 1, 2, 0, 0, 2, 1)), {"mode": "edge"}),
    ("Expand", (X, ints(4, 1, 1, 1, 1)), {}),
    *((op, (X, ints(2, 3)), {"keepdims": kept})
      for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2") for kept in (0, 1)),
    ("ReduceMean", (X,), {}),
    ("ReduceSum", (X,), {"noop_with_empty_axes": 1}),
]  # fmt: skip


def model_of(nodes: list[onnx.NodeProto], tensors: dict[str, Any], opset: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(IMAGES))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    return model


def one(op: str, takes: tuple[Any, ...], said: dict[str, Any], opset: int = OPSET) -> Any:
    tensors = {f"c{n}": v for n, v in enumerate(takes) if not isinstance(v, str)}
    names = [v if isinstance(v, str) else f"c{n}" for n, v in enumerate(takes)]
    return model_of([helper.make_node(op, names, ["y"], **said)], tensors, opset)


def interpreted(model: onnx.ModelProto) -> Interpreter:
    graph, weights = plain_graph(model, "y")
    return Interpreter(graph, {name: torch.from_numpy(v.copy()) for name, v in weights.items()})


def agrees(model: onnx.ModelProto, x: Any) -> None:
    """Values as onnxruntime has them, and gradients as finite differences of these."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (theirs,) = session.run(None, {"x": x})
    network = interpreted(model)
    network.shapes(torch.empty(x.shape, device="meta"))
    ours = network(torch.from_numpy(x))
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-5, atol=1e-5)
    precise = network.double()
    precise._known = {
        name: v.double() if v.is_floating_point() else v for name, v in precise._known.items()
    }
    images = torch.from_numpy(x).double().requires_grad_()
    if precise(images).requires_grad:
        torch.autograd.gradcheck(precise, images, fast_mode=True)


@pytest.mark.parametrize(
    "case", [*WINDOWS, *NORMALISATIONS, *ARITHMETIC, *SHAPES], ids=lambda c: f"{c[0]} {c[2]}"
)
def test_it_computes_what_onnxruntime_does(case: Case) -> None:
    op, takes, said = case
    agrees(one(op, takes, said), floats(*IMAGES))


def test_operators_of_positive_numbers() -> None:
    for op in ("Log", "Sqrt"):
        agrees(one(op, (X,), {}), np.abs(floats(*IMAGES)) + 0.1)


@pytest.mark.parametrize("opset", [11, 12])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, 2])
def test_an_older_softmax_goes_over_all_axes_behind_one(op: str, axis: int, opset: int) -> None:
    agrees(one(op, (X,), {"axis": axis}, opset), floats(*IMAGES))


OLDER: list[Case] = [
    ("Clip", (X,), {"min": -0.5, "max": 0.25}),
    ("Pad", (X,), {"pads": [0, 0, 1, 0, 0, 0, 0, 2], "value": 0.5}),
    ("Slice", (X,), {"starts": [1], "ends": [5], "axes": [2]}),
    ("Unsqueeze", (X,), {"axes": [1]}),
    ("ReduceMean", (X,), {"axes": [-1], "keepdims": 0}),
    ("ReduceSum", (X,), {"axes": [1]}),
    ("Dropout", (X,), {"ratio": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize("case", OLDER, ids=lambda c: c[0])
def test_attributes_of_older_versions_are_read(case: Case) -> None:
    op, takes, said = case
    agrees(one(op, takes, said, 9), floats(*IMAGES))


def test_gemm_in_all_its_ways() -> None:
    for transposed in (0, 1):
        for bias in ((), (floats(4),), (floats(1, 4),), (floats(2, 1),)):
            weight = floats(4, 108) if transposed else floats(108, 4)
            said: dict[str, Any] = {"transB": transposed, "alpha": 0.5, "beta": 2.0}
            tensors = {"w": weight, **{f"b{n}": v for n, v in enumerate(bias)}}
            nodes = [
                helper.make_node("Flatten", ["x"], ["f"]),
                helper.make_node("Gemm", ["f", *tensors], ["y"], **said),
            ]
            agrees(model_of(nodes, tensors, OPSET), floats(*IMAGES))


def test_sizes_are_computed_from_shapes() -> None:
    """As exporters write `x.view(x.size(0), -1)`, a split, and a choice of two."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "first"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Split", ["flat", "parts"], ["a", "b"], axis=1),
        helper.make_node("Mul", ["n", "two"], ["n2"]),
        helper.make_node("Div", ["n2", "two"], ["again"]),
        helper.make_node("Equal", ["again", "n"], ["same"]),
        helper.make_node("ConstantOfShape", ["n1"], ["fill"]),
        helper.make_node("Unsqueeze", ["fill", "last"], ["column"]),
        helper.make_node("Greater", ["a", "column"], ["above"]),
        helper.make_node("Where", ["above", "a", "column"], ["chosen"]),
        helper.make_node("Not", ["same"], ["other"]),
        helper.make_node("And", ["same", "other"], ["never"]),
        helper.make_node("Or", ["never", "same"], ["always"]),
        helper.make_node("LessOrEqual", ["a", "column"], ["low"]),
        helper.make_node("GreaterOrEqual", ["a", "column"], ["high"]),
        helper.make_node("Less", ["a", "column"], ["lower"]),
        helper.make_node("Or", ["low", "high"], ["any"]),
        helper.make_node("Or", ["any", "lower"], ["all"]),
        helper.make_node("And", ["all", "always"], ["taken"]),
        helper.make_node("Where", ["taken", "chosen", "a"], ["row"]),
        helper.make_node("Unsqueeze", ["row", "axis"], ["more"]),
        helper.make_node("Squeeze", ["more", "axis"], ["y"]),
    ]
    tensors = {
        "first": np.array(0), "axis": ints(0), "last": ints(1), "rest": ints(-1),
        "parts": ints(8, 100), "two": np.array(2),
    }  # fmt: skip
    agrees(model_of(nodes, tensors, OPSET), floats(*IMAGES))


def test_every_operator_has_a_function_and_the_other_way_round() -> None:
    assert {*FUNCTIONS} == {*OPERATORS}


REFUSED: dict[str, tuple[Case, str]] = {
    "rounding up, with padding": (
        ("MaxPool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
        "rounds up",
    ),
    "average pools that round up": (
        ("AveragePool", (X,), {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1}),
        "rounds up",
    ),
    "batch norm in training": (
        ("BatchNormalization", (X, *[POSITIVE.reshape(3)] * 4), {"training_mode": 1}), "training",
    ),
    "padding of a huge size": (("Pad", (X, ints(0, 0, 0, 0, 0, 0, 10**9, 10**9)), {}), "numbers"),
    "padding of a huge window": (
        ("Conv", (X, floats(4, 3, 3, 3)), {"pads": [10**8] * 4}), "numbers",
    ),
    "a value of a huge size": (("Expand", (X, ints(10**12, 1, 1, 1)), {}), "numbers"),
    "a stride of nothing": (("MaxPool", (X,), {"kernel_shape": [2, 2], "strides": [0, 1]}),
                            "not positive"),
    "an axis that there is not": (("Concat", (X, X), {"axis": 9}), "not computed"),
    "images as whole numbers": (("Cast", (X,), {"to": TensorProto.INT64}), "depends on the image"),
    "images in half precision": (("Cast", (X,), {"to": TensorProto.FLOAT16}), "another type"),
    "a shape that cannot be": (("Reshape", (X, ints(7, 7)), {}), "Reshape is not computed"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_computed_says_so_before_it_takes_memory(what: str) -> None:
    (op, takes, said), words = REFUSED[what]
    with pytest.raises(Unlike, match=words):
        interpreted(one(op, takes, said)).shapes(torch.empty(IMAGES, device="meta"))


UNKNOWN: dict[str, tuple[Case, str]] = {
    "an operator": (("Det", (X,), {}), "operators that the lab does not compute: Det"),
    "an attribute": (("Relu", (X,), {"slope": 1.0}), "attribute slope of Relu"),
    "an attribute of another type": (("Flatten", (X,), {"axis": 1.0}), "axis of Flatten"),
    "an attribute that is a tensor": (
        ("Flatten", (X,), {"axis": numpy_helper.from_array(ints(1))}), "axis of its Flatten",
    ),
    "too few values": (("Conv", (X,), {}), "Conv takes 1 values"),
    "a value that nothing gives": (("Add", (X, "nobody"), {}), "nothing gives nobody"),
    "constants of another precision": (("Add", (X, np.float64(1)), {}), "type float64"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_is_named(what: str) -> None:
    (op, takes, said), words = UNKNOWN[what]
    with pytest.raises(Unknown, match=words):
        plain_graph(one(op, takes, said), "y")
