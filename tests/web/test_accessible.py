"""axe-core finds nothing on any page, everything open: wide and light, narrow and dark."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from app.services.lab import Lab
from tests.web.browsing import browser as browser
from tests.web.browsing import opened_wide
from tests.web.furnished import PLAIN, empty, furnish

pytestmark = [pytest.mark.browser, pytest.mark.slow]

VIEWS = ((1280, "light"), (390, "dark"))
OPTIONS = {"resultTypes": ["violations"]}


def violations(browser: Browser, web: str, addresses: Mapping[str, str]) -> list[str]:
    axe, found = Axe(), []
    bare = {"bypass_csp": True, "reduced_motion": "reduce"}
    for name, page in opened_wide(browser, web, addresses, **bare):
        for width, scheme in VIEWS:
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for one in axe.run(page, options=OPTIONS).response["violations"]:
                places = [node["html"][:160] for node in one["nodes"][:3]]
                found.append(f"{name}, {width} px, {scheme}: {one['id']}: {places}")
    return found


def test_full_pages_are_accessible(browser: Browser, web: str, lab: Lab) -> None:
    found = violations(browser, web, furnish(lab, PLAIN))
    assert not found, "\n".join(found)


def test_empty_pages_are_accessible(browser: Browser, web: str, lab: Lab) -> None:
    found = violations(browser, web, empty())
    assert not found, "\n".join(found)
