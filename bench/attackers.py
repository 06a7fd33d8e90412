"""The sides of the evaluation benchmark: the lab's attacks and those of published libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from app.contracts.params import Attack, EvaluateParams
from app.contracts.results import Lineage
from app.contracts.units import from_255
from worker.attacks.autoattack import autoattack
from worker.evaluation.curves import attack_at
from worker.evaluation.outcomes import ChunkState
from worker.evaluation.success import SuccessCheck
from worker.evaluation.target import AttackBatch, Chunk, TargetModel
from worker.models import Classifier, frozen

BUDGETS = tuple(from_255(n) for n in (1, 2, 3, 4, 6, 8, 10, 12, 16))
EPSILON, STEPS, ITERATIONS = from_255(8), 20, 100

Side = Callable[[Tensor, Tensor, int], list[int]]
"""Attacks images (N, 3, H, W) of classes (N,), with the random starts of a seed; counts those that
are still right, at each budget."""


def lab_curve(model: Classifier) -> Side:
    """The curve as an evaluation measures it, the clean pass included."""
    lineage = Lineage(id="0" * 32, name="model", sha256="")
    target_model = TargetModel(lineage=lineage, model=model, call=frozen(model, dtype=None))
    params = EvaluateParams(
        models=(lineage.id,), dataset=lineage.id, epsilon=EPSILON, attack=Attack(steps=STEPS)
    )
    classes = [str(label) for label in range(model.num_classes)]

    def side(x: Tensor, y: Tensor, seed: int) -> list[int]:
        numbers, start = tuple(range(len(y))), start_of(x, seed)
        chunk = Chunk(x=x, y=y, numbers=numbers, masks=None, index=0)
        with torch.no_grad():
            logits = model(x)
        state = ChunkState.after_clean_pass(x, y, logits.argmax(dim=1))
        batch = AttackBatch.of(target_model, params, classes, chunk, start, logits)
        check = SuccessCheck(model, "linf")
        for eps in BUDGETS:
            start = attack_at(batch, check, state, eps, start)
        return [len(state.unbroken_at(eps)) for eps in BUDGETS]

    return side


def torchattacks_curve(model: Classifier) -> Side:
    """Nine runs, each on all images."""
    import torchattacks

    runs = [
        torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=STEPS, random_start=True)
        for eps in BUDGETS
    ]

    def side(x: Tensor, y: Tensor, seed: int) -> list[int]:
        right = []
        for run in runs:
            torch.manual_seed(seed)
            right.append(still_right(model, run(x, y), y))
        return right

    return side


def start_of(x: Tensor, seed: int) -> Tensor:
    """What torchattacks.PGD draws with this seed, as a point of the unit ball."""
    torch.manual_seed(seed)
    noise = torch.empty_like(x, memory_format=torch.contiguous_format).uniform_(-1, 1)
    return noise.contiguous(memory_format=torch.channels_last)


def lab_autoattack(model: Classifier) -> Side:
    """The lab's own, through the copy that an evaluation attacks."""
    copy = frozen(model, dtype=None)

    def side(x: Tensor, y: Tensor, seed: int) -> list[int]:
        x_adv = autoattack(copy, x, y, eps=EPSILON, norm="linf", seed=seed)
        return [still_right(model, x_adv, y)]

    return side


def pyautoattack(model: Classifier) -> Side:
    """The authors' attacks, packaged."""
    from pyautoattack import AutoAttack

    def side(x: Tensor, y: Tensor, seed: int) -> list[int]:
        attack = AutoAttack(model, eps=EPSILON, norm="Linf", seed=seed, device=x.device)
        found = attack.run_standard_evaluation(x, y, batch_size=len(x))
        return [still_right(model, found[0] if isinstance(found, tuple) else found, y)]

    return side


def torchattacks_autoattack(model: Classifier) -> Side:
    """Its own version of each attack, with the authors' number of iterations."""
    import torchattacks

    def side(x: Tensor, y: Tensor, seed: int) -> list[int]:
        attack = torchattacks.AutoAttack(
            model, norm="Linf", eps=EPSILON, n_classes=model.num_classes, seed=seed
        )
        for part in attack._autoattack.attacks[:3]:  # Square counts queries, and has 5,000
            part.steps = ITERATIONS
        return [still_right(model, attack(x, y), y)]

    return side


def still_right(model: Classifier, x_adv: Tensor, y: Tensor) -> int:
    with torch.no_grad():
        return int((model(x_adv).argmax(dim=1) == y).sum())


SIDES: Mapping[str, Callable[[Classifier], Side]] = {
    "lab_curve": lab_curve,
    "torchattacks_curve": torchattacks_curve,
    "lab_autoattack": lab_autoattack,
    "pyautoattack": pyautoattack,
    "torchattacks_autoattack": torchattacks_autoattack,
}
