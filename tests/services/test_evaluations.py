"""Evaluations in short: what their rows keep, and what is summed up where they keep nothing."""

from __future__ import annotations

from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from sqlalchemy import select, update

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationResult, EvaluationSummary
from app.main import create_app
from app.services import evaluations
from app.services.lab import Lab
from app.store import jobs
from app.store.tables import JobRow, MeasurementRow
from tests.plugins.applications import running
from tests.plugins.lab_process import wait_until
from tests.plugins.statements import statements
from tests.web.examples import full_evaluation


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    return full_evaluation()


def finished(lab: Lab, result: EvaluationResult, summary: EvaluationSummary | None) -> str:
    """An evaluation that succeeded; returns its id."""
    row = jobs.queued(JobKind.EVALUATE, "Evaluate", result.params)
    jobs.add(lab.database, row)
    claim = jobs.claim(lab.database, row.id, lease_s=60)
    assert claim is not None
    file = lab.files.write_result(row.id, result)
    jobs.settle(lab.database, claim, JobStatus.SUCCEEDED, result_file=file, summary=summary)
    return row.id


def kept(lab: Lab, job_id: str) -> dict[str, Any] | None:
    with lab.database.reading() as session:
        return session.scalar(select(JobRow.summary).where(JobRow.id == job_id))


def test_a_summary_says_what_the_result_says(result: EvaluationResult) -> None:
    summary = EvaluationSummary.of(result)
    assert (summary.params, summary.dataset) == (result.params, result.dataset)
    assert summary.images == result.images
    for short, figures in zip(summary.models, result.models, strict=True):
        assert (short.model, short.name, short.sha256) == (
            figures.model, figures.name, figures.sha256,
        )  # fmt: skip
        assert (short.clean, short.robust) == (figures.clean, figures.robust)
        assert short.attacks == figures.attacks
        assert short.against_epsilon == figures.against_epsilon
        assert short.against_steps == figures.against_steps
        assert short.verdict is not None
        assert figures.verdict is not None
        assert short.verdict.light == figures.verdict.light
        assert short.verdict.sentence == figures.verdict.sentence
    assert 5 * len(summary.model_dump_json()) < len(result.model_dump_json())


def test_many_are_read_in_one_query_and_without_their_results(
    lab: Lab, result: EvaluationResult
) -> None:
    summary = EvaluationSummary.of(result)
    ids = [finished(lab, result, summary) for _ in range(5)]
    for job_id in ids:
        lab.files.result(job_id).unlink()
    with statements() as seen:
        found = evaluations.summaries(lab, ids)
    assert found == dict.fromkeys(ids, summary)
    assert sum(statement.startswith("SELECT") for statement in seen) == 1


@pytest.mark.parametrize("earlier", [None, {"of": "another version of the lab"}])
def test_an_older_result_is_summed_up_once(
    lab: Lab, result: EvaluationResult, earlier: dict[str, Any] | None
) -> None:
    job_id, summary = finished(lab, result, None), EvaluationSummary.of(result)
    if earlier is not None:
        with lab.database.writing() as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(summary=earlier))
    assert kept(lab, job_id) == earlier
    assert evaluations.summaries(lab, [job_id]) == {job_id: summary}
    lab.files.result(job_id).unlink()
    assert evaluations.summaries(lab, [job_id]) == {job_id: summary}


def test_what_left_no_result_has_no_summary(lab: Lab, result: EvaluationResult) -> None:
    gone, damaged, unreadable = (finished(lab, result, None) for _ in range(3))
    lab.files.result(gone).unlink()
    lab.files.result(damaged).write_bytes(b'{"kind": "evaluate"')
    lab.files.result(unreadable).unlink()
    lab.files.result(unreadable).mkdir()
    waiting = jobs.queued(JobKind.EVALUATE, "Evaluate", result.params)
    jobs.add(lab.database, waiting)
    asked = [gone, damaged, unreadable, waiting.id, "0" * 32]
    assert evaluations.summaries(lab, asked) == {}
    assert kept(lab, damaged) is None


def test_one_that_cannot_be_summed_up_holds_up_no_other(
    lab: Lab, portal: BlockingPortal, result: EvaluationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, newest = [finished(lab, result, None) for _ in range(2)], finished(lab, result, None)
    summaries = evaluations.summaries

    def fails_once(lab: Lab, job_ids: list[str]) -> dict[str, EvaluationSummary]:
        if newest in job_ids:
            raise RuntimeError("nobody foresaw this")
        return summaries(lab, job_ids)

    monkeypatch.setattr(evaluations, "summaries", fails_once)
    with running(create_app(lab.settings), portal):
        wait_until(lambda: evaluations.not_measured(lab) == [newest], "the others are summed up")
    assert all(kept(lab, job_id) is not None for job_id in others)


def test_what_an_older_version_left_is_found_and_measured_once(
    lab: Lab, result: EvaluationResult
) -> None:
    old, new = finished(lab, result, None), finished(lab, result, EvaluationSummary.of(result))
    assert evaluations.not_measured(lab) == [old]
    evaluations.summaries(lab, [old])
    assert evaluations.not_measured(lab) == []

    def measured(job_id: str) -> list[tuple[Any, ...]]:
        columns = MeasurementRow.model_id, MeasurementRow.robust, MeasurementRow.autoattack
        with lab.database.reading() as session:
            found = session.execute(select(*columns).where(MeasurementRow.job_id == job_id))
            return sorted(tuple(row) for row in found)

    assert measured(old) == measured(new)
    with lab.database.reading() as session:
        rows = [session.get_one(JobRow, each) for each in (old, new)]
    assert rows[0].robust == rows[1].robust is not None
