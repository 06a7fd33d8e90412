"""What an evaluation shows beside accuracy under attack: attention, and common corruptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.contracts.params import EvaluateParams
from app.contracts.results import Accuracy, AttentionFigures, Corruption
from worker.attacks import iterate
from worker.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from worker.evaluation.arguments import norm_of, seed_of
from worker.evaluation.attacks import steps_of
from worker.evaluation.attention import AttentionMeter
from worker.evaluation.target import AttackBatch, TargetModel

_NOISE = 2**20
"""Beyond the numbers of restarts, which stand in this place of the seed of a start."""


class Attention:
    """One model's attention under the main attack, on images that are right when clean.

    The attack goes on to its last step with every image: an example that has only just crossed the
    boundary would move a weak model's attention less than a strong one's.
    """

    def __init__(self, target_model: TargetModel, params: EvaluateParams) -> None:
        self._meter: AttentionMeter | None = None
        self._numbers: list[int] = []
        """Of the images, in the order in which they were seen."""
        if params.attention:
            reference = target_model.teacher or target_model.white_box
            lineage = target_model.teacher_lineage or target_model.lineage
            self._meter = AttentionMeter(reference, lineage, target_model.white_box)
            self._how = steps_of(params.attack)

    @property
    def passes(self) -> float:
        """What it takes an image at most, in passes forward and backward."""
        return 0 if self._meter is None else self._how.steps + 1

    def add(self, batch: AttackBatch, masks: Tensor | None) -> None:
        """Attack the batch's images, (M, 3, H, W), and look; masks (M, H, W) of the objects."""
        if self._meter is None or len(batch) == 0:
            return
        x_adv = iterate(
            batch.target_model.call,
            batch.x,
            batch.y,
            how=self._how,
            eps=batch.params.epsilon,
            norm=norm_of(batch.params.attack),
            noise=batch.start,
            target=None if batch.targets is None else batch.targets[:, 0],
            may_break=False,
        ).x_adv
        self._meter.add(batch.x, x_adv, masks)
        self._numbers += batch.numbers

    def state(self) -> dict[str, Any]:
        """What was seen so far, for `load`."""
        seen = [] if self._meter is None else self._meter.state()
        return {"seen": seen, "numbers": list(self._numbers)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take in a `state`, of other images."""
        if self._meter is not None:
            self._meter.load(state["seen"])
            self._numbers += state["numbers"]

    def figures(self) -> AttentionFigures | None:
        """None where it was not asked for, no image was right, or maps have one position."""
        if self._meter is None or not self._numbers:
            return None
        return self._meter.figures(self._numbers)


class Corruptions:
    """One model's accuracy on corrupted images; every model sees the same noise."""

    def __init__(self, target_model: TargetModel, params: EvaluateParams) -> None:
        self._target_model, self._wanted, self._images = target_model, params.corruptions, 0
        self._seed = params.seed
        self._correct: Counter[tuple[str, int]] = Counter()

    @property
    def passes(self) -> float:
        """What it takes an image, in passes forward and backward."""
        return len(CORRUPTIONS) * len(SEVERITIES) / 3 if self._wanted else 0

    def add(self, batch: AttackBatch) -> None:
        """Look at the batch's images, all of a chunk, in every corruption."""
        if not self._wanted:
            return
        self._images += len(batch)
        for name in CORRUPTIONS:
            for severity in SEVERITIES:
                corrupted = torch.cat(
                    [
                        corrupt(x, name, severity, generator=self._noise(number, x.device))
                        for x, number in zip(torch.split(batch.x, 1), batch.numbers, strict=True)
                    ]
                )
                with torch.no_grad():
                    right = self._target_model.model(corrupted).argmax(dim=1) == batch.y
                self._correct[name, severity] += int(right.sum())

    def _noise(self, image: int, device: torch.device) -> torch.Generator:
        """An image's own, the same before every model."""
        return torch.Generator(device).manual_seed(seed_of(self._seed, image, _NOISE))

    def state(self) -> dict[str, Any]:
        """What was counted so far, for `load`."""
        correct = [(name, severity, n) for (name, severity), n in self._correct.items()]
        return {"images": self._images, "correct": correct}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take in a `state`, of other images."""
        self._images += state["images"]
        self._correct.update({(name, severity): n for name, severity, n in state["correct"]})

    def figures(self) -> tuple[Corruption, ...]:
        """Empty where they were not asked for."""
        return tuple(
            Corruption(name=name, severity=severity, accuracy=Accuracy.of(correct, self._images))
            for (name, severity), correct in self._correct.items()
        )
