"""Pages as a browser reads them: what they show, and what their forms hold."""

from __future__ import annotations

import json

from bs4 import BeautifulSoup, Tag


def parsed(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "html.parser")


def texts(page: str, selector: str) -> list[str]:
    """What stands in each element that a CSS selector finds, in order, with plain spaces."""
    return [text_of(found) for found in parsed(page).select(selector)]


def text_of(element: Tag) -> str:
    return " ".join(element.get_text(" ").replace("\N{NO-BREAK SPACE}", " ").split())


def attributes(page: str, name: str, selector: str = "") -> list[str]:
    """The values of an attribute, in order; of those elements that the selector finds."""
    values = [found[name] for found in parsed(page).select(f"{selector}[{name}]")]
    return [value if isinstance(value, str) else " ".join(value) for value in values]


def links(page: str, start: str) -> list[str]:
    """Where the page leads or loads from, of addresses that begin so."""
    found = attributes(page, "href") + attributes(page, "src")
    return [address for address in found if address.startswith(start)]


def typed(page: str, name: str) -> str | None:
    """What the first field of this name holds."""
    return next(iter(attributes(page, "value", f'input[name="{name}"]')), None)


def chosen(page: str, name: str) -> list[str]:
    """The values of the boxes, buttons and options of this name that are chosen."""
    ticked = attributes(page, "value", f'input[name="{name}"][checked]')
    return ticked + attributes(page, "value", f'select[name="{name}"] option[selected]')


def live_models(page: str) -> list[str]:
    """The models that the live page begins with, the reference first."""
    settings = parsed(page).select_one("script#settings")
    assert settings is not None
    found: list[str] = json.loads(settings.get_text())["chosen"]
    return found


def errors(page: str) -> dict[str, str]:
    """Messages by the id of their field."""
    found = parsed(page).select('.error[id$="-error"]')
    return {str(said["id"]).removesuffix("-error"): said.get_text() for said in found}
