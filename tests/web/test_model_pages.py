"""Models of every origin: trained here (best and last), imported, and shipped with the lab."""

from __future__ import annotations

import html as html_module
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.contracts.jobs import JobKind
from app.contracts.params import Recipe, TrainParams
from app.contracts.results import Accuracy, ModelCard, TrainResult
from app.services import models
from app.services.lab import Lab
from app.store.tables import ModelRow
from app.web.forms.choices import known_models
from tests.web.examples import add_dataset, add_job, add_model, an_id, evaluation, train_params
from tests.web.parsing import links, live_models, parsed, texts

_UNKNOWN = {
    "params": None, "origin": "imported", "selection": "From net.pt <b>.", "epoch": 0,
    "validation_clean": None, "validation_robust": None, "teacher": None,
}  # fmt: skip


def _plain(page: str) -> str:
    return html_module.unescape(page).replace("\N{NO-BREAK SPACE}", " ")


def _tested(dataset: str, measure: str, hits: int, expected: float | None = None) -> dict[str, Any]:
    return {
        "measure": measure, "accuracy": Accuracy.of(hits, 100).model_dump(),
        "dataset": {"id": dataset, "name": "Pets", "sha256": "0" * 64}, "expected": expected,
    }  # fmt: skip


def _twins(lab: Lab) -> tuple[str, str, str]:
    """The models of one training, best and last, and its job."""
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    best = add_model(lab, dataset, name="Net", teacher=teacher)
    last = add_model(lab, dataset, name="Net (last)", teacher=teacher, kept="last", epoch=10)
    card = models.get(lab, best).card
    assert card.params is not None
    result = TrainResult(model=best, last=last, card=card)
    job = add_job(lab, JobKind.TRAIN, card.params, result=result)
    with lab.database.writing() as session:
        session.execute(update(ModelRow).where(ModelRow.id.in_([best, last])).values(job_id=job))
    return best, last, job


def test_a_teacher_that_the_lab_lacks_is_named_and_not_linked(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, name="Net", teacher=teacher)
    assert client.get(f"/models/{student}").text.count(f'href="/models/{teacher}"') == 2
    models.delete(lab, teacher)
    page = client.get(f"/models/{student}").text
    assert f'href="/models/{teacher}"' not in page
    assert "(not in this lab)" in page


def test_both_models_of_a_training_are_told_apart_and_linked(
    lab: Lab, client: httpx.Client
) -> None:
    best, last, job = _twins(lab)
    page = client.get(f"/jobs/{job}").text
    assert f'href="/models/{best}">Open the best model</a>' in page
    assert f'href="/models/{last}">The last epoch</a>' in page
    for model, badge, other in ((best, "best", last), (last, "last", best)):
        page = client.get(f"/models/{model}").text
        assert texts(page, f"h1 .badge.{badge}") == [badge]
        assert f'<a href="/models/{other}">' in page
    listed = client.get("/models").text
    assert texts(listed, ".badge[title]") == ["last", "best", "best"]


def test_why_a_training_is_no_success_stands_above_its_figures(
    lab: Lab, client: httpx.Client
) -> None:
    model = add_model(lab, add_dataset(lab), warnings=["It has learned <b>nothing</b>."])
    shown = parsed(client.get(f"/models/{model}").text).select("p.note.warn")
    assert [note.get_text() for note in shown] == ["It has learned <b>nothing</b>."]


