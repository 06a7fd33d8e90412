"""An ONNX file is looked at and tried, in a process that can do little else.

    python -m worker.jobs.reading_onnx SOURCE SIDE LAYOUT OUTPUT MEGABYTES SECONDS

The file is hostile until then: it is parsed, loaded and run with no network and no other file in
sight, and within limits of memory and time (decision 19). SIDE is that of the images in pixels.
LAYOUT and OUTPUT are what people said, or empty. The last line on standard output is JSON: what was
found, or what is wrong and what to do.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confinement import confine, die_with_parent, guard, limit
from worker.jobs.onnx_operators import OWN, SHOWN, Refused, check_operators, listed, plain
from worker.onnx_session import AT_ONCE, session

_MOST_BYTES = 2**31 - 1
"""No protocol buffer is larger."""
_LONGEST_NAME = 300
_KINDS = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}
"""Numbers that an input may have, as ONNX counts types."""
_FLOATS = ("float16", "float32", "float64")
_FIRST, _LAST = "nchw", "nhwc"
_RANGES = {
    "Normalized_0_1": ("0-1", None),
    "NominalRange_0_255": ("0-255", None),
    "Normalized_1_1": ("0-1", 0.5),
}
"""What ONNX's metadata say of pixels: the range, and a mean and deviation that follow."""
_RANGE_KEY, _ORDER_KEY = "Image.NominalPixelRange", "Image.BitmapPixelFormat"


def main(source: Path, side: int, layout: str, output: str, megabytes: int, seconds: int) -> int:
    """Read and try one file; 0 when it can be taken."""
    die_with_parent()
    confine(reads=[source])
    # Only now: it starts threads, which have to be inside the walls.
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    limit(megabytes, seconds)
    guard()
    try:
        said = found(source, side, layout, output)
    except Refused as refused:
        said = refused.said
    except MemoryError:
        said = _too_large(megabytes)
    print(json.dumps(said), flush=True)
    return 1 if "detail" in said else 0


def found(source: Path, side: int, layout: str, output: str) -> dict[str, Any]:
    """How the file's network is asked. Raises Refused."""
    import onnx

    if source.stat().st_size > _MOST_BYTES:
        raise Refused("The file is larger than 2 GB, as no ONNX file is.", "Export it again.")
    data = source.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes make the parser fail in every way there is
        raise Refused(
            "The file is damaged, or no ONNX model.", "Copy or export it again."
        ) from error
    if not _names_are_text(model):
        raise Refused("The file is damaged: some of its names are no text.", "Export it again.")
    check_operators(model)
    source_name, kind, shape = _input(model)
    chosen = _layout(shape, layout)
    _check_side(shape, chosen, side)
    batch = shape[0]
    named = {entry.key: entry.value for entry in model.metadata_props}
    pixels, middle = _RANGES.get(named.get(_RANGE_KEY, ""), (None, None))
    if named.get(_ORDER_KEY, "").startswith("Bgr"):
        raise Refused(
            "The file's network takes blue before green before red.",
            "The lab gives red, green, blue: export it for images in that order.",
        )
    dimensions = (side, side, 3) if chosen == _LAST else (3, side, side)
    taken, outputs, batch = _tried(data, source_name, kind, batch, dimensions, output)
    return {
        "input": source_name, "kind": kind, "layout": chosen, "batch": batch,
        "declared": shape[0], "output": taken, "outputs": outputs,
        "pixels": "0-255" if kind == "uint8" else pixels, "middle": middle,
        "opset": max((o.version for o in model.opset_import if o.domain in OWN), default=0),
        "parameters": sum(math.prod(t.dims) for t in model.graph.initializer),
        "producer": plain(f"{model.producer_name} {model.producer_version}".strip()),
    }  # fmt: skip


def _names_are_text(message: Any) -> bool:
    """Of all that the file holds; what is not UTF-8 is given as bytes. Of what is only read by
    people it does not matter."""
    for field in message.DESCRIPTOR.fields:
        of_people = field.name == "doc_string"
        if of_people or field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue  # not looked at either: weights would be copied
        found = getattr(message, field.name)
        if not field.is_repeated:
            found = [found] if message.HasField(field.name) else []
        if field.type == field.TYPE_STRING and not all(isinstance(each, str) for each in found):
            return False
        if field.type == field.TYPE_MESSAGE and not all(map(_names_are_text, found)):
            return False
    return True


