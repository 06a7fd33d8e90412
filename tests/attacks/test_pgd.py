"""FGSM and PGD against the analytic optimum of a linear model, and against foolbox."""

from typing import Any

import foolbox
import pytest
import torch
from torch import Tensor, nn

from tests.attacks.oracle import LP, Linear, batch, seeded, start_of
from worker.attacks import fgsm, pgd


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_optimum_of_a_linear_model(norm: Any, targeted: bool, random_start: bool) -> None:
    model, eps = Linear(), 0.2
    x = 0.3 + 0.4 * torch.rand(5, 3, 4, 4, generator=seeded(1), dtype=torch.float64)
    x_adv = pgd(
        model,
        x,
        torch.full((5,), 1 if targeted else 0),
        eps=eps,
        step_size=eps / 4,
        steps=200,
        norm=norm,
        targeted=targeted,
        random_start=random_start,
        generator=seeded() if random_start else None,
    )
    torch.testing.assert_close(x_adv, model.optimum(x, eps, norm), rtol=0, atol=1e-6)


@pytest.mark.parametrize("targeted", [False, True])
def test_optimum_of_a_linear_model_at_the_edge_of_the_box(targeted: bool) -> None:
    model, eps = Linear(), 0.6
    x = torch.rand(5, 3, 4, 4, generator=seeded(1), dtype=torch.float64)
    x_adv = pgd(
        model,
        x,
        torch.full((5,), 1 if targeted else 0),
        eps=eps,
        step_size=0.1,
        steps=10,
        norm="linf",
        targeted=targeted,
        random_start=False,
        generator=None,
    )
    expected = model.optimum(x, eps, "linf").clamp(0, 1)
    assert ((expected == 0) | (expected == 1)).any()
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_of_a_linear_model(norm: Any, targeted: bool) -> None:
    model, y = Linear(), torch.full((5,), 1 if targeted else 0)
    x = 0.3 + 0.4 * torch.rand(5, 3, 4, 4, generator=seeded(1), dtype=torch.float64)
    x_adv = fgsm(model, x, y, eps=0.2, norm=norm, targeted=targeted)
    torch.testing.assert_close(x_adv, model.optimum(x, 0.2, norm), rtol=0, atol=1e-9)


def foolbox_pgd(
    model: nn.Module, x: Tensor, y: Tensor, start: Tensor, norm: str, eps: float, targeted: bool
) -> Tensor:
    base: Any = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD

    class Started(base):  # type: ignore[misc]
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return type(x0)(start)

    attack = Started(abs_stepsize=eps / 4, steps=20, random_start=True)
    criterion: Any = (
        foolbox.criteria.TargetedMisclassification
        if targeted
        else (foolbox.criteria.Misclassification)
    )
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, clipped, _ = attack(wrapped, x, criterion(y), epsilons=eps)
    return clipped


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("linf", 0.3), ("l2", 0.5)])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_pgd_20_equals_foolbox(
    network: nn.Module, norm: Any, eps: float, targeted: bool, random_start: bool
) -> None:
    x, y = batch(16)
    arguments: dict[str, Any] = {
        "eps": eps,
        "step_size": eps / 4,
        "steps": 20,
        "norm": norm,
        "targeted": targeted,
        "random_start": random_start,
    }
    start = start_of(network, x, y, generator=seeded(), **arguments)
    assert torch.equal(start, x) != random_start
    x_adv = pgd(network, x, y, generator=seeded(), **arguments)
    expected = foolbox_pgd(network, x, y, start, norm, eps, targeted)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "oracle"),
    [
        ("linf", foolbox.attacks.LinfFastGradientAttack),
        ("l2", foolbox.attacks.L2FastGradientAttack),
    ],
)
def test_fgsm_equals_foolbox(network: nn.Module, norm: Any, oracle: Any) -> None:
    x, y = batch(16)
    wrapped = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    _, expected, _ = oracle()(wrapped, x, y, epsilons=0.1)
    x_adv = fgsm(network, x, y, eps=0.1, norm=norm, targeted=False)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-6)
