"""Exports over REST: what they hold, how they are saved, and the way back."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.api import fields
from app.contracts.export import MAX_BYTES, MAX_VALUES, Export
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import EvaluateParams, Recipe
from app.contracts.results import EvaluationResult, Lineage
from app.services.lab import Lab
from app.store.tables import ModelRow
from tests.api.problems import problem
from tests.web.examples import (
    CLASSES,
    add_dataset,
    add_job,
    add_model,
    an_id,
    evaluation,
    full_evaluation,
    train_params,
)


def add_evaluation(lab: Lab, *, name: str = "Student", **job: Any) -> tuple[str, EvaluationResult]:
    """A finished evaluation whose dataset and models are in the lab."""
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, name=name, teacher=teacher)
    result = full_evaluation(
        [(teacher, "Teacher", Recipe.CLEAN), (student, name, Recipe.AGKD_BML)],
        images=60,
        classes=CLASSES,
        dataset=Lineage(id=dataset, name="Pets", sha256="0" * 64),
    )
    models = tuple(m.model_copy(update={"sha256": "2" * 64}) for m in result.models)
    text = result.model_copy(update={"models": models}).model_dump_json()
    # The sources and references of the example carry a made-up checksum.
    result = EvaluationResult.model_validate_json(text.replace("a1" * 32, "2" * 64))
    return add_job(lab, JobKind.EVALUATE, result.params, result=result, **job), result


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_json_is_of_one_piece(client: httpx.Client, lab: Lab) -> None:
    job, result = add_evaluation(
        lab, title="Evaluate Teacher, Šum", started_at=5.0, finished_at=9.0
    )
    answer = client.get(f"/api/jobs/{job}/export.json")
    assert answer.headers["content-type"] == "application/json"
    expected = f'attachment; filename="Evaluate-Teacher-Sum-{job[:8]}.json"'
    assert answer.headers["content-disposition"] == expected
    export = Export.model_validate_json(answer.content, strict=True)
    assert export.result == result
    assert export.params == result.params
    assert (export.job.id, export.job.title) == (job, "Evaluate Teacher, Šum")
    assert export.job.started_at
    assert export.job.started_at.timestamp() == 5.0
    assert export.dataset.report
    assert export.dataset.report.checksum == export.dataset.lineage.sha256
    assert {m.lineage.id: m.lineage.sha256 for m in export.models} == dict.fromkeys(
        result.params.models, "2" * 64
    )
    assert [m.card.name for m in export.models if m.card] == ["Teacher", "Student"]
    assert client.get(f"/api/jobs/{job}/export.json").content == answer.content


def test_what_the_lab_no_longer_has_is_told_by_its_lineage(client: httpx.Client, lab: Lab) -> None:
    result = full_evaluation(images=20)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    export = Export.model_validate_json(client.get(f"/api/jobs/{job}/export.json").content)
    assert export.dataset.report is None
    assert [m.card for m in export.models] == [None, None]
    assert export.models[1].lineage.sha256 == result.models[1].sha256


def test_figures_are_one_row_each(client: httpx.Client, lab: Lab) -> None:
    job, result = add_evaluation(lab)
    answer = client.get(f"/api/jobs/{job}/export.csv")
    assert answer.headers["content-disposition"].endswith(f'-{job[:8]}.csv"')
    rows = rows_of(answer)
    assert list(rows[0]) == ["job", "model", "name", "verdict", "quantity", "item", "x", "value",
                             "low", "high", "n"]  # fmt: skip
    student = result.models[1]
    assert student.robust
    assert student.attention
    of_student = [row for row in rows if row["model"] == student.model]
    assert {row["verdict"] for row in of_student} == {"amber"}
    by_name = {(r["quantity"], r["item"], r["x"]): r for r in of_student}
    assert len(by_name) == len(of_student)
    robust = by_name["accuracy_robust", "", repr(result.params.epsilon)]
    assert [float(robust[k]) for k in ("value", "low", "high", "n")] == [
        student.robust.value, student.robust.low, student.robust.high, 60,
    ]  # fmt: skip
    square = student.attacks[5]
    assert by_name["attack_worst_case", "square", "6"]["value"] == repr(square.worst_case.value)
    assert ("attack_alone", "square", "6") not in by_name
    last = student.against_epsilon[-1]
    assert float(by_name["accuracy_epsilon", "", repr(last.x)]["value"]) == last.accuracy.value
    assert ("class_robust", "dog", "") in by_name
    assert ("corruption", "jpeg", "5") in by_name
    flipped = student.attention.distances[0].adversarial_flipped
    assert flipped
    assert by_name["attention_flipped", "l1", ""]["value"] == repr(flipped.value)
    assert by_name["attention_on_object", "pointing_clean", ""]["n"] == "60"


def test_images_are_one_row_a_model(client: httpx.Client, lab: Lab) -> None:
    job, result = add_evaluation(lab)
    answer = client.get(f"/api/jobs/{job}/images.csv")
    assert answer.headers["content-disposition"].endswith(f'-{job[:8]}-images.csv"')
    rows = rows_of(answer)
    assert len(rows) == 120
    outcomes = result.models[1].outcomes
    assert outcomes
    for i, row in enumerate(rows[60:]):
        assert int(row["number"]) == result.image_numbers[i]
        assert row["label_name"] == result.classes[result.labels[i]]
        assert row["clean_name"] == CLASSES[outcomes.clean_prediction[i]]
        assert row["worst_name"] == CLASSES[outcomes.worst_prediction[i]]
        broken = outcomes.broken_by[i]
        names = {-1: "stands", 0: "clean", 1: "fgsm", 2: "pgd", 4: "apgd_t",
                 8: "transfer from Teacher"}  # fmt: skip
        assert row["broken_by_name"] == names.get(broken, row["broken_by_name"])
        least = outcomes.minimal_epsilon[i]
        assert row["minimal_epsilon"] == ("" if least is None else repr(least))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_name_becomes_a_formula(client: httpx.Client, lab: Lab, start: str) -> None:
    name = f'{start}HYPERLINK("https://evil.example";"x"),1'
    classes = (f"{start}1+1", "dog, or not", "-1")
    result = full_evaluation([(an_id(), name, Recipe.CLEAN)], images=9, classes=classes)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    for path in ("export.csv", "images.csv"):
        answer = client.get(f"/api/jobs/{job}/{path}")
        rows = list(csv.reader(io.StringIO(answer.text, newline="")))
        cells = [cell for row in rows for cell in row]
        assert f"'{name}" in cells
        assert f"'{classes[0]}" in cells
        assert "'-1" in cells
        texts = [cell for cell in cells if not cell.lstrip("-").replace(".", "").isdigit()]
        assert not any(cell.startswith(tuple("=+-@\t\r\n＝")) for cell in texts)


def test_results_of_lab_01_have_figures_but_no_images(client: httpx.Client, lab: Lab) -> None:
    result = evaluation([(an_id(), "Teacher")])
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    rows = rows_of(client.get(f"/api/jobs/{job}/export.csv"))
    assert [r["quantity"] for r in rows] == ["accuracy_clean"] + 3 * ["accuracy_epsilon"] + 2 * [
        "accuracy_steps"
    ]
    assert client.get(f"/api/jobs/{job}/export.json").status_code == 200
    problem(client.get(f"/api/jobs/{job}/images.csv"), 409)


@pytest.mark.parametrize("path", ["export.json", "export.csv", "images.csv"])
def test_only_finished_evaluations_are_exported(client: httpx.Client, lab: Lab, path: str) -> None:
    params = full_evaluation(images=10).params
    running = add_job(lab, JobKind.EVALUATE, params, status=JobStatus.RUNNING)
    training = add_job(lab, JobKind.TRAIN, train_params())
    for job, status in ((running, 409), (training, 422), ("0" * 32, 404)):
        answer = client.get(f"/api/jobs/{job}/{path}")
        problem(answer, status)
        assert answer.json()["hint"]


@pytest.fixture
def exported(client: httpx.Client, lab: Lab) -> dict[str, Any]:
    job, _ = add_evaluation(lab)
    body: dict[str, Any] = client.get(f"/api/jobs/{job}/export.json").json()
    return body


def test_an_export_runs_again(client: httpx.Client, exported: dict[str, Any]) -> None:
    answers = [
        client.post("/api/jobs/rerun", json=exported, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    job = answers[0].json()
    assert answers[0].headers["location"] == f"/api/jobs/{job['id']}"
    assert answers[1].json()["id"] == job["id"] != exported["job"]["id"]
    assert EvaluateParams.model_validate(job["params"]) == EvaluateParams.model_validate(
        exported["params"]
    )
    plain = {"kind": exported["kind"], "params": exported["params"]}
    assert client.post("/api/jobs", json=plain).json()["params"] == job["params"]


def test_other_data_or_weights_are_refused(client: httpx.Client, exported: dict[str, Any]) -> None:
    def refused(change: Any) -> str:
        body = json.loads(json.dumps(exported))
        change(body)
        answer = client.post("/api/jobs/rerun", json=body)
        problem(answer, 409)
        assert "`params`" in answer.json()["hint"]
        return str(answer.json()["detail"])

    def other_data(body: Any) -> None:
        body["dataset"]["lineage"]["sha256"] = "f" * 64

    def other_weights(body: Any) -> None:
        body["models"][1]["lineage"]["sha256"] = "f" * 64

    def no_checksum(body: Any) -> None:
        del body["models"][1]

    assert "dataset “Pets” has the checksum 000000000000… in this lab and ffff" in refused(
        other_data
    )
    assert "model “Student” has the checksum 222222222222… in this lab" in refused(other_weights)
    assert "does not tell the checksum" in refused(no_checksum)


def test_in_another_lab_checksums_decide(
    client: httpx.Client, lab: Lab, exported: dict[str, Any]
) -> None:
    """Its dataset and models have other ids; each is found, and what is missing is said."""
    student = exported["models"][1]["lineage"]
    student["sha256"] = exported["result"]["models"][1]["sha256"] = "3" * 64
    with lab.database.writing() as session:
        session.execute(
            update(ModelRow).where(ModelRow.id == student["id"]).values(sha256="3" * 64)
        )
    named = [exported["dataset"]["lineage"], *(m["lineage"] for m in exported["models"])]
    elsewhere = json.dumps(exported)
    for lineage in named:
        elsewhere = elsewhere.replace(lineage["id"], an_id())
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/jobs/rerun", content=elsewhere, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json()["params"] == exported["params"]

    for noun, lineage in zip(("dataset", "model", "model"), named, strict=True):
        body = json.loads(elsewhere.replace(lineage["sha256"], "f" * 64))
        answer = client.post("/api/jobs/rerun", json=body)
        problem(answer, 409)
        said = f"This lab has no {noun} “{lineage['name']}” with the checksum ffffffffffff…."
        assert answer.json()["detail"] == said


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["format"], "other", "format"),
        (["version"], 2, "version"),
        (["kind"], "train", "kind"),
        (["params", "images"], 61, "params"),
        (["params", "images"], "60", "images"),
        (["params", "attack", "steps"], 0, "attack.steps"),
        (["dataset", "lineage", "id"], "0" * 32, "dataset"),
        (["result"], None, "result"),
        (["result", "models", 0, "clean", "n"], 0, "result.models.0.clean.n"),
        (["result", "note"], 1, "result.note"),
        (["more"], {}, "more"),
    ],
)
def test_a_hostile_export_is_refused_by_name(
    client: httpx.Client, exported: dict[str, Any], path: list[Any], value: Any, field: str
) -> None:
    at: Any = exported
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert field in problem(client.post("/api/jobs/rerun", json=exported), 422)


@pytest.mark.parametrize("body", ['{"kind": "evaluate", "kind": "evaluate"}', "[]", "", "null",
                                  "{", "[" * 100_000, '{"params": NaN}'])  # fmt: skip
def test_what_is_no_export_is_refused(client: httpx.Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/jobs/rerun", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code)


def test_a_large_export_is_read_and_a_huge_one_is_not(
    client: httpx.Client, exported: dict[str, Any]
) -> None:
    headers = {"Content-Type": "application/json"}
    large = json.dumps(exported) + " " * 2**21
    assert client.post("/api/jobs/rerun", content=large, headers=headers).status_code == 202
    huge = b" " * (MAX_BYTES + 2**20 + 1)
    assert problem(client.post("/api/jobs/rerun", content=huge, headers=headers), 413) == []


def test_an_export_that_takes_too_much_is_given_up(
    client: httpx.Client, exported: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Content-Type": "application/json"}
    many = b"[" + b"[]," * MAX_VALUES + b"[]]"
    problem(client.post("/api/jobs/rerun", content=many, headers=headers), 413)
    monkeypatch.setattr(fields, "_READS_WITHIN_S", 0.5)
    slow = b'{"models": [' + b"{}," * 1_000_000 + b"{}]}"
    problem(client.post("/api/jobs/rerun", content=slow, headers=headers), 413)
    monkeypatch.undo()
    assert client.post("/api/jobs/rerun", json=exported).status_code == 202
