"""Jobs over REST: submit, repeat, look, cancel, result."""

from __future__ import annotations

import json

import httpx
import pytest

from app.contracts.events import ProgressEvent
from app.contracts.jobs import TASK_OF, JobStatus, Queue
from app.contracts.results import DatasetReport, ImportResult
from app.services.lab import Lab
from app.store import jobs
from tests.api.problems import problem
from tests.plugins.rows import job_row
from tests.plugins.stock import stock_dataset, stock_model, train_body

NOBODY = "0" * 32


@pytest.fixture
def dataset(lab: Lab) -> str:
    return stock_dataset(lab)


def test_a_job_is_taken_on_and_its_queue_is_woken(
    client: httpx.Client, lab: Lab, dataset: str
) -> None:
    answer = client.post("/api/jobs", json=train_body(dataset, epochs=3, epsilon="4/255"))
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["kind"], job["status"], job["queue"]) == ("train", "queued", "train")
    assert job["params"]["epochs"] == 3
    assert job["params"]["epsilon"] == pytest.approx(4 / 255)
    assert job["params"]["learning_rate"] == 0.1
    assert "No worker" in job["waiting_because"]
    assert client.get(answer.headers["location"]).json() == job
    assert lab.broker.waiting(Queue.TRAIN) == 1
    assert TASK_OF[Queue.TRAIN] == "lab.train"


@pytest.mark.parametrize("address", ["/api/jobs", f"/api/jobs/{NOBODY}", "/jobs"])
def test_a_web_asks_to_wait_where_a_newer_one_has_taken_on_what_it_does_not_know(
    client: httpx.Client, lab: Lab, address: str
) -> None:
    jobs.add(lab.database, job_row(id=NOBODY, kind="polish"))
    answer = client.get(address)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert f"a newer version of the lab, such as {NOBODY}" in answer.text


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"epochs": 0}, ["epochs"]),
        ({"epochs": "3"}, ["epochs"]),
        ({"augment": "yes"}, ["augment"]),
        ({"learning_rate": None}, ["learning_rate"]),
        ({"epsilom": 1}, ["epsilom"]),
        ({"recipe": "agkd_bml"}, ["teacher"]),
        ({"teacher": NOBODY}, ["teacher"]),
        ({"recipe": "agkd_bml", "teacher": NOBODY}, ["teacher"]),
        ({"continue_from": NOBODY}, ["continue_from"]),
        ({"epochs": 0, "steps": 0}, ["epochs", "steps"]),
        ({"name": "two\nlines"}, ["name"]),
    ],
)
def test_wrong_training_parameters_are_named(
    client: httpx.Client, dataset: str, change: dict[str, object], fields: list[str]
) -> None:
    answer = client.post("/api/jobs", json=train_body(dataset, **change))
    assert problem(answer, 422) == fields
    assert client.get("/api/jobs").json()["total"] == 0


def test_an_unknown_dataset_is_named(client: httpx.Client) -> None:
    assert problem(client.post("/api/jobs", json=train_body(NOBODY)), 422) == ["dataset"]


def test_a_teacher_of_other_classes_is_refused(
    client: httpx.Client, lab: Lab, dataset: str
) -> None:
    stranger = stock_model(lab, name="Stranger", classes=("cat", "ship", "dog"))
    student = train_body(dataset, recipe="agkd_bml", teacher=stranger)
    assert problem(client.post("/api/jobs", json=student), 422) == ["teacher"]
    other = stock_model(lab, name="Other", classes=("cat", "ship"))
    evaluation = {"kind": "evaluate", "params": {"models": [other], "dataset": dataset}}
    assert problem(client.post("/api/jobs", json=evaluation), 422) == ["models"]


def test_a_nested_parameter_is_named_with_its_path(
    client: httpx.Client, lab: Lab, dataset: str
) -> None:
    params = {"models": [stock_model(lab)], "dataset": dataset, "attack": {"steps": 0}}
    answer = client.post("/api/jobs", json={"kind": "evaluate", "params": params})
    assert problem(answer, 422) == ["attack.steps"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"kind": "train", "params": {"name": "x", "dataset": "%s", "mu": NaN}}', "mu"),
        ('{"kind": "train", "params": {"name": "x", "dataset": "%s", "mu": 1e999}}', "mu"),
        ('{"kind": "train", "params": {"name": "x", "dataset": "%s", "seed": Infinity}}', "seed"),
        ('{"kind": "train", "params": {"name": "x", "dataset": "%s", "epochs": 1, "epochs": 2}}',
         "epochs"),
        ('{"kind": "train", "kind": "evaluate", "params": {"dataset": "%s"}}', "kind"),
        ('{"kind": "explain", "params": {"dataset": "%s"}}', "kind"),
        ('{"params": {"dataset": "%s"}}', "kind"),
        ('{"kind": "train"}', "params"),
        ('{"kind": "train", "params": {"name": "x", "dataset": "%s"}, "id": 1}', "id"),
        ('{"kind": "train", "params": {"name": "x", "dataset": "%s"', "body"),
        ("[]", "body"),
        ("", "body"),
        ('"%s"', "body"),
    ],
)  # fmt: skip
def test_hostile_json_is_refused_by_name(
    client: httpx.Client, dataset: str, body: str, field: str
) -> None:
    answer = client.post(
        "/api/jobs",
        content=body.replace("%s", dataset),
        headers={"Content-Type": "application/json"},
    )
    assert problem(answer, 422) == [field]


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 100_000, b"1" * 100_000])
def test_bytes_that_are_no_json_are_no_fault_of_the_lab(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code)


