"""The tables of jobs and of models: sorted, searched, filtered, and many rows changed at once."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import insert, select, update

from app.contracts.changes import JobChanges
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams, Recipe
from app.contracts.results import Accuracy, Light
from app.services import job_changes, jobs, models
from app.services.lab import Lab
from app.services.upkeep import reconcile
from app.store import jobs as store
from app.store.tables import MeasurementRow, ModelRow
from tests.plugins.families import succeed, take
from tests.plugins.statements import statements
from tests.web.examples import add_dataset, add_job, add_model, an_id, evaluation, train_params
from tests.web.measured import add_measured
from tests.web.parsing import attributes, parsed, text_of, texts

HOSTILE = "<script>alert(1)</script>\"'& {{ 7 * 7 }}"


def html(client: httpx.Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


def names(page: str) -> list[str]:
    return texts(page, 'tbody a[id^="open-"]')


def cell(page: str, name: str, head: str) -> str:
    """What the row of this name says in a column."""
    table = parsed(page).select_one("table.listing")
    assert table is not None
    heads = [text_of(each).rstrip("▲▼ ") for each in table.select("thead th")]
    for row in table.select("tbody tr"):
        cells = [text_of(each) for each in row.select("th, td")]
        if cells[1].startswith(name):
            return cells[heads.index(head)]
    raise AssertionError(f"no row is called {name}")


def link(page: str, id_: str) -> str:
    return attributes(page, "href", f"a#{id_}")[0]


def ended(lab: Lab, title: str, **values: Any) -> str:
    values = {"status": JobStatus.FAILED, "finished_at": time.time(), **values}
    return add_job(lab, JobKind.TRAIN, train_params(), title=title, **values)


def do(client: httpx.Client, path: str, **fields: Any) -> httpx.Response:
    return client.post(path, data=fields)


def test_jobs_are_sorted_by_a_click_on_a_head_and_back_by_another(
    lab: Lab, client: httpx.Client
) -> None:
    for name in ("b", "c", "A"):
        add_job(lab, JobKind.TRAIN, train_params(), title=name)
    page = html(client, link(html(client, "/jobs"), "sort-name"))
    assert names(page) == ["A", "b", "c"]
    assert attributes(page, "aria-sort", "th") == ["ascending"]
    assert names(html(client, link(page, "sort-name"))) == ["c", "b", "A"]


def test_what_has_no_figure_comes_last_in_either_order(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    add_job(lab, JobKind.TRAIN, train_params(), title="none")
    add_measured(lab, [(model, "Net", 80, 30)], title="weak")
    add_measured(lab, [(model, "Net", 80, 50)], title="strong")
    page = html(client, "/jobs?sort=robust")
    assert names(page) == ["strong", "weak", "none"]
    assert names(html(client, "/jobs?sort=robust&order=asc")) == ["weak", "strong", "none"]
    assert cell(page, "strong", "Robust").startswith("50.0 % 40.4–59.6 %")
    assert cell(page, "none", "Robust") == "–"


def test_trainings_are_sorted_by_the_figures_that_they_show(lab: Lab, client: httpx.Client) -> None:
    binned, gone, _ = (trained(lab, right) for right in (90, 80, 70))
    for model in (binned, gone):
        models.delete(lab, model)
    with lab.database.writing() as session:
        session.execute(update(ModelRow).where(ModelRow.id == gone).values(deleted_at=1.0))
    reconcile(lab)
    page = html(client, "/jobs?sort=clean")
    assert names(page) == ["90", "70", "80"]
    assert [cell(page, name, "Clean")[:4] for name in names(page)] == ["90.0", "70.0", "–"]


def trained(lab: Lab, right: int) -> str:
    """The model of a training, with so many of 100 held-out images right."""
    job = store.queued(JobKind.TRAIN, str(right), train_params())
    store.add(lab.database, job)
    succeed(lab.database, lab.files, take(lab.database, job.id), {"clean": right, "pgd": 0})
    with lab.database.reading() as session:
        return session.scalars(select(ModelRow.id).where(ModelRow.job_id == job.id)).one()


def test_of_several_models_the_most_robust_one_is_shown_and_said(
    lab: Lab, client: httpx.Client
) -> None:
    model = add_model(lab, add_dataset(lab))
    add_measured(lab, [(model, "Net", 90, 10), (an_id(), "Other", 80, 40)], title="two")
    page = html(client, "/jobs")
    assert cell(page, "two", "Clean").startswith("80.0 %")
    assert cell(page, "two", "Robust").endswith("best of 2")


def test_an_invalid_figure_is_crossed_out_ranks_last_and_is_no_models_best(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    model, other = add_model(lab, dataset, name="Masked"), add_model(lab, dataset, name="Sound")
    add_measured(lab, [(model, "Masked", 90, 70)], title="broken", light=Light.RED)
    add_measured(lab, [(other, "Sound", 80, 10)], title="sound", light=Light.GREEN)
    for page, column in (("/jobs", "Robust"), ("/models", "Test, robust")):
        table = html(client, f"{page}?sort=robust")
        first, last = names(table)
        assert cell(table, first, column).startswith("10.0 %")
        assert cell(table, last, column).startswith("70.0 % invalid")
        assert texts(table, "td s") == ["70.0 %"]
    with lab.database.writing() as session:  # the same job has a sound model too
        broken = session.scalars(select(MeasurementRow).where(MeasurementRow.robust == 70)).one()
        facts = {c.name: getattr(broken, c.name) for c in MeasurementRow.__table__.columns}
        more = facts | {"position": 1, "robust": 20, "light": Light.AMBER}
        session.execute(insert(MeasurementRow).values(more))
    assert cell(html(client, "/jobs"), "broken", "Robust").startswith("20.0 %")


def test_jobs_are_found_by_text_kind_state_recipe_dataset_and_tag(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    params = train_params(dataset=dataset, recipe=Recipe.PGD_AT)
    found = add_job(lab, JobKind.TRAIN, params, title="Train one")
    add_job(lab, JobKind.IMPORT, ImportParams(name="x"), title="Import 100%")
    ended(lab, "Train other")
    job_changes.change(lab, [found], JobChanges(note="for the table", tags=("paper",)))
    for query in (f"dataset={dataset}", "recipe=pgd_at", "tag=paper", "q=the+TABLE",
                  f"q={found[:9]}", "kind=train&status=queued", "q=one&kind=train"):  # fmt: skip
        assert names(html(client, f"/jobs?{query}")) == ["Train one"], query
    assert names(html(client, "/jobs?q=0%25")) == ["Import 100%"]
    assert "No job matches." in html(client, "/jobs?tag=nothing")


def test_children_of_ablations_stay_on_their_page(lab: Lab, client: httpx.Client) -> None:
    add_job(lab, JobKind.TRAIN, train_params(), title="child", parent_id=an_id())
    assert names(html(client, "/jobs")) == []


def test_columns_are_chosen_by_the_address(lab: Lab, client: httpx.Client) -> None:
    ended(lab, "Net")
    heads = texts(html(client, "/jobs?col=epochs&col=recipe"), "thead th a")
    assert [head.rstrip("▼ ") for head in heads] == ["Name", "Recipe", "Epochs"]


def test_every_link_of_a_view_keeps_the_rest_of_it(lab: Lab, client: httpx.Client) -> None:
    for i in range(60):
        ended(lab, f"Net {i}")
    page = html(client, "/jobs?q=Net&status=failed&col=state&page=2")
    for address in (link(page, "older"), link(page, "newer"), link(page, "sort-state")):
        asked = parse_qs(urlsplit(address).query)
        assert (asked["q"], asked["status"], asked["col"]) == (["Net"], ["failed"], ["state"])
    assert "Page 2 of 3, 60 jobs" in text_of(parsed(page).select("nav.pages")[0])
    assert "page" not in parse_qs(urlsplit(link(page, "newer")).query)


@pytest.mark.parametrize(
    "query",
    [
        "page=0", "kind=dance", "recipe=dance", "sort=beauty", "dataset=1", "order=up",
        "col=a&shelf=b", "q=" + "x" * 201,
    ],
)  # fmt: skip
def test_what_means_nothing_in_an_address_narrows_nothing(
    lab: Lab, client: httpx.Client, query: str
) -> None:
    ended(lab, "Net")
    add_model(lab, add_dataset(lab), name="Net")
    assert names(html(client, f"/jobs?{query}")) == ["Net"]
    assert names(html(client, f"/models?{query}")) == ["Net"]


def test_jobs_are_sorted_by_the_name_of_their_dataset(lab: Lab, client: httpx.Client) -> None:
    for title in ("Zoo", "ants"):
        ended(lab, title, dataset_id=add_dataset(lab, name=title))
    ended(lab, "none", dataset_id=None)
    page = html(client, link(html(client, "/jobs"), "sort-dataset"))
    assert names(page) == ["ants", "Zoo", "none"]
    assert names(html(client, link(page, "sort-dataset"))) == ["Zoo", "ants", "none"]


def test_empty_fields_of_the_form_say_nothing(lab: Lab, client: httpx.Client) -> None:
    ended(lab, "Net")
    assert names(html(client, "/jobs?q=&kind=&status=&recipe=&dataset=&tag=&sort=created")) == [
        "Net"
    ]


def test_a_part_that_is_fetched_tells_its_address_without_empty_fields(
    client: httpx.Client,
) -> None:
    asked = {"HX-Request": "true", "HX-Target": "listing"}
    answer = client.get("/jobs?q=a&kind=&page=1", headers=asked)
    assert answer.headers["HX-Push-Url"] == "/jobs?q=a"
    # Rows that are fetched anew leave no trace in the browser's history.
    again = client.get("/jobs", headers=asked | {"HX-Target": "rows"})
    assert "HX-Push-Url" not in again.headers
    assert "HX-Push-Url" not in client.get("/jobs").headers


@pytest.mark.parametrize(("action", "shelf"), [("delete", "bin"), ("archive", "archive")])
def test_chosen_jobs_are_moved_and_one_click_brings_them_back(
    lab: Lab, client: httpx.Client, action: str, shelf: str
) -> None:
    one, two = ended(lab, "one"), ended(lab, "two")
    ended(lab, "three")
    answer = do(client, "/jobs/selected", job=[one, two], action=action, back="sort=name")
    page = html(client, answer.headers["location"])
    assert names(page) == ["three"]
    moved = html(client, f"/jobs?shelf={shelf}")
    assert texts(moved, "tbody th") == ["two", "one"]
    assert (names(moved) == []) is (shelf == "bin")  # not linked there: they have no page
    undo = parsed(page).select_one("form.undo")
    assert undo is not None
    fields = {str(each["name"]): str(each["value"]) for each in undo.select("input")}
    answer = do(client, str(undo["action"]), **fields)
    assert answer.headers["location"] == "/jobs?sort=name"
    assert sorted(names(html(client, "/jobs"))) == ["one", "three", "two"]


def test_what_is_refused_says_why_and_changes_nothing(lab: Lab, client: httpx.Client) -> None:
    over, waiting = ended(lab, "over"), add_job(lab, JobKind.TRAIN, train_params(), title=HOSTILE)
    answer = do(client, "/jobs/selected", job=[over, waiting], action="delete", back="q=e")
    assert answer.status_code == 409
    said = texts(answer.text, '[role="alert"]')
    assert said == [f"“{HOSTILE}” is queued. Cancel it first. Nothing was changed."]
    assert jobs.get(lab, over).id == over


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Nothing is chosen."),
        ({"job": ["x"], "action": "delete"}, "no choice"),
        ({"job": [an_id()], "action": "dance"}, "no choice"),
        ({"job": [an_id()], "action": "tag"}, "There is no tag"),
        ({"job": [an_id()], "action": "archive"}, "There is no such job."),
        ({"job": [an_id() for _ in range(101)], "action": "archive"}, "no choice"),
        ({"job": [an_id()], "action": "tag", "tag": "a,b"}, "tag: must not contain commas"),
    ],
)
def test_a_form_that_means_nothing_says_so(
    client: httpx.Client, fields: dict[str, Any], said: str
) -> None:
    answer = do(client, "/jobs/selected", **fields)
    assert 400 <= answer.status_code < 500
    assert said in texts(answer.text, '[role="alert"]')[0]


def test_chosen_jobs_are_tagged_archived_and_cancelled(lab: Lab, client: httpx.Client) -> None:
    one = add_job(lab, JobKind.TRAIN, train_params(), title="one")
    two = ended(lab, "two")
    both = {"job": [one, two], "back": ""}
    do(client, "/jobs/selected", **both, action="tag", tag=" Paper ")
    assert [view.tags for view in jobs.several(lab, [one, two])] == [("paper",)] * 2
    do(client, "/jobs/selected", **both, action="untag", tag="paper")
    do(client, "/jobs/selected", **both, action="cancel")
    assert jobs.get(lab, one).status is JobStatus.CANCELLED
    again = do(client, "/jobs/selected", **both, action="cancel")
    assert "These jobs are over." in again.text
    do(client, "/jobs/selected", **both, action="archive")
    assert names(html(client, "/jobs")) == []
    assert sorted(names(html(client, "/jobs?shelf=archive"))) == ["one", "two"]
    do(client, "/jobs/selected", **both, action="unarchive")
    assert sorted(names(html(client, "/jobs"))) == ["one", "two"]


def test_chosen_jobs_go_to_the_comparison_of_their_kind(lab: Lab, client: httpx.Client) -> None:
    result = evaluation([(an_id(), "Net")])
    one, two = (add_job(lab, JobKind.EVALUATE, result.params, result=result) for _ in range(2))
    training = ended(lab, "Train")
    to = client.get("/jobs/compare", params={"job": [one, two], "back": "x"})
    assert to.headers["location"] == f"/compare?job={one}&job={two}"
    to = client.get("/jobs/compare", params={"job": training})
    assert to.headers["location"] == f"/compare/trainings?job={training}"
    mixed = {"job": [one, training], "back": "q=Train"}
    page = html_of(client.get("/jobs/compare", params=mixed))
    assert "Only evaluations can be compared" in texts(page, '[role="alert"]')[0]
    assert names(page) == ["Train"]  # the view that they were chosen in
    assert attributes(page, "value", "input[name=job][checked]") == [training]
    assert "Only evaluations" in html_of(client.get("/jobs/compare"))


def test_chosen_models_are_compared_by_their_latest_evaluations(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    one, two, new = (add_model(lab, dataset, name=name) for name in ("One", "Two", "New"))
    both = add_measured(lab, [(one, "One", 80, 40), (two, "Two", 80, 30)], at=1.0)
    later = add_measured(lab, [(two, "Two", 80, 35)])
    to = client.get("/models/compare", params={"models": [one, two]})
    assert to.headers["location"] == f"/compare?job={both}&job={later}"
    page = html_of(client.get("/models/compare", params={"models": [one, new], "back": ""}))
    assert "“New” was not evaluated yet." in texts(page, '[role="alert"]')[0]
    assert attributes(page, "value", "input[name=models][checked]") == [new, one]


def html_of(refused: httpx.Response) -> str:
    assert refused.status_code == 422
    return refused.text


def test_models_show_what_chose_them_and_what_measured_them(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    net = add_model(lab, dataset, name="Net", teacher=teacher)
    add_measured(lab, [(net, "Net", 80, 30)], at=1.0)
    add_measured(lab, [(net, "Net", 70, 20)], at=2.0)
    gone = add_measured(lab, [(net, "Net", 60, 10)], at=3.0)
    job_changes.delete(lab, gone)
    page = html(client, "/models?sort=robust")
    assert names(page) == ["Net", "Teacher"]
    assert cell(page, "Net", "Held out, PGD-10").startswith("31.0 %")
    assert cell(page, "Net", "Test, clean").startswith("70.0 %")
    assert cell(page, "Net", "Test, robust").endswith("8/255 (L∞)")
    assert names(html(client, "/models?recipe=agkd_bml")) == ["Net"]
    assert len(names(html(client, "/models?dataset=" + "0" * 64))) == 2


def test_chosen_models_are_evaluated_together_tagged_and_deleted(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    one, two = (add_model(lab, dataset, name=name) for name in ("one", "two"))
    page = html(client, "/models")
    assert "/evaluate" in attributes(page, "formaction", "button")
    do(client, "/models/selected", models=[one, two], action="tag", tag="base")
    assert names(html(client, "/models?tag=base")) == ["two", "one"]
    answer = do(client, "/models/selected", models=[one], action="delete", back="tag=base")
    assert names(html(client, answer.headers["location"])) == ["two"]
    do(client, "/models/selected", models=[one], action="restore", back="shelf=bin")
    assert models.get(lab, one).tags == ("base",)
    assert do(client, "/models/selected", models=[one], action="cancel").status_code == 422


@pytest.mark.parametrize("path", ["/jobs", "/models", "/board", "/compare/trainings"])
def test_a_page_asks_no_more_often_when_it_holds_more(
    lab: Lab, client: httpx.Client, path: str
) -> None:
    def fill(count: int) -> int:
        dataset = add_dataset(lab, name=an_id())
        for _ in range(count):
            model = add_model(lab, dataset)
            add_measured(lab, [(model, "Net", 80, 30)])
            ended(lab, "Train")
        client.get(path)
        with statements() as said:
            client.get(path)
        return len([one for one in said if one.startswith("SELECT")])

    assert fill(1) == fill(12)


def test_outside_text_is_shown_and_never_run(lab: Lab, client: httpx.Client) -> None:
    job = ended(lab, HOSTILE)
    note = JobChanges(note=HOSTILE, tags=("<b>",), name=HOSTILE[:80])
    job_changes.change(lab, [job], note)
    page = parsed(html(client, f"/jobs?q={'<script>'}"))
    row = page.select_one("tbody tr")
    assert row is not None
    assert HOSTILE[:80] in text_of(row)
    assert "<b>" in text_of(row)
    assert not page.select("tbody script, tbody b")


def test_held_out_figures_of_a_training_are_said_to_be_so(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    job = ended(lab, "Train", status=JobStatus.SUCCEEDED)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, teacher=teacher)
    with lab.database.writing() as session:
        session.execute(update(ModelRow).where(ModelRow.id == student).values(job_id=job))
    page = html(client, "/jobs")
    expected = Accuracy.of(31, 100)
    assert cell(page, "Train", "Robust") == f"{100 * expected.value:.1f} % 22.8–40.6 % held out"
