"""A disk that is really full, at each write of each kind of job and of the web.

    python -m bench.full_disk      from the root of the repository, as root: it mounts a tmpfs

The data folder is a file system of 48 MB. A training, an evaluation that keeps images, and an
import run again and again: each time the disk is filled to the last byte just before another file
is opened for writing, and freed a second and a half later; and, for the database, at random moments
of a training. Then an archive is sent to the web while the disk is full, and again when it is not.

PASS: every job ends well, says that the disk was full where that cost it something, and every file
that a row names is whole; the web answers 503 with the reason, leaves nothing behind, and takes the
archive afterwards.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from PIL import Image
from sqlalchemy import select

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams, ImportParams, Params, Source, TrainParams
from app.settings import Settings
from app.store import catalogue, job_queries, jobs
from app.store.db import Database
from app.store.files import Files
from app.store.tables import DatasetRow, ModelRow, UploadRow
from bench.web import broker, web
from worker.job_run import engine, run_job
from worker.jobs.context import WorkerLab

_SIZE_MB, _FULL_FOR_S, _MOMENTS = 48, 1.5, 10
_NOT_REACHED = 7
_SAID = ("disk is full", "No space left")


def main() -> int:
    """Prints the figures; 0 if all held, else 1."""
    engine()  # imports torch once; each worker is a fork
    faults, tried = [], Counter[str]()
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch, _mounted(Path(scratch)) as folder:
        site = Site(Settings(data_dir=folder, min_free_mb=0, checkpoint_s=0.001))
        for kind in (JobKind.TRAIN, JobKind.EVALUATE, JobKind.IMPORT):
            for number in itertools.count(1):
                fault = site.at_write(kind, number)
                if fault is None:
                    break
                tried[kind.value] += 1
                faults += [f"{kind}, write {number}: {fault}"] * bool(fault)
        rng = random.Random(0)
        for _ in range(_MOMENTS):
            after_s = rng.uniform(0.05, 2.0)
            fault = site.after(after_s)
            tried["database"] += 1
            faults += [f"training, after {after_s:.2f} s: {fault}"] * bool(fault)
        for fault in site.sent():
            faults.append(f"web: {fault}")
        tried["upload"] += 1
    for each in faults:
        print(each)
    print(f"full at {dict(tried)}")
    print(f"{'MISS' if faults else 'PASS'} full disk: {len(faults)} faults, target 0")
    return 1 if faults else 0


@contextmanager
def _mounted(scratch: Path) -> Iterator[Path]:
    folder = scratch / "data"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "lab", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Ballast:
    """What takes the last byte of a folder's disk."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ballast"

    def fill(self) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (2**20, 2**12, 1):
                try:
                    while True:
                        os.write(descriptor, b"x" * size)
                except OSError:
                    continue
        finally:
            os.close(descriptor)

    def free(self) -> None:
        self._file.unlink(missing_ok=True)

    def fill_for_a_while(self) -> None:
        self.fill()
        threading.Timer(_FULL_FOR_S, self.free).start()


