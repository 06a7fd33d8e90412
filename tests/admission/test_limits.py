"""How much of the lab one account may use."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.admission.throttle import Rate
from app.bell import Bell
from app.contracts.accounts import Role
from app.errors import OverQuota
from app.services import uploads, usage
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store import files, jobs, marks
from app.store.acting import Act, acting
from app.store.tables import DatasetRow, ModelRow
from tests.admission.people import NewClient, proof, signed_in
from tests.api.problems import problem
from tests.plugins.rows import job_row
from tests.plugins.statements import statements
from tests.plugins.stock import stock_dataset, stock_model
from tests.web.parsing import parsed


@pytest.fixture
def settings(settings: Settings) -> Settings:
    limits = {"user_waiting": 3, "user_streams": 1, "user_disk_mb": 1, "user_requests": 60}
    return settings.model_copy(update={"auth": Auth.ACCOUNTS, **limits})


@pytest.fixture
def rita(new_client: NewClient, users: dict[Role, str]) -> httpx.Client:
    client = signed_in(new_client, "rita")
    client.headers["X-CSRF-Token"] = proof(client)
    return client


def drawn(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("/api/datasets", data={"name": name, "source": "shapes"})


def refused(answer: httpx.Response, status: int, setting: str) -> None:
    problem(answer, status)
    assert setting in answer.json()["hint"]
    assert int(answer.headers["retry-after"]) > 0


def uses(client: httpx.Client) -> dict[str, int]:
    return {what: one["used"] for what, one in client.get("/api/account/usage").json().items()}


def test_jobs_that_wait(rita: httpx.Client, new_client: NewClient) -> None:
    ids = [drawn(rita, name).json()["id"] for name in ("A", "B", "C")]
    refused(drawn(rita, "D"), 429, "LAB_USER_WAITING")
    assert uses(rita)["jobs"] == 3
    other = signed_in(new_client, "ada")
    other.headers["X-CSRF-Token"] = proof(other)
    assert drawn(other, "E").status_code == 202, "everybody has as much"
    rita.post(f"/api/jobs/{ids[0]}/cancel")
    assert drawn(rita, "F").status_code == 202


def test_a_users_parts_of_ablations_wait_too(lab: Lab, rita: httpx.Client) -> None:
    parent, trains, evaluates = job_row(), job_row(), job_row()
    trains.parent_id = evaluates.parent_id = parent.id
    owner = rita.get("/api/account").json()["id"]
    with acting(Act("rita", "", "test", user_id=owner)):
        jobs.add(lab.database, parent, [trains])
    jobs.add(lab.database, evaluates)  # as a worker does
    assert uses(rita)["jobs"] == 3


def test_streams(lab: Lab, app: FastAPI, rita: httpx.Client) -> None:
    job = drawn(rita, "A").json()["id"]
    bell: Bell = app.state.bell
    with bell.place(rita.get("/api/account").json()["id"], 1):
        assert uses(rita)["streams"] == 1
        refused(rita.get(f"/api/jobs/{job}/events"), 429, "LAB_USER_STREAMS")
    assert uses(rita)["streams"] == 0


def test_requests(rita: httpx.Client, app: FastAPI, new_client: NewClient) -> None:
    app.state.rate = Rate(5)
    answers = [rita.get("/api/account") for _ in range(7)]
    assert [answer.status_code for answer in answers[:5]] == [200] * 5
    refused(answers[-1], 429, "LAB_USER_REQUESTS")
    assert "wait" in rita.get("/jobs").text.lower()
    assert rita.get("/static/lab.css").status_code == 200, "a page that says so has its looks"
    assert signed_in(new_client, "vera").get("/jobs").status_code == 200


def test_disk(lab: Lab, rita: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {"name": "A", "source": "archive"}
    small, large = (io.BytesIO(b"x" * size) for size in (2**19, 2**20))
    assert rita.post("/api/datasets", data=sent, files={"file": small}).status_code == 202
    assert uses(rita)["disk"] == 2**19
    refused(rita.post("/api/datasets", data=sent | {"name": "B"}, files={"file": large}), 507,
            "LAB_USER_DISK_MB")  # fmt: skip
    assert uses(rita)["disk"] == 2**19, "nothing of it stays"
    job = rita.get("/api/jobs").json()["items"][0]["id"]
    lab.files.result(f"{job}-1").write_bytes(b"x" * 2**19)
    lab.files.checkpoints(job).mkdir()
    (lab.files.checkpoints(job) / "last.pt").write_bytes(b"x" * 10)
    assert uses(rita)["disk"] == 2**19, "of half a minute ago"
    monkeypatch.setattr(files, "_MEASURED_FOR_S", 0.0)
    assert uses(rita)["disk"] == 2**20 + 10
    refused(drawn(rita, "C"), 507, "LAB_USER_DISK_MB")


def test_files_sent_at_once_are_counted_together(
    lab: Lab, rita: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is let in before another is stored: the folder as last measured knows of none."""
    owner, together = rita.get("/api/account").json()["id"], threading.Barrier(4)
    monkeypatch.setattr(lab.files, "used_by", lambda *_: 0)
    check = usage.check_disk

    def checked(of: Lab, more: int, *, without: str = "") -> None:
        check(of, more, without=without)
        if not without:
            together.wait()

    monkeypatch.setattr(usage, "check_disk", checked)

    def send(_: int) -> bool:
        with acting(Act("rita", "", "test", user_id=owner)), suppress(OverQuota):
            uploads.save_archive(lab, io.BytesIO(b"x" * 300_000), "a.zip")
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        kept = sum(pool.map(send, range(4)))
    assert kept <= 3, "a MB has room for three"
    assert uses(rita)["disk"] == 300_000 * kept
    assert len(list((lab.files.root / "uploads").iterdir())) == kept


