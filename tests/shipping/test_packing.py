"""From a lab into the box: half the bytes, the same predictions, and only evaluated figures."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, EvaluateParams, Method, Norm, Recipe, TrainParams
from app.contracts.results import (
    Accuracy,
    AttackRow,
    Environment,
    EvaluationResult,
    Lineage,
    ModelCard,
    ModelFigures,
)
from app.contracts.units import from_255
from app.errors import InvalidInput
from app.store import catalogue
from app.store.shipped import Shipped, id_of, listed, read_card
from app.store.shipped import register as register_shipped
from app.store.tables import ModelRow
from tests.jobs.runs import open_lab
from tests.plugins.rows import job_row
from worker import registry
from worker.jobs.context import WorkerLab
from worker.models import build
from worker.shipping.packing import measure, pack
from worker.shipping.table import table

CLASSES = ("cat", "dog", "ship")
DATASET = Lineage(id="d" * 32, name="Pets", sha256="e" * 64)
ENVIRONMENT = Environment(code_version="1.2+abc", torch="2", device="cpu", threads=1, seconds=2.0)


@pytest.fixture
def lab(tmp_path: Path) -> WorkerLab:
    return open_lab(tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "box"
    made.mkdir()
    return made


def weights(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model = build("wrn-10-1", num_classes=3, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
    model.train()
    with torch.no_grad():
        for _ in range(3):  # gives the batch norms statistics of their own
            model(torch.rand(16, 3, 32, 32))
    return model.state_dict()


def add_model(
    lab: WorkerLab,
    name: str,
    *,
    teacher: ModelRow | None = None,
    state: dict[str, Tensor] | None = None,
    **changes: Any,
) -> ModelRow:
    """A clean model, or a student where there is a teacher, of random weights."""
    recipe = Recipe.CLEAN if teacher is None else Recipe.AGKD_BML
    params = TrainParams(
        name=name, dataset=DATASET.id, recipe=recipe, architecture="wrn-10-1", seed=7,
        teacher=None if teacher is None else teacher.id,
    )  # fmt: skip
    card = ModelCard(
        name=name, architecture="wrn-10-1", parameters=9, classes=CLASSES, image_size=32,
        dataset=DATASET, teacher=None if teacher is None else registry.lineage_of_model(teacher),
        params=params, selection="Best of 10 epochs.", epoch=9,
        validation_clean=Accuracy.of(7, 10), validation_robust=None, environment=ENVIRONMENT,
    ).model_copy(update=changes)  # fmt: skip
    row = registry.register(
        lab.files, card, state or weights(len(name)), model_id=uuid.uuid4().hex,
        job_id=uuid.uuid4().hex, dataset_id=DATASET.id,
    )  # fmt: skip
    with lab.database.writing() as session:
        session.add(row)
    return row


def put(lab: WorkerLab, row: ModelRow, slug: str, folder: Path) -> Shipped:
    return pack(lab.database, lab.files, row.id, slug, folder)


def evaluated(lab: WorkerLab, sha256: str, *, clean: int = 70, n: int = 100, **params: Any) -> str:
    """A finished evaluation of one model: 40 % stand under PGD-20, 30 % under AutoAttack too."""
    asked = EvaluateParams(models=("a" * 32,), dataset=DATASET.id, **params)
    rows = [
        (asked.attack.method, False, 40, Accuracy.of(2 * n // 5, n)),
        (Method.CW, False, 35, None),
        (Method.APGD_CE, True, 34, None),
        (Method.APGD_T, True, 30, None),
        (Method.FGSM, False, 29, None),
    ]
    figures = ModelFigures(
        model="a" * 32, name="Measured", sha256=sha256, clean=Accuracy.of(clean, n),
        robust=Accuracy.of(29 * n // 100, n),
        attacks=tuple(
            AttackRow(
                method=method, part_of_autoattack=part, attacked=n, broken=1,
                worst_case=Accuracy.of(percent * n // 100, n), alone=alone, largest=0.03,
                seconds=1.0,
            )
            for method, part, percent, alone in rows
        ),
        against_epsilon=(), against_steps=(),
    )  # fmt: skip
    result = EvaluationResult(
        params=asked, dataset=DATASET, images=n, models=(figures,), environment=ENVIRONMENT
    )
    row = job_row(kind=JobKind.EVALUATE, status=JobStatus.SUCCEEDED)
    row.result_file = lab.files.write_result(row.id, result)
    with lab.database.writing() as session:
        session.add(row)
    return str(row.id)


def figures(folder: Path, slug: str) -> dict[str, tuple[int, int]]:
    card = next(read_card(shipped) for shipped in listed(folder) if shipped.slug == slug)
    return {one.measure: (one.accuracy.correct, one.accuracy.n) for one in card.test}


def logits_of(lab: WorkerLab, row: ModelRow, x: Tensor) -> Tensor:
    with torch.no_grad():
        return registry.load_model(lab.files, row)(x)


def test_a_packed_model_sees_what_the_original_sees(
    lab: WorkerLab, folder: Path, tmp_path: Path
) -> None:
    row = add_model(lab, "Teacher")
    shipped = put(lab, row, "clean", folder)
    other = open_lab(tmp_path / "other")
    register_shipped(other.database, other.files, folder)
    arrived = catalogue.model(other.database, shipped.id)
    assert arrived is not None
    x = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before, after = logits_of(lab, row, x), logits_of(other, arrived, x)
    assert after.dtype == torch.float32
    assert not torch.equal(before, after)
    # Rounding to 11 significant bits moves each weight by 2^-12 of itself at most.
    assert (before - after).abs().max() < 0.01 * before.std()
    assert arrived.size_bytes < 0.6 * row.size_bytes
    model = registry.load_model(other.files, arrived)
    assert all(value.dtype == torch.float32 for value in model.parameters())


def test_vectors_keep_every_bit(lab: WorkerLab, folder: Path, tmp_path: Path) -> None:
    row = add_model(lab, "Teacher")
    shipped = put(lab, row, "clean", folder)
    register_shipped(lab.database, lab.files, folder)
    arrived = catalogue.model(lab.database, shipped.id)
    assert arrived is not None
    before = registry.load_model(lab.files, row).state_dict()
    after = registry.load_model(lab.files, arrived).state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        expected = value.half().float() if value.ndim > 1 else value
        assert torch.equal(after[name], expected), name


def test_a_card_says_where_the_model_comes_from(lab: WorkerLab, folder: Path) -> None:
    row = add_model(lab, "Teacher")
    shipped = put(lab, row, "clean", folder)
    card, before = read_card(shipped), ModelCard.model_validate(row.card)
    assert shipped.id == id_of(shipped.weights_sha256)
    assert card == before.model_copy(update={"origin": "shipped"})
    assert card.test == ()


def test_a_student_names_the_shipped_teacher(lab: WorkerLab, folder: Path) -> None:
    teacher = add_model(lab, "Teacher")
    student = add_model(lab, "A student", teacher=teacher)
    with pytest.raises(InvalidInput, match="pack it first"):
        put(lab, student, "student", folder)
    assert listed(folder) == []
    known = put(lab, teacher, "clean", folder)
    card = read_card(put(lab, student, "student", folder))
    assert card.teacher == Lineage(id=known.id, name="Teacher", sha256=known.weights_sha256)
    assert card.params is not None
    assert card.params.teacher == known.id
    job = json.loads((folder / "jobs" / "student.json").read_text())
    assert job["teacher"] == "clean"
    assert "dataset" not in job
    params = TrainParams(**job | {"dataset": DATASET.id, "teacher": teacher.id})
    assert params == TrainParams.model_validate(student.card["params"])


def test_a_student_of_a_shipped_teacher_can_be_packed(lab: WorkerLab, folder: Path) -> None:
    shipped = put(lab, add_model(lab, "Teacher"), "clean", folder)
    register_shipped(lab.database, lab.files, folder)
    teacher = catalogue.model(lab.database, shipped.id)
    assert teacher is not None
    card = read_card(put(lab, add_model(lab, "A student", teacher=teacher), "student", folder))
    assert card.teacher is not None
    assert card.teacher.id == shipped.id


def test_figures_come_from_evaluations_of_the_shipped_weights(lab: WorkerLab, folder: Path) -> None:
    row = add_model(lab, "Teacher")
    shipped = put(lab, row, "clean", folder)
    with pytest.raises(InvalidInput, match="none of the models"):
        measure(lab.database, lab.files, evaluated(lab, row.sha256), folder)
    assert figures(folder, "clean") == {}
    job = evaluated(lab, shipped.weights_sha256)
    assert measure(lab.database, lab.files, job, folder) == ["clean"]
    expected = {"clean": (70, 100), "PGD-20": (40, 100), "AutoAttack": (30, 100)}
    assert figures(folder, "clean") == expected
    put(lab, row, "clean", folder)
    assert figures(folder, "clean") == expected
    other = add_model(lab, "Others", state=weights(99))
    put(lab, other, "clean", folder)
    assert figures(folder, "clean") == {}


def test_the_figure_of_more_images_stays(lab: WorkerLab, folder: Path) -> None:
    sha256 = put(lab, add_model(lab, "Teacher"), "clean", folder).weights_sha256
    for n in (200, 100):
        job = evaluated(lab, sha256, clean=60, n=n)
        measure(lab.database, lab.files, job, folder)
    assert figures(folder, "clean")["clean"] == (60, 200)
    measure(lab.database, lab.files, evaluated(lab, sha256, clean=61, n=200), folder)
    assert figures(folder, "clean")["clean"] == (61, 200)


@pytest.mark.parametrize(
    "params",
    [
        {"epsilon": from_255(4)},
        {"attack": Attack(norm=Norm.L2), "epsilon": 0.5},
        {"attack": Attack(method=Method.FGSM)},
        {"attack": Attack(restarts=5)},
        {"attack": Attack(random_start=False)},
        {"attack": Attack(relative_step=0.1)},
    ],
)
def test_another_threat_model_is_refused(
    lab: WorkerLab, folder: Path, params: dict[str, Any]
) -> None:
    sha256 = put(lab, add_model(lab, "Teacher"), "clean", folder).weights_sha256
    with pytest.raises(InvalidInput, match="Cards show"):
        measure(lab.database, lab.files, evaluated(lab, sha256, **params), folder)
    assert figures(folder, "clean") == {}


def test_other_images_than_those_it_was_trained_on_are_refused(
    lab: WorkerLab, folder: Path
) -> None:
    theirs = DATASET.model_copy(update={"name": "Others", "sha256": "f" * 64})
    shipped = put(lab, add_model(lab, "Teacher", dataset=theirs), "clean", folder)
    with pytest.raises(InvalidInput, match="has images of “Pets"):
        measure(lab.database, lab.files, evaluated(lab, shipped.weights_sha256), folder)
    assert figures(folder, "clean") == {}


def test_only_a_finished_evaluation_measures(lab: WorkerLab, folder: Path) -> None:
    row = job_row(kind=JobKind.EVALUATE)
    with lab.database.writing() as session:
        session.add(row)
    for job in (row.id, "0" * 32):
        with pytest.raises(InvalidInput, match="no finished evaluation"):
            measure(lab.database, lab.files, job, folder)


@pytest.mark.parametrize("value", [1e6, math.inf])
def test_weights_that_float16_cannot_hold_are_refused(
    lab: WorkerLab, folder: Path, value: float
) -> None:
    state = weights()
    state["head.weight"][0, 0] = value
    with pytest.raises(InvalidInput, match=r"head\.weight"):
        put(lab, add_model(lab, "Teacher", state=state), "clean", folder)
    assert list(folder.iterdir()) == []


def test_imported_weights_and_bad_names_are_refused(lab: WorkerLab, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="Imported"):
        put(lab, add_model(lab, "Found", params=None, origin="imported"), "found", folder)
    row = add_model(lab, "Teacher")
    for slug in ("../clean", "Clean", "", "a b"):
        with pytest.raises(InvalidInput, match="slug"):
            put(lab, row, slug, folder)
    with pytest.raises(InvalidInput, match="no model"):
        pack(lab.database, lab.files, "0" * 32, "clean", folder)


def test_the_readme_keeps_its_words_around_the_table(lab: WorkerLab, folder: Path) -> None:
    readme = folder / "README.md"
    readme.write_text("Before.\n<!-- figures -->\nold\n<!-- end of figures -->\nAfter.\n")
    shipped = put(lab, add_model(lab, "Teacher"), "clean", folder)
    assert "not measured" in readme.read_text()
    images = read_card(shipped).dataset.name
    measure(lab.database, lab.files, evaluated(lab, shipped.weights_sha256), folder)
    text = readme.read_text()
    written = table([(s.slug, read_card(s)) for s in listed(folder)])
    assert text == f"Before.\n<!-- figures -->\n{written}\n<!-- end of figures -->\nAfter.\n"
    assert f"| `clean` | {images} | Clean | 9 of 10 | 70.0 % (60.4–78.1), n = 100 |" in text
    assert "| 30.0 % (21.9–39.6), n = 100 | 7 | 1.2+abc |" in text


def test_a_readme_without_a_place_for_the_table_is_refused(lab: WorkerLab, folder: Path) -> None:
    (folder / "README.md").write_text("Nothing.")
    with pytest.raises(ValueError, match="no place"):
        put(lab, add_model(lab, "Teacher"), "clean", folder)
