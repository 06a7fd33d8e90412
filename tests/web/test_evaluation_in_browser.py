"""What scripts do for an evaluation: charts, switches, saved pictures, the form, the estimate."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from app.contracts.events import MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams, Recipe
from app.services import jobs
from app.services.lab import Lab
from app.store import jobs as store
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import add_dataset, add_job, add_model, an_id, full_evaluation

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def measured(lab: Lab) -> str:
    """The address of a finished evaluation of two models."""
    result = full_evaluation(images=80)
    return f"/jobs/{add_job(lab, JobKind.EVALUATE, result.params, result=result)}"


def _charts(page: Page) -> dict[str, int]:
    """Of each chart in sight, how many traces are drawn; folded ones wait."""
    drawn: dict[str, int] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("figure[data-chart]")]
           .filter((figure) => figure.checkVisibility())
           .map((one) => [one.dataset.chart, one.querySelector(".plot").data?.length ?? 0]))"""
    )
    return drawn


def test_an_evaluation_draws_every_chart_that_is_in_sight(page: Page, measured: str) -> None:
    page.goto(measured)
    page.wait_for_function("() => document.querySelector('[data-chart=pca-1] .plot').data?.length")
    drawn = _charts(page)
    assert {"epsilon", "minimal", "classes", "confusion-robust-1", "attention"} <= set(drawn)
    assert "tsne-0" not in drawn
    assert min(drawn.values()) >= 1


def test_the_feature_view_switches_between_projections(page: Page, measured: str) -> None:
    page.goto(measured)
    first = page.locator("[data-panel=pca-0]")
    expect(first).to_be_visible()
    page.get_by_role("radio", name="t-SNE").first.check()
    expect(first).to_be_hidden()
    expect(page.locator("[data-panel=tsne-0]")).to_be_visible()
    page.wait_for_function("() => document.querySelector('[data-chart=tsne-0] .plot').data?.length")
    expect(page.locator("[data-panel=pca-1]")).to_be_visible()


def test_of_many_models_the_chosen_one_is_shown(page: Page, lab: Lab) -> None:
    models = [(f"{i:032x}", f"Model {i}", Recipe.AGKD_BML) for i in range(3)]
    result = full_evaluation(models, images=40)
    page.goto(f"/jobs/{add_job(lab, JobKind.EVALUATE, result.params, result=result)}")
    expect(page.locator("[data-panel=cascade-1]")).to_be_visible()
    expect(page.locator("[data-panel=cascade-3]")).to_be_hidden()
    page.get_by_role("group", name="Model: attack by attack").get_by_role(
        "radio", name="Model 2"
    ).check()
    expect(page.locator("[data-panel=cascade-1]")).to_be_hidden()
    expect(page.locator("[data-panel=cascade-3]")).to_be_visible()
    expect(page.locator("[data-panel=matrices-1]")).to_be_visible()


