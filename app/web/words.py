"""Numbers, sizes and times as people read them; the filters of the templates."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from app.contracts import words
from app.contracts.params import Norm, Recipe
from app.contracts.results import Accuracy, Mean

_SMALLEST_P = 0.001
"""A p-value below it is said to be: no chance is zero."""
_NBSP = "\N{NO-BREAK SPACE}"
_UNSAFE_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def unbroken(text: str) -> str:
    """With spaces at which no line breaks."""
    return text.replace(" ", _NBSP)


def percent(share: float) -> str:
    """0.7102 -> `71.0 %`, with a space that does not break."""
    return unbroken(words.percent(share))


def memory(mb: int) -> str:
    """Units of 2^20 bytes as `15.6 GB`."""
    return unbroken(words.memory(mb))


def interval(accuracy: Accuracy) -> str:
    """The 95 % interval as `68.1–73.7 %`."""
    return unbroken(words.interval(accuracy))


def spread(mean: Mean, digits: int = 3) -> str:
    """A mean with half of its 95 % interval: `0.123 ± 0.004`."""
    half = (mean.high - mean.low) / 2
    return f"{mean.value:.{digits}f}{_NBSP}±{_NBSP}{half:.{digits}f}"


def share(mean: Mean) -> str:
    """A mean of shares with its 95 % interval's half: `34.2 ± 1.1 %`."""
    return unbroken(words.give_or_take(mean.value, (mean.high - mean.low) / 2))


def probability(p: float) -> str:
    """0.0421 -> `0.042`, and `< 0.001` below that."""
    return unbroken(f"< {_SMALLEST_P}") if p < _SMALLEST_P else f"{p:.3f}"


def count(number: int) -> str:
    """45000 -> `45,000`."""
    return f"{number:,}"


def size(bytes_: int) -> str:
    """1234567 -> `1.2 MB`."""
    if bytes_ < 1000:
        return f"{bytes_}{_NBSP}bytes"
    power = min(3, int(math.log10(bytes_)) // 3)
    return f"{bytes_ / 1000**power:.1f}{_NBSP}{'_kMG'[power]}B"


def duration(seconds: float) -> str:
    """A length of time in at most two units: `45 s`, `3 min`, `2 h 5 min`, `4 d 3 h`."""
    return unbroken(words.duration(seconds))


def took(seconds: float) -> str:
    """How long something took; what is over in less than a second says so."""
    return f"<{_NBSP}1{_NBSP}s" if seconds < 1 else duration(seconds)


def ago(when: datetime) -> str:
    """`3 min ago`; times in the future (clocks differ) count as now."""
    seconds = (datetime.now(UTC) - when).total_seconds()
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def clock(when: datetime) -> str:
    """`2025-11-22 17:32 UTC`."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def threat(of: Norm, epsilon: float) -> str:
    """A threat model: `L∞, ε = 8/255`."""
    return f"{of.record.title}, ε = {words.budget(of, epsilon)}"


def role(recipe: Recipe | None) -> str:
    """What a model of this recipe is in the method: `teacher`, `student`, else `imported`."""
    if recipe is None:
        return "imported"
    return "student" if recipe.is_robust else "teacher"


def json_block(value: Any) -> Markup:
    """JSON for a `<script type="application/json">` block, which no text inside can leave."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE_IN_SCRIPT))


def json_list(value: Any) -> str:
    """JSON for an attribute, which escapes it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def code(text: str) -> Markup:
    """Escaped text in which what stands between backticks becomes `<code>`."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 and i < len(pieces) - 1 else piece
        for i, piece in enumerate(pieces)
    )
