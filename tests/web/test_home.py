"""The first page: the showcase of the models in the box, first steps, and jobs in short."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.contracts.changes import JobChanges
from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import EvaluateParams, ImportParams
from app.contracts.results import ShowcasePicture
from app.queue import Broker, Present
from app.services import job_changes, showcase, upkeep
from app.services.lab import Lab
from app.settings import Settings
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import (
    add_dataset,
    add_job,
    add_model,
    an_id,
    evaluation,
    explanation,
    train_params,
)
from tests.web.parsing import attributes, parsed, text_of, texts

BOX = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a lab that starts with the models in the box."""
    return Settings(data_dir=tmp_path / "data", redis_url="redis://127.0.0.1:1/0", shipped_dir=BOX)


def home(client: httpx.Client) -> str:
    answer = client.get("/")
    assert answer.status_code == 200, answer.text
    return answer.text


def steps(html: str) -> list[tuple[str, str]]:
    names = texts(html, "ol.steps h3")
    return list(zip(attributes(html, "class", "ol.steps > li"), names, strict=True))


def titles(html: str) -> list[str]:
    return texts(html, '.jobs a[id^="open-"]')


def present(trains: int = 1) -> tuple[Present, ...]:
    """A worker for each queue, and so many of the one that trains."""
    queues = [*Queue, *[Queue.TRAIN] * (trains - 1)]
    return tuple(Present(f"{number}", (queue,)) for number, queue in enumerate(queues))


def test_the_lamp_says_where_a_queue_has_several_workers(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broker, "present", lambda _: present())
    monkeypatch.setattr(upkeep, "gaps", tuple)
    assert texts(home(client), "p.health") == ["Ready: every kind of job has a worker. Workers"]
    monkeypatch.setattr(Broker, "present", lambda _: present(trains=4))
    assert texts(home(client), "p.health") == [
        "Ready: every kind of job has a worker, 4 for “train”. Workers"
    ]


def test_it_says_what_the_system_cannot_keep_from_readers_of_files(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broker, "present", lambda _: present())
    monkeypatch.setattr(upkeep, "gaps", lambda: ("This system lacks a wall.",))
    assert texts(home(client), "p.health")[0].endswith(
        "has a worker. This system lacks a wall. Workers"
    )
    health = client.get("/api/health").json()
    assert (health["ok"], health["gaps"]) == (True, ["This system lacks a wall."])


def test_a_new_lab_shows_a_picture_under_attack_and_the_curves(
    lab: Lab, client: httpx.Client
) -> None:
    html = home(client)
    shown = showcase.pictures(lab)
    assert attributes(html, "value", "#showcase [name=picture]") == [p.picture.name for p in shown]
    assert attributes(html, "src", "#showcase img") == [p.picture.address for p in shown]
    assert texts(html, "#showcase h2 small") == ["Clean", "AGKD-BML"]
    for picture in shown:
        assert f"{picture.picture.author}, {picture.picture.licence}" in html
    facts = showcase.facts(lab)
    assert facts is not None
    assert f"Of {facts.tried} pictures tried, {facts.held} hold" in html
    assert len(parsed(html).select('figure[data-chart="box"] script')) == 1


def _identities(page: str) -> dict[str, str]:
    """The colours that a table gives models, by name."""
    rows = parsed(page).select("tbody th .identity")
    return {link.get_text(): row["class"][-1] for row in rows for link in row.select("a")}


def test_a_new_labs_board_has_what_the_models_in_the_box_withstood(client: httpx.Client) -> None:
    page = client.get("/board").text
    rows = texts(page, "table.board tbody th")
    assert rows[-1].startswith("Clean WRN-10-2")
    assert texts(page, "table.board tbody td.keep")[-1] == "Clean"
    assert {"AGKD-BML", "Clean", "PGD-AT"} == set(texts(page, "table.board tbody td.keep"))
    assert attributes(page, "href", "table.board tbody td a") == []  # no job of this lab
    identities = _identities(page)
    roles = {name: identities[f"{name} WRN-10-2, seed 0"] for name in ("Clean", "AGKD-BML")}
    assert roles == {"Clean": "teacher", "AGKD-BML": "student"}, "as on the first page"
    assert len(set(identities.values())) == len(rows)
    assert _identities(client.get("/models").text).items() >= identities.items()
    (condition,) = client.get("/api/board/conditions").json()
    assert condition["shipped"]
    asked = {"dataset": condition["dataset"], "threat": condition["key"]}
    found = client.get("/api/board", params=asked).json()["entries"]
    assert [entry["name"] for entry in found] == rows
    assert all(entry["figures"]["robust"] == entry["figures"]["autoattack"] for entry in found)


