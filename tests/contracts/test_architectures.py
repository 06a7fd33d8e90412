"""Names of architectures and what an import of weights takes: hostile until checked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.params import ImportModelParams, TrainParams, family

ID = "0" * 32
IMPORT: dict[str, Any] = {"name": "Net", "upload": ID, "dataset": ID, "architecture": "wrn-28-10"}
TRAIN: dict[str, Any] = {"name": "Net", "dataset": ID}


def refused(**changes: Any) -> set[str]:
    """The fields that an import refuses."""
    try:
        ImportModelParams.model_validate(IMPORT | changes)
    except ValidationError as error:
        return {e["ctx"]["field"] if e["type"] == "invalid" else str(e["loc"][0])
                for e in error.errors()}  # fmt: skip
    return set()


@pytest.mark.parametrize(
    "name",
    ["wrn-10-1", "wrn-100-20", "preactresnet-18", "timm:resnet18", "timm:test_resnet",
     "plugin:My.Net-2", "plugin:_x"],
)  # fmt: skip
def test_names_that_a_worker_may_know(name: str) -> None:
    assert refused(architecture=name) == set()
    assert TrainParams(**TRAIN, architecture=name).architecture == name


@pytest.mark.parametrize(
    "name",
    ["", "timm:", "plugin:", "resnet18", "timm:ResNet18", "timm:resnet18.", "wrn-11-1",
     "timm:hf_hub:x/y", "timm:../../x", "plugin:../x", "plugin:.x", "plugin:-x", "plugin:a b",
     "plugin:<script>", "wrn-10-21", "wrn-٢٨-١٠", "timm:" + "x" * 61, "timm:resnet18\n",
     "plugin:a\x00", "TIMM:resnet18"],
)  # fmt: skip
def test_names_that_no_worker_shall_see(name: str) -> None:
    assert refused(architecture=name) == {"architecture"}
    with pytest.raises(ValidationError):
        TrainParams(**TRAIN, architecture=name)


@given(st.text(max_size=80))
def test_a_name_that_passes_is_plain(name: str) -> None:
    if not refused(architecture=name):
        assert name.isascii()
        assert not set(name) & set("/\\<>\"'& \n\r\t%$`;|*?~")


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"mean": [0.5, 0.5, 0.5]}, {"std"}),
        ({"std": [0.5, 0.5, 0.5]}, {"mean"}),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0, 0.5]}, {"std"}),
        ({"mean": [0.5, 0.5], "std": [0.5, 0.5, 0.5]}, {"mean"}),
        ({"mean": [0.5, 0.5, float("nan")], "std": [1, 1, 1]}, {"mean"}),
        ({"classes": ["cat"]}, {"classes"}),
        ({"classes": ["cat", "cat"]}, {"classes"}),
        ({"outputs": [3, 3]}, {"outputs"}),
        ({"outputs": [-1]}, {"outputs"}),
        ({"outputs": [0, 1], "classes": ["cat", "dog"]}, {"outputs"}),
        ({"mean": [125.3, 123.0, 113.9], "std": [63.0, 62.1, 66.7]}, {"mean"}),
        ({"network": "a\nb"}, {"network"}),
        ({"classes": ["cat", "do\ng"]}, {"classes"}),
        ({"classes": [str(i) for i in range(25_001)]}, {"classes"}),
        ({"expected": 1.01}, {"expected"}),
        ({"expected": 95}, {"expected"}),
        ({"tolerance": -0.1}, {"tolerance"}),
        ({"upload": "../etc/passwd"}, {"upload"}),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field(
    changes: dict[str, Any], fields: set[str]
) -> None:
    assert refused(**changes) == fields


def test_wide_resnets_are_one_family_and_others_one_each() -> None:
    assert family("wrn-10-1") == family("wrn-28-10")
    names = ["wrn-10-1", "preactresnet-18", "timm:resnet18", "timm:resnet34", "plugin:wrn-10-1"]
    assert len({family(name) for name in names}) == len(names)
