"""What is wrong with an input is said in words, on each way in: no library's text gets out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.problems import problem
from tests.plugins.forked import python_m

ID = "0" * 32
LIBRARYS = re.compile(
    r"\^\[|Tuple|[Ii]nput should|should be|after validation|\d\.\d{12}|Field req|<\w+\."
)
TRAIN = {"name": "Net", "dataset": ID}
EVALUATE = {"dataset": ID, "models": [ID]}
WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a pattern": (
        "train", {**TRAIN, "dataset": "xyz"}, "dataset", "must be 32 digits of 0-9 and a-f",
    ),
    "too many": (
        "evaluate", {**EVALUATE, "models": [ID] * 9}, "models", "must have at most 8 entries",
    ),
    "too few": (
        "evaluate", {**EVALUATE, "models": []}, "models", "must have at least one entry",
    ),
    "a budget": ("train", {**TRAIN, "epsilon": 0.9}, "epsilon", "must be at most 64/255"),
    "no budget": ("train", {**TRAIN, "epsilon": 0}, "epsilon", "must be above 0"),
    "below": ("train", {**TRAIN, "epochs": 0}, "epochs", "must be at least 1"),
    "above": ("train", {**TRAIN, "epochs": 10**6}, "epochs", "must be at most 1,000"),
    "whole": ("train", {**TRAIN, "epochs": "x"}, "epochs", "must be a whole number"),
    "number": ("train", {**TRAIN, "epsilon": "x"}, "epsilon", "must be a number"),
    "yes or no": ("train", {**TRAIN, "mart": "x"}, "mart", "must be true or false"),
    "text": ("train", {**TRAIN, "name": 3}, "name", "must be text"),
    "too long": ("train", {**TRAIN, "name": "n" * 81}, "name", "must have at most 80 characters"),
    "list": ("train", {**TRAIN, "milestones": 3}, "milestones", "must be a list"),
    "choice": (
        "train", {**TRAIN, "schedule": "x"}, "schedule",
        "must be 'multistep', 'cosine' or 'one_cycle'",
    ),
    "missing": ("train", {"name": "Net"}, "dataset", "must be given"),
    "not known": ("train", {**TRAIN, "lr": 1}, "lr", "is not known here"),
    "object": (
        "evaluate", {**EVALUATE, "attack": 3}, "attack", "must be an object of names and values",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_body(client: httpx.Client, case: str) -> None:
    kind, params, field, message = WRONG[case]
    answer = client.post("/api/jobs", json={"kind": kind, "params": params})
    problem(answer, 422)
    assert {"field": field, "message": message} in answer.json()["errors"]
    assert not LIBRARYS.search(answer.text)


@pytest.mark.parametrize("case", ["a pattern", "too many", "a budget", "choice", "not known"])
def test_a_command_line(case: str, tmp_path: Path) -> None:
    kind, params, field, message = WRONG[case]
    file = tmp_path / "params.json"
    file.write_text(json.dumps(params))
    environment = {"LAB_DATA_DIR": str(tmp_path / "data")}
    done = python_m("worker", kind, str(file), environment=environment)
    assert (done.returncode, done.stderr) == (2, f"{field}: {message}\n")


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ("{", "body", "is no JSON"),
        ("[]", "body", "must be an object of names and values"),
        ("{}", "kind", "must be given"),
        ('{"kind": "bake"}', "kind", "must be one of 'train', 'evaluate', "),
    ],
)
def test_a_body_that_is_no_job(client: httpx.Client, body: str, field: str, message: str) -> None:
    answer = client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    assert problem(answer, 422) == [field]
    assert answer.json()["errors"][0]["message"].startswith(message)
    assert not LIBRARYS.search(answer.text)


@pytest.mark.parametrize(
    ("path", "field", "message"),
    [
        ("/api/jobs/xyz", "job_id", "must be 32 digits of 0-9 and a-f"),
        ("/api/jobs?page=0", "page", "must be at least 1"),
        ("/api/jobs?page=x", "page", "must be a whole number"),
        ("/board?every=zzz", "every", "must be true or false"),
        ("/api/board?dataset=x", "dataset", "must be 64 digits of 0-9 and a-f"),
    ],
)
def test_an_address(client: httpx.Client, path: str, field: str, message: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    assert f"{field}: {message}" in answer.text
    assert not LIBRARYS.search(answer.text)
