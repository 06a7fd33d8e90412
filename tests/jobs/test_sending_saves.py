"""Where machines share a storage, a save is sent beside the work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from app.errors import StorageAway
from app.store.files import Files
from tests.plugins.lab_process import wait_until
from worker.jobs.context import JobContext
from worker.jobs.save_pace import SavePace
from worker.jobs.saves import LAST, Saves

JOB = "a" * 32


class SlowFiles(Files):
    """Their storage takes a save when it is told to, or is away."""

    is_shared = True

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.takes, self.away, self.kept = threading.Event(), False, list[bytes]()

    def keep(self, path: Path) -> None:
        assert self.takes.wait(60)
        if self.away:
            raise StorageAway("The storage does not answer.")
        self.kept.append((path / LAST).read_bytes())


class Job(SimpleNamespace):
    """As much of a job as a save looks at."""

    def __init__(self, files: Files, fence: int) -> None:
        super().__init__(
            lab=SimpleNamespace(files=files),
            claim=SimpleNamespace(job_id=JOB, fence=fence),
            said=list[str](),
            further=0,
        )

    def warn(self, text: str) -> None:
        self.said.append(text)

    def got_further(self) -> None:
        self.further += 1

    def flush(self) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SlowFiles]:
    found = SlowFiles(tmp_path)
    found.prepare()
    yield found
    found.takes.set()


@pytest.fixture
def job(files: SlowFiles) -> Job:
    return Job(files, fence=2)


def saves_of(job: Job) -> Saves:
    return Saves(cast(JobContext, job), SavePace(0))


def numbered(number: int, folder: Path) -> None:
    (folder / LAST).write_bytes(b"%d" % number)


def is_sent(saves: Saves, number: int) -> bool:
    """Whether a save was due, and goes to the storage."""
    saves.when_due(lambda folder: numbered(number, folder))
    return saves._sent is not None


def test_the_work_goes_on_while_a_save_is_sent(files: SlowFiles, job: Job) -> None:
    saves = saves_of(job)
    with saves.until_sent():
        for number in range(3):
            saves.when_due(lambda folder, n=number: numbered(n, folder))  # type: ignore[misc]
        # What is being sent is not written over, and nothing is gained before it is there.
        assert (files.checkpoints(JOB) / "2" / LAST).read_bytes() == b"0"
        assert (files.kept, job.further) == ([], 0)
        files.takes.set()
        wait_until(lambda: files.kept, "the save in the storage")
        wait_until(lambda: saves._sent is not None and saves._sent.done(), "the end of sending")
        wait_until(lambda: is_sent(saves, 7), "a save is due again")
    assert files.kept == [b"0", b"7"]
    assert job.further == 2
    assert job.said == []


def test_the_last_save_waits_for_the_one_before(files: SlowFiles, job: Job) -> None:
    files.takes.set()
    saves = saves_of(job)
    with saves.until_sent():
        saves.when_due(lambda folder: numbered(1, folder))
        assert saves.now(lambda folder: numbered(2, folder))
    assert files.kept == [b"1", b"2"]


def test_a_storage_that_is_away_is_told_once_and_holds_up_nothing(
    files: SlowFiles, job: Job
) -> None:
    files.takes.set()
    files.away = True
    saves = saves_of(job)
    with saves.until_sent():
        for number in range(3):
            assert not saves.now(lambda folder, n=number: numbered(n, folder))  # type: ignore[misc]
        assert job.said == [
            "The checkpoint cannot be written: The storage does not answer. The job goes on and "
            "tries again; should it be interrupted before, it goes on from the checkpoint before."
        ]
        files.away = False
        assert saves.now(lambda folder: numbered(9, folder))
    assert (files.kept, job.further) == ([b"9"], 0)


def test_what_earlier_attempts_left_goes_once_a_save_is_there(files: SlowFiles, job: Job) -> None:
    (files.checkpoints(JOB) / "1").mkdir(parents=True)
    saves = saves_of(job)
    with saves.until_sent():
        saves.when_due(lambda folder: numbered(1, folder))
        assert (files.checkpoints(JOB) / "1").exists()
        files.takes.set()
    assert {path.name for path in files.attempts(JOB)} == {"2"}
