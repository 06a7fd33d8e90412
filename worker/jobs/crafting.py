"""One image attacked at many budgets in one batch, with the iterates on the way.

The model sees pictures, at each step: the pass that gives the gradient also says what it makes of
the picture that a page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import Attack, Goal
from worker.attacks import Model, iterate
from worker.attacks.norms import length
from worker.evaluation.arguments import aims, norm_of, restarts_of, steps_of, unit_noise
from worker.jobs.looking import Seen, seen
from worker.models import Classifier, Outputs


def columns(attack: Attack, most: int) -> tuple[int, ...]:
    """After how many steps iterates are kept: the start, the last, and evenly between."""
    steps = steps_of(attack).steps
    kept = min(steps + 1, most)
    return tuple(round(i * steps / (kept - 1)) for i in range(kept))


def runs(attack: Attack, classes: int) -> int:
    """How often the attack takes its steps at most."""
    return restarts_of(attack) * (classes - 1 if attack.goal is Goal.ALL_CLASSES else 1)


class Crafted(NamedTuple):
    """What an attack made of one image at B budgets after T numbers of steps."""

    iterates: Tensor
    """(B, T, 3, H, W) in [0, 1], not rounded. The last one is what the attack hands out: of
    Auto-PGD its best. At budget 0 they are the image."""
    seen: Sequence[Seen]
    """What the model made of those before the last, rounded: T - 1 times of B - 1 pictures, at
    the budgets above 0."""


class Pictured:
    """A model that is shown pictures: images are rounded to 8 bit before it sees them.

    Its gradient is taken as if they were not. What it makes of some iterates is kept; it is told
    of them before it is shown them.
    """

    def __init__(self, model: Classifier, outputs: Callable[[Tensor], Outputs]) -> None:
        """`outputs` are those of `model`, by whatever way is quick."""
        self._model, self._outputs = model, outputs
        self._wanted: frozenset[int] = frozenset()
        self._due = False
        self.iterates: list[Tensor] = []
        self.seen: list[Seen] = []

    def keep(self, steps: Iterable[int]) -> None:
        """Forget what was kept, and keep what comes after these numbers of steps."""
        self._wanted, self.iterates, self.seen = frozenset(steps), [], []

    def watch(self, step: int, x_adv: Tensor) -> None:
        self._due = step in self._wanted
        if self._due:
            self.iterates.append(x_adv)

    def __call__(self, x: Tensor) -> Tensor:
        found = self._outputs(x + (rounded(x) - x).detach())
        if self._due:
            self.seen.append(seen(self._model, found))
            self._due = False
        return found.logits


def craft(
    model: Pictured,
    x: Tensor,
    y: int,
    budgets: Tensor,
    *,
    attack: Attack,
    classes: Sequence[str],
    seed: int,
    most: int,
    report: Callable[[], None],
) -> Crafted:
    """Attack one image. Of several targets and restarts each is tried at the budgets that
    withstood those before.

    Args:
        model: in eval mode.
        x: the image, (1, 3, H, W) in [0, 1], of 8 bit.
        y: the class to leave.
        budgets: (B,) in units of [0, 1], the first one 0.
        most: iterates to keep of each budget, at least 2.
        report: called after every step.
    """
    how, norm, kept = steps_of(attack), norm_of(attack), columns(attack, most)
    budgets = budgets[1:]
    many = x.expand(len(budgets), *x.shape[1:]).contiguous(memory_format=torch.channels_last)
    ys = torch.full((len(budgets),), y, device=x.device)
    iterates = many[:, None].repeat(1, len(kept), 1, 1, 1)
    answers: list[Seen] = []
    left = torch.arange(len(budgets), device=x.device)
    turns = list(_turns(model, x, ys[:1], attack, classes, seed))

    def watch(step: int, x_adv: Tensor) -> None:
        report()
        model.watch(step, x_adv)

    for number, (target, noise) in enumerate(turns, 1):
        model.keep(kept[:-1])
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
        iterates[left] = torch.stack([*model.iterates, found.x_adv], dim=1)
        answers = (
            [old.replaced(left, new) for old, new in zip(answers, model.seen, strict=True)]
            if answers
            else model.seen
        )
        if number < len(turns):
            left = left[_says(model, found.x_adv, y)]
            if len(left) == 0:
                break
    still = x[:, None].expand(1, len(kept), *x.shape[1:])
    return Crafted(torch.cat([still, iterates]), [answer.cpu() for answer in answers])


def rounded(x: Tensor) -> Tensor:
    """Images in [0, 1] as 8 bit holds them."""
    return (x * 255).round() / 255


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


@torch.no_grad()
def _says(model: Model, x: Tensor, y: int) -> Tensor:
    """Whether the model says class y of each image, (N,) bool."""
    found: Tensor = model(x).argmax(dim=1) == y
    return found


def random_directions(x: Tensor, budgets: Tensor, *, attack: Attack, seed: int) -> Tensor:
    """The image with random noise as large as each budget, (B, 3, H, W), in one direction.

    In Linf every pixel moves by the whole budget, as an attack moves it; in L2 and L1 the noise is
    as long as the budget.
    """
    norm = norm_of(attack)
    noise = unit_noise(x, norm, seed, [1])
    noise = noise.sign() if norm == "linf" else noise / length(noise, norm).view(-1, 1, 1, 1)
    return (x + budgets.view(-1, 1, 1, 1) * noise).clamp(0, 1)
