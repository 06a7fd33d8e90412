"""An ONNX network as plain values: nodes of known operators, with checked attributes. No torch.

It is what the process that reads a file hands over (`worker.jobs.plain_onnx`), what is stored
beside the weights, and what `worker.models.converted` computes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

MOST_NODES = 20_000
_MOST_NAMES = 200_000
_WEIGHT = re.compile(r"w\d{1,7}")
IMAGES = "x"
"""What the network takes in is called so."""

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


class Operator(NamedTuple):
    """One of ONNX's operators, in the versions that are known."""

    least: int
    most: int
    """Inputs."""
    said: Mapping[str, Attribute | type]
    """Attributes, each with its default; or with its type, where a file has to say it or where
    there is none."""
    gives: int = 1
    """Outputs, at most."""


_WINDOW: dict[str, Attribute | type] = {
    "auto_pad": "NOTSET", "dilations": (), "kernel_shape": (), "pads": (), "strides": (),
}  # fmt: skip
_ANY = 64
"""Inputs of an operator that takes any number, at most."""
_ONE, _TWO, _MANY = Operator(1, 1, {}), Operator(2, 2, {}), Operator(1, _ANY, {})
_REDUCTION = Operator(1, 2, {"axes": (), "keepdims": 1, "noop_with_empty_axes": 0})

OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(
        (
            "Abs", "Ceil", "Erf", "Exp", "Floor", "GlobalAveragePool", "GlobalMaxPool", "HardSwish",
            "Identity", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Sigmoid", "Softplus",
            "Softsign", "Sqrt", "Tanh",
        ),
        _ONE,
    ),
    **dict.fromkeys(
        (
            "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
            "MatMul", "Mul", "Or", "PRelu", "Pow", "Sub", "Expand",
        ),
        _TWO,
    ),
    **dict.fromkeys(("Max", "Min", "Sum"), _MANY),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2"), _REDUCTION),
    "AveragePool": Operator(1, 1, {**_WINDOW, "ceil_mode": 0, "count_include_pad": 0}),
    "BatchNormalization": Operator(
        5, 5, {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0, "spatial": 1}
    ),
    "Cast": Operator(1, 1, {"to": int, "saturate": 1}),
    "Clip": Operator(1, 3, {"min": float, "max": float}),
    "Concat": Operator(1, _ANY, {"axis": int}),
    "ConstantOfShape": Operator(2, 2, {}),
    "Conv": Operator(2, 3, {**_WINDOW, "group": 1}),
    "Dropout": Operator(1, 3, {"ratio": 0.5, "seed": 0}),
    "Elu": Operator(1, 1, {"alpha": 1.0}),
    "Flatten": Operator(1, 1, {"axis": 1}),
    "Gather": Operator(2, 2, {"axis": 0}),
    "Gelu": Operator(1, 1, {"approximate": "none"}),
    "Gemm": Operator(2, 3, {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}),
    "GroupNormalization": Operator(3, 3, {"epsilon": 1e-5, "num_groups": int, "stash_type": 1}),
    "HardSigmoid": Operator(1, 1, {"alpha": 0.2, "beta": 0.5}),
    "InstanceNormalization": Operator(3, 3, {"epsilon": 1e-5}),
    "LayerNormalization": Operator(2, 3, {"axis": -1, "epsilon": 1e-5, "stash_type": 1}),
    "LeakyRelu": Operator(1, 1, {"alpha": 0.01}),
    "LogSoftmax": Operator(1, 1, {"axis": -1}),
    "LogSoftmax-1": Operator(1, 1, {"axis": 1}),
    "MaxPool": Operator(1, 1, {**_WINDOW, "ceil_mode": 0, "storage_order": 0}),
    "Pad": Operator(1, 4, {"mode": "constant", "pads": (), "value": 0.0}),
    "Reshape": Operator(2, 2, {"allowzero": 0}),
    "Selu": Operator(1, 1, {"alpha": 1.67326319217681884765625, "gamma": 1.0507009873554804}),
    "Shape": Operator(1, 1, {"start": 0, "end": int}),
    "Slice": Operator(1, 5, {"starts": (), "ends": (), "axes": ()}),
    "Softmax": Operator(1, 1, {"axis": -1}),
    "Softmax-1": Operator(1, 1, {"axis": 1}),
    "Split": Operator(1, 2, {"axis": 0, "split": (), "num_outputs": int}, gives=_ANY),
    "Squeeze": Operator(1, 2, {"axes": ()}),
    "Swish": Operator(1, 1, {"alpha": 1.0}),
    "Transpose": Operator(1, 1, {"perm": ()}),
    "Unsqueeze": Operator(1, 2, {"axes": ()}),
    "Where": Operator(3, 3, {}),
}  # fmt: skip
"""By name; `-1` where an older version computes something else: over all axes from one on."""


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str
    takes: tuple[str, ...]
    """Names of values; an optional one that is left out is empty."""
    gives: tuple[str, ...]
    said: Mapping[str, Attribute]
    """Attributes, as far as a file says them."""

    @property
    def plain(self) -> list[Any]:
        return [self.op, list(self.takes), list(self.gives), dict(self.said)]

    def get(self, name: str) -> Any:
        """An attribute, or its default; None where there is neither."""
        if name in self.said:
            return self.said[name]
        default = OPERATORS[self.op].said[name]
        return None if isinstance(default, type) else default


