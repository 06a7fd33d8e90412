"""Ablations: a form that counts, a page that fills in, and figures that keep their labels."""

from __future__ import annotations

import html as html_module
from typing import Any

import httpx
import plotly.graph_objects as go
import pytest

from app.ablations import lifecycle
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import TRAINING_PRESETS, AblationParams, Recipe
from app.contracts.results import AblationTable, Accuracy, Measure
from app.services import ablations as service
from app.services import jobs
from app.services.lab import Lab
from app.web.charts import palette
from app.web.charts.ablation import every_seed
from app.web.forms.pairs import read_pairs, typed_pairs
from app.web.pages.ablation import AblationView, ablation_view
from tests.plugins.families import children_of, fail, run_all, succeed, take
from tests.web.examples import CLASSES, add_dataset, add_model, an_id, brought_figures
from tests.web.parsing import attributes, chosen, errors, links, parsed, text_of, texts, typed

_HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"


def _plain(text: str) -> str:
    return html_module.unescape(text).replace("\N{NO-BREAK SPACE}", " ")


def _form(lab: Lab, **changes: Any) -> dict[str, Any]:
    """What a browser sends for two recipes and two seeds."""
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    return {
        "name": "Nets", "recipes": ["pgd_at", "agkd_bml"], "seeds": "0, 1",
        "grid.of": ["steps", ""], "grid.is": ["3, 7", ""], "own.of": ["pgd_at"],
        "own.is": ["label_smoothing=0, epsilon=6"], "training.dataset": dataset,
        "training.teacher": teacher, "training.epochs": "2", "training.epsilon": "8",
        "measure": ["false", "true"], "measure.images": "50", "measure.cw": "false", **changes,
    }  # fmt: skip


def _ablation(lab: Lab, **changes: Any) -> str:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    values = {"name": "Nets", "recipes": ("clean", "agkd_bml"), "seeds": (0, 1),
              "training": {"name": "x", "dataset": dataset, "teacher": teacher,
                           "recipe": "agkd_bml"}}  # fmt: skip
    params = AblationParams.model_validate({**values, **changes})
    return jobs.submit(lab, JobKind.ABLATION, params).id


def _table(lab: Lab, job: str) -> AblationTable:
    return service.get(lab, job).table


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("steps: 3, 7", {"steps": [3, 7]}),
        ("epsilon: 4, 8.5", {"epsilon": ["4/255", "8.5/255"]}),
        ("epsilon: 8/255", {"epsilon": ["8/255"]}),
        ("mart: on, off", {"mart": [True, False]}),
        ("architecture: wrn-10-1, wrn-10-2", {"architecture": ["wrn-10-1", "wrn-10-2"]}),
        ("pgd_at: epsilon=4, mart=off, margin=0.1",
         {"pgd_at": {"epsilon": "4/255", "mart": False, "margin": 0.1}}),
    ],
)  # fmt: skip
def test_typed_lines_mean_values(line: str, meaning: dict[str, Any]) -> None:
    assert read_pairs([line]) == meaning
    assert read_pairs(typed_pairs(meaning)) == meaning


def test_a_name_in_two_lines_has_the_values_of_both() -> None:
    assert read_pairs(["steps: 3", "steps: 7, 10"]) == {"steps": [3, 7, 10]}
    assert read_pairs(["steps: 3", "steps: a=7"]) == {"steps": {"3": "", "a": 7}}


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1e999", "9" * 400, "9" * 5000, "[" * 5000, '"8"', "null"]
)
def test_what_is_no_number_stays_as_it_was_typed(text: str) -> None:
    assert read_pairs([f"steps: {text}"]) == {"steps": [text]}


def test_an_ablation_is_started_from_the_form(lab: Lab, client: httpx.Client) -> None:
    sent = _form(lab)
    answer = client.post("/ablation", data=sent)
    assert answer.status_code == 303, answer.text
    job = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/"))
    params = AblationParams.model_validate(job.params)
    assert params.recipes == (Recipe.PGD_AT, Recipe.AGKD_BML)
    assert (params.seeds, params.grid) == ((0, 1), {"steps": (3, 7)})
    assert params.own == {Recipe.PGD_AT: {"label_smoothing": 0, "epsilon": "6/255"}}
    assert params.training.dataset == sent["training.dataset"]
    assert params.measure is not None
    assert (params.measure.images, params.measure.cw) == (50, False)
    assert job.children == 8
    again = client.get(f"/ablation?from={job.id}").text
    assert "3, 7" in attributes(again, "value", '[name="grid.is"]')
    assert "steps" in chosen(again, "grid.of")
    assert "label_smoothing=0, epsilon=6" in attributes(again, "value", '[name="own.is"]')


