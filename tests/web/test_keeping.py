"""What a person keeps of one job, model or dataset, on its page: name, note, tags, pin, bin."""

from __future__ import annotations

import time

import httpx
import pytest
from sqlalchemy import update

from app.contracts.jobs import JobKind, JobStatus
from app.services import datasets, jobs
from app.services.lab import Lab
from app.store.tables import JobRow
from tests.web.examples import add_dataset, add_job, add_model, an_id, evaluation, train_params
from tests.web.measured import add_measured
from tests.web.parsing import attributes, chosen, errors, parsed, text_of, texts, typed


def html(client: httpx.Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


@pytest.fixture
def things(lab: Lab) -> dict[str, str]:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    add_model(lab, dataset, teacher=model)
    result = evaluation([(model, "Net")])
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result, finished_at=time.time())
    return {"jobs": job, "models": model, "datasets": dataset}


@pytest.mark.parametrize("kind", ["jobs", "models", "datasets"])
def test_a_page_shows_what_was_typed_and_offers_it_again(
    client: httpx.Client, things: dict[str, str], kind: str
) -> None:
    path = f"/{kind}/{things[kind]}"
    sent = {"name": "Mine <b>", "note": "Two\r\nlines & <i>", "tags": "Paper, , x "}
    assert client.post(f"{path}/change", data=sent).headers["location"] == path
    page = html(client, path)
    assert "Mine <b>" in texts(page, "h1")[0]
    assert texts(page, ".kept .tag") == ["paper", "x"]
    assert texts(page, ".kept-note") == ["Two lines & <i>"]
    assert typed(page, "tags") == "paper, x"
    assert typed(page, "name") == "Mine <b>"
    client.post(f"{path}/change", data={"archived": "true"})
    page = html(client, path)
    assert "In the archive" in page
    assert "Mine <b>" not in str(parsed(html(client, f"/{kind}")).select("table"))
    assert "Mine" in str(parsed(html(client, f"/{kind}?shelf=archive")).select("table"))


@pytest.mark.parametrize("kind", ["jobs", "models", "datasets"])
def test_a_click_deletes_and_another_undoes(
    client: httpx.Client, things: dict[str, str], kind: str
) -> None:
    path = f"/{kind}/{things[kind]}"
    answer = client.post(f"{path}/delete")
    assert answer.status_code == 303
    page = html(client, answer.headers["location"])
    html(client, path, 404)
    undo = parsed(page).select_one("form.undo")
    assert undo is not None
    fields = {str(each["name"]): str(each["value"]) for each in undo.select("input")}
    assert client.post(str(undo["action"]), data=fields).status_code == 303
    html(client, path)


def test_what_else_would_suffer_is_said_before(
    client: httpx.Client, things: dict[str, str]
) -> None:
    model = html(client, f"/models/{things['models']}")
    assert "It is the teacher of 1 model." in model
    assert "2 models were trained on it" in html(client, f"/datasets/{things['datasets']}")


def test_a_name_that_is_taken_is_refused_in_words(lab: Lab, client: httpx.Client) -> None:
    add_dataset(lab, name="Taken")
    other = add_dataset(lab, name="Other")
    answer = client.post(f"/datasets/{other}/change", data={"name": "Taken"})
    assert answer.status_code == 422
    assert "There is a dataset named “Taken” already." in answer.text
    assert datasets.get(lab, other).name == "Other"
    assert client.post(f"/datasets/{other}/change", data={"tags": "a" * 41}).status_code == 422


def test_only_what_is_over_offers_to_be_deleted(lab: Lab, client: httpx.Client) -> None:
    waiting = add_job(lab, JobKind.TRAIN, train_params())
    assert f"/jobs/{waiting}/delete" not in attributes(html(client, f"/jobs/{waiting}"), "action")
    over = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED)
    assert f"/jobs/{over}/delete" in attributes(html(client, f"/jobs/{over}"), "action")