class Known(NamedTuple):
    """A few numbers that are no weights: sizes, axes, bounds."""

    kind: str
    """`int64`, `bool` or `float32`."""
    shape: tuple[int, ...]
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class Graph:
    """A network from images to scores, in an order in which it can be computed."""

    nodes: tuple[Node, ...]
    output: str
    weights: tuple[str, ...]
    """Names of values that are tensors of a file beside it."""
    known: Mapping[str, Known] = field(default_factory=dict)
    white: float = 1.0
    """The value of a white pixel."""
    channels_last: bool = False
    one_by_one: bool = False
    """Whether its shapes hold for one image alone, so that each is computed by itself."""

    @property
    def plain(self) -> str:
        """As JSON."""
        known = {name: [*one] for name, one in self.known.items()}
        return json.dumps(
            {
                "nodes": [node.plain for node in self.nodes], "output": self.output,
                "weights": list(self.weights), "known": known, "white": self.white,
                "channels_last": self.channels_last, "one_by_one": self.one_by_one,
            }
        )  # fmt: skip

    @classmethod
    def of(cls, text: str) -> Graph:
        """What `plain` says, whoever wrote it. Raises ValueError where it is no network."""
        try:
            given = json.loads(text)
            known = {str(name): _known(*one) for name, one in given["known"].items()}
            graph = cls(
                nodes=tuple(_node(*one) for one in given["nodes"]),
                output=str(given["output"]),
                weights=tuple(map(str, given["weights"])),
                known=known,
                white=float(given["white"]),
                channels_last=given["channels_last"] is True,
                one_by_one=given["one_by_one"] is True,
            )
        except (AttributeError, KeyError, RecursionError, TypeError) as error:
            raise ValueError(f"it is no network ({type(error).__name__})") from error
        graph.check()
        return graph

    def up_to(self, output: str) -> Graph:
        """What of it another value needs, which becomes its output."""
        nodes = needed(self.nodes, output)
        wanted = {output, *(name for node in nodes for name in node.takes)}
        return replace(
            self,
            nodes=nodes,
            output=output,
            weights=tuple(name for name in self.weights if name in wanted),
            known={name: one for name, one in self.known.items() if name in wanted},
        )

    def check(self) -> None:
        """Raises ValueError where it is none that can be computed."""
        if len(self.nodes) > MOST_NODES:
            raise ValueError(f"it has {len(self.nodes):,} operations, more than {MOST_NODES:,}")
        if not all(map(_WEIGHT.fullmatch, self.weights)):
            raise ValueError("its weights have names that are none")
        there = {IMAGES, *self.weights, *self.known}
        if len(there) != 1 + len(self.weights) + len(self.known) or len(there) > _MOST_NAMES:
            raise ValueError("two of its values have one name, or there are too many")
        for node in self.nodes:
            _check(node)
            absent = [name for name in node.takes if name and name not in there]
            if absent:
                raise ValueError(f"{node.op} takes what nothing before it gives")
            given = [name for name in node.gives if name]
            if len({*given}) < len(given) or not there.isdisjoint(given):
                raise ValueError(f"{node.op} gives what is there already")
            there.update(given)
        if self.output not in there:
            raise ValueError("nothing gives its output")


def needed(nodes: Sequence[Node], output: str) -> tuple[Node, ...]:
    """Those of `nodes`, in an order in which they can be computed, that an output needs."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.gives):
            wanted.update(node.takes)
            kept.append(node)
    return tuple(reversed(kept))


def _node(op: Any, takes: Any, gives: Any, said: Any) -> Node:
    plain = {str(name): tuple(v) if isinstance(v, list) else v for name, v in said.items()}
    return Node(str(op), _names(takes), _names(gives), plain)


def _names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError("names are text")
    return tuple(given)


def _known(kind: Any, shape: Any, numbers: Any) -> Known:
    if kind not in ("int64", "bool", "float32") or len(numbers) != math.prod(shape):
        raise ValueError("its numbers are none")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError("its numbers have no shape")
    of = {"int64": (int,), "bool": (bool,), "float32": (int, float)}
    if not all(isinstance(number, of[kind]) for number in numbers):
        raise ValueError("its numbers are of another type than they say")
    if kind == "int64" and not all(-(2**63) <= number < 2**63 for number in numbers):
        raise ValueError("its numbers are too large")
    return Known(str(kind), tuple(shape), tuple(numbers))


def _check(node: Node) -> None:
    """Operator, number of inputs and outputs, and types of attributes."""
    known = OPERATORS.get(node.op)
    if known is None:
        raise ValueError(f"its operator {node.op} is not among those that the lab computes")
    if not known.least <= len(node.takes) <= known.most or not all(node.takes[: known.least]):
        raise ValueError(f"{node.op} takes {len(node.takes)} values")
    if not 1 <= len(node.gives) <= known.gives or not node.gives[0]:
        raise ValueError(f"{node.op} gives {len(node.gives)} values")
    for name, value in node.said.items():
        if name not in known.said:
            raise ValueError(f"the attribute {name} of {node.op} is not one that the lab knows")
        if not _is(value, known.said[name]):
            raise ValueError(f"the attribute {name} of {node.op} is of another type")


def _is(value: Attribute, default: Attribute | type) -> bool:
    """Whether a value is of a default's type; the tuples here are of whole numbers all."""
    if isinstance(value, bool):
        return False
    kind = default if isinstance(default, type) else type(default)
    if kind is tuple:
        return isinstance(value, tuple) and _whole(value)
    if kind is int:
        return isinstance(value, int) and _whole((value,))
    return isinstance(value, (int, float)) if kind is float else isinstance(value, str)


def _whole(values: Iterable[object]) -> bool:
    return all(
        isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        for value in values
    )
