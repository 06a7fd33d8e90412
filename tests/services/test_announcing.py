"""The webhook, told by a real lab over real connections to a receiver that has its moods."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from pydantic import HttpUrl, Secret

from app.contracts.jobs import JobKind, JobStatus
from app.main import create_app
from app.services import announcing
from app.services.lab import Lab
from app.services.webhook import Announcer, Pace
from app.settings import Settings
from app.store import announcements, jobs
from app.store.tables import WebhookRow
from tests.plugins.applications import InProcess, running
from tests.plugins.families import fail, succeed, take
from tests.plugins.lab_process import free_port
from tests.plugins.rows import job_row
from tests.web.examples import add_job, train_params
from tests.web.parsing import texts

QUICK = Pace(look_s=0.02, answer_s=0.3, first_s=0.02, most_s=0.05)
SECRET = "T0KEN-that-nobody-sees"
WEEK_S = 7 * 24 * 3600.0


class Receiver:
    """What it was told, and how it answers: `mood` gives the status for each piece of news."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.told: list[dict[str, Any]] = []
        """Everything that was sent, also what was refused."""
        self.taken: list[str] = []
        """Ids of the jobs whose news was answered with 200."""
        self.paths: list[str] = []
        self.mood: Callable[[dict[str, Any]], int] = lambda news: 200

    @property
    def url(self) -> HttpUrl:
        return HttpUrl(f"http://127.0.0.1:{self.port}/hooks/{SECRET}?key={SECRET}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                news = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Content-Type"] == "application/json"
                receiver.paths.append(self.path)
                receiver.told.append(news)
                status = receiver.mood(news)
                with suppress(OSError):  # who has waited too long is gone
                    self.send_response(status)
                    self.send_header("Location", "/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                if status == 200:
                    receiver.taken.append(news["id"])

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(free_port())


@pytest.fixture
def listening(receiver: Receiver) -> Iterator[Receiver]:
    with receiver.listening():
        yield receiver


def set_to(lab: Lab, url: Secret[HttpUrl] | None) -> Settings:
    return lab.settings.model_copy(update={"webhook_url": url})


@pytest.fixture
def told_lab(lab: Lab, receiver: Receiver) -> Lab:
    """A lab whose webhook has just been set."""
    told = replace(lab, settings=set_to(lab, Secret(receiver.url)))
    announcing.set_up(told)
    return told


def ended(lab: Lab, **values: Any) -> str:
    """A job that was cancelled just now."""
    row = job_row(**{"status": JobStatus.CANCELLED, "finished_at": time.time(), **values})
    with lab.database.writing() as session:
        session.add(row)
    return row.id


def announce(lab: Lab, url: HttpUrl, until: Callable[[], bool], pace: Pace = QUICK) -> None:
    """Run the task until something is so."""

    async def run() -> None:
        task = asyncio.create_task(Announcer(lab, url, pace).run())
        try:
            async with asyncio.timeout(20):
                while not until():
                    assert not task.done()
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())


def nothing_due(lab: Lab) -> Callable[[], bool]:
    return lambda: announcements.count(lab.database) == 0


def test_each_end_is_told_with_what_came_of_it(told_lab: Lab, listening: Receiver) -> None:
    trained, broken, cancelled = (
        add_job(told_lab, JobKind.TRAIN, train_params(), title="Train Net") for _ in range(3)
    )
    succeed(told_lab.database, told_lab.files, take(told_lab.database, trained))
    fail(told_lab.database, take(told_lab.database, broken), "It ran out of memory.")
    assert jobs.request_cancel(told_lab.database, cancelled)
    ended(told_lab, status=JobStatus.RUNNING, finished_at=None)
    announce(told_lab, listening.url, nothing_due(told_lab))
    news = {one["id"]: one for one in listening.told}
    assert list(news) == [trained, broken, cancelled], "in order, each once, and no other"
    assert news[trained] == {
        "id": trained,
        "kind": "train",
        "name": "",
        "title": "Train Net",
        "state": "succeeded",
        "finished_at": news[trained]["finished_at"],
        "address": f"http://127.0.0.1:8000/jobs/{trained}",
        "parent": None,
        "error": None,
        "figures": {"clean": 0.9, "robust": None, "autoattack": None},
        "text": "Train Net: succeeded. Clean 90.0 %.",
    }
    assert news[broken]["error"] == "It ran out of memory. Mend it."
    assert news[broken]["text"] == "Train Net: failed. It ran out of memory. Mend it."
    assert news[cancelled]["state"] == "cancelled"
    assert news[cancelled]["figures"] is None
    assert listening.paths[0].endswith(f"{SECRET}?key={SECRET}")


