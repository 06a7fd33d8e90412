"""Figures as people read them, on a page, in a terminal, in a verdict: one wording each.

Plain text with plain spaces. Pages make the spaces unbreakable.
"""

from __future__ import annotations

from app.contracts.attacks import Norm
from app.contracts.params.attacks import Attack
from app.contracts.results.base import Accuracy
from app.contracts.units import format_255


def percent(share: float) -> str:
    """0.7102 -> `71.0 %`."""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of two shares, `1.2 points`; no minus sign before a zero."""
    return f"{round(100 * share, 1) + 0.0:.1f} points"


def signed(share: float) -> str:
    """0.123 -> `+12.3`, with a minus sign that is as wide as the plus; no sign before a zero."""
    points = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if points in ("+0.0", "−0.0") else points


def give_or_take(share: float, by: float) -> str:
    """A share and how far it may be off: `34.2 ± 1.1 %`."""
    return f"{100 * share:.1f} ± {percent(by)}"


def interval(accuracy: Accuracy) -> str:
    """The 95 % interval as `68.1–73.7 %`."""
    return f"{_between(accuracy.low, accuracy.high)} %"


def with_interval(accuracy: Accuracy) -> str:
    """`25.7 % (23.8–27.6)`."""
    return estimate(accuracy.value, accuracy.low, accuracy.high)


def estimate(share: float, low: float, high: float) -> str:
    """The same of a share whose interval is known."""
    return f"{percent(share)} ({_between(low, high)})"


def _between(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}"


def duration(seconds: float) -> str:
    """A length of time in at most two units: `45 s`, `3 min`, `2 h 5 min`, `4 d 3 h`."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days} d" + (f" {hours} h" if hours else "")


def counted(number: int, noun: str) -> str:
    """`1 image`, `1,000 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def memory(mb: int) -> str:
    """Units of 2^20 bytes as `512 MB`, `15.6 GB`, `80 GB`."""
    if mb < 1024:
        return f"{mb} MB"
    return f"{mb / 1024:.1f}".removesuffix(".0") + " GB"


def budget(norm: Norm, eps: float) -> str:
    """`8/255` in Linf, else the length: `0.5`."""
    return format_255(eps) if norm is Norm.LINF else f"{eps:g}"


def least_budget(norm: Norm, eps: float) -> str:
    """A budget that was searched for, to two digits: `1.3/255` in Linf, else the length."""
    return f"{255 * eps:.2g}/255" if norm is Norm.LINF else f"{eps:.2g}"


def threat_model(norm: Norm, eps: float) -> str:
    """`8/255 (L∞)`, `0.5 (L2)`."""
    return f"{budget(norm, eps)} ({norm.record.title})"


def attack(how: Attack) -> str:
    """A first attack with what it spends: `PGD-20, 5 restarts`, `APGD-CE, 50 steps`."""
    record = how.method.record
    name = record.title
    if record.takes_steps:
        name = f"{name}, {how.steps} steps" if record.own_step_size else f"{name}-{how.steps}"
    restarts = how.restarts if record.random_start else 1
    return name if restarts == 1 else f"{name}, {restarts} restarts"


def goal(how: Attack) -> str:
    """Where an attack leads: `away from the true class`, `towards “dog”`."""
    return how.goal.record.way.format(how.target_class)


def attack_in_full(how: Attack) -> str:
    """With all that its method reads: `PGD (20 steps of 0.25 ε, 5 starts)`."""
    record = how.method.record
    if not record.takes_steps:
        return record.title
    steps = counted(how.steps, "step")
    if "relative_step" in record.parameters:
        steps = f"{steps} of {how.relative_step:g} ε"
    started = record.random_start and how.random_start
    start = counted(how.restarts, "start") if started else "from the image itself"
    return f"{record.title} ({steps}, {start})"
