"""What scripts do, in a real browser: the forms, the stream of a job. The live view has its own."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from app.ablations import lifecycle
from app.contracts.events import LogEvent, LogLevel, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    TrainParams,
)
from app.services import jobs
from app.services.lab import Lab
from app.store import jobs as store
from tests.plugins.families import children_of, succeed, take
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import (
    add_dataset,
    add_job,
    add_model,
    train_params,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


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


def test_how_an_address_is_asked_is_a_question_once_there_is_one(
    page: Page, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "https://models.example.org/v1/predict"
    monkeypatch.setattr(lab.settings, "endpoints", (address,))
    add_dataset(lab)
    page.goto("/models/import")
    budget = page.locator("#field-budget")
    group = page.locator("details:has(#field-budget) > summary")
    expect(group).to_have_count(1)
    expect(group).to_be_hidden()
    expect(budget).to_be_disabled()
    page.select_option("#field-address", address)
    group.click()
    expect(budget).to_be_editable()
    page.select_option("#field-address", "")
    expect(budget).to_be_hidden()


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
        "() => document.querySelector('[data-chart=accuracy] .plot').layout?.shapes?.length"
    )
    page.get_by_label("Epoch").check()
    report(3, 1.0)
    page.wait_for_function(
        "() => document.querySelector('[data-chart=loss] .plot').data[0].x.length > 2"
    )
    trace = page.evaluate("document.querySelector('[data-chart=loss] .plot').data[0]")
    assert (trace["x"], trace["y"]) == ([0.5, 1, 1.5], [3.0, 2.0, 1.0])
    mark = "document.querySelector('[data-chart=accuracy] .plot').layout.shapes[0].x0"
    assert page.evaluate(mark) == 1
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


def test_label_smoothing_follows_the_recipe_until_one_is_typed(page: Page, lab: Lab) -> None:
    dataset = add_dataset(lab)
    add_model(lab, dataset, name="Teacher")
    page.goto("/train")
    smoothing = page.locator("#field-label_smoothing")
    expect(smoothing).to_have_value("0.5")
    for recipe, value in (("pgd_at", "0"), ("agkd_bml", "0.5"), ("trades", "0")):
        page.check(f"input[name=recipe][value={recipe}]")
        expect(smoothing).to_have_value(value)
    page.click("summary:has-text('Objective')")
    smoothing.fill("0.1")
    page.check("input[name=recipe][value=agkd_bml]")
    expect(smoothing).to_have_value("0.1")
    page.click("a[data-preset]:has-text('Paper: AGKD-BML-7')")
    expect(smoothing).to_have_value("0.5")
    page.check("input[name=recipe][value=mart]")
    expect(smoothing).to_have_value("0")


def test_a_design_hides_what_it_says_itself(page: Page, lab: Lab) -> None:
    dataset = add_dataset(lab)
    add_model(lab, dataset, name="Teacher")
    page.goto("/ablation")
    page.check("input[name=design][value=parts]")
    for field in ("recipes", "grid", "own"):
        expect(page.locator(f".field:has([name^='{field}'])").first).to_be_hidden()
    expect(page.locator("#field-training-teacher")).to_be_visible()
    expect(page.locator("#field-training-teacher")).to_have_attribute("required", "")
    expect(page.locator("#plan")).to_contain_text("8 rows")
    smoothing, steps = (page.locator(f"#field-training-{n}") for n in ("label_smoothing", "steps"))
    expect(smoothing).to_be_disabled()
    expect(steps).to_be_enabled()
    page.check("input[name=design][value=steps]")
    expect(smoothing).to_be_enabled()
    expect(steps).to_be_disabled()
    page.check("input[name=design][value=grid]")
    expect(page.locator("#field-recipes")).to_be_visible()
