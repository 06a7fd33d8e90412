"""Signing in with a browser, and what its scripts bring along."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from app.contracts.accounts import Role
from app.contracts.jobs import JobKind
from app.services import accounts
from app.services.lab import Lab
from app.settings import Auth, Settings
from tests.admission.people import PASSWORD
from tests.web.browsing import browser as browser
from tests.web.examples import add_dataset, add_job, add_model, train_params
from tests.web.test_layout_in_browser import survey, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow]
GIVE = """([kind, holder]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(9)], "cat.png", { type: "image/png" }));
  document.dispatchEvent(Object.assign(new Event(kind), { [holder]: files }));
}"""
"""Drops or pastes an image."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS})


def signed_in(browser: Browser, web: str, name: str) -> Page:
    page = browser.new_context(base_url=web).new_page()
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name=name)).to_be_visible()
    return page


def look(page: Page) -> None:
    for width in (390, 1280):
        assert survey(page, width) == []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.reload()
        assert violations(page, scheme) == []


def test_a_person_signs_in_works_and_signs_out(lab: Lab, web: str, browser: Browser) -> None:
    accounts.add(lab.database, "rita", PASSWORD, Role.ADMIN)
    add_dataset(lab)
    job = add_job(lab, JobKind.TRAIN, train_params())
    page = browser.new_context(base_url=web).new_page()
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
    page.goto(f"/jobs/{job}")
    look(page)
    for password in ("wrong wrong wrong", PASSWORD):
        page.get_by_label("Name").fill("rita")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(f"/jobs/{job}$"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_contain_text("cancelled")
    page.goto("/train")
    expect(page.locator("#estimate")).to_contain_text("How long")
    page.get_by_role("link", name="rita").click()
    page.get_by_label("Name of a new token").fill("gate" * 20)
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_role("status")).to_contain_text("lab_")
    page.goto("/account")
    look(page)
    page.get_by_role("link", name="Users").click()
    look(page)
    page.get_by_role("link", name="rita").last.click()
    expect(page.get_by_role("heading", name="What it uses")).to_be_visible()
    look(page)
    page.goto("/audit")
    expect(page.locator("main tbody tr")).to_have_count(4)
    look(page)
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert refused == []


def test_what_is_anothers_is_not_changed_in_tables(lab: Lab, web: str, browser: Browser) -> None:
    accounts.add(lab.database, "rita", PASSWORD, Role.RUNNER)
    for title in ("one", "two"):
        add_job(lab, JobKind.TRAIN, train_params(), title=title)
    page = signed_in(browser, web, "rita")
    page.goto("/datasets")
    page.locator("#drawn-name").fill("Mine")
    page.locator("#drawn-name").press("Enter")
    page.wait_for_url("**/jobs/*")
    mine = page.locator(f"#pick-{page.url.rsplit('/', 1)[-1]}")
    page.goto("/jobs")
    archive = page.get_by_role("button", name="Archive")
    mine.check()
    expect(archive).to_be_enabled()
    page.get_by_label("Choose one").check()
    expect(archive).to_be_disabled()
    bar = page.locator("[data-selection]")
    expect(bar).to_contain_text("1 of them cannot be changed. It is nobody's")
    expect(bar.get_by_role("button", name="Compare")).to_be_enabled()
    look(page)
    mine.check()
    archive.click()
    expect(page.locator("#rows tr")).to_have_count(2)


def test_a_viewer_sends_no_image(lab: Lab, web: str, browser: Browser) -> None:
    accounts.add(lab.database, "vera", PASSWORD, Role.VIEWER)
    add_model(lab, add_dataset(lab))
    page = signed_in(browser, web, "vera")
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
    page.goto("/live")
    why = "Attacks are started by runners and admins."
    expect(page.locator(".drop p")).to_have_text(why)
    for kind, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(GIVE, [kind, holder])
        error = page.locator("#image-error")
        expect(error).to_have_text(why)
        error.evaluate("one => { one.textContent = ''; }")
    page.get_by_role("button", name="Camera").click(force=True)
    expect(page.locator("#camera")).to_be_hidden()
    look(page)
    assert sent == []
