"""The live page and its viewer in a real browser."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from plotly.colors import sample_colorscale

from app.contracts.events import PreviewEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, ExplainParams, Goal, Norm, Recipe
from app.contracts.results import MapSheet
from app.services import jobs
from app.services.lab import Lab
from app.store import job_queries
from app.store import jobs as store
from app.web.charts import palette
from tests.plugins.lab_process import wait_until
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import add_dataset, add_job, add_model, an_id, explanation, grey_png

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NBSP = "\N{NO-BREAK SPACE}"
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COLOURS = Path(__file__).resolve().parents[2] / "static" / "colours.js"
_PIXEL = """([canvas, x, y]) => {
    const context = canvas.getContext("2d");
    return [...context.getImageData(x, y, 1, 1).data.slice(0, 3)];
}"""
_STILL = "() => !document.querySelector('.viewer').hasAttribute('aria-busy')"
_FRAMES = """() => {
    const slider = document.querySelector("[data-slider=budget]");
    return Array.from({length: 17}, (_, i) => {
        const begin = performance.now();
        slider.value = i;
        slider.dispatchEvent(new Event("input"));
        document.body.getBoundingClientRect();
        return performance.now() - begin;
    });
}"""
_GIVE = """async ([kind, name, type, text]) => {
    const data = new DataTransfer();
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    data.items.add(new File([bytes], name, {type}));
    const facts = {dataTransfer: data, clipboardData: data, bubbles: true, cancelable: true};
    const kinds = {drop: DragEvent, paste: ClipboardEvent};
    document.body.dispatchEvent(new kinds[kind](kind, facts));
}"""


def magma() -> list[tuple[int, ...]]:
    text = re.search(r'MAGMA = hex\("([0-9a-f]+)"\)', COLOURS.read_text())
    assert text is not None
    return [tuple(bytes.fromhex(text[1][i : i + 6])) for i in range(0, 6 * 256, 6)]


def colour(value: float) -> list[int]:
    return list(magma()[round(255 * value)])


def near(found: Sequence[int], expected: Sequence[int], by: int) -> bool:
    return max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= by


def pixel(canvas: Locator, x: int, y: int) -> list[int]:
    found: list[int] = canvas.page.evaluate(_PIXEL, [canvas.element_handle(), x, y])
    return found


@pytest.fixture
def pair(lab: Lab) -> tuple[str, str]:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    return teacher, add_model(lab, dataset, name="Student", teacher=teacher)


def finished(lab: Lab, *models: str, **changes: Any) -> str:
    result = explanation(*models, **changes)
    return add_job(lab, JobKind.EXPLAIN, result.params, result=result, title="Explain cat.png")


def opened(page: Page, job: str, more: str = "") -> Page:
    page.goto(f"/live?job={job}{more}")
    page.locator(".viewer:not([hidden])").wait_for()
    return page


def slide(page: Page, slider: str, value: int) -> None:
    place = page.locator(f"[data-slider={slider}]")
    place.evaluate(
        """(slider, value) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
            slider.dispatchEvent(new Event("change"));
        }""",
        value,
    )


def column(page: Page, number: int) -> Locator:
    return page.locator(".of-model").nth(number)


def test_magma_is_plotlys() -> None:
    expected = sample_colorscale("Magma", [i / 255 for i in range(256)], colortype="tuple")
    assert magma() == [tuple(round(255 * part) for part in one) for one in expected]
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in magma()]
    assert all(a <= b + 1 for a, b in itertools.pairwise(light))


def test_all_of_it_is_seen_at_once(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    """Sliders, both images, four maps and all answers, in a window of 1280 by 800."""
    page.set_viewport_size({"width": 1280, "height": 800})
    opened(page, finished(lab, *pair, classes=CIFAR, label="airplane"))
    shown = page.locator(
        ".viewer :is([type=range], select, .clean > canvas, .tiles canvas, .says dd, .bars li),"
        ".viewer .sentence"
    )
    assert shown.count() > 40
    for part in shown.all():
        box = part.bounding_box()
        assert box is not None
        assert box["width"] > 10
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 1280
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 800, part.evaluate("e => e.outerHTML")
    for canvas in page.locator(".viewer .tiles canvas").all():
        box = canvas.bounding_box()
        assert box is not None
        assert box["width"] == pytest.approx(box["height"], abs=1)
        assert box["width"] > 100


def test_the_width_is_used(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    page.set_viewport_size({"width": 1920, "height": 1080})
    opened(page, finished(lab, *pair, *(an_id() for _ in range(2))))
    boxes = [one.bounding_box() for one in page.locator(".of-model").all()]
    assert len({box["y"] for box in boxes if box}) == 1
    assert max(box["x"] + box["width"] for box in boxes if box) > 1850


def test_the_sliders_move_everything_with_no_further_call(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    opened(page, finished(lab, *pair))
    page.wait_for_load_state("networkidle")
    calls: list[str] = []
    page.on("request", lambda r: calls.append(r.url) if _is_call(r.url) else None)
    expect(page.locator("[data-text=budget]")).to_have_text("8/255")
    says = column(page, 0).locator("[data-says=now]")
    expect(says).to_have_text(f"✓ cat, 50.0{NBSP}%")
    page.focus("[data-slider=budget]")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    slider = page.locator("[data-slider=budget]")
    expect(slider).to_have_attribute("aria-valuetext", "12/255")
    # 0.9 - 0.05 * 12 = 0.3 for the true class, 0.01 for the third one.
    expect(says).to_have_text(f"✕ dog, 69.0{NBSP}%")
    expect(column(page, 0).locator("[data-says=clean]")).to_have_text(f"✓ cat, 90.0{NBSP}%")
    expect(page.locator(".sentence")).to_have_text(
        "At 12/255 the teacher says dog; the student still says cat."
    )
    values = column(page, 0).locator(".bars .value")
    expect(values).to_have_text([f"30.0{NBSP}%", f"69.0{NBSP}%", f"1.0{NBSP}%"])
    expect(column(page, 0).locator(".moved")).to_contain_text("map moved by 0.240, 2.0 times")
    slide(page, "iterate", 5)
    expect(page.locator("[data-text=iterate]")).to_have_text("5 of 10")
    expect(says).to_have_text(f"✓ cat, 60.0{NBSP}%")
    expect(page.locator(".sentence")).to_contain_text("At 12/255 after 5 of 10 steps the teacher")
    slide(page, "budget", 0)
    expect(page.locator(".sentence")).to_have_text(
        "Of the clean image the teacher says cat; the student says cat."
    )
    assert calls == []


def _is_call(url: str) -> bool:
    """Chromium asks for the icon anew whenever the address changes."""
    return not url.startswith(("data:", "blob:")) and not url.endswith("/icon.svg")


def test_a_frame_is_quick(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    opened(page, finished(lab, *pair, classes=CIFAR, label="airplane"))
    page.evaluate(_FRAMES)
    frames = sorted(page.evaluate(_FRAMES))
    assert frames[len(frames) // 2] < 16


def test_maps_lie_over_their_pictures(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    opened(page, finished(lab, *pair))
    picture = column(page, 1).locator("[data-tile=picture] canvas")
    assert pixel(picture, 0, 0) == pixel(picture, 191, 191) == [108] * 3
    assert pixel(page.locator(".clean canvas").first, 96, 96) == [100] * 3
    under, now = column(page, 1).locator("[data-tile=now] canvas").all()
    assert pixel(under, 96, 96) == [108] * 3
    expect(now).to_have_css("opacity", "0.6")
    page.locator("[data-opacity]").fill("25")
    expect(now).to_have_css("opacity", "0.25")
    clean = column(page, 1).locator("[data-tile=clean] .map")
    assert pixel(clean, 0, 0) == colour(0)
    assert pixel(clean, 191, 191) == colour(1)
    assert near(pixel(now, 191, 191), colour(0.75), 3)  # nothing of the next tile
    value = (2 * (96.5 / 192 * 4 - 0.5)) / 6  # the grid is linear inside
    assert near(pixel(clean, 96, 96), colour(value), 12)
    page.select_option("[data-map]", "grad_cam")
    assert near(pixel(now, 0, 0), colour(0.5), 3)
    page.select_option("[data-map]", "shift")
    assert near(pixel(now, 191, 191), [80, 115, 150], 4)  # half of the way to the largest loss
    assert pixel(now, 0, 0) == [128] * 3
    expect(column(page, 1).locator("[data-tile=now] figcaption")).to_have_text("Shift, ±0.50")
    page.select_option("[data-map]", "stage-0")
    assert near(pixel(clean, 0, 0), colour(0.5), 3)
    expect(page.locator("[data-slider=iterate]")).to_be_disabled()
    page.select_option("[data-picture]", "changes")
    assert near(pixel(picture, 5, 5), [round(128 + 127 * 8 / 16)] * 3, 1)


def test_the_size_of_a_change_is_of_the_picture_that_is_shown(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    """Of each model and at each step. A grey level more at every pixel is 55 levels long."""
    result = explanation(*pair)
    changes = Image.open(io.BytesIO(base64.b64decode(result.attacks[1].changes_png)))
    changes.putpixel((3 * 96 + 5, 12 * 32 + 7), 128 + 20)  # budget 12, step 3, one channel
    buffer = io.BytesIO()
    changes.save(buffer, "PNG")
    other = result.attacks[1].model_copy(
        update={"changes_png": base64.b64encode(buffer.getvalue()).decode()}
    )
    result = result.model_copy(update={"attacks": (result.attacks[0], other)})
    opened(page, add_job(lab, JobKind.EXPLAIN, result.params, result=result))
    sizes = page.locator("[data-size]")
    expect(sizes).to_have_text(["±8/255, L2 1.74"] * 2)
    slide(page, "budget", 12)
    slide(page, "iterate", 3)
    expect(sizes).to_have_text(["±12/255, L2 2.61", "±20/255, L2 2.61"])
    slide(page, "budget", 0)
    expect(sizes).to_have_text(["none", "none"])


def test_a_transfer_is_the_same_image_for_all(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    opened(page, finished(lab, *pair))
    slide(page, "iterate", 3)
    page.select_option("[data-on]", "0")
    expect(page.locator("[data-text=iterate]")).to_have_text("10 of 10")
    expect(page.locator("[data-slider=iterate]")).to_be_disabled()
    expect(page.locator(".sentence")).to_contain_text(
        "At 8/255, on the image crafted on the teacher, the teacher"
    )
    assert "on=0" in page.url
    expect(column(page, 1).locator("[data-says=now]")).to_have_text(f"✓ cat, 82.0{NBSP}%")


def test_it_plays(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    opened(page, finished(lab, *pair))
    button = page.get_by_role("button", name="Play the budgets")
    slide(page, "budget", 4)  # two seconds of it
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-text=budget]")).to_have_text("16/255")
    expect(button).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Play the iterations").dblclick()
    expect(page.locator("[data-text=iterate]")).not_to_have_text("10 of 10")


def test_without_a_true_class_nothing_is_right_or_wrong(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    opened(page, finished(lab, *pair, label=None))
    slide(page, "budget", 16)
    viewer = page.locator(".viewer")
    expect(viewer).to_contain_text("no true class given")
    expect(page.locator(".sentence")).to_have_text(
        "At 16/255 the teacher says dog; the student still says cat."
    )
    page.get_by_role("tab", name="Arena").click()
    text = viewer.inner_text()
    assert "✓" not in text
    assert "✕" not in text
    assert page.locator(".viewer :is(.right, .wrong)").count() == 0


def test_the_arena_says_how_much_it_takes(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    opened(page, finished(lab, *pair))
    tab = page.get_by_role("tab", name="Images")
    tab.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Arena")).to_be_focused()
    least, transfer = page.locator(".arena table").all()
    rows = least.locator("tbody tr")
    expect(rows.nth(0)).to_contain_text("9/255")
    how = "withstood 8/255; broken on the model itself, after 10 steps"
    expect(rows.nth(0)).to_contain_text(how)
    expect(rows.nth(0).locator("td").nth(3)).to_have_text("from 9/255")
    expect(rows.nth(1)).to_contain_text("withstood all")
    expect(rows.nth(1).locator("td").nth(3)).to_have_text("nothing to store")
    slide(page, "budget", 12)
    cells = transfer.locator("tbody tr").nth(1).locator("td")
    expect(cells).to_have_text([f"dog, 69.0{NBSP}%", f"cat, 78.0{NBSP}%"])
    expect(transfer.locator("caption")).to_contain_text("12/255")
    expect(page.locator(".arena svg polyline")).to_have_count(2)
    page.set_viewport_size({"width": 390, "height": 844})
    for name in page.locator(".arena th .identity").all():
        box = name.bounding_box()
        assert box is not None
        assert box["width"] > 100, "no column of single letters"


def test_low_confidence_by_design_and_axes_that_fit(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    opened(page, finished(lab, *pair, names=("Teacher", "Student <b>")))
    expect(column(page, 0).locator(".smoothed")).to_be_hidden()
    expect(column(page, 1).locator(".smoothed")).to_contain_text("spread 50")
    expect(column(page, 1).locator("h2")).to_have_text("Student <b>")
    expect(column(page, 0).locator("[data-axis]")).to_have_text(f"90{NBSP}%")
    slide(page, "budget", 0)
    width = "e => e.getBoundingClientRect().width"
    bar, track = (
        column(page, 0).locator(f".bars {one}").first.evaluate(width) for one in (".now", ".track")
    )
    assert bar == pytest.approx(track, rel=0.01)


def test_a_network_without_a_map_says_so(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    result = explanation(*pair)
    rows, columns = len(result.budgets), len(result.iterates)
    attacks = []
    for number, attack in enumerate(result.attacks):
        wide = columns if number == 1 else 1
        sheet = MapSheet(png=grey_png(np.zeros((rows, wide), np.uint8)), height=1, width=1)
        first, second = attack.looks
        maps = second.attention.model_copy(update={"sheet": sheet})
        second = second.model_copy(update={"attention": maps})
        attacks.append(attack.model_copy(update={"looks": (first, second)}))
    result = result.model_copy(update={"attacks": tuple(attacks)})
    job = add_job(lab, JobKind.EXPLAIN, result.params, result=result, title="Explain cat.png")
    opened(page, job)
    expect(column(page, 0).locator(".moved")).to_contain_text("map moved by")
    for value in (0, 8):
        slide(page, "budget", value)
        expect(column(page, 1).locator(".moved")).to_have_text(
            "Its last feature map has one position: there is no map of where it looks."
        )


def test_models_have_the_colours_of_other_pages(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    models = [*pair, *(f"{i}" * 32 for i in range(4))]
    recipes = (Recipe.CLEAN, Recipe.AGKD_BML)
    opened(page, finished(lab, *models, recipes=recipes))
    known = {model: recipes[i % 2] for i, model in enumerate(models)}
    hues = palette.colours(models, known)
    for number, model in enumerate(models):
        identity = palette.identity(hues[model])
        assert identity in (column(page, number).locator("h2").get_attribute("class") or "").split()


def test_an_address_brings_everything_back(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    job = finished(lab, *pair, max_epsilon="12/255", attack=Attack(steps=10, relative_step=0.5))
    opened(page, job)
    slide(page, "budget", 12)
    slide(page, "iterate", 4)
    page.select_option("[data-map]", "shift")
    assert page.url.endswith(f"/live?job={job}&eps=9/255&step=4&map=shift")
    page.reload()
    page.locator(".viewer:not([hidden])").wait_for()
    expect(page.locator("[data-text=budget]")).to_have_text("9/255")
    expect(page.locator("[data-text=iterate]")).to_have_text("4 of 10")
    expect(page.locator("[data-map]")).to_have_value("shift")
    expect(page.locator("[name=models]").nth(1)).to_have_value(pair[1])
    expect(page.locator("[name$=relative_step]")).to_have_value("0.5")
    expect(page.locator("[name=label]")).to_have_value("cat")
    expect(page.locator("#preview")).to_be_visible()
    with page.expect_response("**/api/live") as sent:
        page.click("#attack")
    params = ExplainParams.model_validate(jobs.get(lab, sent.value.json()["id"]).params)
    assert (params.models, params.label) == (pair, "cat")
    assert params.max_epsilon == pytest.approx(12 / 255)
    with Image.open(lab.files.upload(params.upload)) as kept:
        assert (kept.size, kept.getpixel((5, 5))) == ((32, 32), (100, 100, 100))


def test_a_narrow_page_has_one_order_with_a_result_and_without(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for address in ("/live", f"/live?job={finished(lab, *pair)}"):
        page.goto(address)
        page.locator(".stage > :visible").first.wait_for()
        places = [page.locator(one).first.bounding_box() for one in ("#drop", ".stage", "#models")]
        tops = [place["y"] for place in places if place]
        assert len(tops) == 3
        assert tops == sorted(tops)
        assert tops[1] < 600


def test_tab_and_change_are_in_the_address_and_an_attack_stays_where_one_is(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    job = finished(lab, *pair)
    opened(page, job)
    slide(page, "budget", 12)
    slide(page, "iterate", 4)
    page.select_option("[data-picture]", "changes")
    page.get_by_role("tab", name="Arena").click()
    assert page.url.endswith("&picture=changes&tab=arena")
    page.reload()
    expect(page.locator(".viewer .arena")).to_be_visible()
    expect(page.locator("[data-picture]")).to_have_value("changes")
    step = page.locator("[data-text=iterate]").text_content()
    another = finished(lab, *pair)
    page.route("**/api/live", lambda route: route.fulfill(status=202, json={"id": another}))
    page.click("#attack")
    page.wait_for_function(f"() => location.search.includes('{another}')")
    expect(page.locator("[data-text=budget]")).to_have_text("12/255")
    assert page.locator("[data-text=iterate]").text_content() == step
    expect(page.locator(".viewer .arena")).to_be_visible()


def test_each_norm_has_its_own_largest_budget(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    attack = Attack(steps=10, norm=Norm.L2)
    opened(page, finished(lab, *pair, attack=attack, max_epsilon=2.5))
    page.locator("#attack-summary").click()
    largest = page.locator("[name=max_epsilon]")
    unit = page.locator(".field", has=largest).locator(".unit")

    def shown() -> tuple[str | None, str | None, str | None]:
        return largest.input_value(), unit.text_content(), largest.get_attribute("max")

    assert shown() == ("2.5", "length", "10")
    page.locator("[name$='attack.norm'][value=linf]").check()
    assert shown() == ("16", "/255", "64")
    page.locator("[name$='attack.norm'][value=l2]").check()
    assert shown() == ("1", "length", "10")
    expect(page.locator("#attack-summary")).to_have_text("PGD, L2, 10 steps, up to 1")
    page.click("#attack")
    # A norm that is changed is attacked by itself, so the answer to that may come first.
    wait_until(lambda: _newest(lab).max_epsilon == 1.0, "an attack with that budget")


def test_an_image_is_attacked_at_once(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    page.goto("/live")
    photograph = page.locator("[data-classes] .sample").nth(1)
    with page.expect_response("**/api/live") as sent:
        photograph.click()
    assert _asked(lab, sent.value.json()["id"]).label == "dog"
    expect(photograph).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#status")).to_contain_text("The broker does not answer")
    text = explanation(*pair).clean_png
    for kind in ("drop", "paste"):
        with page.expect_response("**/api/live") as sent:
            page.evaluate(_GIVE, [kind, "mine.png", "image/png", text])
        job = sent.value.json()
        assert job["title"] == "Explain mine.png"
        assert _asked(lab, job["id"]).label is None
    file = {"name": "chosen.png", "mimeType": "image/png", "buffer": base64.b64decode(text)}
    with page.expect_response("**/api/live"):
        page.locator("#image").set_input_files(file)


def _asked(lab: Lab, job: str) -> ExplainParams:
    return ExplainParams.model_validate(jobs.get(lab, job).params)


def _newest(lab: Lab) -> ExplainParams:
    ((row, *_), _) = job_queries.page(lab.database, kinds=(JobKind.EXPLAIN,), offset=0, limit=1)
    return ExplainParams.model_validate(row.params)


def test_what_is_no_image_is_not_sent(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    page.goto("/live")
    page.evaluate(
        "() => { window.createImageBitmap = async () => { window.decoded = true; throw 0; }; }"
    )
    page.click("#attack")
    expect(page.locator("#image-error")).to_have_text("Choose an image first.")
    for name, kind in (("notes.pdf", "application/pdf"), ("empty.png", "image/png")):
        page.evaluate(_GIVE, ["drop", name, kind, ""])
        expect(page.locator("#image-error")).to_contain_text(name)
    assert not page.evaluate("window.decoded"), "its type and size are looked at first"
    page.evaluate(_GIVE, ["drop", "fake.png", "image/png", base64.b64encode(b"text").decode()])
    expect(page.locator("#image-error")).to_contain_text("“fake.png” is no image")
    expect(page.locator("#preview")).to_be_hidden()
    assert jobs.page(lab).total == 0


def test_what_the_lab_may_read_is_sent_though_the_browser_cannot_show_it(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    job = finished(lab, *pair)
    page.goto("/live")
    page.route("**/api/live", lambda route: route.fulfill(status=202, json={"id": job}))
    unknown = base64.b64encode(b"\x89PNG\r\n\x1a\n of another kind").decode()
    with page.expect_request("**/api/live"):
        page.evaluate(_GIVE, ["drop", "rare.png", "image/png", unknown])
    expect(page.locator("#preview")).to_be_hidden()


_CAMERA = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 48, height: 48});
    const context = canvas.getContext("2d");
    context.fillStyle = "rgb(10, 200, 30)";
    setInterval(() => context.fillRect(0, 0, 48, 48), 20);
    window.stream = canvas.captureStream();
    Object.defineProperty(navigator, "mediaDevices", {value: {getUserMedia: async () => stream}});
}"""


