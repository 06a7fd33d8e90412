"""Records as event files for TensorBoard: a folder a job, which is there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from tensorboardX import SummaryWriter

from app.services.exports import file_name
from app.services.tracking.record import Record


class TensorBoard:
    """One folder of runs. Raises OSError."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, job_id: str) -> bool:
        """Whether there is a folder of the job, by whatever name it had then."""
        return any(self._folder.glob(file_name("", "*", job_id, "")))

    def follow(self, record: Record) -> None:
        """A folder is there whole or not at all."""

    def keep(self, record: Record) -> None:
        """Write a record into a folder of its own."""
        run = self._folder / file_name(record.name, "job", record.id, "")
        partial = run.with_name(f".{run.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        with SummaryWriter(str(partial)) as writer:
            told = {**record.tags, "status": record.status.value, **record.params}
            rows = "\n".join(f"    {name} = {value}" for name, value in told.items())
            writer.add_text("job", rows, walltime=record.began)
            for point in record.points:
                writer.add_scalar(point.name, point.value, point.step, walltime=point.at)
        partial.replace(run)

    def close(self) -> None:
        """Nothing is open between records."""
