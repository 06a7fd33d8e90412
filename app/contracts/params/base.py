"""What all parameters share: strictness, names and ids, and a field with what a form needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from pydantic_core import to_jsonable_python

from app.contracts.options import Option, Record


def printable(value: str) -> str:
    """Raises ValueError for what is no single line of text."""
    if not value.isprintable():
        raise ValueError("must not contain line breaks or control characters")
    return value


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
    AfterValidator(printable),
]
"""What a person calls a model or a dataset. Markup is allowed; pages escape it."""
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
NO_ID = "0" * 32
"""Stands for an id that is not known yet."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}
"""What a schema calls the bounds of a number."""


@dataclass(frozen=True)
class DefaultBy:
    """A default that another parameter decides, which stands before this one."""

    field: str
    values: Mapping[str, JsonValue]
    """By what is chosen there; the first is that of its own default."""

    def within(self, data: Mapping[str, Any]) -> JsonValue:
        """The default beside other parameters; one that is missing there has its own default."""
        return self.values[data.get(self.field, next(iter(self.values)))]


@dataclass(frozen=True)
class DefaultOf:
    """A default that follows from the parameters before this one."""

    usual: JsonValue
    """By the defaults of those."""
    within: Callable[[Mapping[str, Any]], JsonValue]
    """By their values; one that is wrong is missing."""


def parameter(
    default: Any = ...,
    *,
    title: str,
    help: str,
    unit: str = "",
    group: str = "",
    only: Sequence[str] = (),
    nothing: str = "",
    **bounds: Any,
) -> Any:
    """A pydantic `Field` with what a form needs to show it.

    `only`: the members of an enum that may be chosen here, where not all of them may; `nothing`:
    what None is called among choices. A `DefaultBy` or `DefaultOf` is what the field's `before`
    validator then meets, and has to replace.
    """
    source = {"default_factory": default} if callable(default) else {"default": default}
    extra: dict[str, JsonValue] = {"unit": unit, "group": group, "only": [str(m) for m in only]}
    if nothing:
        extra["nothing"] = nothing
    # Two facts that pydantic leaves out: a made default, and the bounds of a value of two forms.
    if callable(default):
        extra["default"] = to_jsonable_python(default())
    if isinstance(default, DefaultBy | DefaultOf):
        source = {"default_factory": lambda: default, "validate_default": True}
    if isinstance(default, DefaultOf):
        extra["default"] = default.usual
    if isinstance(default, DefaultBy):
        extra["default"] = default.within({})
        extra["x-default-by"] = {"field": default.field, "values": dict(default.values)}
    extra |= {_LIMITS[name]: limit for name, limit in bounds.items() if name in _LIMITS}
    return Field(title=title, description=help, json_schema_extra=extra, **source, **bounds)


class Device(Option):
    """What computes a job."""

    ANY = "any", Record(
        title="any", summary="Whichever worker is free: on its GPU where it has one.",
    )  # fmt: skip
    GPU = "gpu", Record(title="a GPU", summary="Only a worker with a GPU; until then it waits.")


def device_parameter() -> Any:
    """The field of a job that takes long where there is no GPU."""
    return parameter(
        Device.ANY, title="Runs on", group="Run",
        help="`gpu` waits for a worker with a GPU, rather than take many hours of a CPU.",
    )  # fmt: skip


class Params(BaseModel):
    """Unknown fields are errors; strings never become numbers silently outside forms."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
