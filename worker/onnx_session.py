"""onnxruntime, as the lab runs files with it. No torch: what tries a file is started for it."""

from __future__ import annotations

from typing import Any

AT_ONCE = 32
"""Images of one run, of a network that takes any number: as many as it was tried with."""


def session(data: bytes, *, threads: int) -> Any:
    """What onnxruntime makes of a file, on the processor. Raises whatever the file makes it raise.

    onnxruntime would look for weights in another file where the process stands: files that speak of
    any were refused before (`worker.jobs.onnx_operators`).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    # Bytes that are looked at as ONNX are not to be run as something else.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
