"""The folded copy against the network itself, which is its definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.plugins.recording import recording
from worker.models import Classifier, Outputs, build, frozen, frozen_passes, staged
from worker.models.preactivation import PreActivationBlock, preactivation_body

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
ARCHITECTURES = ["wrn-10-1", "wrn-16-2", "preactresnet-18"]


def shaken(model: Classifier, seed: int = 0) -> Classifier:
    """With norms as training may leave them: any scale and shift, other statistics than 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = len(module.weight)
            with torch.no_grad():
                module.weight.copy_(torch.randn(size, generator=generator))
                module.bias.copy_(torch.randn(size, generator=generator))
            module.running_mean = torch.randn(size, generator=generator)
            module.running_var = 0.05 + 2 * torch.rand(size, generator=generator)
    return model


def network(architecture: str) -> Classifier:
    torch.manual_seed(1)
    return shaken(build(architecture, num_classes=5, mean=MEAN, std=STD))


def images(n: int = 3, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(n, 3, size, size, generator=generator, dtype=torch.float64)


def seen(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of something that depends on all of them."""
    x = x.clone().requires_grad_()
    logits = call(x)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    return logits.detach(), gradient


def near(found: Tensor, expected: Tensor) -> None:
    """To 1e-12 of the largest number."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_the_model_in_eval_mode(architecture: str) -> None:
    model = network(architecture).double().train()
    copy = frozen(model, dtype=None)
    assert not model.training
    for found, expected in zip(seen(copy, images()), seen(model, images()), strict=True):
        near(found, expected)


@settings(max_examples=40)
@given(
    stem=st.integers(1, 4),
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    blocks=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_equals_it_for_any_widths_and_depths(
    stem: int, widths: list[int], blocks: int, seed: int
) -> None:
    """Some first blocks have an identity shortcut, others a convolution."""
    torch.manual_seed(seed)
    body = preactivation_body(stem=stem, widths=widths, blocks=blocks)
    plain = Classifier(body=body, feature_dim=widths[-1], num_classes=2, mean=MEAN, std=STD)
    model = shaken(plain, seed).double()
    for found, expected in zip(
        seen(frozen(model, dtype=None), images(2)), seen(model, images(2)), strict=True
    ):
        # Dead channels may leave nothing but rounding.
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_embedding_and_stages_are_those_of_the_model(architecture: str) -> None:
    model = network(architecture).double().train()
    passes = frozen_passes(model)
    assert not model.training
    expected = staged(model, images())
    found = passes.staged(images())
    for part, other in zip(passes.outputs(images()).parts, expected.outputs.parts, strict=True):
        near(part.detach(), other.detach())
    near(found.outputs.logits, expected.outputs.logits.detach())
    assert len(found.stages) == len(expected.stages)
    for stage, other in zip(found.stages, expected.stages, strict=True):
        near(stage.detach(), other.detach())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_later_changes_do_not_show(architecture: str, dtype: torch.dtype | None) -> None:
    model, x = network(architecture), images().float()
    copy = frozen(model, dtype=dtype)
    before = copy(x)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)
    assert torch.equal(copy(x), before)
    assert not torch.allclose(frozen(model, dtype=dtype)(x), before)


def test_gives_parameters_no_gradient() -> None:
    model = network("wrn-10-1")
    x = images().float().requires_grad_()
    torch.autograd.backward(frozen(model, dtype=None)(x).sum())
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not frozen(model, dtype=None)(images().float()).requires_grad


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_is_close(architecture: str) -> None:
    """Its 8 bits cost 3 % of the largest logit here at most; the head and the logits stay."""
    model, x = network(architecture), images(16).float()
    exact, rough = frozen(model, dtype=None)(x), frozen(model, dtype=torch.bfloat16)(x)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert float((rough - exact).abs().max()) < 0.03 * float(exact.abs().max())


class Convolutions(TorchDispatchMode):
    """Names of all operations, and what the convolutions among them are given."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.given: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(str(func))
        if "convolution.default" in str(func):
            self.given.append((args[0], args[1]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_keeps_the_memory_format_and_has_no_batch_norm(
    memory_format: torch.memory_format, dtype: torch.dtype | None
) -> None:
    model = network("wrn-16-2").to(memory_format=memory_format)
    x = images().float().to(memory_format=memory_format)
    copy = frozen(model, dtype=dtype)
    with Convolutions() as ran:
        copy(x)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(ran.given) == len(convolutions)
    assert all(t.is_contiguous(memory_format=memory_format) for pair in ran.given for t in pair)
    assert not any("batch_norm" in name for name in ran.names)
    with Convolutions() as ran:
        model(x)
    assert any("batch_norm" in name for name in ran.names)  # it would have been noticed


def test_any_other_classifier_is_called_itself() -> None:
    model = recording(0).train()
    assert frozen(model, dtype=None) is model
    assert not model.training


class Tempered(Classifier):
    """With the body of a network that can be folded, and a read-out of its own."""

    def read_out(self, features: Tensor) -> Outputs:
        plain = super().read_out(features)
        return plain._replace(logits=plain.logits / 2)


def test_another_read_out_is_not_passed_over() -> None:
    body = preactivation_body(stem=2, widths=[2], blocks=1)
    model = Tempered(body=body, feature_dim=2, num_classes=2, mean=MEAN, std=STD)
    assert frozen(model, dtype=None) is model


class Halved(PreActivationBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class Reversed(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = super().forward(x.flip(3))
        return seen


def _stem(**changes: Any) -> nn.Sequential:
    settings = {"kernel_size": 3, "padding": 1, "bias": False, **changes}
    body = list(preactivation_body(stem=2, widths=[2], blocks=1))
    return nn.Sequential(nn.Conv2d(3, 2, **settings), *body[1:])


@pytest.mark.parametrize(
    "body",
    [
        nn.Sequential(_stem()[0], Halved(2, 2, stride=1), *_stem()[2:]),
        Reversed(*_stem()),
        _stem(bias=True),
        _stem(dilation=2, padding=2),
        _stem(padding_mode="reflect"),
        _stem(padding="same"),
        nn.Sequential(*_stem()[:2], nn.BatchNorm2d(2, affine=False), nn.ReLU()),
        nn.Sequential(*_stem()[:2], nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU()),
    ],
    ids=["block", "body", "bias", "dilation", "padding mode", "padding", "affine", "statistics"],
)
def test_what_only_looks_like_such_a_body_is_called_itself(body: nn.Module) -> None:
    model = Classifier(body=body, feature_dim=2, num_classes=2, mean=MEAN, std=STD)
    assert frozen(model, dtype=None) is model
    plain = Classifier(body=_stem(), feature_dim=2, num_classes=2, mean=MEAN, std=STD)
    assert frozen(plain, dtype=None) is not plain


def test_any_other_classifier_runs_in_bfloat16_by_autocast() -> None:
    model, x = recording(0).float(), images().float()
    with torch.no_grad():
        rough, exact = frozen(model, dtype=torch.bfloat16)(x), model(x)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert float((rough - exact).abs().max()) < 0.03 * float(exact.abs().max())
