"""The step at which an attack first succeeds, against one separate attack per number of steps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from worker.attacks import Norm, pgd, pgd_first_break
from worker.attacks.norms import uniform_in_ball

STEPS = 6


def batch(network: nn.Module, targeted: bool) -> tuple[Tensor, Tensor]:
    """40 images with the class to leave or, if targeted, to reach; 8 are there from the start."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 3, 8, 8, generator=generator, dtype=torch.float64)
    first, second = network(x).topk(2, dim=1).indices.unbind(dim=1)
    there, away = (first, second) if targeted else (second, first)
    return x, torch.where(torch.arange(40) < 8, there, away)


def arguments(n: int, norm: str, targeted: bool, random_start: bool) -> dict[str, Any]:
    eps = torch.linspace(0, 0.15 if norm == "linf" else 1.5, n, dtype=torch.float64)
    eps = eps[torch.randperm(n, generator=torch.Generator().manual_seed(1))]
    return {
        "eps": eps,
        "step_size": eps / 4,
        "norm": norm,
        "targeted": targeted,
        "random_start": random_start,
    }


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_equals_one_attack_per_number_of_steps(
    network: nn.Module, norm: str, targeted: bool, random_start: bool
) -> None:
    x, y = batch(network, targeted)
    attack = arguments(len(x), norm, targeted, random_start)

    def iterate(steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return pgd(network, x, y, steps=steps, generator=generator, **attack)

    def reached(x_adv: Tensor) -> Tensor:
        return (network(x_adv).argmax(dim=1) == y) == targeted

    still = attack | {"step_size": 0.0}
    start = pgd(network, x, y, steps=1, generator=torch.Generator().manual_seed(2), **still)
    iterates = [start, *(iterate(steps) for steps in range(1, STEPS + 1))]
    first_break = torch.full((len(x),), STEPS + 1)
    expected = iterates[-1].clone()
    for step in reversed(range(STEPS + 1)):
        here = reached(iterates[step])
        first_break[here], expected[here] = max(step, 1), iterates[step][here]
    clean = reached(x)
    first_break[clean], expected[clean] = 0, x[clean]

    found = pgd_first_break(
        network, x, y, steps=STEPS, generator=torch.Generator().manual_seed(2), **attack
    )
    assert len(first_break.unique()) >= 4  # 0, never, and several numbers of steps between
    assert found.first_break.dtype == torch.int64
    assert found.first_break.tolist() == first_break.tolist()
    torch.testing.assert_close(found.x_adv, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("random_start", [False, True])
def test_a_targeted_attack_measured_by_the_true_class(
    network: nn.Module, random_start: bool
) -> None:
    """Broken by any other class than the true one, reached on the way to the target or not."""
    x, true_class = batch(network, targeted=False)
    target = (true_class + 2) % 4
    attack = arguments(len(x), "linf", True, random_start)
    noise = 2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(4)).double() - 1
    attack |= {"generator": None, "noise": noise if random_start else None}

    def wrong(steps: int, step_size: Tensor) -> Tensor:
        iterate = pgd(network, x, target, steps=steps, **(attack | {"step_size": step_size}))
        return network(iterate).argmax(dim=1) != true_class

    first_break = torch.full((len(x),), STEPS + 1)
    for step in reversed(range(1, STEPS + 1)):
        first_break[wrong(step, attack["step_size"])] = step
    first_break[wrong(1, torch.zeros(len(x)))] = 1  # the start itself
    first_break[network(x).argmax(dim=1) != true_class] = 0
    found = pgd_first_break(network, x, target, steps=STEPS, true_class=true_class, **attack)
    assert len(first_break.unique()) >= 4
    assert found.first_break.tolist() == first_break.tolist()
    reached = pgd_first_break(network, x, target, steps=STEPS, **attack).first_break
    assert (found.first_break <= reached).all()
    assert (found.first_break < reached).any()


def test_broken_images_leave_the_batch(network: nn.Module) -> None:
    x, y = batch(network, targeted=False)
    sizes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return network(x)

    attack = arguments(len(x), "linf", False, False)
    _, first_break = pgd_first_break(counted, x, y, steps=STEPS, generator=None, **attack)
    # A call on all clean images, then one before each step and one after the last: the images not
    # broken by s - 1 steps are seen again after s steps.
    left = [int((first_break > step).sum()) for step in range(STEPS)]
    assert sizes == [len(x), left[0], *left]
    assert left[-1] < left[0] < len(x)


def test_stops_when_nothing_is_left(network: nn.Module) -> None:
    x, y = batch(network, targeted=False)
    y = (network(x).argmax(dim=1) + 1) % 4  # all clean images are wrong already
    attack = arguments(len(x), "linf", False, True)
    generator = torch.Generator().manual_seed(2)
    x_adv, first_break = pgd_first_break(network, x, y, steps=3, generator=generator, **attack)
    assert not first_break.any()
    assert torch.equal(x_adv, x)
    assert x_adv is not x


def test_parameters_are_left_alone(network: nn.Module) -> None:
    x, y = batch(network, targeted=False)
    attack = arguments(len(x), "l2", False, False)
    found = pgd_first_break(network, x, y, steps=3, generator=None, **attack)
    assert not found.x_adv.requires_grad
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_refuses_what_pgd_refuses(network: nn.Module) -> None:
    x, y = batch(network, targeted=False)
    attack = arguments(len(x), "l2", False, False)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        pgd_first_break(network, x, y, steps=0, generator=None, **attack)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [False, True])
