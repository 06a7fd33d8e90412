"""A parent and its children under every order of calls: it ends once, rightly, and only then."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.ablations import lifecycle
from app.contracts.jobs import JobKind, JobStatus
from app.store import job_queries, jobs, losses
from app.store.db import Database
from app.store.files import Files
from app.store.jobs import Claim
from app.store.tables import JobRow
from tests.plugins.families import (
    ablation_params,
    add_ablation,
    children_of,
    fail,
    run_all,
    succeed,
    take,
)
from tests.plugins.postgresql import SQLITE

ANY = st.integers(0, 7)


class Ablations(RuleBasedStateMachine):
    """Workers, a reconciler and a user with cancel buttons, in any order."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.database = Database(url)
        self.files = Files(Path(self.folder))
        self.files.prepare()
        self.parent = add_ablation(self.database, ablation_params())
        self.claims: dict[str, Claim] = {}
        self.cancelled = False

    def teardown(self) -> None:
        self.finish()
        self.database.close()
        shutil.rmtree(self.folder)

    def row(self) -> JobRow:
        found = job_queries.get(self.database, self.parent)
        assert found is not None
        return found

    def pick(self, number: int, status: JobStatus) -> JobRow | None:
        found = children_of(self.database, self.parent, status)
        return found[number % len(found)] if found else None

    def claim_of(self, number: int) -> Claim | None:
        running = self.pick(number, JobStatus.RUNNING)
        return None if running is None else self.claims[running.id]

    @rule(number=ANY)
    def start(self, number: int) -> None:
        if (child := self.pick(number, JobStatus.QUEUED)) is not None:
            self.claims[child.id] = take(self.database, child.id)

    @rule(number=ANY)
    def end_well(self, number: int) -> None:
        if (claim := self.claim_of(number)) is not None:
            succeed(self.database, self.files, claim)

    @rule(number=ANY)
    def end_badly(self, number: int) -> None:
        if (claim := self.claim_of(number)) is not None:
            fail(self.database, claim)

    @rule(number=ANY)
    def lose(self, number: int) -> None:
        if (claim := self.claim_of(number)) is not None:
            jobs.renew(self.database, claim, lease_s=-1)
            losses.release_expired(self.database, lease_s=1000)

    @rule(number=ANY)
    def give_back(self, number: int) -> None:
        if (claim := self.claim_of(number)) is not None:
            jobs.give_back(self.database, claim)

    @rule(number=ANY)
    def cancel_a_child(self, number: int) -> None:
        if (child := self.pick(number, JobStatus.QUEUED)) is not None:
            jobs.request_cancel(self.database, child.id)

    @rule()
    def reconcile(self) -> None:
        before = self.row()
        changed = lifecycle.advance_all(self.database, self.files)
        assert bool(changed) == (self.row().last_event > before.last_event)

    @precondition(lambda self: not self.cancelled)
    @rule(dice=st.integers(0, 4))
    def cancel(self, dice: int) -> None:
        if dice:  # rarely, for it ends the story
            return
        over = JobStatus(self.row().status).is_final
        asked = lifecycle.request_cancel(self.database, self.files, self.parent)
        assert (asked is None) == over
        self.cancelled = not over

    @invariant()
    def what_is_true_at_any_time(self) -> None:
        row, children = self.row(), children_of(self.database, self.parent)
        seen = [e.seq for e in job_queries.events_after(self.database, self.parent, 0)]
        assert seen == list(range(1, row.last_event + 1))
        trainings = [child for child in children if child.kind == JobKind.TRAIN]
        succeeded = [child for child in trainings if child.status == JobStatus.SUCCEEDED]
        assert len(trainings) == 4
        assert len(children) - 4 <= len(succeeded)
        if JobStatus(row.status).is_final:
            assert all(JobStatus(child.status).is_final for child in children)
            assert (row.result_file is not None) == (row.status == JobStatus.SUCCEEDED)
            assert (row.failure is not None) == (row.status == JobStatus.FAILED)
            assert (row.status == JobStatus.CANCELLED) == self.cancelled
            if row.status == JobStatus.SUCCEEDED:
                assert len(children) - 4 == len(succeeded)
        if row.status == JobStatus.FAILED:
            assert not succeeded
        if self.cancelled:
            assert not children_of(self.database, self.parent, JobStatus.QUEUED)

    def finish(self) -> None:
        """Whatever came before, the workers and the reconciler bring it to an end."""
        for child in children_of(self.database, self.parent, JobStatus.RUNNING):
            claim = self.claims[child.id]
            if self.cancelled:
                jobs.settle(self.database, claim, JobStatus.CANCELLED)
            else:
                succeed(self.database, self.files, claim)
        lifecycle.advance_all(self.database, self.files)
        run_all(self.database, self.files, self.parent)
        assert JobStatus(self.row().status).is_final
        self.what_is_true_at_any_time()


@pytest.mark.slow
def test_states_of_ablations(sql: str, fresh_url: Callable[[], str]) -> None:
    chosen = settings(max_examples=20 if sql == SQLITE else 4, stateful_step_count=40)
    run_state_machine_as_test(lambda: Ablations(fresh_url()), settings=chosen)
