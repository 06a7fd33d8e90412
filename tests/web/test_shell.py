"""The frame of every page: its colours and its keys."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from app.contracts.events import ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.services.lab import Lab
from app.store import jobs as store
from tests.plugins.families import take
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import add_dataset, add_job, train_params

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
    title, table = (dialog.get_by_role(role).bounding_box() for role in ("heading", "table"))
    assert title is not None
    assert table is not None
    assert title["y"] + title["height"] <= table["y"], "beside each other"
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


def test_the_tab_says_how_far_a_job_is(page: Page, lab: Lab) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(), title="A job")
    claim = take(lab.database, job)
    page.context.grant_permissions(["notifications"])
    page.goto(f"/jobs/{job}")
    icon = page.locator("#icon").get_attribute("href")
    store.report(lab.database, claim, [ProgressEvent(done=1, total=4, phase="epoch 1")])
    page.wait_for_function("() => document.title.startsWith('25 % · A job')")
    assert page.locator("#icon").get_attribute("href") != icon
    page.evaluate("() => { window.Notification = class { static permission = 'granted'; static "
                  "requestPermission = async () => 'granted'; constructor(title, { body }) "
                  "{ sessionStorage.setItem('said', `${title}: ${body}`); } }; }")  # fmt: skip
    page.get_by_role("button", name="Tell me when it is over").click()
    expect(page.get_by_role("button", name="You will be told")).to_be_visible()
    store.settle(lab.database, claim, JobStatus.CANCELLED)
    expect(page.locator(".state.cancelled")).to_be_visible()
    said = page.evaluate("sessionStorage.getItem('said')")
    assert said == "A job · AGKD-BML Lab: It has been cancelled."


def test_what_starts_a_job_is_copied(page: Page, lab: Lab) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(dataset=add_dataset(lab)))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/jobs/{job}")
    page.get_by_text("As curl and Python").click()
    page.get_by_role("button", name="Copy: Python").click()
    expect(page.get_by_role("button", name="Copy: Python")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("from app.client import Lab")
