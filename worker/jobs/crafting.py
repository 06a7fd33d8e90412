"""One image attacked at many budgets in one batch, with the iterates on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from app.contracts.params import Attack, Goal
from worker.attacks import Model, iterate
from worker.attacks.norms import length
from worker.evaluation.arguments import aims, norm_of, restarts_of, steps_of, unit_noise


def columns(attack: Attack, most: int) -> tuple[int, ...]:
    """After how many steps iterates are kept: the start, the last, and evenly between."""
    steps = steps_of(attack).steps
    kept = min(steps + 1, most)
    return tuple(round(i * steps / (kept - 1)) for i in range(kept))


def runs(attack: Attack, classes: int) -> int:
    """How often the attack takes its steps at most."""
    return restarts_of(attack) * (classes - 1 if attack.goal is Goal.ALL_CLASSES else 1)


def craft(
    model: Model,
    x: Tensor,
    y: int,
    budgets: Tensor,
    *,
    attack: Attack,
    classes: Sequence[str],
    seed: int,
    most: int,
) -> Tensor:
    """One image after each of T numbers of steps at B budgets, (B, T, 3, H, W) in [0, 1].

    The last iterate is what the attack hands out: of Auto-PGD its best one. Of several targets and
    restarts each is tried at the budgets that withstood those before.

    Args:
        model: images in [0, 1] -> logits (N, K).
        x: the image, (1, 3, H, W) in [0, 1].
        y: the class to leave.
        budgets: (B,) in units of [0, 1], the first one 0.
        most: iterates to keep of each budget, at least 2.
    """
    how, norm, kept = steps_of(attack), norm_of(attack), columns(attack, most)
    budgets = budgets[1:]
    many = x.expand(len(budgets), *x.shape[1:]).contiguous(memory_format=torch.channels_last)
    ys = torch.full((len(budgets),), y, device=x.device)
    iterates = many[:, None].repeat(1, len(kept), 1, 1, 1)
    left = torch.arange(len(budgets), device=x.device)
    turns = list(_turns(model, x, ys[:1], attack, classes, seed))
    for number, (target, noise) in enumerate(turns, 1):
        keep = _Keep(kept)
        found = iterate(
            model,
            many[left],
            ys[left],
            how=how,
            eps=budgets[left],
            norm=norm,
            noise=noise.expand_as(many[left]),
            target=None if target is None else target.expand(len(left)),
            may_break=False,
            watch=keep,
        )
        iterates[left] = torch.stack([*keep.found[:-1], found.x_adv], dim=1)
        if number < len(turns):
            left = left[_says(model, found.x_adv, y)]
            if len(left) == 0:
                break
    still = x[:, None].expand(1, len(kept), *x.shape[1:])
    return torch.cat([still, iterates])


def _turns(
    model: Model, x: Tensor, y: Tensor, attack: Attack, classes: Sequence[str], seed: int
) -> Iterator[tuple[Tensor | None, Tensor]]:
    """The targets, (1,) or None, with the noise to start at, (1, 3, H, W)."""
    with torch.no_grad():
        aimed = aims(attack, classes, model(x), y)  # (1, A)
    targets: list[Tensor | None] = [None] if aimed is None else list(aimed.unbind(dim=1))
    for restart in range(restarts_of(attack)):
        noise = unit_noise(x, norm_of(attack), seed, [0], restart=restart)
        for target in targets:
            yield target, noise


class _Keep:
    """Watches an attack and keeps some of its iterates."""

    def __init__(self, kept: Sequence[int]) -> None:
        self._kept = frozenset(kept)
        self.found: list[Tensor] = []

    def __call__(self, step: int, x_adv: Tensor) -> None:
        if step in self._kept:
            self.found.append(x_adv)


@torch.no_grad()
def _says(model: Model, x: Tensor, y: int) -> Tensor:
    """Whether the model says class y of each image, (N,) bool."""
    return model(x).argmax(dim=1) == y


def random_directions(x: Tensor, budgets: Tensor, *, attack: Attack, seed: int) -> Tensor:
    """The image with random noise as large as each budget, (B, 3, H, W), in one direction.

    In Linf every pixel moves by the whole budget, as an attack moves it; in L2 and L1 the noise is
    as long as the budget.
    """
    norm = norm_of(attack)
    noise = unit_noise(x, norm, seed, [1])
    noise = noise.sign() if norm == "linf" else noise / length(noise, norm).view(-1, 1, 1, 1)
    return (x + budgets.view(-1, 1, 1, 1) * noise).clamp(0, 1)
