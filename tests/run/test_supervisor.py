"""The life of a lab: it starts, mends itself, stops, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.plugins.lab_process import LabProcess, Process, processes, wait_until

pytestmark = pytest.mark.slow
Start = Callable[[], LabProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a lab on the test's own data folder, as often as the test likes."""
    started: list[LabProcess] = []

    def start_one() -> LabProcess:
        started.append(LabProcess(tmp_path / "data"))
        return started[-1]

    yield start_one
    for lab in started:
        lab.clean_up()


def _none_left(family: dict[int, Process]) -> bool:
    running = processes()
    return not any(running.get(pid) == process for pid, process in family.items())


def _pid(lab: LabProcess, name: str) -> int | None:
    found = lab.named(name)
    return found.pid if found is not None else None


def _replaced(lab: LabProcess, name: str, before: int | None) -> bool:
    return _pid(lab, name) not in (None, before)


def test_it_replaces_what_dies_and_stops_clean(start: Start) -> None:
    lab = start().wait_ready()
    before = {name: _pid(lab, name) for name in ("-Q train", "uvicorn", "valkey-server")}
    pool = {p.pid for p in lab.descendants().values() if p.parent == before["-Q train"]}
    assert None not in before.values()
    assert pool, "the worker has a child that runs its jobs"
    for pid in before.values():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    for name, pid in before.items():
        wait_until(partial(_replaced, lab, name, pid), f"a new {name}")
    wait_until(lambda: lab.health().get("ok"), "the lab is well again")
    assert sum("it starts again in" in line for line in lab.output) == 3
    assert not processes().keys() & pool, "a killed worker's child lives on"

    family = lab.descendants()
    assert lab.stop() == 0
    assert _none_left(family)


def test_a_killed_supervisor_leaves_no_orphan_and_its_folder_serves_again(start: Start) -> None:
    first = start().wait_ready()
    family = first.descendants()
    os.kill(first.process.pid, signal.SIGKILL)
    first.wait()
    # At once: it waits for the rest of the first one, and then starts.
    second = start().wait_ready()
    assert _none_left(family)
    assert second.stop(signal.SIGINT) == 0


def test_two_labs_never_share_a_data_folder(start: Start) -> None:
    first = start().wait_ready()
    second = start()
    assert second.wait() == 1
    assert second.output[-1].startswith("AGKD-BML Lab cannot start: another lab")
    assert first.health()["ok"]
    assert first.stop() == 0