@pytest.mark.parametrize(("format_", "start"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_chart_is_saved_under_a_name_that_says_what_it_is(
    page: Page, measured: str, format_: str, start: bytes
) -> None:
    page.goto(measured)
    page.wait_for_function(
        "() => document.querySelector('[data-chart=epsilon] .plot').data?.length"
    )
    with page.expect_download() as download:
        page.locator(f"[data-chart=epsilon] [data-save={format_}]").click()
    job = measured.removeprefix("/jobs/")
    assert download.value.suggested_filename == f"evaluate-{job[:8]}-epsilon.{format_}"
    data = download.value.path().read_bytes()
    assert data.startswith(start)
    if format_ == "svg":
        assert "Accuracy against the budget" in data.decode()


def test_a_preset_fills_the_form_on_the_spot(page: Page, lab: Lab) -> None:
    dataset = add_dataset(lab)
    add_model(lab, dataset)
    page.goto("/evaluate")
    page.check("[name=models]")
    page.fill("[name='epsilon']", "4")
    page.get_by_role("link", name="Publishable").click()
    expect(page.locator("[name=images]")).to_have_value("10000")
    expect(page.locator("[name=further][value=autoattack]")).to_be_checked()
    page.get_by_role("link", name="Quick look").click()
    expect(page.locator("[name=further][value=autoattack]")).not_to_be_checked()
    expect(page.locator("[name='attack.steps']")).to_have_value("10")
    expect(page.locator("[name=models]")).to_be_checked()
    expect(page.locator("[name='epsilon']")).to_have_value("4")
    assert page.url.endswith("/evaluate")


def test_an_evaluation_starts_as_the_form_stands(page: Page, lab: Lab) -> None:
    model = add_model(lab, add_dataset(lab))
    page.goto(f"/evaluate?models={model}")
    more = page.locator("summary", has_text="More").first
    more.click()
    page.locator("summary", has_text="Run").click()
    batch = page.locator("[name=batch_size]")
    batch.fill("")
    more.click()
    expect(batch).to_be_hidden()
    page.click("text=Start evaluation")
    expect(batch).to_be_visible()
    batch.fill("10")
    page.click("text=Start evaluation")
    page.wait_for_url("**/jobs/*")
    (job,) = jobs.page(lab, kinds=[JobKind.EVALUATE]).items
    asked = EvaluateParams.model_validate(job.params)
    assert asked == EvaluateParams(models=(model,), dataset=asked.dataset, batch_size=10)


def test_what_does_not_fit_what_is_chosen_is_out_of_sight(page: Page, lab: Lab) -> None:
    add_model(lab, add_dataset(lab))
    page.goto("/evaluate")
    page.locator("summary", has_text="More").first.click()
    queries, sources = page.locator("#field-queries"), page.locator("[name=sources]")
    expect(queries).to_be_hidden()
    page.check("[name=further][value=square]")
    expect(queries).to_be_visible()
    page.check("[name=further][value=transfer]")
    expect(sources.first).to_be_visible()
    page.check("[name='attack.norm'][value=l1]")
    transfer = page.locator("[name=further][value=transfer]")
    expect(transfer).to_be_hidden()
    expect(transfer).to_be_disabled()
    expect(page.locator("[name='attack.method'][value=bim]")).to_be_hidden()
    expect(page.locator("[name='attack.method'][value=pgd]")).to_be_checked()
    page.check("[name='attack.norm'][value=linf]")
    expect(transfer).to_be_checked()
    page.check("[name='attack.method'][value=fgsm]")
    expect(page.locator("[name='attack.steps']")).to_be_hidden()


def test_a_running_evaluation_shows_its_estimate_as_it_comes(page: Page, lab: Lab) -> None:
    model = add_model(lab, add_dataset(lab))
    params = EvaluateParams(models=(model,), dataset="0" * 32)
    job = add_job(lab, JobKind.EVALUATE, params, title="A job")
    claim = store.claim(lab.database, job, lease_s=1000)
    assert claim is not None
    page.goto(f"/jobs/{job}")
    expect(page.locator("#so-far")).to_contain_text("The first figures come when")
    for images, robust in ((50, 0.5), (100, 0.4)):
        values = {"clean": 0.9, "robust": robust, "low": robust - 0.1, "high": robust + 0.1}
        known = {f"{model}:{name}": value for name, value in values.items()}
        store.report(lab.database, claim, [
            MetricsEvent(series="estimate", step=images, values=known),
            ProgressEvent(done=images, total=200, phase=f"{images} images", eta_s=60.0),
        ])  # fmt: skip
        expect(page.locator("#state")).to_contain_text(f"{images} images")
        expect(page.locator("#so-far")).to_contain_text(f"After {images} of 1,000 images")
        expect(page.locator("#so-far")).to_contain_text(f"{100 * robust:.1f}\N{NO-BREAK SPACE}%")
        page.wait_for_function(
            "n => document.querySelector('[data-chart=estimate] .plot').data?.[2]?.x.at(-1) === n",
            arg=images,
        )
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    # The log is a region of its own; the list in it stays a list.
    assert page.locator("[role=log] > ol > li").count() > 0
    assert page.locator("[aria-live]").count() == 0


def test_a_chart_follows_its_card_and_its_legend_stays_above_it(page: Page, lab: Lab) -> None:
    names = [f"{i} {'a long name of a model ' * 4}end {i}" for i in range(3)]
    models = [(f"{i:032x}", name, Recipe.AGKD_BML) for i, name in enumerate(names)]
    result = full_evaluation(models, images=40)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"/jobs/{job}")
    chart = page.locator("figure[data-chart=epsilon]")
    for width in (390, 1920, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function(
            """() => {
              const card = document.querySelector("figure[data-chart=epsilon]");
              const svg = card.querySelector(".main-svg");
              const plot = card.querySelector(".plot");
              return svg && Math.abs(svg.getBoundingClientRect().width - plot.clientWidth) < 2;
            }"""
        )
        legend = chart.locator(".legend").first.bounding_box()
        axis = chart.locator(".xy .gridlayer").first.bounding_box()
        whole = chart.bounding_box()
        assert legend
        assert axis
        assert whole
        assert legend["y"] + legend["height"] <= axis["y"] + 2, width
        assert legend["x"] + legend["width"] <= whole["x"] + whole["width"] + 1, width
    shown = chart.locator(".legendtext").all_text_contents()
    assert len(set(shown)) == 3
    assert all("…" in text and text.endswith(f"end {i}") for i, text in enumerate(shown))


def test_a_comparison_leaves_its_width_to_what_is_drawn_and_titles_their_room(
    page: Page, lab: Lab
) -> None:
    models = [(an_id(), f"A name of a model that is long, number {i}") for i in range(5)]
    result = full_evaluation([(*model, Recipe.AGKD_BML) for model in models], images=60)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"/compare?job={job}")
    drawn = page.locator("[data-chart=accuracies] .xy .gridlayer").first
    drawn.wait_for()
    place = drawn.bounding_box()
    assert place
    assert place["width"] > 250
    page.goto(f"/jobs/{job}")
    chart = page.locator("[data-chart=epsilon]")
    chart.locator(".ytitle").wait_for()
    title = chart.locator(".ytitle").bounding_box()
    ticks = [tick.bounding_box() for tick in chart.locator(".ytick text").all()]
    assert title
    assert all(tick and title["x"] + title["width"] + 2 < tick["x"] for tick in ticks)


def test_the_gallery_is_filtered_and_draws_its_maps(page: Page, lab: Lab) -> None:
    result = full_evaluation(images=200)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    page.goto(f"/jobs/{job}")
    kept = page.locator("ul.gallery > li").count()
    pictures = page.locator("ul.gallery > li:visible")
    expect(pictures).to_have_count(6)
    page.get_by_role("button", name=f"Show the other {kept - 6}").click()
    expect(pictures).to_have_count(kept)
    page.get_by_label("Shown").select_option("standing")
    page.locator("select[name=model]").select_option("1")
    expect(page.locator("ul.gallery > li:visible:not([data-kind=standing])")).to_have_count(0)
    assert 0 < pictures.count() < kept
    drawn = page.evaluate(
        """() => [...document.querySelector("canvas[data-grid]").getContext("2d")
        .getImageData(0, 0, 48, 48).data].some((value) => value > 0 && value < 255)"""
    )
    assert drawn
    expect(page.locator("[data-count]")).to_contain_text(f"of {kept}")
    assert page.url.endswith(f"/jobs/{job}?kind=standing&model=1")
    page.reload()
    expect(page.get_by_label("Shown")).to_have_value("standing")
    expect(page.locator("ul.gallery > li:visible:not([data-kind=standing])")).to_have_count(0)
    offered = page.locator("select[name=class] option:enabled:not([value=''])").all_inner_texts()
    there = page.locator("ul.gallery > li[data-kind=standing][data-model='1']")
    assert set(offered) == set(there.evaluate_all("all => all.map(one => one.dataset.class)"))
    assert page.locator("select[name=class] option:disabled").count() > 0
