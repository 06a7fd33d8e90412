"""Each template is given what it uses, all of it documented, and nothing else."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields

import pytest
from jinja2 import meta, nodes

from app.web import pages
from app.web.render import ENVIRONMENT, TEMPLATES, Context


def _contexts(base: type[Context]) -> Iterator[type[Context]]:
    """All that stand for a template; a base of several has none of its own."""
    for context in base.__subclasses__():
        if "template" in vars(context):
            yield context
        yield from _contexts(context)


assert pages.router.routes, "contexts are known once their pages are"
_CONTEXTS = list(_contexts(Context))
_MACROS = {
    "_accounts.html", "_code.html", "_compare.html", "_crumbs.html", "_dataset.html",
    "_evaluation.html", "_fields.html", "_figures.html", "_keeping.html", "_reference.html",
    "_showcase.html", "_tables.html",
}  # fmt: skip
_FRAMES = {"base.html", "job.html"}
_INCLUDED = {"_ablation.html", "_children.html", "_viewer.html"}
"""Parts that stand for no page of their own."""


def _parsed(name: str) -> nodes.Template:
    assert ENVIRONMENT.loader is not None
    source, _, _ = ENVIRONMENT.loader.get_source(ENVIRONMENT, name)
    return ENVIRONMENT.parse(source)


def _included(tree: nodes.Template) -> Iterator[str]:
    for node in tree.find_all((nodes.Extends, nodes.Include)):
        assert isinstance(node.template, nodes.Const)
        yield str(node.template.value)


def _used(name: str) -> set[str]:
    """Variables of a template and of what it extends and includes, without its own."""
    tree = _parsed(name)
    own = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    imported = {name for node in tree.find_all(nodes.FromImport) for name in node.names}
    used = meta.find_undeclared_variables(tree) - imported
    for other in _included(tree):
        used |= _used(other) - own
    return used - set(ENVIRONMENT.globals)


@pytest.mark.parametrize("context", _CONTEXTS, ids=lambda context: context.template)
def test_a_template_uses_exactly_its_context(context: type[Context]) -> None:
    assert _used(context.template) - {"shell"} == {field.name for field in fields(context)}


def test_every_template_has_one_context() -> None:
    named = [context.template for context in _CONTEXTS]
    assert sorted(named) == sorted(
        path.name
        for path in TEMPLATES.glob("*.html")
        if path.name not in _MACROS | _FRAMES | _INCLUDED
    )


@pytest.mark.parametrize("context", _CONTEXTS, ids=lambda context: context.__name__)
def test_every_field_of_a_context_is_explained(context: type[Context]) -> None:
    [source] = ast.parse(inspect.getsource(context)).body
    assert isinstance(source, ast.ClassDef)
    assert ast.get_docstring(source)
    for field, below in zip(source.body[1:], [*source.body[2:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and field.value is None:
            assert isinstance(below, ast.Expr), ast.unparse(field)
            assert isinstance(below.value, ast.Constant), ast.unparse(field)
            assert isinstance(below.value.value, str), ast.unparse(field)


def test_autoescape_is_on_and_missing_variables_are_errors() -> None:
    assert ENVIRONMENT.autoescape is True
    assert ENVIRONMENT.from_string("{{ '<' }}").render() == "&lt;"
    with pytest.raises(Exception, match="'nothing' is undefined"):
        ENVIRONMENT.from_string("{{ nothing }}").render()
