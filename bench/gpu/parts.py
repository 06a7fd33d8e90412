"""The parts of the benchmark, and the process in which each runs."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from bench.gpu import RunPart, checks, evaluation, speed

SHARES = {
    "checks": 4.0,
    "wrn-28-10": 4.0,
    "wrn-16-4": 2.0,
    "preactresnet-18": 1.0,
    "wrn-10-2": 0.5,
    "evaluation": 1.5,
}
"""Parts in their order, and how they share the time."""

_OTHERS: Mapping[str, RunPart] = {"checks": checks.run, "evaluation": evaluation.run}
"""Those that are of no one network."""


def work(name: str, seconds: float, orders: Connection) -> None:
    """Run a part, and send each finding; the body of its process."""

    def tell(finding: str, values: dict[str, Any]) -> None:
        orders.send((finding, values))

    try:
        _OTHERS.get(name, speed.of(name))(tell, seconds)
    except Exception as error:
        traceback.print_exc()
        tell("failed", {"text": f"{type(error).__name__}: {error}"[:500]})
