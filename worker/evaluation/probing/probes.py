"""What a small part of the images shows about an evaluation, in raw runs.

Every run starts from the clean images: nothing that another run found is reused, so that figures
which should be ordered by construction (a larger ball contains a smaller one) can be seen to be so.
What an attack returns is measured again. Images that broke leave their run.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from app.contracts.params import Method
from worker.attacks import Model, Norm, Steps
from worker.attacks.iterative import CW, PGD
from worker.attacks.losses import cross_entropy
from worker.attacks.norms import uniform_in_ball
from worker.attacks.pgd import gradient_of, objective_of
from worker.evaluation.adaptive import Seeing
from worker.evaluation.probing.other_attacks import (
    by_adaptive,
    by_hard_label,
    by_noise,
    by_square,
    by_transfer,
)
from worker.evaluation.probing.probe_batch import Asking, ProbeBatch, to_eight_bits
from worker.evaluation.verdict.evidence import Answers, OutputKind, Probe, Tried

MULTIPLES = (0.25, 0.5, 1.0, 2.0)
"""Of the budget of the threat model, where accuracy must fall."""
FREE_STEPS, FREE_STEP = 100, 0.01
"""The unbounded attack can cross the whole range of a pixel once."""

_SUM_OF_ONE = 1e-4


def probe(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    how: Steps,
    eps: float,
    norm: Norm,
    seed: int,
    standing: Tensor,
    blind: Collection[Method],
    seeing: Seeing | None,
    reference: Seeing | None,
    teacher: Model | None,
    batch_size: int,
) -> Probe:
    """Try on a few images what the run over all of them cannot tell.

    Args:
        model: the model under test in eval mode; images in [0, 1] -> logits (N, K).
        x, y: about 100 to 128 images (N, C, H, W) of the run and their classes (N,), int64; those
            that are wrong when clean included.
        how: the main attack; it is taken without a target.
        eps: budget of the threat model, in units of [0, 1].
        seed: of random starts and of the black-box attacks.
        standing: (N,) bool, images that no attack of the run broke.
        blind: black-box and adaptive methods that the run did not take, to be tried here on the
            images that stand: of `noise`, `square`, `transfer`, `hop_skip_jump`, `adaptive`.
        seeing: the same model where it shows its features, for the adaptive attack; None: none.
        reference: the model whose maps of the clean images the adaptive attack looks at; None: the
            model's own maps.
        teacher: the model that it learned from, for its own accuracy under attack and as the
            source of transfer; None: not known, or the model itself.
        batch_size: images attacked at once.

    Raises:
        ValueError: no images, or arguments that the attacks refuse.
    """
    if len(x) == 0 or standing.shape != y.shape:
        raise ValueError("a probe needs images, and to know of each whether it stands")
    generator = torch.Generator(x.device).manual_seed(seed)
    batch = ProbeBatch(
        model=model,
        x=x,
        y=y,
        how=how,
        eps=eps,
        norm=norm,
        start=uniform_in_ball(x, x.new_ones(1, 1, 1, 1), norm, generator),
        seed=seed,
        batch_size=batch_size,
    )
    logits = _passes(batch)
    right = (logits.argmax(dim=1) == y).nonzero().squeeze(1)
    left = standing.nonzero().squeeze(1)
    zero, bad = _gradients(batch, right)
    rounding, iterates = _iterates(batch, right)
    return Probe(
        images=len(x),
        input_low=float(x.min()),
        input_high=float(x.max()),
        outputs=_kind(logits),
        passes_gap=_passes_gap(batch, logits),
        gradients=len(right),
        zero_gradients=zero,
        bad_gradients=bad,
        by_epsilon=_by_epsilon(batch, right),
        whole_range=_still_right(batch, right, batch.whole),
        unbounded=_unbounded(batch, right),
        noise=by_noise(batch, left) if Method.NOISE in blind else None,
        square=by_square(batch, left) if Method.SQUARE in blind else None,
        transfer=by_transfer(batch, left, teacher) if Method.TRANSFER in blind else None,
        hard_label=by_hard_label(batch, left) if Method.HOP_SKIP_JUMP in blind else None,
        adaptive=(
            by_adaptive(batch, left, seeing, reference) if Method.ADAPTIVE in blind else None
        ),
        teacher=None if teacher is None else _teacher(batch, teacher),
        rounding=rounding,
        iterates=iterates,
    )


def probe_answers(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Norm,
    seed: int,
    standing: Tensor,
    blind: Collection[Method],
    batch_size: int,
) -> Answers:
    """The same of a run that asks for scores alone; arguments as in `probe`."""
    batch = Asking(model=model, x=x, y=y, eps=eps, norm=norm, seed=seed, batch_size=batch_size)
    logits, left = _passes(batch), standing.nonzero().squeeze(1)
    return Answers(
        images=len(x),
        input_low=float(x.min()),
        input_high=float(x.max()),
        passes_gap=_passes_gap(batch, logits),
        hard_label=by_hard_label(batch, left) if Method.HOP_SKIP_JUMP in blind else None,
    )


@torch.no_grad()
def _passes(batch: Asking) -> Tensor:
    """The outputs for the clean images, (N, K)."""
    return torch.cat([batch.model(part) for part in torch.split(batch.x, batch.batch_size)])


@torch.no_grad()
def _passes_gap(batch: Asking, logits: Tensor) -> float:
    """The largest difference to a pass in falling order and half batches, of the largest output."""
    half = max(1, batch.batch_size // 2)
    again = torch.cat([batch.model(part) for part in torch.split(batch.x.flip(0), half)]).flip(0)
    if not (logits.isfinite().all() and again.isfinite().all()):
        return math.inf
    largest = float(logits.abs().max())
    return float((logits - again).abs().max()) / largest if largest > 0 else 0.0


def _kind(outputs: Tensor) -> OutputKind:
    if not outputs.isfinite().all():
        return "not_finite"
    if outputs.min() < 0 or outputs.max() > 1:
        return "logits"
    sums = outputs.double().sum(dim=1)
    return "probabilities" if bool(((sums - 1).abs() <= _SUM_OF_ONE).all()) else "unit"


def _gradients(batch: ProbeBatch, right: Tensor) -> tuple[int, int]:
    """Images whose gradient is zero, and not finite: at the image or at the attack's start."""
    zero, bad = 0, 0
    objective = objective_of(batch.model, batch.how.attack.loss, batch.y, targeted=False)
    for part in batch.parts(right):
        x = batch.x[part]
        points = [x]
        if batch.how.random_start:
            points.append((x + batch.eps * batch.start[part]).clamp(0, 1))
        seen = [gradient_of(objective, point, part)[0].flatten(1) for point in points]
        zero += int(torch.stack([(g == 0).all(dim=1) for g in seen]).any(dim=0).sum())
        bad += int(torch.stack([(~g.isfinite()).any(dim=1) for g in seen]).any(dim=0).sum())
    return zero, bad


