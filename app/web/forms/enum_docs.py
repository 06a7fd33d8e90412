"""What an enum's source says about its members: the strings below them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from enum import Enum
from functools import lru_cache


@lru_cache
def enum_docs(kind: type[Enum]) -> dict[str, str]:
    """The docstring of each member, by the member's value; members without one are left out."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for member, below in zip(tree.body, tree.body[1:], strict=False):
        match member, below:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[str(kind[name].value)] = " ".join(text.split())
    return docs
