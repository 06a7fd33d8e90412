"""The REST API as a page, made from the OpenAPI document that the lab serves."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod
from app.web.pages.reference_shapes import (
    Field,
    Schema,
    Shape,
    Word,
    example,
    field,
    fields,
    kind,
    resolved,
    shape,
)
from app.web.render import Context, own_address, render

_JSON = "application/json"


@dataclass(frozen=True)
class Body:
    """What a request sends."""

    media_type: str
    kind: tuple[Word, ...]
    fields: tuple[Field, ...]
    """Of a form; JSON has its shape instead."""


@dataclass(frozen=True)
class EndpointAnswer:
    """One of an operation's answers."""

    status: str
    help: str
    media_type: str
    """Empty where nothing is sent."""
    kind: tuple[Word, ...]


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    anchor: str
    method: str
    path: str
    help: str
    parameters: tuple[Field, ...]
    body: Body | None
    answers: tuple[EndpointAnswer, ...]
    curl: str
    """A line that asks for it, with `ID` where an id belongs."""


@dataclass(frozen=True)
class ReferenceContext(Context):
    """All of the API."""

    template: ClassVar[str] = "reference.html"

    parts: Mapping[str, tuple[Operation, ...]]
    """By what they are about."""
    shapes: tuple[Shape, ...]
    """What requests and answers are made of, by name."""


router = APIRouter(route_class=ByMethod)


@router.get("/docs")
def reference(request: Request) -> Response:
    document = request.app.openapi()
    shapes = document["components"]["schemas"]
    parts: dict[str, tuple[Operation, ...]] = {}
    for tag, operation in _operations(document, own_address(request)):
        parts[tag] = (*parts.get(tag, ()), operation)
    context = ReferenceContext(
        parts=parts, shapes=tuple(shape(name, shapes[name]) for name in sorted(shapes))
    )
    return render(request, context)


def _operations(document: Schema, base: str) -> Iterator[tuple[str, Operation]]:
    shapes = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            content = said.get("requestBody", {}).get("content", {})
            media_type = next(iter(content), "")
            schema: Schema = content[media_type]["schema"] if media_type else {}
            yield (
                said["tags"][0],
                Operation(
                    anchor=anchor(method, path),
                    method=method.upper(),
                    path=path,
                    help=said.get("description", ""),
                    parameters=tuple(_parameter(one) for one in said.get("parameters", ())),
                    body=_body(media_type, schema, shapes) if media_type else None,
                    answers=tuple(_answers(said["responses"])),
                    curl=_curl(base + path, method, media_type, schema, shapes),
                ),
            )


def anchor(method: str, path: str) -> str:
    """`get`, `/api/jobs/{job_id}` -> `get-jobs-job_id`."""
    return "-".join([method, *re.findall(r"[\w.]+", path.removeprefix("/api"))])


def _parameter(said: Schema) -> Field:
    schema = {"description": said.get("description", ""), **said["schema"]}
    required = said.get("required", False)
    return field(said["name"], schema, required=required, place=said["in"], nullable=False)


def _body(media_type: str, schema: Schema, shapes: Mapping[str, Schema]) -> Body:
    form = () if media_type == _JSON else fields(resolved(schema, shapes), nullable=False)
    return Body(media_type, () if form else kind(schema), form)


def _answers(responses: Mapping[str, Any]) -> Iterator[EndpointAnswer]:
    for status, said in sorted(responses.items()):
        content = said.get("content", {})
        media_type = next(iter(content), "")
        yield EndpointAnswer(
            status=status,
            help="" if said["description"] == "Successful Response" else said["description"],
            media_type=media_type,
            kind=kind(content[media_type]["schema"]) if "json" in media_type else (),
        )


def _curl(
    address: str, method: str, media_type: str, schema: Schema, shapes: Mapping[str, Schema]
) -> str:
    parts = ["curl -sSf" + {"get": "", "post": " -X POST"}.get(method, f" -X {method.upper()}")]
    parts[0] += " " + shlex.quote(re.sub(r"\{\w+\}", "ID", address))
    if media_type == _JSON:
        parts[0] = parts[0].replace(" -X POST", "") + f" -H 'Content-Type: {_JSON}'"
        body = json.dumps(example(schema, shapes), ensure_ascii=False)
        parts.append(f"-d {shlex.quote(body)}")
    elif media_type:
        parts[0] = parts[0].replace(" -X POST", "")
        parts += _form_fields(resolved(schema, shapes), shapes)
    return " \\\n  ".join(parts)


def _form_fields(form: Schema, shapes: Mapping[str, Schema]) -> Iterator[str]:
    """Those that must be given, and the file."""
    for name, part in form["properties"].items():
        is_file = "contentMediaType" in resolved(part, shapes)
        if is_file:
            yield f"-F {name}=@a-file"
        elif name in form.get("required", ()):
            value = example(part, shapes)
            one = value[0] if isinstance(value, list) else value
            yield f"-F {shlex.quote(f'{name}={one}')}"
