"""What scripts do, in a real browser: the live view, the forms, the stream of a job."""

from __future__ import annotations

import itertools
import time

import pytest
from playwright.sync_api import Page, expect

from app.ablations import lifecycle
from app.contracts.events import LogEvent, LogLevel, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    Attack,
    ExplainParams,
    Goal,
    Method,
    Norm,
    TrainParams,
)
from app.services import jobs
from app.services.lab import Lab
from app.store import jobs as store
from app.web.pages.live import magma
from tests.plugins.families import children_of, succeed, take
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import (
    add_dataset,
    add_job,
    add_model,
    explanation,
    train_params,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_PIXEL = """([selector, x, y]) => [...document.querySelector(selector).getContext("2d")
    .getImageData(x, y, 1, 1).data.slice(0, 3)]"""


@pytest.fixture
def live(lab: Lab) -> str:
    """The address of a finished live attack."""
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, teacher=teacher)
    result = explanation(teacher, student)
    return f"/live?job={add_job(lab, JobKind.EXPLAIN, result.params, result=result)}"


def _colour(value: float) -> list[int]:
    entry = 6 * round(255 * value)
    return [int(magma()[entry + i : entry + i + 2], 16) for i in (0, 2, 4)]


def test_magma_goes_from_black_to_pale_yellow_and_only_gets_lighter() -> None:
    assert magma().startswith("000004")
    assert magma().endswith("fcfdbf")
    colours = [_colour(i / 255) for i in range(256)]
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in colours]
    assert all(a <= b + 1 for a, b in itertools.pairwise(light))


def test_the_live_view_draws_four_maps_over_their_images(page: Page, live: str) -> None:
    page.goto(live)
    maps = page.locator("[data-map] canvas")
    expect(maps).to_have_count(4)
    expect(page.locator("[data-map=teacher-clean] figcaption")).to_have_text("✓ cat, 90.0\u00a0%")
    canvas = "[data-map=student-adversarial] canvas"
    assert page.evaluate(_PIXEL, [canvas, 0, 0]) == _colour(0)
    assert page.evaluate(_PIXEL, [canvas, 159, 159]) == _colour(1)
    for x, y in ((40, 60), (79, 79), (100, 30)):  # the grid (row + column) / 6 is linear inside
        value = sum((at + 0.5) / 160 * 4 - 0.5 for at in (x, y)) / 6
        drawn = page.evaluate(_PIXEL, [canvas, x, y])
        assert max(abs(a - b) for a, b in zip(drawn, _colour(value), strict=True)) <= 6
    for name in ("clean", "adversarial", "perturbation"):
        image = page.locator(f"[data-image={name}]").first
        assert image.evaluate("image => image.naturalWidth") == 32
        assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


def test_the_slider_moves_everything_with_no_further_call(page: Page, live: str) -> None:
    page.goto(live)
    expect(page.locator("#epsilon-text")).to_have_text("8/255")
    page.wait_for_load_state("networkidle")
    calls: list[str] = []
    page.on("request", lambda r: None if r.url.startswith("data:") else calls.append(r.url))
    page.focus("#epsilon")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#epsilon-text")).to_have_text("12/255")
    expect(page.locator("#epsilon")).to_have_attribute("aria-valuetext", "12/255")
    # 0.9 - 0.05 * 12 = 0.3 for the true class leaves 0.35 for each of the two others.
    says = page.locator("[data-map=teacher-adversarial] figcaption")
    expect(says).to_have_text("✕ dog, 35.0\u00a0%")
    expect(page.locator("[data-text=teacher-adversarial-l1]")).to_have_text("0.240")
    page.check("input[value=grad_cam]")
    expect(page.locator("[data-text=teacher-adversarial-l1]")).to_have_text("0.480")
    bars = page.evaluate("document.querySelector('[data-chart=teacher] .plot').data[1].x")
    assert bars == pytest.approx([0.3, 0.35, 0.35])
    assert calls == []


def test_the_opacity_and_the_maps_are_the_readers_choice(page: Page, live: str) -> None:
    page.goto(live)
    canvas = page.locator("[data-map=teacher-clean] canvas")
    expect(canvas).to_have_css("opacity", "0.6")
    page.locator("#opacity").fill("25")
    expect(canvas).to_have_css("opacity", "0.25")
    selector = "[data-map=teacher-clean] canvas"
    assert page.evaluate(_PIXEL, [selector, 0, 0]) == _colour(0)
    page.check("input[value=grad_cam]")  # upside down: the first row is 3 / 6
    assert page.evaluate(_PIXEL, [selector, 0, 0]) == _colour(0.5)


