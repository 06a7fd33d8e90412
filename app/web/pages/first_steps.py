"""A newcomer's first steps: what is done, what goes on, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.contracts.recipes import TEACHERS
from app.contracts.views import JobView
from app.services import front
from app.services.front import Beginnings
from app.services.lab import Lab


class Standing(StrEnum):
    """How far a step is."""

    DONE = "done"
    NOW = "now"
    """The next one to take."""
    LATER = "later"


@dataclass(frozen=True)
class Step:
    """One of a newcomer's first steps."""

    title: str
    help: str
    standing: Standing
    href: str
    """Where it is taken."""
    action: str
    """What the link or the button says."""
    goes_on: JobView | None
    """The job that takes this step, while it is not over."""


@dataclass(frozen=True)
class _Plan:
    title: str
    help: str
    href: str
    action: str
    done: bool
    goes_on: JobView | None = None


_DATASET = ("Add a dataset", "Draw ten classes of shapes here and now, or import an archive of "
            "your own.", "/datasets", "Import an archive")  # fmt: skip
_TEACHER = ("Train a teacher", "A classifier that sees clean images only. It is accurate, and it "
            "breaks under attack.", "/train?recipe=clean", "Train a teacher")  # fmt: skip
_STUDENT = ("Train a student", "It learns from attacked images, and to look where its teacher "
            "looks.", "/train?recipe=agkd_bml", "Train a student")  # fmt: skip
_OWN = ("Train your own", "A teacher on clean images, and a student that learns to look where it "
        "looks.", "/train", "Train a model")  # fmt: skip
_MEASURE = ("Measure and look", "Accuracy of both under attack; then what they look at, on an "
            "image of yours.", "/evaluate", "Evaluate both")  # fmt: skip


def first_steps(lab: Lab, *, evaluated: bool) -> tuple[Step, ...]:
    """The steps, of which one at most is the next; none once all of them are done."""
    has = front.beginnings(lab)
    plans = [_Plan(*_DATASET, has.dataset), *_trainings(lab, has), _Plan(*_MEASURE, evaluated)]
    if all(plan.done for plan in plans):
        return ()
    free = [i for i, plan in enumerate(plans) if not plan.done and plan.goes_on is None]
    return tuple(_step(plan, now=free[:1] == [i]) for i, plan in enumerate(plans))


def _trainings(lab: Lab, has: Beginnings) -> list[_Plan]:
    """A teacher, then a student; one of either where the lab came with models."""
    done = [has.trained] if has.shipped else [has.clean, has.robust]
    running = () if all(done) else front.unfinished_trainings(lab)
    clean = {job.id for job in running if job.params.get("recipe") in TEACHERS}
    if has.shipped:
        return [_Plan(*_OWN, has.trained, next(iter(running), None))]
    return [
        _Plan(*words, done, next((job for job in running if (job.id in clean) is teacher), None))
        for words, done, teacher in (
            (_TEACHER, has.clean, True),
            (_STUDENT, has.robust, False),
        )
    ]


def _step(plan: _Plan, *, now: bool) -> Step:
    standing = Standing.DONE if plan.done else Standing.NOW if now else Standing.LATER
    goes_on = None if plan.done else plan.goes_on
    return Step(plan.title, plan.help, standing, plan.href, plan.action, goes_on)
