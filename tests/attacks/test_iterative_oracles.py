"""Iterative attacks against the best attack on affine models, and against independent libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import foolbox
import pytest
import torch
import torchattacks
from art.attacks.evasion import MomentumIterativeMethod
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from tests.attacks.oracle import LP, Linear, affine, grey, seeded, steps_of, unit_noise
from worker.attacks import FirstBreak, Norm, feature_attack, fgsm, iterate, projected_ascent
from worker.attacks.apgd import apgd, dlr
from worker.attacks.losses import cross_entropy
from worker.models import Outputs

METHODS = ["bim", "pgd", "mi_fgsm", "cw"]
STEPS = 8


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_optimum_of_a_linear_model(method: str, targeted: bool, norm: Norm) -> None:
    """Two classes: to aim at the other one is to leave the first."""
    model, x, y = Linear(), grey(5), torch.zeros(5).long()
    found = iterate(
        lambda z: model(z) / 100 + torch.tensor([1.0, 0.0]),  # so sure that nothing breaks it
        x,
        y,
        how=steps_of(method, 60, 0.25, True),
        eps=0.2,
        norm=norm,
        noise=unit_noise(x, norm),
        target=y + 1 if targeted else None,
    )
    assert (found.first_break == 61).all()
    torch.testing.assert_close(found.x_adv, model.optimum(x, 0.2, norm), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
def test_the_margin_has_a_known_optimum_with_three_classes(targeted: bool, norm: Norm) -> None:
    """Class 2 is out of reach: aiming at it, or leaving for the nearer 1, is a straight line."""
    model, x, y = affine(3), grey(4), torch.zeros(4).long()
    w = model[1].weight.view(3, 3, 4, 4)
    bias = torch.tensor([1e4, 1e3, 0.0]).double()
    found = iterate(
        lambda z: model(z) + bias,
        x,
        y,
        how=steps_of("cw", 40, 0.25, False),
        eps=0.2,
        norm=norm,
        noise=None,
        target=y + 2 if targeted else None,
    )
    # Aiming at 2 climbs z_2 - max(z_0, z_1) = z_2 - z_0; leaving 0 climbs max(z_1, z_2) - z_0.
    towards = w[2] - w[0] if targeted else w[1] - w[0]
    unit = towards.sign() if norm == "linf" else towards / towards.square().sum().sqrt()
    assert (found.first_break == 41).all()
    torch.testing.assert_close(found.x_adv, x + 0.2 * unit, rtol=0, atol=1e-9)


Oracle = Callable[[int], Tensor]


def agrees(found: FirstBreak, oracle: Oracle, steps: int, atol: float = 1e-6) -> None:
    """Each image is where the library has it after as many steps as it took to break."""
    counts = found.first_break.unique().tolist()
    assert len(counts) >= 3
    for count in counts:
        here = found.first_break == count
        if count > 0:
            expected = oracle(min(count, steps))[here]
            torch.testing.assert_close(found.x_adv[here], expected, rtol=0, atol=atol)


def images(network: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """24 images, the classes the network gives them, and others to aim at."""
    x = torch.rand(24, 3, 8, 8, generator=seeded(5), dtype=torch.float64)
    first, second = network(x).topk(2, dim=1).indices.unbind(dim=1)
    return x, first, second


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    ("method", "oracle"), [("bim", torchattacks.BIM), ("mi_fgsm", torchattacks.MIFGSM)]
)
def test_equals_torchattacks(network: nn.Module, method: str, oracle: Any, targeted: bool) -> None:
    x, y, target = images(network)

    def library(steps: int) -> Tensor:
        attack = oracle(network, eps=0.1, alpha=0.02, steps=steps)
        if targeted:
            attack.set_mode_targeted_by_label(quiet=True)
        return attack(x, target if targeted else y)

    found = iterate(
        network,
        x,
        y,
        how=steps_of(method, STEPS, 0.2, False),
        eps=0.1,
        norm="linf",
        noise=None,
        target=target if targeted else None,
    )
    agrees(found, library, STEPS)


def margin_by_hand(logits: Tensor, y: Tensor) -> Tensor:
    rows = []
    for z, c in zip(logits, y.tolist(), strict=True):
        rows.append(torch.cat([z[:c], z[c + 1 :]]).max() - z[c])
    return torch.stack(rows)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
def test_cw_equals_foolbox_on_the_margin(network: nn.Module, norm: Norm, targeted: bool) -> None:
    x, y, target = images(network)
    eps = 0.1 if norm == "linf" else 1.0
    noise = unit_noise(x, norm)
    base: Any = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD

    class OnMargin(base):  # type: ignore[misc]
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return type(x0)((x + epsilon * noise).clamp(0, 1))

        def get_loss_fn(self, model: Any, labels: Any) -> Any:
            def loss(z: Any) -> Any:
                return type(z)(margin_by_hand(model(z).raw, labels.raw).sum())

            return loss

    def library(steps: int) -> Tensor:
        criterion: Any = foolbox.criteria.Misclassification(y)
        if targeted:
            criterion = foolbox.criteria.TargetedMisclassification(target)
        wrapped = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
        attack = OnMargin(abs_stepsize=eps / 5, steps=steps)
        return attack(wrapped, x, criterion, epsilons=eps)[1]

    found = iterate(
        network,
        x,
        y,
        how=steps_of("cw", STEPS, 0.2, True),
        eps=eps,
        norm=norm,
        noise=noise,
        target=target if targeted else None,
    )
    agrees(found, library, STEPS)


def test_momentum_in_l2_equals_art(network: nn.Module) -> None:
    """In single precision, and far from black and white: ART projects after it clips."""
    x = (0.4 + 0.2 * torch.rand(24, 3, 8, 8, generator=seeded(5))).float()
    network = network.float()
    y = network(x).argmax(dim=1)
    estimator = PyTorchClassifier(
        network, nn.CrossEntropyLoss(reduction="sum"), (3, 8, 8), 4, clip_values=(0, 1)
    )

    def library(steps: int) -> Tensor:
        attack = MomentumIterativeMethod(
            estimator, norm=2, eps=1.0, eps_step=0.2, decay=1.0, max_iter=steps, verbose=False
        )
        return torch.from_numpy(attack.generate(x.numpy(), nn.functional.one_hot(y, 4).numpy()))

    how = steps_of("mi_fgsm", STEPS, 0.2, False)
    found = iterate(network, x, y, how=how, eps=1.0, norm="l2", noise=None)
    agrees(found, library, STEPS, atol=1e-4)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_is_one_step_from_the_image(network: nn.Module, norm: Norm, targeted: bool) -> None:
    x, y, target = images(network)
    eps = 0.05 if norm == "linf" else 0.5
    expected = fgsm(network, x, target if targeted else y, eps=eps, norm=norm, targeted=targeted)
    found = iterate(
        network,
        x,
        y,
        how=steps_of("fgsm", 1, 0.25, True),  # neither the step size nor the start is used
        eps=eps,
        norm=norm,
        noise=unit_noise(x, norm),
        target=target if targeted else None,
    )
    torch.testing.assert_close(found.x_adv, expected, rtol=0, atol=1e-12)
    broke = network(expected).argmax(dim=1) != y
    assert found.first_break.tolist() == torch.where(broke, 1, 2).tolist()


@pytest.mark.parametrize(("method", "loss"), [("apgd_ce", cross_entropy), ("apgd_dlr", dlr)])
def test_apgd_is_that_of_its_own_file(network: nn.Module, method: str, loss: Any) -> None:
    x, y, target = images(network)
    noise = unit_noise(x, "l1")
    expected = apgd(network, x, y, eps=2.0, steps=5, norm="l1", loss=loss, noise=noise)
    how = steps_of(method, 5, 0.25, True)
    found = iterate(network, x, y, how=how, eps=2.0, norm="l1", noise=noise)
    assert torch.equal(found.x_adv, expected.x_adv)
    assert torch.equal(found.first_break, expected.first_break)
    with pytest.raises(ValueError, match="takes no target"):
        iterate(network, x, y, how=how, eps=2.0, norm="l1", noise=noise, target=target)


class Features(nn.Module):
    """An embedding that is affine in the image, beside logits that never change."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.embed = affine(dimensions)

    def outputs(self, x: Tensor) -> Outputs:
        logits = torch.zeros(len(x), 2, dtype=x.dtype) * x.sum()
        return Outputs(x, self.embed(x), logits)


