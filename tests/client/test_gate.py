"""`gate`: what it asks, how it ends, and what build servers read of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from app.client import Asked, LabError
from app.client import Lab as Client
from app.client.command_line import _parser, main
from app.client.gate import judge
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult, Light
from app.services.lab import Lab
from tests.plugins.lab_process import ROOT
from tests.plugins.stock import stock_model
from tests.web.example_evaluation import full_evaluation
from tests.web.examples import add_job

Gate = Callable[..., int]


@pytest.fixture
def evaluation(lab: Lab) -> EvaluationResult:
    """A teacher and a student, both amber."""
    models = ((stock_model(lab), "Teacher", Recipe.CLEAN),)
    models += ((stock_model(lab, name="Student"), "Student", Recipe.AGKD_BML),)
    return full_evaluation(models, images=60, light=Light.AMBER)


@pytest.fixture
def job(lab: Lab, evaluation: EvaluationResult) -> str:
    return add_job(lab, JobKind.EVALUATE, evaluation.params, result=evaluation)


@pytest.fixture
def gate(web: str) -> Gate:
    return lambda *arguments: main(["--lab", web, "gate", *arguments])


def _student(evaluation: EvaluationResult) -> float:
    robust = evaluation.models[1].robust
    assert robust is not None
    return robust.value


def test_a_share_holds_up_to_what_was_measured(
    gate: Gate, job: str, evaluation: EvaluationResult
) -> None:
    share = _student(evaluation)
    assert 0 < share < 1
    ask = (job, "--model", "Student", "--robust-at-least")
    assert gate(*ask, repr(share)) == 0
    assert gate(*ask, repr(share + 1e-9)) == 1


def test_all_models_are_asked_unless_some_are_named(
    gate: Gate, job: str, evaluation: EvaluationResult, capsys: pytest.CaptureFixture[str]
) -> None:
    least = str(_student(evaluation))
    assert gate(job, "--robust-at-least", least) == 1
    out = capsys.readouterr().out
    assert re.search(r"^Teacher .* does not hold$", out, re.M)
    assert re.search(r"^Student .* holds$", out, re.M)
    assert gate(job, "--robust-at-least", least, "--model", evaluation.models[1].model) == 0
    assert gate(job, "--robust-at-least", least, "--model", "Nobody") == 2


@pytest.mark.parametrize(("asked", "code"), [("green", 1), ("amber", 0)])
def test_a_verdict_holds_for_better_ones(gate: Gate, job: str, asked: str, code: int) -> None:
    assert gate(job, "--verdict", asked) == code


def test_nothing_measured_never_holds(evaluation: EvaluationResult) -> None:
    bare = evaluation.models[0].model_copy(update={"robust": None, "verdict": None})
    old = evaluation.model_copy(update={"models": (bare,)})
    found = judge(old, Asked(robust=0.0, clean=0.0, verdict=Light.RED))
    assert [(one.rule, one.holds) for one in found.conditions] == [
        ("robust", False),
        ("clean", True),
        ("verdict", False),
    ]


def test_nothing_asked_is_a_wrong_call(gate: Gate, job: str) -> None:
    assert gate(job) == 2
    for share in ("1.1", "-0.1", "nan", "45%"):
        with pytest.raises(SystemExit) as ended:
            gate(job, "--robust-at-least", share)
        assert ended.value.code == 2


@pytest.mark.parametrize("share", [-0.1, 1.1, 45, float("nan")])
@pytest.mark.parametrize("rule", ["robust", "clean"])
def test_no_share_is_no_condition(rule: str, share: float) -> None:
    with pytest.raises(LabError, match="Ask for a share") as refused:
        Asked(**{rule: share})
    assert refused.value.field == rule


def test_only_evaluations_have_gates(api: Client, lab: Lab, evaluation: EvaluationResult) -> None:
    failed = add_job(
        lab, JobKind.EVALUATE, evaluation.params, status=JobStatus.FAILED, started_at=1.0,
        finished_at=2.0, failure={"title": "T", "detail": "No memory.", "hint": "Buy some."},
    )  # fmt: skip
    with pytest.raises(LabError, match="No memory"):
        api.job(failed).gate(Asked(robust=0.5))


def _reports(gate: Gate, folder: Path, *arguments: str) -> tuple[ElementTree.Element, Any]:
    junit, sarif = folder / "gate.xml", folder / "gate.sarif"
    gate(*arguments, "--junit", str(junit), "--sarif", str(sarif), "--at", "models/net.json")
    return ElementTree.parse(junit).getroot(), json.loads(sarif.read_bytes())


def test_junit_has_a_case_for_each_condition(gate: Gate, job: str, tmp_path: Path) -> None:
    root, _ = _reports(gate, tmp_path, job, "--robust-at-least", "0.999", "--verdict", "amber")
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")
    cases = {(case.get("classname"), case.get("name")): list(case) for case in suite}
    failed = cases["Student", "robust accuracy at least 99.9 %"]
    assert [part.tag for part in failed] == ["failure"]
    assert "asked for was robust accuracy" in failed[0].get("message", "")
    assert "Student, amber:" in (failed[0].text or "")
    assert cases["Student", "verdict green or amber"] == []


def _is_sarif(log: Any) -> None:
    """What the standard and code scanning at GitHub require."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    assert run["results"]
    for result in run["results"]:
        assert result["ruleId"] in rules
        assert result["message"]["text"]
        assert result["level"] in ("error", "warning")
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "models/net.json"
        assert place["physicalLocation"]["region"]["startLine"] == 1
        assert result["partialFingerprints"]


