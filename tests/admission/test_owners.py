"""What belongs to whom, and who did what."""

from __future__ import annotations

import csv
import io
import json

import httpx
import pytest
from sqlalchemy.exc import IntegrityError

from app.contracts.accounts import Role
from app.contracts.jobs import JobKind
from app.services import accounts
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store import acting, audit, jobs
from app.store.acting import Act
from app.store.tables import DatasetRow, ModelRow
from tests.admission.people import PASSWORD, NewClient, proof, signed_in
from tests.api.problems import problem
from tests.plugins.rows import job_row
from tests.plugins.stock import stock_dataset, stock_model
from tests.web.examples import add_job, train_params


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS})


class Person:
    """A browser that brings along what it has to."""

    def __init__(self, new_client: NewClient, name: str) -> None:
        self._client = signed_in(new_client, name)
        self._headers = {"X-CSRF-Token": proof(self._client)}

    def ask(self, method: str, path: str, **request: object) -> httpx.Response:
        return self._client.request(method, path, headers=self._headers, **request)  # type: ignore[arg-type]


@pytest.fixture
def rita(new_client: NewClient, users: dict[Role, str]) -> Person:
    return Person(new_client, "rita")


@pytest.fixture
def ada(new_client: NewClient, users: dict[Role, str]) -> Person:
    return Person(new_client, "ada")


@pytest.fixture
def carl(new_client: NewClient, lab: Lab) -> Person:
    accounts.add(lab.database, "carl", PASSWORD, Role.RUNNER)
    return Person(new_client, "carl")