@pytest.mark.parametrize("norm", LP)
def test_the_farthest_embedding_of_one_dimension(norm: Norm) -> None:
    """It lies at the end of the ball to which the start is nearer."""
    model, x = Features(1), grey(6)
    w = model.embed[1].weight.view(3, 4, 4)
    noise = unit_noise(x, norm)
    side = (noise * w).sum(dim=(1, 2, 3), keepdim=True).sign()
    unit = w.sign() if norm == "linf" else w / w.square().sum().sqrt()
    y = torch.zeros(6).long()
    found = feature_attack(model, x, y, eps=0.2, step_size=0.05, steps=60, norm=norm, noise=noise)
    assert (side.unique() == torch.tensor([-1.0, 1.0])).all()
    torch.testing.assert_close(found.x_adv, x + 0.2 * side * unit, rtol=0, atol=1e-6)
    assert (found.first_break == 61).all()


def test_the_feature_attack_moves_along_the_largest_singular_vector() -> None:
    """In L2 the farthest point of an affine embedding is known, whatever its dimension."""
    model, x, y = Features(5), grey(4), torch.zeros(4).long()
    found = feature_attack(
        model, x, y, eps=0.2, step_size=0.05, steps=300, norm="l2", noise=unit_noise(x, "l2")
    )
    moved = model.outputs(found.x_adv).embedding - model.outputs(x).embedding
    largest = torch.linalg.svdvals(model.embed[1].weight)[0]
    torch.testing.assert_close(moved.norm(dim=1), (0.2 * largest).expand(4), rtol=1e-4, atol=0)


def test_an_objective_sees_which_images_it_is_given(network: nn.Module) -> None:
    """Each image climbs a channel of its own, whichever others have left."""
    x, y, _ = images(network)
    y = torch.where(torch.arange(24) % 3 == 0, (y + 1) % 4, y)  # every third is wrong already
    channel = torch.arange(24) % 2

    def objective(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return x_adv[torch.arange(len(rows)), channel[rows]].sum(dim=(1, 2)), network(x_adv)

    found = projected_ascent(
        objective, network, x, y, eps=0.01, step_size=0.005, steps=2, norm="linf", noise=None
    )
    expected = x.clone()
    for i in range(24):
        if i % 3:
            expected[i, channel[i]] = (x[i, channel[i]] + 0.01).clamp(max=1)
    still = found.first_break == 3
    assert still.sum() > 10
    wrong = found.first_break == 0
    torch.testing.assert_close(found.x_adv[still], expected[still], rtol=0, atol=1e-12)
    assert torch.equal(found.x_adv[wrong], x[wrong])
