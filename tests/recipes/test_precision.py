"""What is computed in bfloat16, and where that is native."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.recipes.toy_batch import PARAMETERS, toy_batch
from worker.agkd_bml.attention import attention_map
from worker.models import Outputs, build
from worker.recipes import RECIPES, Batch, Networks
from worker.recipes.precision import bfloat16_is_native

CPU = torch.device("cpu")
ELSEWHERE = {"architecture": "x86_64", "avx2": True, "avx512_f": True, "bf16": False}


@pytest.mark.parametrize("feature", ["amx_bf16", "avx512_bf16", "bf16"])
def test_native_on_processors_that_say_so(monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: ELSEWHERE)
    assert not bfloat16_is_native(CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: ELSEWHERE | {feature: True})
    assert bfloat16_is_native(CPU)


def test_the_names_are_those_that_torch_reports() -> None:
    """Of each kind of processor torch names its own features."""
    known = torch.cpu.get_capabilities()
    features = {"x86_64": ("amx_bf16", "avx512_bf16"), "aarch64": ("bf16",)}
    for name in features.get(known["architecture"], ()):
        assert isinstance(known[name], bool)


@pytest.mark.parametrize("supported", [True, False])
def test_on_a_gpu_without_emulation(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    def reported(including_emulation: bool = True) -> bool:
        return including_emulation or supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", reported)
    assert bfloat16_is_native(torch.device("cuda")) is supported


def networks(dtype: torch.dtype | None) -> Networks:
    torch.manual_seed(0)
    student, teacher = (
        build("wrn-10-1", num_classes=4, mean=[0.5] * 3, std=[0.25] * 3) for _ in range(2)
    )
    return Networks(student=student, teacher=teacher.eval(), dtype=dtype)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_in_bfloat16_is_near_the_exact_one(recipe: str) -> None:
    """Losses and gradients stay float32; the loss moves by less than 3 %."""
    found = []
    for dtype in (None, torch.bfloat16):
        pair, images = networks(dtype), torch.Generator().manual_seed(1)
        x, pool = (torch.rand(4, 3, 32, 32, generator=images) for _ in range(2))
        batch = Batch(
            x=x,
            y=torch.tensor([0, 1, 2, 3]),
            draw_prime=pool.__getitem__,
            generator=torch.Generator().manual_seed(0),
        )
        step = RECIPES[recipe](pair, batch, PARAMETERS)()
        torch.autograd.backward(step.loss)
        assert step.loss.dtype == torch.float32
        assert all(
            p.grad is not None and p.grad.dtype == p.dtype for p in pair.student.parameters()
        )
        found.append(step.loss.item())
    exact, rough = found
    assert exact != rough
    assert rough == pytest.approx(exact, rel=0.03)


def test_what_follows_the_network_is_exact() -> None:
    """The outputs come in the images' type, split as the images were."""
    pair, x = networks(torch.bfloat16), toy_batch().x.float()
    first, second = pair.student_sees(x, x[:].flip(0))
    assert isinstance(first, Outputs)
    given = [tensor for tensor in (*first, *second) if tensor is not None]
    assert len(given) >= 4
    assert all(tensor.dtype == torch.float32 for tensor in given)
    ((features, *_),) = pair.teacher_sees(x)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert attention_map(features).amax(dim=(1, 2)).eq(1).all()


def test_embeddings_and_logits_are_not_rounded() -> None:
    """In bfloat16 they would have 8 bits, of which softmax and cosine see every one."""
    pair, x = networks(torch.bfloat16), toy_batch().x.float()
    (seen,) = pair.student_sees(x)
    head = pair.student.head
    assert torch.equal(seen.features, seen.features.bfloat16().float())
    assert torch.equal(seen.embedding, seen.features.mean(dim=(2, 3)))
    assert torch.equal(seen.logits, F.linear(seen.embedding, head.weight, head.bias))
