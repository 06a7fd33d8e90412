"""The network in an ONNX file as plain values, in a process that can do little else.

    python -m worker.jobs.plain_onnx SOURCE TARGET OUTPUT MEGABYTES SECONDS

The file was looked at and tried before (`worker.jobs.reading_onnx`), and is hostile all the same.
TARGET, in a folder of its own, becomes safetensors: weights, and in the header under `graph` what
is computed with them, as `worker.onnx_graph` has it. The last line on standard output is JSON: how
many operations there are, or why the lab does not compute this network.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confinement import confine, die_with_parent, guard, limit
from worker.jobs.onnx_operators import OWN, listed, plain
from worker.onnx_graph import IMAGES, MOST_NODES, OPERATORS, Attribute, Graph, Known, Node, needed

_OLDEST, _NEWEST = 9, 25
"""Versions of ONNX's operators that `OPERATORS` speaks of."""
_ALONG_ONE_AXIS, _SCALED_BY_CHANNEL = 13, 21
"""From these versions on softmax has one axis, and the scale of group norm a number a channel."""
_FEW = 64
"""So many whole numbers are sizes or axes, as a rule; more are weights."""


class Unknown(Exception):
    """The network is not computed here; why, in words that end a sentence."""


def main(source: Path, target: Path, output: str, megabytes: int, seconds: int) -> int:
    """Convert one file; 0 when it could be converted."""
    die_with_parent()
    confine(reads=[source], writes=[target.parent])
    # Only now: it starts threads, which have to be inside the walls.
    import onnx  # noqa: F401

    limit(megabytes, seconds)
    guard()
    try:
        said: dict[str, Any] = {"nodes": convert(source, target, output)}
    except Unknown as unknown:
        said = {"why": str(unknown)}
    except MemoryError:
        said = {"why": f"to read it anew takes more than {megabytes:,} MB of memory"}
    print(json.dumps(said), flush=True)
    return 1 if "why" in said else 0


def convert(source: Path, target: Path, output: str) -> int:
    """Write the network from images to `output`; returns how many operations it has.

    Raises Unknown.
    """
    import safetensors.numpy

    graph, weights = plain_graph(_model(source), output)
    safetensors.numpy.save_file(weights, target, {"graph": graph.plain})
    return len(graph.nodes)


def _model(source: Path) -> Any:
    import onnx
    from onnx import inliner

    try:
        model = onnx.load_model_from_string(source.read_bytes())
        return inliner.inline_local_functions(model) if model.functions else model
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes make these fail in every way there is
        raise Unknown("its functions cannot be put in their place") from error


def plain_graph(model: Any, output: str) -> tuple[Graph, dict[str, Any]]:
    """The network of a model, and its weights by their names there. Raises Unknown."""
    version = max((o.version for o in model.opset_import if o.domain in OWN), default=0)
    if not _OLDEST <= version <= _NEWEST:
        raise Unknown(f"it is written in version {version} of ONNX's operators")
    if len(model.graph.node) > MOST_NODES:
        raise Unknown(f"it has {len(model.graph.node):,} operations, more than {MOST_NODES:,}")
    translation = _Translation(model, version)
    try:
        graph = translation.graph(output)
        graph.check()
    except (IndexError, ValueError) as error:
        raise Unknown(plain(error)) from error
    return graph, translation.weights


