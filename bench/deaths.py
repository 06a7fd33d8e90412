"""How soon a dead worker's job goes on, and how a lab ends.

    python -m bench.deaths [--times 20] [--ends 3]      from the root of the repository

A whole lab (`python -m app`) with its usual lease. Each time a training is submitted and its worker
ended by SIGKILL, parent and child, so that nobody can tell of it: in turn before the first beat of
its lease, in the midst of a step, and while a checkpoint is written; and one in four times the
child is stopped by SIGSTOP before there is a training, which then waits for it. Then labs with a
running training are ended: by SIGTERM, by Ctrl-C, by SIGKILL of the supervisor, and by SIGKILL of
the supervisor and its watchdog, after which the next start clears up.

PASS: every job is running (again) within 60 s, and a stopped child is named as what it waits for;
after SIGTERM and Ctrl-C the lab is gone within 30 s, its training waits with a checkpoint, and no
process of any of these labs is left.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.lab_process import GIVEN_UP_S, LabProcess, until

TAKEN_OVER_S, STOPPED_S = 60.0, 30.0
_SETTLES_S = 10.0
_TRAINS = re.compile(r"^\S*\btrain\b|celeryd: train\b")
_MOMENTS = ("before the first beat", "in a step", "in a save", "stopped while it waited")


def main() -> int:
    """Prints the figures; 0 if all held, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--ends", type=int, default=3, help="of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        site = Site(Path(scratch, "data"))
        taken = [site.lose(_MOMENTS[n % 4], n) for n in range(options.times)]
        ended = [site.end(how) for _ in range(options.ends) for how in ENDS]
        site.lab.stop()
    met = sum(seconds <= TAKEN_OVER_S for seconds in taken)
    good = sum(not fault for fault in ended)
    for fault in filter(None, ended):
        print(fault)
    if taken:
        print(
            f"taken over after {statistics.median(taken):.0f} s (median; {max(taken):.0f} at most)"
        )
    print(f"{'PASS' if met == len(taken) and good == len(ended) else 'MISS'} deaths: {met} of "
          f"{len(taken)} jobs taken over within {TAKEN_OVER_S:.0f} s, {good} of {len(ended)} labs "
          "ended well, target all")  # fmt: skip
    return 0 if met == len(taken) and good == len(ended) else 1


class Site:
    """A data folder, and the lab that runs on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lab = self._start()
        sent = {"name": "Shapes", "source": "shapes", "train_per_class": "20"}
        first = self.lab.post("/api/datasets", data=sent)["id"]
        until(lambda: self._job(first).get("status") == "succeeded")
        self._dataset = self.lab.ask("/api/datasets")[0]["id"]

    def lose(self, moment: str, number: int) -> float:
        """Seconds until the job of a worker that is lost then is another one's; inf: it never is,
        or nobody says what it waits for."""
        if moment == _MOMENTS[-1]:
            time.sleep(_SETTLES_S)  # the child of the job before is gone, and its heir waits
            begun = time.monotonic()
            os.kill(self._worker()[-1], signal.SIGSTOP)
            job, said = self._train(f"Net {number}"), set()
            while (
                self._job(job).get("status") != "running" and time.monotonic() < begun + GIVEN_UP_S
            ):
                said.add(self._job(job).get("waiting_because"))
                time.sleep(0.5)
            told = any(words is not None and "hangs" in words for words in said)
            return self._ended(job, moment, time.monotonic() - begun if told else float("inf"))
        job = self._train(f"Net {number}")
        until(lambda: self._job(job).get("status") == "running", every_s=0.05)
        if moment == "in a step":
            until(lambda: self._job(job).get("progress"))
        elif moment == "in a save":
            folder = self._folder / "checkpoints" / job
            until(lambda: any(folder.glob("*/.*.part")), every_s=0.001)
        for pid in self._worker():  # the parent first: it would tell of its child
            os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        try:
            until(lambda: self._job(job).get("attempt") == 2)
        except TimeoutError:
            return float("inf")
        return self._ended(job, moment, time.monotonic() - begun)

    def _ended(self, job: str, moment: str, seconds: float) -> float:
        print(f"{moment}: {seconds:.0f} s", flush=True)
        self.lab.post(f"/api/jobs/{job}/cancel")
        until(lambda: self._job(job).get("status") == "cancelled")
        return seconds

    def end(self, how: str) -> str:
        """End the lab in one of the `ENDS`, and start another; what did not hold, if anything."""
        job = self._train(f"Net {how} {time.time()}")
        until(lambda: (self._job(job).get("progress") or {}).get("done", 0) > 0)
        supervisor, begun = self.lab.process.pid, time.monotonic()
        watchdog = [pid for pid in self._processes() if _is_watchdog(pid)]
        for pid in [supervisor, *watchdog] if how == "both killed" else [supervisor]:
            os.kill(pid, ENDS[how])
        self.lab.process.wait()
        asked = ENDS[how] is not signal.SIGKILL
        if how != "both killed":
            until(lambda: not self._processes())
        seconds, before = time.monotonic() - begun, self._processes()
        self.lab = self._start()
        left = [pid for pid in before if _runs(pid)]
        saved = any((self._folder / "checkpoints" / job).glob("*/last.pt"))
        self.lab.post(f"/api/jobs/{job}/cancel")
        print(f"{how}: {seconds:.0f} s, {len(left)} left, checkpoint {saved}", flush=True)
        fine = not left and (not asked or (saved and seconds <= STOPPED_S))
        return "" if fine else f"{how}: {seconds:.0f} s, left {left}, checkpoint {saved}"

    def _start(self) -> LabProcess:
        lab = LabProcess(self._folder, LAB_CHECKPOINT_S="1")
        lab.ready()
        return lab

    def _train(self, name: str) -> str:
        training = {
            "name": name, "dataset": self._dataset, "architecture": "wrn-10-1", "epochs": 1000,
            "batch_size": 32,
        }  # fmt: skip
        return str(self.lab.post("/api/jobs", json={"kind": "train", "params": training})["id"])

    def _job(self, job: str) -> dict[str, Any]:
        return self.lab.ask(f"/api/jobs/{job}") or {}

    def _worker(self) -> list[int]:
        """The process that trains, and its child, once there are both."""
        found: list[int] = []
        while len(found) < 2:
            family = self.lab.family()
            found = sorted(pid for pid, text in family.items() if _TRAINS.search(text))
        return found

    def _processes(self) -> list[int]:
        """All that belong to this data folder, the supervisor too."""
        mark = f"LAB_DATA_DIR={self._folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _runs(int(entry.name)):
                try:
                    variables = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark in variables:
                    found.append(int(entry.name))
        return found


ENDS = {
    "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT, "supervisor killed": signal.SIGKILL,
    "both killed": signal.SIGKILL,
}  # fmt: skip


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def _is_watchdog(pid: int) -> bool:
    return b"watchdog" in Path(f"/proc/{pid}/cmdline").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
