"""Ablations over REST: submitted once, listed with their jobs, ended whole, shown as a table."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

from app.contracts.jobs import JobStatus
from app.contracts.results import AblationTable, Measure
from app.contracts.views import JobView, Page
from app.services.lab import Lab
from tests.api.problems import problem
from tests.plugins.families import children_of, fail, run_all, succeed, take
from tests.plugins.stock import stock_dataset, stock_model


@pytest.fixture
def body(lab: Lab) -> dict[str, Any]:
    """Two recipes with two seeds."""
    training = {
        "name": "shared",
        "dataset": stock_dataset(lab),
        "recipe": "agkd_bml",
        "teacher": stock_model(lab),
        "epochs": 2,
    }
    params = {"name": "Nets", "training": training, "recipes": ["clean", "agkd_bml"]}
    return {"kind": "ablation", "params": {**params, "seeds": [0, 1], "grid": {"steps": [7]}}}


def submitted(client: httpx.Client, body: dict[str, Any], **headers: str) -> JobView:
    answer = client.post("/api/jobs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    job = JobView.model_validate_json(answer.content)
    assert answer.headers["location"] == f"/api/jobs/{job.id}"
    return job


def listed(client: httpx.Client, **query: Any) -> list[JobView]:
    answer = client.get("/api/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return list(Page[JobView].model_validate_json(answer.content).items)


def test_an_ablation_is_listed_with_its_jobs(client: httpx.Client, body: dict[str, Any]) -> None:
    job = submitted(client, body)
    assert (job.kind, job.status, job.children, job.parent) == ("ablation", "queued", 4, None)
    assert job.title == "Ablation Nets on Pets"
    children = listed(client, parent=job.id)
    assert [child.title for child in reversed(children)] == [
        "Train Nets · Clean · seed 0",
        "Train Nets · Clean · seed 1",
        "Train Nets · AGKD-BML · seed 0",
        "Train Nets · AGKD-BML · seed 1",
    ]
    assert {child.parent for child in children} == {job.id}
    assert children[0].params["steps"] == 7
    assert [found.id for found in listed(client, children=False)] == [job.id]
    assert len(listed(client)) == 5
    assert [found.id for found in listed(client, kind="ablation")] == [job.id]
    assert listed(client, parent="0" * 32) == []


def test_a_key_gives_one_ablation(client: httpx.Client, lab: Lab, body: dict[str, Any]) -> None:
    first, second = (submitted(client, body, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.id == second.id
    assert len(children_of(lab.database, first.id)) == 4
    other = {**body, "params": {**body["params"], "seeds": [2]}}
    assert client.post("/api/jobs", json=other, headers={"Idempotency-Key": "k"}).status_code == 409


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"grid": {"steps": [10, 0]}}, "grid", "AGKD-BML, steps = 0"),
        ({"grid": {"dataset": ["x"]}}, "grid", "dataset"),
        ({"grid": {"trades_beta": [1]}}, "grid", "none of the recipes"),
        ({"own": {"trades": {"steps": 3}}}, "own", "trades"),
        ({"own": {"agkd_bml": {"teacher": None}}}, "own", "AGKD-BML"),
        ({"seeds": [1, 1]}, "seeds", "once"),
        ({"seeds": list(range(50)), "grid": {"steps": [1, 2, 3, 4]}}, "grid", "250 trainings"),
        ({"recipes": []}, "recipes", ""),
        ({"measure": {"images": 0}}, "measure.images", ""),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(
    client: httpx.Client, lab: Lab, body: dict[str, Any],
    change: dict[str, Any], field: str, said: str,
) -> None:  # fmt: skip
    refused = client.post("/api/jobs", json={**body, "params": {**body["params"], **change}})
    assert problem(refused, 422) == [field]
    assert said in refused.json()["errors"][0]["message"]
    assert listed(client) == []


def test_a_teacher_of_other_classes_is_refused(
    client: httpx.Client, lab: Lab, body: dict[str, Any]
) -> None:
    body["params"]["training"]["teacher"] = stock_model(lab, name="Other", classes=("a", "b"))
    refused = client.post("/api/jobs", json=body)
    assert problem(refused, 422) == ["training.teacher"]
    assert "AGKD-BML · seed 0" in refused.json()["detail"]
    body["params"]["training"]["teacher"] = "0" * 32
    assert problem(client.post("/api/jobs", json=body), 422) == ["training.teacher"]
    body["params"]["recipes"] = ["clean"]
    body["params"]["grid"] = {}
    assert submitted(client, body).children == 2  # the recipe `clean` drops the teacher


def test_cancel_ends_every_job(client: httpx.Client, lab: Lab, body: dict[str, Any]) -> None:
    job = submitted(client, body)
    running = take(lab.database, children_of(lab.database, job.id)[0].id)
    assert client.post(f"/api/jobs/{job.id}/cancel").status_code == 202
    states = {child.id: child for child in listed(client, parent=job.id)}
    assert states.pop(running.job_id).cancel_requested
    assert {child.status for child in states.values()} == {"cancelled"}
    assert client.post(f"/api/jobs/{next(iter(states))}/cancel").status_code == 409


def test_the_table_is_there_while_it_runs_and_after(
    client: httpx.Client, lab: Lab, body: dict[str, Any]
) -> None:
    job = submitted(client, body)
    url = f"/api/jobs/{job.id}/ablation"
    empty = AblationTable.model_validate_json(client.get(url).content)
    assert [(row.label, row.figures) for row in empty.rows] == [("Clean", {}), ("AGKD-BML", {})]
    assert {child.status for row in empty.rows for child in row.children} == {JobStatus.QUEUED}
    first, second, *_ = children_of(lab.database, job.id)
    succeed(lab.database, lab.files, take(lab.database, first.id))
    fail(lab.database, take(lab.database, second.id))
    some = AblationTable.model_validate_json(client.get(url).content)
    assert some.rows[0].figures[Measure.VALIDATION_CLEAN].n == 1
    assert some.rows[0].children[1].failure == "It broke. Mend it."
    run_all(lab.database, lab.files, job.id)
    done = AblationTable.model_validate_json(client.get(url).content)
    assert done.rows[1].changes == {"steps": 7}
    result = client.get(f"/api/jobs/{job.id}/result").json()
    assert (result["kind"], result["table"]) == ("ablation", client.get(url).json())

    answer = client.get(f"{url}.csv")
    assert answer.headers["content-disposition"].endswith(f'-{job.id[:8]}.csv"')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    pgd = [row for row in rows if (row["row"], row["measure"]) == ("2", "pgd")]
    assert [(row["statistic"], row["seed"], row["n"]) for row in pgd] == [
        ("seed", "0", "100"), ("seed", "1", "100"), ("mean", "", "2"), ("std", "", "2"),
    ]  # fmt: skip
    assert [float(row["value"]) for row in pgd] == pytest.approx([0.3, 0.3, 0.3, 0.0])
    reported = [row for row in rows if row["statistic"] == "reported"]
    assert {row["value"] for row in reported} == {"0.7102", "0.5059"}
    assert all("reported elsewhere" in row["note"] for row in reported)


def test_other_jobs_have_no_table(client: httpx.Client, body: dict[str, Any]) -> None:
    child = listed(client, parent=submitted(client, body).id)[0]
    for path in ("ablation", "ablation.csv"):
        assert client.get(f"/api/jobs/{child.id}/{path}").status_code == 422
        assert client.get(f"/api/jobs/{'0' * 32}/{path}").status_code == 404


def test_a_batch_larger_than_the_dataset_is_refused(
    client: httpx.Client, body: dict[str, Any]
) -> None:
    body["params"]["grid"] = {"batch_size": [128, 901]}  # of 900 images
    refused = client.post("/api/jobs", json=body)
    assert problem(refused, 422) == ["training.batch_size"]
    assert "batch size 901" in refused.json()["detail"]