class _Translation:
    """Names of a file are not taken over: values get numbers."""

    def __init__(self, model: Any, version: int) -> None:
        self._model, self._version = model.graph, version
        self._tensors: dict[str, Any] = {tensor.name: tensor for tensor in self._model.initializer}
        if self._model.sparse_initializer:
            raise Unknown("it has sparse weights")
        images = [one.name for one in self._model.input if one.name not in self._tensors]
        self._names = dict.fromkeys(images, IMAGES)
        self.weights: dict[str, Any] = {}
        self._known: dict[str, Known] = {}

    def graph(self, output: str) -> Graph:
        kept = needed(tuple(self._nodes()), output)
        self._check_operators(kept)
        nodes = tuple(self._numbered(node) for node in kept)
        return Graph(nodes, self._name(output), tuple(self.weights), self._known)

    def _nodes(self) -> Iterator[Node]:
        """The file's, under its names; constants become tensors."""
        used = {name for node in self._model.node for name in node.input}
        used.update(one.name for one in self._model.output)
        for node in self._model.node:
            if node.domain not in OWN:
                yield Node(f"{node.domain}.{node.op_type}", (*node.input,), (*node.output,), {})
            elif node.op_type == "Constant":
                self._tensors[node.output[0]] = _constant(node)
            elif node.op_type not in OPERATORS:
                yield Node(node.op_type, (*node.input,), (*node.output,), {})
            else:
                yield self._node(node, used)

    def _node(self, node: Any, used: set[str]) -> Node:
        takes, gives, op = list(node.input), list(node.output), str(node.op_type)
        while takes and not takes[-1]:
            takes.pop()
        while len(gives) > 1 and gives[-1] not in used and op != "Split":
            gives.pop()
        if op == "ConstantOfShape":
            value = f"{gives[0]}, its value"
            self._tensors[value] = _fill(node)
            return Node(op, (*takes, value), tuple(gives), {})
        if op == "GroupNormalization" and self._version < _SCALED_BY_CHANNEL:
            raise Unknown("its GroupNormalization is of an older version")
        if op in ("Softmax", "LogSoftmax") and self._version < _ALONG_ONE_AXIS:
            op = f"{op}-1"
        said = {attribute.name: _attribute(op, attribute) for attribute in node.attribute}
        return Node(op, tuple(takes), tuple(gives), said)

    def _check_operators(self, nodes: tuple[Node, ...]) -> None:
        unknown = sorted({node.op for node in nodes} - {*OPERATORS})
        if unknown:
            raise Unknown(f"it has operators that the lab does not compute: {listed(unknown)}")

    def _numbered(self, node: Node) -> Node:
        takes = tuple(self._name(name) if name else "" for name in node.takes)
        gives = tuple(self._made(name) if name else "" for name in node.gives)
        return Node(node.op, takes, gives, node.said)

    def _made(self, name: str) -> str:
        if name in self._names or name in self._tensors:
            raise ValueError("two of its values have one name")
        self._names[name] = f"v{len(self._names)}"
        return self._names[name]

    def _name(self, name: str) -> str:
        if name not in self._names:
            if name not in self._tensors:
                raise ValueError(f"nothing gives {plain(name)} before it is taken")
            self._names[name] = self._kept(self._tensors[name])
        return self._names[name]

    def _kept(self, tensor: Any) -> str:
        """A constant, among weights or what is known; its name."""
        import numpy as np

        value = tensor if isinstance(tensor, np.ndarray) else _array(tensor)
        if value.dtype == np.int32:
            value = value.astype(np.int64)
        if value.dtype not in (np.float32, np.int64, np.bool_):
            raise Unknown(f"it holds numbers of type {value.dtype}; the lab computes in float32")
        few = value.ndim == 0 if value.dtype == np.float32 else value.size <= _FEW
        name = f"{'k' if few else 'w'}{len(self._names)}"
        if few:
            numbers = tuple(value.reshape(-1).tolist())
            self._known[name] = Known(value.dtype.name, value.shape, numbers)
        else:
            self.weights[name] = np.ascontiguousarray(value)
        return name


def _array(tensor: Any) -> Any:
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    except MemoryError:
        raise
    except Exception as error:  # what a tensor says of itself may be anything
        raise Unknown(f"its constant {plain(tensor.name)} cannot be read") from error


def _constant(node: Any) -> Any:
    """The value of a constant that is an operation."""
    import numpy as np

    (said,) = node.attribute or (None,)
    kinds = {"value_float": np.float32, "value_floats": np.float32,
             "value_int": np.int64, "value_ints": np.int64}  # fmt: skip
    if said is not None and said.name == "value":
        return said.t
    if said is None or said.name not in kinds:
        raise Unknown("it has a Constant that is no number")
    return np.array(_attribute("Constant", said), kinds[said.name])


def _fill(node: Any) -> Any:
    import numpy as np

    given = [attribute.t for attribute in node.attribute if attribute.name == "value"]
    value = _array(given[0]) if given else np.zeros(1, np.float32)
    if value.size != 1:
        raise Unknown("it has a ConstantOfShape of many numbers")
    return value.reshape(())


def _attribute(op: str, attribute: Any) -> Attribute:
    match attribute.AttributeType.Name(attribute.type):
        case "FLOAT":
            return float(attribute.f)
        case "INT":
            return int(attribute.i)
        case "STRING":
            return str(attribute.s.decode(errors="replace"))
        case "FLOATS":
            return tuple(map(float, attribute.floats))
        case "INTS":
            return tuple(map(int, attribute.ints))
    raise Unknown(f"the attribute {plain(attribute.name)} of its {op} is of another type")


if __name__ == "__main__":
    os.umask(0o077)
    _, given, to, wanted, space, time = sys.argv
    sys.exit(main(Path(given), Path(to), wanted, int(space), int(time)))