def test_a_method_is_taken_apart_from_the_form(lab: Lab, client: httpx.Client) -> None:
    page = client.get("/ablation?design=parts").text
    assert chosen(page, "design") == ["parts"]
    # What a browser leaves out: the fields of a grid are hidden.
    hidden = ("recipes", "grid.of", "grid.is", "own.of", "own.is")
    sent = {k: v for k, v in _form(lab, design="parts").items() if k not in hidden}
    said = text_of(parsed(client.post("/ablation/plan", data=sent).text))
    assert ": 8 rows × 2 seeds, 32 epochs in all; then 16 evaluations" in said
    assert "PGD-AT, no smoothing · + smoothing 0.5 ·" in said
    answer = client.post("/ablation", data=sent)
    assert answer.status_code == 303, answer.text
    job = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/"))
    assert (job.params["design"], job.params["recipes"], job.children) == ("parts", [], 16)
    again = client.get(f"/ablation?from={job.id}").text
    assert chosen(again, "design") == ["parts"]


def test_smoothing_that_nobody_typed_is_that_of_each_recipe(lab: Lab, client: httpx.Client) -> None:
    (field,) = parsed(client.get("/ablation").text).select('[name="training.label_smoothing"]')
    assert (field["value"], field.get("required")) == ("", None)
    sent = _form(lab, **{"own.of": [""], "own.is": [""]})
    for entry, expected in (("", {0.0, 0.5}), ("0.3", {0.3})):
        answer = client.post("/ablation", data=sent | {"training.label_smoothing": entry})
        job = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/"))
        trained = AblationParams.model_validate(job.params).trainings()
        assert {planned.params.label_smoothing for planned in trained} == expected


def test_nothing_needs_to_be_measured(lab: Lab, client: httpx.Client) -> None:
    sent = _form(lab, measure="false")
    job = client.post("/ablation", data=sent).headers["location"].removeprefix("/jobs/")
    assert jobs.get(lab, job).params["measure"] is None
    assert chosen(client.get(f"/ablation?from={job}").text, "measure") == []


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"grid.is": ["0, 7", ""]}, "grid", "steps"),
        ({"grid.is": ["", ""]}, "grid", "at least one value"),
        ({"grid.of": ["trades_beta", ""]}, "grid", "none of the recipes"),
        ({"grid.of": ["steps", "steps"], "grid.is": ["3", "a=1"]}, "grid", "must be values"),
        ({"grid.is": ["[" * 5000, ""]}, "grid", "steps"),
        ({"own.is": ["label_smoothing"]}, "own", "must be settings such as steps=7"),
        ({"own.of": ["pgd_at"] * 2, "own.is": ["3", "steps=7"]}, "own", "no training parameter"),
        ({"recipes": []}, "recipes", "must be chosen"),
        ({"seeds": "1, 1"}, "seeds", "each one once"),
        ({"training.teacher": ""}, "training-teacher", "needs one"),
        ({"training.epsilon": "99"}, "training-epsilon", "must be above 0, at most 64 (/255)"),
        (
            {"training.architecture": "preactresnet-18"},
            "training-start_from_teacher",
            "cannot start",
        ),
        ({"name": " "}, "name", "must be given"),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_nothing_is_lost(
    lab: Lab, client: httpx.Client, changes: dict[str, Any], field: str, says: str
) -> None:
    answer = client.post("/ablation", data=_form(lab, **changes))
    assert answer.status_code == 422
    assert says in _plain(errors(answer.text)[f"field-{field}"])
    assert typed(answer.text, "measure.images") == "50"
    assert jobs.page(lab, kinds=[JobKind.ABLATION]).total == 0


def test_the_form_begins_with_the_papers_recipes_and_a_teacher(
    lab: Lab, client: httpx.Client
) -> None:
    teacher = add_model(lab, add_dataset(lab))
    page = client.get("/ablation").text
    assert chosen(page, "recipes") == ["clean", "pgd_at", "sml", "agkd", "bml", "agkd_bml"]
    assert chosen(page, "training.teacher") == [teacher]
    assert "Ablate</a>" in page
    presets = links(page, "/ablation?")
    assert len(presets) == len(TRAINING_PRESETS)
    quick = client.get(presets[2]).text
    assert (typed(quick, "training.steps"), typed(quick, "training.step_size")) == ("3", "4")


