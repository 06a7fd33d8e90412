"""The explain job: every figure of the result is measured again on the pictures that it shows."""

from __future__ import annotations

import base64
import io
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import LIVE_LEVELS, Attack, CraftedOn, ExplainParams, Goal, Method, Norm
from app.contracts.results import ExplainResult, Level, View
from app.store import jobs, marks
from app.store.tables import JobRow, ModelRow
from tests.jobs.measured import Measured, gradient, random_model, register
from tests.jobs.runs import run
from worker.agkd_bml.attention import attention_map, grad_cam
from worker.models import Classifier

HALF_LEVEL = 0.5 / 255 + 1e-9
SHORT = Attack(steps=4)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _upload(measured: Measured, image: Image.Image) -> str:
    upload = uuid.uuid4().hex
    image.save(measured.lab.files.upload(upload), "PNG")
    return upload


def _test_image(measured: Measured, number: int = 3) -> Image.Image:
    return Image.fromarray(measured.dataset.split("test").images[number])


def _params(measured: Measured, **changes: Any) -> ExplainParams:
    upload = changes.pop("upload", None) or _upload(measured, _test_image(measured))
    pair = {"teacher": measured.teacher, "student": measured.student}
    return ExplainParams.model_validate(pair | {"upload": upload, "attack": SHORT} | changes)


def _run(measured: Measured, **changes: Any) -> JobRow:
    return run(measured.lab, JobKind.EXPLAIN, _params(measured, **changes))


def _explain(measured: Measured, **changes: Any) -> ExplainResult:
    row = _run(measured, **changes)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    return ExplainResult.model_validate_json(measured.lab.files.result(row.id).read_bytes())


def _pixels(png: str) -> NDArray[np.int64]:
    image = Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"])
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


def _shown(result: ExplainResult) -> Tensor:
    """The pictures of all levels as a model takes them, (L, 3, H, W)."""
    pixels = np.stack([_pixels(level.adversarial_png) for level in result.levels])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _views(result: ExplainResult, who: str) -> list[View]:
    return [getattr(level, who) for level in result.levels]


def test_level_zero_is_the_clean_image(measured: Measured) -> None:
    result = _explain(measured)
    clean = _pixels(result.clean_png)
    assert np.array_equal(clean, np.asarray(_test_image(measured)))
    first = result.levels[0]
    assert first.adversarial_png == result.clean_png
    assert (first.epsilon, first.max_change, first.l2_change) == (0, 0, 0)
    assert (_pixels(first.perturbation_png) == 128).all()
    assert len(result.levels) == LIVE_LEVELS
    assert [level.epsilon for level in result.levels] == pytest.approx(np.arange(17) / 255)


@pytest.mark.parametrize("crafted_on", list(CraftedOn))
@pytest.mark.parametrize(
    ("attack", "max_epsilon"),
    [
        (SHORT, 16 / 255),
        (SHORT, 5 / 255),
        (Attack(method=Method.FGSM), 16 / 255),
        (Attack(steps=4, norm=Norm.L2), 2.0),
        (Attack(steps=4, goal=Goal.MOST_CONFUSING), 16 / 255),
        (Attack(steps=2, goal=Goal.ALL_CLASSES), 16 / 255),
        (Attack(method=Method.BIM, steps=4), 16 / 255),
        (Attack(method=Method.MI_FGSM, steps=4), 16 / 255),
        (Attack(method=Method.CW, steps=4), 16 / 255),
        (Attack(method=Method.APGD_DLR, steps=4, norm=Norm.L2), 2.0),
        (Attack(method=Method.APGD_CE, steps=4, norm=Norm.L1), 10.0),
    ],
    ids=[
        "pgd", "small", "fgsm", "l2", "confusing", "all", "bim", "mi-fgsm", "cw", "apgd-l2",
        "apgd-l1",
    ],
)  # fmt: skip
def test_the_pictures_are_what_the_models_saw(
    measured: Measured, crafted_on: CraftedOn, attack: Attack, max_epsilon: float
) -> None:
    result = _explain(measured, attack=attack, max_epsilon=max_epsilon, crafted_on=crafted_on)
    assert (result.crafted_on, result.attack) == (crafted_on, attack)
    seen = _shown(result)
    for who in ("teacher", "student"):
        model = measured.model(getattr(measured, who))
        outputs = model.outputs(seen)
        predicted = outputs.logits.argmax(1)
        for view, probabilities, attention, cam in zip(
            _views(result, who),
            outputs.logits.softmax(1),
            attention_map(outputs.features),
            grad_cam(model, seen, predicted),
            strict=True,
        ):
            assert view.probabilities == pytest.approx(probabilities.tolist(), abs=2e-5)
            np.testing.assert_allclose(view.attention, attention.numpy(), atol=2e-5)
            np.testing.assert_allclose(view.grad_cam, cam.numpy(), atol=2e-5)
    _check_distances(result)
    _check_budget(result, attack.norm)
    _check_perturbation_pictures(result)