def test_a_picture_from_the_camera_is_attacked(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    page.goto("/live")
    page.evaluate(_CAMERA)
    page.get_by_role("button", name="Camera").click()
    page.wait_for_function("() => document.querySelector('#camera video').videoWidth === 48")
    with page.expect_response("**/api/live") as sent:
        page.get_by_role("button", name="Take the picture").click()
    params = _asked(lab, sent.value.json()["id"])
    with Image.open(lab.files.upload(params.upload)) as kept:
        assert kept.size == (48, 48)
        assert near(kept.convert("RGB").getpixel((20, 20)), (10, 200, 30), 12)
    expect(page.locator("#camera")).to_be_hidden()
    assert page.evaluate("() => stream.getTracks().every((one) => one.readyState === 'ended')")


def test_a_class_is_aimed_at_by_a_click_and_let_go_by_another(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    opened(page, finished(lab, *pair))
    expect(column(page, 0).get_by_role("button", name="cat")).to_be_disabled()  # the true class
    dog, aim = column(page, 0).get_by_role("button", name="dog"), page.locator("#aim")

    def asked(act: Callable[[], None]) -> tuple[Goal, str | None]:
        with page.expect_response("**/api/live") as sent:
            act()
        attack = _asked(lab, sent.value.json()["id"]).attack
        return attack.goal, attack.target_class

    assert asked(dog.click) == (Goal.CLASS, "dog")
    expect(page.locator("#attack-summary")).to_contain_text("towards dog")
    expect(aim).to_have_text("Towards dog ✕")
    assert asked(dog.click) == (Goal.UNTARGETED, None)
    expect(aim).to_be_hidden()
    dog.click()
    assert asked(aim.click) == (Goal.UNTARGETED, None)
    assert asked(dog.click) == (Goal.CLASS, "dog")
    sample = page.locator("[data-classes] .sample").nth(1)  # it shows a dog
    assert asked(sample.click) == (Goal.UNTARGETED, None)


def test_an_attack_that_failed_comes_back_as_it_was_asked_for(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    upload = lab.files.upload(an_id())
    upload.parent.mkdir(parents=True, exist_ok=True)
    upload.write_bytes(base64.b64decode(explanation(*pair).clean_png))
    towards = Attack(steps=10, goal=Goal.CLASS, target_class="cat")
    params = ExplainParams(
        upload=upload.name.split(".")[0], models=pair, label="cat", attack=towards
    )
    why = {"title": "The job failed", "detail": "It is a cat already.", "hint": "Choose another."}
    job = add_job(lab, JobKind.EXPLAIN, params, status=JobStatus.FAILED, failure=why)
    page.goto(f"/live?job={job}")
    expect(page.locator("#status")).to_have_text("It is a cat already. Choose another.")
    with page.expect_response("**/api/live") as sent:
        page.click("#attack")
    again = _asked(lab, sent.value.json()["id"])
    assert (again.models, again.attack, sent.value.status) == (pair, towards, 202)


def test_a_late_answer_does_not_win(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    """Models are switched twice; the first job ends after the second one."""
    third = add_model(lab, an_id(), name="Third", teacher=pair[0])
    first, second = finished(lab, pair[0], pair[1]), finished(lab, pair[0], third, label=None)
    waiting: list[Route] = []
    page.goto("/live")

    def answer(route: Route) -> None:
        if not waiting:
            waiting.append(route)
        else:
            route.fulfill(status=202, json={"id": second})

    page.route("**/api/live", answer)
    page.route("**/cancel", lambda route: route.fulfill(json={}))
    page.locator("[data-classes] .sample").first.click()
    page.wait_for_function(
        "() => document.getElementById('status').textContent.includes('Sending')"
    )
    with page.expect_request(lambda request: request.url.endswith(f"/api/jobs/{second}/result")):
        page.locator("[name=models]").nth(1).select_option(third)
    expect(page.locator(".viewer")).to_contain_text("no true class given")
    with page.expect_request(f"**/api/jobs/{first}/cancel"):
        waiting[0].fulfill(status=202, json={"id": first})
    page.wait_for_function(_STILL)
    assert f"job={second}" in page.url
    expect(page.locator(".viewer")).to_contain_text("no true class given")


_HOLD = """() => {
    const decode = HTMLImageElement.prototype.decode;
    const held = new Promise((release) => { window.release = release; });
    HTMLImageElement.prototype.decode = function () { return held.then(() => decode.call(this)); };
}"""


def test_a_place_belongs_to_what_is_shown(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    """The scrubber moves while another result is decoded: it moves the one that is there."""
    before, after = finished(lab, *pair), finished(lab, *pair, label=None, max_epsilon="4/255")
    opened(page, before)
    page.evaluate(_HOLD)
    page.route("**/api/live", lambda route: route.fulfill(status=202, json={"id": after}))
    with page.expect_request_finished(lambda r: r.url.endswith(f"/api/jobs/{after}/result")):
        page.locator("[data-classes] .sample").first.click()
    slide(page, "budget", 12)
    expect(page.locator(".sentence")).to_contain_text("At 12/255")
    assert f"job={before}&eps=12/255" in page.url
    assert page.locator(".viewer").get_attribute("aria-busy") == "true"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
    page.evaluate("() => window.release()")
    expect(page.locator(".viewer")).to_contain_text("no true class given")
    expect(page.locator("[data-text=budget]")).to_have_text("2/255")
    assert f"job={after}&eps=2/255" in page.url


def test_the_first_picture_does_not_wait_for_the_rest(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    params = explanation(*pair).params
    job = add_job(lab, JobKind.EXPLAIN, params, status=JobStatus.QUEUED)
    claim = store.claim(lab.database, job, lease_s=60)
    assert claim is not None
    page.goto("/live")
    page.route("**/api/live", lambda route: route.fulfill(status=202, json={"id": job}))
    page.locator("[data-classes] .sample").first.click()
    first = explanation(*pair, levels=(0, 8), steps=(10,))
    store.report(lab.database, claim, [PreviewEvent(result=first)])
    expect(page.locator(".viewer")).to_be_focused()
    expect(page.locator("[data-text=budget]")).to_have_text("8/255")
    expect(column(page, 0).locator("[data-says=now]")).to_have_text(f"✓ cat, 50.0{NBSP}%")
    assert pixel(column(page, 0).locator("[data-tile=picture] canvas"), 9, 9) == [108] * 3
    for control in ("[data-slider=budget]", "[data-slider=iterate]", "[data-tab=arena]"):
        expect(page.locator(control)).to_be_disabled()
    expect(page.locator(".downloads")).to_be_hidden()
    assert f"job={job}&eps=8/255&step=10" in page.url
    page.select_option("[data-map]", "shift")
    page.focus("[data-map]")

    file = lab.files.write_result(job, explanation(*pair))
    store.settle(lab.database, claim, JobStatus.SUCCEEDED, result_file=file)
    slider = page.locator("[data-slider=budget]")
    expect(slider).to_be_enabled()
    assert (slider.input_value(), slider.get_attribute("max")) == ("8", "16")
    expect(page.locator("[data-map]")).to_have_value("shift")
    expect(page.locator("[data-map]")).to_be_focused()
    expect(page.locator("[data-tab=arena]")).to_be_enabled()
    expect(page.locator(".downloads")).to_be_visible()
    expect(page.locator("#status")).to_be_empty()


def test_models_come_and_go_and_are_remembered(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    third = add_model(lab, an_id(), name="Third", teacher=pair[0])
    stranger = add_model(lab, an_id(), name="Stranger", classes=("ship", "plane"))
    page.goto(f"/live?models={pair[0]}&models={pair[1]}")
    page.get_by_role("button", name="Add a model").click()
    expect(page.locator("[name=models]").nth(2)).to_have_value(third)
    page.get_by_role("button", name="Remove model 1").click()
    page.goto("/live")
    expect(page.locator("[name=models]")).to_have_count(2)
    expect(page.locator("[name=models]").nth(1)).to_have_value(third)
    page.locator("[name=models]").first.select_option(stranger)
    expect(page.locator("#classes option").first).to_have_attribute("value", "ship")


def test_a_search_brings_old_models(page: Page, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.forms.choices.MODELS_SHOWN", 2)
    dataset = add_dataset(lab)
    old = add_model(lab, dataset, name="Old")
    newest = [add_model(lab, dataset, name=f"Newer {i}") for i in range(2)]
    page.goto("/live")
    first = page.locator("[name=models]").first
    expect(first).to_have_value(newest[1])
    page.fill("#model-search", "old")
    expect(first.locator(f"option[value='{old}']")).to_have_count(1)
    expect(first).to_have_value(newest[1])


def test_pictures_and_the_whole_are_saved(page: Page, lab: Lab, pair: tuple[str, str]) -> None:
    job = finished(lab, *pair)
    opened(page, job)
    page.click(".downloads summary")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Adversarial image, Teacher").click()
    with Image.open(saved.value.path()) as picture:
        assert (picture.size, picture.getpixel((3, 3))[:3]) == ((32, 32), (108,) * 3)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Clean map, Student").click()
    with Image.open(saved.value.path()) as picture:
        assert picture.size == (192, 192)
        assert list(picture.getpixel((191, 191))[:3]) == colour(1)
    link = page.get_by_role("link", name="Everything to reproduce it")
    expect(link).to_have_attribute("href", f"/api/live/{job}/reproduction.zip")


def test_what_is_shown_is_announced_and_focused(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    job = finished(lab, *pair)
    page.goto("/live")
    page.route("**/api/live", lambda route: route.fulfill(status=202, json={"id": job}))
    page.locator("[data-classes] .sample").first.click()
    expect(page.locator(".viewer")).to_be_focused()
    told = page.locator(".viewer [role=status]")
    expect(told).to_have_text("At 8/255 the teacher still says cat; the student still says cat.")
    slide(page, "budget", 16)
    expect(told).to_contain_text("At 16/255 the teacher says dog")


def test_a_result_of_an_earlier_version_says_so(
    page: Page, lab: Lab, pair: tuple[str, str]
) -> None:
    job = finished(lab, *pair)
    upload = lab.files.upload(jobs.get(lab, job).params["upload"])
    upload.write_bytes(base64.b64decode(explanation(*pair).clean_png))
    path = lab.files.result(job)
    former = json.loads(path.read_bytes())
    del former["attacks"]
    path.write_text(json.dumps(former | {"levels": []}))
    page.goto(f"/live?job={job}")
    expect(page.locator("#status")).to_contain_text("earlier version")
    expect(page.locator("#preview")).to_be_visible()
    with page.expect_response("**/api/live") as sent:
        page.click("#attack")
    assert sent.value.status == 202
