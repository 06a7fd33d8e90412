"""The measure of each epoch of a training run, on images held out of the training part."""

from __future__ import annotations

import torch
from torch import Tensor

from app.contracts.params import Recipe, TrainParams
from worker.attacks import Steps, walk
from worker.attacks.norms import uniform_in_ball
from worker.data import TensorSplit
from worker.jobs.context import JobContext
from worker.jobs.training_state import TrainingState, seeds
from worker.models import Classifier

STEPS = 10
"""Of the PGD that measures a student."""
_PGD = Steps("pgd", steps=STEPS, relative_step=1 / 4, random_start=True)
_BATCH = 500
_ROBUST_IMAGES = 1000


def validate(
    context: JobContext, params: TrainParams, state: TrainingState, validation: TensorSplit
) -> None:
    """Measure the epoch on held-out images, and keep it if it is the best so far."""
    model = state.model.eval()
    clean = _clean_correct(context, model, validation)
    correct = {"clean": (clean, len(validation.labels))}
    if params.recipe is Recipe.AGKD_BML:
        n = min(_ROBUST_IMAGES, len(validation.labels))
        correct["robust"] = (_robust_correct(context, params, model, validation, n), n)
    key = "robust" if "robust" in correct else "clean"
    score = correct[key][0] / correct[key][1]
    values = {f"validation_{name}": hits / n for name, (hits, n) in correct.items()}
    context.metrics("epoch", state.sampler.epoch, values)
    shown = ", ".join(f"{name} {hits / n:.1%}" for name, (hits, n) in correct.items())
    context.log(f"Epoch {state.sampler.epoch}: validation {shown}.")
    if score >= state.best.score:
        state.best.epoch, state.best.score, state.best.correct = state.sampler.epoch, score, correct
        state.best.weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


def _batches(count: int, device: torch.device) -> list[Tensor]:
    return list(torch.split(torch.arange(count, device=device), _BATCH))


def _clean_correct(context: JobContext, model: Classifier, split: TensorSplit) -> int:
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    with torch.inference_mode():
        for indices in _batches(len(split.labels), split.labels.device):
            context.check()
            x, y = split.batch(indices)
            correct += (model(x).argmax(1) == y).sum()
    return int(correct)


def _robust_correct(
    context: JobContext, params: TrainParams, model: Classifier, split: TensorSplit, count: int
) -> int:
    """Images of a fixed sample that PGD-10 at the training budget does not break.

    The starts are the same in every epoch, so that epochs are compared on equal terms.
    """
    device = split.labels.device
    # Rows may be sorted by class: a stride takes all classes alike.
    sample = torch.linspace(0, len(split.labels) - 1, count, device=device).round().long()
    generator = torch.Generator(device).manual_seed(seeds(params.seed)["attack"])
    correct = 0
    model.requires_grad_(False)
    try:
        for part in _batches(count, device):
            context.check()
            x, y = split.batch(sample[part])
            noise = uniform_in_ball(x, x.new_ones(len(x), 1, 1, 1), "linf", generator)
            attacked = walk(model, x, y, how=_PGD, eps=params.epsilon, norm="linf", noise=noise)
            correct += int((attacked.first_break > STEPS).sum())
    finally:
        model.requires_grad_(True)
    return correct
