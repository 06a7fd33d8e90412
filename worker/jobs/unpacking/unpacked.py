"""Files that hold many images become plain arrays, as `worker.data.containers` describes them.

The files are hostile: a pickle may ask for no type but numpy's arrays, and the parsers of .mat and
Parquet are large. To be called in a process that can do little else
(`worker.jobs.reading_archive`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from app.errors import trouble
from worker.data import DatasetError
from worker.jobs.unpacking import arrays, pixel_tables, published, shards
from worker.jobs.unpacking.found import Files, Refused, Unpacked


def unpack(kind: str, files: Files, target: Path) -> None:
    """Read files of one kind into a folder. Raises DatasetError, MemoryError, and OSError where the
    disk is full."""
    try:
        _write(target, _KINDS[kind](files))
    except Refused as refused:
        raise DatasetError(refused.detail, refused.hint) from refused
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # hostile bytes make parsers fail in every way, by OSError, too
        if trouble(error) is not None:
            raise
        raise DatasetError(
            f"The file is damaged, or not what its name says ({str(error)[:200]}).",
            "Compare its checksum with the published one, and upload it again.",
        ) from error


def _write(target: Path, found: Unpacked) -> None:
    import numpy as np

    labels = np.asarray(found.labels, dtype=np.int64)
    np.save(target / "labels.npy", labels, allow_pickle=False)
    parts = np.broadcast_to(np.asarray(found.parts, dtype=np.uint8), labels.shape)
    np.save(target / "parts.npy", parts, allow_pickle=False)
    if found.pixels is not None:
        np.save(target / "pixels.npy", np.asarray(found.pixels, np.uint8), allow_pickle=False)
    else:
        assert found.files is not None
        ends = []
        with (target / "files.bin").open("wb") as out:
            for data in found.files:
                out.write(data)
                ends.append(out.tell())
        np.save(target / "ends.npy", np.array(ends, dtype=np.int64), allow_pickle=False)
    about = {
        "kind": found.kind, "classes": found.classes, "ordered": found.ordered,
        "turned": found.turned, "notes": found.notes, "warnings": found.warnings,
        "left_out": found.left_out,
    }  # fmt: skip
    (target / "about.json").write_text(json.dumps(about), encoding="utf-8")


_KINDS: Mapping[str, Callable[[Files], Unpacked]] = {
    "cifar": published.cifar,
    "cifar_binary": published.cifar_binary,
    "stl": published.stl,
    "svhn": published.svhn,
    "idx": published.idx,
    "npz": arrays.npz,
    "npy": arrays.npy,
    "pixels": pixel_tables.pixel_tables,
    "parquet": shards.parquet,
}
