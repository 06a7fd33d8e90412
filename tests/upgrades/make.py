"""The data folder that a version of the lab leaves: `python tests/upgrades/make.py VERSION COMMIT`.

From the root of the repository. The code of that version, taken from the commit, imports images,
trains and measures a model, begins another training and stops within its second epoch, and leaves a
third waiting. What is in the folder then is packed as `tests/upgrades/VERSION.tar.xz`. A release
makes its own (CONTRIBUTING.md), and the tests beside this file open them all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_BATCHES_AN_EPOCH = 2


def main(version: str, commit: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        code, data = Path(scratch, "code"), Path(scratch, "data")
        code.mkdir()
        archive = subprocess.run(["git", "archive", commit], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "x", "-C", str(code)], input=archive.stdout, check=True)
        command = [sys.executable, str(Path(__file__).resolve()), version, "--in", str(data)]
        subprocess.run(command, cwd=code, env=os.environ | {"PYTHONPATH": str(code)}, check=True)
        with tarfile.open(Path(__file__).with_name(f"{version}.tar.xz"), "w:xz") as packed:
            packed.add(data, ".")


def live(version: str, folder: Path) -> None:
    """With that version's code: what its own worker does."""
    from app.contracts.jobs import QUEUE_OF, JobKind
    from app.contracts.params import PARAMS_OF
    from app.settings import VERSION, Settings
    from app.store import jobs
    from app.store.db import Database
    from app.store.files import Files
    from app.store.tables import DatasetRow, JobRow, ModelRow
    from worker.job_run import run_job
    from worker.jobs.context import WorkerLab

    assert version == VERSION, f"the commit has version {VERSION}"
    settings = Settings(data_dir=folder)
    files, database = Files(folder), Database(settings.sql_url)
    files.prepare()
    database.migrate()
    lab = WorkerLab(settings, database, files, lambda _: None)

    def add(kind, title, **params):
        row = JobRow(
            id=os.urandom(16).hex(), kind=kind, status="queued", queue=QUEUE_OF[kind], title=title,
            params=PARAMS_OF[kind].model_validate(params).model_dump(mode="json"), created_at=1.7e9,
            attempt=0, fence=0, cancel_requested=False, last_event=0,
        )  # fmt: skip
        jobs.add(database, row)
        return row.id

    def only(table):
        with database.reading() as session:
            return session.query(table).one().id

    looks = 0

    def soon() -> bool:
        nonlocal looks
        looks += 1
        return looks > 2 * _BATCHES_AN_EPOCH + 4

    assert run_job(lab, add(JobKind.IMPORT, "Import Shapes", name="Shapes", source="shapes",
                            train_per_class=10), stopping=lambda: False)  # fmt: skip
    training = {"dataset": only(DatasetRow), "architecture": "wrn-10-1", "epochs": 1}
    training |= {"recipe": "clean", "batch_size": 128 // _BATCHES_AN_EPOCH}
    assert run_job(lab, add(JobKind.TRAIN, "Train Net", name="Net", **training),
                   stopping=lambda: False)  # fmt: skip
    measured = {"dataset": only(DatasetRow), "models": [only(ModelRow)], "images": 10}
    assert run_job(lab, add(JobKind.EVALUATE, "Evaluate Net", **measured), stopping=lambda: False)
    longer = training | {"epochs": 3}
    begun = add(JobKind.TRAIN, "Train Unfinished", name="Unfinished", **longer)
    assert run_job(lab, begun, stopping=soon) is None
    add(JobKind.TRAIN, "Train Waiting", name="Waiting", **training)
    database.close()


if __name__ == "__main__":
    if sys.argv[2] == "--in":
        live(sys.argv[1], Path(sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2])
