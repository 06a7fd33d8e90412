"""The board never mixes datasets or budgets, and shows each model by its strongest evaluation."""

from __future__ import annotations

import json
from typing import Any

import httpx
import plotly.graph_objects as go
import pytest
from sqlalchemy import insert, update

from app.contracts.changes import Changes, JobChanges
from app.contracts.params import Attack, Norm, Recipe
from app.contracts.results import Light, Lineage
from app.contracts.units import from_255
from app.services import job_changes, models
from app.services.lab import Lab
from app.store.measurements import note_standing
from app.store.tables import DatasetRow, MeasurementRow
from app.web.charts import palette
from tests.web.examples import add_dataset, add_model, train_params
from tests.web.measured import add_measured
from tests.web.parsing import parsed, text_of, texts

OTHER = Lineage(id="e" * 32, name="Birds", sha256="b" * 64)


def board(client: httpx.Client, query: str = "") -> str:
    answer = client.get(f"/board{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


def figure(page: str, name: str) -> dict[str, Any]:
    block = parsed(page).select_one(f'figure[data-chart="{name}"] script')
    assert block is not None
    found: dict[str, Any] = json.loads(block.get_text())
    go.Figure(found)  # Plotly itself takes it
    return found


def rows(page: str) -> list[str]:
    return texts(page, "table.board tbody th")


@pytest.fixture
def held(lab: Lab) -> dict[str, str]:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, name="Student", teacher=teacher)
    return {"dataset": dataset, "teacher": teacher, "student": student}


def test_an_empty_board_leads_on(client: httpx.Client) -> None:
    assert "Nothing was measured yet." in board(client)


def test_only_what_was_measured_the_same_way_stands_together(
    lab: Lab, client: httpx.Client, held: dict[str, str]
) -> None:
    student, teacher = held["student"], held["teacher"]
    add_measured(lab, [(teacher, "T", 90, 0), (student, "S", 80, 40)])
    add_measured(lab, [(student, "S", 80, 70)], epsilon=from_255(2))
    add_measured(lab, [(student, "S", 80, 60)], attack=Attack(norm=Norm.L2), epsilon=0.5)
    add_measured(lab, [(teacher, "T", 50, 30)], dataset=OTHER)
    page = board(client)
    assert texts(page, "#condition") == ["Pets, 8/255 (L∞)"]
    assert rows(page) == ["Student", "Teacher"]
    threats = parsed(page).select('select[name="threat"] option')
    assert len(threats) == 3  # those of this dataset
    for option in threats:
        other = board(client, f"?dataset={'0' * 64}&threat={option['value']}")
        drawn = [y for trace in figure(other, "board")["data"] for y in trace["y"]]
        expected = {"8": [0.4, 0.0], "2": [0.7], "0": [0.6]}[option.get_text()[0]]
        assert sorted(drawn) == sorted(expected)
    assert rows(board(client, f"?dataset={'b' * 64}")) == ["Teacher"]


def test_marks_have_both_intervals(lab: Lab, client: httpx.Client, held: dict[str, str]) -> None:
    add_measured(lab, [(held["student"], "S", 80, 40)])
    (mark,) = figure(board(client), "board")["data"]
    assert (mark["name"], mark["x"], mark["y"]) == ("Student", [0.8], [0.4])
    assert mark["marker"]["symbol"] == ["circle-open"]  # AutoAttack did not run
    for error in ("error_x", "error_y"):
        assert mark[error]["array"][0] > 0
        assert mark[error]["arrayminus"][0] > 0
    band, curve = figure(board(client), "curves")["data"]
    assert curve["name"] == "Student"
    assert band["line"]["width"] == 0


def test_a_model_has_the_colour_of_other_pages_and_its_variants_name(
    lab: Lab, client: httpx.Client, held: dict[str, str]
) -> None:
    def trained(name: str, **params: Any) -> str:
        said = train_params(**params).model_dump(mode="json")
        return add_model(lab, held["dataset"], name=name, params=said)

    short = trained("Short", recipe="agkd_bml", teacher=held["teacher"], steps=7)
    rival = trained("Rival", recipe="pgd_at")
    of = {held["teacher"]: Recipe.CLEAN, held["student"]: Recipe.AGKD_BML}
    of |= {short: Recipe.AGKD_BML, rival: Recipe.PGD_AT}
    add_measured(lab, [(model, "N", 80, 40 - i) for i, model in enumerate(of)])
    page = board(client)
    chosen = palette.colours([*of], of)
    assert len(set(chosen.values())) == 4
    for name in ("board", "curves"):
        drawn = {t["name"]: t["marker"]["color"] for t in figure(page, name)["data"] if "name" in t}
        assert drawn["Rival"] == chosen[rival] == Recipe.PGD_AT.record.hue
        assert drawn["Short"] == chosen[short]
    assert texts(page, "tbody td.keep") == ["Clean", "AGKD-BML", "AGKD-BML-7", "PGD-AT"]
    links = parsed(page).select("tbody .identity a")
    dots = {text_of(link): link.parent["class"] for link in links if link.parent}
    assert dots["Rival"] == ["identity", palette.identity(chosen[rival])]
    table = parsed(client.get("/models").text)
    assert table.select_one(f".identity.hue-1 #open-{rival}") is not None
    eyebrow = parsed(client.get(f"/models/{rival}").text).select_one(".eyebrow .identity")
    assert eyebrow is not None
    assert "hue-1" in eyebrow["class"]


