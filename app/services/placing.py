"""Where a job is to run, and before which others."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.params import AblationParams, Params, TrainParams
from app.contracts.placement import Priority
from app.contracts.views import JobView
from app.errors import Conflict, Forbidden
from app.services.lab import Lab
from app.store import acting, catalogue, placement
from app.store.tables import JobRow


def check(priority: Priority) -> None:
    """Raises Forbidden where whoever asks may not give it."""
    act = acting.current()
    if priority.rank > Priority.NORMAL.rank and act is not None and not act.owns_all:
        raise Forbidden(
            "Only admins raise a job above those of others.",
            hint="Leave the priority out, or ask an admin to raise the job.",
        )


def place(lab: Lab, params: Params, rows: Sequence[JobRow], priority: Priority) -> None:
    """Write into the rows of a new job, its children's among them, what its parameters alone do not
    say."""
    memory = _memory_mb(lab, params)
    for row in rows:
        row.priority, row.needs_memory_mb = priority.rank, memory


def to_rank(views: Sequence[JobView], priority: Priority) -> list[str]:
    """Those that have another priority now, by id.

    Raises Conflict where one is over, and what `check` raises where one would be raised.
    """
    others = [view for view in views if view.priority is not priority]
    for view in others:
        if view.priority.rank < priority.rank:
            check(priority)
        if view.status.is_final:
            raise _over(f"“{view.title}” is {view.status}.")
    return [view.id for view in others]


def rank(lab: Lab, ids: Sequence[str], priority: Priority) -> None:
    """Give unfinished jobs a priority, ablations with their jobs. Raises Conflict where one ended
    just now."""
    if ids and not placement.rank(lab.database, ids, priority):
        raise _over("One of these jobs ended just now.")


def _over(said: str) -> Conflict:
    return Conflict(said, hint="Only unfinished jobs have a turn.")


def _memory_mb(lab: Lab, params: Params) -> int:
    """Of a training, what its images take on the device, which holds all of them; the networks come
    on top, and how much they need only a step tells."""
    training = params.training if isinstance(params, AblationParams) else params
    if not isinstance(training, TrainParams):
        return 0
    dataset = catalogue.dataset(lab.database, training.dataset)
    if dataset is None:
        return 0
    report = dataset.report
    return int(report["train_images"] * 3 * report["image_size"] ** 2 / 2**20)
