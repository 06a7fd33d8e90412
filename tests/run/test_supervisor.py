"""The life of a lab: it starts, mends itself, stops, goes on, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.lab_client import LabClient, accepted, after_epoch
from tests.plugins.lab_process import LabProcess, Process, processes, wait_until

pytestmark = pytest.mark.slow


class Site:
    """A data folder, and the lab that runs on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[LabProcess] = []

    def start(self, **environment: str) -> LabProcess:
        """Another lab, whatever runs there."""
        self._started.append(LabProcess(self._folder, **environment))
        return self._started[-1]

    def lab(self) -> LabProcess:
        """The one that runs and is well; started if there is none."""
        running = [lab for lab in self._started if lab.process.poll() is None]
        return running[0] if running else self.start().wait_ready()

    def open_to_others(self) -> list[Path]:
        """What another user of the machine may read or write."""
        every = [self._folder, *self._folder.rglob("*")]
        return [path for path in every if path.lstat().st_mode & 0o077]

    def recorded(self) -> dict[str, int]:
        """The first processes that the lab's supervisor wrote down, by name."""
        found = json.loads((self._folder / "lab.processes").read_text())["processes"]
        return {name: pid for name, (pid, _) in found.items()}

    def clean_up(self) -> None:
        for lab in self._started:
            lab.clean_up()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(tmp_path_factory.mktemp("site") / "data")
    yield found
    found.clean_up()


def _none_left(family: dict[int, Process]) -> bool:
    running = processes()
    return not any(running.get(pid) == process for pid, process in family.items())


def _pid(lab: LabProcess, name: str) -> int | None:
    found = lab.named(name)
    return found.pid if found is not None else None


def _replaced(lab: LabProcess, name: str, before: int | None) -> bool:
    return _pid(lab, name) not in (None, before)


def test_two_labs_never_share_a_data_folder(site: Site) -> None:
    first = site.lab()
    second = site.start()
    assert second.wait() == 1
    assert second.output[-1].startswith("AGKD-BML Lab cannot start: another lab")
    assert first.health()["ok"]


def test_it_replaces_what_dies(site: Site) -> None:
    lab = site.lab()
    before = {name: _pid(lab, name) for name in ("train", "uvicorn", "valkey-server")}
    pool = {p.pid for p in lab.descendants().values() if p.parent == before["train"]}
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


def test_it_stops_clean_and_goes_on_where_it_stopped(site: Site) -> None:
    first = site.lab()
    job = _start_a_long_job(LabClient(first))
    family = first.descendants()
    assert first.stop() == 0
    assert _none_left(family)
    api = LabClient(site.lab())
    done = api.wait(job)
    log, result = api.log(job), api.result(job)
    api.http.close()
    assert (done["status"], done["attempt"]) == ("succeeded", 1)
    assert result["card"]["params"]["epochs"] == 6
    assert any(line.startswith("Going on after") for line in log)
    assert site.open_to_others() == []


def _start_a_long_job(api: LabClient) -> str:
    """Returns its id once its first epoch is over."""
    drawn = {"name": "Shapes", "source": "shapes", "train_per_class": "60"}
    dataset = api.result(accepted(api.http.post("/api/datasets", data=drawn))["id"])["dataset"]
    job = api.submit(
        "train", name="Patient", dataset=dataset, architecture="wrn-10-1", epochs=6, batch_size=32
    )
    api.wait_for(job["id"], after_epoch(1), "a first epoch")
    api.http.close()
    return str(job["id"])


def test_a_killed_supervisor_leaves_no_orphan_and_its_folder_serves_again(site: Site) -> None:
    first = site.lab()
    family = first.descendants()
    os.kill(first.process.pid, signal.SIGKILL)
    first.wait()
    # At once: it waits for the rest of the first one, and then starts.
    second = site.start(CUDA_VISIBLE_DEVICES="0,1").wait_ready()
    assert _none_left(family)
    _see_two_gpus(second)
    assert second.stop(signal.SIGINT) == 0


def _see_two_gpus(lab: LabProcess) -> None:
    """Two workers train, each on a GPU of its own; that there is none changes nothing here."""
    wait_until(lambda: lab.workers("train") == 2, "two workers that train")
    assert (lab.workers("evaluate"), lab.workers("live")) == (1, 1)


def test_without_the_template_workers_go_on_and_another_one_starts_those_to_come(
    site: Site,
) -> None:
    lab = site.lab()
    before = site.recorded()
    os.kill(before["template"], signal.SIGKILL)
    wait_until(lambda: site.recorded().get("template") not in (None, before["template"]), "another")
    os.kill(before["train"], signal.SIGKILL)
    wait_until(lambda: site.recorded().get("train") not in (None, before["train"]), "a new worker")
    wait_until(lambda: lab.workers("train") == 1 and lab.health()["ok"], "the lab is well again")
    after = site.recorded()
    assert (after["evaluate"], after["live"]) == (before["evaluate"], before["live"])
    assert lab.stop() == 0
    assert not processes().keys() & {*before.values(), *after.values()}