def test_a_red_verdict_is_a_cross(lab: Lab, client: httpx.Client, held: dict[str, str]) -> None:
    add_measured(lab, [(held["student"], "S", 80, 40)], light=Light.RED)
    (mark,) = figure(board(client), "board")["data"]
    assert mark["marker"]["symbol"] == ["x-thin-open"]
    assert "not to be quoted" in mark["text"][0]


def test_a_model_has_one_row_by_its_strongest_evaluation_or_one_for_each(
    lab: Lab, client: httpx.Client, held: dict[str, str]
) -> None:
    student = held["student"]
    add_measured(lab, [(student, "S", 800, 400)], n=1000)
    add_measured(lab, [(student, "S", 80, 50)])  # later, of fewer images
    assert texts(board(client), "table.board tbody td:nth-child(6)") == ["1,000"]
    assert rows(board(client, "?every=true")) == ["Student", "Student"]


def test_what_is_archived_or_deleted_is_not_on_the_board(
    lab: Lab, client: httpx.Client, held: dict[str, str]
) -> None:
    first = add_measured(lab, [(held["student"], "S", 80, 40)])
    add_measured(lab, [(held["teacher"], "T", 90, 0)])
    job_changes.change(lab, [first], JobChanges(archived=True))
    assert rows(board(client)) == ["Teacher"]
    job_changes.change(lab, [first], JobChanges(archived=False))
    assert rows(board(client)) == ["Student", "Teacher"]
    models.change(lab, [held["teacher"]], Changes(archived=True))
    assert rows(board(client)) == ["Student"]
    models.delete(lab, held["student"])
    assert "Nothing was measured yet." in board(client)
    models.restore(lab, held["student"])
    assert rows(board(client)) == ["Student"]
    job_changes.delete(lab, first)
    assert "Nothing was measured yet." in board(client)


def test_no_number_of_later_evaluations_hides_a_stronger_one_or_another_recipe(
    lab: Lab, client: httpx.Client, held: dict[str, str]
) -> None:
    student, teacher = held["student"], held["teacher"]
    add_measured(lab, [(student, "S", 800, 400), (teacher, "T", 900, 0)], n=1000, at=1.0)
    weaker = add_measured(lab, [(student, "S", 80, 50)])
    with lab.database.writing() as session:
        row = session.get_one(MeasurementRow, (weaker, 0))
        facts = {c.name: getattr(row, c.name) for c in MeasurementRow.__table__.columns}
        more = [facts | {"position": position} for position in range(1, 1200)]
        session.execute(insert(MeasurementRow), more)
        note_standing(session, MeasurementRow.job_id == weaker)
    assert texts(board(client), "table.board tbody td:nth-child(6)") == ["1,000", "1,000"]
    assert rows(board(client, "?recipe=clean")) == ["Teacher"]
    assert "1,002 more are not shown" in board(client, "?every=true")


def test_what_is_invalid_has_no_rank(lab: Lab, client: httpx.Client, held: dict[str, str]) -> None:
    add_measured(lab, [(held["student"], "S", 80, 70)], light=Light.RED)
    add_measured(lab, [(held["teacher"], "T", 90, 10)])
    assert rows(board(client)) == ["Teacher", "Student"]


def test_a_valid_evaluation_goes_before_an_invalid_one_of_more_images(
    lab: Lab, client: httpx.Client, held: dict[str, str]
) -> None:
    add_measured(lab, [(held["student"], "S", 10, 4)], n=20, light=Light.AMBER)
    add_measured(lab, [(held["student"], "S", 45, 40)], n=50, light=Light.RED)
    assert texts(board(client), "table.board tbody td:nth-child(6)") == ["20"]


def test_reported_figures_are_marked_only_beside_what_they_compare_with(
    lab: Lab, client: httpx.Client, held: dict[str, str]
) -> None:
    add_measured(lab, [(held["student"], "S", 80, 60)], epsilon=from_255(2))
    add_measured(lab, [(held["student"], "S", 80, 40)])

    def reported(query: str = "") -> list[dict[str, Any]]:
        traces = figure(board(client, query), "board")["data"]
        return [trace for trace in traces if trace.get("legendgroup") == "reported"]

    assert reported() == []
    with lab.database.writing() as session:
        whole = update(DatasetRow).where(DatasetRow.id == held["dataset"])
        session.execute(whole.values(source="cifar10"))
    assert {trace["y"][0] for trace in reported()} == {0.4662, 0.5653, 0.6071, 0.7102, 0.5059}
    assert all("WRN-28-10" in trace["hovertemplate"] for trace in reported())
    threat = f"linf-{from_255(2)!r}-untargeted"
    assert reported(f"?dataset={'0' * 64}&threat={threat}") == []


def test_the_api_says_the_same(lab: Lab, client: httpx.Client, held: dict[str, str]) -> None:
    add_measured(lab, [(held["teacher"], "T", 90, 0), (held["student"], "S", 80, 40)])
    (condition,) = client.get("/api/board/conditions").json()
    assert (condition["dataset_name"], condition["models"]) == ("Pets", 2)
    asked = {"dataset": condition["dataset"], "threat": condition["key"]}
    found = client.get("/api/board", params=asked).json()
    assert [entry["name"] for entry in found["entries"]] == ["Student", "Teacher"]
    assert found["entries"][0]["figures"]["robust"]["correct"] == 40
    assert client.get("/api/board", params=asked | {"threat": "x"}).status_code == 404
