"""What an ONNX file may be made of: one file, ONNX's own operators, and an end. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

SHOWN = 12
"""Names of one kind that are told."""
OWN = ("", "ai.onnx")
_STANDARD = (*OWN, "ai.onnx.ml")
"""Domains whose operators are ONNX's own."""
_OF_THE_RUNTIME = ("ai.onnx", "com.microsoft", "com.ms.", "com.intel.", "com.xilinx", "org.pytorch")
"""How domains begin that onnxruntime may have operators in. It runs these, whatever a function of
the same name in the file says."""
_WITHOUT_END = ("Loop", "Scan")


class Refused(Exception):
    """The file cannot be taken as it is; what is wrong, and what to do or to choose among."""

    def __init__(
        self, detail: str, hint: str, field: str | None = None, choices: Sequence[str] = ()
    ) -> None:
        super().__init__(detail)
        self.said = {"detail": detail, "hint": hint, "field": field, "choices": list(choices)}


def check_operators(model: Any) -> None:
    """Nothing outside the file, nothing of others' making, nothing without an end."""
    own = {(function.domain, function.name) for function in model.functions}
    _check_functions(own)
    foreign, endless = set(), set()
    # What a function's node does not say, it takes from these.
    defaults = [one for function in model.functions for one in function.attribute_proto]
    _check_tensors(_tensors_of(defaults))
    graphs = [model.graph, *model.functions, *_inner(defaults)]
    for node in _nodes(graphs):
        if node.domain not in _STANDARD and (node.domain, node.op_type) not in own:
            foreign.add(f"{node.domain}.{node.op_type}")
        if node.op_type in _WITHOUT_END:
            endless.add(node.op_type)
        _check_tensors(_tensors_of(node.attribute))
    for graph in _graphs(graphs):
        _check_tensors(graph.initializer)
        _check_tensors(
            part for one in graph.sparse_initializer for part in (one.values, one.indices)
        )
    if foreign:
        raise Refused(
            f"The file needs operators that are not ONNX's: {listed(sorted(foreign))}.",
            "The lab runs no code that others bring. Export the network with standard operators.",
        )
    if endless:
        raise Refused(
            f"The file holds loops ({listed(sorted(endless))}), which may never end.",
            "Export the network with its loops unrolled: a classifier of images needs none.",
        )


def _check_functions(own: Iterable[tuple[str, str]]) -> None:
    taken = [
        f"{domain or OWN[1]}.{name}"
        for domain, name in own
        if not domain or domain.startswith(_OF_THE_RUNTIME)
    ]
    if taken:
        raise Refused(
            f"The file defines operators that onnxruntime has of its own: {listed(sorted(taken))}.",
            "Which of the two is meant cannot be known: export it with standard operators, or with "
            "its functions under names of their own.",
        )


def _graphs(graphs: Sequence[Any]) -> Iterator[Any]:
    """Those that have initializers: functions have none."""
    import onnx

    waiting = list(graphs)
    while waiting:
        graph = waiting.pop()
        if isinstance(graph, onnx.GraphProto):
            yield graph
        waiting.extend(inner for node in graph.node for inner in _inner(node.attribute))


def _nodes(graphs: Sequence[Any]) -> Iterator[Any]:
    waiting = list(graphs)
    while waiting:
        for node in waiting.pop().node:
            yield node
            waiting.extend(_inner(node.attribute))


def _inner(attributes: Iterable[Any]) -> Iterator[Any]:
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors_of(attributes: Iterable[Any]) -> Iterator[Any]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for one in (*sparse, *attribute.sparse_tensors):
            yield from (one.values, one.indices)


def _check_tensors(tensors: Any) -> None:
    import onnx

    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise Refused(
                "The file keeps its weights in another file beside it, which the lab never reads.",
                "Save it as one file: `onnx.save(onnx.load(path), new, save_as_external_data="
                "False)`.",
            )


def plain(text: object) -> str:
    """Words from outside on one line, cut short."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return shown.rstrip(". ") if len(shown) <= 160 else f"{shown[:159]}…"


def listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > SHOWN else ""
    return ", ".join(map(plain, names[:SHOWN])) + more
