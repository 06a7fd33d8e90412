"""The page that compares evaluations: figures, tests, pictures, and a choice of evaluations."""

from __future__ import annotations

import io
from html import escape
from typing import Any

import httpx
import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult, Light, Lineage
from app.services.comparing import compare
from app.services.lab import Lab
from app.web.charts import comparison as compare_charts
from app.web.charts import palette
from app.web.pages.comparison_view import comparison_view
from tests.web.browsing import browser as browser
from tests.web.examples import add_dataset, add_job, add_model, an_id, full_evaluation
from tests.web.parsing import attributes, parsed, text_of

HOSTILE = "<b>S</b> & </script><img src=x onerror=alert(1)>"
CLASSES = ("cat", "dog <i>", "ship")


class Stock:
    """A dataset of six test images, a teacher and a student, and an evaluation of both."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.dataset = add_dataset(lab, classes=CLASSES)
        self.teacher = add_model(lab, self.dataset, classes=CLASSES)
        self.student = add_model(
            lab, self.dataset, name=HOSTILE, teacher=self.teacher, classes=CLASSES
        )

    def evaluation(self, *models: str, light: Light = Light.AMBER) -> EvaluationResult:
        known = {self.teacher: ("Teacher", Recipe.CLEAN), self.student: (HOSTILE, Recipe.AGKD_BML)}
        result = full_evaluation(
            [(model, *known[model]) for model in models],
            images=60,
            classes=CLASSES,
            dataset=Lineage(id=self.dataset, name="Pets", sha256="0" * 64),
            light=light,
        )
        return result.model_copy(update={"image_numbers": tuple(range(60))})

    def job(self, result: EvaluationResult, **values: Any) -> str:
        return add_job(self.lab, JobKind.EVALUATE, result.params, result=result, **values)


@pytest.fixture
def stock(lab: Lab) -> Stock:
    return Stock(lab)


def test_the_figures_of_two_models_and_what_they_mean(client: httpx.Client, stock: Stock) -> None:
    result = stock.evaluation(stock.teacher, stock.student)
    job = stock.job(result)
    page = client.get("/compare", params={"job": job})
    assert page.status_code == 200
    text = text_of(parsed(page.text))
    for model in result.models:
        assert model.robust
        assert f"{100 * model.robust.value:.1f} %" in text
        assert f"{100 * model.clean.value:.1f} %" in text
    test = compare(stock.lab, [job]).tests[0]
    assert test.p_adjusted < 0.05
    assert f"+{100 * test.difference:.1f} points" in text
    assert f"+{100 * test.low:.1f} to +{100 * test.high:.1f}" in text
    assert "2 is more robust." in text
    assert escape(HOSTILE) in page.text
    assert HOSTILE not in page.text
    assert f'href="/jobs/{job}"' in page.text


def test_a_red_verdict_stands_first_and_names_no_winner(client: httpx.Client, stock: Stock) -> None:
    result = stock.evaluation(stock.teacher, stock.student, light=Light.RED)
    page = client.get("/compare", params={"job": stock.job(result)}).text
    assert 'class="note bad"' in page
    assert "Not comparable: red verdict." in page
    assert "is more robust" not in page


def test_what_is_no_more_than_chance_has_no_winner(stock: Stock) -> None:
    result = stock.evaluation(stock.teacher)
    jobs = [stock.job(result), stock.job(result)]
    view = comparison_view(compare(stock.lab, jobs), {})
    assert [row.identity for row in view.rows] == [palette.identity(
        palette.colours([stock.teacher], {})[stock.teacher])] * 2  # fmt: skip
    assert [test.conclusion for test in view.tests] == ["No difference shown."] * 2
    assert {(test.difference, test.p_value) for test in view.tests} == {("0.0 points", "1.000")}
    assert [row.evaluation for row in view.rows] == [1, 2]
    assert view.pictures == ()


@pytest.mark.parametrize(
    ("change", "conclusion"),
    [
        ({"epsilon": 4 / 255}, "Not comparable: other threat models."),
        ({"further": ()}, "They differ, and so do the attacks."),
        ({"seed": 5}, "2 is more robust."),
    ],
)
def test_no_model_wins_because_it_was_attacked_less(
    stock: Stock, change: dict[str, Any], conclusion: str
) -> None:
    both = stock.evaluation(stock.teacher, stock.student)
    one, other = both.models
    jobs = [
        stock.job(both.model_copy(update={"models": (model,), "params": params}))
        for model, params in ((one, both.params), (other, both.params.model_copy(update=change)))
    ]
    robust, clean = comparison_view(compare(stock.lab, jobs), {}).tests
    assert (robust.quantity, robust.conclusion) == ("robust", conclusion)
    assert "comparable" not in clean.conclusion


def test_images_on_which_they_differ(client: httpx.Client, stock: Stock) -> None:
    result = stock.evaluation(stock.teacher, stock.student)
    comparison = compare(stock.lab, [stock.job(result)])
    recipes = {stock.teacher: Recipe.CLEAN, stock.student: Recipe.AGKD_BML}
    view = comparison_view(comparison, recipes)
    assert len(view.pictures) == comparison.differing_total > 0
    for picture, image in zip(view.pictures, comparison.differing, strict=True):
        assert picture.address == f"/datasets/{stock.dataset}/test/{image.number}.png"
        assert picture.label == CLASSES[image.label]
        for answer, clean, worst, robust in zip(
            picture.answers, image.clean_predictions, image.worst_predictions, image.robust,
            strict=True,
        ):  # fmt: skip
            if robust:
                assert (answer.stands, answer.says) == (True, "stands")
            elif clean == image.label:
                assert answer.says == f"attacked: {CLASSES[worst]}"
            else:
                assert answer.says == f"clean: {CLASSES[clean]}"
        assert f"models={stock.teacher}&models={stock.student}" in picture.live
    page = client.get("/compare", params={"job": stock.job(result)}).text
    assert escape(view.pictures[0].live) in page
    assert "dog <i>" not in page


def test_test_images_are_served_by_number(client: httpx.Client, stock: Stock) -> None:
    answer = client.get(f"/datasets/{stock.dataset}/test/3.png")
    assert answer.headers["content-type"] == "image/png"
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert pixels.shape == (32, 32, 3)
    assert set(pixels.ravel().tolist()) == {11}, "the second image of class 1"
    for dataset, number, status in (
        (stock.dataset, "6", 404), (stock.dataset, "-1", 404), (an_id(), "0", 404),
        (stock.dataset, "x", 404),
    ):  # fmt: skip
        assert client.get(f"/datasets/{dataset}/test/{number}.png").status_code == status


def test_a_choice_of_finished_evaluations(client: httpx.Client, stock: Stock) -> None:
    one = stock.evaluation(stock.teacher)
    done = stock.job(one, title=f"Evaluate {HOSTILE}")
    running = add_job(stock.lab, JobKind.EVALUATE, one.params, status=JobStatus.RUNNING)
    page = client.get("/compare")
    assert page.status_code == 200
    assert f'value="{done}"' in page.text
    assert running not in page.text
    assert HOSTILE not in page.text
    assert "checked" not in page.text
    alone = client.get("/compare", params={"job": done})
    assert alone.status_code == 200
    assert "Choose at least one more evaluation." in alone.text
    assert attributes(alone.text, "value", "[checked]") == [done]


def test_without_evaluations_it_says_where_to_go(client: httpx.Client) -> None:
    assert 'href="/evaluate"' in client.get("/compare").text


def test_what_cannot_be_compared_is_said_beside_the_choice(
    client: httpx.Client, stock: Stock
) -> None:
    one = stock.evaluation(stock.teacher)
    done = stock.job(one, title="Evaluate T")
    running = add_job(
        stock.lab, JobKind.EVALUATE, one.params, status=JobStatus.RUNNING, title="R <b>"
    )
    for job, status, says in (
        (running, 409, "“R &lt;b&gt;” is running"),
        ("0" * 32, 404, "no such"),
    ):
        page = client.get("/compare", params={"job": [done, job]})
        assert page.status_code == status
        assert says in page.text
        assert attributes(page.text, "value", "[checked]") == [done]
    assert client.get("/compare?job=x").status_code == 404


@pytest.mark.parametrize("models", [2, 8])
def test_figures_are_valid_and_show_the_numbers(lab: Lab, models: int) -> None:
    ids = [(an_id(), HOSTILE, Recipe.CLEAN) for _ in range(models)]
    result = full_evaluation(ids, images=40)
    comparison = compare(lab, [add_job(lab, JobKind.EVALUATE, result.params, result=result)])
    figures = compare_charts.figures(comparison, {ids[0][0]: Recipe.CLEAN})
    for figure in figures.values():
        go.Figure(figure)
        assert "<b>" not in str(figure["layout"])
    points = figures["accuracies"]["data"]
    assert points[0]["marker"]["color"] == palette.TEACHER
    assert [point["x"][0] for point in points] == [
        value for row in comparison.compared for value in (row.clean.value, row.robust.value)
    ]
    clean, robust = figures["differences"]["data"]
    for trace in (clean, robust):
        tests = [test for test in comparison.tests if test.quantity == trace["name"]]
        assert trace["x"] == [100 * test.difference for test in tests]
        high = [x + up for x, up in zip(trace["x"], trace["error_x"]["array"], strict=True)]
        assert high == pytest.approx([100 * test.high for test in tests])
        low = [x - down for x, down in zip(trace["x"], trace["error_x"]["arrayminus"], strict=True)]
        assert low == pytest.approx([100 * test.low for test in tests])


@pytest.mark.browser
@pytest.mark.slow
def test_in_a_browser(browser: Browser, web: str, stock: Stock) -> None:
    """Evaluations are chosen, charts drawn, pictures crisp, and all of it fits on a telephone."""
    jobs = [stock.job(stock.evaluation(stock.teacher)), stock.job(stock.evaluation(stock.student))]
    complaints: list[str] = []
    context = browser.new_context(base_url=web, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/compare")
    for job in jobs:
        page.check(f"#choose-{job}")
    page.click("text=Compare >> nth=-1")
    page.wait_for_url("**/compare?job=*&job=*")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length === 2")
    picture = page.locator("ul.pictures img").first
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_css("image-rendering", "pixelated")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
    assert complaints == []


@pytest.mark.browser
@pytest.mark.slow
def test_an_image_is_tried_live(browser: Browser, web: str, stock: Stock) -> None:
    """The link brings the image, its class and both models along."""
    context = browser.new_context(base_url=web)
    page = context.new_page()
    page.goto(
        f"/live?models={stock.teacher}&models={stock.student}&dataset={stock.dataset}&number=3"
        "&label=dog+%3Ci%3E"
    )
    expect(page.locator("#preview")).to_be_visible()
    assert (
        page.locator("#preview").evaluate("image => image.decode().then(() => image.naturalWidth)")
        == 32
    )
    expect(page.locator("[name=label]")).to_have_value("dog <i>")
    models = page.locator("[name=models]")
    expect(models.nth(0)).to_have_value(stock.teacher)
    expect(models.nth(1)).to_have_value(stock.student)
    context.close()


def test_a_p_value_is_never_nothing(stock: Stock) -> None:
    job = stock.job(stock.evaluation(stock.teacher, stock.student))
    comparison = compare(stock.lab, [job])
    tiny = comparison.tests[0].model_copy(update={"p_value": 1e-12, "p_adjusted": 0.00099})
    shown = comparison_view(comparison.model_copy(update={"tests": (tiny,)}), {}).tests[0]
    assert {shown.p_value, shown.p_adjusted} == {"<\N{NO-BREAK SPACE}0.001"}


def test_the_choice_is_searched_on_the_server(client: httpx.Client, stock: Stock) -> None:
    result = stock.evaluation(stock.teacher)
    many = [stock.job(result, title=f"Evaluate model {i}", created_at=i) for i in range(52)]
    page = parsed(client.get("/compare").text)
    assert len(page.select("#evaluations > tr")) == 50
    assert page.select_one("input[type=search]")["hx-get"] == "/compare/choices"
    address = f"/compare/choices?search=MODEL 1&job={many[40]}"
    rows = parsed(f"<table>{client.get(address).text}</table>").select("tr")
    names = [text_of(row.select_one("label")).split("L∞")[0].strip() for row in rows]
    assert names[0] == "Evaluate model 40"
    assert rows[0].select_one("input").has_attr("checked")
    assert names[1:] == [f"Evaluate model {i}" for i in (*range(19, 9, -1), 1)]
    assert "No finished evaluation is called so." in client.get("/compare/choices?search=zzz").text
    assert client.get(f"/compare?search={'x' * 201}").status_code == 422
