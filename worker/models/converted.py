"""A network of an ONNX file as a classifier of the lab: its operators, computed by torch.

Gradients follow from the operators, so it is a white box like any other. No code comes from the
file: a `Graph` is plain values, and `FUNCTIONS` has what each operator computes. Whether all of it
computes what the file says is shown by whoever converts one (`worker.jobs.onnx_proof`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.models.base import Classifier
from worker.models.operators import FUNCTIONS, MOST
from worker.onnx_graph import IMAGES, Graph, Node

_KINDS = {"int64": torch.int64, "bool": torch.bool, "float32": torch.float32}
_TRIED = (3, 2)
"""Images that shapes are tried with: what mixes them does not keep both numbers."""
_MOST_KNOWN, _IN_ALL = 1024, 2**29
"""Numbers of a value that depends on no image, and of all values of three images together."""
_WEIGHTS = "body.interpreter."
_FAILS = (ArithmeticError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What torch raises where shapes, types or attributes do not go together."""
_SAME_ROWS = ("Flatten", "Reshape", "Squeeze", "Identity", "Dropout")
"""Operators that leave the numbers of an image as they are where its count of them stays."""


class Unlike(ValueError):
    """A network cannot be computed here; why, in words that end a sentence."""


class Interpreter(nn.Module):
    """Prepared images (N, ...) -> the output of a graph, (N, ...); `weights` by their names."""

    def __init__(self, graph: Graph, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.graph = graph
        for name in graph.weights:
            self.register_buffer(name, weights[name])
        self._known = {
            name: torch.tensor(one.numbers, dtype=_KINDS[one.kind]).reshape(one.shape)
            for name, one in graph.known.items()
        }
        self._uses = Counter(name for node in graph.nodes for name in node.takes)
        self._uses[graph.output] += 1

    def forward(self, x: Tensor) -> Tensor:
        if not self.graph.one_by_one:
            return self._output(x)
        found: Tensor = torch.vmap(lambda one: self._output(one[None])[0])(x)
        return found

    def shapes(self, x: Tensor) -> dict[str, tuple[int, ...]]:
        """Of every value, for images on the device `meta`, where nothing is computed.

        What is a number there all the same depends on no image: sizes, axes. Raises Unlike where
        one value is larger than any network needs, or where they do not go together.
        """
        values, count = self._start(x), 0
        for node in self.graph.nodes:
            for name, value in self._step(node, values):
                count += value.numel()
                if value.numel() > (MOST if value.is_meta else _MOST_KNOWN) or count > _IN_ALL:
                    raise Unlike(f"its {node.op} gives {value.numel():,} numbers, {count:,} so far")
                if value.dtype not in _KINDS.values():
                    raise Unlike(f"its {node.op} computes in {value.dtype}".replace("torch.", ""))
                values[name] = value
        return {name: tuple(value.shape) for name, value in values.items()}

    def _output(self, x: Tensor) -> Tensor:
        values, left = self._start(x), Counter(self._uses)
        for node in self.graph.nodes:
            values.update(self._step(node, values))
            left.subtract(node.takes)
            for name in {*node.takes, *node.gives}:
                if left[name] <= 0:
                    values.pop(name, None)
        return values[self.graph.output]

    def _start(self, x: Tensor) -> dict[str, Tensor]:
        weights = ((name, self.get_buffer(name)) for name in self.graph.weights)
        return {IMAGES: x, **self._known, **dict(weights)}

    def _step(self, node: Node, values: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
        given = [values[name] if name else None for name in node.takes]
        try:
            found = FUNCTIONS[node.op](node, *_together(given))
            return list(
                zip(node.gives, found if isinstance(found, tuple) else (found,), strict=True)
            )
        except _FAILS as error:
            words = (str(error) or type(error).__name__).splitlines()[0][:160].rstrip(". ")
            raise Unlike(f"its {node.op} is not computed: {words}") from error


def _together(given: Sequence[Tensor | None]) -> list[Tensor | None]:
    """On one device; single numbers, and whole ones, which are shapes and axes, stay where they
    are."""
    devices = {value.device for value in given if value is not None and value.device.type != "cpu"}
    if not devices:
        return list(given)
    (device,) = devices
    return [
        value
        if value is None or value.dtype == torch.int64 or value.dim() == 0
        else value.to(device)
        for value in given
    ]


class _Body(nn.Module):
    """Features (N, C, H, W): the interpreter's value, a row as a map of one position."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__()
        self.interpreter = interpreter

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.interpreter(x)
        return found if found.dim() == 4 else found.reshape(len(x), -1, 1, 1)


class Converted(Classifier):
    """A graph that ends in features, and a head. `converted` and `stored` build it.

    Where its last layer is a linear one, that is the head, and its features are what goes into it:
    the map before a global average, or the row itself, a map of one position. Elsewhere its
    features are its scores, and mean nothing (`shows`).
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, Tensor],
        head: tuple[Tensor, Tensor],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        shows: bool = True,
        left_out: str = "",
    ) -> None:
        weight, bias = head
        super().__init__(
            body=_Body(Interpreter(graph, weights)),
            feature_dim=weight.shape[1],
            num_classes=weight.shape[0],
            mean=mean,
            std=std,
        )
        self.graph = graph
        self.shows, self.left_out = shows, left_out
        """Whether its features mean anything; the operator at its end that logits come before."""
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)

    def normalised(self, x: Tensor) -> Tensor:
        """Images in [0, 1] as the file takes them, in its own layout."""
        values = self.graph.white * super().normalised(x)
        return values.permute(0, 2, 3, 1) if self.graph.channels_last else values