def _input(model: Any) -> tuple[str, str, list[int | None]]:
    """Name, kind and shape of the one input that takes images; None for an open dimension."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    if len(inputs) != 1:
        names = listed([one.name for one in inputs]) or "none"
        raise Refused(
            f"The network has {len(inputs)} inputs ({names}); the lab gives it images alone.",
            "Export it with one input.",
        )
    (one,) = inputs
    tensor = one.type.tensor_type
    kind = _KINDS.get(tensor.elem_type)
    if kind not in (*_FLOATS, "uint8"):
        raise Refused(
            f"The input {plain(one.name)} takes numbers of type {kind or tensor.elem_type}.",
            "Export the network for images of float32 or uint8.",
        )
    shape = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if not _is_name(one.name):
        raise Refused("The input has no plain name.", "Export the network again.")
    if len(shape) != 4 or any(size is not None and size < 1 for size in shape):
        raise Refused(
            f"The input {plain(one.name)} takes the shape {_shape(shape)}, no batch of images.",
            "Export the network for a shape such as N × 3 × 32 × 32.",
        )
    return one.name, kind, shape


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


def _layout(shape: Sequence[int | None], given: str) -> str:
    """Which axis holds the channels. Raises Refused where nothing says so."""
    fits = [name for name, axis in ((_FIRST, 1), (_LAST, 3)) if shape[axis] in (None, 3)]
    sure = [name for name, axis in ((_FIRST, 1), (_LAST, 3)) if shape[axis] == 3]
    if given:
        if given not in fits:
            raise Refused(
                f"The input takes the shape {_shape(shape)}: that is not {given.upper()}.",
                "Leave the layout empty to have it read from the shape.",
                "layout",
            )
        return given
    if len(sure) == 1:
        return sure[0]
    if not fits:
        raise Refused(
            f"The input takes the shape {_shape(shape)}: no axis holds three channels.",
            "The lab gives images in colour.",
        )
    raise Refused(
        f"The input takes the shape {_shape(shape)}, which leaves open where the channels are.",
        "Say which layout it is: N × 3 × height × width, or N × height × width × 3.",
        "layout",
        (_FIRST, _LAST),
    )


def _check_side(shape: Sequence[int | None], layout: str, side: int) -> None:
    height, width = shape[1:3] if layout == _LAST else shape[2:]
    if height not in (None, side) or width not in (None, side):
        raise Refused(
            f"The network takes images of {height or side} × {width or side} pixels, the dataset's "
            f"have {side} × {side}.",
            "Choose a dataset of that size, or import this one again at it.",
            "dataset",
        )


def _tried(
    data: bytes, source: str, kind: str, batch: int | None, dimensions: Sequence[int], wanted: str
) -> tuple[str, int, int | None]:
    """The output that is meant, how many numbers it gives an image, and how many images it takes
    at once: one where it says any number, and fails with several. Raises Refused."""
    try:
        made = session(data, threads=1)
    except MemoryError:
        raise
    except Exception as error:
        raise Refused(
            f"onnxruntime cannot load the network: {plain(error)}.",
            "Export it again, with a version of ONNX's operators that onnxruntime knows.",
        ) from error
    given = _run(made, source, kind, batch or 1, dimensions)
    fitting = {
        name: shape[1]
        for name, shape in given.items()
        if len(shape) >= 2 and shape[0] == (batch or 1) and math.prod(shape[2:]) == 1
    }
    taken = _output(fitting, given, wanted)
    if batch is None and not _takes_many(made, source, kind, dimensions, taken):
        batch = 1
    return taken, fitting[taken], batch


def _takes_many(made: Any, source: str, kind: str, dimensions: Sequence[int], output: str) -> bool:
    """Whether it really answers for several images, within the memory that there is."""
    try:
        given = _run(made, source, kind, AT_ONCE, dimensions)
    except (Refused, MemoryError):
        return False
    return given.get(output, (0,))[0] == AT_ONCE


def _run(
    made: Any, source: str, kind: str, batch: int, dimensions: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """The shapes of the outputs that are arrays of floats, for grey images."""
    import numpy as np

    grey = np.full((batch, *dimensions), 128 if kind == "uint8" else 0.5, dtype=kind)
    try:
        values = made.run(None, {source: grey})
    except MemoryError:
        raise
    except Exception as error:
        if "alloc" in str(error):
            raise MemoryError from error
        raise Refused(
            f"The network fails on an image: {plain(error)}.", "Export it again."
        ) from error
    named = zip((one.name for one in made.get_outputs()), values, strict=True)
    return {
        name: value.shape
        for name, value in named
        if isinstance(value, np.ndarray) and value.dtype.name in _FLOATS and _is_name(name)
    }


def _output(fitting: dict[str, int], given: dict[str, tuple[int, ...]], wanted: str) -> str:
    if wanted and wanted not in fitting:
        raise Refused(
            f"The network has no output “{plain(wanted)}” that gives scores.",
            f"It has {listed(list(fitting)) or 'none'}.",
            "network",
            list(fitting)[:SHOWN],
        )
    if wanted or len(fitting) == 1:
        return wanted or next(iter(fitting))
    if not fitting:
        shapes = ", ".join(f"{plain(name)}: {_shape(shape)}" for name, shape in given.items())
        raise Refused(
            "The network gives no scores, a number for each class and image"
            f"{f'; its outputs are {shapes[:200]}' if shapes else ''}.",
            "Export it with its logits as output. Labels alone are not enough.",
        )
    raise Refused(
        f"The network has several outputs that may be scores: {listed(list(fitting))}.",
        "Say which one is meant, as the network in the file.",
        "network",
        list(fitting)[:SHOWN],
    )


def _shape(shape: Sequence[int | None]) -> str:
    return " × ".join("any" if one is None else f"{one}" for one in shape) or "of a single number"


def _too_large(megabytes: int) -> dict[str, Any]:
    return {
        "detail": f"Reading and trying the file takes more than {megabytes:,} MB of memory.",
        "hint": "Export a smaller network, or for a smaller batch.",
        "field": None,
        "choices": [],
    }


if __name__ == "__main__":
    os.umask(0o077)
    _, given, pixels, order, wanted, space, time = sys.argv
    sys.exit(main(Path(given), int(pixels), order, wanted, int(space), int(time)))