def submitted(person: Person, name: str = "S") -> str:
    answer = person.ask("POST", "/api/datasets", data={"name": name, "source": "shapes"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def records(ada: Person) -> list[tuple[str, str, int]]:
    """Who, what and the outcome, oldest first."""
    lines = ada.ask("GET", "/api/audit/records.jsonl").text.splitlines()
    return [(one["who"], one["what"], one["status"]) for one in map(json.loads, lines)]


def test_a_job_is_changed_by_its_owner_and_admins_alone(
    rita: Person, carl: Person, ada: Person
) -> None:
    job = submitted(rita)
    changes: list[tuple[str, str, dict[str, object]]] = [
        ("PATCH", f"/api/jobs/{job}", {"json": {"name": "x"}}),
        ("PATCH", f"/api/jobs/{job}", {"json": {"archived": True}}),
        ("POST", f"/jobs/{job}/change", {"data": {"note": "x"}}),
        ("POST", "/jobs/selected", {"data": {"job": job, "action": "archive"}}),
        ("POST", "/jobs/selected", {"data": {"job": job, "action": "cancel"}}),
        ("POST", f"/jobs/{job}/cancel", {}),
        ("POST", f"/api/jobs/{job}/cancel", {}),
        ("DELETE", f"/api/jobs/{job}", {}),
    ]
    for method, path, request in changes:
        assert carl.ask(method, path, **request).status_code == 403, path
    assert carl.ask("GET", f"/api/jobs/{job}").json()["status"] == "queued"
    assert rita.ask("PATCH", f"/api/jobs/{job}", json={"name": "mine"}).status_code == 200
    assert ada.ask("PATCH", f"/api/jobs/{job}", json={"note": "seen"}).status_code == 200
    assert rita.ask("POST", f"/api/jobs/{job}/cancel").status_code == 202
    assert rita.ask("DELETE", f"/api/jobs/{job}").status_code == 204
    problem(carl.ask("POST", f"/api/jobs/{job}/restore"), 403)
    assert rita.ask("POST", f"/api/jobs/{job}/restore").status_code == 200


def test_an_undo_of_anothers_deletion_is_refused(rita: Person, carl: Person) -> None:
    job = submitted(rita)
    rita.ask("POST", f"/api/jobs/{job}/cancel")
    to = rita.ask("POST", f"/jobs/{job}/delete").headers["location"]
    when = httpx.URL(to).params["undo"]
    assert carl.ask("POST", "/jobs/undo", data={"at": when}).status_code == 403
    assert rita.ask("POST", "/jobs/undo", data={"at": when}).status_code == 303


def test_what_comes_from_a_job_is_its_owners(
    lab: Lab, rita: Person, carl: Person, ada: Person
) -> None:
    job, nobodys = submitted(rita), add_job(lab, JobKind.TRAIN, train_params())
    made = {"models": stock_model(lab), "datasets": stock_dataset(lab)}
    old = {"jobs": nobodys, "models": stock_model(lab, name="Old")}
    with lab.database.writing() as session:
        session.get_one(ModelRow, made["models"]).job_id = job
        session.get_one(DatasetRow, made["datasets"]).job_id = job
    for kind, id_ in {**made, **old}.items():
        for method, request in (("PATCH", {"json": {"note": "x"}}), ("DELETE", {})):
            problem(carl.ask(method, f"/api/{kind}/{id_}", **request), 403)
    for kind, id_ in made.items():
        path = f"/api/{kind}/{id_}"
        assert rita.ask("PATCH", path, json={"note": "x"}).status_code == 200
        assert rita.ask("DELETE", path).status_code in (204, 409), "the job is not over"
    for kind, id_ in old.items():
        problem(rita.ask("PATCH", f"/api/{kind}/{id_}", json={"note": "x"}), 403)
        assert ada.ask("PATCH", f"/api/{kind}/{id_}", json={"note": "x"}).status_code == 200


def test_parts_belong_to_the_owner_of_the_whole(lab: Lab, rita: Person, carl: Person) -> None:
    parent, part = job_row(), job_row()
    owner = rita.ask("GET", "/api/account").json()["id"]
    with acting.acting(Act("rita", "", "test", user_id=owner)):
        jobs.add(lab.database, parent)
    part.parent_id = parent.id
    jobs.add(lab.database, part)
    problem(carl.ask("POST", f"/api/jobs/{part.id}/cancel"), 403)
    assert rita.ask("POST", f"/api/jobs/{part.id}/cancel").status_code == 202


def test_who_did_what_is_kept(rita: Person, carl: Person, ada: Person) -> None:
    job = submitted(rita)
    carl.ask("POST", f"/api/jobs/{job}/cancel")
    rita.ask("PATCH", f"/api/jobs/{job}", json={"name": "x"})
    rita.ask("PATCH", f"/api/jobs/{job}", json={"nonsense": "x"})
    rita.ask("POST", "/train/estimate")
    rita.ask("GET", "/jobs")
    found = records(ada)
    assert [each for each in found if each[1] != "POST /login"] == [
        ("rita", "POST /api/datasets", 202),
        ("carl", f"POST /api/jobs/{job}/cancel", 403),
        ("rita", f"PATCH /api/jobs/{job}", 200),
    ]
    page = ada.ask("GET", "/api/audit", params={"page_size": len(found) - 1}).json()
    rest = ada.ask("GET", "/api/audit", params={"before": page["older"]}).json()
    ids = [one["id"] for one in page["items"] + rest["items"]]
    assert (len(ids), ids, rest["older"]) == (len(found), sorted(ids, reverse=True), None)
    assert page["items"][0]["targets"] == [job]
    assert page["items"][0]["address"] == "127.0.0.1"
    rows = list(csv.DictReader(io.StringIO(ada.ask("GET", "/api/audit/records.csv").text)))
    assert [row["who"] for row in rows] == [who for who, _, _ in found]
    assert "carl" in ada.ask("GET", "/audit").text
    for path in ("/audit", "/api/audit", "/api/audit/records.csv", "/api/audit/records.jsonl"):
        assert rita.ask("GET", path).status_code == 403


def test_signing_in_is_kept_and_no_name_of_nobody(new_client: NewClient, ada: Person) -> None:
    for name in ("ada", "my-password-by-mistake"):
        new_client().post("/login", data={"name": name, "password": "guess guess"})
    text = ada.ask("GET", "/api/audit/records.jsonl").text
    assert records(ada) == [("ada", "POST /login", 303)] + [("", "POST /login", 401)] * 2
    assert [json.loads(line)["targets"] for line in text.splitlines()] == [
        ["ada"], ["ada"], ["unknown"],
    ]  # fmt: skip
    assert "my-password" not in text


def test_a_change_and_its_record_are_one(lab: Lab) -> None:
    """Neither is there without the other, though the process ends before the answer."""
    act = Act("rita", "127.0.0.1", "POST /api/jobs", user_id="u" * 32)
    with acting.acting(act):
        jobs.add(lab.database, job_row())
    ((row,), _) = audit.newest(lab.database, limit=9)
    assert (row.who, row.status) == ("rita", None)
    twice = job_row()
    jobs.add(lab.database, twice)
    again = job_row(id=twice.id)
    with acting.acting(Act("rita", "127.0.0.1", "again")), pytest.raises(IntegrityError):
        jobs.add(lab.database, again)
    assert len(audit.newest(lab.database, limit=9)[0]) == 1
