"""What another thread does in the midst of a transaction of this one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Engine, event

T = TypeVar("T")
_HEAD_START_S = 0.2


@contextmanager
def meanwhile(begins: str, action: Callable[[], T]) -> Iterator[Future[T]]:
    """Let another thread begin `action` right after this one's first statement that begins so.

    It has a head start, in which it ends where the database lets it: where writers take turns, or
    where it waits for a row, the transaction of this thread comes first.
    """
    here, future = threading.get_ident(), Future[T]()
    with ThreadPoolExecutor(1) as pool:

        def begin(*told: object) -> None:
            if threading.get_ident() != here or future.running() or future.done():
                return
            if not str(told[2]).startswith(begins):
                return
            future.set_running_or_notify_cancel()
            running = pool.submit(action)
            running.add_done_callback(lambda done: _pass_on(done, future))
            with suppress(TimeoutError):
                running.exception(_HEAD_START_S)

        event.listen(Engine, "after_cursor_execute", begin)
        try:
            yield future
        finally:
            event.remove(Engine, "after_cursor_execute", begin)


def _pass_on(done: Future[Any], to: Future[Any]) -> None:
    if (error := done.exception()) is not None:
        to.set_exception(error)
    else:
        to.set_result(done.result())


def at_once(action: Callable[[int], T], threads: int = 6) -> list[T]:
    """Run `action(i)` in threads that start together; returns what each gave."""
    barrier = threading.Barrier(threads)

    def run(i: int) -> T:
        barrier.wait()
        return action(i)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
