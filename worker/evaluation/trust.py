"""The trust verdict: whether a robust accuracy can be quoted, from numbers alone."""

from __future__ import annotations

from app.contracts.results import Verdict
from worker.evaluation.evidence import Facts, Probe, Tried

__all__ = ["Facts", "Probe", "Tried", "judge"]


def judge(facts: Facts, probe: Probe) -> Verdict:
    """Every check once, worst first; the verdict is as bad as the worst of them."""
    raise NotImplementedError
