"""The adversarial images of one model that an evaluation keeps, to be used elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.evaluation.outcomes import ChunkState
from worker.evaluation.target import Chunk
from worker.models import AnyModel


class Kept:
    """Images as the attacks at the budget of the threat model left them: the example that broke the
    image, else what the first attack made of it.
    """

    def __init__(self, model: AnyModel, wanted: Collection[int]) -> None:
        """`wanted`: the numbers of the images to keep, within the dataset's test part."""
        self._model, self._wanted = model, frozenset(wanted)
        self._parts: list[dict[str, NDArray[Any]]] = []

    @property
    def passes(self) -> float:
        """What it takes an image at most, in passes forward and backward."""
        return 1 / 3 if self._wanted else 0.0

    @torch.no_grad()
    def add(self, chunk: Chunk, state: ChunkState) -> None:
        """Look at a chunk that every attack is done with."""
        rows = [row for row, number in enumerate(chunk.numbers) if number in self._wanted]
        if not rows:
            return
        x_adv = state.x_adv[rows]
        # A picture file has 256 values: rounding may undo an attack, so what it left is said too.
        rounded = self._model((x_adv * 255).round() / 255).argmax(dim=1)
        self._parts.append(
            {
                "number": np.array([chunk.numbers[row] for row in rows], dtype=np.int64),
                "label": _array(state.y[rows]),
                "clean_prediction": _array(state.predicted[rows]),
                "prediction": _array(state.worst[rows]),
                "prediction_8bit": _array(rounded),
                "broken_by": _array(state.broken_by[rows]),
                "clean": _array((chunk.x[rows] * 255).round().to(torch.uint8)),
                "adversarial": _array(x_adv.float()),
            }
        )

    def state(self) -> list[dict[str, Tensor]]:
        """The images so far, for `load`."""
        return [
            {name: torch.from_numpy(values) for name, values in part.items()}
            for part in self._parts
        ]

    def load(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Take in a `state`, of other images."""
        self._parts += [{name: _array(values) for name, values in part.items()} for part in state]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, images in the order of their numbers; none where none were to be kept.

        Numbers, classes and `broken_by` (N,), the latter as in `Outcomes`; `clean` (N, 3, H, W)
        in 0 to 255, `adversarial` likewise in [0, 1]; `prediction` of these, `prediction_8bit` of
        these rounded to 256 values.
        """
        if not self._parts:
            return {}
        joined = {name: np.concatenate([p[name] for p in self._parts]) for name in self._parts[0]}
        order = np.argsort(joined["number"], kind="stable")
        return {name: values[order] for name, values in joined.items()}


def _array(values: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.contiguous().cpu().numpy()
    return found
