"""Probes of models whose answers are known by hand: linear ones, and ones with a single fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.contracts.params import Method
from tests.plugins.controls import ScaledLogits, SmallNet
from worker.attacks import Norm, Steps
from worker.attacks.iterative import APGD_CE, APGD_DLR, CW, MI_FGSM, PGD, IterativeAttack
from worker.attacks.losses import margin
from worker.attacks.norms import length, slack, uniform_in_ball
from worker.evaluation.adaptive import RUNS, adaptive
from worker.evaluation.probing.probe_batch import to_eight_bits
from worker.evaluation.probing.probes import MULTIPLES, probe
from worker.evaluation.verdict.evidence import Probe

N, SHAPE = 24, (3, 4, 4)
EPS = 0.02
SMALL = 0.002
HOW = Steps(PGD, steps=10, relative_step=0.25, random_start=True)
Logits = Callable[[Tensor], Tensor]


def images() -> Tensor:
    """(N, 3, 4, 4), far enough from 0 and 1 that no budget here meets the box."""
    generator = torch.Generator().manual_seed(1)
    return (255 * (0.4 + 0.2 * torch.rand(N, *SHAPE, generator=generator))).round() / 255


def weights() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(SHAPE, generator=generator)


def score(x: Tensor) -> Tensor:
    """w (x - 1/2), (N,): class 1 where it is positive."""
    return ((x - 0.5) * weights()).sum(dim=(1, 2, 3))


def linear(x: Tensor) -> Tensor:
    """Logits (N, 2)."""
    return torch.stack([-score(x), score(x)], dim=1)


def truth() -> Tensor:
    """What `linear` says, but for three images."""
    y = (score(images()) > 0).long()
    y[:3] = 1 - y[:3]
    return y


def probed(model: Logits = linear, **changes: Any) -> Probe:
    given: dict[str, Any] = {
        "how": HOW,
        "eps": EPS,
        "norm": "linf",
        "seed": 0,
        "standing": torch.zeros(N, dtype=torch.bool),
        "blind": (),
        "seeing": None,
        "reference": None,
        "teacher": None,
        "batch_size": 10,
    }
    return probe(model, images(), truth(), **(given | changes))


def withstanding(eps: float, norm: Norm = "linf") -> int:
    """Images of which no point of the ball is misclassified: |score| > eps |w|_dual."""
    dual = weights().abs().sum() if norm == "linf" else weights().norm()
    return int((score(images())[3:].abs() > eps * dual).sum())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", [PGD, MI_FGSM, CW, APGD_CE, APGD_DLR])
def test_every_budget_is_attacked_to_the_optimum_of_a_linear_model(
    attack: IterativeAttack, norm: Norm
) -> None:
    eps = EPS if norm == "linf" else 0.1
    seen = probed(how=HOW._replace(attack=attack, steps=20), eps=eps, norm=norm)
    by_hand = [(0.0, N - 3), *((m * eps, withstanding(m * eps, norm)) for m in MULTIPLES)]
    assert list(seen.by_epsilon) == by_hand
    assert len({correct for _, correct in by_hand}) > 2
    assert seen.whole_range == 0
    assert (seen.unbounded.attacked, seen.unbounded.broken) == (N - 3, N - 3)


def test_the_size_of_batches_changes_nothing() -> None:
    one, all_at_once = (asdict(probed(batch_size=size, teacher=linear)) for size in (1, 100))
    assert one == all_at_once


def test_the_teacher_is_attacked_itself() -> None:
    assert probed(teacher=None).teacher is None
    assert probed(teacher=linear).teacher == withstanding(EPS)

    def constant(x: Tensor) -> Tensor:
        return linear(images()[: len(x)] * 0 + 0.6) + 0 * linear(x)

    says = int(constant(images())[0].argmax())
    assert probed(teacher=constant).teacher == int((truth() == says).sum())


def test_iterates_and_their_rounding_are_counted() -> None:
    seen = probed()
    broken = N - 3 - withstanding(EPS)
    assert seen.iterates == (broken, broken)
    assert seen.rounding == (broken, broken)
    finer = probed(eps=0.45 / 255)
    assert finer.rounding is not None
    # The ball holds no other 8-bit image than the clean one.
    assert finer.rounding[0] > 0
    assert finer.rounding[1] == 0


def test_a_model_that_rounds_its_inputs_has_no_gradients() -> None:
    def rounded(x: Tensor) -> Tensor:
        return linear((7 * x).round() / 7)

    right = int((rounded(images()).argmax(dim=1) == truth()).sum())
    seen = probed(rounded)
    assert (seen.gradients, seen.zero_gradients, seen.bad_gradients) == (right, right, 0)
    assert seen.unbounded.broken == 0
    sound = probed()
    assert (sound.gradients, sound.zero_gradients, sound.bad_gradients) == (N - 3, 0, 0)


def test_the_gradient_is_that_of_the_attacks_own_loss() -> None:
    def sure(x: Tensor) -> Tensor:
        return 1e6 * linear(x)

    assert probed(sure).zero_gradients > 0  # cross-entropy: the softmax is exactly one
    assert probed(sure, how=HOW._replace(attack=CW)).zero_gradients == 0


def test_gradients_that_are_no_numbers_are_counted() -> None:
    def broken(x: Tensor) -> Tensor:
        return linear(x) + (x - x.detach()).square().sum(dim=(1, 2, 3))[:, None].sqrt()

    seen = probed(broken)
    assert seen.bad_gradients == seen.gradients == N - 3


def test_outputs_are_told_apart() -> None:
    kinds = {
        "logits": linear,
        "probabilities": lambda x: linear(x).softmax(dim=1),
        "unit": lambda x: linear(x).sigmoid() / 2,
        "not_finite": lambda x: linear(x) / 0,
    }
    assert {kind: probed(model).outputs for kind, model in kinds.items()} == {k: k for k in kinds}
    log_probabilities = probed(lambda x: linear(x).log_softmax(dim=1))
    assert log_probabilities.outputs == "logits"  # shifted logits; attacks lose nothing by it


def test_passes_that_depend_on_the_batch_or_on_chance_are_found() -> None:
    generator = torch.Generator().manual_seed(3)

    def normalised(x: Tensor) -> Tensor:
        logits = linear(x)
        return logits - logits.mean(dim=0)

    def random(x: Tensor) -> Tensor:
        return linear(x) + torch.randn(len(x), 2, generator=generator)

    assert probed().passes_gap < 1e-5
    assert probed(normalised).passes_gap > 0.01
    assert probed(random).passes_gap > 0.01
    assert probed(lambda x: linear(x) * torch.nan).passes_gap == float("inf")


def test_other_attacks_see_what_stands_and_nothing_else() -> None:
    left = torch.zeros(N, dtype=torch.bool)
    left[3:8] = True
    blind = (Method.NOISE, Method.SQUARE, Method.TRANSFER, Method.HOP_SKIP_JUMP)
    # At this budget every point of the ball but few is misclassified: whatever looks finds one.
    seen = probed(eps=0.3, standing=left, blind=blind, teacher=linear)
    for tried in (seen.noise, seen.square, seen.transfer, seen.hard_label):
        assert tried is not None
        assert tried.attacked == 5
    assert seen.transfer is not None
    assert seen.transfer.broken == 5
    assert seen.square is not None
    assert seen.square.broken == 5
    small = probed(eps=1e-4, standing=left, blind=blind, teacher=linear)
    for tried in (small.noise, small.square, small.transfer, small.hard_label):
        assert tried is not None
        assert tried.broken == 0


def test_what_was_not_asked_for_or_cannot_be_had_is_none() -> None:
    seen = probed(standing=torch.ones(N, dtype=torch.bool))
    assert (seen.noise, seen.square, seen.transfer, seen.hard_label, seen.adaptive) == (None,) * 5
    blind = (Method.TRANSFER, Method.ADAPTIVE)
    seen = probed(standing=torch.ones(N, dtype=torch.bool), blind=blind)
    assert (seen.transfer, seen.adaptive) == (None, None)  # no teacher, no features
    in_l1 = probed(
        how=HOW._replace(attack=APGD_CE),
        norm="l1",
        blind=(*blind, Method.HOP_SKIP_JUMP),
        teacher=linear,
    )
    assert (in_l1.transfer, in_l1.hard_label, in_l1.rounding, in_l1.iterates) == (None,) * 4


def test_a_model_that_is_always_wrong_leaves_nothing_to_attack() -> None:
    seen = probe(
        linear,
        images()[:3],
        truth()[:3],
        how=HOW,
        eps=EPS,
        norm="linf",
        seed=0,
        standing=torch.zeros(3, dtype=torch.bool),
        blind=(Method.SQUARE, Method.NOISE),
        seeing=None,
        reference=None,
        teacher=None,
        batch_size=2,
    )
    assert (seen.gradients, seen.whole_range, seen.unbounded.attacked) == (0, 0, 0)
    assert seen.iterates == (0, 0)


def test_arguments_that_make_no_probe_are_refused() -> None:
    with pytest.raises(ValueError, match="needs images"):
        probed(standing=torch.zeros(N - 1, dtype=torch.bool))


@given(
    eps=st.floats(0.1 / 255, 64 / 255),
    norm=st.sampled_from(["linf", "l2", "l1"]),
    seed=st.integers(0, 1000),
)
def test_rounded_images_are_eight_bits_and_stay_in_the_ball(
    eps: float, norm: Norm, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (4, *SHAPE), generator=generator) / 255
    radius = x.new_full((4, 1, 1, 1), eps)
    x_adv = (x + uniform_in_ball(x, radius, norm, generator)).clamp(0, 1)
    rounded = to_eight_bits(x_adv, x, eps=eps, norm=norm)
    levels = 255 * rounded
    assert (levels - levels.round()).abs().max() < 1e-3
    assert rounded.min() >= 0
    assert rounded.max() <= 1
    assert (length(rounded.double() - x.double(), norm) <= eps + slack(eps, norm)).all()
    assert ((rounded - x_adv).abs() <= (1 + 0.1 * 255 * eps) / 255 + 1e-6).all()
    assert torch.equal(
        to_eight_bits(rounded, x, eps=eps, norm=norm).mul(255).round(), levels.round()
    )


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def net(pictures: Tensor) -> SmallNet:
    """Untrained, and shifted so that it does not give all pictures the same class."""
    torch.manual_seed(0)
    net = SmallNet(4).eval().requires_grad_(False)
    net.head.bias.sub_(net(pictures).mean(dim=0))
    return net


def attacked(net: Any, x: Tensor, y: Tensor, **changes: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    noise = uniform_in_ball(x, torch.ones(1, 1, 1, 1), "linf", generator)
    given = {"eps": SMALL, "step_size": SMALL / 4, "steps": 3, "norm": "linf", "noise": noise}
    return adaptive(net, x, y, **({"reference": None} | given | changes))


def test_the_adaptive_attack_reports_what_it_did(net: SmallNet, pictures: Tensor) -> None:
    x = pictures
    y = net(x).argmax(dim=1)
    y[0] = (y[0] + 1) % 4
    found = attacked(net, x, y)
    broken = net(found.x_adv).argmax(dim=1) != y
    most = len(RUNS) * 3
    assert found.first_break[0] == 0
    assert torch.equal(found.first_break <= most, broken)
    assert (found.first_break[1:] >= 1).all()
    assert 1 < int(broken.sum()) < 32
    assert (found.first_break[~broken] == most + 1).all()
    assert ((found.x_adv - x).abs() <= SMALL + 1e-6).all()
    assert ((found.x_adv >= 0) & (found.x_adv <= 1)).all()
    assert torch.equal(attacked(net, x, y, reference=net).x_adv, found.x_adv)


def test_no_scale_of_logits_blinds_the_adaptive_attack(net: SmallNet, pictures: Tensor) -> None:
    x = pictures
    y = net(x).argmax(dim=1)
    as_it_is, scaled = (attacked(m, x, y) for m in (net, ScaledLogits(net, factor=2.0**20)))
    by_margin = as_it_is.first_break <= 2 * 3  # the first two runs climb the margin
    assert by_margin.any()
    assert torch.equal(scaled.first_break <= 2 * 3, by_margin)


def test_the_adaptive_attack_looks_at_the_references_attention(
    net: SmallNet, pictures: Tensor
) -> None:
    torch.manual_seed(1)
    other = SmallNet(4).eval().requires_grad_(False)
    x = pictures
    y = net(x).argmax(dim=1)
    own, others = (attacked(net, x, y, reference=r).x_adv for r in (None, other))
    assert not torch.equal(own, others)


def test_a_step_of_the_adaptive_attack_follows_both_gradients_as_by_hand(
    net: SmallNet, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = net.double(), pictures.double()
    y = net(x).argmax(dim=1)
    noise = uniform_in_ball(x, x.new_ones(1, 1, 1, 1), "linf", torch.Generator().manual_seed(1))
    start = (x + SMALL * noise).clamp(0, 1).requires_grad_()

    def attention(at: Tensor) -> Tensor:
        summed = net.outputs(at).features.sum(dim=1).flatten(1)  # (N, h * w)
        low, high = summed.min(dim=1, keepdim=True).values, summed.max(dim=1, keepdim=True).values
        return (summed - low) / (high - low)

    logits = net(start)
    true = torch.eye(4, dtype=torch.bool)[y]
    lead = logits[~true].view(-1, 3).max(dim=1).values - logits[true]
    moved = (attention(start) - attention(x)).abs().mean(dim=1)
    (of_lead,) = torch.autograd.grad(lead.sum(), start)
    (of_moved,) = torch.autograd.grad(moved.sum(), start)
    balance = of_lead.abs().flatten(1).mean(dim=1) / of_moved.abs().flatten(1).mean(dim=1)
    direction = (of_lead - 0.7 * balance.view(-1, 1, 1, 1) * of_moved).sign()
    by_hand = (start + SMALL / 4 * direction).clamp(x - SMALL, x + SMALL).clamp(0, 1).detach()

    monkeypatch.setattr("worker.evaluation.adaptive.RUNS", ((margin, -0.7),))
    found = attacked(net, x, y, steps=1, noise=noise)
    stands = net(start).argmax(dim=1) == y
    assert stands.sum() > 10
    torch.testing.assert_close(found.x_adv[stands], by_hand[stands])
