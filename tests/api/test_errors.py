"""Errors are rendered once: problem details under /api, a page elsewhere."""

from __future__ import annotations

import errno
import logging
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from app.errors import Conflict, LabError, field_errors, trouble
from app.services import models
from app.services.lab import Lab
from app.store.db import Database
from tests.api.problems import problem
from tests.plugins.stock import stock_dataset, train_body


def test_what_is_not_there(client: httpx.Client) -> None:
    answer = client.get("/api/nothing")
    assert problem(answer, 404) == []
    assert answer.json()["type"] == "about:blank"
    page = client.get("/nothing")
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")


def test_a_wrong_method_names_the_right_ones(client: httpx.Client) -> None:
    own, an_id = {}, "0" * 32
    for path in ("/api/jobs", "/api/jobs/rerun", f"/api/jobs/{an_id}", f"/api/jobs/{an_id}/result"):
        answer = client.put(path, content=b"{")
        assert problem(answer, 405) == []
        own[path] = answer.headers["allow"]
    assert list(own.values()) == ["GET, POST", "POST", "DELETE, GET, PATCH", "GET"]
    assert problem(client.get("/api/jobs/rerun"), 405) == []


def test_the_type_says_what_kind_of_problem_it_is(client: httpx.Client) -> None:
    kinds = {
        f"/api/jobs/{'0' * 32}": "urn:agkd-bml-lab:problem:not-found",
        "/api/jobs/x": "urn:agkd-bml-lab:problem:invalid-fields",
    }
    for path, kind in kinds.items():
        assert client.get(path).json()["type"] == kind


