"""What scripts add to tables and to curves, in a real browser."""

from __future__ import annotations

import csv

import pytest
from playwright.sync_api import Page, expect

from app.contracts.events import Event, MetricsEvent
from app.contracts.jobs import JobKind, JobStatus
from app.services.lab import Lab
from app.store import jobs as store
from tests.plugins.families import take
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import add_dataset, add_job, add_model, train_params

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def ended(lab: Lab, *titles: str) -> list[str]:
    return [
        add_job(lab, JobKind.TRAIN, train_params(), title=title, status=JobStatus.FAILED,
                started_at=1.0, finished_at=2.0)
        for title in titles
    ]  # fmt: skip


def test_rows_are_chosen_and_what_can_be_done_appears(page: Page, lab: Lab) -> None:
    ended(lab, "one", "two", "three")
    page.goto("/jobs")
    bar = page.locator("[data-selection]")
    expect(bar).to_be_hidden()
    page.get_by_label("Choose two").check()
    expect(bar.locator("[data-chosen]")).to_have_text("1 chosen")
    page.get_by_label("Choose all jobs of this page").check()
    expect(bar.locator("[data-chosen]")).to_have_text("3 chosen")
    bar.get_by_label("Tag").fill("paper")
    bar.get_by_role("button", name="Add").click()
    expect(page.locator("tbody .tag")).to_have_count(3)
    page.get_by_label("Choose two").check()
    bar.get_by_role("button", name="Delete").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#rows tr")).to_have_count(3)
    expect(page.locator("form.undo")).to_have_count(0)


def test_a_table_is_narrowed_at_once_and_the_address_says_how(page: Page, lab: Lab) -> None:
    ended(lab, "one", "two")
    page.goto("/jobs")
    page.get_by_label("Search").fill("two")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.wait_for_url("**/jobs?q=two")
    page.locator("select[name=status]").select_option("queued")
    expect(page.get_by_text("No job matches.")).to_be_visible()
    page.wait_for_url("**/jobs?q=two&status=queued")
    page.reload()
    expect(page.get_by_label("Search")).to_have_value("two")
    page.goto("/jobs")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("checkbox", name="Recipe").check()
    expect(page.locator("thead th", has_text="Recipe")).to_have_count(1)
    assert "col=recipe" in page.url


def test_what_is_ticked_stays_while_a_running_job_is_shown_anew(page: Page, lab: Lab) -> None:
    ended(lab, "over")
    running = add_job(lab, JobKind.TRAIN, train_params(), title="runs")
    claim = take(lab.database, running)
    page.goto("/jobs")
    page.get_by_label("Choose over").check()
    store.settle(lab.database, claim, JobStatus.CANCELLED)
    expect(page.locator("tbody .state.cancelled")).to_have_count(1)
    expect(page.get_by_label("Choose over")).to_be_checked()
    expect(page.locator("[data-chosen]")).to_have_text("1 chosen")


def trained(lab: Lab, name: str, losses: list[float]) -> str:
    """Two steps an epoch."""
    events: list[Event] = []
    for step, loss in enumerate(losses, 1):
        events.append(MetricsEvent(series="step", step=step, values={"loss": loss}))
        if step % 2 == 0:
            values = {"validation_clean": loss / 10}
            events.append(MetricsEvent(series="epoch", step=step // 2, values=values))
    job = add_job(lab, JobKind.TRAIN, train_params(name=name), title=name)
    claim = take(lab.database, job)
    store.report(lab.database, claim, events)
    store.settle(lab.database, claim, JobStatus.CANCELLED)
    return job


LONG = "A name that is much too long for the legend of a chart, to the last letter"
_STEPS = "() => document.querySelector('[data-chart=loss] .plot').data[0].x"


def test_curves_are_drawn_by_epoch_smoothed_zoomed_together_and_saved(page: Page, lab: Lab) -> None:
    one = trained(lab, "=one", [4.0, 2.0, 4.0, 2.0])
    two = trained(lab, LONG, [3.0, 3.0, 3.0, 3.0])
    page.goto(f"/compare/trainings?job={one}&job={two}")
    expect(page.locator("[data-chart=loss] .main-svg").first).to_be_visible()
    assert page.evaluate(_STEPS) == [1, 2, 3, 4]
    page.get_by_label("Epoch").check()
    page.wait_for_function("() => location.search.includes('by=epoch')")
    page.wait_for_function(
        "() => document.querySelector('[data-chart=loss] .plot').data[0].x[0] === 0.5"
    )
    assert page.evaluate(_STEPS) == [0.5, 1, 1.5, 2]
    page.get_by_label("Smoothing").fill("0.5")
    page.wait_for_function(
        "() => document.querySelector('[data-chart=loss] .plot').data[0].y[1].toFixed(1) === '2.7'"
    )
    page.evaluate(
        "() => Plotly.relayout(document.querySelector('[data-chart=loss] .plot'), "
        "{'xaxis.range': [0.75, 1.6]})"
    )
    page.wait_for_function(
        "() => document.querySelector('[data-chart=accuracy] .plot').layout.xaxis.range[1] === 1.6"
    )
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV of what is drawn").click()
    with open(saved.value.path(), encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["chart", "curve", "number", "epoch", "raw", "smoothed"]
    loss = [row[1:] for row in rows if row[0] == "loss"]
    assert [row[:4] for row in loss] == [
        ["'=one", "step:loss", "1", "2"], ["'=one", "step:loss", "1.5", "4"],
        [LONG, "step:loss", "1", "3"], [LONG, "step:loss", "1.5", "3"],
    ]  # fmt: skip
    assert [round(float(row[4]), 2) for row in loss] == [2.67, 3.43, 3, 3]
    page.reload()
    page.wait_for_function(
        "() => document.querySelector('[data-chart=loss] .plot')?.data?.[0].x[0] === 0.5"
    )
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("() => !location.search.includes('by=')")


def test_the_form_of_an_evaluation_says_how_long_it_takes(page: Page, lab: Lab) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    page.goto(f"/evaluate?models={model}")
    expect(page.locator("#estimate")).to_contain_text("once a job like it has run here")
    more = page.locator("details.more")
    expect(more.locator("fieldset").first).to_be_hidden()
    page.get_by_text("Publishable: PGD + AutoAttack").click()
    expect(page.get_by_label("Test images")).to_have_value("10000")
    more.locator("> summary").click()
    expect(more.get_by_role("checkbox", name="AutoAttack")).to_be_checked()