class _Tail(NamedTuple):
    """Where a network's body ends, and its head."""

    end: str
    weight: Tensor
    """(K, C)"""
    bias: Tensor
    shows: bool
    left_out: str


def converted(
    graph: Graph,
    weights: Mapping[str, Tensor],
    *,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Converted:
    """The classifier that a graph is, on the CPU, in eval mode, without gradients of its weights.

    A last softmax or, of a single output, a sigmoid is left out: logits are what comes before. A
    single output z becomes two, 0 and z. Raises Unlike.
    """
    shapes = _shapes(graph, weights, image_size)
    tail = _Search(graph, weights, shapes).tail()
    if tail.weight.shape[0] == 1:
        tail = tail._replace(
            weight=torch.cat([torch.zeros_like(tail.weight), tail.weight]),
            bias=torch.cat([torch.zeros_like(tail.bias), tail.bias]),
        )
    body = graph.up_to(tail.end)
    head = (tail.weight, tail.bias)
    model = Converted(
        body, weights, head, mean=mean, std=std, shows=tail.shows, left_out=tail.left_out
    )
    return model.eval().requires_grad_(False)


def stored(text: str, state: Mapping[str, Tensor]) -> Converted:
    """The network that `converted` built, of its graph as text and of its `state_dict`.

    Raises ValueError or KeyError where the two do not belong together.
    """
    weights = {name.removeprefix(_WEIGHTS): value for name, value in state.items()}
    head = (state["head.weight"], state["head.bias"])
    mean, std = (state[name].tolist() for name in ("mean", "std"))
    model = Converted(Graph.of(text), weights, head, mean=mean, std=std)
    return model.eval().requires_grad_(False)


def _shapes(graph: Graph, weights: Mapping[str, Tensor], side: int) -> dict[str, tuple[int, ...]]:
    """Of every value, for as many images as the last of `_TRIED`, or one where they go one by one.

    Raises Unlike where the answers are no row for each image.
    """
    interpreter = Interpreter(graph, {name: v.to("meta") for name, v in weights.items()})
    found: dict[str, tuple[int, ...]] = {}
    for count in (1,) if graph.one_by_one else _TRIED:
        size = (count, side, side, 3) if graph.channels_last else (count, 3, side, side)
        found = interpreter.shapes(torch.empty(size, device="meta"))
        scores = found[graph.output]
        if len(scores) < 2 or scores[0] != count or math.prod(scores[1:]) != scores[1]:
            raise Unlike("its answers are no row of scores for each image")
    return found


class _Search:
    """For the head of a graph, from its end."""

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._weights, self._shapes, self._graph = weights, shapes, graph
        self._from = {name: node for node in graph.nodes for name in node.gives}

    def tail(self) -> _Tail:
        """The last linear layer, or where there is none the scores themselves."""
        end, left_out = self._logits(self._graph.output)
        count = self._shapes[end][1]
        bias, product = torch.zeros(count), self._from.get(end)
        if product is not None and product.op == "Add":
            for of, beside in (product.takes, product.takes[::-1]):
                shift = self._row(beside, count)
                if shift is not None and self._op(of) == "MatMul":
                    bias, product = shift, self._from[of]
                    break
        linear = None if product is None else self._linear(product, count)
        if linear is None:
            return _Tail(end, torch.eye(count), torch.zeros(count), False, left_out)
        name, weight, shift = linear
        return _Tail(self._map(name), weight, bias + shift, True, left_out)

    def _logits(self, name: str) -> tuple[str, str]:
        """What comes before a softmax of K scores, or a sigmoid of one, and the operator."""
        name = self._before(name)
        shape, node = self._shapes[name], self._from.get(name)
        if node is None:
            return name, ""
        over = node.get("axis") % len(shape) == 1 if "oftmax" in node.op else False
        if (over and shape[1] > 1) or (node.op == "Sigmoid" and math.prod(shape[1:]) == 1):
            return self._before(node.takes[0]), node.op.removesuffix("-1")
        return name, ""

    def _before(self, name: str) -> str:
        """The value of the same numbers for each image, before they are put into another shape."""
        node = self._from.get(name)
        while node is not None and node.op in _SAME_ROWS:
            before, after = self._shapes[node.takes[0]], self._shapes[name]
            same = len(before) > 1 and before[0] == after[0] and before[1] == after[1]
            if not same or math.prod(before) != math.prod(after) or math.prod(before[2:]) != 1:
                break
            name = node.takes[0]
            node = self._from.get(name)
        return name

    def _linear(self, node: Node, count: int) -> tuple[str, Tensor, Tensor] | None:
        """What a layer takes, its weight (K, C) and bias (K,); None where it is no linear one."""
        if node.op not in ("Gemm", "MatMul") or len(self._shapes[node.takes[0]]) != 2:
            return None
        weight, bias = self._constant(node.takes[1]), torch.zeros(count)
        if weight is None or weight.dim() != 2:
            return None
        if node.op == "MatMul":
            return node.takes[0], weight.T, bias
        if len(node.takes) > 2 and node.takes[2]:
            shift = self._row(node.takes[2], count)
            if shift is None:
                return None
            bias = node.get("beta") * shift
        if node.get("transA"):
            return None
        kept = weight if node.get("transB") else weight.T
        return node.takes[0], node.get("alpha") * kept, bias

    def _map(self, name: str) -> str:
        """The map (N, C, H, W) whose average over places a row is, or else the row itself."""
        before = self._before(name)
        node = self._from.get(before)
        if node is None or not node.takes or len(self._shapes[node.takes[0]]) != 4:
            return name
        places = self._shapes[node.takes[0]][2:]
        if node.op == "ReduceMean":
            axes = node.get("axes") if len(node.takes) < 2 else self._numbers(node.takes[1])
            averages = sorted(axis % 4 for axis in axes) == [2, 3]
        else:
            averages = node.op == "GlobalAveragePool" or (
                node.op == "AveragePool"
                and (tuple(node.get("kernel_shape")), any(node.get("pads"))) == (places, False)
                and node.get("auto_pad") in ("NOTSET", "VALID")
            )
        return node.takes[0] if averages else name

    def _op(self, name: str) -> str:
        return self._from[name].op if name in self._from else ""

    def _numbers(self, name: str) -> tuple[int, ...]:
        known = self._graph.known.get(name)
        return () if known is None else tuple(map(int, known.numbers))

    def _row(self, name: str, count: int) -> Tensor | None:
        """A number for each score, of a constant; None where it is none."""
        value = self._constant(name)
        if value is None or value.numel() not in (1, count) or value.shape[-1:] != (value.numel(),):
            return None
        return value.reshape(-1).expand(count)

    def _constant(self, name: str) -> Tensor | None:
        """A weight, also one that is only put into another shape."""
        if name in self._weights:
            return self._weights[name]
        node = self._from.get(name)
        if node is None or node.op not in ("Transpose", "Identity"):
            return None
        value = self._constant(node.takes[0])
        found = None if value is None else FUNCTIONS[node.op](node, value)
        return found if isinstance(found, Tensor) else None
