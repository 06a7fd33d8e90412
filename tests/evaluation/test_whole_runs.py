"""All steps of an iterative attack, on every image, whatever the model says on the way."""

from __future__ import annotations

import pytest
import torch

from app.contracts.params import Attack, Method
from tests.evaluation.batches import LinearNet, grey, middle
from worker.attacks import Norm, Steps, iterate, pgd
from worker.attacks.iterative import PGD
from worker.attacks.norms import length
from worker.evaluation.arguments import unit_noise
from worker.evaluation.attacks import steps_of

LP_ATTACKS = [
    (method, norm)
    for method in (Method.FGSM, Method.BIM, Method.PGD, Method.MI_FGSM, Method.CW)
    for norm in ("linf", "l2")
]
APGD = [(m, norm) for m in (Method.APGD_CE, Method.APGD_DLR) for norm in ("linf", "l2", "l1")]


@pytest.mark.parametrize(("method", "norm"), LP_ATTACKS + APGD)
def test_goes_on_to_the_edge_of_the_ball(method: Method, norm: Norm) -> None:
    """On a linear model the loss rises up to there, long after the image broke."""
    x, model = grey(8), LinearNet()
    y = model(x).argmax(dim=1)
    y[0] = 1 - y[0]  # wrong when clean
    eps = {"linf": 0.02, "l2": 0.3, "l1": 4.0}[norm]
    how = steps_of(Attack(method=method, norm=norm, steps=30, relative_step=0.2))
    noise = unit_noise(x, norm, 0, range(8))
    x_adv = iterate(model, x, y, how=how, eps=eps, norm=norm, noise=noise, may_break=False).x_adv
    stopped = iterate(model, x, y, how=how, eps=eps, norm=norm, noise=noise).x_adv
    assert torch.equal(stopped[0], x[0])
    drop = _margin(model, x, y) - _margin(model, x_adv, y)
    weight = model.body.weight[:1]
    dual = {
        "linf": weight.abs().sum(),
        "l2": weight.square().sum().sqrt(),
        "l1": weight.abs().max(),
    }[norm]
    # In L1 the box binds: one pixel can move by half at most.
    assert (drop >= (0.4 if norm == "l1" else 0.97) * eps * dual).all()
    assert (length(x_adv - x, norm) <= eps * (1 + 1e-5)).all()


def _margin(model: LinearNet, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    logits = model(x)
    return torch.where(y == 0, 1.0, -1.0) * (logits[:, 0] - logits[:, 1])


@pytest.mark.parametrize("targeted", [False, True])
def test_equals_plain_pgd(targeted: bool) -> None:
    x, model = grey(6), LinearNet()
    y = model(x).argmax(dim=1)
    aim, eps = (1 - y if targeted else y), middle(model.budgets(x, 1))
    noise = unit_noise(x, "linf", 0, range(6))
    expected = pgd(
        model,
        x,
        aim,
        eps=eps,
        step_size=eps / 4,
        steps=7,
        norm="linf",
        targeted=targeted,
        random_start=True,
        generator=None,
        noise=noise,
    )
    how = Steps(PGD, 7, 0.25, random_start=True)
    target = aim if targeted else None
    found = iterate(
        model, x, y, how=how, eps=eps, norm="linf", noise=noise, target=target, may_break=False
    )
    assert torch.equal(found.x_adv, expected)
    broken = iterate(model, x, y, how=how, eps=eps, norm="linf", noise=noise, target=target)
    assert torch.equal(found.first_break, broken.first_break)