def test_a_best_epoch_that_is_the_last_one_is_one_model(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    card = models.get(lab, model).card
    result = TrainResult(model=model, last=model, card=card)
    job = add_job(lab, JobKind.TRAIN, train_params(dataset=dataset), result=result)
    page = client.get(f"/jobs/{job}").text
    assert "It is also the last epoch" in page
    assert ">Open the model</a>" in page


def test_imported_weights_have_a_page_without_a_training(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    tested = [_tested(dataset, "clean", 90, 0.95), _tested(dataset, "PGD-20", 30, 0.5)]
    model = add_model(lab, dataset, name="Brought", **_UNKNOWN, test=tested)
    html = client.get(f"/models/{model}").text
    page = _plain(html)
    assert "Imported model" in page
    assert "From net.pt <b>." in page  # unescaped here; the page itself has it escaped
    assert "From net.pt &lt;b&gt;." in html
    assert "Trained with" not in page
    assert "On validation images" not in page
    rows = texts(html, "tr:has(> th[scope=row])")
    assert len(rows) == 2
    # Of 100 images, 90 right: Wilson's 95 % interval is 82.6 to 94.5 %.
    for text in ("clean", "90.0 %", "82.6–94.5 %", "100", "95.0 %", "outside the interval"):
        assert text in rows[0]
    assert "outside the interval" in rows[1]
    listed = _plain(client.get("/models").text)
    assert "imported</span>" in listed
    assert "not known" in listed


def test_an_expectation_that_was_met_says_nothing(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    tested = [_tested(dataset, "clean", 90, 0.9)]
    model = add_model(lab, dataset, **_UNKNOWN, test=tested)
    assert "outside the interval" not in client.get(f"/models/{model}").text


def test_a_shipped_model_shows_its_accuracies_and_how_it_was_trained(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    tested = [_tested(dataset, "AutoAttack", 25)]
    params = TrainParams(
        name="S", dataset=dataset, recipe="agkd_bml", teacher=an_id(), steps=7
    ).model_dump(mode="json")
    model = add_model(
        lab, dataset, origin="shipped", params=params, test=tested, precision="bfloat16"
    )
    page = _plain(client.get(f"/models/{model}").text)
    for text in ("shipped with the lab", "AGKD-BML-7", "AutoAttack", "25.0 %", "bfloat16"):
        assert text in page
    assert "Expected" not in page


@pytest.mark.parametrize(
    ("recipe", "steps", "name"),
    [("agkd_bml", 7, "AGKD-BML-7"), ("agkd_bml", 10, "AGKD-BML"), ("trades", 7, "TRADES"),
     ("pgd_at", 10, "PGD-AT"), ("clean", 7, "Clean")],
)  # fmt: skip
def test_recipes_are_called_as_in_papers(recipe: str, steps: int, name: str) -> None:
    teacher = None if recipe == "clean" else an_id()
    assert train_params(recipe=recipe, steps=steps, teacher=teacher).recipe_name == name


def test_forms_offer_models_by_what_they_are(lab: Lab) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    add_model(lab, dataset, name="Robust", teacher=teacher)
    add_model(lab, dataset, name="Brought", **_UNKNOWN)
    choices = {choice.label: choice for choice in known_models(lab).offer.choices}
    groups = {name: choice.group for name, choice in choices.items()}
    assert groups == {
        "Teacher": "Clean models", "Robust": "Robust models", "Brought": "Imported models",
    }  # fmt: skip
    assert choices["Robust"].help.startswith("AGKD-BML, wrn-10-2, Pets; validation: clean 71.0")
    assert "validation" not in choices["Brought"].help


def test_pages_take_models_of_unknown_training_everywhere(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset, name="Brought", **_UNKNOWN)
    assert ModelCard.model_validate(models.get(lab, model).card).recipe is None
    result = evaluation([(model, "Brought")])
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    running = add_job(lab, JobKind.EVALUATE, result.params)
    paths = ["/", "/models", "/train", "/evaluate", "/ablation", "/live", f"/jobs/{job}",
             f"/jobs/{job}/report.html", f"/jobs/{running}/record.json",
             f"/compare?job={job}"]  # fmt: skip
    for path in paths:
        assert client.get(path).status_code == 200, path


def test_the_live_page_begins_with_the_best_epoch_of_the_newest_student(
    lab: Lab, client: httpx.Client
) -> None:
    best, _, _ = _twins(lab)
    assert live_models(client.get("/live").text)[-1] == best
    assert models.get(lab, best).card.recipe is Recipe.AGKD_BML


def test_an_evaluation_is_found_behind_many_of_other_models(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    mine, other = add_model(lab, dataset), add_model(lab, dataset)
    measured, *_ = (
        add_job(lab, JobKind.EVALUATE, evaluation([(model, "Net")]).params, created_at=float(at))
        for at, model in enumerate([mine, *[other] * 60])
    )
    page = client.get(f"/models/{mine}").text
    assert set(links(page, "/jobs/")) == {f"/jobs/{measured}"}
