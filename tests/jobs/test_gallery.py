"""The images that an evaluation shows: real ones, the worst of every class, with their maps."""

from __future__ import annotations

import base64
import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from app.contracts.params import Method
from app.contracts.results import Gallery, ModelFigures
from app.contracts.results.gallery import MOST_IMAGES
from tests.jobs.evaluations import evaluate, small
from tests.jobs.measured import Measured
from worker.agkd_bml.attention import attention_map
from worker.data.augment import to_float


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _pixels(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def _gallery(figures: ModelFigures) -> Gallery:
    assert figures.gallery is not None
    return figures.gallery


def test_pictures_are_the_images_that_the_outcomes_speak_of(measured: Measured) -> None:
    params = small(measured, batch_size=25, further=(Method.SQUARE,), queries=50)
    result = evaluate(measured, params)
    test = measured.dataset.split("test")
    for figures in result.models:
        assert figures.outcomes is not None
        gallery = _gallery(figures)
        at = {number: i for i, number in enumerate(result.image_numbers)}
        broken = figures.outcomes.broken_by
        assert gallery.of_flipped == sum(by > 0 for by in broken)
        assert gallery.of_standing == sum(by == -1 for by in broken)
        assert 2 <= len(gallery.images) <= MOST_IMAGES // 2
        for image in gallery.images:
            i = at[image.number]
            assert image.broken_by == broken[i] != 0
            assert image.label == result.labels[i] == image.model.clean.prediction
            if image.broken_by > 0:
                worst = figures.outcomes.worst_prediction[i]
                assert image.model.adversarial.prediction == worst != image.label
                assert image.lead <= 0
                assert image.least is not None
                assert image.least <= params.epsilon + 1e-3
            (row,) = (test.indices == image.number).nonzero()[0]
            clean, attacked = _pixels(image.clean_png), _pixels(image.adversarial_png)
            assert np.array_equal(clean, test.images[row])
            change = np.abs(attacked.astype(int) - clean)
            assert change.max() == round(255 * params.epsilon)


def test_the_worst_come_first_and_both_kinds_are_there(measured: Measured) -> None:
    for figures in evaluate(measured, small(measured, images=40, epsilon=0.25 / 255)).models:
        images = _gallery(figures).images
        budgets = [np.inf if image.least is None else image.least for image in images]
        assert all(a <= b for a, b in pairwise(budgets))
        assert {image.broken_by == -1 for image in images} == {True, False}


def test_what_is_shown_does_not_depend_on_the_batches(measured: Measured) -> None:
    shown = [
        [image.number for image in _gallery(figures).images]
        for size in (60, 7)
        for figures in evaluate(measured, small(measured, batch_size=size)).models
    ]
    assert shown[:2] == shown[2:]


def test_maps_are_those_of_the_models(measured: Measured) -> None:
    (figures,) = evaluate(measured, small(measured, images=20, models=(measured.student,))).models
    model, image = measured.model(measured.student), _gallery(figures).images[0]
    x = to_float(torch.from_numpy(_pixels(image.clean_png).copy()).permute(2, 0, 1)[None])
    expected = attention_map(model.outputs(x).features)[0]
    found = torch.tensor(image.model.clean.attention)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert image.teacher is None
