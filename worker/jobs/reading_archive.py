"""An archive becomes a dataset, in a process that can do little else.

    python -m worker.jobs.reading_archive ARCHIVE FOLDER NAME MEGABYTES SECONDS

The archive is hostile: it is listed, decoded and written anew with no network and no other file in
sight but FOLDER, and within limits of memory and time (decision 19). There are the parameters of
the job, and there the dataset is left, unless it is a preview. NAME is what the archive was called;
MEGABYTES is the most that it may unpack to and that the dataset may take. Lines on standard output
are `[done, total]` in images; the last is an object: the report and the examples of a preview, or
what is wrong and what to do.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from app.contracts.params import ImportParams
from app.contracts.results import DatasetReport, DatasetWarning, LeftOut
from confinement import allow_memory, confine, die_with_parent, guard, limit
from worker.data import DatasetError, ImportReport, Wishes, import_archive, load_dataset
from worker.jobs.unpacking.found import Files
from worker.jobs.unpacking.unpacked import unpack
from worker.pictures import png

PARAMS, DATASET = "params.json", "dataset"
_SPARE_MB = 1024
_SIZES = 6
"""Times the size of files of many images: a compressed .mat is held whole, and so is what is made
of it."""
_COPIES = 3
"""Of all pixels: as they are decoded, as they are written, and as they are looked at again."""


def main(archive: Path, folder: Path, name: str, megabytes: int, seconds: int) -> int:
    """Read one archive; 0 when it could be read."""
    die_with_parent()
    confine(reads=[archive], writes=[folder])
    limit(_SPARE_MB + max(_COPIES, _SIZES) * megabytes, seconds)
    _allow(0)
    guard()
    try:
        params = ImportParams.model_validate_json((folder / PARAMS).read_bytes())
        said = _imported(params, archive, folder / DATASET, name, megabytes * 2**20)
    except DatasetError as error:
        said = {"detail": error.detail, "hint": error.hint}
    except MemoryError:
        said = {
            "detail": "Reading the archive takes more memory than archives of its size do.",
            "hint": "It is damaged, or import fewer images.",
        }
    except OSError as error:
        if error.errno is None:
            raise
        said = {"errno": error.errno}
    _say(said)
    return 0 if "report" in said else 1


def _allow(size: int) -> None:
    """Memory for so many bytes, and what is spare."""
    allow_memory(_SPARE_MB + size // 2**20)


def _imported(
    params: ImportParams, archive: Path, folder: Path, name: str, most_bytes: int
) -> dict[str, Any]:
    """Raises DatasetError, MemoryError, OSError."""
    found = import_archive(
        archive,
        folder,
        wishes=Wishes(
            image_size=params.image_size,
            seed=params.seed,
            order=params.order.value,
            classes=params.classes,
            encoding=params.encoding.value,
            most_bytes=most_bytes,
        ),
        label=params.name,
        source=name,
        progress=lambda done, total: _say([done, total]),
        unpack=_unpack,
        make_room=lambda size: _allow(_COPIES * size),
        keep=not params.preview,
    )
    checksum = "" if params.preview else load_dataset(folder).checksum
    report = _report(found, params.image_size, checksum)
    examples = list(map(png, found.examples)) if params.preview else []
    return {"report": report.model_dump(mode="json"), "examples": examples}


def _unpack(kind: str, files: Files, target: Path) -> None:
    _allow(_SIZES * sum(path.stat().st_size for *_, path in files))
    unpack(kind, files, target)


def _report(found: ImportReport, image_size: int, checksum: str) -> DatasetReport:
    return DatasetReport(
        classes=found.class_names,
        image_size=image_size,
        train_images=sum(found.train_counts),
        test_images=sum(found.test_counts),
        layout=found.layout,
        train_counts=found.train_counts,
        validation_counts=found.held_counts,
        test_counts=found.test_counts,
        skipped=found.skipped,
        skipped_examples=tuple(f"{f.name}: {f.reason}" for f in found.skipped_files),
        left_out=tuple(LeftOut(reason=r, count=n) for r, n in found.left_out.items()),
        notes=found.notes,
        warnings=tuple(
            DatasetWarning(kind=w.kind, text=w.text, count=w.count) for w in found.warnings
        ),
        checksum=checksum,
    )


def _say(said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    os.umask(0o077)
    _, given, made, called, size, time = sys.argv
    sys.exit(main(Path(given), Path(made), called, int(size), int(time)))
