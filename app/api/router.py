"""All of the REST API, and its description."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from app.admission.routes import ByMethod
from app.api import (
    ablations,
    account,
    audit,
    board,
    comparisons,
    datasets,
    events,
    exports,
    health,
    jobs,
    live,
    models,
    presets,
    releases,
    users,
    workers,
)
from app.api.problems import Problem

_URLENCODED = "application/x-www-form-urlencoded"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "The one in the file `token` of the data folder. Programs of the lab's own "
    "user on the same machine need none.",
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "What is wrong with the request, and what to do about it (RFC 9457).",
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }
}

router = APIRouter(prefix="/api", responses=_ERRORS)
_PARTS = (
    jobs, events, exports, releases, ablations, comparisons, board, datasets, models, presets, live,
    health, account, audit, users, workers,
)  # fmt: skip
for part in _PARTS:
    router.include_router(part.router)
for beside in (health.alive, workers.for_admins):
    router.include_router(beside)

_description = APIRouter(route_class=ByMethod)


@_description.get("/openapi.json", include_in_schema=False)
def description(request: Request) -> JSONResponse:
    """This API as an OpenAPI document."""
    return JSONResponse(request.app.openapi())


router.include_router(_description)


class Described(FastAPI):
    """An application whose description has the shape of its errors."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            parts = schema.pop("$defs") | {"Problem": schema}
            described = super().openapi()
            described["components"]["schemas"].update(parts)
            described["components"]["securitySchemes"] = {"token": _TOKEN}
            described["security"] = [{}, {"token": []}]
            _say_that_files_come_in_parts(described)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _say_that_files_come_in_parts(described: dict[str, Any]) -> None:
    """FastAPI takes forms whose fields are a model's as multipart, and describes them otherwise."""
    for methods in described["paths"].values():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            if _URLENCODED in content:
                content["multipart/form-data"] = content.pop(_URLENCODED)
