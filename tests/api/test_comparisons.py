"""Comparisons over REST."""

from __future__ import annotations

import httpx
import pytest

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import Comparison
from app.services.lab import Lab
from tests.api.problems import problem
from tests.web.examples import add_job, an_id, full_evaluation

NOBODY = "0" * 32


def add_evaluation(lab: Lab, *names: str, images: int = 40) -> str:
    result = full_evaluation([(an_id(), name, Recipe.CLEAN) for name in names], images=images)
    return add_job(lab, JobKind.EVALUATE, result.params, result=result)


def test_two_evaluations_side_by_side(client: httpx.Client, lab: Lab) -> None:
    jobs = [add_evaluation(lab, "One", "Two"), add_evaluation(lab, "Three")]
    answer = client.get("/api/comparisons", params={"job": jobs})
    assert answer.status_code == 200
    comparison = Comparison.model_validate_json(answer.content)
    assert [row.name for row in comparison.compared] == ["One", "Two", "Three"]
    assert [row.job for row in comparison.compared] == [jobs[0], jobs[0], jobs[1]]
    assert comparison.images == 40
    assert len(comparison.tests) == 6


@pytest.mark.parametrize(
    "query", ["", "job=", "job=x", f"job={NOBODY[1:]}", "&".join(["job=a"] * 9)]
)
def test_wrong_ids_are_refused(client: httpx.Client, query: str) -> None:
    named = problem(client.get(f"/api/comparisons?{query}"), 422)
    assert {name.split(".")[0] for name in named} == {"job"}


def test_what_cannot_be_compared_is_said(client: httpx.Client, lab: Lab) -> None:
    one = add_evaluation(lab, "One")
    params = full_evaluation(images=10).params
    running = add_job(lab, JobKind.EVALUATE, params, status=JobStatus.RUNNING)
    other = add_evaluation(lab, "Two", images=4000)
    for jobs, status in (([one, NOBODY], 404), ([one, running], 409), ([one], 422),
                         ([one, one], 422)):  # fmt: skip
        answer = client.get("/api/comparisons", params={"job": jobs})
        problem(answer, status)
        assert answer.json()["hint"]
    assert client.get("/api/comparisons", params={"job": [one, other]}).status_code == 200
