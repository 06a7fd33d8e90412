"""How soon a dead worker's job goes on, and how a lab ends.

    python -m bench.deaths [--times 20] [--ends 3]      from the root of the repository

A whole lab (`python -m app`) with its usual lease. Each time a training or an evaluation is
submitted and its worker ended by SIGKILL, parent and child, so that nobody can tell of it: in turn
before the first beat of its lease, in the midst of a step, and while a save is written; and one in
four times the child is stopped by SIGSTOP before there is a job, which then waits for it. Then labs
with a running job are ended: by SIGTERM, by Ctrl-C, by SIGKILL of the supervisor, and by SIGKILL of
the supervisor and its watchdog, after which the next start clears up.

PASS: every job is running (again) within 60 s, gets further then, and can be cancelled, and a
stopped child is named as what its job waits for; after SIGTERM and Ctrl-C the lab is gone within
30 s, its job has a save; no process of any of these labs is left, and their jobs run and get
further in the next one.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.lab_process import GIVEN_UP_S, LabProcess, until

TAKEN_OVER_S, STOPPED_S = 60.0, 30.0
_SETTLES_S = 10.0
_MOMENTS = ("before the first beat", "in a step", "in a save", "stopped while it waited")
_KINDS = ("train", "evaluate")
"""Of jobs, and what their queues are called."""
_NEVER = float("inf")


def main() -> int:
    """Prints the figures; 0 if all held, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--ends", type=int, default=3, help="of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        site = Site(Path(scratch, "data"))
        turns = len(_MOMENTS)
        taken = [
            site.lose(_KINDS[n // turns % 2], _MOMENTS[n % turns]) for n in range(options.times)
        ]
        ended = [site.end(_KINDS[n % 2], how) for n in range(options.ends) for how in ENDS]
        site.lab.stop()
    met = sum(seconds <= TAKEN_OVER_S for seconds in taken)
    good = sum(not fault for fault in ended)
    for fault in filter(None, ended):
        print(fault)
    if taken:
        print(f"taken over after {min(taken):.0f} to {max(taken):.0f} s, "
              f"median {statistics.median(taken):.0f}")  # fmt: skip
    print(f"{'PASS' if met == len(taken) and good == len(ended) else 'MISS'} deaths: {met} of "
          f"{len(taken)} jobs taken over within {TAKEN_OVER_S:.0f} s, {good} of {len(ended)} labs "
          "ended well, target all")  # fmt: skip
    return 0 if met == len(taken) and good == len(ended) else 1


class Site:
    """A data folder, and the lab that runs on it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self.lab = self._start()
        sent = {"name": "Shapes", "source": "shapes", "train_per_class": "200"}
        self._succeeds(self.lab.post("/api/datasets", data=sent)["id"])
        self._dataset = self.lab.ask("/api/datasets")[0]["id"]
        self._succeeds(self._train(epochs=1))
        self._model = self.lab.ask("/api/models")["items"][0]["id"]

    def lose(self, kind: str, moment: str) -> float:
        """Seconds until the job of a worker that is lost then is another one's; inf: it never is,
        gets no further, or nobody says what it waits for."""
        if moment == _MOMENTS[-1]:
            seconds, job = self._stop_idle(kind)
        else:
            job = self._submit(kind)
            self._await(job, moment)
            worker = self._worker(kind)
            for pid in worker:  # the parent first: it would tell of its child
                os.kill(pid, signal.SIGKILL)
            seconds = self._until_running(job, times=2, since=time.time())
        if not self._gets_further(job):
            seconds = _NEVER
        print(f"{kind}, {moment}: {seconds:.0f} s", flush=True)
        self._cancel(job)
        return seconds

    def _stop_idle(self, kind: str) -> tuple[float, str]:
        os.kill(self._idle_child(kind), signal.SIGSTOP)
        begun, job, said = time.time(), self._submit(kind), set[str]()
        while not self._runs(job) and time.time() < begun + GIVEN_UP_S:
            said.add(str((self.lab.ask(f"/api/jobs/{job}") or {}).get("waiting_because")))
            time.sleep(0.5)
        told = any("hangs" in words for words in said)
        return (self._until_running(job, times=1, since=begun) if told else _NEVER), job

    def _idle_child(self, kind: str) -> int:
        """The one that has waited for a while: that of the job before is gone, and its heir is
        up."""
        child, since = 0, time.monotonic()
        while time.monotonic() < since + _SETTLES_S:
            *_, newest = self._worker(kind)
            if newest != child:
                child, since = newest, time.monotonic()
            time.sleep(0.5)
        return child

    def _await(self, job: str, moment: str) -> None:
        until(lambda: self._runs(job), every_s=0.05)
        if moment == "in a step":
            until(lambda: self._events(job, "progress"))
        elif moment == "in a save":
            saves = self._folder / "checkpoints"
            until(lambda: any(saves.glob(f"{job}*/*/.*.part")), every_s=0.001)

    def _until_running(self, job: str, *, times: int, since: float) -> float:
        """Seconds since then until a worker has it for so many times; inf: there is none."""
        try:
            until(lambda: len(self._runs(job)) >= times)
        except TimeoutError:
            return _NEVER
        return self._runs(job)[times - 1][1] - since

    def _runs(self, job: str) -> list[tuple[int, float]]:
        """Number and time of each of its events that says that a worker has it."""
        return [(seq, at) for seq, at, body in self._events(job, "state") if '"running"' in body]

    def _gets_further(self, job: str) -> bool:
        """Whether who has it now reports progress."""
        try:
            until(
                lambda: [e for e in self._events(job, "progress") if e[0] > self._runs(job)[-1][0]]
            )
        except TimeoutError:
            return False
        return True

    def _events(self, job: str, kind: str) -> list[tuple[int, float, str]]:
        asked = "SELECT seq, at, body FROM job_events WHERE job_id = ? AND type = ? ORDER BY seq"
        with closing(sqlite3.connect(self._folder / "lab.sqlite3", timeout=60)) as database:
            return database.execute(asked, (job, kind)).fetchall()

    def end(self, kind: str, how: str) -> str:
        """End the lab in one of the `ENDS`, and start another; what did not hold, if anything."""
        job = self._submit(kind)
        until(lambda: self._runs(job) and self._gets_further(job))
        every, begun = self.lab.processes(), time.monotonic()
        watchdogs = [pid for pid, process in every.items() if process.is_watchdog]
        for pid in [self.lab.process.pid, *(watchdogs if how == "both killed" else [])]:
            os.kill(pid, ENDS[how])
        self.lab.process.wait()
        if how != "both killed":
            until(lambda: not self.lab.processes())
        seconds, before, runs = time.monotonic() - begun, self.lab, len(self._runs(job))
        saved = any((self._folder / "checkpoints").glob(f"{job}*/*/last.pt"))
        self.lab = self._start()
        left = before.processes()
        again = self._until_running(job, times=runs + 1, since=0) < _NEVER
        goes_on = again and self._gets_further(job)
        self._cancel(job)
        what = (f"{kind}, {how}: {seconds:.0f} s, {len(left)} of {len(every)} left, save {saved}, "
                f"goes on {goes_on}")  # fmt: skip
        print(what, flush=True)
        asked = ENDS[how] is not signal.SIGKILL
        fine = not left and goes_on and (not asked or (saved and seconds <= STOPPED_S))
        return "" if fine else f"{what}, {left}"

    def _start(self) -> LabProcess:
        lab = LabProcess(self._folder, LAB_CHECKPOINT_S="1")
        lab.ready()
        return lab

    def _submit(self, kind: str) -> str:
        return self._train(epochs=1000) if kind == "train" else self._evaluate()

    def _train(self, epochs: int) -> str:
        self._number += 1
        return self._post(
            "train", name=f"Net {self._number}", dataset=self._dataset, architecture="wrn-10-1",
            epochs=epochs, batch_size=32,
        )  # fmt: skip

    def _evaluate(self) -> str:
        """Of many pieces, each of a second or so, and longer than anybody waits here."""
        budgets = [f"{n / 4}/255" for n in range(1, 65)]
        return self._post(
            "evaluate", models=[self._model], dataset=self._dataset, batch_size=8,
            attack={"steps": 200}, epsilons=budgets, step_counts=[*range(210, 500, 10)],
        )  # fmt: skip

    def _post(self, kind: str, **params: Any) -> str:
        return str(self.lab.post("/api/jobs", json={"kind": kind, "params": params})["id"])

    def _succeeds(self, job: str) -> None:
        until(lambda: self._status(job) == "succeeded")

    def _cancel(self, job: str) -> None:
        self.lab.post(f"/api/jobs/{job}/cancel")
        until(lambda: self._status(job) == "cancelled")

    def _status(self, job: str) -> str | None:
        return (self.lab.ask(f"/api/jobs/{job}") or {}).get("status")

    def _worker(self, queue: str) -> list[int]:
        """The process that serves a queue, and its child, once there are both."""
        found: list[int] = []
        while len(found) < 2:
            parent = self.lab.recorded(queue)
            of_it = [p for p, one in self.lab.processes().items() if one.parent == parent]
            found = [parent, *of_it]
        return found


ENDS = {
    "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT, "supervisor killed": signal.SIGKILL,
    "both killed": signal.SIGKILL,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
