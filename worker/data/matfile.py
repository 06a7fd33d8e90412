"""Reads arrays of bytes from MATLAB 5 files, which is how SVHN is published.

Format: "MAT-File Format", The MathWorks, "Level 5 MAT-File Format".
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_HEADER = 128  # bytes
_INT8, _UINT8, _MATRIX, _COMPRESSED = 1, 2, 14, 15  # data types of elements
_MI_TYPES = {_INT8: "i1", _UINT8: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 9: "<f8"}


def read_mat(path: Path) -> dict[str, NDArray[np.generic]]:
    """The numeric arrays of a little-endian MATLAB 5 file, by name, in MATLAB's order of axes.

    Raises:
        ValueError: it is no such file, or it is damaged.
    """
    data = path.read_bytes()
    if data[126:128] != b"IM":
        raise ValueError("not a little-endian MATLAB 5 file")
    arrays = {}
    for kind, element in _elements(data[_HEADER:]):
        if kind == _COMPRESSED:
            try:
                (kind, element), *_ = _elements(zlib.decompress(element))
            except zlib.error as error:
                raise ValueError(f"damaged: {error}") from error
        if kind == _MATRIX:
            _flags, (_, shape), (_, name), (value_kind, values) = _elements(element)
            if value_kind not in _MI_TYPES:
                raise ValueError(f"no numbers: data type {value_kind}")
            flat = np.frombuffer(values, dtype=_MI_TYPES[value_kind])
            dims = np.frombuffer(shape, dtype="<i4")
            arrays[name.decode("ascii")] = flat.reshape(dims, order="F")
    return arrays


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (type, bytes) of each element; short ones have both in a single 8-byte word."""
    at = 0
    while at + 8 <= len(data):
        word = int.from_bytes(data[at : at + 4], "little")
        if short := word >> 16:
            yield word & 0xFFFF, data[at + 4 : at + 4 + short]
            at += 8
            continue
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            raise ValueError("cut short")
        yield word, data[at + 8 : at + 8 + size]
        # Compressed elements follow each other directly, all others at multiples of 8 bytes.
        at += 8 + (size if word == _COMPRESSED else -(-size // 8) * 8)
