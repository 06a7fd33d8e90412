"""When an iterative attack first breaks each image, against separate attacks of fewer steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.attacks.oracle import LP, seeded, steps_of, unit_noise
from worker.attacks import FirstBreak, Norm, iterate, pgd

STEPS = 6


def batch(network: nn.Module) -> tuple[Tensor, Tensor]:
    """40 images with their true classes; the first 8 are misclassified."""
    x = torch.rand(40, 3, 8, 8, generator=seeded(), dtype=torch.float64)
    first, second = network(x).topk(2, dim=1).indices.unbind(dim=1)
    return x, torch.where(torch.arange(40) < 8, second, first)


def budgets(n: int, norm: str) -> Tensor:
    eps = torch.linspace(0, 0.15 if norm == "linf" else 1.5, n, dtype=torch.float64)
    return eps[torch.randperm(n, generator=seeded(1))]


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_pgd_equals_one_attack_per_number_of_steps(
    network: nn.Module, norm: Norm, targeted: bool, random_start: bool
) -> None:
    """Broken by any class but the true one, reached on the way to the target or not."""
    x, y = batch(network)
    aim = (y + 2) % 4 if targeted else y
    eps, noise = budgets(len(x), norm), unit_noise(x, norm)

    def plain(steps: int, step_size: Tensor) -> Tensor:
        return pgd(
            network,
            x,
            aim,
            eps=eps,
            step_size=step_size,
            steps=steps,
            norm=norm,
            targeted=targeted,
            random_start=random_start,
            generator=None,
            noise=noise,
        )

    start = plain(1, torch.zeros(len(x)))
    iterates = [start, *(plain(steps, eps / 4) for steps in range(1, STEPS + 1))]
    first_break = torch.full((len(x),), STEPS + 1)
    expected = iterates[-1].clone()
    for step in reversed(range(STEPS + 1)):
        here = network(iterates[step]).argmax(dim=1) != y
        first_break[here], expected[here] = max(step, 1), iterates[step][here]
    clean = network(x).argmax(dim=1) != y
    first_break[clean], expected[clean] = 0, x[clean]

    how = steps_of("pgd", STEPS, 0.25, random_start)
    found = iterate(
        network, x, y, how=how, eps=eps, norm=norm, noise=noise, target=aim if targeted else None
    )
    assert len(first_break.unique()) >= 4  # 0, never, and several numbers of steps between
    assert found.first_break.dtype == torch.int64
    assert found.first_break.tolist() == first_break.tolist()
    torch.testing.assert_close(found.x_adv, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("method", ["bim", "pgd", "mi_fgsm", "cw"])
def test_fewer_steps_break_exactly_the_images_that_broke_by_then(
    network: nn.Module, method: str, targeted: bool, norm: Norm
) -> None:
    x, y = batch(network)
    target = (y + 1) % 4 if targeted else None

    def run(steps: int) -> FirstBreak:
        how = steps_of(method, steps, 0.2, True)
        eps, noise = budgets(len(x), norm), unit_noise(x, norm)
        return iterate(network, x, y, how=how, eps=eps, norm=norm, noise=noise, target=target)

    longest = run(STEPS)
    assert len(longest.first_break.unique()) >= 4
    broken = longest.first_break <= STEPS
    assert torch.equal(network(longest.x_adv).argmax(dim=1) != y, broken)
    for steps in range(1, STEPS):
        found = run(steps)
        assert torch.equal(found.first_break.clamp(max=steps + 1), found.first_break)
        assert torch.equal(found.first_break, longest.first_break.clamp(max=steps + 1))
        done = found.first_break <= steps
        torch.testing.assert_close(found.x_adv[done], longest.x_adv[done], rtol=0, atol=1e-9)


def test_broken_images_leave_the_batch(network: nn.Module) -> None:
    x, y = batch(network)
    sizes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return network(x)

    how = steps_of("pgd", STEPS, 0.25, False)
    eps = budgets(len(x), "linf")
    _, first_break = iterate(counted, x, y, how=how, eps=eps, norm="linf", noise=None)
    # A call on all clean images, then one before each step and one after the last: the images not
    # broken by s - 1 steps are seen again after s steps.
    left = [int((first_break > step).sum()) for step in range(STEPS)]
    assert sizes == [len(x), left[0], *left]
    assert left[-1] < left[0] < len(x)


def test_stops_when_nothing_is_left(network: nn.Module) -> None:
    x, _ = batch(network)
    y = (network(x).argmax(dim=1) + 1) % 4  # all clean images are wrong already
    how, noise = steps_of("pgd", 3, 0.25, True), unit_noise(x, "linf")
    x_adv, first_break = iterate(network, x, y, how=how, eps=0.1, norm="linf", noise=noise)
    assert not first_break.any()
    assert torch.equal(x_adv, x)
    assert x_adv is not x