def _check_distances(result: ExplainResult) -> None:
    first = result.levels[0].teacher
    assert (first.attention_l1, first.attention_cosine) == (0, 0)
    for view in (*_views(result, "teacher"), *_views(result, "student")):
        for kind in ("attention", "grad_cam"):
            own, reference = np.array(getattr(view, kind)), np.array(getattr(first, kind))
            cosine = (own * reference).sum() / np.linalg.norm(own) / np.linalg.norm(reference)
            assert getattr(view, f"{kind}_l1") == pytest.approx(
                np.abs(own - reference).mean(), abs=3e-5
            )
            assert getattr(view, f"{kind}_cosine") == pytest.approx(1 - cosine, abs=1e-4)


def _check_budget(result: ExplainResult, norm: Norm) -> None:
    """Rounding to 8 bit moves a pixel by half a level at most."""
    clean = _pixels(result.clean_png)
    changes = [(_pixels(level.adversarial_png) - clean) / 255 for level in result.levels]
    for level, change in zip(result.levels, changes, strict=True):
        assert level.max_change == pytest.approx(np.abs(change).max(), abs=1e-9)
        assert level.l2_change == pytest.approx(np.linalg.norm(change), abs=1e-5)
        if norm is Norm.LINF:
            assert level.max_change <= level.epsilon + HALF_LEVEL
        else:
            assert level.l2_change <= level.epsilon + HALF_LEVEL * clean.size**0.5
    assert result.levels[-1].l2_change > result.levels[8].l2_change > 0
    if norm is Norm.LINF:
        assert result.perturbation_range == result.params.max_epsilon
    else:
        assert result.perturbation_range == pytest.approx(max(np.abs(c).max() for c in changes))


def _check_perturbation_pictures(result: ExplainResult) -> None:
    """128 is no change; reading the picture gives the change back, to half a grey value."""
    clean = _pixels(result.clean_png)
    for level in result.levels:
        change = (_pixels(level.adversarial_png) - clean) / 255
        read = (_pixels(level.perturbation_png) - 128) / 127 * result.perturbation_range
        limited = np.clip(change, -result.perturbation_range, result.perturbation_range)
        np.testing.assert_allclose(
            read, limited, atol=0.51 / 127 * result.perturbation_range, rtol=0
        )


def test_fgsm_moves_each_pixel_along_the_sign_of_the_gradient(measured: Measured) -> None:
    result = _explain(measured, attack=Attack(method=Method.FGSM), label="cat")
    model = measured.model(measured.student)
    clean = _shown(result)[:1]
    cat = torch.tensor([measured.dataset.class_names.index("cat")])
    sign = gradient(model, clean, cat).sign()[0]
    for level, seen in zip(result.levels, _shown(result), strict=True):
        expected = (clean[0] + level.epsilon * sign).clamp(0, 1)
        torch.testing.assert_close(seen, expected, rtol=0, atol=HALF_LEVEL + 1e-6)


