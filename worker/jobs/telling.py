"""From what all models make of all pictures to the figures that a live attack leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.results import Attacked, CleanLook, Level, LiveLook, Minimal, Stored
from worker.jobs.live_attack import Responses
from worker.jobs.looking import Seen, distances, map_figures, map_sheet, rounded
from worker.pictures import change_sheet, png

MAX_SHOWN = 10
"""Classes whose probabilities are kept, of models that know more."""
_L2_DECIMALS = 5


@dataclass(frozen=True)
class Evidence:
    """What one model makes of everything at B budgets, the first of them 0."""

    clean: Seen
    """Of the clean image, alone."""
    truth: int
    """The class that it should say: the true one, else what it says of the clean image."""
    responses: Responses


def shown_classes(evidence: Sequence[Evidence]) -> list[int]:
    """The true classes and the likeliest ones at any moment, in the order of the classes."""
    seen = [
        part for one in evidence for part in (one.clean, *chain.from_iterable(one.responses.looks))
    ]
    highest = torch.stack([part.probabilities.amax(dim=0) for part in seen]).amax(dim=0)  # (K,)
    highest[[one.truth for one in evidence]] = 2.0
    return sorted(highest.topk(min(MAX_SHOWN, len(highest))).indices.tolist())


def clean_look(one: Evidence, shown: Sequence[int]) -> CleanLook:
    """What a model makes of the clean image, and how far noise moves its maps."""
    (top,), (confidence,) = one.clean.top, one.clean.confidence
    return CleanLook(
        top=top,
        confidence=confidence,
        probabilities=rounded(one.clean.probabilities[0, shown]),
        attention_noise=distances(one.responses.noise.attention, one.clean.attention),
        grad_cam_noise=distances(one.responses.noise.grad_cam, one.clean.grad_cam),
    )


def attacked(
    number: int,
    clean: NDArray[np.uint8],
    pictures: NDArray[np.uint8],
    evidence: Sequence[Evidence],
    shown: Sequence[int],
    minimal: Minimal,
) -> Attacked:
    """What the attack on one model did.

    Args:
        number: of the model.
        clean: (H, W, 3).
        pictures: crafted on it, (B, T, H, W, 3).
        evidence: of every model.
    """
    own, first = evidence[number].responses, evidence[0].clean
    stored = {"png": own.looks[number][-1], **own.stored}
    return Attacked(
        changes_png=change_sheet(pictures - clean + np.uint8(128)),  # modulo 256
        levels=tuple(_level(clean, last) for last in pictures[:, -1]),
        looks=tuple(
            _look(one.responses.looks[number], one.clean, first, shown) for one in evidence
        ),
        stored=tuple(
            Stored.model_validate({"form": form, "top": tuple(seen.top)})
            for form, seen in stored.items()
        ),
        minimal=minimal,
    )


def _level(clean: NDArray[np.uint8], picture: NDArray[np.uint8]) -> Level:
    change = (picture.astype(np.int16) - clean) / 255  # (H, W, 3) in [-1, 1]
    return Level(
        adversarial_png=png(picture),
        max_change=float(np.abs(change).max()),
        l2_change=round(float(np.linalg.norm(change)), _L2_DECIMALS),
    )


def _look(columns: Sequence[Seen], own: Seen, first: Seen, shown: Sequence[int]) -> LiveLook:
    """What a model makes of T columns of pictures; maps are held against two clean ones."""
    seen, count = Seen.woven(columns), len(columns)
    return LiveLook(
        top=tuple(seen.top),
        confidence=seen.confidence,
        probabilities=rounded(seen.probabilities[:, shown]),
        attention=map_figures(seen.attention, own.attention, first.attention, count),
        grad_cam=map_figures(seen.grad_cam, own.grad_cam, first.grad_cam, count),
        stages=tuple(map_sheet(stage, 1) for stage in columns[-1].stages),
    )


def minimal(
    number: int, evidence: Sequence[Evidence], budgets: Sequence[float], iterates: Sequence[int]
) -> Minimal:
    """The smallest budget at which any picture changes what a model should say.

    Its own attack is asked before transfers, and each of its iterates counts.
    """
    one = evidence[number]
    if one.clean.top[0] != one.truth:
        return Minimal(survived=None, broke=0.0, crafted_on=None, steps=None)
    own = [(number, *each) for each in zip(iterates, one.responses.looks[number], strict=True)]
    others = [
        (i, iterates[-1], last) for i, (last, *_) in enumerate(one.responses.looks) if i != number
    ]
    tops = [(i, steps, seen.top) for i, steps, seen in (*own, *others)]
    for row in range(1, len(budgets)):
        found = [(i, steps) for i, steps, top in tops if top[row] != one.truth]
        if found:
            crafted_on, steps = found[0]
            return Minimal(
                survived=budgets[row - 1], broke=budgets[row], crafted_on=crafted_on, steps=steps
            )
    return Minimal(survived=budgets[-1], broke=None, crafted_on=None, steps=None)
