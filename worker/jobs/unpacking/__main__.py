"""Files that hold many images become plain arrays, in a process that can do little else.

    python -m worker.jobs.unpacking KIND TARGET MEGABYTES SECONDS (NAME PART FILE)...

The files are hostile until unpacked: a pickle may ask for no type but numpy's arrays, and the
parsers of .mat and Parquet are large; so they run without a network and within limits of memory,
time and written bytes (decision 19). What is left in TARGET is described in
`worker.data.containers`; the last line on standard output is JSON: `{}`, or what is wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confinement import guard, leave_network, limit
from worker.jobs.unpacking import arrays, pixel_tables, published, shards
from worker.jobs.unpacking.found import Files, Refused, Unpacked


def main(kind: str, target: Path, megabytes: int, seconds: int, files: Files) -> int:
    """Unpack files of one kind; 0 when they could be read."""
    leave_network()
    limit(megabytes, seconds)
    guard()
    try:
        _write(target, _KINDS[kind](files))
        said: dict[str, Any] = {}
    except Refused as refused:
        said = {"detail": refused.detail, "hint": refused.hint}
    except MemoryError:
        said = {
            "detail": f"Reading the file takes more than {megabytes:,} MB of memory.",
            "hint": "Import fewer images.",
        }
    except Exception as error:  # hostile bytes make parsers fail in every way there is
        said = {
            "detail": f"The file is damaged, or not what its name says ({str(error)[:200]}).",
            "hint": "Compare its checksum with the published one, and upload it again.",
        }
    print(json.dumps(said), flush=True)
    return 1 if said else 0


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
        "notes": found.notes, "warnings": found.warnings, "left_out": found.left_out,
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


if __name__ == "__main__":
    os.umask(0o077)
    _, kind, target, megabytes, seconds, *triples = sys.argv
    files = [
        (name, int(part), Path(path))
        for name, part, path in zip(triples[::3], triples[1::3], triples[2::3], strict=True)
    ]
    sys.exit(main(kind, Path(target), int(megabytes), int(seconds), files))
