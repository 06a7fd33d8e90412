"""Has another process read files that hold many images (`worker.jobs.unpacking`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from worker.data import DatasetError
from worker.jobs import apart

UNPACKING_S = 900
"""How long it may take, on the clock and on the processor."""
_SPARE_MB = 1024
_SIZES = 6
"""Times the size of the files: a compressed .mat is held whole, and so is what is made of it."""


def unpack(
    kind: str, files: Sequence[tuple[str, int, Path]], target: Path, *, check: Callable[[], None]
) -> None:
    """Read files of one kind into a folder; `check` is called again and again.

    Raises DatasetError with what is wrong, and what `check` raises.
    """
    megabytes = _SPARE_MB + _SIZES * sum(path.stat().st_size for *_, path in files) // 2**20
    triples = [text for triple in files for text in triple]
    try:
        reply = apart.run(
            "worker.jobs.unpacking", kind, target, megabytes, UNPACKING_S, *triples,
            seconds=UNPACKING_S, check=check,
        )  # fmt: skip
    except apart.TookTooLongError:
        raise DatasetError(
            f"Reading the file took more than {UNPACKING_S // 60} minutes.", "Import fewer images."
        ) from None
    except apart.BrokeDownError as error:
        raise DatasetError(
            f"The file made its reader break down (exit code {error.code}).",
            "It is damaged, or memory ran out: upload it again, or import fewer images.",
        ) from None
    if "detail" in reply:
        raise DatasetError(str(reply["detail"])[:1000], str(reply["hint"])[:500])