@pytest.mark.parametrize("crafted_on", list(CraftedOn))
def test_the_attacked_model_is_led_away(measured: Measured, crafted_on: CraftedOn) -> None:
    result = _explain(measured, crafted_on=crafted_on)
    label = result.classes.index(result.label)
    trust = [view.probabilities[label] for view in _views(result, crafted_on.value)]
    assert trust[-1] < 0.05 < trust[0]


def test_a_targeted_attack_leads_to_its_class(measured: Measured) -> None:
    clean = _explain(measured).levels[0].student.probabilities
    target = int(np.argmin(clean))
    attack = Attack(steps=10, goal=Goal.CLASS, target_class=measured.dataset.class_names[target])
    reached = _explain(measured, attack=attack).levels[-1].student.probabilities
    assert np.argmax(reached) == target


def test_refuses_the_class_that_is_there_as_a_target(measured: Measured) -> None:
    attack = Attack(goal=Goal.CLASS, target_class="cat")
    row = _run(measured, attack=attack, label="cat")
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert "already" in row.failure["detail"]


def test_the_label_is_given_or_what_the_teacher_sees(measured: Measured) -> None:
    free = _explain(measured)
    seen = int(np.argmax(free.levels[0].teacher.probabilities))
    assert (free.label, free.label_is_given) == (measured.dataset.class_names[seen], False)
    other = measured.dataset.class_names[(seen + 1) % 10]
    given = _explain(measured, label=other)
    assert (given.label, given.label_is_given) == (other, True)
    assert given.levels[-1].adversarial_png != free.levels[-1].adversarial_png


def test_the_seed_decides_the_start(measured: Measured) -> None:
    upload = _upload(measured, _test_image(measured))
    first, same, other = (_explain(measured, upload=upload, seed=seed) for seed in (0, 0, 1))
    assert first.levels == same.levels
    assert first.levels[8].adversarial_png != other.levels[8].adversarial_png


def test_all_budgets_start_in_one_direction(measured: Measured) -> None:
    """Steps too short to see leave the starts: at budget e they are e times the same noise."""
    grey = Image.new("RGB", (32, 32), (128, 128, 128))
    result = _explain(
        measured, upload=_upload(measured, grey), attack=Attack(steps=1, relative_step=1e-6)
    )
    changes = [_pixels(level.adversarial_png) - 128 for level in result.levels]
    assert np.abs(changes[-1]).max() == 16
    for k, change in enumerate(changes):
        assert np.abs(change - changes[-1] * k / 16).max() <= 1.01


