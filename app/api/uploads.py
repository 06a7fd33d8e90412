"""Forms that carry a file: beside it, every parameter of the job that reads it.

What a parameter is called, its bounds, default and help stand in `app.contracts.params` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from fastapi import Response, UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from app.api.jobs import accepted
from app.contracts.jobs import JobKind
from app.contracts.params import PARAMS_OF, Params
from app.contracts.views import JobView
from app.errors import InvalidFields
from app.services import uploads
from app.services.lab import Lab

_UPLOAD = "upload"
"""The parameter that names the stored file; a form has the file itself."""
_FILE = "file"


class UploadForm(BaseModel):
    """A form that declares its file, and what means something else beside a file."""

    model_config = ConfigDict(extra="forbid")


F = TypeVar("F", bound=UploadForm)


def takes(params: type[Params]) -> Callable[[type[F]], type[F]]:
    """A decorator that gives a form every field of `params` that it does not declare itself.

    A field that is several parameters in one is laid flat, with the defaults of this job.
    """

    def completed(form: type[F]) -> type[F]:
        fields = {name: field for name, field in _flat(params) if name not in form.model_fields}
        module, doc = form.__module__, form.__doc__
        return create_model(form.__name__, __base__=form, __module__=module, __doc__=doc, **fields)

    return completed


def _flat(params: type[Params]) -> Iterator[tuple[str, Any]]:
    """What defines each field of a form, by its name."""
    for name, field in params.model_fields.items():
        inner = _several(field)
        if inner is not None:
            usual = field.get_default(call_default_factory=True)
            for part, one in inner.model_fields.items():
                yield part, (_annotated(one), getattr(usual, part))
        elif name != _UPLOAD:
            yield name, _annotated(field)


def _several(field: FieldInfo) -> type[Params] | None:
    """The model of a field that is several parameters in one."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Params) else None


def _annotated(field: FieldInfo) -> Any:
    """The field's type with all that is known of it. Choices among numbers are read from texts."""
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
        kind = Annotated[kind, BeforeValidator(lambda entry: choices.get(entry, entry))]
    return Annotated[kind, field]


def parameters(params: type[Params], form: UploadForm, **others: Any) -> Params:
    """Those of a form, and others that no form has. Raises InvalidFields."""
    given = dict(form) | others
    values: dict[str, Any] = {}
    for name, field in params.model_fields.items():
        inner = _several(field)
        if inner is not None:
            values[name] = {part: given[part] for part in inner.model_fields}
        elif name in given:
            values[name] = given[name]
    try:
        return params.model_validate(values)
    except ValidationError as error:
        found = InvalidFields.of(error).errors
        named = [(_FILE if field == _UPLOAD else field, message) for field, message in found]
        raise InvalidFields(named) from None


def started(
    lab: Lab,
    response: Response,
    kind: JobKind,
    form: UploadForm,
    file: UploadFile,
    key: str | None,
    **others: Any,
) -> JobView:
    """Store the file and submit the job that reads it. `key`: the request's Idempotency-Key."""

    def given(upload: str) -> Params:
        return parameters(PARAMS_OF[kind], form, upload=upload, **others)

    name = file.filename or ""
    job = uploads.submit(lab, kind, file.file, name, given, idempotency_key=key)
    return accepted(response, job)