def test_names_stay_text_in_the_live_view(page: Page, live: str) -> None:
    page.goto(live)
    expect(page.locator("[data-text=student]")).to_have_text("Student <b>")


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (Attack(method=Method.APGD_CE, norm=Norm.L1, steps=20),
         "APGD-CE, 20 steps (L1), away from the true class, crafted on the student"),
        (Attack(method=Method.CW, norm=Norm.L2, goal=Goal.ALL_CLASSES, steps=10),
         "(L2), towards every wrong class in turn, crafted on the student"),
    ],
)  # fmt: skip
def test_the_live_view_names_every_attack(page: Page, lab: Lab, attack: Attack, says: str) -> None:
    dataset = add_dataset(lab)
    teacher, student = add_model(lab, dataset), add_model(lab, dataset)
    result = explanation(teacher, student).model_copy(update={"attack": attack})
    job = add_job(lab, JobKind.EXPLAIN, result.params, result=result)
    page.goto(f"/live?job={job}")
    expect(page.locator("#view-attack")).to_contain_text(says)
    axis = page.locator("[data-chart=true_class] .xtitle")
    expect(axis).to_have_text(f"Budget ε ({attack.norm.upper()})")


def test_a_search_brings_old_models_and_keeps_what_is_chosen(
    page: Page, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.forms.choices.MODELS_SHOWN", 2)
    dataset = add_dataset(lab)
    old = add_model(lab, dataset, name="Old", classes=("ship", "plane"))
    newest = [add_model(lab, dataset, name=f"Newer {i}") for i in range(2)]
    page.goto("/evaluate")
    page.check(f"input[value='{newest[0]}']")
    expect(page.locator(f"#field-models input[value='{old}']")).to_have_count(0)
    page.fill("[name='search.models']", "old")
    page.check(f"#field-models input[value='{old}']")
    expect(page.locator(f"#field-models input[value='{newest[0]}']")).to_be_checked()
    page.fill("[name='search.models']", "")
    expect(page.locator(f"#field-models input[value='{newest[1]}']")).to_be_visible()
    expect(page.locator("#field-models input:checked")).to_have_count(2)
    page.press("[name='search.models']", "Enter")
    assert page.url.endswith("/evaluate")

    page.goto("/live")
    page.fill("[name='search.teacher']", "old")
    expect(page.locator(f"#field-teacher option[value='{old}']")).to_have_count(1)
    page.select_option("#field-teacher", old)
    expect(page.locator("#classes option")).to_have_count(2)
    expect(page.locator("#classes option").first).to_have_attribute("value", "ship")


def test_an_attack_needs_an_image_and_a_sample_is_one(page: Page, lab: Lab, live: str) -> None:
    page.goto(live.split("?")[0])
    page.click("#attack")
    expect(page.locator("#image-error")).to_have_text("Choose an image first.")
    page.locator("[data-classes] .sample").nth(1).click()
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#image-error")).to_be_hidden()
    page.click("#attack")
    expect(page.locator("#status")).to_contain_text("The broker does not answer")
    (job, _) = jobs.page(lab, kinds=[JobKind.EXPLAIN]).items
    params = ExplainParams.model_validate(job.params)
    assert (params.label, params.max_epsilon) == ("dog", 16 / 255)
    assert params.attack == Attack(steps=10)


def test_fields_of_the_student_appear_with_its_recipe(page: Page, lab: Lab) -> None:
    add_dataset(lab)
    page.goto("/train")
    expect(page.locator("#field-teacher")).to_be_hidden()
    expect(page.locator("#field-teacher")).to_be_disabled()
    page.check("input[value=agkd_bml]")
    expect(page.locator("#field-teacher")).to_be_visible()
    expect(page.locator("#field-teacher")).to_have_attribute("required", "")
    page.click("summary:has-text('Adversarial examples')")
    expect(page.locator("#field-epsilon")).to_be_editable()
    page.check("input[value=trades]")
    expect(page.locator("#field-teacher")).not_to_have_attribute("required", "")
    page.click("summary:has-text('Objective')")
    expect(page.locator("#field-trades_beta")).to_be_editable()
    for name in ("margin", "agkd_weight", "mart_beta"):
        expect(page.locator(f"#field-{name}")).to_be_hidden()


def test_a_preset_fills_its_fields_and_leaves_the_others(page: Page, lab: Lab) -> None:
    add_dataset(lab)
    page.goto("/train")
    page.fill("#field-name", "Mine")
    page.check("input[value=pgd_at]")
    page.click("text=Short, on one GPU")
    expect(page.locator("#field-architecture")).to_have_value("preactresnet-18")
    expect(page.locator("input[name=precision]:checked")).to_have_value("bfloat16")
    page.click("text=Quick, on a CPU")
    expect(page.locator("a[data-preset][aria-current=true]")).to_contain_text("Quick, on a CPU")
    expect(page.locator("#field-architecture")).to_have_value("wrn-10-2")
    expect(page.locator("#field-name")).to_have_value("Mine")
    expect(page.locator("input[value=pgd_at]")).to_be_checked()
    page.click("text=Start training")
    page.wait_for_url("**/jobs/*")
    (job,) = jobs.page(lab).items
    params = TrainParams.model_validate(job.params)
    assert (params.recipe, params.steps, params.epochs) == ("pgd_at", 3, 3)
    assert params.step_size == pytest.approx(4 / 255)


def test_a_clean_training_starts_without_what_is_hidden(page: Page, lab: Lab) -> None:
    add_dataset(lab)
    page.goto("/train")
    page.fill("#field-name", "Teacher")
    page.click("text=Start training")
    page.wait_for_url("**/jobs/*")
    expect(page.locator("h1")).to_have_text("Train Teacher on Pets")


def test_a_job_is_followed_to_its_end(page: Page, lab: Lab) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(dataset=add_dataset(lab)), title="A job")
    claim = store.claim(lab.database, job, lease_s=1000)
    assert claim is not None
    page.goto(f"/jobs/{job}")
    expect(page.locator("#no-charts")).to_be_visible()

    def report(step: int, loss: float) -> None:
        store.report(lab.database, claim, [
            MetricsEvent(series="step", step=step, values={"loss": loss, "images_per_s": 321.0}),
            LogEvent(text=f"Step {step} <b>"),
            ProgressEvent(done=step, total=4, phase=f"step {step}", eta_s=60.0),
        ])  # fmt: skip

    report(1, 3.0)
    expect(page.locator("#state")).to_contain_text("25.0")
    expect(page.locator("#log li span")).to_have_text(["Step 1 <b>"])
    expect(page.locator("#readings")).to_contain_text("321 images/s")
    page.wait_for_function("() => document.querySelector('[data-chart=loss] .plot').data?.length")
    report(2, 2.0)
    page.wait_for_function(
        "() => document.querySelector('[data-chart=loss] .plot').data[0].x.length > 1"
    )
    trace = page.evaluate("document.querySelector('[data-chart=loss] .plot').data[0]")
    assert (trace["x"], trace["y"]) == ([1, 2], [3.0, 2.0])
    expect(page.locator("#warnings")).to_be_hidden()
    shares = {"validation_clean": 0.5, "loss": 2.5}
    store.report(lab.database, claim, [
        MetricsEvent(series="epoch", step=1, values=shares),
        LogEvent(level=LogLevel.WARNING, text="It overfits <b>."),
        LogEvent(level=LogLevel.WARNING, text="It overfits again."),
    ])  # fmt: skip
    expect(page.locator("#warnings")).to_contain_text("It overfits again. 1 earlier warning")
    page.wait_for_function(
        "() => document.querySelector('[data-chart=accuracy] .plot').layout?.annotations?.length"
    )
    store.settle(lab.database, claim, JobStatus.CANCELLED)
    expect(page.locator(".state.cancelled")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_an_ablation_is_planned_and_followed(page: Page, lab: Lab) -> None:
    add_model(lab, add_dataset(lab))
    page.goto("/ablation")
    plan = page.locator("#plan")
    expect(plan).to_contain_text("18 trainings")
    page.click("summary:has-text('Objective')")
    expect(page.locator("#field-training-trades_beta")).to_be_hidden()
    for name in ("clean", "pgd_at", "sml", "agkd", "bml"):
        page.uncheck(f"input[name=recipes][value={name}]")
    page.check("input[name=recipes][value=trades]")
    expect(page.locator("#field-training-trades_beta")).to_be_editable()
    page.fill("#field-seeds", "0, 1")
    page.uncheck("#field-measure")
    expect(page.locator("#field-measure-images")).to_be_hidden()
    expect(plan).to_contain_text("4 trainings: 2 rows × 2 seeds")
    page.locator("[name='grid.of']").first.select_option("steps")
    page.locator("[name='grid.is']").first.fill("3, 7, 10")
    expect(plan).to_contain_text("12 trainings: 6 rows × 2 seeds")
    page.fill("#field-name", "Nets")
    page.click("text=Start the ablation")
    page.wait_for_url("**/jobs/*")
    expect(page.locator("#ablation")).to_contain_text("No figures yet.")
    expect(page.locator("figure.chart")).to_be_hidden()
    job = page.url.rsplit("/", 1)[1]
    first = children_of(lab.database, job)[0]
    page.set_viewport_size({"width": 390, "height": 900})
    page.evaluate("document.querySelector('#ablation-scroll').scrollLeft = 40")
    page.focus(f"#training-{first.id}")
    succeed(lab.database, lab.files, take(lab.database, first.id))
    lifecycle.advance(lab.database, lab.files, job)
    expect(page.locator("#ablation")).to_contain_text("40.0")
    expect(page.locator("#children .state.succeeded")).to_have_count(1)
    expect(page.locator(f"#training-{first.id}")).to_be_focused()
    assert page.evaluate("document.querySelector('#ablation-scroll').scrollLeft") == 40
    expect(page.locator("#state")).to_contain_text("1 of 12 trainings over")
    page.wait_for_function("() => document.querySelector('[data-chart=seeds] .plot').data?.length")


def test_the_first_page_follows_its_jobs(page: Page, lab: Lab) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(), title="A job")
    page.goto("/")
    expect(page.locator(".state.queued")).to_be_visible()
    claim = store.claim(lab.database, job, lease_s=1000)
    assert claim is not None
    expect(page.locator(".state.running")).to_be_visible()


def test_cancelling_asks_first(page: Page, lab: Lab) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(), created_at=time.time())
    page.goto(f"/jobs/{job}")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".state.queued")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".state.cancelled")).to_be_visible()