class Site:
    """A lab on a small disk, and workers on it that are forks of this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._ballast = settings, Ballast(settings.data_dir)
        lab = self._opened()
        lab.database.migrate()
        lab.database.close()
        self._dataset = self._model = ""
        self._reached = False
        self._run(self._add(JobKind.IMPORT, self._params(JobKind.IMPORT, "First")))
        self._dataset = self._only(DatasetRow)
        self._run(self._add(JobKind.TRAIN, self._params(JobKind.TRAIN, "First")))
        self._model = self._only(ModelRow)

    def at_write(self, kind: JobKind, number: int) -> str | None:
        """What did not hold, empty where all did; None where the job opens fewer files."""
        job = self._add(kind, self._params(kind, f"{kind} {number}"))
        if self._run(job, lambda: self._fill_at(number)) == _NOT_REACHED:
            self._clear()
            return None
        return self._outcome(job, costs=True)

    def after(self, seconds: float) -> str:
        """The same with a disk that is full so long after a training began."""
        job = self._add(JobKind.TRAIN, self._params(JobKind.TRAIN, "Timed"))
        timer = threading.Timer(seconds, self._ballast.fill_for_a_while)
        self._run(job, timer.start)
        return self._outcome(job, costs=False)

    def sent(self) -> Iterator[str]:
        """What did not hold of an archive that is sent on a full disk."""
        facts = self._settings
        uploads = facts.data_dir / "uploads"
        before = [*uploads.iterdir()]
        with (
            tempfile.TemporaryDirectory() as beside,
            broker(Path(beside)) as url,
            web(facts.model_copy(update={"redis_url": url})) as (_, port),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            self._ballast.fill()
            refused, health = self._send(client), client.get("/api/health")
            left = [path for path in uploads.iterdir() if path not in before]
            self._ballast.free()
            taken = self._send(client)
        if refused.status_code != 503 or not any(word in refused.text for word in _SAID):
            yield f"{refused.status_code} {refused.text}"
        if not health.json().get("trouble"):
            yield f"health says {health.text}"
        if left:
            yield f"left {left}"
        if taken.status_code != 202:
            yield f"afterwards {taken.status_code} {taken.text}"

    def _send(self, client: httpx.Client) -> httpx.Response:
        files = {"file": ("pets.zip", _archive())}
        data = {"name": f"Pets {os.urandom(4).hex()}", "source": "archive"}
        return client.post("/api/datasets", data=data, files=files)

    def _fill_at(self, number: int) -> None:
        """In the worker: fill the disk before the file of that number is opened for writing."""
        opened, root = itertools.count(1), str(self._settings.data_dir)

        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            if event != "open" or not str(arguments[0]).startswith(root) or self._reached:
                return
            if arguments[2] & os.O_ACCMODE != os.O_RDONLY and next(opened) == number:
                self._reached = True
                self._ballast.fill_for_a_while()

        self._reached = False
        sys.addaudithook(hear)

    def _run(self, job: str, first: Callable[[], None] | None = None) -> int:
        """Run a job by a worker; the worker's exit code."""
        worker = os.fork()
        if worker == 0:
            torch.set_num_threads(1)
            lab, self._reached = self._opened(), True
            if first is not None:
                first()
            run_job(lab, job, stopping=lambda: False)
            os._exit(0 if self._reached else _NOT_REACHED)
        _, status = os.waitpid(worker, 0)
        time.sleep(0.1)
        self._ballast.free()
        return os.waitstatus_to_exitcode(status)

    def _outcome(self, job: str, *, costs: bool) -> str:
        """Let the job go on, and see what it left. `costs`: whether it had to say something."""
        lab = self._opened()
        row = job_queries.get(lab.database, job)
        assert row is not None
        if row.status == "queued":
            lab.database.close()
            self._run(job)
            lab = self._opened()
            row = job_queries.get(lab.database, job)
            assert row is not None
        stored = job_queries.events_after(lab.database, job, 0, limit=100_000)
        log = [e.body["text"] for e in stored if e.body["type"] == "log"]
        said = any(words in line for line in log for words in _SAID)
        torn = [str(path) for path in self._torn(lab)]
        lab.database.close()
        self._clear()
        if row.status != "succeeded" or torn or (costs and not said):
            return f"{row.status}, {row.failure}, torn {torn}, log {log}"
        return ""

    def _torn(self, lab: WorkerLab) -> Iterator[Path]:
        """Files that a row names and that are not what it says."""
        named = catalogue.named_files(lab.database)
        with lab.database.reading() as session:
            sums = {row.id: row.sha256 for row in session.scalars(select(ModelRow))}
        for path in lab.files.named(named):
            if path.suffix == ".json":
                try:
                    json.loads(path.read_bytes())
                except ValueError:
                    yield path
            elif path.stem in sums and _sum(path) != sums[path.stem]:
                yield path
        yield from lab.files.root.glob("**/.*.part")

    def _clear(self) -> None:
        """Make room: what was kept of earlier rounds is not needed."""
        for folder in ("checkpoints", "adversarial"):
            for path in (self._settings.data_dir / folder).rglob("*"):
                if path.is_file():
                    path.unlink()

    def _params(self, kind: JobKind, name: str) -> Params:
        if kind is JobKind.IMPORT and self._dataset:
            return ImportParams(name=name, source=Source.ARCHIVE, upload=self._upload())
        if kind is JobKind.IMPORT:
            return ImportParams(name=name, train_per_class=10)
        if kind is JobKind.TRAIN:
            return TrainParams(
                name=name, dataset=self._dataset, architecture="wrn-10-1", epochs=2, batch_size=32
            )
        return EvaluateParams(
            models=(self._model,), dataset=self._dataset, images=20, batch_size=10,
            keep_adversarial=10,
        )  # fmt: skip

    def _upload(self) -> str:
        lab, id_ = self._opened(), uuid.uuid4().hex
        data = _archive()
        lab.files.upload(id_).write_bytes(data)
        row = UploadRow(id=id_, filename="pets.zip", sha256="", size_bytes=len(data), created_at=0)
        catalogue.add_upload(lab.database, row)
        lab.database.close()
        return id_

    def _opened(self) -> WorkerLab:
        """A connection must not cross a fork."""
        files = Files(self._settings.data_dir)
        files.prepare()
        return WorkerLab(self._settings, Database(self._settings.sql_url), files, lambda _: None)

    def _add(self, kind: JobKind, params: Params) -> str:
        lab, row = self._opened(), jobs.queued(kind, kind.value, params)
        jobs.add(lab.database, row)
        lab.database.close()
        return row.id

    def _only(self, table: type[DatasetRow] | type[ModelRow]) -> str:
        lab = self._opened()
        with lab.database.reading() as session:
            (found, *_) = session.scalars(select(table.id))
        lab.database.close()
        return found


def _archive() -> bytes:
    """Two classes of noise."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, number in itertools.product(("cat", "dog"), range(40)):
            picture = io.BytesIO()
            Image.frombytes("RGB", (32, 32), os.urandom(3072)).save(picture, "PNG")
            archive.writestr(f"train/{name}/{number}.png", picture.getvalue())
    return packed.getvalue()


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
