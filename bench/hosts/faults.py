"""What befalls hosts: a plan that is drawn from a seed, and how it is done."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.hosts.site import Site

SLOW_S, LOSS = 0.05, 0.01
"""Each way, so that an answer takes 100 ms more; of frames, each way."""
WORKER, WEB = "worker", "web"
"""Whichever has the job; whichever takes the upload, or has the stream of its events."""


@dataclass(frozen=True)
class Fault:
    """One of the plan."""

    what: str
    """One of `DOING`."""
    whom: str
    """A host, `WORKER` or `WEB`."""
    during: str
    """A kind of job, in whose midst it begins."""
    lasts_s: float

    @property
    def name(self) -> str:
        return f"{self.whom} {self.what}"


_PLAN = (
    *[Fault("cut off", WORKER, "train", 30)] * 3,
    *[Fault("cut off", WORKER, "evaluate", 30)] * 2,
    Fault("cut off", WORKER, "train", 5),
    *[Fault("cut off", whom, during, 30)
      for whom in ("broker", "database", "storage")
      for during in ("train", "evaluate", "import", "train")],
    *[Fault("slow", whom, during, 30)
      for whom in (WORKER, "database", "storage")
      for during in ("train", "evaluate")],
    Fault("slow", "broker", "import", 30),
    *[Fault("without power", WORKER, "train", 20)] * 4,
    *[Fault("without power", WORKER, "evaluate", 20)] * 3,
    *[Fault("without power", WEB, "import", 10)] * 3,
    *[Fault("without power", WEB, "train", 10)] * 2,
    Fault("without power", "database", "train", 5),
    Fault("without power", "broker", "evaluate", 5),
    *[Fault("stopped", WORKER, "train", 25)] * 2,
    Fault("stopped", WORKER, "evaluate", 25),
)  # fmt: skip
"""What is drawn from. The storage loses no power: the server in its place keeps all in memory."""
SHORT = (
    Fault("without power", WORKER, "train", 5),
    Fault("cut off", "database", "evaluate", 10),
    Fault("slow", "storage", "import", 5),
)


def plan(seed: int, count: int, only: Collection[str] = ()) -> list[Fault]:
    """So many of them, of these names or of all, in an order of the seed's; again from the start
    where it is more. Raises ValueError where there is no fault of these names."""
    order, found = random.Random(seed), list[Fault]()
    if not (chosen := [fault for fault in _PLAN if not only or fault.name in only]):
        raise ValueError(f"no such fault; there are {', '.join(sorted({f.name for f in _PLAN}))}")
    while len(found) < count:
        found += order.sample(chosen, len(chosen))
    return found[:count]


@contextmanager
def _cut(site: Site, host: str) -> Iterator[None]:
    site.network.cut(host)
    try:
        yield
    finally:
        site.network.heal(host)


@contextmanager
def _slow(site: Site, host: str) -> Iterator[None]:
    site.wire = site.network.slow(host, SLOW_S, LOSS)
    try:
        yield
    finally:
        site.network.fast(host)


@contextmanager
def _lost(site: Site, host: str) -> Iterator[None]:
    site.lose(host)
    try:
        yield
    finally:
        site.back(host)


@contextmanager
def _stopped(site: Site, host: str) -> Iterator[None]:
    """As a virtual machine that is paused: its network is gone as well."""
    site.network.cut(host)
    site.network.signal(host, signal.SIGSTOP)
    try:
        yield
    finally:
        site.network.signal(host, signal.SIGCONT)
        site.network.heal(host)


DOING: Mapping[str, Callable[[Site, str], AbstractContextManager[Any]]] = {
    "cut off": _cut, "slow": _slow, "without power": _lost, "stopped": _stopped,
}  # fmt: skip
