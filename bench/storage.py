"""What files in a storage of another host, and SQL on one, cost a training and an evaluation.

    python -m bench.storage [--repeats 7] [--architecture wrn-28-10] [--delay-ms 20] [--seconds 30]

from the root of the repository, with the extra `storage`, moto and PostgreSQL installed. moto's
server is started behind a relay that holds up every answer, so that a request takes `--delay-ms`
more. The storage and the relay use the processor of this machine, too, which those of another host
would not.

A checkpoint is written as in a job, in turn to a data folder and to one with a storage: what a
training waits for, and what the processor does for it beside the training. Then what a worker that
has seen nothing before waits for dataset and weights, and what it waits for the second time. What
SQL costs that is as far away, `bench.far_sql` measures in trainings of `--seconds` each.

PASS: a training that saves once a minute loses less than 1 % of its time to both: what it waits for
and what its process does beside, of the storage more than with a data folder, of SQL all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from app.settings import Settings
from app.store.db import Database
from app.store.files import Files
from app.store.shared_files import files_of
from bench import far_sql
from bench.checkpoints import EVERY_S, started
from worker.jobs.context import JobContext
from worker.jobs.save_pace import SavePace
from worker.jobs.saves import Saves

TARGET = 0.01
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
_JOB = "a" * 32
_PIECE = 2**16


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="checkpoints of each kind")
    parser.add_argument("--architecture", default="wrn-28-10")
    parser.add_argument("--delay-ms", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=30, help="of each training")
    options = parser.parse_args()
    os.environ.update(_CREDENTIALS)
    near, far = far_sql.measured(options.delay_ms / 1000, options.seconds, options.repeats)
    print(f"SQLite of this machine: a training {far_sql.said(near)}")
    print(f"PostgreSQL {options.delay_ms:.0f} ms away: a training {far_sql.said(far)}")
    of_sql = statistics.median(share.both for share in far)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        _storage() as port,
        _relay(port, options.delay_ms / 1000) as slow,
    ):
        database = Database(f"sqlite:///{folder}/lab.sqlite3")
        database.migrate()
        at = f"s3://lab/bench?endpoint=http://127.0.0.1:{slow}&region=us-east-1"

        def machine(name: str, storage_url: str | None = at) -> Files:
            settings = Settings(data_dir=Path(folder, name), storage_url=storage_url)
            files = files_of(settings, database, patience_s=10)
            files.prepare()
            return files

        alone, shared = machine("alone", None), machine("shared")
        more = _checkpoints(options.architecture, alone, shared, options.repeats)
        _reading(alone, shared, machine)
        database.close()
    loses = more + of_sql
    met = loses < TARGET
    print(
        f"{'PASS' if met else 'MISS'} storage: at one checkpoint in {EVERY_S:.0f} s a training "
        f"loses {loses:.2%}, {more:.2%} more to the storage than to a data folder and {of_sql:.2%} "
        f"to SQL, target below {TARGET:.0%}; load {os.getloadavg()[0]:.1f}"
    )
    return 0 if met else 1


def _checkpoints(architecture: str, alone: Files, shared: Files, repeats: int) -> float:
    """Print what both take; what a training loses more with storage, as a share of its time."""
    state = started(architecture)
    waits: dict[str, list[float]] = {"data folder": [], "storage": []}
    works: dict[str, list[float]] = {"data folder": [], "storage": []}
    arrives = []
    for number in range(repeats + 1):
        for name, files in (("data folder", alone), ("storage", shared)):
            saves = Saves(_context(files), SavePace(0))
            begin, worked = time.perf_counter(), time.process_time()
            with saves.until_sent():
                saves.when_due(state.save)
                waited = time.perf_counter() - begin
            if number:  # the first one warms up
                waits[name].append(waited)
                works[name].append(time.process_time() - worked)
                if files is shared:
                    arrives.append(time.perf_counter() - begin)
    for name in waits:
        print(
            f"{architecture}, {name}: the training waits {_spread(waits[name])}; the process works "
            f"{_spread(works[name])}"
        )
    print(f"{architecture}, storage: the checkpoint is there after {_spread(arrives)}")
    held_up, work = (_more(found) for found in (waits, works))
    return max(held_up, work, 0.0) / EVERY_S


def _more(found: dict[str, list[float]]) -> float:
    return statistics.median(found["storage"]) - statistics.median(found["data folder"])


def _context(files: Files) -> JobContext:
    """As much of a job as a save looks at."""
    made = SimpleNamespace(
        lab=SimpleNamespace(files=files),
        claim=SimpleNamespace(job_id=_JOB, fence=1),
        got_further=lambda: None,
        flush=lambda: None,
        warn=lambda text: sys.exit(text),
    )
    return cast(JobContext, made)


def _reading(alone: Files, shared: Files, machine: Callable[[str], Files]) -> None:
    """Print how long a worker waits before it has a dataset and a model."""
    rng = np.random.default_rng(0)
    for files in (alone, shared):
        folder = files.dataset("d" * 32)
        folder.mkdir(parents=True)
        np.save(folder / "train_images.npy", rng.integers(0, 256, (50_000, 32, 32, 3), np.uint8))
        files.weights("b" * 32).write_bytes(rng.bytes(36 * 2**20))
        for path in (folder, files.weights("b" * 32)):
            files.keep(path)
    fresh = machine("fresh")
    for name, files in (("data folder", alone), ("first time", fresh), ("second time", fresh)):
        begin = time.perf_counter()
        files.here(files.dataset("d" * 32))
        files.here(files.weights("b" * 32))
        print(f"a dataset of 154 MB and weights of 36 MB, {name}: {_ms(begin)}")


def _ms(begin: float) -> str:
    return f"{1000 * (time.perf_counter() - begin):,.1f} ms"


def _spread(values: list[float]) -> str:
    return (
        f"{statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f}, "
        f"n = {len(values)})"
    )


@contextmanager
def _storage() -> Iterator[int]:
    """moto's server with an empty bucket; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/lab", method="PUT")
        for _ in range(600):
            try:
                urllib.request.urlopen(asked, timeout=10).close()
            except urllib.error.URLError:
                time.sleep(0.1)
            else:
                break
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def _relay(to: int, delay_s: float) -> Iterator[int]:
    """Passes connections on, the first bytes of an answer later; gives its port.

    In a process of its own, so that what it does is not counted.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        child = os.fork()
        if child == 0:
            asyncio.run(_pass_on(listening, to, delay_s))
        try:
            yield int(listening.getsockname()[1])
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


async def _pass_on(listening: socket.socket, to: int, delay_s: float) -> None:
    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, wait: float) -> None:
        with suppress(ConnectionError):
            while data := await source.read(_PIECE):
                await asyncio.sleep(wait if len(data) < _PIECE else 0)
                target.write(data)
                await target.drain()
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(pump(reader, back, 0), pump(there, writer, delay_s))

    await (await asyncio.start_server(serve, sock=listening)).serve_forever()


if __name__ == "__main__":
    sys.exit(main())