def test_an_evaluation_is_pinned_and_named_where_it_is_asked_for(
    lab: Lab, client: httpx.Client, things: dict[str, str]
) -> None:
    path = f"/jobs/{things['jobs']}"
    client.post(f"{path}/change", data={"pinned": "true"})
    assert jobs.get(lab, things["jobs"]).pinned_at is not None
    assert "pinned" in html(client, "/jobs")
    sent = {"models": things["models"], "dataset": things["datasets"], "called": " Table 2 "}
    answer = client.post("/evaluate", data=sent)
    job = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/"))
    assert (job.title, job.does) == ("Table 2", "Evaluate Teacher on Pets")
    page = html(client, f"/jobs/{job.id}")
    assert texts(page, "h1") == ["Table 2"]
    assert "Evaluate Teacher on Pets" in page


def test_a_wrong_name_keeps_what_was_typed(client: httpx.Client, things: dict[str, str]) -> None:
    sent = {"models": things["models"], "dataset": things["datasets"], "called": "x" * 81}
    answer = client.post("/evaluate", data=sent)
    assert answer.status_code == 422
    assert "called" in errors(answer.text)
    assert things["models"] in attributes(answer.text, "value", "input[checked]")


def test_a_model_without_images_says_which_are_needed(lab: Lab, client: httpx.Client) -> None:
    model = add_model(lab, an_id())
    page = html(client, f"/evaluate?models={model}")
    said = text_of(parsed(page).select_one(".note.warn") or parsed(page))
    assert "There is no dataset yet" in said
    assert "cat, dog, ship" in said
    add_dataset(lab, name="Ships", classes=("liner", "sail"), checksum="9" * 64)
    page = html(client, f"/evaluate?models={model}")
    said = text_of(parsed(page).select_one(".note.warn") or parsed(page))
    assert "No dataset here has the classes and the size of “Teacher”" in said
    fits = add_dataset(lab, name="Pets", checksum="8" * 64)
    for number in range(101):  # more than a form lists, and all newer
        add_dataset(lab, name=f"Dataset {number}", classes=("liner", "sail"), checksum="9" * 64)
    page = html(client, f"/evaluate?models={model}")
    assert not parsed(page).select(".note.warn")
    assert chosen(page, "dataset") == [fits]


def test_datasets_come_in_pages_and_a_chosen_one_is_never_missing(
    lab: Lab, client: httpx.Client
) -> None:
    first = add_dataset(lab, name="The first")
    for number in range(101):
        add_dataset(lab, name=f"Dataset {number}")
    assert "Page 1 of 5, 102 datasets" in text_of(parsed(html(client, "/datasets")))
    assert "The first" in html(client, "/datasets?page=5")
    assert "The first" not in html(client, "/train")
    page = html(client, f"/train?dataset={first}")
    assert attributes(page, "value", 'select[name="dataset"] option[selected]') == [first]
    assert "The first" in html(client, "/train?search.dataset=first")


def test_what_is_expected_stands_beside_what_it_took(lab: Lab, client: httpx.Client) -> None:
    params = train_params()
    over = add_job(lab, JobKind.TRAIN, params, status=JobStatus.SUCCEEDED, started_at=0.0,
                   finished_at=2400.0, expected_s=2700.0)  # fmt: skip
    waits = add_job(lab, JobKind.TRAIN, params, expected_s=2700.0)
    said = text_of(parsed(html(client, f"/jobs/{over}/state")))
    assert "took 40 min, expected about 45 min" in said
    assert "takes about 45 min" in text_of(parsed(html(client, f"/jobs/{waits}/state")))


def test_the_form_says_what_the_measured_speed_says(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    sent = {"models": model, "dataset": dataset, "images": "6", "epsilons": "0, 4, 8",
            "step_counts": "1, 10"}  # fmt: skip
    assert "once a job like it has run" in client.post("/evaluate/estimate", data=sent).text
    job = add_measured(lab, [(model, "Net", 80, 40)])
    with lab.database.writing() as session:
        timed = update(JobRow).where(JobRow.id == job)
        session.execute(timed.values(started_at=0.0, finished_at=6000.0))
    said = text_of(parsed(client.post("/evaluate/estimate", data=sent).text))
    assert "About 6 min of work on cpu, as an earlier job like it took" in said
    assert client.post("/evaluate/estimate", data={}).text.strip() == ""
