"""Colour profiles as cameras and telephones write them, and what their numbers are in sRGB."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Primaries = tuple[tuple[float, float, float], ...]
_WHITE = (0.9642, 1.0, 0.8249)  # D50
_SRGB: Primaries = (
    (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)
)  # fmt: skip


class Space(NamedTuple):
    """A space of three primaries (XYZ under D50) and one curve, at equal steps from 0 to 1."""

    name: str
    primaries: Primaries
    curve: NDArray[np.float64]

    @property
    def profile(self) -> bytes:
        """An ICC profile of version 2, as the specification says."""
        name = self.name.encode() + b"\0"
        levels = np.rint(self.curve * 65535).astype(">u2").tobytes()
        curve = b"curv\0\0\0\0" + struct.pack(">I", len(self.curve)) + levels
        tags = {
            b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
            b"wtpt": _xyz(_WHITE),
            **{b"%cXYZ" % k: _xyz(v) for k, v in zip(b"rgb", self.primaries, strict=True)},
            **{b"%cTRC" % k: curve for k in b"rgb"},
            b"cprt": b"text\0\0\0\0none\0",
        }
        table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
        for tag, data in tags.items():
            table += tag + struct.pack(">II", offset + len(body), len(data))
            body += data + bytes(-len(data) % 4)
        head = struct.pack(
            ">I4sI4s4s4s12x4s", offset + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ",
            b"XYZ ", b"acsp",
        )  # fmt: skip
        head += bytes(28) + _xyz(_WHITE)[8:]
        return head.ljust(128, b"\0") + table + body

    def to_srgb(self, levels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """By the two specifications: linear light through XYZ, without any colour engine."""
        steps = np.linspace(0, 1, len(self.curve))
        light = np.interp(levels / 255.0, steps, self.curve)
        linear = (light @ np.array(self.primaries) @ np.linalg.inv(np.array(_SRGB))).clip(0, 1)
        return 255 * np.where(
            linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
        )


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


_STEPS = np.linspace(0, 1, 4096)
ADOBE_RGB = Space(
    "Adobe RGB (1998)",
    ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    _STEPS ** (563 / 256),
)
"""From its specification."""
DISPLAY_P3 = Space(
    "Display P3",
    ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4),
)
"""The primaries of SMPTE EG 432-1 under D65, adapted, with the curve of sRGB."""
