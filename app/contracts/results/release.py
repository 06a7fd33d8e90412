"""What a release leaves."""

from __future__ import annotations

from typing import Literal

from app.contracts.results.base import Environment, Lineage, Result


class OnnxFile(Result):
    """A network as ONNX: `images` (N, 3, H, W) in [0, 1] to `logits` (N, K)."""

    sha256: str
    size_bytes: int
    opset: int
    checked_on: int
    """Images on which it was compared with the network itself."""
    difference: float
    """The largest difference between logits of the two on these images."""


class ReleaseResult(Result):
    kind: Literal["release"] = "release"
    model: Lineage
    """As it was released."""
    onnx: OnnxFile
    environment: Environment
