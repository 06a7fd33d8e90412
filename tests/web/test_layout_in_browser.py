"""Every page with everything open, at any width: all in its place, and nothing against axe-core.

One walk looks for both, since opening the pages is half of the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from fastapi.routing import iter_route_contexts
from playwright.sync_api import Browser, Page, expect
from starlette.routing import compile_path

from app.contracts.jobs import JobKind
from app.main import create_app
from app.services.lab import Lab
from app.store import jobs as store
from tests.plugins.families import take
from tests.web.browsing import DRAWN, opened_wide
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import add_job, train_params
from tests.web.furnished import HARD, PLAIN, empty, furnish, history

pytestmark = [pytest.mark.browser, pytest.mark.slow]

VIEWS: dict[int, Literal["light", "dark"] | None] = {1280: "light", 390: "dark", 1920: None}
"""A laptop, a telephone, a large screen in pixels; where axe-core looks too, in which colours."""
FRAGMENTS = {
    "/recent", "/jobs/{job_id}/state", "/jobs/{job_id}/ablation", "/jobs/{job_id}/estimate",
    "/jobs/{job_id}/code", "/jobs/compare", "/models/compare", "/compare/choices",
    "/compare/trainings/choices", "/login/openid", "/login/openid/back", "/workers/rows",
}  # fmt: skip
"""Parts of pages that pages fetch anew, and what only leads on."""
OF_ACCOUNTS = {"/account", "/audit", "/login", "/users", "/users/{name}"}
"""Pages of a lab that has accounts; `tests/admission/test_in_browser.py` looks at them."""
ELSEWHERE = ("/api/", "/static", "/metrics")
"""What is not a page of the lab's own."""

_AT_REST = """() => new Promise((done) => {
  const rest = document.querySelector(".main-svg") ? 250 : 0;
  setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), rest);
})"""
"""Plotly waits a tenth of a second before it follows the window."""

_SURVEY = """() => {
  const found = [];
  const name = (one) => one.tagName.toLowerCase() + (one.id ? "#" + one.id : "") +
    [...one.classList].map((word) => "." + word).join("");
  const where = (one) => [one.parentElement?.parentElement, one.parentElement, one]
    .filter(Boolean).map(name).join(" > ");
  const quote = (text) => JSON.stringify(text.trim().replace(/\\s+/g, " ").slice(0, 50));
  const unread = ".visually-hidden, .skip, svg, select, noscript";
  const hidden = (one) => getComputedStyle(one).clipPath !== "none" || one.closest(unread) ||
    !one.checkVisibility({ visibilityProperty: true, opacityProperty: true });

  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth)
    found.push(`the page is ${root.scrollWidth} px wide in a window of ${root.clientWidth}`);

  // The width of a nought in every font in use, measured once each.
  const pen = document.createElement("canvas").getContext("2d");
  const noughts = new Map();
  const nought = (style) => {
    const font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    if (!noughts.has(font)) {
      pen.font = font;
      noughts.set(font, pen.measureText("0").width);
    }
    return noughts.get(font);
  };

  // A scrolling region holds what it scrolls.
  const SLACK = 1.5;
  const scrolls = (one) => getComputedStyle(one).overflowX !== "visible";
  const inside = (box, around) =>
    box.left >= around.left - SLACK && box.right <= around.right + SLACK;
  const flows = (one) => /^(inline|contents)$/.test(getComputedStyle(one).display);
  const block = (one) => (flows(one) ? block(one.parentElement) : one);

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (texts.nextNode()) {
    const node = texts.currentNode, text = node.data.trim(), holder = node.parentElement;
    if (text.length < 4 || hidden(holder)) continue;
    range.selectNodeContents(node);
    const lines = [...range.getClientRects()].filter((box) => box.width > 0);
    const tops = new Set(lines.map((box) => Math.round(box.top)));
    const widest = Math.max(...lines.map((box) => box.width));
    const least = 4 * nought(getComputedStyle(holder)), around = block(holder);
    if (tops.size > 1 && widest < least && around.clientWidth < 2 * least)
      found.push(`${quote(text)} has lines of ${widest.toFixed(0)} px in ${where(holder)}`);
    const room = around.getBoundingClientRect();
    if (!scrolls(around) && !holder.closest("pre") && lines.some((box) => !inside(box, room)))
      found.push(`${quote(text)} is wider than ${where(around)}`);
  }

  for (const one of document.querySelectorAll("main *, header *, footer *")) {
    const around = one.parentElement;
    if (hidden(one) || flows(one) || scrolls(around)) continue;
    if (["absolute", "fixed"].includes(getComputedStyle(one).position)) continue;
    const box = one.getBoundingClientRect();
    if (box.width && !inside(box, block(around).getBoundingClientRect()))
      found.push(`${where(one)} sticks out of what holds it: ${quote(one.textContent)}`);
  }

  for (const plot of document.querySelectorAll("figure.chart .plot")) {
    if (!plot.checkVisibility()) continue;
    const card = plot.closest("figure"), room = card.getBoundingClientRect();
    for (const svg of plot.querySelectorAll(".main-svg")) {
      const box = svg.getBoundingClientRect();
      if (!inside(box, room) || box.top < room.top || box.bottom > room.bottom)
        found.push(`the chart ${card.dataset.chart}, ${box.width} px wide, leaves its card`);
    }
  }
  return [...new Set(found)];
}"""


