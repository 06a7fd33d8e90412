"""Ids that the lab knows, for half of the requests that would name others; for Schemathesis."""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis

KNOWN = "LAB_FUZZ_KNOWN"
"""The variable with lists of ids as JSON, by the name of the parameter."""
_IDS: dict[str, list[str]] = json.loads(os.environ.get(KNOWN, "{}"))


@schemathesis.hook
def map_path_parameters(_: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is no id stays: it shall be refused."""
    for name, value in (path_parameters or {}).items():
        ids = _IDS.get(name)
        if ids and isinstance(value, str) and len(value) == 32 and value[-1] in "02468ace":
            assert path_parameters is not None
            path_parameters[name] = ids[sum(value.encode()) % len(ids)]
    return path_parameters
