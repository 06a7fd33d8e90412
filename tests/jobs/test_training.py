"""The training job, run for real on drawn images: what it reports, keeps and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from app.contracts.events import LogLevel, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe, TrainParams
from app.store import catalogue, marks
from app.store.tables import ModelRow
from tests.jobs.runs import events_of, run
from tests.jobs.trainings import (
    EPOCHS,
    STEPS_PER_EPOCH,
    VALIDATION,
    Workshop,
    judge_attacked,
    judge_clean,
    lines,
    models_of,
    open_workshop,
    points,
    train,
)
from worker import registry
from worker.job_run import run_job
from worker.registry import load_model, save_weights

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """For tests that only add jobs to it."""
    return open_workshop(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def own_shop(tmp_path: Path) -> Workshop:
    return open_workshop(tmp_path)


_FIGURES = {
    "loss", "classification", "validation_clean", "learning_rate", "images_per_s", "peak_memory_mb",
}  # fmt: skip
_ROBUST = _FIGURES | {"train_robust", "validation_robust", "validation_fgsm"}
_BOTH = _ROBUST | {"train_clean"}
_REPORTED = {
    Recipe.CLEAN: _FIGURES | {"train_clean"},
    Recipe.PGD_AT: _ROBUST,
    Recipe.TRADES: _BOTH | {"trades"},
    Recipe.RSLAD: _BOTH - {"classification"} | {"distillation_robust", "distillation_clean"},
    Recipe.MART: _BOTH | {"mart"},
    Recipe.SML: _BOTH | {"mart", "sml"},
    Recipe.AGKD: _BOTH | {"mart", "agkd"},
    Recipe.BML: _BOTH | {"mart", "bml"},
    Recipe.AGKD_BML: _BOTH | {"mart", "agkd", "bml"},
}


@pytest.mark.parametrize("recipe", Recipe)
def test_a_recipe_reports_its_terms_and_only_them(shop: Workshop, recipe: Recipe) -> None:
    teacher = shop.teacher if recipe.needs_teacher else None
    params = shop.params(recipe=recipe, teacher=teacher, epochs=1)
    job = run(shop.lab, JobKind.TRAIN, params)
    assert job.status == JobStatus.SUCCEEDED, job.failure
    (epoch,) = points(shop.lab, job.id, "epoch")
    assert set(epoch.values) == _REPORTED[recipe]
    best, last = models_of(shop.lab, job)
    assert best.id == last.id
    robust = best.card["validation_robust"]
    assert (robust is not None) is recipe.is_robust
    assert ("PGD-10" in best.card["selection"]) is recipe.is_robust


@pytest.mark.parametrize("recipe", ["sml", "agkd_bml"])
def test_the_mart_term_can_be_switched_off(shop: Workshop, recipe: str) -> None:
    params = shop.student(recipe=recipe, mart=False, epochs=1)
    job = run(shop.lab, JobKind.TRAIN, params)
    (epoch,) = points(shop.lab, job.id, "epoch")
    assert set(epoch.values) == _REPORTED[Recipe(recipe)] - {"mart"}


def test_a_clean_model_is_registered_with_its_card(shop: Workshop) -> None:
    row = train(shop.lab, shop.params())
    card = row.card
    assert card["validation_clean"]["n"] == VALIDATION  # a tenth of 200
    assert card["teacher"] is None
    assert card["precision"] == "float32"
    checksum = catalogue.datasets(shop.lab.database)[0].report["checksum"]
    assert card["dataset"]["sha256"] == checksum
    weights = safetensors.torch.load_file(shop.lab.files.weights(row.id))
    parameters = load_model(shop.lab.files, row).parameters()
    assert card["parameters"] == sum(p.numel() for p in parameters)
    assert all(value.isfinite().all() for value in weights.values())
    assert not shop.lab.files.checkpoints(str(row.job_id)).exists()


def test_what_a_student_reports(shop: Workshop) -> None:
    params = shop.student(schedule="multistep", milestones=[1], augment=False)
    job = run(shop.lab, JobKind.TRAIN, params)
    assert models_of(shop.lab, job)[0].card["teacher"]["id"] == shop.teacher
    steps, epochs = points(shop.lab, job.id, "step"), points(shop.lab, job.id, "epoch")
    assert steps[-1].step == EPOCHS * STEPS_PER_EPOCH
    assert [e.step for e in epochs] == [1, 2]
    for seen in (*steps, *epochs):
        terms = seen.values
        weighted = terms["classification"] + terms["mart"] + terms["agkd"]
        assert terms["loss"] == pytest.approx(weighted + params.bml_weight * terms["bml"], rel=1e-5)
    # The rate that the epoch's steps were taken at, not that of the next one.
    assert [e.values["learning_rate"] for e in epochs] == pytest.approx([0.1, 0.01])
    assert all(e.values["images_per_s"] > 0 for e in epochs)
    assert all(10 < e.values["peak_memory_mb"] < 100_000 for e in epochs)
    last = [e for e in events_of(shop.lab, job.id) if isinstance(e, ProgressEvent)][-1]
    assert last.done == last.total == EPOCHS * STEPS_PER_EPOCH


def test_an_epochs_figures_are_the_means_over_its_steps(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.jobs.training._REPORT_EVERY_S", 0.0)  # every step by itself
    job = run(shop.lab, JobKind.TRAIN, shop.params())
    steps, epochs = points(shop.lab, job.id, "step"), points(shop.lab, job.id, "epoch")
    assert [e.step for e in steps] == list(range(1, EPOCHS * STEPS_PER_EPOCH + 1))
    for i, epoch in enumerate(epochs):
        own = steps[i * STEPS_PER_EPOCH : (i + 1) * STEPS_PER_EPOCH]
        for name in ("loss", "classification", "train_clean"):
            mean = sum(e.values[name] for e in own) / STEPS_PER_EPOCH
            assert epoch.values[name] == pytest.approx(mean, rel=1e-6)
        assert epoch.values["learning_rate"] == own[-1].values["learning_rate"]


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_the_best_and_the_last_epoch_are_kept(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, ema_decay: float
) -> None:
    seen = (5, 9, 9, 7)
    measured = judge_clean(monkeypatch, *seen)
    params = shop.params(epochs=len(seen), ema_decay=ema_decay)
    job = run(shop.lab, JobKind.TRAIN, params)
    shares = [e.values["validation_clean"] for e in points(shop.lab, job.id, "epoch")]
    assert shares == pytest.approx([correct / VALIDATION for correct in seen])
    best, last = models_of(shop.lab, job)
    for row, kept, epoch in ((best, "best", 3), (last, "last", 4)):
        assert (row.card["kept"], row.card["epoch"]) == (kept, epoch)
        accuracy = row.card["validation_clean"]
        assert (accuracy["correct"], accuracy["n"]) == (seen[epoch - 1], VALIDATION)
        weights = load_model(shop.lab.files, row).state_dict()
        torch.testing.assert_close(dict(weights), measured[epoch - 1], rtol=0, atol=0)
    assert (best.name, last.name) == ("Model", "Model (last)")
    assert best.sha256 != last.sha256


def test_of_equal_epochs_the_later_is_the_best_and_there_is_one_model(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_clean(monkeypatch, *[9] * EPOCHS)
    best, last = models_of(shop.lab, run(shop.lab, JobKind.TRAIN, shop.params()))
    assert best.id == last.id
    assert (best.card["epoch"], best.card["kept"]) == (EPOCHS, "best")


@pytest.mark.parametrize(
    ("correct", "ema_decay", "said"),
    [
        (9, 0.0, []),
        (1, 0.0, ["no more often than by chance (10.0 %)"]),
        (9, 0.9999, ["100 % of the averaged weights are still those of the start"]),
        (9, 0.5, []),
    ],
)
def test_what_ran_through_and_is_no_success_says_so_on_its_card(
    shop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    correct: int,
    ema_decay: float,
    said: list[str],
) -> None:
    judge_clean(monkeypatch, *[correct] * EPOCHS)
    job = run(shop.lab, JobKind.TRAIN, shop.params(ema_decay=ema_decay))
    warnings = models_of(shop.lab, job)[0].card["warnings"]
    assert len(warnings) == len(said)
    assert all(part in whole for part, whole in zip(said, warnings, strict=True))


@pytest.mark.parametrize(("robust", "best"), [([9, 5], 1), ([5, 9], 2), ([9, 9], 2)])
def test_a_student_is_chosen_by_its_robust_accuracy(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, robust: list[int], best: int
) -> None:
    judge_clean(monkeypatch, *reversed(robust))
    judge_attacked(monkeypatch, pgd=robust, fgsm=robust)
    job = run(shop.lab, JobKind.TRAIN, shop.student(recipe="pgd_at", steps=1))
    card = models_of(shop.lab, job)[0].card
    assert card["epoch"] == best
    assert card["validation_robust"]["correct"] == max(robust)


def test_bfloat16_trains_other_weights_of_the_same_type(shop: Workshop) -> None:
    exact = train(shop.lab, shop.student(epochs=1))
    coarse = train(shop.lab, shop.student(epochs=1, precision="bfloat16"))
    assert coarse.card["precision"] == "bfloat16"
    assert coarse.sha256 != exact.sha256
    weights = safetensors.torch.load_file(shop.lab.files.weights(coarse.id)).values()
    assert {value.dtype for value in weights} == {torch.float32, torch.int64}
    assert all(value.isfinite().all() for value in weights)


def test_an_automatic_precision_is_decided(shop: Workshop) -> None:
    row = train(shop.lab, shop.params(epochs=1, precision="auto"))
    assert row.card["precision"] in ("float32", "bfloat16")


def test_a_student_starts_from_its_teacher(shop: Workshop) -> None:
    # With a vanishing learning rate the weights stay where they started.
    student = load_model(
        shop.lab.files, train(shop.lab, shop.student(learning_rate=1e-12, epochs=1))
    )
    teacher = catalogue.model(shop.lab.database, shop.teacher)
    assert teacher is not None
    expected = dict(load_model(shop.lab.files, teacher).named_parameters())
    for name, value in student.named_parameters():
        torch.testing.assert_close(value, expected[name])


def test_what_has_no_part_in_a_run_is_said(shop: Workshop) -> None:
    params = shop.params(
        recipe="pgd_at", schedule="multistep", milestones=(1, 2, 100), start_from_teacher=False
    )
    without = train(shop.lab, params)
    job = run(shop.lab, JobKind.TRAIN, params.model_copy(update={"teacher": shop.teacher}))
    model, _ = models_of(shop.lab, job)
    assert (model.card["teacher"], model.sha256) == (None, without.sha256)
    unused, late = lines(shop.lab, job.id, LogLevel.WARNING)
    assert unused.startswith("PGD-AT learns nothing from a teacher")
    assert late.endswith("does not fall at the milestones 2, 100.")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(shop: Workshop) -> None:
    params = shop.student(epochs=1)
    first, again = train(shop.lab, params), train(shop.lab, params)
    other = train(shop.lab, params.model_copy(update={"seed": 1}))
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256


def test_a_loss_that_is_not_finite_fails_with_advice(own_shop: Workshop) -> None:
    _poison(own_shop)
    job = run(own_shop.lab, JobKind.TRAIN, own_shop.student())
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    assert "learning rate" in job.failure["hint"]
    assert job.progress is not None
    assert job.progress["done"] < job.progress["total"]


def _poison(shop: Workshop) -> None:
    """Register weights for the teacher under which every logit is infinite."""
    weights = safetensors.torch.load_file(shop.lab.files.weights(shop.teacher))
    weights["head.weight"] = weights["head.weight"] + float("inf")
    sha256, size = save_weights(shop.lab.files, shop.teacher, weights, {})
    with shop.lab.database.writing() as session:
        row = session.get_one(ModelRow, shop.teacher)
        row.sha256, row.size_bytes = sha256, size


def _failure(shop: Workshop, params: TrainParams) -> str:
    job = run(shop.lab, JobKind.TRAIN, params)
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    return str(job.failure["detail"])


def test_a_deleted_teacher_fails_with_advice(own_shop: Workshop) -> None:
    marks.put_in_bin(own_shop.lab.database, ModelRow, [own_shop.teacher])
    assert "deleted" in _failure(own_shop, own_shop.student())


def test_a_damaged_teacher_is_noticed(own_shop: Workshop) -> None:
    path = own_shop.lab.files.weights(own_shop.teacher)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "not those that were registered" in _failure(own_shop, own_shop.student())


def test_a_second_message_for_the_same_job_changes_nothing(shop: Workshop) -> None:
    job = run(shop.lab, JobKind.TRAIN, shop.params(epochs=1))
    before = events_of(shop.lab, job.id)
    assert run_job(shop.lab, job.id, stopping=lambda: False) is None
    assert events_of(shop.lab, job.id) == before


def test_the_log_tells_every_epoch(shop: Workshop) -> None:
    job = run(shop.lab, JobKind.TRAIN, shop.student())
    told = lines(shop.lab, job.id, LogLevel.INFO)
    epochs = [i for i, text in enumerate(told) if text.startswith("Epoch ")]
    assert [told[i][:8] for i in epochs] == ["Epoch 1:", "Epoch 2:"]
    assert all(word in told[epochs[0]] for word in ("clean", "robust", "fgsm"))


def test_attention_of_a_single_position_is_refused(own_shop: Workshop) -> None:
    timm = {"architecture": "timm:test_resnet", "epochs": 1}
    teacher = train(own_shop.lab, own_shop.params(**timm)).id
    for recipe in (Recipe.AGKD, Recipe.AGKD_BML):
        params = own_shop.student(recipe=recipe, teacher=teacher, **timm)
        job = run(own_shop.lab, JobKind.TRAIN, params)
        assert job.status == JobStatus.FAILED
        assert job.failure is not None
        assert "one position" in job.failure["detail"]
    for recipe in (Recipe.BML, Recipe.RSLAD):
        params = own_shop.student(recipe=recipe, teacher=teacher, **timm)
        job = run(own_shop.lab, JobKind.TRAIN, params)
        assert job.status == JobStatus.SUCCEEDED, job.failure


def test_attention_maps_of_two_sizes_are_refused(own_shop: Workshop) -> None:
    teacher = train(own_shop.lab, own_shop.params(architecture="timm:test_resnet", epochs=1)).id
    job = run(
        own_shop.lab, JobKind.TRAIN, own_shop.student(teacher=teacher, start_from_teacher=False)
    )
    assert job.failure is not None
    assert job.failure["detail"] == ("The teacher's attention maps are 1 × 1, the student's 8 × 8.")
    params = own_shop.student(recipe="rslad", teacher=teacher, start_from_teacher=False, epochs=1)
    job = run(own_shop.lab, JobKind.TRAIN, params)  # which looks at predictions alone
    assert job.status == JobStatus.SUCCEEDED, job.failure


def test_a_teacher_of_unknown_training_is_said_where_it_has_to_be_robust(
    own_shop: Workshop,
) -> None:
    params = own_shop.student(recipe="rslad", epochs=1)
    job = run(own_shop.lab, JobKind.TRAIN, params)
    assert lines(own_shop.lab, job.id, LogLevel.WARNING) == []
    with own_shop.lab.database.writing() as session:
        row = session.get(ModelRow, own_shop.teacher)
        assert row is not None
        row.card = row.card | {"params": None, "origin": "imported"}
    job = run(own_shop.lab, JobKind.TRAIN, params)
    assert job.status == JobStatus.SUCCEEDED, job.failure
    (warning,) = lines(own_shop.lab, job.id, LogLevel.WARNING)
    assert warning.startswith("How “Teacher” was trained is not known; RSLAD learns")


def test_an_image_left_alone_is_foreseen_where_batch_norms_need_more(own_shop: Workshop) -> None:
    alone = {"batch_size": 179, "epochs": 1}  # of 180 images
    params = own_shop.params(architecture="timm:test_resnet", **alone)
    job = run(own_shop.lab, JobKind.TRAIN, params)
    assert job.failure is not None
    assert job.failure["hint"] == "Use another batch size, such as 178."
    assert points(own_shop.lab, job.id, "step") == []
    job = run(own_shop.lab, JobKind.TRAIN, own_shop.params(**alone))
    assert job.status == JobStatus.SUCCEEDED, job.failure


def test_float32_on_a_gpu_has_all_of_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    registry.device.cache_clear()
    registry.device()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
