"""The documents of `docs/`, as pages of the lab: they are read where their questions come up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from app.admission.routes import ByMethod
from app.errors import NotFound
from app.settings import BESIDE
from app.web.render import Context, render

DOCS = BESIDE / "docs"
_TOPICS = (
    "tour", "live", "evaluating", "trust", "training", "formats", "importing", "exports", "client",
    "running", "operations", "security", "reliability", "performance", "architecture", "testing",
)  # fmt: skip
"""In the order of the index; decisions and results follow by name."""


@dataclass(frozen=True)
class Document:
    """A document, ready to be shown."""

    name: str
    """Its path in `docs/` without the ending, as `decisions/0001-...`."""
    title: str
    """Its first heading."""
    html: Markup
    """Made from the lab's own files: nobody else writes them."""
    sections: tuple[tuple[str, str], ...]
    """Anchor and words of each heading of the second level."""


@dataclass(frozen=True)
class HelpContext(Context):
    """One document, beside the list of all."""

    template: ClassVar[str] = "help.html"

    document: Document
    """The one that is read."""
    topics: tuple[tuple[str, str], ...]
    """Name and title of the documents about using the lab."""
    further: tuple[tuple[str, str], ...]
    """Name and title of decisions and results."""


router = APIRouter(prefix="/help", route_class=ByMethod)


@router.get("")
def index(request: Request) -> Response:
    return document(request, _TOPICS[0])


@router.get("/{name:path}")
def document(request: Request, name: str) -> Response:
    pictures = {path.relative_to(DOCS).as_posix(): path for path in _pictures()}
    if name in pictures:
        return FileResponse(pictures[name])
    if name not in _titles():
        raise NotFound("There is no such page of help.", hint="The list of all is at /help.")
    topics = tuple((each, _titles()[each]) for each in _TOPICS)
    further = tuple((each, title) for each, title in _titles().items() if each not in _TOPICS)
    return render(request, HelpContext(document=_document(name), topics=topics, further=further))


def _pictures() -> Iterator[Path]:
    for pattern in ("*.svg", "**/pictures/*.png"):
        yield from DOCS.glob(pattern)


@lru_cache
def _titles() -> dict[str, str]:
    """The first heading of every document, by its name."""
    return {
        path.relative_to(DOCS).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        .partition("\n")[0]
        .lstrip("# ")
        for path in sorted(DOCS.rglob("*.md"))
    }


@lru_cache
def _document(name: str) -> Document:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    sections = []
    for opening, inline, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(inline.content))
            if opening.tag == "h2":
                sections.append((anchor(inline.content), inline.content.replace("`", "")))
        elif opening.type == "table_open":
            opening.attrSet("tabindex", "0")  # a wide one scrolls, by keyboard too
        elif opening.type == "th_open" and not inline.content:
            opening.tag = closing.tag = "td"  # the head of no column
    for token in tokens:
        _lead_on(token.children or [], name)
    html = parser.renderer.render(tokens, parser.options, {})
    html = html.replace("<pre>", '<pre tabindex="0">')  # a wide one scrolls, by keyboard too
    return Document(name, _titles()[name], Markup(html), tuple(sections))


def anchor(heading: str) -> str:
    """As GitHub makes it; of a heading that begins with a name in code, that name."""
    named = re.match(r"`(\w+)`:", heading)
    return named[1] if named else re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _lead_on(inline: list[Token], name: str) -> None:
    """Let links between documents lead to their pages here; what is not here is only named."""
    leaves = False
    for token in inline:
        if token.type == "link_open":
            address = _address(str(token.attrGet("href")), name)
            leaves = address is None
            if address is None:
                token.tag, token.attrs = "span", {}
            else:
                token.attrSet("href", address)
        elif token.type == "link_close" and leaves:
            token.tag, leaves = "span", False
        elif token.type == "image":
            token.attrSet("src", _address(str(token.attrGet("src")), name) or "")


def _address(target: str, name: str) -> str | None:
    """Where a link of the document `name` leads from its page; None: to a file that has none."""
    if re.match(r"https?:", target) or target.startswith("#"):
        return target
    path, _, part = target.partition("#")
    found = (DOCS / name).parent.joinpath(path).resolve()
    if not found.is_relative_to(DOCS):
        return None
    page = found.relative_to(DOCS).as_posix().removesuffix(".md")
    known = page in _titles() or found in set(_pictures())
    return f"/help/{page}" + (f"#{part}" if part else "") if known else None
