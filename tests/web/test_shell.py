"""The frame of every page: its colours and its keys."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.web.browsing import browser as browser
from tests.web.browsing import page as page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
_GROUND = "() => getComputedStyle(document.documentElement).backgroundColor"
DARK, LIGHT = "rgb(16, 20, 24)", "rgb(245, 246, 247)"


def test_the_reader_chooses_the_colours(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto("/train")
    button = page.locator("#theme")
    seen = []
    for _ in range(4):
        seen.append((button.get_attribute("aria-label"), page.evaluate(_GROUND)))
        button.click()
    names = [name for name, _ in seen]
    assert names == ["Colours: Auto", "Colours: Light", "Colours: Dark", "Colours: Auto"]
    assert [ground for _, ground in seen] == [DARK, LIGHT, DARK, DARK]
    page.goto("/models")
    assert page.evaluate(_GROUND) == LIGHT, "the choice is kept from page to page"


def test_a_chosen_colour_redraws_what_scripts_have_drawn(page: Page) -> None:
    page.goto("/help")
    page.evaluate("document.addEventListener('lab:theme', () => { document.title = 'told'; })")
    page.keyboard.press("t")
    assert page.title() == "told"


def test_keys_lead_to_pages_and_list_themselves(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    row = dialog.get_by_role("row").filter(has_text="Datasets")
    letter = row.locator("kbd").nth(1).inner_text()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press(letter)
    page.wait_for_url("**/datasets")


def test_keys_leave_typing_alone_and_can_be_switched_off(page: Page) -> None:
    page.goto("/train")
    page.locator("#field-name").fill("")
    page.locator("#field-name").press_sequentially("gt?")
    assert page.locator("#field-name").input_value() == "gt?"
    page.locator("#keys").click()
    page.get_by_role("switch", name="Use them on this browser").uncheck()
    page.get_by_role("button", name="Close").click()
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_hidden()