def test_a_lab_without_data_has_drawn_images_for_models_of_shapes(client: httpx.Client) -> None:
    page = client.get("/live").text
    (drawn,) = (
        one for one in parsed(page).select("fieldset.samples")
        if text_of(one.select_one("legend")) == "Shapes, drawn by the lab"
    )  # fmt: skip
    lists = json.loads(parsed(page).select_one("#settings").get_text())["classes"]
    offered = drawn.select("button")
    assert [one["data-class"] for one in offered] == lists[int(drawn["data-classes"])]
    for one in offered:
        assert client.get(one["data-image"]).headers["content-type"] == "image/png"


def test_what_the_attacks_left_is_served_for_ever(lab: Lab, client: httpx.Client) -> None:
    for address in attributes(home(client), "data-results", "#showcase [name=picture]"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        ShowcasePicture.model_validate_json(answer.content)
    assert client.get("/showcase/nothing.json").status_code == 404
    assert client.get("/showcase/showcase.json").status_code == 404


def test_script_and_style_before_charts_are_small(client: httpx.Client) -> None:
    page = parsed(home(client))
    wanted = [str(e["src"]) for e in page.select("script[src]")]
    wanted += [str(e["href"]) for e in page.select("link[rel=stylesheet], link[rel=modulepreload]")]
    assert not any("plotly" in address for address in wanted)
    sizes = {address: len(client.get(address).content) for address in wanted}
    assert sum(sizes.values()) < 250_000, sizes


def test_a_training_that_runs_crosses_nothing_off(lab: Lab, client: httpx.Client) -> None:
    progress = {"done": 4, "total": 100, "phase": "epoch 1 of 9", "eta_s": 180.0}
    add_dataset(lab)
    job = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.RUNNING, title="My net",
                  progress=progress, started_at=time.time(),
                  lease_until=time.time() + 1000)  # fmt: skip
    add_model(lab, an_id(), origin="imported", params=None)
    html = home(client)
    assert steps(html) == [
        ("done", "Add a dataset"),
        ("later goes-on", "Train your own"),
        ("now", "Measure and look"),
    ]
    (step,) = parsed(html).select("li.goes-on")
    assert [link["href"] for link in step.select("a")] == [f"/jobs/{job}"]
    assert "4.0" in step.text
    assert "3\N{NO-BREAK SPACE}min left" in step.text


def test_a_trained_model_crosses_it_off(lab: Lab, client: httpx.Client) -> None:
    add_model(lab, add_dataset(lab))
    states = [state for state, _ in steps(home(client))]
    assert states == ["done", "done", "now"]


def test_what_is_under_way_comes_before_what_is_over(lab: Lab, client: httpx.Client) -> None:
    waits = add_job(lab, JobKind.TRAIN, train_params(), title="Waits", created_at=1e9)
    for i in range(9):
        add_job(lab, JobKind.IMPORT, ImportParams(name="x"), title=f"Import {i}",
                status=JobStatus.FAILED, created_at=2e9 + i)  # fmt: skip
    html = home(client)
    assert titles(html) == ["Waits", *(f"Import {i}" for i in range(8, 2, -1))]
    assert 'hx-get="/recent"' in html
    fragment = client.get("/recent", headers={"HX-Request": "true"}).text
    assert titles(fragment) == titles(html)
    assert "<html" not in fragment
    assert client.post(f"/jobs/{waits}/cancel").status_code == 303
    assert "hx-get" not in home(client)


def test_a_person_at_the_fragment_is_sent_to_the_page(client: httpx.Client) -> None:
    answer = client.get("/recent")
    assert (answer.status_code, answer.headers["location"]) == (307, "/#jobs")


def test_live_attacks_are_one_line(lab: Lab, client: httpx.Client) -> None:
    model = add_model(lab, an_id())
    explained = explanation(model)
    for i in range(3):
        add_job(lab, JobKind.EXPLAIN, explained.params, result=explained, created_at=1e9 + i)
    html = home(client)
    assert titles(html) == []
    assert texts(html, ".folded-attacks #attacks") == ["3 live attacks"]
    assert attributes(html, "href", "#attacks") == ["/jobs?kind=explain"]


def test_an_archived_job_is_not_listed(lab: Lab, client: httpx.Client) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED, title="Old")
    assert titles(home(client)) == ["Old"]
    job_changes.change(lab, [job], JobChanges(archived=True))
    assert titles(home(client)) == []


def add_evaluation(lab: Lab, models: int, **values: Any) -> str:
    result = evaluation([(add_model(lab, an_id()), f"Model {i}") for i in range(models)])
    return add_job(lab, JobKind.EVALUATE, result.params, result=result, **values)