@pytest.mark.parametrize(
    "report", [{"train_images": 0}, {"classes": CLASSES[::-1]}, {"classes": CLASSES[:2]}]
)
def test_no_teacher_is_suggested_that_nothing_can_be_trained_with(
    lab: Lab, client: httpx.Client, report: dict[str, Any]
) -> None:
    teacher = add_model(lab, an_id())
    add_dataset(lab, checksum="9" * 64, **report)
    assert teacher not in chosen(client.get("/ablation").text, "training.teacher")
    add_dataset(lab, name="Pets to train on", checksum="8" * 64)
    assert teacher in chosen(client.get("/ablation").text, "training.teacher")


def test_a_dataset_for_evaluation_alone_hides_none_that_can_be_trained_on(
    lab: Lab, client: httpx.Client
) -> None:
    teacher = add_model(lab, an_id())
    trainable = add_dataset(lab, name="Both")
    add_dataset(lab, name="Tests", train_images=0)
    page = client.get("/ablation").text
    assert chosen(page, "training.teacher") == [teacher]
    assert chosen(page, "training.dataset") == [trainable]


def test_the_suggested_teacher_fits_a_dataset_of_the_lab(lab: Lab, client: httpx.Client) -> None:
    def suggested() -> list[str]:
        page = client.get("/ablation").text
        found = chosen(page, "training.dataset") + chosen(page, "training.teacher")
        return [value for value in found if value]

    accurate = Accuracy.of(99, 100).model_dump()
    stranger = add_model(lab, an_id(), classes=("one", "two"), validation_clean=accurate)
    dataset = add_dataset(lab, checksum="9" * 64)
    assert suggested() == [dataset]
    shipped = add_model(lab, dataset, origin="shipped", validation_clean=accurate)
    assert suggested() == [dataset, shipped]
    own = add_model(lab, dataset)
    assert suggested() == [dataset, own]
    assert stranger not in suggested()


def test_trainings_are_counted_while_one_types(lab: Lab, client: httpx.Client) -> None:
    sent = _form(lab)

    def fragment(**changes: Any) -> str:
        answer = client.post("/ablation/plan", data=sent | changes)
        assert answer.status_code == 200
        assert "<html" not in answer.text
        return answer.text

    def plan(**changes: Any) -> str:
        return text_of(parsed(fragment(**changes)))

    # PGD-AT and AGKD-BML with 3 and 7 steps, two seeds, two epochs each.
    assert "8 trainings : 4 rows × 2 seeds, 16 epochs in all" in plan()
    assert "8 evaluations on 50 test images each, with AutoAttack" in plan()
    assert "PGD-AT, steps 3 · PGD-AT, steps 7 · AGKD-BML, steps 3" in plan()
    assert "evaluation" not in plan(measure="false")
    assert "1 training : 1 row × 1 seed" in plan(
        recipes=["clean"], seeds="5", **{"grid.of": [], "grid.is": [], "own.of": [], "own.is": []}
    )
    assert "8 trainings" in plan(name="", **{"training.dataset": ""})
    assert len(texts(fragment(**{"training.epochs": "100"}), ".note.warn")) == 1
    assert "cannot be said yet: Seeds: must be given" in plan(seeds="")
    assert "Epochs: must be a whole number" in plan(**{"training.epochs": "two"})
    assert "at most 200" in plan(
        seeds=", ".join(map(str, range(50))), **{"grid.is": ["1, 2, 3", ""]}
    )


def test_an_ablation_that_has_just_begun_says_what_is_coming(
    lab: Lab, client: httpx.Client
) -> None:
    job = _ablation(lab)
    page = _plain(client.get(f"/jobs/{job}").text)
    assert "No figures yet." in page
    assert f'hx-get="/jobs/{job}/ablation"' in page
    assert page.count('class="state queued"') == 1 + 4  # its own, and its trainings'
    assert "and all of its jobs that are not over?" in page
    assert client.get(f"/jobs/{job}/record.json").json()["figures"] == {}