@pytest.mark.parametrize("path", ["/api/models", "/evaluate"])
def test_a_fault_of_the_lab_leaks_nothing_and_can_be_found_in_the_log(
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret password of the database")

    monkeypatch.setattr(models, "page", fail)
    with caplog.at_level(logging.ERROR, "lab.web"):
        answer = client.get(path)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "content-security-policy" in answer.headers
    (record,) = [r for r in caplog.records if r.name == "lab.web"]
    incident = record.getMessage().split()[1].rstrip(":")
    assert incident in answer.text
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


@contextmanager
def _locked(lab: Lab) -> Iterator[None]:
    """Another process writes to the database, and does not end."""
    other = sqlite3.connect(lab.database.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@pytest.mark.sqlite
def test_a_locked_database_is_said_and_passes(
    client: httpx.Client, app: FastAPI, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Writes are refused with the reason, what only reads is answered, and health says it."""
    body = train_body(stock_dataset(lab))
    hasty = Database(lab.database.url, patience_s=0.05)
    app.state.lab = replace(app.state.lab, database=hasty)
    with _locked(lab):
        answer = client.post("/api/jobs", json=body)
        assert problem(answer, 503) == []
        assert answer.json()["detail"] == "The database is locked by another process."
        assert int(answer.headers["retry-after"]) > 0
        health = client.get("/api/health")
        assert (health.status_code, health.json()["ok"]) == (200, False)
        assert "locked" in health.json()["trouble"]
        assert "locked" in client.get("/").text
        assert client.get("/api/jobs").json()["total"] == 0
    assert client.post("/api/jobs", json=body).status_code == 202
    assert client.get("/api/health").json()["trouble"] is None
    assert not [record for record in caplog.records if record.exc_info], "no traceback"
    hasty.close()


@contextmanager
def _away(lab: Lab) -> Iterator[None]:
    """The server ends all connections to the database, and takes no new ones."""
    url = make_url(lab.database.url)
    admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")

    def say(statement: str) -> None:
        with admin.connect() as connection:
            connection.execute(text(statement))

    say(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
    say("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        f"WHERE datname = '{url.database}'")  # fmt: skip
    try:
        yield
    finally:
        say(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true")
        admin.dispose()


@pytest.mark.postgresql
def test_a_database_that_is_away_is_said_and_comes_back(
    client: httpx.Client, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    body = train_body(stock_dataset(lab))
    assert client.get("/api/jobs").json()["total"] == 0
    with _away(lab):
        for answer in (client.post("/api/jobs", json=body), client.get("/api/jobs")):
            assert problem(answer, 503) == []
            assert answer.json()["detail"] == "The database does not answer."
            assert int(answer.headers["retry-after"]) > 0
        assert client.get("/jobs").status_code == 503
        health = client.get("/api/health")
        assert (health.status_code, health.json()["database"]) == (503, False)
        assert "lab_database_up 0.0" in client.get("/metrics").text
    assert client.post("/api/jobs", json=body).status_code == 202
    assert client.get("/api/health").json()["trouble"] is None
    assert not [record for record in caplog.records if record.exc_info], "no traceback"


@pytest.mark.parametrize(
    "path",
    [
        "/jobs?q=%00", "/jobs?owner=%00", "/models?q=%00", "/datasets?owner=%00",
        "/train?dataset=%00", "/train?search.dataset=%00", "/evaluate?models=%00", "/audit?who=%00",
        "/api/models?name=a%00b", "/board?dataset=%00",
    ],
)  # fmt: skip
def test_a_text_that_a_database_cannot_hold_is_no_fault(client: httpx.Client, path: str) -> None:
    """PostgreSQL has no NUL in its texts."""
    assert client.get(path).status_code in (200, 404, 422)


def test_a_database_that_hangs_is_said_soon(client: httpx.Client, app: FastAPI) -> None:
    """It takes connections, and says nothing: as one whose disk does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://lab@127.0.0.1:{silent.getsockname()[1]}/lab"
        hangs = Database(url, patience_s=5.0)  # the web's
        app.state.lab = replace(app.state.lab, database=hangs)
        came = time.monotonic()
        answer = client.get("/api/jobs")
        assert time.monotonic() - came < 4
        assert problem(answer, 503) == []
        assert answer.json()["detail"] == "The database does not answer."
        hangs.close()


@pytest.mark.postgresql
def test_a_locked_table_is_said_and_passes(client: httpx.Client, app: FastAPI, lab: Lab) -> None:
    body = train_body(stock_dataset(lab))
    hasty = Database(lab.database.url, patience_s=0.05)
    app.state.lab = replace(app.state.lab, database=hasty)
    with lab.database.writing() as session:
        session.execute(text("LOCK TABLE jobs IN EXCLUSIVE MODE"))
        answer = client.post("/api/jobs", json=body)
        assert problem(answer, 503) == []
        assert answer.json()["detail"] == "The database is locked by another process."
        assert client.get("/api/jobs").json()["total"] == 0
    assert client.post("/api/jobs", json=body).status_code == 202
    hasty.close()


@pytest.mark.parametrize("path", ["/api/models", "/evaluate"])
def test_a_full_disk_is_said_and_passes(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/somewhere/of/the/lab")

    def fail(*_: object, **__: object) -> None:
        raise full

    monkeypatch.setattr(models, "page", fail)
    answer = client.get(path)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "The disk is full." in answer.text
    assert "somewhere" not in answer.text


def test_what_passes_and_what_does_not(tmp_path: Path) -> None:
    """SQLite's own errors: a disk that is full, and a table that is not there."""
    small = Database(f"sqlite:///{tmp_path / 'small.sqlite3'}")
    with small.writing() as session:
        session.execute(text("CREATE TABLE t (x)"))
        session.execute(text("PRAGMA max_page_count = 3"))
        with pytest.raises(OperationalError) as full:
            session.execute(text("INSERT INTO t VALUES (zeroblob(100000))"))
    assert trouble(full.value) == "The disk is full."
    with small.reading() as session, pytest.raises(OperationalError) as fault:
        session.execute(text("SELECT x FROM nothing"))
    assert trouble(fault.value) is None
    assert trouble(OSError(errno.EIO, "?")) is None
    small.close()


def test_a_page_shows_markup_in_an_error_as_text(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Conflict("The job “<script>alert(1)</script>” needs it.", hint="<b>Wait</b>.")

    monkeypatch.setattr(models, "page", refuse)
    answer = client.get("/evaluate")
    assert answer.status_code == 409
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "<script>alert(1)" not in answer.text
    assert "<b>Wait" not in answer.text


def test_the_field_of_an_error() -> None:
    def one(kind: str, *loc: str | int, **ctx: str) -> list[tuple[str, str]]:
        return field_errors([{"type": kind, "loc": loc, "msg": "Value error, bad", "ctx": ctx}])

    assert one("value_error", "body", "params", "attack", "steps") == [("attack.steps", "bad")]
    assert one("value_error", "body", "params") == [("params", "bad")]
    assert one("value_error", "query", "page") == [("page", "bad")]
    assert one("value_error", "epsilons", 2) == [("epsilons.2", "bad")]
    assert one("value_error", "body") == [("body", "bad")]
    assert one("value_error") == [("body", "bad")]
    assert one("invalid", "body", field="teacher") == [("teacher", "bad")]
    tags = {"discriminator": "'kind'", "expected_tags": "'fgsm', 'pgd'"}
    assert one("union_tag_invalid", "body", **tags) == [("kind", "must be one of 'fgsm', 'pgd'")]


def test_an_error_of_the_lab_says_what_to_do() -> None:
    for kind in LabError.__subclasses__():
        assert 400 <= kind.status < 600
        assert kind.title != LabError.title, kind


def test_a_page_says_no_regular_expression(client: httpx.Client) -> None:
    for address in ("/live?job=my-job", "/compare?job=my-job", "/jobs/my-job"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert "There is no page at this address" in answer.text
        assert "pattern" not in answer.text
