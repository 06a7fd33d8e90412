"""What an evaluation shows beside accuracy under attack: attention, and common corruptions."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from app.contracts.params import EvaluateParams
from app.contracts.results import Accuracy, AttentionFigures, Corruption
from worker.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from worker.evaluation.arguments import steps_of
from worker.evaluation.attention import AttentionMeter
from worker.evaluation.last_iterate import last_iterate
from worker.evaluation.subject import Scene, Subject


class Attention:
    """One model's attention under the main attack, on images that are right when clean.

    The attack goes on to its last step with every image: an example that has only just crossed the
    boundary would move a weak model's attention less than a strong one's.
    """

    def __init__(self, subject: Subject, params: EvaluateParams) -> None:
        self._meter, self._seen = None, False
        if params.attention:
            reference = subject.teacher or subject.model
            lineage = subject.teacher_lineage or subject.lineage
            self._meter = AttentionMeter(reference, lineage, subject.model)
            self._how = steps_of(params.attack)

    @property
    def passes(self) -> float:
        """What it takes an image at most, in passes forward and backward."""
        return 0 if self._meter is None else self._how.steps + 1

    def add(self, scene: Scene, masks: Tensor | None) -> None:
        """Attack the scene's images, (M, 3, H, W), and look; masks (M, H, W) of the objects."""
        if self._meter is None or len(scene) == 0:
            return
        x_adv = last_iterate(
            scene.subject.call,
            scene.x,
            scene.y,
            how=self._how,
            eps=scene.params.epsilon,
            norm=scene.params.attack.norm.value,
            noise=scene.start,
            target=None if scene.targets is None else scene.targets[:, 0],
        )
        self._meter.add(scene.x, x_adv, masks)
        self._seen = True

    def figures(self) -> AttentionFigures | None:
        """None where it was not asked for, no image was right, or maps have one position."""
        return None if self._meter is None or not self._seen else self._meter.figures()


class Corruptions:
    """One model's accuracy on corrupted images; every model sees the same noise."""

    def __init__(self, subject: Subject, params: EvaluateParams) -> None:
        self._subject, self._wanted, self._images = subject, params.corruptions, 0
        self._correct: Counter[tuple[str, int]] = Counter()

    @property
    def passes(self) -> float:
        """What it takes an image, in passes forward and backward."""
        return len(CORRUPTIONS) * len(SEVERITIES) / 3 if self._wanted else 0

    def add(self, scene: Scene) -> None:
        """Look at the scene's images, all of a chunk, in every corruption."""
        if not self._wanted:
            return
        self._images += len(scene)
        for name in CORRUPTIONS:
            for severity in SEVERITIES:
                generator = torch.Generator(scene.x.device).manual_seed(scene.seed)
                corrupted = corrupt(scene.x, name, severity, generator=generator)
                with torch.no_grad():
                    right = self._subject.model(corrupted).argmax(dim=1) == scene.y
                self._correct[name, severity] += int(right.sum())

    def figures(self) -> tuple[Corruption, ...]:
        """Empty where they were not asked for."""
        return tuple(
            Corruption(name=name, severity=severity, accuracy=Accuracy.of(correct, self._images))
            for (name, severity), correct in self._correct.items()
        )
