"""How a worker keeps what it has, a job or a part of one, for as long as it works on it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.store.jobs import LeaseLost

_log = logging.getLogger(__name__)


@contextmanager
def renewed(
    what: str, renew: Callable[[], None], *, lease_s: float, lost: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Renew a lease three times as often as it runs out, in a thread, until the block ends.

    Whose it is not any more is noticed by the next write.

    Args:
        what: is held, for the log.
        renew: raises LeaseLost where another worker has it.
        lease_s: for how long it is renewed.
        lost: is called then, once.
    """
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(lease_s / 3):
            try:
                renew()
            except LeaseLost:
                lost()
                return
            except Exception as error:
                # A busy or restarting database: it waits as patiently as the lease is long.
                _log.warning("%s: the lease was not renewed: %s", what, error)

    thread = threading.Thread(target=go_on, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
