"""The main job through the pages, in Chromium: what a person types, sees and compares."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.e2e.lab_client import Json, LabClient
from tests.plugins.lab_process import PATIENCE_S
from tests.plugins.needs import chromium

pytestmark = pytest.mark.browser
PATIENCE_MS = 1000 * PATIENCE_S
NAME = "Real <i>images</i> & more"
"""Markup in a name is shown as it was typed."""

# The luminance of each map's cells, read from the middle of where they are drawn.
_CELLS = """
([model, tile, rows]) => {
  const column = document.querySelectorAll(".of-model")[model];
  const canvas = column.querySelector(`[data-tile=${tile}] .map`);
  const context = canvas.getContext("2d");
  return [...Array(rows * rows).keys()].map((cell) => {
    const [column, row] = [cell % rows, Math.floor(cell / rows)];
    const at = (index) => Math.floor((index + 0.5) / rows * canvas.width);
    const [r, g, b, a] = context.getImageData(at(column), at(row), 1, 1).data;
    return a * (0.2126 * r + 0.7152 * g + 0.0722 * b);
  });
}
"""
_DRAWN = "(name) => document.querySelector(`[data-chart=${name}] .plot`)?.data !== undefined"
_TRACES = """
(name) => document.querySelector(`[data-chart=${name}] .plot`).data.map(
  ({ name, meta, x, y }) => ({ name, meta, x: [...x], y: [...y] }))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield launched
        launched.close()


def _open_page(browser: Browser, api: LabClient, width: int, height: int) -> Iterator[Page]:
    """A page of its own; errors and requests to elsewhere fail the test in the end."""
    context = browser.new_context(
        base_url=api.process.url, viewport={"width": width, "height": height}
    )
    context.set_default_timeout(PATIENCE_MS)
    page, complaints = context.new_page(), list[str]()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("response", lambda r: complaints.append(r.url) if r.status >= 400 else None)
    page.on("request", lambda r: None if _is_own(api, r.url) else complaints.append(r.url))
    yield page
    context.close()
    assert not complaints


def _is_own(api: LabClient, url: str) -> bool:
    return url.startswith((api.process.url, "data:", "blob:"))


@pytest.fixture
def page(browser: Browser, api: LabClient) -> Iterator[Page]:
    yield from _open_page(browser, api, 1280, 900)


@pytest.fixture
def phone(browser: Browser, api: LabClient) -> Iterator[Page]:
    yield from _open_page(browser, api, 390, 844)


def _submit(page: Page) -> str:
    """Send the form and stay until the job has succeeded; returns the job's id."""
    page.locator("main form.params button[type=submit]").first.click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f]{32}$"))
    over = page.locator("#state .state:is(.succeeded, .failed, .cancelled)")
    over.wait_for()
    expect(over).to_have_text("succeeded")
    return page.url.rsplit("/", 1)[1]


def _fill(page: Page, **entries: str) -> None:
    for label, value in entries.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)


def _choose(page: Page, name: str, value: str) -> None:
    page.locator(f"[name={name}][value='{value}']").check()


@pytest.fixture(scope="module")
def story(browser: Browser, api: LabClient, archive: Path) -> Json:
    """Import, teacher, student and evaluation by hand; the ids of what came of it."""
    pages = _open_page(browser, api, 1280, 900)
    page = next(pages)
    made: Json = {"import": _import_archive(page, archive)}
    made["dataset"] = api.result(made["import"])["dataset"]
    made["train"] = _train(page, made["dataset"], "Teacher")
    made["teacher"] = api.result(made["train"])["model"]
    made["train student"] = _train(page, made["dataset"], "Student", made["teacher"])
    made["student"] = api.result(made["train student"])["model"]
    made["evaluate"] = _evaluate(page, made)
    assert next(pages, None) is None
    return made


def _import_archive(page: Page, archive: Path) -> str:
    page.goto("/datasets")
    form = page.locator("form[enctype='multipart/form-data']")
    form.get_by_label("Archive").set_input_files(archive)
    form.get_by_label("Name", exact=True).fill(NAME)
    return _submit(page)


def _train(page: Page, dataset: str, name: str, teacher: str | None = None) -> str:
    page.goto("/train")
    _fill(page, Name=name, Architecture="wrn-10-1", Epochs="1", Batch_size="64")
    page.get_by_label("Dataset", exact=True).select_option(dataset)
    expect(page.get_by_label("Teacher", exact=True)).to_be_hidden()
    if teacher is not None:
        _choose(page, "recipe", "agkd_bml")
        page.get_by_label("Teacher", exact=True).select_option(teacher)
        page.locator("summary", has_text="Adversarial examples").click()
        _fill(page, Attack_steps="2", Step_size="5")
    return _submit(page)


def _evaluate(page: Page, made: Json) -> str:
    page.goto("/evaluate")
    for model in (made["teacher"], made["student"]):
        _choose(page, "models", model)
    page.get_by_label("Dataset", exact=True).select_option(made["dataset"])
    page.locator("details.more > summary").click()
    page.locator("details.more details > summary", has_text="Curves").click()
    _fill(page, Test_images="16", Budgets_ε="0, 4, 16", Step_counts="1, 3", Steps="3")
    return _submit(page)


def _traces(page: Page, chart: str) -> list[Json]:
    page.wait_for_function(_DRAWN, arg=chart)
    traces: list[Json] = page.evaluate(_TRACES, chart)
    return traces


def test_the_dataset_page_shows_its_images(page: Page, api: LabClient, story: Json) -> None:
    page.goto(f"/datasets/{story['dataset']}")
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    images = page.locator("main img")
    assert images.count() >= 10
    for image in images.all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") >= 32