def test_sarif_has_conditions_and_what_the_verdict_doubts(
    gate: Gate, job: str, tmp_path: Path, evaluation: EvaluationResult
) -> None:
    _, log = _reports(gate, tmp_path, job, "--robust-at-least", "0.999", "--verdict", "amber")
    _is_sarif(log)
    results = log["runs"][0]["results"]
    # What holds is no finding.
    assert [r["ruleId"] for r in results if "/" not in r["ruleId"]] == ["robust", "robust"]
    verdict = evaluation.models[1].verdict
    assert verdict is not None
    doubted = {f"verdict/{c.id}" for c in verdict.checks if c.light is Light.AMBER}
    assert doubted
    assert doubted <= {r["ruleId"] for r in results if r["level"] == "warning"}


def test_a_finding_keeps_its_fingerprint_in_later_runs(
    gate: Gate, job: str, lab: Lab, evaluation: EvaluationResult, tmp_path: Path
) -> None:
    later = add_job(lab, JobKind.EVALUATE, evaluation.params, result=evaluation)
    first, second = (
        _reports(gate, tmp_path, id_, "--robust-at-least", "0.999")[1]["runs"][0]["results"]
        for id_ in (job, later)
    )
    assert [r["partialFingerprints"] for r in first] == [r["partialFingerprints"] for r in second]


def test_a_job_that_failed_is_an_error_in_both(
    gate: Gate, lab: Lab, evaluation: EvaluationResult, tmp_path: Path
) -> None:
    hostile = "No\x1b[31m memory <&>\x00."
    failed = add_job(
        lab, JobKind.EVALUATE, evaluation.params, status=JobStatus.FAILED, started_at=1.0,
        finished_at=2.5, failure={"title": "T", "detail": hostile, "hint": ""},
    )  # fmt: skip
    root, log = _reports(gate, tmp_path, failed, "--verdict", "green")
    (suite,) = root
    assert (suite.get("errors"), suite.get("time")) == ("1", "1.5")
    (error,) = suite[0]
    assert error.tag == "error"
    assert "memory <&>" in error.get("message", "")
    _is_sarif(log)
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("evaluation", "error")


def test_the_workflow_of_the_documents_is_one_whose_commands_exist() -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    workflow = yaml.safe_load(text)
    (job,) = workflow["jobs"].values()
    assert job["permissions"]["security-events"] == "write"
    script = "\n".join(step["run"] for step in job["steps"] if "run" in step)
    calls = [
        shlex.split(line.partition("lab-client ")[2].rstrip(")"), comments=True)
        for line in script.replace("\\\n", " ").splitlines()
        if "lab-client " in line
    ]
    assert {call[0] for call in calls} >= {"import-model", "evaluate", "gate"}
    for call in calls:
        _parser().parse_args(call)
    (gate,) = (_parser().parse_args(call) for call in calls if call[0] == "gate")
    uploads = [step["with"] for step in job["steps"] if "with" in step]
    assert str(gate.sarif) in [with_.get("sarif_file") for with_ in uploads]
    assert str(gate.junit) in [with_.get("path") for with_ in uploads]
