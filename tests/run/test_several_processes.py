"""A lab on PostgreSQL: the whole of it, and several web processes that serve it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.admission.throttle import OF_A_NAME
from app.contracts.accounts import Role
from app.contracts.jobs import JobStatus
from app.services import accounts
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store import job_queries, jobs
from tests.admission.people import PASSWORD
from tests.e2e.lab_client import LabClient, accepted
from tests.plugins.lab_process import LabProcess, free_port, wait_until
from tests.plugins.postgresql import Cluster
from tests.plugins.rows import job_row
from tests.plugins.servers import web_process
from tests.web.parsing import parsed

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS, "lease_s": 2.0})


class Webs:
    """Two of them, the first of which has kept the house since before the second began."""

    def __init__(self, settings: Settings, until: ExitStack) -> None:
        self.urls = []
        self._processes = []
        for _ in range(2):
            each = settings.model_copy(update={"port": free_port()})
            self._processes.append(until.enter_context(web_process(each)))
            self.urls.append(each.address)
            wait_until(lambda: self._answers(self.urls[-1]), "the web answers")

    def _answers(self, url: str) -> bool:
        try:
            return httpx.get(f"{url}/api/alive").status_code == 204
        except httpx.TransportError:
            return False

    def kill_the_first(self) -> None:
        self._processes[0].kill()
        self._processes[0].wait(20)


@pytest.fixture
def webs(lab: Lab) -> Iterator[Webs]:
    accounts.add(lab.database, "ada", PASSWORD, Role.ADMIN)
    with ExitStack() as until:
        yield Webs(lab.settings, until)


def returns_lost_jobs(lab: Lab) -> None:
    """Wait until a job that a worker lost is queued again."""
    jobs.add(lab.database, row := job_row())
    assert jobs.claim(lab.database, row.id, lease_s=-1) is not None

    def is_queued() -> bool:
        found = job_queries.get(lab.database, row.id)
        return found is not None and found.status == JobStatus.QUEUED

    wait_until(is_queued, "somebody reconciles")
    assert jobs.request_cancel(lab.database, row.id)


def test_two_webs_serve_one_lab(lab: Lab, webs: Webs) -> None:
    first, second = webs.urls
    with httpx.Client(timeout=30) as browser:
        sent = {"name": "ada", "password": PASSWORD}
        answer = browser.post(f"{first}/login", data=sent, headers={"Origin": first})
        assert answer.status_code == 303
        meta = parsed(browser.get(f"{second}/account").text).select_one("meta[name=csrf]")
        assert meta is not None
        browser.headers["X-CSRF-Token"] = str(meta["content"])
        one, other = (
            browser.post(
                f"{url}/api/datasets", data={"name": "Shapes", "source": "shapes"},
                headers={"Idempotency-Key": "once", "Origin": url},
            ).json()["id"]
            for url in webs.urls
        )  # fmt: skip
        assert one == other
        cancelling = threading.Timer(
            0.5, browser.post, (f"{first}/api/jobs/{one}/cancel",), {"headers": {"Origin": first}}
        )
        with browser.stream("GET", f"{second}/api/jobs/{one}/events") as stream:
            cancelling.start()
            data = [line.removeprefix("data: ") for line in stream.iter_lines() if "data: " in line]
        assert json.loads(data[-1])["status"] == "cancelled"
        cancelling.join()
    returns_lost_jobs(lab)
    webs.kill_the_first()
    began = time.monotonic()
    returns_lost_jobs(lab)
    assert time.monotonic() - began < 60


def test_who_guesses_passwords_meets_one_limit(webs: Webs) -> None:
    statuses = []
    for number in range(OF_A_NAME + 1):
        url = webs.urls[number % 2]
        sent = {"name": "ada", "password": "guess"}
        answer = httpx.post(f"{url}/login", data=sent, headers={"Origin": url}, timeout=30)
        statuses.append(answer.status_code)
    assert statuses == [401] * OF_A_NAME + [429]


def test_a_whole_lab_works_and_loses_its_database_for_a_while(
    tmp_path: Path, postgresql: Cluster
) -> None:
    with postgresql.migrated() as url:
        process = LabProcess(tmp_path / "data", LAB_DATABASE_URL=url)
        try:
            client = LabClient(process.wait_ready())
            for name in ("Before", "After"):
                sent = {"name": name, "source": "shapes"}
                job = accepted(client.http.post("/api/datasets", data=sent))["id"]
                assert client.result(job)["report"]["train_images"] > 0
                postgresql.end_connections(url)
            assert not list((tmp_path / "data").glob("*.sqlite3*"))
            client.http.close()
            assert process.stop() == 0
        finally:
            process.clean_up()
