"""A browser for tests of pages, a page that complains, and pages with everything open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from playwright.sync_api import Browser, Page, Request, ViewportSize, expect, sync_playwright

from tests.plugins.needs import chromium

_OPEN = """() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  for (const one of document.querySelectorAll("[data-panel][hidden], [data-when][hidden]"))
    one.hidden = false;
  for (const one of document.querySelectorAll("img[loading]")) one.loading = "eager";
  document.dispatchEvent(new Event("toggle"));
}"""
"""Folds, what waits behind a switch, and fields that a choice leaves out."""

DRAWN = """() => [...document.querySelectorAll(".plot")]
  .filter((plot) => plot.figure && plot.checkVisibility())
  .every((plot) => plot.querySelector(".main-svg"))"""
"""Whether every chart in sight is drawn."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, web: str) -> Iterator[Page]:
    """A page on the lab; a script's error or a refused resource fails the test."""
    complaints: list[str] = []
    context = browser.new_context(base_url=web, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    yield opened
    context.close()
    assert complaints == []


def _show_downloads(page: Page) -> None:
    """A report is saved, not shown; here it is a page like the others."""
    page.route("**/report.html", lambda route: route.fulfill(
        body=route.fetch().body(), content_type="text/html; charset=utf-8"
    ))  # fmt: skip


class _Traffic:
    """What a page still waits for, streams left aside."""

    def __init__(self, page: Page) -> None:
        self._page, self._pending = page, set[Request]()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def _begin(self, request: Request) -> None:
        if request.resource_type != "eventsource":
            self._pending.add(request)

    def _end(self, request: Request) -> None:
        self._pending.discard(request)

    def settle(self) -> None:
        """Wait until nothing is on its way, nor sent after the last answer."""
        quiet = 0
        while quiet < 2:
            self._page.wait_for_timeout(50)
            quiet = 0 if self._pending else quiet + 1


def opened_wide(
    browser: Browser, web: str, addresses: Mapping[str, str]
) -> Iterator[tuple[str, Page]]:
    """One page after the other, by name, with everything open that can be opened."""
    view = ViewportSize(width=1280, height=800)
    # A colour on its way to another is neither.
    context = browser.new_context(base_url=web, viewport=view, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(60_000)
    _show_downloads(page)
    traffic = _Traffic(page)
    for name, address in addresses.items():
        page.goto(address, wait_until="load")
        traffic.settle()
        page.evaluate(_OPEN)
        page.wait_for_function(DRAWN)
        yield name, page
    context.close()
