"""Lines for the person at the terminal, each with the process that says it."""

from __future__ import annotations

import sys
import threading
from typing import IO

_lock = threading.Lock()


def say(text: str, *, source: str = "lab") -> None:
    """Print one line. A terminal that was closed is no reason to stop the lab."""
    with _lock:
        try:
            sys.stderr.write(f"[{source}] {text}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return


def announce(text: str) -> None:
    """Print the line that a person, or a script, waits for."""
    with _lock:
        try:
            print(text, flush=True)
        except (OSError, ValueError):
            return


def relay(stream: IO[bytes], source: str) -> None:
    """Pass on a process's lines until its end, in a thread of their own."""

    def pump() -> None:
        with stream:
            for line in stream:
                if text := line.decode(errors="replace").rstrip():
                    say(text, source=source)

    threading.Thread(target=pump, name=f"log of {source}", daemon=True).start()
