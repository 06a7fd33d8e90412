"""The measure of each epoch of a training run, on images held out of the training part."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from app.contracts.attacks import VALIDATION_ATTACK, VALIDATION_STEPS
from app.contracts.events import LogLevel
from app.contracts.params import TrainParams
from app.contracts.words import percent, points
from worker.attacks import Steps, iterate
from worker.attacks.iterative import FGSM, PGD
from worker.attacks.norms import uniform_in_ball
from worker.data import TensorSplit
from worker.jobs.context import JobContext
from worker.jobs.training_state import Best, TrainingState, seeds
from worker.models import AnyModel, Classifier
from worker.team import ALONE, Team

_ATTACKS = {
    "robust": Steps(PGD, steps=VALIDATION_STEPS, relative_step=1 / 4, random_start=True),
    "fgsm": FGSM,
}
_FALL, _GAP = 0.20, 0.15
"""Of the images; beyond them the student has overfitted to its attack."""
_BATCH = 500
"""Images measured at once, at most; never more than a training step takes, so that they fit."""
_ROBUST_IMAGES = 1000


def validate(
    context: JobContext,
    params: TrainParams,
    state: TrainingState,
    validation: TensorSplit,
    team: Team,
) -> None:
    """Measure the epoch on held-out images, report it, keep it if it is the best, and end it.

    Nothing changes before all is measured, so whatever ends this early, it can be done again.
    A team measures together, and each process keeps the same epoch.
    """
    correct = measure(context.check, params, state.measured.eval(), validation, team)
    shares = {name: hits / of for name, (hits, of) in correct.items()}
    _report(context, state, shares)
    _warn(context, state, shares)
    score = shares.get("robust", shares["clean"])
    if score >= state.best.score:
        state.keep_best(Best(state.sampler.epoch, score, correct))
    state.end_epoch(correct)


def measure(
    check: Callable[[], None],
    params: TrainParams,
    model: Classifier,
    validation: TensorSplit,
    team: Team = ALONE,
) -> dict[str, tuple[int, int]]:
    """Correct images and all images, clean and under the attacks of training, as in `Best`.

    `model` is in eval mode. `check` is called between two batches; what it raises ends this.
    """
    n = len(validation.labels)
    size, sample = min(_BATCH, params.batch_size), min(_ROBUST_IMAGES, n)
    share = team.share(n)
    here = TensorSplit(share.of(validation.images), share.of(validation.labels), None)
    hits = {"clean": clean_correct(check, model, here, size)}
    if params.recipe.is_robust:
        hits |= _robust_correct(check, params, model, validation, sample, size, team)
    of = {"clean": n}
    return {name: (hit, of.get(name, sample)) for name, hit in team.total(hits).items()}


def _report(context: JobContext, state: TrainingState, shares: dict[str, float]) -> None:
    epoch = state.sampler.epoch
    figures = state.epoch_sums.figures()
    figures |= {f"validation_{name}": share for name, share in shares.items()}
    figures["peak_memory_mb"] = peak_memory() / 2**20
    context.metrics("epoch", epoch, figures)
    shown = ", ".join(f"{name} {percent(share)}" for name, share in shares.items())
    context.log(f"Epoch {epoch}: validation {shown}.")


def _warn(context: JobContext, state: TrainingState, shares: dict[str, float]) -> None:
    """Catastrophic overfitting (Wong et al., ICLR 2020): robust for one step and no further."""
    if "robust" not in shares:
        return
    advice = "The student overfits to its attack: use more steps, or a smaller step size."
    hits, of = state.last_correct.get("robust", (0, 1))
    fall = _rounded(hits / of - shares["robust"])
    gap = _rounded(shares["fgsm"] - shares["robust"])
    if fall > _FALL:
        fell = f"Robust accuracy fell by {points(fall)} in an epoch."
        context.log(f"{fell} {advice}", LogLevel.WARNING)
    if gap > _GAP:
        weaker = f"FGSM leaves {points(gap)} more images right than {VALIDATION_ATTACK}."
        context.log(f"{weaker} {advice}", LogLevel.WARNING)


def _rounded(share: float) -> float:
    """Without the last bits of a difference of shares."""
    return round(share, 8)


def _batches(count: int, size: int, device: torch.device) -> list[Tensor]:
    return list(torch.split(torch.arange(count, device=device), size))


def clean_correct(
    check: Callable[[], None], model: Classifier, split: TensorSplit, size: int
) -> int:
    """How many images of the split a model in eval mode classifies right, `size` at a time."""
    return int((clean_guesses(check, model, split, size) == split.labels).sum())


def clean_guesses(
    check: Callable[[], None], model: AnyModel, split: TensorSplit, size: int
) -> Tensor:
    """What a model in eval mode says of each image of the split, (N,), `size` at a time."""
    guesses = []
    with torch.inference_mode():
        for indices in _batches(len(split.labels), size, split.labels.device):
            check()
            x, _ = split.batch(indices)
            guesses.append(model(x).argmax(1))
    return torch.cat(guesses)


def _robust_correct(
    check: Callable[[], None],
    params: TrainParams,
    model: Classifier,
    split: TensorSplit,
    count: int,
    size: int,
    team: Team,
) -> dict[str, int]:
    """Images of a fixed sample that each attack at the training budget does not break; in a team,
    of this process's share.

    The starts are the same in every epoch, so that epochs are compared on equal terms.
    """
    device = split.labels.device
    # Rows may be sorted by class: a stride takes all classes alike.
    sample = torch.linspace(0, len(split.labels) - 1, count, device=device).round().long()
    generator = torch.Generator(device).manual_seed(seeds(params.seed)["attack"])
    correct = dict.fromkeys(_ATTACKS, 0)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        for part in _batches(count, size, device):
            share = team.share(len(part))
            x, y = split.batch(sample[part])
            noise = uniform_in_ball(x, x.new_ones(1, 1, 1, 1), "linf", generator)
            x, y, noise = share.of(x), share.of(y), share.of(noise)
            if len(y) == 0:
                continue
            for name, how in _ATTACKS.items():
                check()
                start = noise if how.random_start else None
                seen = iterate(model, x, y, how=how, eps=params.epsilon, norm="linf", noise=start)
                correct[name] += int((seen.first_break > how.steps).sum())
    finally:
        for parameter, trains in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(trains)
    return correct


def peak_memory() -> int:
    """The most bytes that this process has held: on the GPU, or in the host's memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
