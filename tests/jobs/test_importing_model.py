"""The import of a model: what is registered, what it is worth then, and what is refused and why."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from app.contracts.events import LogEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    Attack,
    EvaluateParams,
    ImportModelParams,
    Recipe,
    TrainParams,
)
from app.contracts.results import EvaluationResult, ImportModelResult, TrainResult
from app.store import catalogue
from app.store.jobs import LeaseLost
from app.store.tables import JobRow, UploadRow
from tests.jobs.measured import Measured
from tests.jobs.runs import add_job, events_of, run
from worker import registry
from worker.data.augment import to_float
from worker.job_run import run_job
from worker.jobs.context import JobContext
from worker.models import TimmClassifier, build

State = Mapping[str, Tensor]


def upload(measured: Measured, data: bytes, name: str = "net.safetensors") -> str:
    upload_id = uuid.uuid4().hex
    measured.lab.files.upload(upload_id).write_bytes(data)
    row = UploadRow(
        id=upload_id, filename=name, sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data), created_at=time.time(),
    )  # fmt: skip
    catalogue.add_upload(measured.lab.database, row)
    return upload_id


def bring(measured: Measured, weights: State | bytes, **params: Any) -> JobRow:
    """Run an import of a WRN-10-1, unless another architecture is named."""
    data = weights if isinstance(weights, bytes) else save(dict(weights))
    values = {"name": "Net", "architecture": "wrn-10-1", "dataset": measured.dataset_id}
    given = ImportModelParams.model_validate({**values, "upload": upload(measured, data), **params})
    return run(measured.lab, JobKind.IMPORT_MODEL, given)


def result(measured: Measured, job: JobRow) -> ImportModelResult:
    assert job.status == JobStatus.SUCCEEDED, job.failure
    return ImportModelResult.model_validate_json(
        measured.lab.files.result(job.result_name).read_bytes()
    )


def failure(measured: Measured, job: JobRow) -> str:
    """Detail and hint of a job that failed and left nothing."""
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    model_id = registry.id_within(job.id, job.fence, "model")
    assert catalogue.model(measured.lab.database, model_id) is None
    assert list(measured.lab.files.weights(model_id).parent.glob(f"{model_id}*")) == []
    return f"{job.failure['detail']} {job.failure['hint']}"


def log(measured: Measured, job: JobRow) -> str:
    return "\n".join(e.text for e in events_of(measured.lab, job.id) if isinstance(e, LogEvent))


def teacher(measured: Measured) -> dict[str, Tensor]:
    state = measured.model(measured.teacher).state_dict()
    return {name: value.contiguous() for name, value in state.items()}


def accuracy(measured: Measured, model_id: str) -> float:
    """On all 500 test images."""
    test = measured.dataset.split("test").to("cpu")
    with torch.no_grad():
        guesses = measured.model(model_id)(to_float(test.images)).argmax(dim=1)
    return float((guesses == test.labels).double().mean())


def test_the_labs_own_weights_come_back_as_they_were(measured: Measured) -> None:
    expected = accuracy(measured, measured.teacher)
    job = bring(measured, teacher(measured), expected=round(expected, 3))
    found = result(measured, job)
    card = found.card
    assert (card.params, card.origin, card.epoch, card.recipe) == (None, "imported", 0, None)
    assert (card.validation_clean, card.validation_robust, card.teacher) == (None, None, None)
    assert card.classes == measured.dataset.class_names
    (tested,) = card.test
    assert (tested.measure, tested.accuracy.n) == ("clean", 500)
    assert tested.accuracy.value == pytest.approx(expected, abs=1e-9)
    assert tested.expected == round(expected, 3)
    row = catalogue.upload(measured.lab.database, job.params["upload"])
    assert row is not None
    assert f"net.safetensors, SHA-256 {row.sha256}" in card.selection
    assert found.parity == 0
    stored = measured.model(found.model).state_dict()
    torch.testing.assert_close(dict(stored), teacher(measured), rtol=0, atol=0)
    held = catalogue.model(measured.lab.database, found.model)
    assert held is not None
    assert held.card == card.model_dump(mode="json")


@pytest.mark.slow
def test_a_checkpoint_of_published_names_with_prefixes_is_converted(
    measured: Measured, tmp_path: Path
) -> None:
    model, state = measured.model(measured.teacher), teacher(measured)
    names = model.published_names()
    published = {f"module.{theirs}": state[ours] for ours, theirs in names.items()}
    torch.save({"epoch": 9, "state_dict": published}, tmp_path / "net.pt")
    normalised = {"mean": measured.dataset.mean, "std": measured.dataset.std}
    job = bring(measured, (tmp_path / "net.pt").read_bytes(), **normalised)
    stored = measured.model(result(measured, job).model).state_dict()
    torch.testing.assert_close(dict(stored), state, rtol=0, atol=1e-7)
    assert "Converted" in log(measured, job)


@pytest.mark.slow
def test_a_pickle_that_runs_code_fails_the_job(measured: Measured, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class RunsCode:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(marker)!r}, 'w')",)

    torch.save({"state_dict": teacher(measured), "x": RunsCode()}, tmp_path / "net.pt")
    said = failure(measured, bring(measured, (tmp_path / "net.pt").read_bytes()))
    assert "more than weights" in said
    assert not marker.exists()


def test_a_head_of_another_order_of_classes_is_sorted(measured: Measured) -> None:
    state, classes = teacher(measured), measured.dataset.class_names
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = {**state, "head.weight": state["head.weight"][order],
                "head.bias": state["head.bias"][order]}  # fmt: skip
    named = [classes[i] for i in order]
    found = result(measured, bring(measured, shuffled, classes=named))
    stored = measured.model(found.model).state_dict()
    torch.testing.assert_close(dict(stored), state, rtol=0, atol=0)
    assert found.parity <= 1e-4
    expected = accuracy(measured, measured.teacher)
    said = failure(measured, bring(measured, shuffled, expected=expected))
    assert "not in the dataset's order of classes" in said
    wrong = {name: value for name, value in state.items() if name not in ("mean", "std")}
    said = failure(measured, bring(measured, wrong, expected=expected))
    assert "the order of the classes" in said
    assert "normalisation" in said


def test_a_network_of_timm_is_imported_by_its_own_names(measured: Measured) -> None:
    torch.manual_seed(0)
    facts = {"mean": measured.dataset.mean, "std": measured.dataset.std}
    theirs = build("timm:test_resnet", num_classes=10, **facts)
    assert isinstance(theirs, TimmClassifier)
    job = bring(measured, theirs.native().state_dict(), architecture="timm:test_resnet", **facts)
    found = result(measured, job)
    torch.testing.assert_close(
        dict(measured.model(found.model).state_dict()), dict(theirs.state_dict()), rtol=0, atol=0
    )
    assert found.parity < 1e-4


def test_without_a_normalisation_the_log_says_what_that_means(measured: Measured) -> None:
    state = {n: v for n, v in teacher(measured).items() if n not in ("mean", "std")}
    job = bring(measured, state)
    assert measured.model(result(measured, job).model).std.tolist() == [1, 1, 1]
    assert "images in [0, 1] as they are" in log(measured, job)


@pytest.mark.parametrize(("has", "lacks"), [("mean", "std"), ("std", "mean")])
def test_half_a_normalisation_is_none(measured: Measured, has: str, lacks: str) -> None:
    state = {name: value for name, value in teacher(measured).items() if name != lacks}
    said = failure(measured, bring(measured, state))
    assert f"half a normalisation: {has}, and no {lacks} beside it" in said
    given = {name: teacher(measured)[name].tolist() for name in ("mean", "std")}
    assert result(measured, bring(measured, state, **given)).parity < 1e-3


def test_a_normalisation_unlike_that_of_the_file_is_a_question(measured: Measured) -> None:
    job = bring(measured, teacher(measured), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    assert "The file says mean" in failure(measured, job)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"head.weight": torch.zeros(9, 64), "head.bias": torch.zeros(9)}, "number of classes"),
        ({"head.weight": torch.zeros(12, 64), "head.bias": torch.zeros(12)}, "12 outputs"),
        (
            {"body.0.weight": torch.zeros(16, 3, 5, 5)},
            "body.0.weight is 16 × 3 × 5 × 5, not 16 × 3 × 3 × 3",
        ),
        ({"body.0.weight": torch.full((16, 3, 3, 3), torch.nan)}, "NaN or infinity: body.0.weight"),
        ({"head.weight": torch.full((10, 64), 1e308, dtype=torch.float64)}, "NaN or infinity"),
        ({"head.weight": torch.ones(10, 64, dtype=torch.int8)}, "of type int8: no plain weight"),
        ({"head.weight": torch.full((10, 64), 1e38)}, "logits are no finite numbers"),
        ({"<b>extra</b>": torch.zeros(1)}, "1 unexpected: <b>extra</b>"),
        ({"module.body.0.weight": torch.zeros(16, 3, 3, 3)}, "unexpected: module.body.0.weight"),
        ({"std": torch.zeros(3)}, "above 0"),
    ],
)
def test_weights_that_do_not_fit_are_named(measured: Measured, change: State, reason: str) -> None:
    said = failure(measured, bring(measured, {**teacher(measured), **change}))
    assert reason in said


def test_weights_that_are_missing_are_named(measured: Measured) -> None:
    state = teacher(measured)
    del state["head.bias"]
    assert "1 missing: head.bias" in failure(measured, bring(measured, state))


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("timm:resnet1", "timm:resnet18"),
        ("timm:test_vit", "do not fit timm:test_vit"),
        ("plugin:nobody.knows", "no architecture"),
        ("preactresnet-18", "missing"),
    ],
)
def test_an_architecture_that_there_is_not_fails_with_the_nearest(
    measured: Measured, architecture: str, reason: str
) -> None:
    said = failure(measured, bring(measured, teacher(measured), architecture=architecture))
    assert reason in said


def test_an_accuracy_within_the_interval_or_the_tolerance_is_near_enough(
    measured: Measured,
) -> None:
    state, true = teacher(measured), accuracy(measured, measured.teacher)
    inside = result(measured, bring(measured, state)).card.test[0].accuracy
    result(measured, bring(measured, state, expected=inside.high, tolerance=0))
    result(measured, bring(measured, state, expected=inside.high + 0.01, tolerance=0.1))
    said = failure(measured, bring(measured, state, expected=inside.high + 0.01, tolerance=0))
    assert f"{100 * true:.1f} %" in said
    assert "another architecture" in said


def test_a_file_that_is_gone_says_so(measured: Measured) -> None:
    params = ImportModelParams(
        name="Net", upload="0" * 32, architecture="wrn-10-1", dataset=measured.dataset_id
    )
    assert "gone" in failure(measured, run(measured.lab, JobKind.IMPORT_MODEL, params))


@pytest.fixture(scope="module")
def imported(measured: Measured) -> str:
    return result(measured, bring(measured, teacher(measured))).model


def test_an_imported_model_is_evaluated_like_any_other(measured: Measured, imported: str) -> None:
    params = EvaluateParams(
        models=(measured.teacher, imported), dataset=measured.dataset_id, images=20,
        epsilons=(0, 4 / 255), step_counts=(1,), attack=Attack(steps=2),
    )  # fmt: skip
    row = run(measured.lab, JobKind.EVALUATE, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    data = measured.lab.files.result(row.result_name).read_bytes()
    first, second = EvaluationResult.model_validate_json(data).models
    assert second.model == imported
    assert first.clean == second.clean
    assert first.robust == second.robust


@pytest.mark.slow
def test_an_imported_model_teaches_a_student(measured: Measured, imported: str) -> None:
    params = TrainParams(
        name="Student", dataset=measured.dataset_id, recipe=Recipe.AGKD_BML, teacher=imported,
        architecture="wrn-10-1", epochs=1, batch_size=450, steps=1,
    )  # fmt: skip
    row = run(measured.lab, JobKind.TRAIN, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    card = TrainResult.model_validate_json(
        measured.lab.files.result(row.result_name).read_bytes()
    ).card
    assert card.teacher is not None
    assert card.teacher.id == imported


def test_who_lost_the_job_takes_its_own_file_along(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = save(teacher(measured))
    params = ImportModelParams.model_validate(
        {"name": "Net", "architecture": "wrn-10-1", "dataset": measured.dataset_id,
         "upload": upload(measured, data)}
    )  # fmt: skip
    job_id = add_job(measured.lab, JobKind.IMPORT_MODEL, params)
    mine, another = (
        measured.lab.files.weights(registry.id_within(job_id, fence, "model")) for fence in (1, 2)
    )

    def another_took_it(context: JobContext, *_: Any) -> None:
        if mine.exists():
            another.write_bytes(data)
            raise LeaseLost

    monkeypatch.setattr(JobContext, "progress", another_took_it)
    assert run_job(measured.lab, job_id, stopping=lambda: False) is None
    assert (mine.exists(), another.exists()) == (False, True)


def test_a_name_without_end_is_refused_at_once(measured: Measured) -> None:
    job = bring(measured, {"model." * 200_000 + "x": torch.zeros(1)})
    assert "longer than 300 characters" in failure(measured, job)
