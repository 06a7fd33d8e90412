"""A lab on ten hosts, and forty faults while it has work: every job ends, and ends the same.

    python -m bench.hosts [--faults 40] [--after 0] [--seed 0] [--json FILE] [FAULT ...]
    python -m bench.hosts --short     three faults, all of them short: some minutes
    python -m bench.hosts --upgrade [COMMIT]    another version in place of faults; with --short
                                                while it has little work
    python -m bench.hosts --clean     removes what a run left that was killed itself

As root, from the root of the repository. Hosts are network namespaces of this machine with
addresses of their own: a proxy (nginx), two webs, Redis, PostgreSQL, an S3 server (moto's), and
three workers. What runs on them are the commands of docker-compose.yml, profile `scale`, started
again when they end, as Docker does; settings that are not the file's: a lease of 10 s, so that more
happens in less time, and a checkpoint a second. The user is a host as well, and reaches the proxy.

First every job runs in peace, twice. Then for each fault of the plan, which the seed orders, a
training and an evaluation are submitted; in the midst of them, or of an upload, somebody is cut
off, slow (100 ms and 1 % of frames, by `netem` or a wire of our own), without power, or stopped for
longer than a lease; meanwhile a live attack and an archive are sent. A user opens a page twice a
second all the time.

PASS: every job succeeded, with the figures of the calm run bit for bit; the database and the
storage have each job, its events, its end, its result and what it made once; no lease and no part
of an evaluation is left; and all runs that should.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.store import job_queries, shards
from app.store.db import Database
from bench.hosts import ledger, network, versions
from bench.hosts.faults import DOING, SHORT, WEB, WORKER, Fault, plan
from bench.hosts.site import Site, site
from bench.hosts.upgrade import Upgrade
from bench.hosts.work import EVALUATE, IMPORT, KINDS, LIVE, TRAIN, Follower, Visitor, Work

_UPLOAD_S, _IN_IT_S = 6.0, 2.0


@dataclass
class Round:
    """What came of one fault."""

    fault: str
    during: str
    host: str
    lasts_s: float
    load: float
    """Of the machine, as it began."""
    measurers: int
    """Workers that had parts of the evaluation as it began."""
    wrong: str = ""
    over_s: float = 0.0
    """From its end until all jobs were over."""
    taken_s: float | None = None
    """From its beginning until the job was another's, or the same worker's again; None where it
    stayed whose it was."""
    away_s: float = 0.0
    """The longest that no page was shown."""
    silent_s: float = 0.0
    """The longest that a page which follows the training heard nothing."""

    def __str__(self) -> str:
        taken = "stayed" if self.taken_s is None else f"taken after {self.taken_s:.0f} s"
        return (
            f"{'MISS' if self.wrong else 'ok  '} {self.fault:24} {self.during:9} {self.host:9} "
            f"{self.lasts_s:3.0f} s; over {self.over_s:.0f} s later, {taken}, no page for "
            f"{self.away_s:.1f} s, no event for {self.silent_s:.0f} s, {self.measurers} "
            f"measured, load {self.load:.0f} {self.wrong}"
        )


def main() -> int:
    """Prints the figures; 0 if all is as it should be, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--after", type=int, default=0, help="so many of them, which were done")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", type=Path, help="a file that gets all of it")
    parser.add_argument("--upgrade", nargs="?", const="", metavar="COMMIT", help="from the code of "
                        "a commit to this one; without it from this one to a copy with another "
                        "number and one more migration")  # fmt: skip
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("only", nargs="*", help="names of faults, such as `database cut off`")
    options = parser.parse_args()
    if options.clean:
        network.sweep()
        return 0
    if not network.usable():
        raise SystemExit("no network namespaces: it takes root, iproute2 and a kernel that lets it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    atexit.register(network.clear)
    os.umask(0o022)
    (folder := network.folder()).mkdir()
    settings = {
        "LAB_LEASE_S": "10",
        "LAB_CHECKPOINT_S": "1",
        "LAB_SHIPPED_DIR": str(network.ROOT / "bench"),
    }
    faults = (
        [*SHORT]
        if options.short
        else plan(options.seed, options.faults, options.only)[options.after :]
    )
    if options.upgrade is not None:
        older = versions.committed(options.upgrade, folder / "older") if options.upgrade else None
        newer = network.ROOT if older else versions.following(folder / "newer")
        with site(folder, older or network.ROOT, **settings) as lab:
            work = Work(lab, *((30, 200) if options.short else (50, 400)))
            return Upgrade(lab, work, newer, short=options.short).run(options.json)
    with site(folder, **settings) as lab:
        work = Work(lab, *((6, 24) if options.short else (8, 32)))
        return Trial(lab, work).run(faults, options.json)


class Trial:
    """One lab, a calm run, and what comes after it."""

    def __init__(self, lab: Site, work: Work) -> None:
        self._lab, self._work = lab, work
        self._database = Database(lab.database_url)
        self._calm: dict[str, Any] = {}

    def run(self, faults: list[Fault], file: Path | None) -> int:
        """Prints the figures; 0 if all is as it should be, else 1."""
        self._calm, wrong = self._work.in_peace()
        rounds = [self._stand(number, fault) for number, fault in enumerate(faults, 1)]
        wrong += ledger.settled(self._lab, self._database, self._work.submitted)
        wrong += [f"{each.fault} {each.during}: {each.wrong}" for each in rounds if each.wrong]
        good = sum(not each.wrong for each in rounds)
        for each in wrong:
            print(each)
        for name, count in sorted(Counter(self._lab.restarts).items()):
            print(f"{name} ended by itself {count} times, and was started again")
        jobs = len(self._work.submitted)
        verdict = "MISS" if wrong else "PASS"
        print(f"{verdict} hosts: {good} of {len(rounds)} faults changed nothing in {jobs} jobs, "
              f"{len(wrong)} things wrong, target none")  # fmt: skip
        if file is not None:
            told = {"rounds": [asdict(each) for each in rounds], "wrong": wrong, "jobs": jobs,
                    "restarts": self._lab.restarts, "slow_by": self._lab.wire,
                    "cores": os.cpu_count()}  # fmt: skip
            file.write_text(json.dumps(told, indent=1) + "\n")
        return 1 if wrong else 0

    def _stand(self, number: int, fault: Fault) -> Round:
        jobs, threads = {kind: self._work.submit(kind) for kind in (TRAIN, EVALUATE)}, []
        if fault.during == IMPORT:
            threads.append(self._beside(jobs, IMPORT, lambda: self._work.upload(_UPLOAD_S)))
            time.sleep(_IN_IT_S)
        else:
            self._until_it_is_half_way(jobs[fault.during])
        follower = None if fault.during == IMPORT else Follower(self._lab, jobs[TRAIN])
        if follower is not None:
            follower.start()
        host = self._host(fault, jobs)
        parts = shards.of_job(self._database, jobs[EVALUATE])
        found = Round(fault.name, fault.during, host, fault.lasts_s, os.getloadavg()[0],
                      len({part.worker for part in parts if part.worker}))  # fmt: skip
        visitor = Visitor(self._lab)
        visitor.start()
        begun, wall = time.monotonic(), time.time()
        with DOING[fault.what](self._lab, host):
            threads.append(self._beside(jobs, LIVE, lambda: self._work.submit(LIVE)))
            if fault.during != IMPORT:
                threads.append(self._beside(jobs, IMPORT, self._work.upload))
            while time.monotonic() < begun + fault.lasts_s:
                self._lab.keep()
                time.sleep(0.2)
        healed = time.monotonic()
        found.wrong = self._outcomes(jobs, threads)
        found.over_s = time.monotonic() - healed
        visitor.stop()
        found.away_s = visitor.away_s()
        found.silent_s = 0.0 if follower is None else follower.stop()
        if fault.during in jobs:
            row = job_queries.get(self._database, jobs[fault.during])
            if row is not None and row.claimed_at is not None and row.claimed_at > wall:
                found.taken_s = row.claimed_at - wall
        print(f"{number:3} {found}", flush=True)
        return found

    def _beside(self, jobs: dict[str, str], kind: str, submit: Any) -> threading.Thread:
        def send() -> None:
            jobs[kind] = submit()

        thread = threading.Thread(target=send, name=kind, daemon=True)
        thread.start()
        return thread

    def _until_it_is_half_way(self, job: str) -> None:
        def half_way() -> bool:
            found = self._work.job(job)
            progress = found.get("progress") or {"done": 0, "total": 1}
            return progress["done"] >= 0.3 * progress["total"] or bool(found.get("finished_at"))

        self._lab.until(half_way, f"job {job} is half way")

    def _host(self, fault: Fault, jobs: dict[str, str]) -> str:
        if fault.whom == WORKER:
            return str(self._work.job(jobs[fault.during])["worker"]).partition("@")[2]
        return self._lab.serves() if fault.whom == WEB else fault.whom

    def _outcomes(self, jobs: dict[str, str], threads: list[threading.Thread]) -> str:
        """What is wrong with them; empty where nothing is."""
        said = []
        try:
            for thread in threads:
                self._lab.until(partial(_is_over, thread), thread.name)
            for kind, job in jobs.items():
                if self._work.outcome(job) != self._calm[kind]:
                    said.append(f"{kind} {job}: other figures")
            if lost := {*KINDS} - jobs.keys():
                said.append(f"not taken: {', '.join(sorted(lost))}")
        except (RuntimeError, TimeoutError) as error:
            said.append(f"{type(error).__name__}: {error}")
        return "; ".join(said)


def _is_over(thread: threading.Thread) -> bool:
    return not thread.is_alive()


if __name__ == "__main__":
    sys.exit(main())
