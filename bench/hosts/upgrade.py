"""Every web and every worker is replaced by one of another version, one at a time, while the lab
has work.

Trainings, and evaluations that the workers share, are submitted to the version before, more than it
ends meanwhile; in the short form one for each worker, and the workers are drained until their turn
comes. Webs are stopped while they take an upload, workers that train in the midst of it; those that
evaluate are drained in the midst of it. PASS: all jobs have the figures of a calm run,
bit for bit; trainings went on by the other version, and each evaluation was measured by one version
alone; the database and the storage have each job once, as after faults.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.store import job_queries
from app.store.db import Database
from bench.hosts import ledger
from bench.hosts.site import Part, Site
from bench.hosts.work import EVALUATE, IMPORT, KINDS, LIVE, TRAIN, Follower, Visitor, Work

_UPLOAD_S, _IN_IT_S = 6.0, 2.0
_BEGUN = 0.05
"""Share of a job after which it is under way."""
_MANY = {TRAIN: 15, EVALUATE: 24}
"""Jobs that follow the first training."""


@dataclass
class Step:
    """One process that was replaced."""

    host: str
    what: str
    had: str
    """Kinds of the jobs that it had."""
    seconds: float = 0.0
    """From the end of the old one until the new one is there."""
    waited_s: float = 0.0
    """Until the old one had nothing to do."""
    load: float = 0.0


class Upgrade:
    """One lab, a calm run, and the way from one version to the other."""

    def __init__(self, lab: Site, work: Work, newer: Path, *, short: bool) -> None:
        self._lab, self._work, self._newer, self._short = lab, work, newer, short
        self._database = Database(lab.database_url)
        self._jobs: dict[str, str] = {}
        """What was asked for while both versions were there; ids by what they are called here."""
        self._steps: list[Step] = []
        self._held: set[str] = set()
        """Workers that are drained but for their turn."""

    def run(self, file: Path | None) -> int:
        """Prints the figures; 0 if all is as it should be, else 1."""
        calm, wrong = self._work.in_peace()
        before = {each["version"] for each in self._workers()}
        begun, load = time.monotonic(), os.getloadavg()[0]
        first = self._jobs[f"{TRAIN} 0"] = self._work.submit(TRAIN)
        self._lab.until(lambda: self._is_under_way(first), "a training is under way")
        trainers = self._parts("worker-train-scale")
        evaluators = self._parts("worker-evaluate-scale")
        count = _MANY
        if self._short:
            self._held = {_name(part) for part in (*trainers, *evaluators)}
            count = {TRAIN: len(trainers), EVALUATE: len(evaluators)}
        for name in self._held:
            self._tell_worker(name, "drain")
        for kind in count:
            for number in range(1, count[kind] + 1):
                self._jobs[f"{kind} {number}"] = self._work.submit(kind)
        visitor, follower = Visitor(self._lab), Follower(self._lab, first)
        visitor.start()
        follower.start()
        sending = [self._replace_web(part) for part in self._parts("web-scale")]
        for part in self._parts("worker-live-scale"):
            later = self._beside(LIVE, lambda: self._work.submit(LIVE))
            self._replace(part)
            sending.append(later)
        for part in evaluators:
            self._replace(part, during=EVALUATE, drained=True)
        for part in trainers:
            self._replace(part, during=TRAIN)
        for name in self._held:
            self._tell_worker(name, "resume")
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
            print(f"wrong: {line}")
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

    def _replace(self, part: Part, *, during: str = "", drained: bool = False) -> None:
        """Stop it, in the midst of a job where it has one, and start the next version in its
        place."""
        name = _name(part)
        held = name in self._held
        if held:
            self._tell_worker(name, "resume")
        if during:
            self._lab.until(lambda: self._is_in_the_midst(name, during), f"{name} has work")
        had = self._runs(name) if during else []
        step = Step(part.host, part.container.name, self._kinds(had), load=os.getloadavg()[0])
        if drained or held:
            self._tell_worker(name, "drain")
        if drained:
            begun = time.monotonic()
            self._lab.until(lambda: not self._runs(name), f"{name} has nothing to do")
            step.waited_s = time.monotonic() - begun
        begun = time.monotonic()
        part.container.stop()
        part.container.code = self._newer
        part.start()
        part.container.wait()
        step.seconds = time.monotonic() - begun
        if drained and not held:
            self._tell_worker(name, "resume")
        self._steps.append(step)
        print(
            f"replaced {step.what} on {step.host}: waited {step.waited_s:.0f} s, "
            f"{step.seconds:.0f} s, {step.had or 'no job'}, load {step.load:.0f}",
            flush=True,
        )

    def _is_in_the_midst(self, name: str, kind: str) -> bool:
        """Or nothing is left that it could be in the midst of."""
        asked = [job for what, job in self._jobs.items() if what.startswith(kind)]
        if all(self._work.job(job).get("finished_at") for job in asked):
            return True
        return any(job in asked and self._is_under_way(job) for job in self._runs(name))

    def _tell_worker(self, name: str, what: str) -> None:
        self._lab.http.post(f"/api/workers/{name}/{what}").raise_for_status()

    def _runs(self, name: str) -> list[str]:
        return [run["job"] for each in self._workers() if each["name"] == name
                for run in each["runs"]]  # fmt: skip

    def _kinds(self, jobs: list[str]) -> str:
        return ", ".join(self._work.submitted[job] for job in jobs)

    def _differences(self, calm: dict[str, Any]) -> list[str]:
        """What is wrong with the jobs that both versions had to do with."""
        found = []
        for what, job in self._jobs.items():
            try:
                if self._work.outcome(job) != calm[self._work.submitted[job]]:
                    found.append(f"{what} {job}: other figures")
            except (RuntimeError, TimeoutError) as error:
                found.append(f"{what}: {error}")
        for kind in (TRAIN, EVALUATE):
            if not any(kind in step.had for step in self._steps):
                found.append(f"no worker was replaced in the midst of what is to {kind}")
        said = [text for what, job in self._jobs.items() for text in self._lines(what, job)]
        if not any("train" in line and "Going on after" in line for line in said):
            found.append("no training went on by the other version")
        return found + [line for line in said if "begins anew" in line]

    def _lines(self, what: str, job: str) -> list[str]:
        events = job_queries.events_after(self._database, job, 0, limit=10_000)
        return [f"{what}: {each.body['text']}" for each in events if each.body["type"] == "log"]


def _name(part: Part) -> str:
    """Of a worker, as the lab has it."""
    return f"{part.container.name.split('-')[1]}@{part.host}"
