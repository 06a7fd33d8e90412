"""What the lab holds, in forms: what is chosen stays whatever its age, the rest can be found."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationParams, EvaluateParams, ExplainParams
from app.contracts.results import Accuracy
from app.services import models
from app.services.lab import Lab
from app.web.forms import choices
from tests.web.examples import add_dataset, add_job, add_model, an_id, train_params
from tests.web.parsing import attributes, live_models, parsed

SHOWN = 3


@pytest.fixture(autouse=True)
def short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MODELS_SHOWN", SHOWN)
    monkeypatch.setattr(choices, "JOBS_SHOWN", SHOWN)


@pytest.fixture
def dataset(lab: Lab) -> str:
    return add_dataset(lab)


@pytest.fixture
def stock(lab: Lab, dataset: str) -> list[str]:
    """Ids of more models than a form holds, oldest first."""
    ids = []
    for name in ("Ancient 100%", "Old", "Older friend", "Newer", "Newest"):
        ids.append(add_model(lab, dataset, name=name))
        time.sleep(0.002)
    return ids


def _chosen(html: str, field: str) -> list[str]:
    options = attributes(html, "value", f"select#{field} option[selected]")
    boxes = attributes(html, "value", f'input[name="{field}"][checked]')
    return list(filter(None, options + boxes))


def _offered(html: str, field: str) -> list[str]:
    return [value for value in attributes(html, "value", f"select#{field} option") if value]


def _live_offered(html: str) -> list[str]:
    settings = parsed(html).select_one("script#settings")
    assert settings is not None
    return [model["id"] for model in json.loads(settings.get_text())["models"]]


def test_an_old_teacher_stays_chosen(client: httpx.Client, dataset: str, stock: list[str]) -> None:
    for address, field in (
        (f"/train?teacher={stock[0]}", "field-teacher"),
        (f"/ablation?training.teacher={stock[0]}", "field-training-teacher"),
    ):
        html = client.get(address).text
        assert _chosen(html, field) == [stock[0]]
        assert set(_offered(html, field)) == {stock[0], *stock[-SHOWN:]}


def test_running_again_keeps_old_models(
    lab: Lab, client: httpx.Client, dataset: str, stock: list[str]
) -> None:
    params = train_params(dataset=dataset, recipe="agkd_bml", teacher=stock[0])
    training = add_job(lab, JobKind.TRAIN, params)
    assert _chosen(client.get(f"/train?from={training}").text, "field-teacher") == [stock[0]]
    chosen = EvaluateParams(models=(stock[0], stock[4]), dataset=dataset)
    evaluation = add_job(lab, JobKind.EVALUATE, chosen)
    assert set(_chosen(client.get(f"/evaluate?from={evaluation}").text, "models")) == {
        stock[0], stock[4],
    }  # fmt: skip
    shared = train_params(name="A", dataset=dataset, recipe="agkd_bml", teacher=stock[1])
    ablation = AblationParams(name="A", recipes=("agkd_bml",), training=shared)
    again = add_job(lab, JobKind.ABLATION, ablation)
    html = client.get(f"/ablation?from={again}").text
    assert _chosen(html, "field-training-teacher") == [stock[1]]
    pair = ExplainParams(upload=an_id(), models=(stock[0], stock[1]))
    live = client.get(f"/live?job={add_job(lab, JobKind.EXPLAIN, pair)}").text
    assert live_models(live) == [stock[0], stock[1]]


def test_what_is_chosen_of_a_long_list_is_in_sight(client: httpx.Client, stock: list[str]) -> None:
    page = parsed(client.get(f"/evaluate?models={stock[-1]}&models={stock[3]}").text)
    boxes = page.select("#field-models input")
    assert {box["value"] for box in boxes[:2]} == {stock[-1], stock[3]}
    assert [box.has_attr("checked") for box in boxes[:3]] == [True, True, False]


def test_a_form_that_is_sent_back_keeps_old_models(client: httpx.Client, stock: list[str]) -> None:
    sent = {"recipe": "agkd_bml", "teacher": stock[0], "epochs": "none"}
    answer = client.post("/train", data=sent)
    assert answer.status_code == 422
    assert _chosen(answer.text, "field-teacher") == [stock[0]]


def test_a_search_finds_the_rest_and_keeps_what_is_chosen(
    client: httpx.Client, stock: list[str]
) -> None:
    query = {"teacher": stock[4], "search.teacher": "OLD", "epochs": "7"}
    html = client.get("/train", params=query).text
    assert _chosen(html, "field-teacher") == [stock[4]]
    assert set(_offered(html, "field-teacher")) == {stock[1], stock[2], stock[4]}
    assert 'name="epochs" value="7"' in html  # without scripts the whole form comes back
    for text in ("100%", stock[0][:8]):
        html = client.get("/train", params={"search.teacher": text}).text
        assert _offered(html, "field-teacher") == [stock[0]]
    html = client.get("/evaluate", params={"search.models": "_<b>"}).text
    assert "Nothing is called so." in html
    assert "_<b>" not in html


def test_a_search_of_the_live_page_chooses_among_what_it_finds(
    client: httpx.Client, stock: list[str]
) -> None:
    def begun(text: str) -> list[str]:
        return live_models(client.get("/live", params={"search.models": text}).text)

    assert begun("") == [stock[4]]
    assert begun("ancient") == [stock[0]]
    assert begun("nothing of this name") == []


def test_only_long_lists_are_searched(lab: Lab, client: httpx.Client, dataset: str) -> None:
    for name in ("One", "Two", "Three"):
        add_model(lab, dataset, name=name)
    assert "search.teacher" not in client.get("/train").text
    add_model(lab, dataset, name="Four")
    assert "search.teacher" in client.get("/train").text


def test_a_model_that_is_gone_is_said(
    lab: Lab, client: httpx.Client, dataset: str, stock: list[str]
) -> None:
    params = train_params(dataset=dataset, recipe="agkd_bml", teacher=stock[0])
    job = add_job(lab, JobKind.TRAIN, params, status=JobStatus.CANCELLED)
    models.delete(lab, stock[0])
    for address in (f"/train?from={job}", f"/train?teacher={stock[0]}"):
        html = client.get(address).text
        assert _chosen(html, "field-teacher") == []
        assert f"no longer in the lab ({stock[0][:8]})" in html


def test_an_old_checkpoint_can_go_on(lab: Lab, client: httpx.Client, dataset: str) -> None:
    ended = []
    for _ in range(5):
        ended.append(
            add_job(lab, JobKind.TRAIN, train_params(dataset=dataset), status=JobStatus.CANCELLED)
        )
        time.sleep(0.002)
    for job in ended[:2]:
        lab.files.checkpoints(job).mkdir()
        (lab.files.checkpoints(job) / "checkpoint.pt").touch()
    html = client.get(f"/train?from={ended[0]}&continue_from={ended[0]}").text
    assert _chosen(html, "field-continue_from") == [ended[0]]
    gone = client.get(f"/train?continue_from={ended[4]}").text
    assert _chosen(gone, "field-continue_from") == []
    assert f"no longer in the lab ({ended[4][:8]})" in gone


def test_the_pair_that_live_begins_with_may_be_older_than_the_list(
    lab: Lab, client: httpx.Client, dataset: str
) -> None:
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, teacher=teacher)
    for _ in range(SHOWN):
        add_model(lab, dataset, classes=("one", "two"))
    page = client.get("/live").text
    assert live_models(page) == [teacher, student]
    assert {teacher, student} <= set(_live_offered(page))


def test_the_teacher_that_is_suggested_may_be_older_than_the_list(
    lab: Lab, client: httpx.Client, dataset: str
) -> None:
    best = add_model(lab, dataset, validation_clean=Accuracy.of(99, 100).model_dump())
    for _ in range(SHOWN):
        add_model(lab, dataset)
    assert _chosen(client.get("/ablation").text, "field-training-teacher") == [best]