def test_a_finished_table_has_means_deviations_and_what_is_reported(
    lab: Lab, client: httpx.Client
) -> None:
    job = _ablation(lab)
    for number, child in enumerate(children_of(lab.database, job)):
        shares = {"clean": 90, "pgd": 40 + number}
        succeed(lab.database, lab.files, take(lab.database, child.id), shares)
    lifecycle.advance(lab.database, lab.files, job)
    run_all(lab.database, lab.files, job)
    page = _plain(client.get(f"/jobs/{job}").text)
    (identity,) = (
        found
        for found in parsed(page).select("tr:not(.reported) > th[scope=row] > .identity")
        if found.get_text().startswith("AGKD-BML")
    )
    assert identity["style"] == f"--hue: {Recipe.AGKD_BML.record.hue}"
    row = identity.find_parent("tr")
    cells = [text_of(cell) for cell in row.select("td.num")]
    columns = [column.name for column in _table(lab, job).columns]
    # Seeds of the student had 42 and 43 of 100: mean 42.5, deviation sqrt(0.5).
    assert "42.5 %" in cells[columns.index("PGD-10, validation")]
    assert "± 0.7 %" in cells[columns.index("PGD-10, validation")]
    assert "30.0 %" in cells[columns.index("PGD-20")]
    assert texts(page, "tr.reported") == []  # ten steps: the paper tells of none so trained
    assert "their source does not tell: AGKD-BML; under PGD-20 71.0 %." in page
    assert "other network, data and training than here" in page
    assert not parsed(page).select("[data-pace]"), "nothing is fetched anew"
    for address in (f"/api/jobs/{job}/ablation", f"/api/jobs/{job}/ablation.csv"):
        assert f'href="{address}"' in page
        assert client.get(address).status_code == 200
    child = _table(lab, job).rows[0].children[0]
    for linked in (child.training, child.evaluation):
        assert f'href="/jobs/{linked}"' in page
        above = parsed(client.get(f"/jobs/{linked}").text).select_one("nav.crumbs")
        assert above.find("a", string="Ablation", href=f"/jobs/{job}")


def test_what_each_row_changes_stands_in_a_table_of_its_own(lab: Lab, client: httpx.Client) -> None:
    job = _ablation(lab, design="steps", recipes=(), seeds=(0,))
    for child in children_of(lab.database, job):
        succeed(lab.database, lab.files, take(lab.database, child.id))
    lifecycle.advance(lab.database, lab.files, job)
    assert not parsed(client.get(f"/jobs/{job}").text).select("#contrasts")
    for number, child in enumerate(children_of(lab.database, job, JobStatus.QUEUED)):
        shares = {"clean": 90, "fgsm": 60, "pgd": 50, "cw": 45, "aa": 40 - 10 * number}
        succeed(lab.database, lab.files, take(lab.database, child.id), shares)
        lifecycle.advance(lab.database, lab.files, job)
    page = _plain(client.get(f"/jobs/{job}").text)
    table = parsed(page).select_one("table.contrasts")
    head = [text_of(cell) for cell in table.select("thead th")]
    assert head == ["Row", "stand under PGD-20", "and CW-20", "and AutoAttack", "fall in between"]
    first, second = (
        [text_of(cell) for cell in row.select("th, td")] for row in table.select("tbody tr")[:2]
    )
    assert first == ["AGKD-BML, 1 step", "50.0 %", "45.0 %", "40.0 %", "10.0 %"]
    assert second[0].endswith("beside “AGKD-BML, 1 step”")
    assert second[3].startswith("30.0 % −10.0 −")
    assert second[4].startswith("20.0 % +10.0 +")
    contrasts = client.get(f"/api/jobs/{job}/ablation/contrasts").json()
    assert [contrast["beside"] for contrast in contrasts] == [None, 0, 1, 2, 3]
    assert "With training steps that their source does not tell: AGKD-BML; under PGD-20" in page


def test_a_failed_child_says_why_and_the_others_go_on(lab: Lab, client: httpx.Client) -> None:
    job = _ablation(lab)
    first, second, *_ = children_of(lab.database, job)
    fail(lab.database, take(lab.database, first.id), f"It broke {_HOSTILE}.")
    succeed(lab.database, lab.files, take(lab.database, second.id))
    lifecycle.advance(lab.database, lab.files, job)
    fragment = client.get(f"/jobs/{job}/ablation").text
    assert "<html" not in fragment
    assert "It broke &lt;script&gt;" in fragment
    assert "90.0" in fragment
    assert "n&nbsp;=&nbsp;1" in fragment
    assert list(brought_figures(fragment)) == ["seeds"]
    assert jobs.get(lab, job).status is JobStatus.RUNNING


def test_cancelling_from_the_page_ends_all(lab: Lab, client: httpx.Client) -> None:
    job = _ablation(lab)
    assert client.post(f"/jobs/{job}/cancel").status_code == 303
    assert {child.status for child in children_of(lab.database, job)} == {JobStatus.CANCELLED}
    assert "No training has left a figure." in client.get(f"/jobs/{job}").text


def test_the_first_page_lists_the_ablation_and_not_its_jobs(lab: Lab, client: httpx.Client) -> None:
    job = _ablation(lab)
    page = client.get("/").text
    assert attributes(page, "id", 'a[id^="open-"]') == [f"open-{job}"]
    assert "4 jobs" in page


