"""What goes on beside the answers: lost jobs, old files, and those who are told of what happens.

One web process of the lab does it, of those that could (`app.store.db.Duty`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from app.errors import trouble
from app.services import evaluations
from app.services.lab import Lab
from app.services.upkeep import clear, reconcile, sweep, thin
from app.store.db import Turn

_LOG = logging.getLogger("lab.web")
_RECONCILE_EVERY_S = 2.0
_TIDY_EVERY_S = 600.0
_LOOK_EVERY_S = 2.0


async def keep_house(lab: Lab) -> None:
    """Do all of it while it is this process's to do; look again and again whether it is."""
    duty, doing = lab.database.duty(Turn.KEEP_HOUSE), list[asyncio.Task[None]]()
    try:
        while True:
            held = bool(doing)
            with suppress(Exception):  # the database is away: who does it waits for it, too
                held = await asyncio.to_thread(duty.is_held)
            if held and not doing:
                doing = [asyncio.create_task(each) for each in _duties(lab)]
            elif doing and not held:
                _LOG.warning("Another process reconciles and clears away from now on.")
                await _end_all(doing)
                doing = []
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        await _end_all(doing)
        duty.leave()


def _duties(lab: Lab) -> list[Coroutine[Any, Any, None]]:
    found = [_reconcile_for_ever(lab), _tidy_for_ever(lab), _sum_up_what_is_old(lab)]
    if lab.settings.webhook_url is not None:
        found.append(_announce_for_ever(lab))
    if lab.settings.mlflow_url is not None or lab.settings.tensorboard_dir is not None:
        found.append(_mirror_for_ever(lab))
    return found


async def _reconcile_for_ever(lab: Lab) -> None:
    told = None
    while True:
        try:
            await asyncio.to_thread(reconcile, lab)
            known = None
        except Exception as error:
            known = trouble(error)
            if known is None:
                _LOG.exception("The reconciler failed; it tries again.")
        if known != told:  # and not every two seconds
            _LOG.warning("What the reconciler waits for: %s", known or "nothing any more.")
            told = known
        await asyncio.sleep(_RECONCILE_EVERY_S)


async def _tidy_for_ever(lab: Lab) -> None:
    while True:
        for part in (clear, sweep, thin):
            try:
                await asyncio.to_thread(part, lab)
            except Exception:
                _LOG.exception("What is old was not cleared away; it is tried again.")
        await asyncio.sleep(_TIDY_EVERY_S)


async def _sum_up_what_is_old(lab: Lab) -> None:
    """Once, beside the service: reading every result of a large lab takes a while."""
    for job_id in await asyncio.to_thread(evaluations.not_measured, lab):
        try:
            await asyncio.to_thread(evaluations.summaries, lab, [job_id])
        except Exception:
            _LOG.exception("Evaluation %s cannot be summed up; the next start tries again.", job_id)


async def _announce_for_ever(lab: Lab) -> None:
    from app.services.webhook import Announcer  # brings an HTTP client along

    assert lab.settings.webhook_url is not None
    await Announcer(lab, lab.settings.webhook_url.get_secret_value()).run()


async def _mirror_for_ever(lab: Lab) -> None:
    from app.services.tracking.mirror import Mirror, trackers

    await asyncio.gather(*(Mirror(lab, tracker).run() for tracker in trackers(lab)))


async def _end_all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        await end(task)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel it until it is over: who connects to the broker can miss the first time."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.02)
