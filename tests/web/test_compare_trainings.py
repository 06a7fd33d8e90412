"""Trainings laid over one another, each with all of its runs, and what differs between them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import plotly.graph_objects as go
import pytest

from app.contracts.events import Event, MetricsEvent
from app.contracts.jobs import JobKind, JobStatus
from app.services.lab import Lab
from app.store import jobs as store
from app.web.charts import palette
from app.web.charts import trainings as charts
from app.web.pages import compare_trainings
from tests.plugins.families import take
from tests.web.examples import add_job, an_id, evaluation, train_params
from tests.web.parsing import attributes, chosen, parsed, text_of, texts


def step(number: int, loss: float) -> MetricsEvent:
    return MetricsEvent(series="step", step=number, values={"loss": loss})


def epoch(number: int, clean: float) -> MetricsEvent:
    return MetricsEvent(series="epoch", step=number, values={"validation_clean": clean})


def training(lab: Lab, *events: Event, title: str = "Train", **params: Any) -> str:
    job = add_job(lab, JobKind.TRAIN, train_params(**params), title=title)
    claim = take(lab.database, job)
    store.report(lab.database, claim, events or [step(1, 1.0)])
    store.settle(lab.database, claim, JobStatus.CANCELLED)
    return job


def page_of(client: httpx.Client, *jobs: str, status: int = 200) -> str:
    answer = client.get("/compare/trainings", params={"job": jobs})
    assert answer.status_code == status, answer.text
    return answer.text


def figure(page: str, name: str) -> dict[str, Any]:
    block = parsed(page).select_one(f'figure[data-chart="{name}"] script')
    assert block is not None
    found: dict[str, Any] = json.loads(block.get_text())
    go.Figure(found)
    return found


def settings(page: str) -> dict[str, list[str]]:
    table = parsed(page).select("table")[0]
    cells = [[text_of(each) for each in row.select("th, td")] for row in table.select("tbody tr")]
    return {first: rest for first, *rest in cells}


def test_curves_of_all_are_in_one_chart_and_settings_that_differ_in_a_table(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = an_id()
    one = training(lab, step(1, 2.0), step(2, 1.0), epoch(1, 0.5), name="one", dataset=dataset)
    two = training(lab, step(1, 3.0), epoch(1, 0.6), name="two", dataset=dataset, epochs=20)
    page = page_of(client, one, two)
    assert [trace["name"] for trace in figure(page, "loss")["data"]] == ["one", "two"]
    assert [trace["y"] for trace in figure(page, "accuracy")["data"]] == [[0.5], [0.6]]
    said = settings(page)
    assert said["Epochs"] == ["10", "20"]
    assert "Seed" not in said  # it is the same
    first, second = (trace["line"]["color"] for trace in figure(page, "loss")["data"])
    assert palette.TEACHER in (first, second)
    assert first != second


def test_equal_settings_are_said_to_be_so_and_equal_names_are_told_apart(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = an_id()
    jobs = [training(lab, name="Net", title="Train Net", dataset=dataset) for _ in range(2)]
    page = page_of(client, *jobs)
    assert settings(page)["Settings"] == ["They are all the same."]
    heads = texts(page, "table.board thead th.name")
    assert heads == [f"Train Net ({job[:8]})" for job in jobs]
    assert [trace["name"] for trace in figure(page, "loss")["data"]] == [
        f"Net ({job[:8]})" for job in jobs
    ]


def test_a_continued_training_shows_all_of_its_runs(lab: Lab, client: httpx.Client) -> None:
    first = training(lab, step(1, 3.0), step(2, 2.5), title="first")
    second = training(lab, step(2, 2.4), step(3, 2.0), title="second", continue_from=first)
    third = training(lab, step(4, 1.0), title="third", continue_from=second)
    page = page_of(client, third)
    (drawn,) = figure(page, "loss")["data"]
    assert (drawn["x"], drawn["y"]) == ([1, 2, 3, 4], [3.0, 2.4, 2.0, 1.0])
    assert settings(page)["Goes on from"] == ["first , second"]
    record = client.get(f"/jobs/{third}/record.json").json()
    loss = next(t for t in record["figures"]["loss"]["data"] if t["meta"] == "step:loss")
    assert loss["x"] == [1, 2, 3, 4]
    assert len(loss["customdata"]) == 4, "epoch and time of each"


def test_points_know_their_epoch_and_their_time_of_work() -> None:
    def at(seconds: float, event: MetricsEvent) -> tuple[float, dict[str, Any]]:
        return seconds, event.model_dump()

    runs = [
        [at(100.0, step(0, 9)), at(110.0, step(10, 1)), at(111.0, epoch(1, 0.5))],
        # The next run begins an hour later: that is no time of work.
        [at(4000.0, step(11, 1)), at(4009.0, step(20, 1)), at(4010.0, epoch(2, 0.6))],
    ]
    shown = charts.Shown("Net", palette.STUDENT, runs)
    (loss,) = charts.figures([shown])["loss"]["data"]
    assert loss["x"] == [0, 10, 11, 20]
    assert loss["customdata"] == [[0.0, 0.0], [1.0, 10.0], [1.1, 11.0], [2.0, 20.0]]


def test_without_a_choice_the_newest_are_offered(lab: Lab, client: httpx.Client) -> None:
    assert "There is no training yet." in page_of(client)
    training(lab, title="Mine")
    assert texts(page_of(client), "tbody th") == ["Mine"]


@pytest.mark.parametrize("count", [2, 9])
def test_what_cannot_be_compared_says_so(lab: Lab, client: httpx.Client, count: int) -> None:
    job = training(lab)
    page = page_of(client, *[job] * count, status=422)
    assert "up to 8 trainings, each once" in texts(page, '[role="alert"]')[0]
    result = evaluation([(an_id(), "Net")])
    other = add_job(lab, JobKind.EVALUATE, result.params, result=result, title="Measure")
    assert "“Measure” is no training." in page_of(client, other, status=422)
    assert "There is no such job." in page_of(client, an_id(), status=404)


def test_an_old_training_stays_chosen_and_others_are_found(
    lab: Lab, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_trainings, "_SHOWN", 2)
    oldest, old, *newer = (training(lab, title=f"Train {i}") for i in range(4))
    page = page_of(client, oldest)
    assert chosen(page, "job") == [oldest]
    assert attributes(page, "value", 'input[name="job"]') == [oldest, *reversed(newer)]
    address = attributes(page, "hx-get", 'input[type="search"]')[0]
    found = client.get(address, params={"job": oldest, "search": "TRAIN 1"}).text
    assert attributes(found, "value", 'input[name="job"]') == [oldest, old]
    assert chosen(found, "job") == [oldest]
    assert "No training is called so." in client.get(address, params={"search": "zzz"}).text