def test_the_disk_is_measured_once_for_many_requests(
    lab: Lab, rita: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lab of many jobs has many files, and each picture of the live page is asked about twice."""
    owner = rita.get("/api/account").json()["id"]
    measured: list[Any] = []
    looked: list[Any] = []
    measure, owned_ids = files.Files._measure, marks.owned_ids

    def note(of: files.Files) -> dict[str, int]:
        measured.append(of)
        return measure(of)

    def look(*asked: Any) -> set[str]:
        looked.append(asked)
        return owned_ids(*asked)

    monkeypatch.setattr(files.Files, "_measure", note)
    monkeypatch.setattr(marks, "owned_ids", look)

    def send(_: int) -> None:
        with acting(Act("rita", "", "test", user_id=owner)):
            uploads.save_archive(lab, io.BytesIO(b"x" * 1_000), "a.zip")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(12)))
    assert (len(measured), len(looked)) == (1, 1)
    assert uses(rita)["disk"] == 12_000, "what was sent counts at once"


def test_what_an_account_owns(lab: Lab, rita: httpx.Client) -> None:
    job, other = drawn(rita, "A").json()["id"], job_row()
    jobs.add(lab.database, other)
    model, dataset = stock_model(lab), stock_dataset(lab)
    with lab.database.writing() as session:
        session.get_one(ModelRow, model).job_id = job
        session.get_one(DatasetRow, dataset).job_id = other.id
    owner = rita.get("/api/account").json()["id"]
    assert marks.owned_ids(lab.database, owner) == {job, model}


def test_the_account_says_it_with_as_many_queries_for_many_jobs(rita: httpx.Client) -> None:
    counts = []
    for name in ("A", "B"):
        drawn(rita, name)
        with statements() as said:
            page = parsed(rita.get("/account").text)
        counts.append(len(said))
    rows = [row.get_text(" ", strip=True) for row in page.select("table.used tbody tr")]
    assert rows[0] == "Jobs queued or running LAB_USER_WAITING 2 of 3"
    assert counts[0] == counts[1]