def test_another_kind_of_job_has_no_table(lab: Lab, client: httpx.Client) -> None:
    child = children_of(lab.database, _ablation(lab))[0].id
    assert "is no ablation" in client.get(f"/jobs/{child}/ablation").text


def test_a_refresh_makes_the_table_once(
    lab: Lab, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = service.get

    def table(lab: Lab, job_id: str) -> service.Ablation:
        made.append(job_id)
        return original(lab, job_id)

    job = _ablation(lab)
    monkeypatch.setattr("app.services.ablations.get", table)
    page = client.get(f"/jobs/{job}").text
    assert client.get(f"/jobs/{job}/record.json").status_code == 200
    assert made == [job]
    for address in attributes(page, "hx-get"):
        assert client.get(address).status_code == 200
    assert made == [job, job]


def test_outside_text_stays_text(lab: Lab, client: httpx.Client) -> None:
    job = _ablation(lab, name=_HOSTILE)
    for path in (f"/jobs/{job}", f"/ablation?from={job}", "/"):
        page = client.get(path).text
        assert "alert(1)" in page
        assert "<script>alert" not in page


def test_the_chart_has_a_point_for_every_seed_and_a_line_for_every_mean(lab: Lab) -> None:
    job = _ablation(lab)
    assert every_seed(_table(lab, job)) is None
    run_all(lab.database, lab.files, job)
    figure = every_seed(_table(lab, job))
    assert figure is not None
    go.Figure(figure)  # raises ValueError for what it does not know
    by_name: dict[str, list[dict[str, Any]]] = {}
    for trace in figure["data"]:
        by_name.setdefault(trace["name"], []).append(trace)
    legend, points = by_name["PGD-20"]
    assert legend["x"] == [None]
    assert points["x"] == [0.3] * 4
    assert points["marker"]["color"] == [palette.TEACHER] * 2 + [palette.STUDENT] * 2
    assert points["marker"]["symbol"].endswith("open")
    assert by_name["clean"][0]["marker"]["symbol"] == "circle"
    (means,) = by_name["PGD-20, mean"]
    assert means["x"] == pytest.approx([0.3, 0.3])
    assert [row["text"] if isinstance(row, dict) else row
            for row in figure["layout"]["yaxis"]["ticktext"]] == ["Clean", "AGKD-BML"]  # fmt: skip


def test_validation_figures_are_drawn_until_there_are_others(lab: Lab) -> None:
    job = _ablation(lab)
    succeed(lab.database, lab.files, take(lab.database, children_of(lab.database, job)[0].id))
    lifecycle.advance(lab.database, lab.files, job)
    figure = every_seed(_table(lab, job))
    assert figure is not None
    assert {trace["name"] for trace in figure["data"] if trace.get("showlegend")} == {
        "clean, validation", "PGD-10, validation",
    }  # fmt: skip


def test_every_recipe_has_a_colour_of_its_own() -> None:
    assert len({recipe.record.hue for recipe in Recipe}) == len(Recipe)


def _view(lab: Lab, **changes: Any) -> AblationView:
    job = _ablation(lab, **changes)
    found = service.get(lab, job)
    return ablation_view(AblationParams.model_validate(found.job.params), found.table)


def test_what_the_paper_reports_stands_beside_the_same_steps_and_attack(lab: Lab) -> None:
    view = _view(lab, grid={"steps": (3, 7)})
    assert [row.label for row in view.rows] == ["Clean", "AGKD-BML, steps 3", "AGKD-BML, steps 7"]
    assert [row.reported is not None for row in view.rows] == [False, False, True]
    (reported,) = (row.reported for row in view.rows if row.reported is not None)
    measures = [column.measure for column in view.columns]
    assert reported.values[measures.index(Measure.PGD)] is None  # its steps are not told
    assert reported.values[measures.index(Measure.AUTOATTACK)] == 0.5059
    assert view.untold.replace("\N{NO-BREAK SPACE}", " ") == "AGKD-BML; under PGD-20 71.0 %"
    assert view.empty


def test_what_the_paper_reports_stands_under_the_last_of_equal_rows(lab: Lab) -> None:
    view = _view(lab, grid={"steps": (7,), "margin": (0.03, 0.1)})
    assert [row.reported is not None for row in view.rows] == [False, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"measure": {"steps": 3, "autoattack": False}},
        {"measure": None},
        {"grid": {"epsilon": (4 / 255,), "steps": (7,)}, "measure": {"steps": 3}},
    ],
)
def test_no_figure_of_the_paper_stands_by_another_attack_or_budget(
    lab: Lab, changes: dict[str, Any]
) -> None:
    view = _view(lab, **changes)
    assert all(row.reported is None for row in view.rows)
    assert view.untold == ""