@pytest.mark.parametrize("size", [(100, 40), (33, 512), (8, 8), (32, 32)])
def test_pictures_are_cropped_to_their_centre_and_resized(
    measured: Measured, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    result = _explain(
        measured, upload=_upload(measured, picture), attack=Attack(method=Method.FGSM)
    )
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    expected = square.resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(_pixels(result.clean_png), np.asarray(expected))


def _pair(measured: Measured, *models: tuple[Classifier, str, int]) -> dict[str, str]:
    classes = ("left", "right", "neither")
    ids = [
        register(measured.lab, model, classes, architecture=architecture, image_size=size)
        for model, architecture, size in models
    ]
    return dict(zip(("teacher", "student"), ids, strict=True))


def test_models_of_larger_images(measured: Measured) -> None:
    models = [(random_model(3, seed=seed), "wrn-10-1", 64) for seed in (1, 2)]
    result = _explain(measured, attack=Attack(method=Method.FGSM), **_pair(measured, *models))
    assert result.classes == ("left", "right", "neither")
    assert _shown(result).shape == (LIVE_LEVELS, 3, 64, 64)
    assert np.shape(result.levels[5].student.attention) == (16, 16)
    assert np.shape(result.levels[5].teacher.grad_cam) == (16, 16)


def test_maps_of_another_resolution_are_compared_on_the_teachers_grid(measured: Measured) -> None:
    pair = _pair(
        measured,
        (random_model(3), "wrn-10-1", 32),
        (random_model(3, architecture="preactresnet-18"), "preactresnet-18", 32),
    )
    attack = Attack(method=Method.FGSM)
    result = _explain(measured, attack=attack, crafted_on=CraftedOn.TEACHER, **pair)
    reference = np.array(result.levels[0].teacher.attention)
    for view in _views(result, "student"):
        assert np.shape(view.attention) == (4, 4)
        assert len(reference) == 8
        # Pillow's bilinear filter, on floats, is the independent one.
        enlarged = Image.fromarray(np.array(view.attention, dtype=np.float32)).resize(
            (8, 8), Image.Resampling.BILINEAR
        )
        distance = np.abs(np.asarray(enlarged) - reference).mean()
        assert view.attention_l1 == pytest.approx(distance, abs=5e-5)


def test_refuses_a_pair_that_cannot_be_compared(measured: Measured) -> None:
    small, large = (random_model(3), "wrn-10-1", 32), (random_model(3), "wrn-10-1", 64)
    of_two_sizes = _pair(measured, small, large)
    of_other_classes = of_two_sizes | {"student": measured.student}
    for pair, detail in ((of_two_sizes, "sizes"), (of_other_classes, "classes")):
        row = _run(measured, **pair)
        assert row.status == JobStatus.FAILED
        assert row.failure is not None
        assert detail in row.failure["detail"]


@pytest.mark.parametrize(
    "content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40]
)
def test_says_that_the_upload_is_gone_or_damaged(measured: Measured, content: bytes | None) -> None:
    upload = uuid.uuid4().hex
    if content is not None:
        measured.lab.files.upload(upload).write_bytes(content)
    row = _run(measured, upload=upload)
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert row.failure["hint"] == "Upload it again."


def test_a_warm_worker_does_not_read_the_weights_again(measured: Measured) -> None:
    pair = _pair(
        measured,
        *((random_model(3, seed=seed), "wrn-10-1", 32) for seed in (11, 12)),
    )
    attack = Attack(method=Method.FGSM)
    upload = _upload(measured, _test_image(measured))
    first = _explain(measured, upload=upload, attack=attack, **pair)
    for model_id in pair.values():
        measured.lab.files.weights(model_id).unlink()
    assert _explain(measured, upload=upload, attack=attack, **pair).levels == first.levels
    # What is in memory is not in the lab any more.
    marks.put_in_bin(measured.lab.database, ModelRow, [pair["student"]])
    assert _run(measured, upload=upload, attack=attack, **pair).status == JobStatus.FAILED


def test_a_cancelled_request_leaves_no_result(measured: Measured) -> None:
    def cancel(job_id: str) -> None:
        jobs.request_cancel(measured.lab.database, job_id)

    lab = replace(measured.lab, ring=cancel)
    row = run(lab, JobKind.EXPLAIN, _params(measured))
    assert row.status == JobStatus.CANCELLED
    assert not lab.files.result(row.id).exists()


def test_the_result_is_a_small_page(measured: Measured) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    row = _run(measured, upload=_upload(measured, Image.fromarray(noise)))
    assert row.status == JobStatus.SUCCEEDED
    assert measured.lab.files.result(row.id).stat().st_size < 300_000


def test_every_level_is_complete(measured: Measured) -> None:
    for level in _explain(measured, attack=Attack(method=Method.FGSM)).levels:
        assert isinstance(level, Level)
        for view in (level.teacher, level.student):
            assert sum(view.probabilities) == pytest.approx(1, abs=1e-4)
            for grid in (view.attention, view.grad_cam):
                assert np.shape(grid) == (8, 8)
                assert 0 <= np.min(grid) <= np.max(grid) <= 1
