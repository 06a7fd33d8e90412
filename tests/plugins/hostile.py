"""What a pickle may ask of those that read it."""

from __future__ import annotations

from typing import Any

import numpy as np


class Reduced:
    """Pickled as what makes something, its arguments, and the state that it is given."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


KIND = Reduced(np.dtype, ("u1", False, True), (3, "|", 20046, None, None, -1, -1, 0))
"""A type of which NumPy takes the number for the parts of a record, and reads and writes there."""
