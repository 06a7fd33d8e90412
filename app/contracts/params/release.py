"""The parameters of a release."""

from __future__ import annotations

from app.contracts.params.base import Id, Params, parameter


class ReleaseParams(Params):
    """Make of one model what others need to run it without the lab."""

    model: Id = parameter(title="Model", help="Its weights become an ONNX file, which is checked.")
