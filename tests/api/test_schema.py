"""The API's description: complete, and true under generated requests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams, TrainParams
from app.services.lab import Lab
from bench.fuzz.api import STREAM, ask
from tests.plugins.stock import stock_dataset, stock_model
from tests.web.examples import add_job, full_evaluation

ROUTES = {
    "/api/jobs": {"get", "post"},
    "/api/jobs/{job_id}": {"get", "patch", "delete"},
    "/api/jobs/{job_id}/restore": {"post"},
    "/api/jobs/{job_id}/result": {"get"},
    "/api/jobs/{job_id}/cancel": {"post"},
    "/api/jobs/{job_id}/events": {"get"},
    "/api/jobs/{job_id}/export.json": {"get"},
    "/api/jobs/{job_id}/export.csv": {"get"},
    "/api/jobs/{job_id}/images.csv": {"get"},
    "/api/jobs/{job_id}/release.zip": {"get"},
    "/api/jobs/{job_id}/adversarial/{model_id}.npz": {"get"},
    "/api/jobs/{job_id}/adversarial/{model_id}.zip": {"get"},
    "/api/jobs/{job_id}/ablation": {"get"},
    "/api/jobs/{job_id}/ablation.csv": {"get"},
    "/api/jobs/{job_id}/ablation/contrasts": {"get"},
    "/api/jobs/rerun": {"post"},
    "/api/comparisons": {"get"},
    "/api/board": {"get"},
    "/api/board/conditions": {"get"},
    "/api/datasets": {"get", "post"},
    "/api/datasets/{dataset_id}": {"get", "patch", "delete"},
    "/api/datasets/{dataset_id}/manifest.csv": {"get"},
    "/api/datasets/{dataset_id}/restore": {"post"},
    "/api/models": {"get", "post"},
    "/api/models/{model_id}": {"get", "patch", "delete"},
    "/api/models/{model_id}/weights": {"get"},
    "/api/models/{model_id}/restore": {"post"},
    "/api/presets/train": {"get"},
    "/api/live": {"post"},
    "/api/live/{job_id}/image.png": {"get"},
    "/api/live/{job_id}/reproduction.zip": {"get"},
    "/api/health": {"get"},
    "/api/alive": {"get"},
    "/api/account": {"get"},
    "/api/account/usage": {"get"},
    "/api/workers": {"get"},
    "/api/workers/{name}/drain": {"post"},
    "/api/workers/{name}/resume": {"post"},
    "/api/users": {"get"},
    "/api/users/{name}": {"get", "patch"},
    "/api/audit": {"get"},
    "/api/audit/records.csv": {"get"},
    "/api/audit/records.jsonl": {"get"},
    "/api/account/tokens": {"get", "post"},
    "/api/account/tokens/{token_id}": {"delete"},
}


@pytest.fixture
def schema(client: httpx.Client) -> Any:
    return client.get("/api/openapi.json").json()


def test_every_route_is_described(schema: Any) -> None:
    assert {path: set(operations) for path, operations in schema["paths"].items()} == ROUTES
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            assert "application/problem+json" in operation["responses"]["4XX"]["content"]
    assert "hint" in schema["components"]["schemas"]["Problem"]["properties"]


def test_parameters_are_described_with_their_bounds(schema: Any) -> None:
    parts = schema["components"]["schemas"]
    for kind in (TrainParams, EvaluateParams):
        properties = parts[kind.__name__]["properties"]
        assert set(properties) == set(kind.model_fields)
        assert all("title" in p or "$ref" in p for p in properties.values())
    epochs = parts["TrainParams"]["properties"]["epochs"]
    assert (epochs["minimum"], epochs["maximum"], epochs["default"]) == (1, 1000, 10)
    assert set(parts["LiveForm"]["required"]) == {"image", "models"}
    body = schema["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["schema"]["discriminator"]["mapping"]) == {
        "train", "evaluate", "release", "ablation",
    }  # fmt: skip


def test_other_methods_are_told_which_there_are(client: httpx.Client) -> None:
    for path, methods in ROUTES.items():
        known = {method.upper() for method in methods}
        for other in {"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "TRACE"} - known:
            answer = client.request(other, re.sub(r"\{\w+\}", "0" * 32, path), content=b"{")
            assert answer.status_code == 405, (other, path)
            assert answer.headers["allow"] == ", ".join(sorted(known)), (other, path)


@pytest.mark.slow
def test_one_answer_leads_to_the_next(web: str, lab: Lab, tmp_path: Path) -> None:
    """The short form of `make fuzz`: ids of answers are asked for, changed and deleted."""
    result = full_evaluation(images=10)
    known = {
        "job_id": [add_job(lab, JobKind.EVALUATE, result.params, result=result)],
        "dataset_id": [stock_dataset(lab)],
        "model_id": [stock_model(lab)],
    }
    limits = ("-n", "10", "--seed", "1", "--phases", "stateful", "--exclude-path", STREAM)
    said = ask(web, known, tmp_path, *limits)
    assert said.faults == 0, said.text
    assert said.requests > 20


@pytest.mark.slow
def test_generated_requests_meet_the_description(schema: Any, web: str, lab: Lab) -> None:
    """Valid and invalid requests: no 500, and every answer is one that the description names."""
    result = full_evaluation(images=10)
    known = {
        "job_id": add_job(lab, JobKind.EVALUATE, result.params, result=result),
        "dataset_id": stock_dataset(lab),
        "model_id": stock_model(lab),
    }
    api = schemathesis.openapi.from_dict(schema)
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        missing_required_header,
    ]

    def ask(operation: Any, mode: GenerationMode) -> None:
        @settings(
            max_examples=12,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            for name in set(case.path_parameters) & set(known):
                case.path_parameters[name] = known[name]
            case.validate_response(case.call(base_url=web, timeout=60), checks=checks)

        check()

    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) == sum(len(methods) for methods in ROUTES.values())
    for operation in operations:
        ask(operation, GenerationMode.POSITIVE)
        if list(operation.iter_parameters()) or operation.body:
            ask(operation, GenerationMode.NEGATIVE)
