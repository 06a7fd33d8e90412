"""Records as event files for TensorBoard: a folder a job, which is there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from tensorboardX import SummaryWriter

from app.services.exports import file_name
from app.services.tracking.record import Record


class TensorBoard:
    """One folder of runs. `keep` raises OSError."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, record: Record) -> None:
        """Write a record, unless its folder is there already."""
        run = self._folder / file_name(record.name, "job", record.id, "")
        if run.exists():
            return
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
