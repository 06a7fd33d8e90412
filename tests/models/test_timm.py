"""Networks of timm as classifiers of the lab, against timm's own forward pass."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from worker.agkd_bml.attention import attention_map, grad_cam_of
from worker.models import TimmClassifier, build, staged

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
TINY = "timm:test_resnet"


def classifier(architecture: str = TINY, num_classes: int = 7) -> TimmClassifier:
    torch.manual_seed(0)
    model = build(architecture, num_classes=num_classes, mean=MEAN, std=STD)
    assert isinstance(model, TimmClassifier)
    return model


@pytest.mark.parametrize("architecture", [TINY, "timm:test_efficientnet"])
def test_logits_are_those_of_timms_own_network(architecture: str) -> None:
    import timm

    model = classifier(architecture)
    model.train()(torch.rand(8, 3, 64, 64))  # running statistics that are not 0 and 1
    model.eval()
    own = timm.create_model(architecture.partition(":")[2], num_classes=7).eval()
    state, names = model.state_dict(), model.published_names()
    own.load_state_dict({theirs: state[ours] for ours, theirs in names.items()})
    x = torch.rand(3, 3, 64, 64)
    normalised = torch.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(x), own(normalised), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.native()(normalised), own(normalised), rtol=0, atol=0)


def test_features_are_a_map_whose_average_is_the_embedding() -> None:
    model = classifier().eval()
    features, embedding, logits, _ = model.outputs(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, model.feature_dim, 2, 2)
    torch.testing.assert_close(embedding, features.flatten(2).mean(dim=2))
    torch.testing.assert_close(logits, embedding @ model.head.weight.T + model.head.bias)


def test_every_weight_is_held_once_and_takes_gradients() -> None:
    import timm

    model = classifier()
    own = timm.create_model("test_resnet", num_classes=7)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in own.parameters())
    model(torch.rand(4, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_weights_are_drawn_as_timm_draws_them_and_the_same_for_one_seed() -> None:
    import timm

    torch.manual_seed(0)
    own = timm.create_model("test_resnet", num_classes=7).state_dict()
    model = classifier()
    state, names = model.state_dict(), model.published_names()
    torch.testing.assert_close({theirs: state[ours] for ours, theirs in names.items()}, dict(own))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_resnett", "no architecture 'timm:test_resnett'; there is .*timm:test_resnet"),
        ("resnet18.nonsense", "Invalid pretrained tag"),
        ("deit_tiny_distilled_patch16_224", "no linear layer"),
        ("hf_hub:someone/resnet18", "no architecture"),
        ("<b>resnet18</b>", "no architecture"),
        ("x" * 10_000, "no architecture"),
    ],
)
def test_what_has_no_linear_head_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        classifier(f"timm:{name}")
    assert len(str(raised.value)) < 600


def test_without_timm_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="not installed"):
        classifier()


@pytest.mark.parametrize(
    ("name", "side", "grid"),
    [
        ("test_vit", 64, (4, 4)),  # by the attention of its class token
        ("mobilenetv3_small_050", 64, (2, 2)),  # a layer between pooling and head
        ("test_convnext", 64, (1, 1)),  # a norm after pooling: nothing to look at
        pytest.param("swin_tiny_patch4_window7_224", 224, (1, 1), marks=pytest.mark.slow),
        pytest.param("mixer_s32_224", 224, (1, 1), marks=pytest.mark.slow),
        ("resnet18.a1_in1k", 64, (2, 2)),  # the tag names weights, which nobody fetches
    ],
)
def test_any_network_with_a_linear_head_gives_timms_logits(
    name: str, side: int, grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    model = build(f"timm:{name}", num_classes=7, mean=MEAN, std=STD, image_size=side)
    assert isinstance(model, TimmClassifier)
    model.eval()
    torch.nn.init.normal_(model.head.weight)
    native = model.native()
    x = torch.rand(2, 3, side, side)
    normalised = torch.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)
    with torch.no_grad():
        outputs = model.outputs(x)
        torch.testing.assert_close(outputs.logits, native(normalised), rtol=1e-4, atol=1e-4)
        again = model.read_again(outputs.features, outputs.beside)
    torch.testing.assert_close(again.logits, outputs.logits, rtol=1e-5, atol=1e-5)
    assert outputs.features.shape[2:] == grid
    assert outputs.embedding.shape == (2, model.feature_dim)


def test_a_class_tokens_attention_is_that_of_the_last_block() -> None:
    """Against queries, keys and softmax written out."""
    torch.manual_seed(0)
    model = build("timm:test_vit", num_classes=7, mean=MEAN, std=STD, image_size=64).eval()
    outputs = model.outputs(torch.rand(2, 3, 64, 64))
    assert outputs.beside is not None
    block = model.body.network.blocks[-1]  # type: ignore[union-attr, index]
    n, tokens, width = outputs.beside.shape
    heads = block.attn.num_heads  # type: ignore[union-attr]
    qkv = block.attn.qkv(block.norm1(outputs.beside))  # type: ignore[union-attr, operator]
    q, k, _ = qkv.view(n, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = (q[:, :, :1] * k).sum(dim=3) / (width // heads) ** 0.5  # (N, heads, T)
    expected = scores.exp() / scores.exp().sum(dim=2, keepdim=True)
    seen = outputs.features.flatten(2)
    torch.testing.assert_close(seen, expected[:, :, 1:], rtol=1e-4, atol=1e-6)
    assert outputs.features.shape == (2, heads, 4, 4)


def test_a_class_tokens_attention_can_be_led_and_explained() -> None:
    torch.manual_seed(0)
    model = build("timm:test_vit", num_classes=7, mean=MEAN, std=STD, image_size=64).eval()
    x = torch.rand(2, 3, 64, 64, requires_grad=True)
    outputs = model.outputs(x)
    (gradient,) = torch.autograd.grad(attention_map(outputs.features)[:, 0, 0].sum(), x)
    assert gradient.abs().max() > 0
    cams = grad_cam_of(model, outputs, outputs.logits.argmax(dim=1))
    assert cams.shape == (2, 4, 4)
    assert (cams.min(), cams.max()) == (0, 1)
    (only,) = staged(model, x).stages
    assert only.shape == outputs.features.shape


def test_threads_do_not_see_each_others_attention() -> None:
    torch.manual_seed(0)
    model = build("timm:test_vit", num_classes=7, mean=MEAN, std=STD, image_size=64).eval()
    images = [torch.rand(1, 3, 64, 64) for _ in range(16)]
    with torch.no_grad():
        expected = [model.outputs(x).features for x in images]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda x: model.outputs(x).features.detach(), images))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_network_of_one_image_size_says_so() -> None:
    with pytest.raises(ValueError, match="it takes no images of 20 pixels"):
        build("timm:test_vit", num_classes=7, mean=MEAN, std=STD, image_size=20)
