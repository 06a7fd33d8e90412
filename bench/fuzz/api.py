"""`python -m bench.fuzz.api [--cases 1000]`: Schemathesis over every operation of the API.

A lab without workers, furnished with a job of each kind, is asked by requests that its description
allows and by others, one by one and in the order in which one's answer gives the next one's ids.

PASS: no server error, and no answer that the description does not name.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.services.lab import Lab
from app.settings import Settings
from bench.fuzz.known import KNOWN
from bench.stored_jobs import fill
from bench.web import LOOPBACK, broker, web

ROOT = Path(__file__).resolve().parents[2]
STREAM = "/api/jobs/{job_id}/events"
"""Of a job that nobody works on it does not end: it is asked for jobs that are over alone."""
_LEFT_OUT = "positive_data_acceptance,ensure_resource_availability"
"""Of the checks. What is well-formed is refused with 4XX all the same where it does not fit what
the lab holds, and the description says so. And what is accepted (202) is not created: the answer is
a job, and the dataset that it makes has another id, later."""


def main() -> int:
    """Prints what Schemathesis prints; 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="of an operation and a phase")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, broker(Path(folder)) as redis_url:
        # Nothing that is submitted is done, and so it waits.
        settings = Settings(
            data_dir=Path(folder), redis_url=redis_url, database_url=None, max_waiting=10**9
        )
        lab = Lab.open(settings)
        stored = fill(lab, 1000)
        lab.close()
        known = {
            "job_id": [*stored.jobs.values()],
            "dataset_id": [stored.dataset],
            "model_id": [stored.teacher, stored.student],
        }
        with web(settings) as (_, port):
            address = f"http://{LOOPBACK}:{port}"
            limits = ("-n", str(options.cases), "--seed", str(options.seed))
            asked = [
                ask(address, known, Path(folder), *limits, *parts)
                for parts in (
                    ("--exclude-path", STREAM),
                    ("--include-path", STREAM, "--phases", "examples,coverage,fuzzing"),
                )
            ]
    for said in asked:
        print(said.text)
    cases, faults = sum(said.requests for said in asked), sum(said.faults for said in asked)
    print(
        f"{'MISS' if faults else 'PASS'} api: {cases:,} requests, {faults} with a fault, target 0"
    )
    return 1 if faults else 0


@dataclass(frozen=True)
class Said:
    """What Schemathesis says of a run."""

    text: str
    requests: int
    faults: int
    """Requests that were answered wrongly, or not at all."""


def ask(address: str, known: Mapping[str, Sequence[str]], folder: Path, *options: str) -> Said:
    """Have Schemathesis ask a lab.

    Args:
        known: ids that the lab knows, by the name of the parameter.
        folder: where it may leave files.
        options: of its command line.
    """
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/api/openapi.json"),
            *("--checks", "all", "--exclude-checks", _LEFT_OUT, "--continue-on-failure"),
            *("--suppress-health-check", "all", "--request-timeout", "60"),
            *("--max-response-time", "60", "--no-color", *options),
        ],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {
            "SCHEMATHESIS_HOOKS": "bench.fuzz.known", "PYTHONPATH": str(ROOT),
            KNOWN: json.dumps(known),
        },
    )  # fmt: skip
    asked = re.search(r"(\d+) generated", ran.stdout)
    found = re.findall(r"(?:found )?(\d+) (?:unique|errored)", ran.stdout)
    faults = sum(map(int, found))
    return Said(ran.stdout, int(asked[1]) if asked else 0, faults or ran.returncode)


if __name__ == "__main__":
    sys.exit(main())