def test_the_evaluation_shown_has_the_most_models_or_is_pinned(
    lab: Lab, client: httpx.Client
) -> None:
    def shown() -> tuple[list[str], str]:
        html = home(client)
        (heading,) = texts(html, "#latest")
        return attributes(html, "href", "#latest a"), heading.partition(":")[0]

    many = add_evaluation(lab, 3, created_at=1e9)
    one = add_evaluation(lab, 1, created_at=2e9)
    assert shown() == ([f"/jobs/{many}"], "Latest evaluation")
    newer = add_evaluation(lab, 3, created_at=3e9)
    assert shown() == ([f"/jobs/{newer}"], "Latest evaluation")
    job_changes.change(lab, [one], JobChanges(pinned=True))
    assert shown() == ([f"/jobs/{one}"], "Pinned evaluation")
    job_changes.change(lab, [one], JobChanges(pinned=False))
    assert shown() == ([f"/jobs/{newer}"], "Latest evaluation")


def test_parts_of_an_ablation_displace_no_evaluation(lab: Lab, client: httpx.Client) -> None:
    own = add_evaluation(lab, 1, created_at=1e9)
    params = EvaluateParams(models=tuple(an_id() for _ in range(4)), dataset=an_id())
    add_job(lab, JobKind.EVALUATE, params, status=JobStatus.SUCCEEDED, parent_id=an_id())
    assert attributes(home(client), "href", "#latest a") == [f"/jobs/{own}"]


@pytest.mark.slow
@pytest.mark.browser
def test_the_slider_and_the_pictures_work_by_keyboard(page: Page, lab: Lab) -> None:
    first, second = showcase.pictures(lab)[:2]
    facts = showcase.facts(lab)
    assert facts is not None
    page.goto("/")
    view, slider = page.locator("#showcase"), page.locator("[data-slider]")
    expect(view).to_have_attribute("data-drawn", first.picture.name)
    at = first.at(facts.epsilon)
    label = first.picture.label
    fooled = f"the teacher says {first.says(0, at)}; the student still says {label}."
    expect(view.locator(".sentence")).to_have_text(f"At 8/255 {fooled}")
    says = view.locator("[data-says]")
    assert says.evaluate_all("all => all.map(one => one.dataset.says)") == [
        "right", "wrong", "right", "right"
    ]  # fmt: skip
    slider.focus()
    for _ in range(at):
        page.keyboard.press("ArrowLeft")
    clean = f"Of the clean image the teacher says {label}; the student says {label}."
    expect(view.locator(".sentence")).to_have_text(clean)
    expect(slider).to_have_attribute("aria-valuetext", clean)
    drawn = "all => all.map(one => one.toDataURL())"
    shown = view.locator("canvas").evaluate_all(drawn)
    assert shown[0] == shown[3]  # at no budget the attacked image is the clean one
    view.locator("[name=picture]:checked").focus()
    page.keyboard.press("ArrowRight")
    expect(view).to_have_attribute("data-drawn", second.picture.name)
    expect(view.locator("[data-credit]:visible")).to_contain_text(second.picture.author)
    assert view.locator("canvas").evaluate_all(drawn) != shown
    assert page.url.endswith(f"/?picture={second.picture.name}&eps=0")
    page.reload()
    expect(view).to_have_attribute("data-drawn", second.picture.name)
    assert slider.input_value() == "0"
    page.wait_for_function("() => document.querySelector('[data-chart=box] .plot').data?.length")


@pytest.mark.slow
@pytest.mark.browser
def test_the_picture_and_the_curves_fit_the_first_screen(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("/")
    page.wait_for_function("() => document.querySelector('[data-chart=box] .plot').data?.length")
    bottom = "() => document.querySelector('.first-sight').getBoundingClientRect().bottom"
    assert page.evaluate(bottom) <= 800
    for width in (390, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function(f"() => document.documentElement.scrollWidth <= {width}")


@pytest.mark.browser
@pytest.mark.slow
def test_live_shows_an_example_until_there_is_an_own_result(page: Page, lab: Lab) -> None:
    teacher, student = (model.id for model in showcase.pictures(lab)[0].models)
    result = explanation(teacher, student)
    job = add_job(lab, JobKind.EXPLAIN, result.params, result=result)
    page.goto("/live")
    example = page.locator("#example")
    expect(example).to_contain_text("An example from the box")
    expect(example.locator(".says").first).to_contain_text("✓ horse")
    expect(example.locator(".sentence")).to_contain_text("At 8/255 the teacher says")
    example.locator("[data-slider]").focus()
    page.keyboard.press("Home")
    expect(example.locator(".sentence")).to_contain_text("Of the clean image")
    page.route("**/api/live", lambda route: route.fulfill(status=202, json={"id": job}))
    page.locator(".sample").first.click()
    page.locator(".viewer:not([hidden])").wait_for()
    expect(example).to_be_hidden()
    page.goto(f"/live?job={job}")
    expect(example).to_have_count(0)
