"""Parameters from a command line: `--params file.json`, then `--set attack.steps=50`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.client.errors import LabError, unreadable


def from_file(path: Path) -> dict[str, Any]:
    """The parameters in a JSON file. Raises LabError."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(values, dict):
        raise LabError("Not parameters", f"{path} holds no JSON object.", field="params")
    return values


def assign(params: dict[str, Any], assignment: str) -> None:
    """Write `name=value` into parameters. Raises LabError."""
    name, equals, text = assignment.partition("=")
    if not equals or not all(name.split(".")):
        raise LabError(
            "Not a parameter",
            f"{assignment!r} is not a name and a value.",
            hint="Write it like attack.steps=50.",
            field="set",
        )
    put(params, name, value_of(text))


def put(params: dict[str, Any], name: str, value: Any) -> None:
    """Set a parameter; dots in its name lead into nested ones. Raises LabError."""
    *parents, last = name.split(".")
    for parent in parents:
        inner = params.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise LabError("Not a parameter", f"{parent!r} in {name!r} has no parts.", field="set")
        params = inner
    params[last] = value


def value_of(text: str) -> Any:
    """JSON where it is JSON, a list where it has commas, else text: `8/255`."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return [value_of(part) for part in text.split(",")] if "," in text else text
