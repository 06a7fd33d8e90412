"""What all results share: shares of images with their interval, points, origins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field

Z_95 = 1.959963984540054
"""The standard normal's 97.5 % quantile."""


class Result(BaseModel):
    """NaN and infinity are errors where a result is made: JSON could not bring them back."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Integers = Annotated[tuple[int, ...], FailFast()]
"""One an image; a wrong one is reported, not all."""
Numbers = Annotated[tuple[float, ...], FailFast()]


class Accuracy(Result):
    """A share of images, in [0, 1], with its 95 % Wilson score interval (Wilson, 1927)."""

    correct: int = Field(ge=0)
    n: int = Field(ge=1)
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, correct: int, n: int) -> Self:
        """The share `correct / n` and its interval. Raises ValueError unless 0 <= correct <= n."""
        if not 0 <= correct <= n or n == 0:
            raise ValueError(f"{correct} of {n} is not a share")
        p, z2 = correct / n, Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        # At p = 0 and p = 1 one bound is exactly p; rounding must not move it past it.
        return cls(
            correct=correct,
            n=n,
            value=p,
            low=min(p, max(0.0, centre - half)),
            high=max(p, min(1.0, centre + half)),
        )


class Mean(Result):
    """The mean of one number an image, with its 95 % interval (normal approximation)."""

    value: float
    low: float
    high: float
    n: int = Field(ge=1)

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The mean of `values` and its interval. Raises ValueError without values."""
        n = len(values)
        if n == 0:
            raise ValueError("no values, no mean")
        mean = math.fsum(values) / n
        variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else 0.0
        half = Z_95 * math.sqrt(variance / n)
        return cls(value=mean, low=mean - half, high=mean + half, n=n)


class CurvePoint(Result):
    """Accuracy at one budget (in [0, 1] units) or one number of steps."""

    x: float
    accuracy: Accuracy


class Environment(Result):
    """Where a figure was measured."""

    code_version: str
    torch: str
    device: str
    threads: int
    seconds: float


class Lineage(Result):
    """The model or dataset that a model came from."""

    id: str
    name: str
    sha256: str