def _still_right(batch: ProbeBatch, right: Tensor, eps: float) -> int:
    """Images still right under the main attack at a budget, on its own."""
    craft = batch.first_breaks(batch.model, batch.how, eps)
    return len(right) - int(batch.broken(right, craft, eps).sum())


def _by_epsilon(batch: ProbeBatch, right: Tensor) -> tuple[tuple[float, int], ...]:
    budgets = [eps for m in MULTIPLES if (eps := m * batch.eps) < batch.whole]
    raw = ((eps, _still_right(batch, right, eps)) for eps in budgets)
    return ((0.0, len(right)), *raw)


def _unbounded(batch: ProbeBatch, right: Tensor) -> Tried:
    """Without a bound there is no norm either: Linf with the radius of the whole range."""
    climbed = PGD if batch.how.attack.loss is cross_entropy else CW
    free = Steps(climbed, FREE_STEPS, FREE_STEP, random_start=False)
    craft = batch.first_breaks(batch.model, free, 1.0, "linf")
    return Tried(attacked=len(right), broken=int(batch.broken(right, craft, batch.whole).sum()))


def _teacher(batch: ProbeBatch, teacher: Model) -> int:
    """Images on which the teacher is right, after the main attack on the teacher itself."""
    every = torch.arange(len(batch.x), device=batch.x.device)
    craft = batch.first_breaks(teacher, batch.how, batch.eps)
    return len(every) - int(batch.broken(every, craft, batch.eps, teacher).sum())


def _iterates(
    batch: ProbeBatch, right: Tensor
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Images broken by the last iterate, as it is and in 8 bits; by the best iterate, by the last.

    Of the main attack, or of PGD with its steps where it is APGD, whose end is no plain iterate.
    """
    if batch.norm == "l1":
        return None, None
    how, eps = batch.how, batch.eps
    if how.attack.own_step_size:
        how = how._replace(attack=PGD)
    last = batch.last_iterates(batch.model, how)
    at_last, after = 0, 0
    for part in batch.parts(right):
        x_adv = last(part)
        rounded = to_eight_bits(x_adv, batch.x[part], eps=eps, norm=batch.norm)
        broken = batch.measured(part, x_adv, eps)
        at_last += int(broken.sum())
        after += int((broken & batch.measured(part, rounded, eps)).sum())
    best = int(batch.broken(right, batch.first_breaks(batch.model, how, eps), eps).sum())
    return (at_last, after), (best, at_last)
