"""What checkpoints note beside their weights, as training codes write it."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

import pytest
import torch

from worker.jobs.noted import Noted, noted

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
LEVELS = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
STATE = {"conv.weight": torch.ones(2, 3, 1, 1), "mean": torch.ones(3), "std": torch.ones(3)}
MMCV = """model = dict(type='ImageClassifier')
init_cfg = dict(type='Normal', mean=0, std=0.01)
img_norm_cfg = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=False)
"""


@pytest.mark.parametrize(
    ("beside", "where"),
    [
        ({"config": {"mean": MEAN, "std": STD}}, "config.mean, config.std"),
        ({"args": Namespace(mean=[*MEAN], std=[*STD])}, "args.mean, args.std"),
        ({"hparams": {"data": {"norm_mean": MEAN, "norm_std": STD}}}, "hparams.data.norm_mean"),
        ({"default_cfg": {"mean": MEAN, "std": STD, "classifier": "fc"}}, "default_cfg.mean"),
        ({"cfg": {"DATA": {"MEAN": [*MEAN], "STD": [*STD]}}}, "cfg.DATA.MEAN, cfg.DATA.STD"),
        ({"cfg": {"mean": torch.tensor(MEAN), "std": torch.tensor(STD)}}, "cfg.mean"),
        ({"config": {"mean": MEAN, "var": [v * v for v in STD]}}, "config.mean, config.var"),
        ({"data_cfg": {"normalize": (MEAN, STD)}}, "data_cfg.normalize"),
        ({"args": {"transforms": f"ToTensor()\nNormalize(mean={MEAN}, std={STD})"}}, "transforms"),
        ({"args": {"t": f"Normalize(mean=tensor({[*MEAN]}), std=tensor({[*STD]}))"}}, "args.t"),
        ({"config": json.dumps({"data": {"mean": MEAN, "std": STD}})}, "config.data.mean"),
        ({"stages": [{"mean": MEAN, "std": STD}]}, "stages.0.mean"),
    ],
)
def test_a_normalisation_is_found_wherever_it_is_noted(beside: dict[str, Any], where: str) -> None:
    found = noted({"state_dict": STATE, **beside}, STATE)
    (told,) = found.normalisations
    assert where in told.where
    assert (told.mean, told.std) == (pytest.approx(MEAN), pytest.approx(STD))
    assert Noted.of(json.loads(json.dumps(found.plain()))) == found


def test_grey_levels_in_a_configuration_that_is_a_text() -> None:
    found = noted({"state_dict": STATE, "meta": {"config": MMCV, "CLASSES": ("cat", "dog")}}, STATE)
    (told,) = found.normalisations
    assert (told.where, [*map(list, (told.mean, told.std))]) == ("meta.config", [*LEVELS])
    assert (found.classes, found.maybe_bgr) == (("meta.CLASSES",), ("meta.config",))


@pytest.mark.parametrize(
    "beside",
    [
        {"args": Namespace(sigma=0.25, mu=0.001, momentum=0.9, std=0.1)},
        {"config": {"init": {"mean": 0.0, "std": 0.01}, "num_classes": 10, "classes": 10}},
        {"optimizer": {"param_groups": [{"mean": MEAN, "std": STD}], "state": {}}},
        {"args": {"format": "png", "color_mode": "rgb", "to_rgb": True, "bgr": False}},
        {"history": {"labels": [0.1, 0.2], "class_names": "cat"}},
        {"args": {"text": "mean=" * 100_000}},
        {"args": {"text": "mean: " + 2**20 // 2 * "1"}},  # in time that grows with the digits
        {"args": {"mean": [10**400] * 3, "std": STD}},
    ],
)
def test_other_settings_are_no_normalisation_and_no_classes(beside: dict[str, Any]) -> None:
    assert noted({"state_dict": STATE, **beside}, STATE) == Noted()


@pytest.mark.parametrize(
    "beside",
    [
        {"config": {"channel_order": "BGR"}},
        {"args": Namespace(bgr=True)},
        {"cfg": {"INPUT": {"FORMAT": "BGR"}}},
        {"data_cfg": json.dumps({"color_space": "bgr"})},
        {"pretrained_cfg": {"input_space": "BGR"}},
    ],
)
def test_the_order_of_colours_is_found(beside: dict[str, Any]) -> None:
    assert len(noted({"model": STATE, **beside}, STATE).bgr) == 1


def test_ranges_of_pixels_and_weights_without_names_are_found() -> None:
    layers = [torch.ones(2, 2) for _ in range(5)]
    beside = {"config": {"input_range": [0, 255]}, "ema": {"decay": 0.9, "shadow_params": layers}}
    found = noted({"model": STATE, **beside}, STATE)
    assert (found.levels, found.unnamed) == (("config.input_range",), ("ema.shadow_params",))
    plain = {"config": {"input_range": [0, 1]}, "losses": [torch.ones(1)] * 9}
    assert noted({"model": STATE, **plain}, STATE) == Noted()


def test_deep_and_wide_notes_come_to_an_end() -> None:
    deep: dict[str, Any] = {"mean": MEAN, "std": STD}
    for _ in range(100):
        deep = {"in": deep}
    wide = {"many": {str(n): {"a": n} for n in range(150_000)}}
    assert noted({"state_dict": STATE, "deep": deep} | wide, STATE) == Noted()
    circle: dict[str, Any] = {}
    circle["again"] = circle
    assert noted(circle) == Noted()
