"""Arrays of numbers in MATLAB 5.0 files ("MAT-File Format", MathWorks, chapter 1).

SciPy's reader looks types up in a table without a look at its ends, and so a hostile file makes it
read whatever lies there. This one knows arrays of real numbers and nothing else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
"""Types of numbers in the file."""
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8",
            15: "u8"}  # fmt: skip
"""Types of arrays, whose numbers may be stored in smaller ones."""
_COMPLEX = 0x800


def arrays(data: bytes, names: Collection[str]) -> dict[str, Any]:
    """Those of the variables `names` that are there. Raises ValueError, KeyError, zlib.error."""
    order = {b"\0\1IM": "<", b"\1\0MI": ">"}[data[_HEADER - 4 : _HEADER]]
    found = {}
    for kind, content in _elements(memoryview(data)[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, content = next(_elements(memoryview(zlib.decompress(content)), order))
        if kind == _MATRIX:
            flags, dimensions, name, *values = islice(_elements(content, order), 4)
            called = bytes(name[1]).decode("ascii")
            if called in names:
                found[called] = _array(flags[1], dimensions[1], values, order)
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each; one of up to four bytes lies in its own head."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        at += 8
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise ValueError("an element is longer than its place")
            at -= 4
        content = data[at : at + size]
        if len(content) < size:
            raise ValueError("an element ends early")
        yield kind, content
        at += size if kind == _COMPRESSED else size + -(at + size) % 8


def _array(
    flags: memoryview, dimensions: memoryview, values: list[tuple[int, memoryview]], order: str
) -> Any:
    import numpy as np

    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & _COMPLEX:
        raise ValueError("complex numbers")
    kind, content = values[0]
    stored = np.frombuffer(content, f"{order}{_STORED[kind]}")
    shape = np.frombuffer(dimensions, f"{order}i4")
    return stored.astype(_CLASSES[flag & 0xFF], copy=False).reshape(shape, order="F")
