"""Every web and every worker is replaced by one of another version, one at a time, while the lab
has work.

In the midst of two trainings and of an evaluation that the workers share. Webs are stopped while
they take an upload, workers that train in the midst of it; those that evaluate are drained first.
PASS: all jobs have the figures of a calm run, bit for bit; both trainings went on by the other
version, and the evaluation was measured by one version alone; the database and the storage have
each job once, as after faults.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.contracts.events import LogEvent
from app.store import job_queries
from app.store.db import Database
from bench.hosts import ledger
from bench.hosts.site import WEBS, Part, Site
from bench.hosts.work import EVALUATE, IMPORT, KINDS, LIVE, TRAIN, Follower, Visitor, Work

_UPLOAD_S, _IN_IT_S = 6.0, 2.0
_BEGUN = 0.05
"""Share of a job after which it is under way."""


@dataclass
class Step:
    """One process that was replaced."""

    host: str
    what: str
    had: str
    """Kind of the job that it had, empty where none, and whether that was waited for."""
    seconds: float = 0.0
    """From the end of the old one until the new one is there."""
    waited_s: float = 0.0
    """Until the old one had nothing to do."""
    load: float = 0.0


class Upgrade:
    """One lab, a calm run, and the way from one version to the other."""

    def __init__(self, lab: Site, work: Work, newer: Path) -> None:
        self._lab, self._work, self._newer = lab, work, newer
        self._database = Database(lab.database_url)
        self._jobs: dict[str, str] = {}
        """Of each kind one that the version before began; ids by what they are called here."""
        self._steps: list[Step] = []

    def run(self, file: Path | None) -> int:
        """Prints the figures; 0 if all is as it should be, else 1."""
        calm, wrong = self._work.in_peace()
        before = {each["version"] for each in self._workers()}
        begun, load = time.monotonic(), os.getloadavg()[0]
        self._jobs = {"train 1": self._work.submit(TRAIN), "train 2": self._work.submit(TRAIN),
                      EVALUATE: self._work.submit(EVALUATE)}  # fmt: skip
        for what, job in self._jobs.items():
            self._lab.until(partial(self._is_under_way, job), f"{what} is under way")
        visitor, follower = Visitor(self._lab), Follower(self._lab, self._jobs["train 1"])
        visitor.start()
        follower.start()
        sending = [self._replace_web(part) for part in self._parts("web-scale")]
        for part in self._parts("worker-live-scale"):
            later = self._beside("live", lambda: self._work.submit(LIVE))
            self._replace(part)
            sending.append(later)
        for part in self._in_turn("worker-train-scale", "train 1", "train 2"):
            self._replace(part)
        # Who has the evaluation comes last: the others help as long as they are of its version.
        for part in reversed([*self._in_turn("worker-evaluate-scale", EVALUATE)]):
            self._replace(part, drained=True)
        seconds = time.monotonic() - begun
        for thread in sending:
            self._lab.until(lambda thread=thread: not thread.is_alive(), thread.name)  # type: ignore[misc]
        wrong += self._differences(calm)
        visitor.stop()
        silent_s, away_s = follower.stop(), visitor.away_s()
        for kind in KINDS:  # by the version after it alone
            if self._work.outcome(self._work.submit(kind)) != calm[kind]:
                wrong.append(f"{kind}: other figures by the version after it")
        after = {each["version"] for each in self._workers()}
        if before & after or len(after) != 1:
            wrong.append(f"versions {before} before, {after} after")
        wrong += ledger.settled(self._lab, self._database, self._work.submitted)
        wrong += [f"{each} ended by itself" for each in self._lab.restarts]
        return self._tell(file, wrong, {
            "seconds": seconds, "away_s": away_s, "silent_s": silent_s, "load_before": load,
            "load_after": os.getloadavg()[0], "before": sorted(before), "after": sorted(after),
            "asked": len(visitor.seen), "shown": sum(said == "200" for *_, said in visitor.seen),
        })  # fmt: skip

    def _tell(self, file: Path | None, wrong: list[str], told: dict[str, Any]) -> int:
        for line in wrong:
            print(line)
        print(f"no page for {told['away_s']:.1f} s at most ({told['shown']} of {told['asked']} "
              f"shown), no event for {told['silent_s']:.0f} s, load {told['load_before']:.0f} to "
              f"{told['load_after']:.0f}")  # fmt: skip
        jobs = len(self._work.submitted)
        print(f"{'MISS' if wrong else 'PASS'} upgrade: {len(self._steps)} processes replaced in "
              f"{told['seconds']:.0f} s changed nothing in {jobs} jobs, {len(wrong)} things wrong, "
              "target none")  # fmt: skip
        if file is not None:
            steps = [asdict(step) for step in self._steps]
            whole = told | {"steps": steps, "wrong": wrong, "jobs": jobs, "cores": os.cpu_count()}
            file.write_text(json.dumps(whole, indent=1) + "\n")
        return 1 if wrong else 0

    def _workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._lab.read("/api/workers")["items"]
        return found

    def _parts(self, service: str) -> list[Part]:
        return [part for part in self._lab.parts if part.container.name == service]

    def _in_turn(self, service: str, *jobs: str) -> list[Part]:
        """Who has the first of these jobs first, and who has none last."""
        have = [self._host_of(self._jobs[job]) for job in jobs]
        order = {host: number for number, host in reversed([*enumerate(have)])}
        return sorted(self._parts(service), key=lambda part: order.get(part.host, len(have)))

    def _host_of(self, job: str) -> str:
        return str(self._work.job(job).get("worker")).partition("@")[2]

    def _is_under_way(self, job: str) -> bool:
        progress = self._work.job(job).get("progress") or {"done": 0, "total": 1}
        return bool(progress["done"] >= _BEGUN * progress["total"])

    def _beside(self, name: str, submit: Callable[[], str]) -> threading.Thread:
        def send() -> None:
            self._jobs[name] = submit()

        thread = threading.Thread(target=send, name=name, daemon=True)
        thread.start()
        return thread

    def _replace_web(self, part: Part) -> threading.Thread:
        """In the midst of an upload."""
        sent = self._beside(f"{IMPORT} {part.host}", lambda: self._work.upload(_UPLOAD_S))
        time.sleep(_IN_IT_S)
        self._replace(part)
        return sent

    def _replace(self, part: Part, *, drained: bool = False) -> None:
        """Stop it, and start the next version in its place."""
        name = f"{part.container.name.split('-')[1]}@{part.host}"
        step = Step(part.host, part.container.name, self._had(name), load=os.getloadavg()[0])
        if drained:
            begun = time.monotonic()
            self._tell_worker(name, "drain")
            self._lab.until(lambda: not self._runs(name), f"{name} has nothing to do")
            step.waited_s = time.monotonic() - begun
        begun = time.monotonic()
        part.container.stop()
        part.container.code = self._newer
        part.start()
        part.container.wait()
        step.seconds = time.monotonic() - begun
        if drained:
            self._tell_worker(name, "resume")
        self._steps.append(step)
        print(
            f"replaced {step.what} on {step.host}: waited {step.waited_s:.0f} s, "
            f"{step.seconds:.0f} s, {step.had or 'no job'}, load {step.load:.0f}",
            flush=True,
        )

    def _tell_worker(self, name: str, what: str) -> None:
        self._lab.http.post(f"/api/workers/{name}/{what}").raise_for_status()

    def _runs(self, name: str) -> list[str]:
        return [run["job"] for each in self._workers() if each["name"] == name
                for run in each["runs"]]  # fmt: skip

    def _had(self, name: str) -> str:
        if name.partition("@")[2] in WEBS:
            return ""
        return ", ".join(str(self._work.job(job).get("kind")) for job in self._runs(name))

    def _differences(self, calm: dict[str, Any]) -> list[str]:
        """What is wrong with the jobs that both versions had to do with."""
        found = []
        for what, job in self._jobs.items():
            try:
                if self._work.outcome(job) != calm[self._work.submitted[job]]:
                    found.append(f"{what} {job}: other figures")
            except (RuntimeError, TimeoutError) as error:
                found.append(f"{what}: {error}")
        said = {
            what: [event.body["text"] for event in
                   job_queries.events_after(self._database, job, 0, limit=10_000)
                   if event.body["type"] == LogEvent.model_fields["type"].default]
            for what, job in self._jobs.items()
        }  # fmt: skip
        for what in ("train 1", "train 2"):
            if not any("Going on after" in text for text in said[what]):
                found.append(f"{what} did not go on: it was over before its worker was replaced")
        if not any(EVALUATE in step.had and step.waited_s > 1.0 for step in self._steps):
            found.append("the evaluation was over before its worker was drained")
        if any("begins anew" in text for text in said[EVALUATE]):
            found.append("the evaluation began anew")
        return found
