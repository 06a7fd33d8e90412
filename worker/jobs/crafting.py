"""One image attacked at many budgets in one batch, with the iterates on the way.

The model sees pictures, at each step: the pass that gives the gradient also says what it makes of
the picture that a page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import Attack
from worker.agkd_bml.attention import attention_map
from worker.attacks import iterate
from worker.attacks.norms import length
from worker.evaluation.arguments import aims, norm_of, unit_noise
from worker.evaluation.attacks import restarts_of, steps_of
from worker.jobs.looking import Looker, Seen, seen
from worker.models import Outputs


def columns(attack: Attack, most: int) -> tuple[int, ...]:
    """After how many steps iterates are kept: the start, the last, and evenly between."""
    steps = steps_of(attack).steps
    kept = min(steps + 1, most)
    return tuple(round(i * steps / (kept - 1)) for i in range(kept))


class Crafted(NamedTuple):
    """What an attack made of one image at B budgets after T numbers of steps."""

    iterates: Tensor
    """(B, T, 3, H, W) in [0, 1], not rounded. The last one is what the attack hands out: of
    Auto-PGD its best."""
    seen: Sequence[Seen]
    """What the model made of them, rounded: T times of B pictures, of the last with its stages."""


class Pictured:
    """A model that is shown pictures: images are rounded to 8 bit before it sees them.

    Its gradient is taken as if they were not. Its passes of some iterates are kept; it is told of
    them before it is shown them.
    """

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._wanted: Sequence[int] = ()
        self._step: int | None = None
        self._passes: list[Outputs] = []
        self._stages: Sequence[Tensor] = ()
        self.iterates: list[Tensor] = []

    def keep(self, steps: Sequence[int]) -> None:
        """Forget what was kept, and keep what comes after these numbers of steps."""
        self._wanted, self._passes, self.iterates = steps, [], []

    def watch(self, step: int, x_adv: Tensor) -> None:
        self._step = step if step in self._wanted else None
        if self._step is not None:
            self.iterates.append(x_adv)

    def ends_at(self, x_adv: Tensor) -> None:
        """Take this for where the last step led."""
        del self.iterates[-1], self._passes[-1]
        self.watch(self._wanted[-1], x_adv)
        with torch.no_grad():
            self(x_adv)

    def __call__(self, x: Tensor) -> Tensor:
        step, self._step = self._step, None
        picture, passes = x + (rounded(x) - x).detach(), self._looker.passes
        if step is None or step < self._wanted[-1]:
            outputs = passes.outputs(picture)
        else:
            outputs, self._stages = passes.staged(picture)
        if step is not None:
            self._passes.append(Outputs(*(part.detach() for part in outputs.parts)))
        return outputs.logits

    def seen(self) -> list[Seen]:
        """What it made of the iterates that were kept, of the last with its stages."""
        passes = (each.parts for each in self._passes)
        every = Outputs(*(torch.cat(parts) for parts in zip(*passes, strict=True)))
        parts = seen(self._looker.model, every).split([len(one) for one in self.iterates])
        sums = tuple(attention_map(stage) for stage in self._stages)
        return [*parts[:-1], replace(parts[-1], stages=sums)]


class Run(NamedTuple):
    """A run of the attack."""

    target: Tensor | None
    """The class to reach, (1,); None to leave the true one."""
    noise: Tensor
    """What it starts at: a point of the unit ball, (1, 3, H, W)."""


def runs(
    looker: Looker, x: Tensor, y: int, attack: Attack, classes: Sequence[str], seed: int
) -> list[Run]:
    """The runs against an image (1, 3, H, W) of 8 bit: each start with each target."""
    with torch.no_grad():
        logits = looker.passes.outputs(x).logits
    aimed = aims(attack, classes, logits, torch.tensor([y], device=x.device))  # (1, A)
    targets: list[Tensor | None] = [None] if aimed is None else list(aimed.unbind(dim=1))
    starts = [
        unit_noise(x, norm_of(attack), seed, [0], restart=restart)
        for restart in range(restarts_of(attack))
    ]
    return [Run(target, noise) for noise in starts for target in targets]


def craft(
    looker: Looker,
    x: Tensor,
    y: int,
    budgets: Tensor,
    *,
    attack: Attack,
    runs: Sequence[Run],
    most: int,
    report: Callable[[int], None],
) -> Crafted:
    """Attack one image. Of several runs each is taken at the budgets that withstood those before.

    Args:
        x: the image, (1, 3, H, W) in [0, 1], of 8 bit.
        y: the class to leave.
        budgets: (B,) in units of [0, 1], each above 0.
        most: iterates to keep of each budget, at least 2.
        report: called before every pass with the number of its pictures.
    """
    how, norm, kept = steps_of(attack), norm_of(attack), columns(attack, most)
    model = Pictured(looker)
    many = x.expand(len(budgets), *x.shape[1:]).contiguous(memory_format=torch.channels_last)
    ys = torch.full((len(budgets),), y, device=x.device)
    iterates = many[:, None].repeat(1, len(kept), 1, 1, 1)
    answers: list[Seen] = []
    left = torch.arange(len(budgets), device=x.device)

    def watch(step: int, x_adv: Tensor) -> None:
        report(len(x_adv))
        model.watch(step, x_adv)

    for number, (target, noise) in enumerate(runs, 1):
        model.keep(kept)
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
            watch=watch,
        )
        if how.attack.own_step_size:  # hands out its best
            model.ends_at(found.x_adv)
        iterates[left] = torch.stack(model.iterates, dim=1)
        new = model.seen()
        answers = (
            [old.replaced(left, one) for old, one in zip(answers, new, strict=True)]
            if answers
            else new
        )
        if number < len(runs):
            left = left[new[-1].probabilities.argmax(dim=1) == y]
            if len(left) == 0:
                break
    return Crafted(iterates, [answer.cpu() for answer in answers])


def rounded(x: Tensor) -> Tensor:
    """Images in [0, 1] as 8 bit holds them."""
    return (x * 255).round() / 255


def random_directions(x: Tensor, budgets: Tensor, *, attack: Attack, seed: int) -> Tensor:
    """The image with random noise as large as each budget, (B, 3, H, W), in one direction.

    In Linf every pixel moves by the whole budget, as an attack moves it; in L2 and L1 the noise is
    as long as the budget.
    """
    norm = norm_of(attack)
    noise = unit_noise(x, norm, seed, [1])
    noise = noise.sign() if norm == "linf" else noise / length(noise, norm).view(-1, 1, 1, 1)
    return (x + budgets.view(-1, 1, 1, 1) * noise).clamp(0, 1)
