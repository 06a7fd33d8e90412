"""Contracts with a parameter become classes as modules are imported, and never while one is asked.

pydantic keeps such a class only as long as somebody else does, so that each page would make its own
anew: it takes long, and fails where two threads do it at once.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from app.contracts import views

APP = Path(views.__file__).resolve().parents[1]
GENERIC = {
    name for name, found in inspect.getmembers(views, inspect.isclass)
    if issubclass(found, BaseModel) and getattr(found, "__parameters__", ())
}  # fmt: skip


def made_in_functions(source: str) -> Iterator[int]:
    """The lines."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, functions)):
        body = [function.body] if isinstance(function, ast.Lambda) else function.body
        for node in (inner for statement in body for inner in ast.walk(statement)):
            match node:
                case ast.Subscript(value=ast.Name(id=name)) if name in GENERIC:
                    yield node.lineno


@pytest.mark.parametrize("path", sorted(APP.rglob("*.py")), ids=lambda path: path.stem)
def test_none_is_made_in_a_function(path: Path) -> None:
    assert [*made_in_functions(path.read_text(encoding="utf-8"))] == []


def test_one_that_is_would_be_seen() -> None:
    assert "Page" in GENERIC
    assert [*made_in_functions("def f():\n    return Page[int](items=())")] == [2]
