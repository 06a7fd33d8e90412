"""Architectures by entry point, from a package that is installed in a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worker.models import build

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
MODULE = """
from torch import nn
from worker.models import Classifier

def tiny(*, num_classes, mean, std):
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
    return Classifier(body=body, feature_dim=4, num_classes=num_classes, mean=mean, std=std)

def other_classes(*, num_classes, mean, std):
    return tiny(num_classes=num_classes + 1, mean=mean, std=std)

def no_classifier(**_):
    return nn.Identity()

def broken(**_):
    raise RuntimeError("out of order")
"""
ENTRIES = """[agkd_bml_lab.architectures]
tiny = lab_plugin_of_tests:tiny
other-classes = lab_plugin_of_tests:other_classes
no-classifier = lab_plugin_of_tests:no_classifier
broken = lab_plugin_of_tests:broken
gone = lab_plugin_of_tests:gone
"""

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    (tmp_path / "lab_plugin_of_tests.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def add(package: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(ENTRIES)

    return add


def test_an_installed_architecture_is_built_by_name(install: Install) -> None:
    install("lab-plugin")
    model = build("plugin:tiny", num_classes=5, mean=MEAN, std=STD)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    assert model.mean.tolist() == pytest.approx(MEAN)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tini", "no architecture 'plugin:tini'; there is .*plugin:tiny"),
        ("other-classes", "builds no Classifier of 5 classes"),
        ("no-classifier", "builds no Classifier"),
        ("broken", "RuntimeError: out of order"),
        ("gone", "plugin:gone fails: AttributeError"),
    ],
)
def test_what_a_plugin_does_wrong_is_said(install: Install, name: str, message: str) -> None:
    install("lab-plugin")
    with pytest.raises(ValueError, match=message):
        build(f"plugin:{name}", num_classes=5, mean=MEAN, std=STD)


def test_two_packages_that_offer_one_name_are_one_too_many(install: Install) -> None:
    install("lab-plugin")
    install("other-plugin")
    with pytest.raises(ValueError, match="offered by 2 packages"):
        build("plugin:tiny", num_classes=5, mean=MEAN, std=STD)


def test_without_any_plugin_there_is_nothing_to_offer() -> None:
    with pytest.raises(ValueError, match="there is none of this kind"):
        build("plugin:tiny", num_classes=5, mean=MEAN, std=STD)