def survey(page: Page, width: int) -> list[str]:
    """What is wrong with the open page in a window of that width."""
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate(_AT_REST)
    found: list[str] = page.evaluate(_SURVEY)
    return found


_CHOOSE = """() => {
  const name = (one) => one.tagName + [...one.classList].map((word) => "." + word).join("");
  const grounds = new Map();
  const ground = (one) => {
    if (!one) return "";
    if (!grounds.has(one)) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(one);
      const own = [backgroundColor, backgroundImage, opacity].join();
      grounds.set(one, ground(one.parentElement) +
        (own === "rgba(0, 0, 0, 0),none,1" ? "" : own + ";"));
    }
    return grounds.get(one);
  };
  for (const one of document.querySelectorAll("[data-chosen]")) delete one.dataset.chosen;
  const looks = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.checkVisibility()) continue;
    const { color, fontSize, fontWeight } = getComputedStyle(one);
    const look = [color, fontSize, fontWeight, ground(one), name(one.parentElement), name(one)];
    if (!looks.has(look.join())) one.dataset.chosen = "";
    looks.add(look.join());
  }
}"""
"""Mark a text of each look: its colour, size and weight, on what ground, in what kind of place."""

_INSPECT = """async () => {
  axe.configure({ rules: [{ id: "color-contrast", selector: "[data-chosen]" }] });
  const { violations } = await axe.run({ resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) =>
    `${id}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(", ")}`);
}"""


def violations(page: Page, scheme: Literal["light", "dark"]) -> list[str]:
    """What axe-core finds on the open page. It judges contrast by all that may lie above or below a
    text, which on large pages takes longer than all else, so it is asked once for each look."""
    page.emulate_media(color_scheme=scheme)
    page.evaluate(_CHOOSE)
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    return [f"{scheme}: {one}" for one in page.evaluate(_INSPECT)]


def faults(browser: Browser, web: str, addresses: Mapping[str, str]) -> list[str]:
    """What is wrong, page by page and width by width."""
    return [
        f"{name}, {width} px: {one}"
        for name, page in opened_wide(browser, web, addresses)
        for width, scheme in VIEWS.items()
        for one in survey(page, width) + (violations(page, scheme) if scheme else [])
    ]


def test_full_pages_keep_their_shape_and_are_accessible(
    browser: Browser, web: str, lab: Lab
) -> None:
    found = faults(browser, web, furnish(lab, HARD))
    assert not found, "\n".join(found)


def test_empty_pages_keep_their_shape_and_are_accessible(
    browser: Browser, web: str, lab: Lab
) -> None:
    found = faults(browser, web, empty())
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("markup", "found"),
    [
        ('<p style="color: #aaa; background: #fff">Pale</p>' * 2, ["color-contrast"]),
        ('<div style="background: #888"><p><b style="color: #999">Pale</b></p></div>',
         ["color-contrast"]),
        ('<p style="color: #333; background: #fff">Plain</p><button></button>', ["button-name"]),
    ],
)  # fmt: skip
def test_what_is_against_the_rules_is_found(page: Page, markup: str, found: list[str]) -> None:
    page.goto("/help")
    page.evaluate("markup => document.querySelector('main').innerHTML += markup", markup)
    assert [one.split(": ")[1] for one in violations(page, "light")] == found


def test_every_page_is_among_them(lab: Lab) -> None:
    looked_at = [address.split("?")[0] for address in furnish(lab, PLAIN).values()]
    left_out = [
        route.path
        for route in iter_route_contexts(create_app(lab.settings).routes)
        if isinstance(route.path, str)
        and "GET" in (route.methods or ())
        and not route.path.startswith(ELSEWHERE)
        and not route.path.endswith((".png", ".json"))
        and route.path not in FRAGMENTS | OF_ACCOUNTS
        and not any(compile_path(route.path)[0].match(address) for address in looked_at)
    ]
    assert left_out == []


def test_charts_that_come_one_by_one_keep_to_their_cards(page: Page, lab: Lab) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params())
    claim = take(lab.database, job)
    page.goto(f"/jobs/{job}")
    expect(page.locator("#no-charts")).to_be_visible()
    store.report(lab.database, claim, history(epochs=2, says="Well."))
    expect(page.locator("[data-chart=memory] .main-svg").first).to_be_visible()
    page.wait_for_function(DRAWN)
    assert page.evaluate(_SURVEY) == []


def test_the_paired_tests_of_a_comparison_fit_on_a_telephone(page: Page, lab: Lab) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(furnish(lab, PLAIN)["compare-three"])
    hidden = page.get_by_role("region", name="Paired tests").evaluate(
        "region => region.scrollWidth - region.clientWidth"
    )
    assert hidden == 0
