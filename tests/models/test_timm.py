"""Networks of timm as classifiers of the lab, against timm's own forward pass."""

import sys

import pytest
import torch

from worker.models import TimmClassifier, build

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
