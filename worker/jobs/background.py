"""The thread beside a job's work that asks and tells SQL, so that no step waits for an answer.

What a job says is written within a moment, in the order in which it was said, as much at once as
there is. What is asked regularly may end the job: the work hears of that when it
looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.contracts.events import Event

_WRITTEN_AFTER_S = 0.25
"""What is said within this time is one write."""


@dataclass
class _Question:
    every_s: float
    ask: Callable[[], None]
    due_at: float = 0.0


class Background:
    """Of one attempt, from `start` to `end`."""

    def __init__(self, write: Callable[[Sequence[Event]], None]) -> None:
        """`write`: events, in one transaction, however long that takes; what it raises is raised
        where the job says something next, or waits for it."""
        self._write = write
        self._questions: list[_Question] = []
        self._said: list[Event] = []
        self._write_at, self._waiting = 0.0, 0
        """When that is to be written, and how many wait for it: then at once."""
        self._changed = threading.Condition()
        self._writing, self._over = False, False
        self._asked, self._answered = 0, 0
        """How often somebody waits for all questions, and for how many of these they were asked."""
        self._failure: Exception | None = None
        self._verdict: Exception | None = None
        self._thread = threading.Thread(target=self._go_on, name="background", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Once all that was said is written, or cannot be."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()

    def every(self, seconds: float, ask: Callable[[], None]) -> None:
        """Ask so often; what that raises is the verdict, after which nothing is asked any more."""
        with self._changed:
            self._questions.append(_Question(seconds, ask))
            self._changed.notify_all()

    def say(self, events: Sequence[Event]) -> None:
        """Have them written. Raises what an earlier write did."""
        with self._changed:
            self._raise_failure()
            if not self._said:
                self._write_at = time.monotonic() + _WRITTEN_AFTER_S
                self._changed.notify_all()
            self._said.extend(events)

    def flush(self) -> None:
        """Wait until all that was said is written. Raises what a write did."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                self._wait(lambda: not (self._said or self._writing))
            finally:
                self._waiting -= 1
            self._raise_failure()

    def ask_now(self) -> None:
        """Wait until every question is asked once more, after what was said is written."""
        with self._changed:
            self._asked += 1
            wanted = self._asked
            self._changed.notify_all()
            self._wait(lambda: self._answered >= wanted)

    def check(self) -> None:
        """Raises what a write did, once, and the verdict, again and again."""
        if self._failure is not None:
            with self._changed:
                self._raise_failure()
        if self._verdict is not None:
            raise self._verdict

    def _wait(self, until: Callable[[], bool]) -> None:
        assert self._thread.is_alive(), "nobody would write or ask"
        self._changed.wait_for(until)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _go_on(self) -> None:
        over = False
        while not over:
            with self._changed:
                while not self._has_work():
                    self._changed.wait(self._idle_s())
                asked, over, said = self._asked, self._over, list[Event]()
                if self._is_to_write():
                    said, self._said, self._writing = self._said, said, True
            if said:
                self._tell(said)
            for question in self._questions if not over else ():
                self._ask(question, at_once=asked > self._answered)
            with self._changed:
                self._answered = asked
                self._changed.notify_all()

    def _is_at_once(self) -> bool:
        return self._over or self._waiting > 0 or self._asked > self._answered

    def _is_to_write(self) -> bool:
        return bool(self._said) and (self._is_at_once() or self._write_at <= time.monotonic())

    def _has_work(self) -> bool:
        idle_s = self._idle_s()
        at_once = self._over or self._asked > self._answered
        return at_once or self._is_to_write() or (idle_s is not None and idle_s <= 0)

    def _idle_s(self) -> float | None:
        """Until a question or a write is due; None where nothing is to come."""
        due = [self._write_at] if self._said else []
        if self._verdict is None:
            due += [each.due_at for each in self._questions]
        return min(due) - time.monotonic() if due else None

    def _tell(self, said: Sequence[Event]) -> None:
        failure = None
        try:
            self._write(said)
        except Exception as error:
            failure = error
        with self._changed:
            self._failure, self._writing = failure or self._failure, False
            self._changed.notify_all()

    def _ask(self, question: _Question, *, at_once: bool) -> None:
        now = time.monotonic()
        if self._verdict is not None or not (at_once or question.due_at <= now):
            return
        question.due_at = now + question.every_s
        try:
            question.ask()
        except Exception as error:
            self._verdict = error
