"""A gate as build servers read it: JUnit's XML, and SARIF 2.1.0 (OASIS, 2020).

A job that failed has no gate; its reports say why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from app.client.gate import Condition, Doubt, Gate
from app.client.terminal import on_one_line
from app.contracts.results import Light
from app.contracts.views import JobView

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_TOOL = "AGKD-BML Lab"
_RULES = {
    "robust": "Robust accuracy in the worst case of each image",
    "clean": "Accuracy on clean images",
    "verdict": "Whether the robust accuracy can be trusted",
    "evaluation": "The evaluation came to its end",
}
_LEVELS = {Light.RED: "error", Light.AMBER: "warning"}


def junit(job: JobView, gate: Gate | None) -> bytes:
    """One test case a condition; without a gate one that says why there is none."""
    conditions = () if gate is None else gate.conditions
    suite = ElementTree.Element(
        "testsuite",
        name=on_one_line(job.title),
        tests=str(max(1, len(conditions))),
        failures=str(sum(not condition.holds for condition in conditions)),
        errors="1" if gate is None else "0",
        time=f"{_seconds(job):.1f}",
    )
    if gate is None:
        case = ElementTree.SubElement(suite, "testcase", classname=_TOOL, name="evaluation")
        ElementTree.SubElement(case, "error", message=_why(job))
    for condition in conditions:
        named = {"classname": on_one_line(condition.model), "name": condition.asked}
        case = ElementTree.SubElement(suite, "testcase", named)
        if not condition.holds:
            failure = ElementTree.SubElement(case, "failure", message=_said(condition))
            failure.text = "\n".join(_reasons(gate, condition.model))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written


def sarif(job: JobView, gate: Gate | None, *, version: str, at: str, page: str) -> bytes:
    """Conditions that do not hold, and doubts of the verdicts, as results.

    What holds is left out: code scanning at GitHub would show it as a finding, too.

    Args:
        version: Of the lab.
        at: The file of the repository that results are shown at.
        page: The address of the job's page.
    """
    results = list(_results(job, gate, at))
    driver = {
        "name": _TOOL,
        "version": version,
        "rules": [
            {"id": id_, "shortDescription": {"text": text}} for id_, text in _rules(gate).items()
        ],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"robustness/{job.id}"},
        "properties": {"job": page},
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2).encode()


def _rules(gate: Gate | None) -> Mapping[str, str]:
    doubts = () if gate is None else gate.doubts
    return _RULES | {f"verdict/{doubt.check.id}": doubt.check.title for doubt in doubts}


def _results(job: JobView, gate: Gate | None, at: str) -> Iterator[dict[str, Any]]:
    if gate is None:
        yield _result("evaluation", "error", job.title, _why(job), at)
        return
    for one in gate.conditions:
        if not one.holds:
            yield _result(one.rule, "error", one.model, f"{one.model}: {_said(one)}", at)
    for doubt in gate.doubts:
        level = _LEVELS[doubt.check.light]
        yield _result(f"verdict/{doubt.check.id}", level, doubt.model, _doubted(doubt), at)


def _result(rule: str, level: str, model: str, text: str, at: str) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": at}, "region": {"startLine": 1}}
    # The same finding of a later run is the same alert, not another one.
    same = hashlib.sha256(f"{rule}\0{model}".encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": on_one_line(text)},
        "locations": [
            {
                "physicalLocation": place,
                "logicalLocations": [{"name": on_one_line(model), "kind": "module"}],
            }
        ],
        "partialFingerprints": {"modelAndRule/v1": same},
    }


def _said(condition: Condition) -> str:
    return f"{condition.found}, asked for was {condition.asked}"


def _reasons(gate: Gate | None, model: str) -> list[str]:
    doubts = () if gate is None else gate.doubts
    return [on_one_line(_doubted(doubt)) for doubt in doubts if doubt.model == model]


def _doubted(doubt: Doubt) -> str:
    check = doubt.check
    return f"{doubt.model}, {check.light}: {check.problem or check.title}. {check.sentence}"


def _why(job: JobView) -> str:
    failure = "" if job.failure is None else f" {job.failure.detail} {job.failure.hint}"
    return on_one_line(f"The evaluation {job.status}.{failure}".strip())


def _seconds(job: JobView) -> float:
    if job.started_at is None or job.finished_at is None:
        return 0.0
    return (job.finished_at - job.started_at).total_seconds()
