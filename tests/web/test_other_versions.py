"""What jobs of another version of the lab left is said to be so, and nothing else is lost by it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.services.lab import Lab
from app.services.upkeep import reconcile
from app.store.tables import JobRow
from tests.plugins.families import ablation_params, children_of, succeed, take
from tests.web.examples import (
    add_dataset,
    add_job,
    add_model,
    an_id,
    full_evaluation,
    train_params,
)
from tests.web.parsing import parsed, text_of

OTHER = "earlier version of the lab"
STRANGE: dict[str, Any] = {
    "name": 5, "dataset": an_id(), "recipe": "forgotten", "models": [an_id()], "sources": None,
    "epsilon": "much", "epsilons": "all", "attack": {"method": "forgotten", "steps": -1},
    "further": ["forgotten"], "upload": an_id(), "training": {"recipe": "forgotten"}, "rows": 3,
    "measure": None, "seeds": "none", "images": [], "classes": {}, "was": {"something": "else"},
}  # fmt: skip


@pytest.fixture(params=[{}, STRANGE], ids=["nothing", "other values"])
def stored(request: pytest.FixtureRequest) -> dict[str, Any]:
    values: dict[str, Any] = request.param
    return values


def other_job(lab: Lab, kind: JobKind, stored: dict[str, Any], **values: Any) -> str:
    job = add_job(lab, kind, train_params(), title="Of another time", **values)
    with lab.database.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(params=stored))
    return job


@pytest.mark.parametrize("kind", list(JobKind))
@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_a_job_shows_its_page_and_says_what_it_cannot(
    lab: Lab, client: httpx.Client, kind: JobKind, status: JobStatus, stored: dict[str, Any]
) -> None:
    ends = {"result_file": "x.json"} if status is JobStatus.SUCCEEDED else {}
    job = other_job(lab, kind, stored, status=status, started_at=1e9, **ends)
    lab.files.result(job).write_text('{"kind": "forgotten"}')
    page = client.get(f"/jobs/{job}")
    assert page.status_code == 200
    assert OTHER in text_of(parsed(page.text).main)
    for path in (f"/jobs/{job}/record.json", f"/jobs/{job}/state", f"/jobs/{job}/code", "/jobs",
                 "/", f"/api/jobs/{job}", "/api/jobs"):  # fmt: skip
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        (JobKind.EVALUATE, ("/compare?job={}", "/jobs/{}/report.html", "/jobs/{}/estimate",
                            "/api/jobs/{}/export.json", "/api/jobs/{}/export.csv",
                            "/evaluate?from={}", "/compare")),
        (JobKind.TRAIN, ("/compare/trainings?job={}", "/train?from={}", "/jobs?sort=recipe")),
        (JobKind.ABLATION, ("/jobs/{}/ablation", "/api/jobs/{}/ablation", "/ablation?from={}",
                            "/api/jobs/{}/ablation.csv")),
        (JobKind.EXPLAIN, ("/live?job={}", "/api/jobs/{}/image.png", "/api/jobs/{}/attack.zip")),
        (JobKind.IMPORT, ("/datasets?from={}", "/datasets")),
        (JobKind.IMPORT_MODEL, ("/models/import?from={}",)),
    ],
)  # fmt: skip
def test_no_look_at_it_is_a_fault_of_the_lab(
    lab: Lab, client: httpx.Client, kind: JobKind, paths: tuple[str, ...], stored: dict[str, Any]
) -> None:
    job = other_job(lab, kind, stored, status=JobStatus.SUCCEEDED, result_file="x.json")
    lab.files.result(job).write_text('{"kind": "forgotten"}')
    for path in paths:
        assert client.get(path.format(job)).status_code < 500, path


def test_a_training_goes_on_from_no_other_version(
    lab: Lab, client: httpx.Client, stored: dict[str, Any]
) -> None:
    earlier = other_job(lab, JobKind.TRAIN, stored, status=JobStatus.CANCELLED)
    lab.files.checkpoints(earlier).mkdir()
    (lab.files.checkpoints(earlier) / "checkpoint.pt").write_bytes(b"weights")
    params = {"name": "On", "dataset": add_dataset(lab), "continue_from": earlier}
    said = client.post("/api/jobs", json={"kind": "train", "params": params})
    assert (said.status_code, OTHER in said.text) == (422, True)


def test_a_model_whose_training_reads_otherwise_is_there_without_it(
    lab: Lab, client: httpx.Client
) -> None:
    model = add_model(lab, add_dataset(lab), name="Net", params={"recipe": "forgotten"})
    result = full_evaluation([(model, "Net", Recipe.CLEAN)])
    add_job(lab, JobKind.EVALUATE, result.params, result=result)
    page = client.get(f"/models/{model}")
    assert page.status_code == 200
    assert OTHER in text_of(parsed(page.text).main)
    for path in ("/models", "/board", "/live", "/", f"/evaluate?models={model}", "/api/models",
                 f"/train?recipe=rslad&teacher={model}"):  # fmt: skip
        assert client.get(path).status_code == 200, path


def test_an_ablation_of_another_version_ends_with_words(
    lab: Lab, client: httpx.Client, stored: dict[str, Any]
) -> None:
    dataset = add_dataset(lab)
    training = {"dataset": dataset, "teacher": add_model(lab, dataset)}
    asked = ablation_params(training=training).model_dump(mode="json")
    done, ended = (
        client.post("/api/jobs", json={"kind": "ablation", "params": asked}).json()["id"]
        for _ in range(2)
    )
    with lab.database.writing() as session:
        session.execute(update(JobRow).where(JobRow.parent_id.is_(None)).values(params=stored))
    assert client.post(f"/api/jobs/{ended}/cancel").status_code == 202
    for child in children_of(lab.database, done):
        succeed(lab.database, lab.files, take(lab.database, child.id))
    reconcile(lab)
    said = client.get(f"/api/jobs/{done}").json()
    assert (said["status"], OTHER in said["failure"]["detail"]) == ("failed", True)
    assert client.get(f"/api/jobs/{ended}").json()["status"] == "cancelled"
    for job in (done, ended):
        assert client.get(f"/jobs/{job}").status_code == 200
