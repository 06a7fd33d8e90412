"""The explain job: every figure of the result is measured again on the pictures that it shows."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.contracts.events import EVENT, PreviewEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import LIVE_LEVELS, Attack, ExplainParams, Goal, Method, Norm
from app.contracts.results import ExplainResult, LiveLook, MapSheet
from app.store import job_queries, jobs, marks
from app.store.tables import JobRow, ModelRow
from tests.attacks.oracle import Recorder
from tests.jobs.measured import Measured, gradient, random_model, register
from tests.jobs.runs import run
from worker.agkd_bml.attention import attention_map, grad_cam
from worker.jobs.crafting import craft, random_directions, runs
from worker.jobs.looking import Looker
from worker.models import Classifier, frozen_passes

HALF_LEVEL = 0.5 / 255 + 1e-9
SHORT = Attack(steps=4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


def _upload(measured: Measured, image: Image.Image) -> str:
    upload = uuid.uuid4().hex
    image.save(measured.lab.files.upload(upload), "PNG")
    return upload


def _test_image(measured: Measured, number: int = 3) -> Image.Image:
    return Image.fromarray(measured.dataset.split("test").images[number])


def _params(measured: Measured, **changes: Any) -> ExplainParams:
    upload = changes.pop("upload", None) or _upload(measured, _test_image(measured))
    usual = {"models": (measured.teacher, measured.student), "upload": upload, "attack": SHORT}
    return ExplainParams.model_validate(usual | changes)


def _run(measured: Measured, **changes: Any) -> JobRow:
    return run(measured.lab, JobKind.EXPLAIN, _params(measured, **changes))


def _explain(measured: Measured, **changes: Any) -> ExplainResult:
    row = _run(measured, **changes)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    return ExplainResult.model_validate_json(
        measured.lab.files.result(row.result_name).read_bytes()
    )


def _read(png: str, mode: str) -> NDArray[np.int64]:
    image = Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"])
    assert image.mode == mode
    return np.asarray(image.convert("L") if mode == "P" else image).astype(np.int64)


def _clean(result: ExplainResult) -> NDArray[np.int64]:
    return _read(result.clean_png, "RGB")


def _iterates(result: ExplainResult, number: int) -> NDArray[np.int64]:
    """The pictures crafted on one model, (B, T, H, W, 3), from the clean one and the changes."""
    size, rows, columns = result.image_size, len(result.budgets), len(result.iterates)
    grey = _read(result.attacks[number].changes_png, "P")
    tiles = grey.reshape(rows, size, columns, size, 3).swapaxes(1, 2)
    return (_clean(result) + tiles - 128) % 256


def _last(result: ExplainResult, number: int) -> NDArray[np.int64]:
    """The last iterates at each budget, (B, H, W, 3)."""
    return np.stack([_read(one.adversarial_png, "RGB") for one in result.attacks[number].levels])


def _as_batch(pixels: NDArray[np.int64]) -> Tensor:
    """(..., H, W, 3) as a model takes them, (N, 3, H, W)."""
    flat = pixels.reshape(-1, *pixels.shape[-3:])
    return torch.from_numpy(flat).permute(0, 3, 1, 2).float() / 255


def _maps(sheet: MapSheet, rows: int, columns: int) -> NDArray[np.float64]:
    """(rows * columns, h, w) in [0, 1]."""
    tiles = _read(sheet.png, "L").reshape(rows, sheet.height, columns, sheet.width)
    return tiles.swapaxes(1, 2).reshape(-1, sheet.height, sheet.width) / 255


def _probabilities(result: ExplainResult, number: int, name: str) -> list[float]:
    """Of one class, under the attack on a model, as the model itself sees its last iterates."""
    column = result.shown.index(result.classes.index(name))
    own = result.attacks[number].looks[number]
    return [
        row[column] for row in own.probabilities[len(result.iterates) - 1 :: len(result.iterates)]
    ]


def test_budget_zero_is_the_clean_image(measured: Measured) -> None:
    result = _explain(measured)
    assert np.array_equal(_clean(result), np.asarray(_test_image(measured)))
    assert result.budgets == pytest.approx(np.arange(LIVE_LEVELS) / 255)
    for number, attack in enumerate(result.attacks):
        assert attack.levels[0].adversarial_png == result.clean_png
        assert (attack.levels[0].max_change, attack.levels[0].l2_change) == (0, 0)
        assert (_iterates(result, number)[0] == _clean(result)).all()
        for look, clean in zip(attack.looks, result.clean, strict=True):
            assert look.top[0] == clean.top
            assert look.probabilities[0] == clean.probabilities
            assert look.attention.shift.l1[0] == look.grad_cam.shift.l1[0] == 0


@pytest.mark.parametrize(
    ("attack", "max_epsilon"),
    [
        (SHORT, 16 / 255),
        (SHORT, 5 / 255),
        (Attack(steps=25), 16 / 255),
        (Attack(method=Method.FGSM), 16 / 255),
        (Attack(steps=4, norm=Norm.L2), 2.0),
        (Attack(steps=4, goal=Goal.MOST_CONFUSING), 16 / 255),
        (Attack(steps=2, goal=Goal.ALL_CLASSES), 16 / 255),
        (Attack(steps=2, restarts=2), 16 / 255),
        (Attack(method=Method.BIM, steps=4), 16 / 255),
        (Attack(method=Method.MI_FGSM, steps=4), 16 / 255),
        (Attack(method=Method.CW, steps=4), 16 / 255),
        (Attack(method=Method.APGD_DLR, steps=4, norm=Norm.L2), 2.0),
        (Attack(method=Method.APGD_CE, steps=4, norm=Norm.L1), 10.0),
    ],
    ids=[
        "pgd", "small", "many", "fgsm", "l2", "confusing", "all", "restarts", "bim", "mi-fgsm",
        "cw", "apgd-l2", "apgd-l1",
    ],
)  # fmt: skip
def test_the_pictures_are_what_the_models_saw(
    measured: Measured, attack: Attack, max_epsilon: float
) -> None:
    result = _explain(measured, attack=attack, max_epsilon=max_epsilon)
    assert result.params.attack == attack
    models = [measured.model(model.id) for model in result.models]
    rows, columns = len(result.budgets), len(result.iterates)
    for number, attacked in enumerate(result.attacks):
        pictures = _iterates(result, number)
        assert np.array_equal(pictures[:, -1], _last(result, number))
        _check_budget(result, number)
        for i, (model, look) in enumerate(zip(models, attacked.looks, strict=True)):
            seen = _as_batch(pictures if i == number else pictures[:, -1])
            _check_look(result, look, model, seen, rows, columns if i == number else 1)
            _check_distances(result, look, i, rows, columns if i == number else 1)


def _check_look(
    result: ExplainResult, look: LiveLook, model: Classifier, seen: Tensor, rows: int, columns: int
) -> None:
    outputs = model.outputs(seen)
    probabilities = outputs.logits.softmax(1)
    assert list(look.top) == probabilities.argmax(1).tolist()
    np.testing.assert_allclose(look.confidence, probabilities.amax(1), atol=1e-4)
    np.testing.assert_allclose(look.probabilities, probabilities[:, result.shown], atol=1e-4)
    attention = attention_map(outputs.features)
    cams = grad_cam(model, seen, outputs.logits.argmax(1))
    for figures, expected in ((look.attention, attention), (look.grad_cam, cams)):
        found = _maps(figures.sheet, rows, columns)
        np.testing.assert_allclose(found, expected.numpy(), atol=0.51 / 255)
    if columns > 1:
        coarsest = _maps(look.stages[-1], rows, 1)
        np.testing.assert_allclose(coarsest, attention[columns - 1 :: columns], atol=0.51 / 255)
        assert [stage.width for stage in look.stages] == [32, 16, 8]
    else:
        assert look.stages == ()


def _check_distances(
    result: ExplainResult, look: LiveLook, number: int, rows: int, columns: int
) -> None:
    """Of the maps as they are drawn: to half a grey level each."""
    for kind in ("attention", "grad_cam"):
        figures, first = getattr(look, kind), getattr(result.attacks[0].looks[0], kind)
        own = _maps(figures.sheet, rows, columns)
        reference = _maps(first.sheet, rows, len(result.iterates))[0]
        for found, other in ((figures.shift, own[0]), (figures.reference, reference)):
            difference = np.abs(own - other).mean(axis=(1, 2))
            np.testing.assert_allclose(found.l1, difference, atol=1 / 255)
            cosine = 1 - (own * other).sum((1, 2)) / (
                np.linalg.norm(own, axis=(1, 2)) * np.linalg.norm(other) + 1e-12
            )
            np.testing.assert_allclose(found.cosine, cosine, atol=0.01)
            assert len(found.overlap) == rows * columns
    assert look.attention.shift.overlap[0] == 1
    assert number > 0 or look.attention.shift == look.attention.reference


def _check_budget(result: ExplainResult, number: int) -> None:
    """Rounding to 8 bit moves a pixel by half a level at most."""
    norm, clean = result.params.attack.norm, _clean(result)
    changes = (_iterates(result, number) - clean) / 255
    lengths = np.linalg.norm(changes.reshape(*changes.shape[:2], -1), axis=2)
    budgets = np.array(result.budgets)[:, None]
    if norm is Norm.LINF:
        assert (np.abs(changes).max(axis=(2, 3, 4)) <= budgets + HALF_LEVEL).all()
    else:  # the L2 ball holds the L1 ball of the same radius
        assert (lengths <= budgets + HALF_LEVEL * clean.size**0.5).all()
    for level, change in zip(result.attacks[number].levels, changes[:, -1], strict=True):
        assert level.max_change == pytest.approx(np.abs(change).max(), abs=1e-9)
        assert level.l2_change == pytest.approx(np.linalg.norm(change), abs=1e-5)
    assert lengths[-1, -1] > lengths[8, -1] > 0


def test_overlap_is_of_the_highest_fifths(measured: Measured) -> None:
    look = _explain(measured).attacks[0].looks[0]
    maps = _maps(look.stages[-1], LIVE_LEVELS, 1)  # the maps of the last iterates once more
    overlap = look.attention.shift.overlap[4::5]
    for shown, found in zip(maps, overlap, strict=True):
        tops = []
        for one in (maps[0], shown):
            ordered = np.sort(one.ravel())[::-1]
            if ordered[12] == ordered[13]:  # 8 bit made a tie of what was none
                break
            tops.append(one >= ordered[12])
        else:
            assert found == pytest.approx(
                (tops[0] & tops[1]).sum() / (tops[0] | tops[1]).sum(), abs=1e-4
            )


def test_iterates_begin_in_the_ball_and_end_at_the_last_step(measured: Measured) -> None:
    result = _explain(measured, attack=Attack(steps=4, relative_step=0.25))
    assert result.iterates == (0, 1, 2, 3, 4)
    many = _explain(measured, attack=Attack(steps=35))
    assert (many.iterates[0], many.iterates[-1], len(many.iterates)) == (0, 35, 11)
    assert list(many.iterates) == sorted(set(many.iterates))
    # A step of a quarter of the budget moves each pixel by that much, and rounding by one level.
    for number in (0, 1):
        moved = np.abs(np.diff(_iterates(result, number)[-1], axis=0))
        assert 0 < moved.max() <= 5


def test_one_step_has_two_iterates(measured: Measured) -> None:
    result = _explain(measured, attack=Attack(method=Method.FGSM), label="cat")
    assert result.iterates == (0, 1)
    cat = torch.tensor([measured.dataset.class_names.index("cat")])
    clean = _as_batch(_clean(result))
    for number, one in enumerate(result.models):
        slope = gradient(measured.model(one.id), clean, cat)[0]
        assert (_iterates(result, number)[:, 0] == _clean(result)).all()
        for budget, seen in zip(result.budgets, _as_batch(_last(result, number)), strict=True):
            expected = (clean[0] + budget * slope.sign()).clamp(0, 1)
            sure = slope.abs() > 1e-6  # of a slope of next to nothing the sign is rounding's
            assert sure.float().mean() > 0.99
            torch.testing.assert_close(seen[sure], expected[sure], rtol=0, atol=HALF_LEVEL + 1e-6)


def test_each_model_is_led_away_from_what_it_says(measured: Measured) -> None:
    result = _explain(measured)
    assert result.label is None
    for number, clean in enumerate(result.clean):
        trust = _probabilities(result, number, result.classes[clean.top])
        assert trust[-1] < 0.05 < trust[0] == pytest.approx(clean.confidence, abs=1e-4)


def test_a_given_class_is_what_every_attack_leaves(measured: Measured) -> None:
    says = [clean.top for clean in _explain(measured).clean]
    other = next(k for k in range(10) if k not in says)
    name = measured.dataset.class_names[other]
    given = _explain(measured, label=name)
    assert given.label == name
    for number in (0, 1):
        trust = _probabilities(given, number, name)
        assert trust[-1] < trust[0]
    # It was wrong from the start: no budget is needed.
    assert all(one.minimal.broke == 0 and one.minimal.survived is None for one in given.attacks)


def test_a_targeted_attack_leads_to_its_class(measured: Measured) -> None:
    clean = _explain(measured).clean[1]
    target = int(np.argmin(clean.probabilities))
    attack = Attack(steps=10, goal=Goal.CLASS, target_class=measured.dataset.class_names[target])
    reached = _explain(measured, attack=attack).attacks[1].looks[1]
    assert reached.top[-1] == target


def test_refuses_the_class_that_is_there_as_a_target(measured: Measured) -> None:
    attack = Attack(goal=Goal.CLASS, target_class="cat")
    row = _run(measured, attack=attack, label="cat")
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert "already" in row.failure["detail"]


def test_the_smallest_budget_is_the_first_at_which_any_picture_changes_the_answer(
    measured: Measured,
) -> None:
    result = _explain(measured, max_epsilon=4 / 255)
    models = [measured.model(model.id) for model in result.models]
    for number, (model, clean) in enumerate(zip(models, result.clean, strict=True)):
        found = result.attacks[number].minimal
        broken = [  # (B,) by each model's pictures
            (
                model(_as_batch(_iterates(result, i) if i == number else _last(result, i)))
                .argmax(1)
                .view(LIVE_LEVELS, -1)
                != clean.top
            ).any(dim=1)
            for i in range(2)
        ]
        either = (broken[0] | broken[1]).tolist()
        assert True in either
        first = either.index(True)
        assert found.broke == result.budgets[first]
        assert found.survived == result.budgets[first - 1]
        assert found.crafted_on is not None
        assert broken[found.crafted_on][first]
        assert found.crafted_on == number or not broken[number][first]
        if found.crafted_on == number:
            own = result.attacks[number].looks[number].top[first * 5 : first * 5 + 5]
            steps = [
                step for step, top in zip(result.iterates, own, strict=True) if top != clean.top
            ]
            assert found.steps == steps[0]


def test_a_budget_too_small_breaks_nothing(measured: Measured) -> None:
    result = _explain(measured, max_epsilon=1e-5)
    for one in result.attacks:
        assert one.minimal.broke is None
        assert one.minimal.survived == result.budgets[-1]


def test_the_middle_of_the_slider_is_shown_first(measured: Measured) -> None:
    """As the whole result has it; when that is there, nothing stays of it."""
    previews: list[ExplainResult] = []

    def look(job_id: str) -> None:
        events = job_queries.events_after(measured.lab.database, job_id, 0)
        found = [EVENT.validate_python(one.body) for one in events]
        previews.extend(one.result for one in found if isinstance(one, PreviewEvent))

    row = run(replace(measured.lab, ring=look), JobKind.EXPLAIN, _params(measured, label="cat"))
    whole = ExplainResult.model_validate_json(
        measured.lab.files.result(row.result_name).read_bytes()
    )
    (first,) = previews
    middle, last = LIVE_LEVELS // 2, len(whole.iterates) - 1
    assert first.budgets == (0, whole.budgets[middle])
    assert first.iterates == whole.iterates[-1:]
    assert (first.clean_png, first.shown) == (whole.clean_png, whole.shown)
    for number, (found, expected) in enumerate(zip(first.attacks, whole.attacks, strict=True)):
        assert found.levels == (expected.levels[0], expected.levels[middle])
        assert np.array_equal(_iterates(first, number)[1, 0], _iterates(whole, number)[middle, -1])
        for i, (look, other) in enumerate(zip(found.looks, expected.looks, strict=True)):
            at = middle * len(whole.iterates) + last if i == number else middle
            assert look.top == (other.top[0], other.top[at])
            assert look.probabilities == (other.probabilities[0], other.probabilities[at])
            assert look.attention.shift.l1[1] == other.attention.shift.l1[at]
            assert look.grad_cam.shift.l1[1] == other.grad_cam.shift.l1[at]
    left = job_queries.events_after(measured.lab.database, row.id, 0)
    assert "preview" not in {event.body["type"] for event in left}
    assert left[-1].body["status"] == "succeeded"


def test_any_number_of_threads_takes_all_budgets(measured: Measured) -> None:
    torch.set_num_threads(5)
    result = _explain(measured, attack=SHORT)
    assert torch.get_num_threads() == 5
    assert result.environment.threads == 5
    for number, model in enumerate(result.models):
        looks = result.attacks[number].looks[number]
        seen = _as_batch(_iterates(result, number))
        _check_look(result, looks, measured.model(model.id), seen, LIVE_LEVELS, 5)
        _check_budget(result, number)


def test_stored_in_other_ways(measured: Measured) -> None:
    result = _explain(measured)
    for number, attacked in enumerate(result.attacks):
        model = measured.model(result.models[number].id)
        stored = {one.form: list(one.top) for one in attacked.stored}
        assert stored.keys() == {"float", "png", "jpeg-90", "jpeg-75"}
        last = _last(result, number)
        assert stored["png"] == model(_as_batch(last)).argmax(1).tolist()
        for quality in (90, 75):
            again = []
            for picture in last.astype(np.uint8)[1:]:
                file = io.BytesIO()
                Image.fromarray(picture).save(file, "JPEG", quality=quality)
                again.append(np.asarray(Image.open(file)).astype(np.int64))
            assert (
                stored[f"jpeg-{quality}"][1:]
                == model(_as_batch(np.stack(again))).argmax(1).tolist()
            )


@pytest.mark.parametrize(("norm", "order"), [(Norm.LINF, torch.inf), (Norm.L2, 2), (Norm.L1, 1)])
def test_noise_is_as_large_as_the_budget(norm: Norm, order: float) -> None:
    grey, budgets = torch.full((1, 3, 8, 8), 0.5), torch.tensor([0.0, 0.01, 0.02])
    method = Method.APGD_CE if norm is Norm.L1 else Method.PGD
    attack = Attack(method=method, norm=norm)
    noisy = random_directions(grey, budgets, attack=attack, seed=0) - 0.5
    torch.testing.assert_close(torch.linalg.vector_norm(noisy.flatten(1), order, dim=1), budgets)
    torch.testing.assert_close(noisy[2], 2 * noisy[1])


def test_larger_noise_moves_the_maps_further(measured: Measured) -> None:
    for clean in _explain(measured).clean:
        for noise in (clean.attention_noise, clean.grad_cam_noise):
            assert noise.l1[0] == 0 < noise.l1[4] < noise.l1[16]


def test_the_seed_decides_the_start(measured: Measured) -> None:
    upload = _upload(measured, _test_image(measured))
    first, same, other = (_explain(measured, upload=upload, seed=seed) for seed in (0, 0, 1))
    assert first.attacks == same.attacks
    assert first.attacks[0].changes_png != other.attacks[0].changes_png


def test_all_budgets_start_in_one_direction(measured: Measured) -> None:
    """Steps too short to see leave the starts: at budget e they are e times the same noise."""
    grey = Image.new("RGB", (32, 32), (128, 128, 128))
    result = _explain(
        measured, upload=_upload(measured, grey), attack=Attack(steps=1, relative_step=1e-6)
    )
    starts = _iterates(result, 0) - 128
    assert np.abs(starts[-1]).max() == 16
    for k, change in enumerate(starts):
        assert np.abs(change - starts[-1] * k / 16).max() <= 1.01


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
    assert np.array_equal(_clean(result), np.asarray(expected))


def _others(measured: Measured, *models: tuple[Classifier, str, int]) -> list[str]:
    classes = ("left", "right", "neither")
    return [
        register(measured.lab, model, classes, architecture=architecture, image_size=size)
        for model, architecture, size in models
    ]


def test_models_of_larger_images(measured: Measured) -> None:
    models = [(random_model(3, seed=seed), "wrn-10-1", 64) for seed in (1, 2)]
    ids = _others(measured, *models)
    result = _explain(measured, attack=Attack(method=Method.FGSM), models=ids)
    assert result.classes == ("left", "right", "neither")
    assert _last(result, 1).shape == (LIVE_LEVELS, 64, 64, 3)
    sheet = result.attacks[1].looks[1].attention.sheet
    assert (sheet.height, sheet.width) == (16, 16)


def test_any_number_of_models(measured: Measured) -> None:
    ids = _others(measured, *((random_model(3, seed=seed), "wrn-10-1", 32) for seed in range(4)))
    for count in (1, 4):
        result = _explain(measured, attack=Attack(method=Method.FGSM), models=ids[:count])
        assert [model.id for model in result.models] == ids[:count]
        assert [len(one.looks) for one in result.attacks] == [count] * count


def test_of_many_classes_the_likeliest_are_kept(measured: Measured) -> None:
    names = tuple(f"class {k}" for k in range(40))
    model = register(measured.lab, random_model(40, scale=30.0), names, architecture="wrn-10-1")
    result = _explain(measured, attack=SHORT, models=[model], label="class 17")
    assert len(result.shown) == 10
    assert 17 in result.shown
    assert list(result.shown) == sorted(result.shown)
    probabilities = measured.model(model)(_as_batch(_iterates(result, 0))).softmax(1).amax(0)
    others = [k for k in probabilities.argsort(descending=True).tolist() if k != 17]
    assert set(result.shown) == {17, *others[:9]}


def test_maps_of_another_resolution_are_compared_on_the_first_models_grid(
    measured: Measured,
) -> None:
    ids = _others(
        measured,
        (random_model(3), "wrn-10-1", 32),
        (random_model(3, architecture="preactresnet-18"), "preactresnet-18", 32),
    )
    result = _explain(measured, attack=Attack(method=Method.FGSM), models=ids)
    reference = _maps(result.attacks[0].looks[0].attention.sheet, LIVE_LEVELS, 2)[0]
    look = result.attacks[1].looks[1].attention
    for shown, found in zip(_maps(look.sheet, LIVE_LEVELS, 2), look.reference.l1, strict=True):
        assert (shown.shape, reference.shape) == ((4, 4), (8, 8))
        # Pillow's bilinear filter, on floats, is the independent one.
        enlarged = Image.fromarray(shown.astype(np.float32)).resize(
            (8, 8), Image.Resampling.BILINEAR
        )
        assert found == pytest.approx(np.abs(np.asarray(enlarged) - reference).mean(), abs=1 / 255)


def test_says_how_much_a_training_smoothed_its_labels(measured: Measured) -> None:
    trained = {
        name: register(
            measured.lab, random_model(3), ("left", "right", "neither"),
            params={"recipe": name, "label_smoothing": 0.5},
        )
        for name in ("agkd_bml", "rslad")
    }  # fmt: skip
    models = [*trained.values(), *_others(measured, (random_model(3), "wrn-10-1", 32))]
    result = _explain(measured, attack=Attack(method=Method.FGSM), models=models)
    assert [model.label_smoothing for model in result.models] == [0.5, 0.0, None]


def test_refuses_models_that_cannot_be_compared(measured: Measured) -> None:
    sizes = _others(measured, (random_model(3), "wrn-10-1", 32), (random_model(3), "wrn-10-1", 64))
    for models, detail in ((sizes, "sizes"), ([sizes[0], measured.student], "classes")):
        row = _run(measured, models=models)
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
    models = _others(measured, *((random_model(3, seed=seed), "wrn-10-1", 32) for seed in (11, 12)))
    attack = Attack(method=Method.FGSM)
    upload = _upload(measured, _test_image(measured))
    first = _explain(measured, upload=upload, attack=attack, models=models)
    for model_id in models:
        measured.lab.files.weights(model_id).unlink()
    assert _explain(measured, upload=upload, attack=attack, models=models).attacks == first.attacks
    # What is in memory is not in the lab any more.
    marks.put_in_bin(measured.lab.database, ModelRow, [models[1]])
    assert _run(measured, upload=upload, attack=attack, models=models).status == JobStatus.FAILED


def test_a_cancelled_request_leaves_no_result(measured: Measured) -> None:
    def cancel(job_id: str) -> None:
        jobs.request_cancel(measured.lab.database, job_id)

    lab = replace(measured.lab, ring=cancel)
    row = run(lab, JobKind.EXPLAIN, _params(measured))
    assert row.status == JobStatus.CANCELLED
    assert not lab.files.result(row.result_name).exists()


def test_the_result_is_a_small_page(measured: Measured) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    upload = _upload(measured, Image.fromarray(noise))
    row = _run(measured, upload=upload, attack=Attack(steps=10))
    assert row.status == JobStatus.SUCCEEDED
    assert measured.lab.files.result(row.result_name).stat().st_size < 1_000_000


def test_no_step_waits_for_the_device() -> None:
    model = random_model(3)
    looker = Looker(model, frozen_passes(model))
    image, budgets = torch.rand(1, 3, 32, 32).mul(255).round().div(255), torch.tensor([0.1])

    def waits(steps: int) -> int:
        attack, recorder = Attack(steps=steps), Recorder()
        planned = runs(looker, image, 0, attack, ("a", "b", "c"), 0)
        with recorder:
            craft(
                looker, image, 0, budgets, attack=attack, runs=planned, most=11,
                report=lambda pictures: None,
            )  # fmt: skip
        return sum("local_scalar" in name or "nonzero" in name for name, _ in recorder.calls)

    assert waits(3) == waits(9)
