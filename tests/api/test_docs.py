"""The API's documentation in a browser, under the lab's own content policy."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.plugins.needs import chromium

PATIENCE_MS = 60_000


@pytest.mark.browser
@pytest.mark.slow
def test_the_documentation_shows_every_call_and_asks_nobody_else(web: str) -> None:
    complaints: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{web}/docs")
        paths = httpx.get(f"{web}/api/openapi.json").json()["paths"].values()
        calls = page.locator(".opblock")
        expect(calls).to_have_count(sum(len(path) for path in paths), timeout=PATIENCE_MS)
        # A call can be tried from the page: the policy lets it ask its own server.
        page.locator("#operations-health-health_api_health_get").click(timeout=PATIENCE_MS)
        page.get_by_role("button", name="Try it out").click(timeout=PATIENCE_MS)
        page.get_by_role("button", name="Execute").click(timeout=PATIENCE_MS)
        answer = page.locator(".live-responses-table .response-col_status").last
        expect(answer).to_contain_text("200", timeout=PATIENCE_MS)
        browser.close()
    assert complaints == []
    assert all(url.startswith((web, "data:")) for url in asked), asked