def test_a_targeted_attack_may_be_measured_by_the_true_class(
    network: nn.Module, norm: str, random_start: bool
) -> None:
    x, target = batch(network, targeted=True)
    true_class = network(x).argmax(dim=1)  # of 8 images it is the target: they cannot be led away
    true_class[8:12] = (true_class[8:12] + 1) % 4  # misclassified before any attack
    attack = arguments(len(x), norm, True, random_start)

    def iterate(steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return pgd(network, x, target, steps=steps, generator=generator, **attack)

    def wrong(x_adv: Tensor) -> Tensor:
        return network(x_adv).argmax(dim=1) != true_class

    still = attack | {"step_size": 0.0}
    start = pgd(network, x, target, steps=1, generator=torch.Generator().manual_seed(2), **still)
    expected = torch.full((len(x),), STEPS + 1)
    for step in reversed(range(1, STEPS + 1)):
        expected[wrong(iterate(step))] = step
    expected[wrong(start)] = 1
    expected[wrong(x)] = 0
    found = pgd_first_break(
        network,
        x,
        target,
        steps=STEPS,
        generator=torch.Generator().manual_seed(2),
        true_class=true_class,
        **attack,
    )
    assert found.first_break.tolist() == expected.tolist()
    assert len(expected.unique()) >= 3


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_given_noise_takes_the_place_of_the_generator(network: nn.Module, norm: Norm) -> None:
    x, y = batch(network, targeted=False)
    attack = arguments(len(x), norm, False, True) | {"steps": 3}
    unit = torch.ones(len(x), 1, 1, 1, dtype=x.dtype)
    noise = uniform_in_ball(x, unit, norm, torch.Generator().manual_seed(4))
    drawn = pgd(network, x, y, generator=torch.Generator().manual_seed(4), **attack)
    given = pgd(network, x, y, generator=None, noise=noise, **attack)
    torch.testing.assert_close(given, drawn, rtol=0, atol=1e-12)
    first = pgd_first_break(network, x, y, generator=None, noise=noise, **attack)
    again = pgd_first_break(network, x, y, generator=torch.Generator().manual_seed(4), **attack)
    assert torch.equal(first.first_break, again.first_break)
    with pytest.raises(ValueError, match="noise must be like x"):
        pgd(network, x, y, generator=None, noise=noise[:1], **attack)
