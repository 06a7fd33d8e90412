"""Pages of a lab that is empty, full, or given something hostile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from app.contracts.accounts import Role
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import EvaluateParams, ExplainParams, ImportParams
from app.contracts.results import (
    Accuracy,
    DatasetReport,
    ImportResult,
    Lineage,
)
from app.services import accounts
from app.services.lab import Lab
from app.store.showcase import pool
from app.web.pages.kinds import KINDS
from tests.web.examples import (
    CLASSES,
    add_dataset,
    add_job,
    add_model,
    an_id,
    brought_figures,
    evaluation,
    explanation,
    train_params,
)
from tests.web.parsing import attributes, chosen, live_models, parsed, text_of, texts, typed

_HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
_PAGES = (
    "/",
    "/train",
    "/ablation",
    "/evaluate",
    "/models",
    "/models?shelf=bin",
    "/datasets",
    "/live",
)


def _html(client: httpx.Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def _plain(html: str) -> str:
    return html.replace("&nbsp;", " ").replace("\N{NO-BREAK SPACE}", " ")


def _titles(html: str) -> list[str]:
    return texts(html, 'a[id^="open-"][href^="/jobs/"]')


def _steps(html: str) -> list[str]:
    """How far each of the first steps is."""
    return attributes(html, "class", "ol.steps > li")


@pytest.mark.parametrize("path", _PAGES)
def test_an_empty_lab_has_every_page(client: httpx.Client, path: str) -> None:
    html = _html(client, path)
    assert html.count("<h1>") == 1
    assert 'lang="en"' in html


def test_an_empty_lab_leads_a_newcomer(client: httpx.Client) -> None:
    html = _html(client, "/")
    assert _steps(html) == ["now", "later", "later", "later"]
    assert "Draw the shapes dataset" in html
    assert "Nothing has run yet." in html
    assert "The broker does not answer" in html


def test_the_first_steps_are_crossed_off_one_by_one(lab: Lab, client: httpx.Client) -> None:
    def steps() -> list[str]:
        return _steps(_html(client, "/"))

    dataset = add_dataset(lab)
    assert steps() == ["done", "now", "later", "later"]
    teacher = add_model(lab, dataset)
    assert steps() == ["done", "done", "now", "later"]
    add_model(lab, dataset, teacher=teacher)
    assert steps() == ["done", "done", "done", "now"]
    result = evaluation([(teacher, "Teacher")])
    add_job(lab, JobKind.EVALUATE, result.params, result=result)
    assert steps() == []


def test_no_step_is_left_where_all_are_done_but_a_student_of_ones_own(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    add_model(lab, dataset, origin="shipped")
    teacher = add_model(lab, dataset)
    explained = explanation(teacher)
    add_job(lab, JobKind.EXPLAIN, explained.params, result=explained)
    result = evaluation([(teacher, "Teacher")])
    add_job(lab, JobKind.EVALUATE, result.params, result=result)
    assert _steps(_html(client, "/")) == []


def test_pages_hold_no_inline_script_or_handler(lab: Lab, client: httpx.Client) -> None:
    for path in _filled(lab):
        page = parsed(_html(client, path))
        for script in page.select("script:not([src])"):
            assert script.get("type") == "application/json"
        for element in page.find_all(True):
            assert not any(name == "style" or name.startswith("on") for name in element.attrs)


def _filled(lab: Lab, name: str = "Plain") -> list[str]:
    """Pages of a lab in which every name is `name`."""
    dataset = add_dataset(lab, name=name, classes=(name, "other"), skipped=2,
                          skipped_examples=(name,), notes=(name,))  # fmt: skip
    teacher = add_model(lab, dataset, name=name, classes=(name, "other"))
    student = add_model(lab, dataset, name=name, teacher=teacher, classes=(name, "other"))
    result = evaluation([(teacher, name), (student, name)])
    measured = add_job(lab, JobKind.EVALUATE, result.params, result=result, title=name)
    about = DatasetReport(classes=(name,), image_size=32, train_images=1, test_images=1,
                          checksum="0", notes=(name,))  # fmt: skip
    imported = add_job(lab, JobKind.IMPORT, ImportParams(name=name), title=name,
                       result=ImportResult(dataset=dataset, report=about))  # fmt: skip
    failed = add_job(
        lab, JobKind.TRAIN, train_params(name=name, dataset=dataset), title=name,
        status=JobStatus.FAILED, finished_at=time.time(),
        failure={"title": name, "detail": name, "hint": name},
        progress={"done": 1, "total": 2, "phase": name, "eta_s": None},
    )  # fmt: skip
    running = add_job(
        lab, JobKind.TRAIN, train_params(name=name, dataset=dataset), title=name,
        status=JobStatus.RUNNING, started_at=time.time(), lease_until=time.time() + 1000,
        progress={"done": 1, "total": 2, "phase": name, "eta_s": 90.0},
    )  # fmt: skip
    explained = explanation(teacher, student, classes=(name, "other"), label=name)
    live = add_job(lab, JobKind.EXPLAIN, explained.params, result=explained, title=name)
    jobs = [f"/jobs/{job}" for job in (measured, imported, failed, running, live)]
    filled = [f"/live?job={live}", f"/train?from={failed}", f"/evaluate?from={measured}"]
    single = [f"/datasets/{dataset}", f"/models/{student}", f"/jobs/{running}/state"]
    return [*_PAGES, *jobs, *single, *filled]


def test_outside_text_is_shown_and_never_run(lab: Lab, client: httpx.Client) -> None:
    for path in _filled(lab, _HOSTILE):
        html = _html(client, path)
        assert "alert(1)" in html or path == "/models?shelf=bin"
        for script in parsed(html).select("script:not([src])"):
            assert script.get("type") == "application/json"
            assert "<" not in script.get_text()


@pytest.mark.parametrize(
    "path", ["/jobs/" + 32 * "0", "/models/" + 32 * "0", "/datasets/" + 32 * "0",
             "/datasets/" + 32 * "0" + "/samples/0.png", "/nowhere", "/live?job=" + 32 * "0",
             "/train?from=" + 32 * "0"],
)  # fmt: skip
def test_what_is_not_there_is_a_page_that_says_so(client: httpx.Client, path: str) -> None:
    assert "Error 404" in _html(client, path, 404)


def test_where_there_are_no_accounts_none_is_made_or_changed(
    lab: Lab, client: httpx.Client
) -> None:
    accounts.add(lab.database, "ada", "correct horse battery", Role.ADMIN)
    before = accounts.known(lab.database)
    for path, data in (
        ("", {"name": "eve", "role": "admin"}), ("/ada/role", {"role": "viewer"}),
        ("/ada/disable", {}), ("/ada/password", {}),
    ):  # fmt: skip
        assert client.post(f"/users{path}", data=data).status_code == 404, path
    assert accounts.known(lab.database) == before


@pytest.mark.parametrize(
    "path", ["/jobs/xyz", "/models/1", "/datasets/x", "/live?job=x", "/nowhere"]
)
def test_an_address_that_was_never_one_says_so_in_words(client: httpx.Client, path: str) -> None:
    html = _html(client, path, 404)
    assert "There is no page at this address." in html
    for said in ("pattern", "0-9a-f", "job_id", "API is described"):
        assert said not in html


def test_a_malformed_address_is_a_page_too(client: httpx.Client) -> None:
    assert "Error 422" in _html(client, "/datasets?page=0", 422)


def test_a_waiting_job_says_why_and_can_be_cancelled(lab: Lab, client: httpx.Client) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params())
    html = _html(client, f"/jobs/{job}")
    assert "The broker does not answer; the job is kept and sent later." in html
    answer = client.post(f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}")
    html = _html(client, f"/jobs/{job}")
    assert '<span class="state cancelled">' in html
    assert "/cancel" not in html
    assert "The job is over" in client.post(f"/jobs/{job}/cancel").text


def test_a_running_job_shows_progress_in_words(lab: Lab, client: httpx.Client) -> None:
    progress = {"done": 42, "total": 100, "phase": "epoch 2 of 6", "eta_s": 180.0}
    job = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.RUNNING,
                  progress=progress, started_at=time.time(), attempt=2,
                  lease_until=time.time() + 1000)  # fmt: skip
    html = _plain(_html(client, f"/jobs/{job}"))
    assert '<progress value="0.42" max="1"' in html
    assert "epoch 2 of 6" in html
    assert "42.0 % · 3 min left" in html
    assert "attempt 2" in html


def test_a_failed_job_says_why_and_never_claims_to_be_complete(
    lab: Lab, client: httpx.Client
) -> None:
    failure = {"title": "The job failed", "detail": "No memory.", "hint": "A smaller batch."}
    job = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED, failure=failure,
                  started_at=time.time() - 9, finished_at=time.time(),
                  progress={"done": 1, "total": 2, "phase": "epoch 1", "eta_s": 5.0})  # fmt: skip
    html = _plain(_html(client, f"/jobs/{job}"))
    assert "No memory." in html
    assert "A smaller batch." in html
    assert "Stopped at 50.0 %, epoch 1." in html
    assert "<progress" not in html


def test_only_what_left_a_checkpoint_can_go_on(lab: Lab, client: httpx.Client) -> None:
    ended = {"status": JobStatus.FAILED, "started_at": time.time() - 9}
    with_one, without = (
        add_job(lab, JobKind.TRAIN, train_params(), **ended, finished_at=time.time())
        for _ in range(2)
    )
    lab.files.checkpoints(with_one).mkdir()
    (lab.files.checkpoints(with_one) / "checkpoint.pt").touch()
    link = "/train?from={0}&amp;continue_from={0}"
    assert link.format(with_one) in _html(client, f"/jobs/{with_one}")
    assert link.format(without) not in _html(client, f"/jobs/{without}")
    form = _html(client, "/train")
    assert f'value="{with_one}"' in form
    assert f'value="{without}"' not in form


def test_an_evaluation_shows_every_figure_with_its_interval(lab: Lab, client: httpx.Client) -> None:
    result = evaluation([(add_model(lab, add_dataset(lab)), "Teacher")])
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    html = _plain(_html(client, f"/jobs/{job}"))
    figures = parsed(html).select("th[scope=row] + td.num:has(> br)")
    cells = [(td.find_previous_sibling("th").get_text(), next(td.strings)) for td in figures]
    assert cells == [("clean", "75.0 %"), ("4/255", "45.0 %"), ("8/255", "15.0 %"),
                     ("1", "30.0 %"), ("10", "20.0 %")]  # fmt: skip
    assert "68.6–80.5 %" in html  # Wilson at 150 of 200
    assert "n = 200" in html
    assert set(brought_figures(html)) == {"epsilon", "steps"}


@pytest.mark.parametrize("kind", JobKind)
def test_every_kind_of_job_has_a_page(kind: JobKind) -> None:
    shown = KINDS[kind]
    assert shown.noun
    assert not shown.form or shown.form in {*_PAGES, "/models/import"}


def test_the_record_says_where_the_stream_goes_on(lab: Lab, client: httpx.Client) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params())
    assert client.get(f"/jobs/{job}/record.json").json() == {
        "seq": 0, "figures": {}, "readings": {}, "log": [],
    }  # fmt: skip


def test_parameters_are_readable_and_can_be_used_again(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset, name="The teacher")
    params = train_params(dataset=dataset, recipe="agkd_bml", teacher=teacher, epsilon="6/255")
    job = add_job(lab, JobKind.TRAIN, params)
    html = _html(client, f"/jobs/{job}")
    assert f'<a href="/models/{teacher}">The teacher</a>' in html
    assert "6/255" in html
    form = _html(client, f"/train?from={job}")
    assert typed(form, "epsilon") == "6"
    assert chosen(form, "teacher") == [teacher]


def test_a_clean_job_does_not_list_what_only_students_have(lab: Lab, client: httpx.Client) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params())
    html = _html(client, f"/jobs/{job}")
    assert "Label smoothing" in html
    assert "Perturbation budget" not in html
    assert "MART" not in html


def test_a_model_has_its_card_and_its_ways_on(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, name="The student", teacher=teacher)
    params = EvaluateParams(models=(student,), dataset=dataset)
    add_job(lab, JobKind.EVALUATE, params, title="Its evaluation")
    other = EvaluateParams(models=(teacher,), dataset=dataset)
    add_job(lab, JobKind.EVALUATE, other, title="Another's evaluation")
    html = _plain(_html(client, f"/models/{student}"))
    for told in ("71.0 %", "31.0 %", "n = 100", "Best of 10 epochs.", "1.2 MB", "2" * 64,
                 f"/models/{teacher}", f"/datasets/{dataset}", ", ".join(CLASSES),
                 f"/api/models/{student}/weights",
                 f"/live?models={teacher}&amp;models={student}"):  # fmt: skip
        assert told in html
    assert _titles(html) == ["Its evaluation"]
    assert f"/train?recipe=agkd_bml&amp;teacher={teacher}" in _html(client, f"/models/{teacher}")


def test_a_deleted_model_can_be_restored(lab: Lab, client: httpx.Client) -> None:
    model = add_model(lab, add_dataset(lab), name="Gone")
    deleted = client.post(f"/models/{model}/delete").headers["location"]
    assert "Gone" not in _html(client, deleted)
    assert "Undo" in _html(client, deleted)
    assert "Bin (1)" in _html(client, "/models")
    assert "Gone" in _html(client, "/models?shelf=bin")
    _html(client, f"/models/{model}", 404)
    assert client.post(f"/models/{model}/restore").headers["location"] == f"/models/{model}"
    assert "Gone" in _html(client, "/models")


def test_a_model_in_use_is_not_deleted(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    add_job(lab, JobKind.EVALUATE, EvaluateParams(models=(model,), dataset=dataset))
    answer = client.post(f"/models/{model}/delete")
    assert answer.status_code == 409
    assert "Cancel the job, or wait for its end." in answer.text


def test_live_starts_from_the_newest_student_and_its_teacher(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset, name="Its teacher")
    add_model(lab, dataset, name="Another teacher")
    student = add_model(lab, dataset, name="Its student", teacher=teacher)
    assert live_models(_html(client, "/live")) == [teacher, student]
    assert live_models(_html(client, f"/live?models={student}&models={teacher}")) == [
        student, teacher,
    ]  # fmt: skip


def _measured(lab: Lab, dataset: str, share: float, **facts: Any) -> str:
    """A student that withstands AutoAttack in this share of images."""
    accuracy = Accuracy.of(round(100 * share), 100)
    of = Lineage(id=dataset, name="Pets", sha256="0" * 64)
    test = {"measure": "AutoAttack", "accuracy": accuracy.model_dump(), "dataset": of.model_dump()}
    return add_model(lab, dataset, test=[test], **facts)


def test_live_starts_from_the_pair_that_withstood_autoattack_best(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    best = _measured(lab, dataset, 0.3, teacher=teacher, origin="shipped")
    _measured(lab, dataset, 0.2, teacher=teacher)
    _measured(lab, dataset, 0.5, teacher=teacher, kept="last")
    _measured(lab, dataset, 0.6, params=None, origin="imported")
    unguided = train_params(dataset=dataset, recipe="pgd_at").model_dump(mode="json")
    _measured(lab, dataset, 0.4, params=unguided)
    add_model(lab, dataset, teacher=teacher)
    assert live_models(_html(client, "/live")) == [teacher, best]


def test_live_starts_from_a_pair_that_knows_the_pictures_classes(
    lab: Lab, client: httpx.Client
) -> None:
    pictured = sorted({picture.label for picture in pool()})
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset, classes=pictured)
    student = _measured(lab, dataset, 0.2, teacher=teacher, classes=pictured, origin="shipped")
    of_others = add_model(lab, dataset)
    _measured(lab, dataset, 0.9, teacher=of_others, origin="shipped")
    assert live_models(_html(client, "/live")) == [teacher, student]


def test_what_others_attacked_is_nobodys_choice(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    other, newest = (add_model(lab, dataset, teacher=teacher) for _ in range(2))
    add_job(lab, JobKind.EXPLAIN, ExplainParams(upload=an_id(), models=(other,)))
    assert live_models(_html(client, "/live")) == [teacher, newest]


def test_a_live_attack_that_failed_is_changed_and_tried_again(
    lab: Lab, client: httpx.Client
) -> None:
    params = ExplainParams(upload=an_id(), models=(add_model(lab, add_dataset(lab)),))
    job = add_job(lab, JobKind.EXPLAIN, params, status=JobStatus.FAILED)
    page = parsed(_html(client, f"/jobs/{job}"))
    (link,) = page.select(f'a[href="/live?job={job}"]')
    assert text_of(link) == "Change and try again"


def test_live_shows_an_earlier_job_with_its_own_settings(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    teacher, later = add_model(lab, dataset), add_model(lab, dataset)
    params = ExplainParams(upload=an_id(), models=(teacher, later), max_epsilon="12/255")
    job = add_job(lab, JobKind.EXPLAIN, params)
    html = _html(client, f"/live?job={job}")
    assert f'data-job="{job}"' in html
    assert typed(html, "max_epsilon") == "12"
    assert live_models(html) == [teacher, later]
    other = add_job(lab, JobKind.TRAIN, train_params())
    assert "no live attack" in _html(client, f"/live?job={other}", 422)


def test_a_deleted_model_in_an_old_job_is_named_as_such(lab: Lab, client: httpx.Client) -> None:
    gone = an_id()
    job = add_job(lab, JobKind.TRAIN, train_params(recipe="agkd_bml", teacher=gone))
    assert f"a deleted model ({gone[:8]})" in _html(client, f"/jobs/{job}")


@contextmanager
def _counted_queries() -> Iterator[list[str]]:
    """What requests ask the database meanwhile; the reconciler works in other threads."""
    asked: list[str] = []

    def note(*arguments: Any) -> None:
        if threading.current_thread().name.startswith("AnyIO"):
            asked.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    "path", ["/", "/models", "/datasets", "/train", "/ablation", "/evaluate", "/live"]
)
def test_a_page_asks_the_database_no_more_often_when_it_holds_more(
    lab: Lab, client: httpx.Client, path: str
) -> None:
    def fill(name: str) -> None:
        dataset = add_dataset(lab, name=name)
        teacher = add_model(lab, dataset)
        add_model(lab, dataset, teacher=teacher)
        result = evaluation([(teacher, "Teacher")])
        add_job(lab, JobKind.EVALUATE, result.params, result=result)
        add_job(lab, JobKind.IMPORT, ImportParams(name="x"))

    fill("Pets")
    with _counted_queries() as few:
        _html(client, path)
    for i in range(5):
        fill(f"Pets {i}")
    with _counted_queries() as many:
        _html(client, path)
    assert 0 < len(many) <= len(few)