def test_json_must_say_that_it_is_json(client: httpx.Client, dataset: str) -> None:
    """A form of another site could send the same bytes, but not under this type."""
    text = json.dumps(train_body(dataset))
    for path in ("/api/jobs", "/api/jobs/rerun"):
        for body in (text, "no JSON", "[" * 100_000):
            for headers in ({"Content-Type": "text/plain"}, {}):
                answer = client.post(path, content=body.encode(), headers=headers)
                assert problem(answer, 422) == ["body"]


def test_a_repeated_request_is_one_job(client: httpx.Client, lab: Lab, dataset: str) -> None:
    key = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    first = client.post("/api/jobs", json=train_body(dataset), headers=key)
    # The same parameters, written out.
    same = train_body(dataset, epochs=10, epsilon=8 / 255)
    again = client.post("/api/jobs", json=same, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["location"] == first.headers["location"]
    other = client.post("/api/jobs", json=train_body(dataset, epochs=11), headers=key)
    problem(other, 409)
    assert client.get("/api/jobs").json()["total"] == 1
    assert lab.broker.waiting(Queue.TRAIN) == 1


def test_a_repeat_is_answered_even_when_the_request_would_not_fit_now(
    client: httpx.Client, lab: Lab, dataset: str
) -> None:
    teacher, key = stock_model(lab), {"Idempotency-Key": "key"}
    body = train_body(dataset, recipe="agkd_bml", teacher=teacher)
    first = client.post("/api/jobs", json=body, headers=key).json()
    client.post(f"/api/jobs/{first['id']}/cancel")
    assert client.delete(f"/api/models/{teacher}").status_code == 204
    again = client.post("/api/jobs", json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])


@pytest.mark.parametrize("key", ["", "x" * 201, "two words", "caf\u00e9"])
def test_a_key_has_visible_ascii_and_200_characters_at_most(
    client: httpx.Client, dataset: str, key: str
) -> None:
    answer = client.post(
        "/api/jobs", json=train_body(dataset), headers=[(b"Idempotency-Key", key.encode())]
    )
    assert problem(answer, 422) == ["idempotency-key"]


def test_lists_are_filtered_and_paged(client: httpx.Client, lab: Lab) -> None:
    rows = [job_row(created_at=float(i)) for i in range(5)]
    rows.append(job_row(created_at=9.0, kind="evaluate", queue="evaluate"))
    for row in rows:
        jobs.add(lab.database, row)
    client.post(f"/api/jobs/{rows[0].id}/cancel")

    def ids(**query: object) -> list[str]:
        answer = client.get("/api/jobs", params=query)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["items"]]

    newest = [row.id for row in reversed(rows)]
    assert ids() == newest
    assert ids(page=2, page_size=2) == newest[2:4]
    assert ids(page=9) == []
    assert ids(kind="evaluate") == newest[:1]
    assert ids(kind=["evaluate", "train"], status="cancelled") == [rows[0].id]
    for digits in (1, 7, 32):
        start = rows[2].id[:digits]
        assert ids(starts=start) == [job for job in newest if job.startswith(start)]
    body = client.get("/api/jobs", params={"page": 2, "page_size": 2}).json()
    assert (body["total"], body["page"], body["page_size"]) == (6, 2, 2)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=99999999999999999999", "page"),
        ("page_size=101", "page_size"),
        ("kind=dance", "kind.0"),
        ("status=", "status.0"),
        ("page=x", "page"),
        ("starts=", "starts"),
        ("starts=ABC", "starts"),
        ("starts=%25", "starts"),
    ],
)
def test_wrong_queries_are_named(client: httpx.Client, query: str, field: str) -> None:
    assert problem(client.get(f"/api/jobs?{query}"), 422) == [field]


