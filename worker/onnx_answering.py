"""An ONNX file's network answers, in a process that can do nothing else.

    python -m worker.onnx_answering SOURCE OUTPUT KIND THREADS MEGABYTES

Messages of `multiprocessing.connection` come by the standard input: first the file, then for each
batch its shape, four unsigned integers, and its numbers, of KIND as NumPy calls it. The answer to
each is two messages: what went wrong, empty as a rule, and the scores as float32, image by image.

The file was read and tried before (`worker.jobs.reading_onnx`); that says little about what it does
with other images.
"""

from __future__ import annotations

import os
import struct
import sys
from multiprocessing.connection import Connection

from confinement import confine, die_with_parent, guard, limit_memory

_LONGEST_FAILURE = 300


def main(source: str, output: str, kind: str, threads: int, megabytes: int) -> int:
    """Answer until nobody asks any more."""
    asked, told = Connection(0, writable=False), Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # whatever else is printed is no answer
    die_with_parent()
    confine()
    # Only now: they start threads, which have to be inside the walls.
    import numpy as np

    from worker.onnx_session import session

    limit_memory(megabytes)
    guard()
    try:
        network = session(asked.recv_bytes(), threads=threads)
    except Exception as error:  # hostile files make it fail in every way there is
        _tell(told, failure=error)
        return 1
    _tell(told)
    while True:
        try:
            shape, numbers = struct.unpack("4I", asked.recv_bytes()), asked.recv_bytes()
        except EOFError:
            return 0
        try:
            images = np.frombuffer(numbers, kind).reshape(shape)
            (given,) = network.run([output], {source: images})
            _tell(told, np.ascontiguousarray(given, dtype=np.float32).tobytes())
        except Exception as error:
            _tell(told, failure=error)


def _tell(told: Connection, answer: bytes = b"", failure: Exception | None = None) -> None:
    words = "" if failure is None else str(failure) or type(failure).__name__
    told.send_bytes(words.encode(errors="replace")[:_LONGEST_FAILURE])
    told.send_bytes(answer)


if __name__ == "__main__":
    _, name, wanted, numbers, at_once, space = sys.argv
    sys.exit(main(name, wanted, numbers, int(at_once), int(space)))