def test_a_lab_tells_by_itself_and_starts_where_it_stopped(
    told_lab: Lab, listening: Receiver, portal: BlockingPortal
) -> None:
    before = ended(told_lab, finished_at=time.time() - 1)
    told = []
    for _ in range(2):
        told.append(ended(told_lab))
        with running(create_app(told_lab.settings), portal):
            deadline = time.monotonic() + 20
            while announcements.count(told_lab.database) and time.monotonic() < deadline:
                time.sleep(0.02)
    assert listening.taken == told
    assert before not in listening.taken, "it ended before the webhook was set"


def test_errors_are_tried_again_and_said_once(
    told_lab: Lab, listening: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = ended(told_lab)
    answers = [500, 503, 302, 500, 200]
    listening.mood = lambda news: answers.pop(0)
    announce(told_lab, listening.url, nothing_due(told_lab))
    assert [news["id"] for news in listening.told] == [job] * 5, "no redirect is followed"
    said = [record.getMessage() for record in caplog.records if record.name == "lab.webhook"]
    assert said == [
        "The webhook at 127.0.0.1 answered 500 Internal Server Error; the lab tries again.",
        "The webhook at 127.0.0.1 takes news again.",
    ]
    assert SECRET not in caplog.text


def test_who_is_down_hears_later(told_lab: Lab, receiver: Receiver) -> None:
    job = ended(told_lab)

    def failed() -> bool:
        state = announcements.state(told_lab.database)
        return state is not None and state.failure == "cannot be reached"

    announce(told_lab, receiver.url, failed)
    with receiver.listening():
        announce(told_lab, receiver.url, nothing_due(told_lab))
        announce(told_lab, receiver.url, lambda: True)
    assert receiver.taken == [job]


def test_who_is_slow_is_not_waited_for(told_lab: Lab, listening: Receiver) -> None:
    job, later = ended(told_lab), threading.Event()
    first = [True]

    def slow(news: dict[str, Any]) -> int:
        if first.pop() if first else False:
            later.wait(10)
            return 500
        return 200

    listening.mood = slow
    announce(told_lab, listening.url, nothing_due(told_lab))
    later.set()
    assert listening.taken == [job]


def test_news_that_is_refused_holds_nothing_up(told_lab: Lab, listening: Receiver) -> None:
    refused, *others = (ended(told_lab) for _ in range(4))
    listening.mood = lambda news: 400 if news["id"] == refused else 200
    announce(told_lab, listening.url, lambda: announcements.count(told_lab.database) == 1)
    assert listening.taken == others


def test_the_delay_grows_and_ends_growing(told_lab: Lab, listening: Receiver) -> None:
    ended(told_lab)
    times: list[float] = []

    def refuse(news: dict[str, Any]) -> int:
        times.append(time.monotonic())
        return 500

    listening.mood = refuse
    pace = Pace(look_s=0.01, answer_s=5.0, first_s=0.1, most_s=0.4)
    announce(told_lab, listening.url, lambda: len(times) == 5, pace)
    least = (0.1, 0.2, 0.4, 0.4)
    assert all(b - a > wait for a, b, wait in zip(times, times[1:], least, strict=False))


def test_an_end_that_is_written_late_is_told_too(told_lab: Lab, listening: Receiver) -> None:
    """A worker dates the end of a job before it waits for the database."""
    early, late = time.time() + 1, time.time() + 2
    first = ended(told_lab, finished_at=late)
    announce(told_lab, listening.url, nothing_due(told_lab))
    second = ended(told_lab, finished_at=early)
    announce(told_lab, listening.url, nothing_due(told_lab))
    assert listening.taken == [first, second]


def test_what_ended_while_none_was_set_or_long_ago_is_not_told(told_lab: Lab) -> None:
    with told_lab.database.writing() as session:
        session.get_one(WebhookRow, 1).since = 0.0
    ended(told_lab, finished_at=time.time() - WEEK_S - 60)
    ended(told_lab, deleted_at=time.time())
    assert announcements.count(told_lab.database) == 0
    ended(told_lab)
    assert announcements.count(told_lab.database) == 1
    assert announcing.set_up(replace(told_lab, settings=set_to(told_lab, None))) is False
    announcing.set_up(told_lab)
    assert announcements.count(told_lab.database) == 0


def test_a_failure_is_said_and_the_address_is_not(
    told_lab: Lab, receiver: Receiver, portal: BlockingPortal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ended(told_lab)
    app = create_app(told_lab.settings)
    with (
        running(app, portal),
        httpx.Client(transport=InProcess(app, portal), base_url="http://127.0.0.1") as client,
    ):
        deadline = time.monotonic() + 20
        while not client.get("/api/health").json()["webhook"]["failure"]:
            assert time.monotonic() < deadline
        health, home = client.get("/api/health"), client.get("/").text
    assert health.json()["webhook"] == {
        "host": "127.0.0.1", "waiting": 1, "failure": "cannot be reached",
    }  # fmt: skip
    (said,) = texts(home, ".health.poor")
    assert "The webhook at 127.0.0.1 cannot be reached: news of 1 job waits." in said
    for text in (health.text, home, caplog.text, repr(told_lab.settings), repr(told_lab)):
        assert SECRET not in text
