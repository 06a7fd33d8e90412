"""Networks of ONNX files as classifiers: their heads, their batches, and what is no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from worker.jobs.plain_onnx import Unknown, plain_graph
from worker.models.converted import Converted, Unlike, converted, stored
from worker.onnx_graph import MOST_NODES, Graph, Node

RNG = np.random.default_rng(1)
SIDE = 8
Array = np.ndarray[Any, Any]


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def node(op: str, *names: str, **said: Any) -> onnx.NodeProto:
    """The last name is what it gives."""
    return helper.make_node(op, list(names[:-1]), [names[-1]], **said)


def model_of(
    nodes: Sequence[onnx.NodeProto], tensors: Mapping[str, Any], *, batch: Any = "N"
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model


STEM = [node("Conv", "x", "w1", "b1", "c"), node("Relu", "c", "f")]
TENSORS = {
    "w1": floats(5, 3, 3, 3), "b1": floats(5), "w": floats(5, 4), "wt": floats(4, 5),
    "b": floats(4), "row": floats(1, 4), "w2": floats(4, 5, 1, 1), "one": floats(5, 1),
    "b0": floats(1), "big": floats(180, 4), "places": np.array([2, 3]),
    "flat": np.array([0, -1]), "alone": np.array([1, 5]), "behind": np.array([-1, -2]),
}  # fmt: skip
POOL, FLAT = node("GlobalAveragePool", "f", "p"), node("Flatten", "p", "e")
GEMM = node("Gemm", "e", "wt", "b", "y", transB=1)
MAP, ROW = (5, 6, 6), (180, 1, 1)


def graph_of(nodes: Sequence[onnx.NodeProto], **given: Any) -> tuple[Graph, dict[str, Any]]:
    graph, weights = plain_graph(model_of(nodes, TENSORS, **given), "y")
    return graph, {name: torch.from_numpy(value.copy()) for name, value in weights.items()}


def network(nodes: Sequence[onnx.NodeProto], **changes: Any) -> Converted:
    graph, weights = graph_of(nodes)
    how = {"image_size": SIDE, "mean": [0.0] * 3, "std": [1.0] * 3}
    return converted(replace(graph, **changes), weights, **how)  # type: ignore[arg-type]


def by_onnxruntime(nodes: Sequence[onnx.NodeProto], x: torch.Tensor) -> torch.Tensor:
    data = model_of(nodes, TENSORS).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


HEADS: dict[str, tuple[list[onnx.NodeProto], tuple[int, ...], bool, str]] = {
    "a linear layer on the average": ([*STEM, POOL, FLAT, GEMM], MAP, True, ""),
    "an average over named places": (
        [*STEM, node("ReduceMean", "f", "places", "e", keepdims=0), GEMM], MAP, True, "",
    ),
    "an average over the last places": (
        [*STEM, node("ReduceMean", "f", "behind", "p"), node("Squeeze", "p", "places", "e"), GEMM],
        MAP, True, "",
    ),
    "an average by a window": (
        [*STEM, node("AveragePool", "f", "p", kernel_shape=[6, 6]),
         node("Reshape", "p", "flat", "e"), GEMM],
        MAP, True, "",
    ),
    "a product and a sum": (
        [*STEM, POOL, FLAT, node("MatMul", "e", "w", "m"), node("Add", "row", "m", "y")],
        MAP, True, "",
    ),
    "a transposed weight": (
        [*STEM, POOL, FLAT, node("Transpose", "wt", "t"), node("MatMul", "e", "t", "y")],
        MAP, True, "",
    ),
    "factors": (
        [*STEM, POOL, FLAT, node("Gemm", "e", "w", "row", "y", alpha=0.5, beta=3.0)], MAP, True, "",
    ),
    "a linear layer on all of the map": (
        [*STEM, node("Flatten", "f", "e"), node("Gemm", "e", "big", "b", "y")], ROW, True, "",
    ),
    "a linear layer on maxima": (
        [*STEM, node("GlobalMaxPool", "f", "p"), FLAT, GEMM], (5, 1, 1), True, "",
    ),
    "a softmax": (
        [*STEM, POOL, FLAT, node("Gemm", "e", "w", "b", "z"), node("Softmax", "z", "y", axis=1)],
        MAP, True, "Softmax",
    ),
    "the logarithm of a softmax": (
        [*STEM, POOL, FLAT, node("Gemm", "e", "w", "z"), node("LogSoftmax", "z", "y")],
        MAP, True, "LogSoftmax",
    ),
    "a sigmoid of one output": (
        [*STEM, POOL, FLAT, node("Gemm", "e", "one", "b0", "z"), node("Sigmoid", "z", "y")],
        MAP, True, "Sigmoid",
    ),
    "one output": ([*STEM, POOL, FLAT, node("Gemm", "e", "one", "b0", "y")], MAP, True, ""),
    "a convolution, then the average": (
        [*STEM, node("Conv", "f", "w2", "g"), node("GlobalAveragePool", "g", "q"),
         node("Flatten", "q", "y")],
        (4, 1, 1), False, "",
    ),
    "a temperature": (
        [*STEM, POOL, FLAT, node("Gemm", "e", "w", "z"), node("Mul", "z", "row", "y")],
        (4, 1, 1), False, "",
    ),
    "sigmoids of several": (
        [*STEM, POOL, FLAT, node("Gemm", "e", "w", "z"), node("Sigmoid", "z", "y")],
        (4, 1, 1), False, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("what", HEADS)
def test_the_head_is_found_where_there_is_one(what: str, alone: bool) -> None:
    nodes, features, shows, left_out = HEADS[what]
    model, x = network(nodes, one_by_one=alone), torch.rand(3, 3, SIDE, SIDE)
    seen, theirs = model.outputs(x), by_onnxruntime(nodes, x)
    assert (model.shows, model.left_out) == (shows, left_out)
    assert tuple(seen.features.shape) == (3, *features)
    torch.testing.assert_close(seen.embedding, seen.features.mean((2, 3)))
    logits = seen.logits
    if theirs.shape[1] == 1:
        assert (logits[:, 0] == 0).all()
        logits = logits[:, 1:]
    of = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}.get(left_out)
    logits = logits.sigmoid() if left_out == "Sigmoid" else of(logits, 1) if of else logits
    torch.testing.assert_close(logits, theirs, rtol=1e-5, atol=1e-5)


def test_each_image_alone_has_the_gradient_of_all_together() -> None:
    nodes = HEADS["a linear layer on the average"][0]
    x = torch.rand(3, 3, SIDE, SIDE, requires_grad=True)
    found = [
        torch.autograd.grad(network(nodes, one_by_one=alone)(x).logsumexp(1).sum(), x)[0]
        for alone in (False, True)
    ]
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found)


def test_shapes_of_one_image_do_not_hold_for_several() -> None:
    nodes = [*STEM, POOL, node("Reshape", "p", "alone", "e"), GEMM]
    with pytest.raises(Unlike, match="Reshape is not computed"):
        network(nodes)
    x = torch.rand(3, 3, SIDE, SIDE)
    one = torch.cat([by_onnxruntime(nodes, image) for image in torch.split(x, 1)])
    torch.testing.assert_close(network(nodes, one_by_one=True)(x), one, rtol=1e-5, atol=1e-5)


def test_it_takes_images_as_the_file_does() -> None:
    graph, weights = graph_of(HEADS["a linear layer on the average"][0])
    turned = node("Transpose", "x", "first", perm=[0, 3, 1, 2])
    nodes = [turned, node("Conv", "first", "w1", "b1", "c"), *STEM[1:], POOL, FLAT, GEMM]
    last, same = graph_of(nodes)
    mean, std = [0.2, 0.3, 0.4], [0.5, 0.6, 0.7]
    plain = converted(graph, weights, image_size=SIDE, mean=[0.0] * 3, std=[1.0] * 3)
    how = replace(last, channels_last=True, white=255.0)
    x = torch.rand(2, 3, SIDE, SIDE)
    prepared = 255 * (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    found = converted(how, same, image_size=SIDE, mean=mean, std=std)(x)
    torch.testing.assert_close(found, plain(prepared), rtol=1e-5, atol=1e-3)


def test_what_is_stored_is_the_same_network() -> None:
    model, x = network(HEADS["a softmax"][0]), torch.rand(2, 3, SIDE, SIDE)
    again = stored(model.graph.plain, model.state_dict())
    torch.testing.assert_close(again(x), model(x))
    again.choose_outputs([2, 0])
    torch.testing.assert_close(again(x), model(x)[:, [2, 0]])
    with pytest.raises(KeyError):
        stored(model.graph.plain, {})


# What is no network


def plain(**changes: Any) -> str:
    graph = graph_of(HEADS["a linear layer on the average"][0])[0]
    return json.dumps(json.loads(graph.plain) | changes)


BROKEN: dict[str, tuple[str, str]] = {
    "no JSON": ("[", "Expecting value"),
    "another JSON": ("[]", "no network"),
    "deep JSON": ("[" * 10**5, "no network"),
    "names that are numbers": (plain(nodes=[["Relu", [1], ["y"], {}]], output="y"), "text"),
    "a cycle": (
        plain(nodes=[["Add", ["x", "b"], ["a"], {}], ["Relu", ["a"], ["b"], {}]], output="b"),
        "nothing before it gives",
    ),
    "an input that is missing": (
        plain(nodes=[["Relu", ["nobody"], ["y"], {}]], output="y"), "nothing before it gives",
    ),
    "a value that is made twice": (
        plain(nodes=[["Relu", ["x"], ["y"], {}], ["Tanh", ["x"], ["y"], {}]], output="y"),
        "there already",
    ),
    "an output that nothing gives": (plain(output="nobody"), "nothing gives its output"),
    "an operator that is none": (
        plain(nodes=[["__import__", ["x"], ["y"], {}]], output="y"), "__import__ is not among",
    ),
    "an attribute of another type": (
        plain(nodes=[["Flatten", ["x"], ["y"], {"axis": "1"}]], output="y"), "another type",
    ),
    "a size of no whole number": (
        plain(nodes=[["MaxPool", ["x"], ["y"], {"kernel_shape": [2.5, 2]}]], output="y"),
        "another type",
    ),
    "numbers beyond 64 bits": (plain(known={"k9": ["int64", [1], [2**64]]}), "too large"),
    "a weight under the name of something else": (
        plain(weights=["forward"]), "names that are none",
    ),
    "fewer numbers than they say": (plain(known={"k9": ["int64", [4], [1]]}), "numbers are none"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_network_is_refused(what: str) -> None:
    text, words = BROKEN[what]
    with pytest.raises(ValueError, match=words):
        Graph.of(text)


def test_a_hundred_thousand_operations_are_too_many() -> None:
    count = 100_000
    names = ["x", *(f"v{n}" for n in range(count - 1)), "y"]
    model = model_of([node("Relu", *pair) for pair in pairwise(names)], {})
    with pytest.raises(Unknown, match=r"100,000 operations"):
        plain_graph(model, "y")
    nodes = tuple(Node("Relu", (a,), (b,), {}) for a, b in pairwise(names))
    with pytest.raises(ValueError, match=f"more than {MOST_NODES:,}"):
        Graph(nodes, "y", ()).check()


def test_what_nothing_needs_is_not_looked_at() -> None:
    nodes = [*STEM, node("Det", "f", "unused"), POOL, FLAT, GEMM]
    assert "Det" not in {one.op for one in graph_of(nodes)[0].nodes}
    assert network(nodes).shows


GROWING = [
    node("Concat", "x", "x", "a1", axis=1),
    *(node("Concat", f"a{n}", f"a{n}", f"a{n + 1}", axis=1) for n in range(1, 40)),
    node("Flatten", "a40", "y"),
]


def test_values_that_double_are_refused_before_they_take_memory() -> None:
    with pytest.raises(Unlike, match="numbers"):
        network(GROWING)


def test_answers_that_are_no_rows_are_refused() -> None:
    with pytest.raises(Unlike, match="no row of scores"):
        network([*STEM, node("GlobalAveragePool", "f", "p"), node("ReduceSum", "p", "y")])
