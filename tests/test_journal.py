"""What processes write of themselves: one record a line, whatever came from outside."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import journal
from app.contracts.jobs import JobKind
from app.run import checks, lines
from app.services.lab import Lab
from app.settings import Settings
from app.store import job_queries, jobs
from journal import Form
from tests.plugins.stock import stock_dataset, train_body

HOSTILE = "a\nb\r\x1b[31mred\x07\x00\u2028\u202e\x85\ud800"


@pytest.fixture
def records(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was written, of a process whose loggers are as they were afterwards."""
    root, own = logging.getLogger(), [logging.getLogger(name) for name in ("lab", "worker")]
    before = root.handlers, root.level, [logger.level for logger in own]
    yield lambda: capsys.readouterr().err
    logging.captureWarnings(False)
    root.handlers, root.level = before[:2]
    for logger, level in zip(own, before[2], strict=True):
        logger.setLevel(level)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The lines of processes are written as before afterwards."""
    for name in ("form", "file"):
        monkeypatch.setattr(lines._Lines, name, getattr(lines._Lines, name))
    yield
    if lines._Lines.file is not None:
        lines._Lines.file.close()


def test_a_record_is_one_line_of_json(records: Callable[[], str]) -> None:
    journal.set_up(Form.JSON)
    token = journal.request.set("r-1")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger(HOSTILE).exception("%s fell over", HOSTILE)
    finally:
        journal.request.reset(token)
    (line,) = records().splitlines()
    assert line.isascii()
    record = json.loads(line)
    assert (record["message"], record["request"]) == (f"{HOSTILE} fell over", "r-1")
    assert HOSTILE in record["error"]
    assert (record["level"], record["logger"]) == ("error", HOSTILE)


def test_a_fault_that_repeats_itself_fills_no_log(records: Callable[[], str]) -> None:
    journal.set_up(Form.TEXT)
    for number in range(1000):
        logging.getLogger("asyncio").error("fault %d", number)
    logging.getLogger("asyncio").error("another")
    written = records().splitlines()
    assert written[:100] == [f"error: fault {number}" for number in range(100)]
    assert written[100] == "error: fault 100 (More like it is left out for 10 s.)"
    assert written[101:] == ["error: another"]


def test_a_record_as_text_obeys_nobody(records: Callable[[], str]) -> None:
    journal.set_up(Form.TEXT)
    logging.getLogger("lab.web").info("not for people")
    logging.getLogger("lab.web").warning("%s", HOSTILE)
    written = records()
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()
    assert "\\x1b[31mred" in written


@given(st.text())
def test_no_text_makes_two_lines(text: str) -> None:
    assert journal.plain(text).isprintable()
    assert journal.line_of(Form.JSON, "info", text).isprintable()


def test_lines_of_processes_become_records(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, written: None
) -> None:
    lines.set_up(Settings(data_dir=tmp_path, log=Form.JSON))
    own = journal.line_of(Form.JSON, "error", HOSTILE, request="r")
    for text in (own, HOSTILE, "[1]", "{}", "[" * 100_000, '{"time": 1'):
        lines.say(text, source="web")
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(records) == 6
    assert [record["process"] for record in records] == ["web"] * 6
    assert (records[0]["level"], records[0]["request"]) == ("error", "r")
    assert records[1]["message"] == HOSTILE


def test_the_log_file_does_not_grow_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: None
) -> None:
    path = tmp_path / "lab.log"
    lines.set_up(Settings(data_dir=tmp_path, log_file=path, log_file_mb=1))
    for number in range(900):
        lines.say(f"{number} {'x' * 9_000}")
    kept = sorted(tmp_path.glob("lab.log*"))
    assert [each.name for each in kept] == ["lab.log", *(f"lab.log.{n}" for n in range(1, 6))]
    assert max(each.stat().st_size for each in kept) <= 2**20
    assert path.read_text().splitlines()[-1].endswith(" [lab] 899 " + "x" * 9_000)
    assert os.stat(path).st_mode & 0o077 == 0
    capsys.readouterr()


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é", "a\x1b[0m", "<script>"])
def test_a_request_is_not_called_just_anything(client: httpx.Client, given: str) -> None:
    answer = client.get("/api/alive", headers={"X-Request-ID": given.encode()})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_a_request_is_followed_to_the_worker(client: httpx.Client, lab: Lab) -> None:
    body = train_body(stock_dataset(lab))
    answer = client.post("/api/jobs", json=body, headers={"X-Request-ID": "page-7"})
    assert answer.headers["x-request-id"] == "page-7"
    row = job_queries.get(lab.database, answer.json()["id"])
    assert row is not None
    assert row.request_id == "page-7"
    claim = jobs.claim(lab.database, row.id, lease_s=10)
    assert claim is not None
    assert (claim.kind, claim.request_id) == (JobKind.TRAIN, "page-7")


def test_what_is_asked_is_kept_without_its_query(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lab.web"):
        client.get("/api/nothing?q=secret", headers={"X-Request-ID": "r"})
    (record,) = [one for one in caplog.records if one.getMessage() == "GET /api/nothing"]
    assert vars(record)["facts"]["status"] == 404
    assert "secret" not in caplog.text


def test_what_is_refused_at_the_border_is_kept_too(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lab.web"):
        client.post("/api/jobs", headers={"Origin": "https://evil.example"})
    assert [vars(one)["facts"]["status"] for one in caplog.records] == [403]


def test_a_log_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(checks.CannotStart, match="LAB_LOG_FILE"):
        checks.prepare_log(Settings(data_dir=tmp_path, log_file=tmp_path / "absent" / "lab.log"))