def test_the_training_page_draws_what_the_job_reported(
    page: Page, api: LabClient, story: Json
) -> None:
    job = story["train student"]
    reported = [e.data for e in api.events(job) if e.kind == "metrics"]
    page.goto(f"/jobs/{job}")
    steps = [data for data in reported if data["series"] == "step"]
    (epoch,) = [data["values"] for data in reported if data["series"] == "epoch"]
    for chart, names in (("loss", ("loss", "classification", "mart")), ("terms", ("agkd", "bml"))):
        drawn = {trace["meta"]: trace for trace in _traces(page, chart)}
        assert set(drawn) == {f"{series}:{name}" for series in ("step", "epoch") for name in names}
        for name in names:
            over_steps = drawn[f"step:{name}"]
            assert over_steps["x"] == [data["step"] for data in steps]
            assert over_steps["y"] == pytest.approx([data["values"][name] for data in steps])
            assert drawn[f"epoch:{name}"]["y"] == pytest.approx([epoch[name]])
    accuracy = {trace["meta"]: trace for trace in _traces(page, "accuracy")}
    for name in ("validation_clean", "validation_robust", "validation_fgsm"):
        assert accuracy[f"epoch:{name}"]["y"] == pytest.approx([epoch[name]])


def test_the_evaluation_page_draws_the_measured_curves(
    page: Page, api: LabClient, story: Json
) -> None:
    result = api.result(story["evaluate"])
    page.goto(f"/jobs/{story['evaluate']}")
    for chart, curve, xs in (
        ("epsilon", "against_epsilon", [0, 4, 16]),
        ("steps", "against_steps", [1, 3]),
    ):
        drawn = {t["name"]: t for t in _traces(page, chart) if t["name"] is not None}
        for model in result["models"]:
            trace = drawn[model["name"]]
            assert trace["x"] == pytest.approx(xs)
            values = [point["accuracy"]["value"] for point in model[curve]]
            assert trace["y"] == pytest.approx(values)


def test_the_live_page_shows_four_maps_and_moves_with_no_further_call(
    page: Page, api: LabClient, story: Json, picture: Path
) -> None:
    page.goto(f"/live?models={story['teacher']}&models={story['student']}")
    page.locator("#image").set_input_files(picture)
    page.locator(".viewer:not([hidden])").wait_for()
    page.wait_for_url(re.compile(r"/live\?job=[0-9a-f]{32}&eps=8/255&step=10&map=attention$"))
    job = re.findall(r"[0-9a-f]{32}", page.url)[0]
    slider = page.locator("[data-slider=budget]")
    expect(slider).to_be_enabled()  # the first picture is there before the rest
    result = api.result(job)

    calls: list[str] = []
    page.on("request", lambda r: calls.append(r.url) if _is_call(r.url) else None)
    for row in (0, 16):
        slider.fill(str(row))
        expect(page.locator("[data-text=budget]")).to_have_text(f"{row}/255")
        _maps_show(page, result, row)
        for number, column in enumerate(page.locator(".of-model").all()):
            look = result["attacks"][number]["looks"][number]
            name = result["classes"][look["top"][row * 11 + 10]]
            expect(column.locator("[data-says=now]")).to_contain_text(f"{name}, ")
    assert not calls


def _is_call(url: str) -> bool:
    """Chromium asks for the icon anew whenever the address changes."""
    return not url.startswith(("data:", "blob:")) and not url.endswith("/icon.svg")


def _maps_show(page: Page, result: Json, row: int) -> None:
    """Each canvas is as bright as its map is high, cell by cell; and no two maps are the same."""
    drawn: dict[tuple[int, str], Any] = {}
    for number in range(2):
        sheet = result["attacks"][number]["looks"][number]["attention"]["sheet"]
        side = sheet["height"]
        maps = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet["png"]))))
        for tile, at in (("clean", 0), ("now", row)):
            grid = maps[at * side : (at + 1) * side, -side:]  # of the last iterate
            cells = np.array(page.evaluate(_CELLS, [number, tile, side]))
            assert cells.max() > 2 * cells.min(), "a blank map"
            assert np.corrcoef(cells, grid.ravel())[0, 1] > 0.9
            drawn[number, tile] = cells
    assert not np.allclose(drawn[0, "clean"], drawn[1, "clean"])


def test_no_page_is_wider_than_a_phone(
    phone: Page, api: LabClient, story: Json, picture: Path
) -> None:
    fields = {"models": [story["teacher"], story["student"]]}
    files = {"image": ("ship.jpg", picture.read_bytes())}
    explained = api.http.post("/api/live", data=fields, files=files).json()["id"]
    api.result(explained)
    paths = ["/", "/train", "/evaluate", "/models", "/datasets", "/live", f"/live?job={explained}"]
    paths += [f"/models/{story['student']}", f"/datasets/{story['dataset']}"]
    paths += [f"/jobs/{story[job]}" for job in ("import", "train student", "evaluate")]
    for path in paths:
        phone.goto(path)
        if path.startswith("/jobs/") and path != f"/jobs/{story['import']}":
            phone.locator(".plot .main-svg").first.wait_for()
        if path.endswith(explained):
            phone.locator(".viewer:not([hidden])").wait_for()
        width = phone.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} pixels wide"
        _nothing_is_cut(phone.locator("main"), path)


def _nothing_is_cut(main: Locator, path: str) -> None:
    box = main.bounding_box()
    assert box is not None
    assert box["x"] >= 0, path
    assert box["x"] + box["width"] <= 390, path