@pytest.mark.parametrize("path", ["", "/result", "/events"])
def test_jobs_that_do_not_exist(client: httpx.Client, path: str) -> None:
    problem(client.get(f"/api/jobs/{NOBODY}{path}"), 404)
    for bad in ("x", "A" * 32, "0" * 33, "%00" * 32):
        assert problem(client.get(f"/api/jobs/{bad}{path}"), 422) == ["job_id"]


def test_cancelling(client: httpx.Client, lab: Lab) -> None:
    waiting, running = job_row(), job_row()
    for row in (waiting, running):
        jobs.add(lab.database, row)
    assert jobs.claim(lab.database, running.id, lease_s=60)
    ended = client.post(f"/api/jobs/{waiting.id}/cancel")
    assert (ended.status_code, ended.json()["status"]) == (202, "cancelled")
    asked = client.post(f"/api/jobs/{running.id}/cancel").json()
    assert (asked["status"], asked["cancel_requested"]) == ("running", True)
    problem(client.post(f"/api/jobs/{waiting.id}/cancel"), 409)
    problem(client.post(f"/api/jobs/{NOBODY}/cancel"), 404)


def test_a_result_is_what_the_worker_wrote(client: httpx.Client, lab: Lab) -> None:
    row = job_row(kind="import", queue="evaluate")
    jobs.add(lab.database, row)
    claim = jobs.claim(lab.database, row.id, lease_s=60)
    assert claim is not None
    problem(client.get(f"/api/jobs/{row.id}/result"), 409)
    report = DatasetReport(
        classes=("a", "b"), image_size=32, train_images=9, test_images=3, checksum="0" * 64
    )
    result = ImportResult(dataset=NOBODY, report=report)
    name = lab.files.write_result(row.id, result)
    jobs.settle(lab.database, claim, JobStatus.SUCCEEDED, result_file=name)
    answer = client.get(f"/api/jobs/{row.id}/result")
    assert answer.headers["content-type"] == "application/json"
    assert ImportResult.model_validate_json(answer.content) == result
    assert client.get(f"/api/jobs/{row.id}").json()["has_result"] is True
    lab.files.result(row.result_name).unlink()
    problem(client.get(f"/api/jobs/{row.id}/result"), 404)


def test_a_failed_job_says_why_and_is_never_all_done(client: httpx.Client, lab: Lab) -> None:
    row = job_row()
    jobs.add(lab.database, row)
    claim = jobs.claim(lab.database, row.id, lease_s=60)
    assert claim is not None
    jobs.report(lab.database, claim, [ProgressEvent(done=6, total=6, phase="epoch 6 of 6")])
    assert client.get(f"/api/jobs/{row.id}").json()["progress"]["share"] < 1
    failure = {"title": "The job failed", "detail": "The disk is full.", "hint": "Make room."}
    jobs.settle(lab.database, claim, JobStatus.FAILED, failure=failure)
    job = client.get(f"/api/jobs/{row.id}").json()
    assert job["failure"] == failure | {"choices": [], "field": None}
    assert job["progress"]["share"] < 1


def test_a_succeeded_job_is_all_done(client: httpx.Client, lab: Lab) -> None:
    row = job_row()
    jobs.add(lab.database, row)
    claim = jobs.claim(lab.database, row.id, lease_s=60)
    assert claim is not None
    progress = ProgressEvent(done=2, total=6, phase="epoch 2 of 6", eta_s=2.0)
    jobs.report(lab.database, claim, [progress])
    jobs.settle(lab.database, claim, JobStatus.SUCCEEDED)
    said = client.get(f"/api/jobs/{row.id}").json()["progress"]
    assert (said["share"], said["eta_s"]) == (1, None)


def test_a_name_with_markup_is_kept_as_it_is(client: httpx.Client, lab: Lab) -> None:
    markup = "<script>alert('1')</script> & \u202e{{7*7}}"
    printable = markup.replace("\u202e", "")
    dataset = stock_dataset(lab, name=printable)
    assert problem(client.post("/api/jobs", json=train_body(dataset, name=markup)), 422) == ["name"]
    answer = client.post("/api/jobs", json=train_body(dataset, name=printable))
    assert answer.status_code == 202
    assert answer.json()["title"] == f"Train {printable} on {printable}"
    page = client.get(f"/jobs/{answer.json()['id']}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text


def test_a_teacher_of_another_image_size_is_refused(client: httpx.Client, lab: Lab) -> None:
    dataset = stock_dataset(lab)
    teacher = stock_model(lab, image_size=64)
    body = train_body(dataset, recipe="agkd_bml", teacher=teacher)
    answer = client.post("/api/jobs", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["teacher"]
