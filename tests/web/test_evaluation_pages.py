"""The page of an evaluation: what was found, what speaks against it, and nothing that is not."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from bs4 import Tag

from app.contracts.events import MetricsEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, EvaluateParams, Goal, Method, Recipe
from app.contracts.results import (
    Accuracy,
    Check,
    EvaluationResult,
    JobResult,
    Light,
    Mapped,
    Verdict,
)
from app.contracts.views import JobView
from app.services import jobs
from app.services.lab import Lab
from app.store.transitions import append
from app.web.pages.evaluation_doubts import Origin
from app.web.pages.evaluation_view import CascadeRow, evaluation_view
from tests.web.example_evaluation import CIFAR, STUDENT, TEACHER
from tests.web.examples import (
    add_dataset,
    add_job,
    add_model,
    brought_figures,
    evaluation,
    full_evaluation,
)
from tests.web.parsing import attributes, parsed, text_of, texts

_RECIPES = {TEACHER: Recipe.CLEAN, STUDENT: Recipe.AGKD_BML}
_SECTIONS = (
    "trust", "gallery", "cascade", "curves", "classes", "corruptions", "attention", "features",
)  # fmt: skip
_ORIGIN = Origin("e5" * 16, None)
_HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"


def _shown(lab: Lab, client: httpx.Client, result: EvaluationResult) -> tuple[str, str]:
    """The id of a finished job with this result, and its page."""
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    answer = client.get(f"/jobs/{job}")
    assert answer.status_code == 200, answer.text
    return job, answer.text.replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " ")


def _sections(html: str) -> list[str]:
    found = attributes(html, "aria-labelledby", "section")
    return [name for name in found if name not in ("result", "measured")]


def _without(result: EvaluationResult, **empty: Any) -> EvaluationResult:
    models = tuple(model.model_copy(update=empty) for model in result.models)
    return result.model_copy(update={"models": models})


def _rows(html: str, label: str) -> list[list[str]]:
    """The texts of the cells of each row of the body of the table of this name."""
    (table,) = parsed(html).find_all(attrs={"aria-label": label})
    return [
        [text for cell in row.find_all(["th", "td"]) if (text := text_of(cell))]
        for row in table.select("tbody > tr")
    ]


def test_the_sections_come_in_the_order_of_reading(lab: Lab, client: httpx.Client) -> None:
    job, html = _shown(lab, client, full_evaluation())
    assert _sections(html) == list(_SECTIONS)
    assert html.index('id="result"') < html.index('id="trust"')
    assert html.index('id="features"') < html.index("How it was measured")
    assert set(attributes(html, "data-chart")) == set(brought_figures(html))
    assert client.get(f"/jobs/{job}/record.json").json()["figures"] == {}


@pytest.mark.parametrize(
    ("section", "empty"),
    [
        ("trust", {"verdict": None}),
        ("cascade", {"attacks": (), "gallery": None}),
        ("curves", {"against_epsilon": (), "against_steps": (), "against_restarts": (),
                    "against_queries": (), "outcomes": None}),
        ("classes", {"per_class": (), "confusion_clean": (), "confusion_robust": ()}),
        ("corruptions", {"corruptions": ()}),
        ("attention", {"attention": None}),
        ("features", {"embedding": None}),
    ],
)  # fmt: skip
def test_a_section_that_has_nothing_is_absent(
    lab: Lab, client: httpx.Client, section: str, empty: dict[str, Any]
) -> None:
    job, html = _shown(lab, client, _without(full_evaluation(images=60), **empty))
    assert _sections(html) == [name for name in _SECTIONS if name != section]
    assert set(attributes(html, "data-chart")) == set(brought_figures(html))
    assert client.get(f"/jobs/{job}/record.json").json()["figures"] == {}


def test_a_result_of_an_earlier_lab_still_opens(lab: Lab, client: httpx.Client) -> None:
    result = evaluation([(TEACHER, "Teacher")])
    old = result.model_dump(mode="json")
    for name in ("classes", "image_numbers", "labels", "stopped_early"):
        del old[name]
    kept = ("model", "name", "sha256", "clean", "against_epsilon", "against_steps")
    old["models"] = [{name: model[name] for name in kept} for model in old["models"]]
    for name in ("further", "queries", "sources", "minimal_epsilon", "corruptions", "attention",
                 "embedding", "stop_half_width"):  # fmt: skip
        del old["params"][name]
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    lab.files.result(job).write_text(json.dumps(old))
    html = client.get(f"/jobs/{job}").text
    assert _sections(html) == ["curves"]
    assert "Not checked: this evaluation comes from an earlier version" in html
    assert "Under PGD-20 alone" in html
    assert client.get(f"/jobs/{job}/record.json").status_code == 200
    assert client.get("/").status_code == 200


def test_the_page_and_its_record_read_the_result_once(
    lab: Lab, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    by_id, at_hand = jobs.result, jobs.result_of

    def result(lab: Lab, job_id: str) -> JobResult:
        read.append(job_id)
        return by_id(lab, job_id)

    def result_of(lab: Lab, job: JobView) -> JobResult:
        read.append(job.id)
        return at_hand(lab, job)

    monkeypatch.setattr("app.services.jobs.result", result)
    monkeypatch.setattr("app.services.jobs.result_of", result_of)
    job, _ = _shown(lab, client, full_evaluation(images=60))
    assert client.get(f"/jobs/{job}/record.json").status_code == 200
    assert read == [job]


def test_the_headline_has_clean_worst_case_and_the_light(lab: Lab, client: httpx.Client) -> None:
    result = full_evaluation()
    _, html = _shown(lab, client, result)
    head = html[html.index('<div class="cards">') : html.index('id="trust"')]
    shown = [
        (figure.find_previous_sibling("dt").get_text(), next(figure.strings), text_of(small))
        for figure in parsed(head).select("dd")
        if (small := figure.find("small", recursive=False))
    ]
    expected = []
    for model in result.models:
        assert model.robust is not None
        for title, a in (("Clean", model.clean), ("Robust, worst case", model.robust)):
            interval = f"{100 * a.low:.1f}–{100 * a.high:.1f} %, n = {a.n}"
            expected.append((title, f"{100 * a.value:.1f} %", interval))
    assert shown == expected
    assert "L∞, ε = 8/255; 500 test images of CIFAR-10 (JPEG)." in html
    assert texts(head, ".chip") == ["quotable", "upper bound"]


def test_of_a_model_that_only_answers_it_is_said_how_it_was_asked() -> None:
    result = _without(full_evaluation(images=60), asked=1)
    for method, said in ((Method.PGD, "Square"), (Method.HOP_SKIP_JUMP, "HopSkipJump")):
        attack = result.params.attack.model_copy(update={"method": method})
        alone = {"attack": attack, "further": (), "sources": (), "minimal_epsilon": False,
                 "attention": False, "embedding": False}  # fmt: skip
        params = result.params.model_copy(update=alone)
        view = evaluation_view(result.model_copy(update={"params": params}), _RECIPES, _ORIGIN)
        (note,) = (chart.note for chart in view.curves if chart.name == "queries")
        assert note.startswith(f"{said}, which sees no gradients.")
        assert {model.asked for model in view.models} == {"was asked about 1 image."}


@pytest.mark.parametrize("light", list(Light))
def test_doubts_are_problems_and_what_holds_is_folded(
    lab: Lab, client: httpx.Client, light: Light
) -> None:
    result = full_evaluation(images=60, light=light)
    _, html = _shown(lab, client, result)
    trust = parsed(html).select_one('section[aria-labelledby="trust"]')
    problems = [text_of(one) for one in trust.select("ul.doubts > li")]
    folded = [text_of(one) for one in trust.select("details.folded")]
    verdict = result.models[-1].verdict
    assert verdict is not None
    doubted = [check for check in verdict.checks if check.light is not Light.GREEN]
    assert len(problems) == len(doubted)
    for check, told in zip(doubted, problems, strict=True):
        for text in (f"In doubt: “{check.title}”", check.sentence):
            assert text in told
    held = [check for check in verdict.checks if check.light is Light.GREEN]
    assert f"{len(held)} checks hold" in folded[-1]
    for check in held:
        for text in (check.title, check.figure, check.sentence):
            assert text in folded[-1]
    for model in result.models:
        assert model.verdict is not None
        assert model.verdict.sentence in text_of(trust)


def test_a_problem_is_said_once_and_brings_what_mends_it(lab: Lab, client: httpx.Client) -> None:
    result = full_evaluation(images=60)
    few = Check(
        id="sample_size", title="The sample is large enough", light=Light.AMBER,
        figure="± 12.0 points", sentence="Measure more images.", problem="Only 60 images: ± 12",
    )  # fmt: skip
    verdict = Verdict(light=Light.AMBER, sentence="An upper bound.", checks=(few,))
    dataset = add_dataset(lab, test_images=300)
    lineage = result.dataset.model_copy(update={"id": dataset})
    params = result.params.model_copy(update={"dataset": dataset})
    result = _without(result, verdict=verdict)
    result = result.model_copy(update={"dataset": lineage, "params": params})
    job, html = _shown(lab, client, result)
    (problem,) = parsed(html).select("ul.doubts > li")
    assert "Only 60 images: ± 12" in text_of(problem)
    assert text_of(problem).count("± 12.0 points") == len(result.models)
    (mend,) = problem.select("form.mend")
    assert text_of(mend).startswith("Measure all 300 images and run again, about ")
    (change,) = mend.select("a")
    address = urlsplit(change["href"])
    assert parse_qs(address.query) == {"from": [job], "images": ["300"]}
    form = parsed(client.get(change["href"]).text)
    assert form.select_one('input[name="images"]')["value"] == "300"
    assert form.select_one('input[name="attack.restarts"]')["value"] == "5"


def test_one_click_starts_what_mends_a_problem_and_one_what_mends_all(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab, test_images=300)
    models = [add_model(lab, dataset, name=name, classes=CIFAR) for name in ("Teacher", "Student")]
    result = full_evaluation(
        [(models[0], "Teacher", Recipe.CLEAN), (models[1], "Student", Recipe.AGKD_BML)], images=60
    )
    doubted = tuple(
        Check(id=id, title=id, light=Light.AMBER, figure="few", sentence="Do more.", problem=id)
        for id in ("sample_size", "converged", "selection")
    )
    verdict = Verdict(light=Light.AMBER, sentence="An upper bound.", checks=doubted)
    lineage = result.dataset.model_copy(update={"id": dataset})
    params = result.params.model_copy(update={"dataset": dataset, "images": 60})
    result = _without(result, verdict=verdict)
    result = result.model_copy(update={"dataset": lineage, "params": params})
    _, html = _shown(lab, client, result)
    *single, every = parsed(html).select("form.mend")
    assert text_of(every).startswith("Mend all 2 in one run, about ")
    steps = params.attack.steps

    def started(form: Tag) -> dict[str, Any]:
        hidden = form.select("input")
        data = {"job": hidden[0]["value"], "check": [one["value"] for one in hidden[1:]]}
        answer = client.post(str(form["action"]), data=data)
        assert answer.status_code == 303, answer.text
        asked: dict[str, Any] = jobs.get(lab, answer.headers["location"].split("/")[-1]).params
        return asked

    of_one, of_other = (started(form) for form in single)
    assert (of_one["images"], of_one["attack"]["steps"]) == (300, steps)
    assert (of_other["images"], of_other["attack"]["steps"]) == (60, 4 * steps)
    of_all = started(every)
    assert (of_all["images"], of_all["attack"]["steps"]) == (300, 4 * steps)
    nothing = {"job": parsed(html).select_one("form.mend input")["value"], "check": ["no such"]}
    assert client.post("/evaluate/mend", data=nothing).status_code == 422


def test_one_problem_with_other_numbers_of_each_model_is_said_once(
    lab: Lab, client: httpx.Client
) -> None:
    result = full_evaluation(images=60)
    models = []
    for model, points in zip(result.models, ("12.5", "3.0"), strict=True):
        gap = Check(
            id="autoattack_gap", title="PGD and AutoAttack agree", light=Light.AMBER,
            figure=f"{points} points", sentence=f"PGD missed {points} points, n = 1,060.",
            problem=f"AutoAttack breaks {points} points more than PGD-20",
        )  # fmt: skip
        verdict = Verdict(light=Light.AMBER, sentence="An upper bound.", checks=(gap,))
        models.append(model.model_copy(update={"verdict": verdict}))
    _, html = _shown(lab, client, result.model_copy(update={"models": tuple(models)}))
    (problem,) = parsed(html).select("ul.doubts > li")
    assert texts(str(problem), ".problem")[0].endswith(
        "AutoAttack breaks 3.0 to 12.5 points more than PGD-20"
    )
    assert "PGD missed 3.0 to 12.5 points, n = 1,060." in text_of(problem)
    assert [text_of(one) for one in problem.select(".who .muted")] == ["12.5 points", "3.0 points"]


def test_the_form_marks_what_a_remedy_changes(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    params = EvaluateParams(models=(add_model(lab, dataset),), dataset=dataset, images=50)
    job = add_job(lab, JobKind.EVALUATE, params)
    changed = f"/evaluate?from={job}&further=autoattack&further=square&images=400&attack.steps=10"
    page = parsed(client.get(changed).text)
    assert {
        text_of(field.select_one("label, legend")): text_of(field.select_one(".changed"))
        for field in page.select(".field:has(.changed)")
    } == {
        "Test images": "Changed: it was 50 images.",
        "Steps": "Changed: it was 20.",
        "Further attacks": "Changed: it was none.",
    }
    assert page.select_one("details.more").has_attr("open")
    assert parsed(client.get(f"/evaluate?from={job}").text).select(".changed") == []


def test_no_time_is_said_where_none_was_measured(lab: Lab, client: httpx.Client) -> None:
    missing = Check(
        id="adaptive", title="An attack made for this defence adds nothing", light=Light.AMBER,
        figure="not measured", sentence="Not measured.", problem="Nothing made for it was tried",
    )  # fmt: skip
    verdict = Verdict(light=Light.AMBER, sentence="An upper bound.", checks=(missing,))
    result = _without(full_evaluation(images=60), verdict=verdict)
    _, html = _shown(lab, client, result)
    assert "Add Adaptive attack and CW and run again, about " in html
    _, html = _shown(lab, client, result.model_copy(update={"pace": None}))
    assert "Add Adaptive attack and CW and run again</button>" in html


def test_the_gallery_shows_images_and_where_models_look(lab: Lab, client: httpx.Client) -> None:
    result = full_evaluation(images=60)
    _, html = _shown(lab, client, result)
    pictures = parsed(html).select("ul.gallery > li")
    kept = [image for model in result.models if model.gallery for image in model.gallery.images]
    assert len(pictures) == len(kept) > 12
    assert {one["data-kind"] for one in pictures} == {"flipped", "standing"}
    assert {one["data-model"] for one in pictures} == {"0", "1"}
    for one in pictures:
        assert len(one.select("canvas[data-grid]")) == 4
        assert one.select_one("a")["href"].startswith("/live?models=")
    assert parsed(html).select_one("form[data-gallery] select[name=class]") is not None
    _, html = _shown(lab, client, _without(result, gallery=None))
    assert "made before images were kept with it" in html
    assert "ul.gallery" not in html


def test_kept_images_are_offered_where_some_were_kept(lab: Lab, client: httpx.Client) -> None:
    result = full_evaluation()
    assert "/adversarial/" not in _shown(lab, client, result)[1]
    params = result.params.model_copy(update={"keep_adversarial": 9})
    job, html = _shown(lab, client, result.model_copy(update={"params": params}))
    links = [str(link["href"]) for link in parsed(html).select("a[href*='/adversarial/']")]
    start = f"/api/jobs/{job}/adversarial/"
    models = [model.model for model in result.models]
    assert links == [f"{start}{model}.{form}" for model in models for form in ("npz", "zip")]


def test_the_steps_beyond_its_own_have_a_row_of_their_own() -> None:
    result = full_evaluation(images=60)
    model = result.models[1]
    row = model.attacks[1].model_copy(
        update={"attacked": 50, "broken": 24, "alone": Accuracy.of(30, 60),
                "worst_case": Accuracy.of(26, 60)}
    )  # fmt: skip
    models = (model.model_copy(update={"attacks": (row,), "gallery": None}),)
    view = evaluation_view(result.model_copy(update={"models": models}), _RECIPES, _ORIGIN)
    own, carried = view.models[0].cascade
    assert (own.label, own.broken, own.worst_case) == ("PGD-20, 5 restarts", 20, own.alone)
    assert carried.label == "the same, carried on to 50 steps"
    assert (carried.attacked, carried.broken, carried.worst_case) == (30, 4, row.worst_case)
    assert view.carried_on


def test_a_verdict_is_a_chip_apart_from_the_figures(lab: Lab, client: httpx.Client) -> None:
    for light, word in zip(Light, ("quotable", "upper bound", "invalid"), strict=True):
        _, html = _shown(lab, client, full_evaluation(images=60, light=light))
        cards = parsed(html).select("article.card")
        assert text_of(cards[-1].select_one(f".chip.{light}")) == word
        assert not parsed(html).select("article.card .light")


def test_the_cascade_counts_down_with_autoattack_as_one(lab: Lab, client: httpx.Client) -> None:
    result = full_evaluation()
    _, html = _shown(lab, client, result)
    rows = _rows(html, f"Attacks on {result.models[1].name}")
    attacks = result.models[1].attacks
    assert [row[0] for row in rows] == [
        "FGSM", "PGD-20, 5 restarts", "AutoAttack standard", "APGD-CE", "APGD-T", "FAB-T", "Square",
        "HopSkipJump", "Transfer from Teacher WRN-10-2", "Random noise",
    ]  # fmt: skip
    parts = [row for row in attacks if row.part_of_autoattack]
    assert rows[2][1:3] == [str(parts[0].attacked), str(sum(part.broken for part in parts))]
    single = [row for row in rows if row[0] != "AutoAttack standard"]
    for shown, attack in zip(single, attacks, strict=True):
        worst = attack.worst_case
        assert shown[1:3] == [str(attack.attacked), str(attack.broken)]
        assert shown[3].startswith(f"{100 * worst.value:.1f} % {100 * worst.low:.1f}–")
        alone = "–" if attack.alone is None else f"{100 * attack.alone.value:.1f} %"
        assert shown[4] == alone


def test_the_same_attack_inside_and_outside_of_autoattack_is_told_apart() -> None:
    result = full_evaluation(images=60)
    further = (*result.params.further, Method.APGD_CE)
    params = result.params.model_copy(update={"further": further})
    model = result.models[1]
    own = model.attacks[2].model_copy(update={"part_of_autoattack": False})
    models = (model.model_copy(update={"attacks": (*model.attacks, own)}),)
    changed = result.model_copy(update={"params": params, "models": models})
    (model,) = evaluation_view(changed, _RECIPES, _ORIGIN).models
    named: list[CascadeRow] = [row for row in model.cascade if row.label == "APGD-CE"]
    assert [row.part for row in named] == [True, False]


def test_how_many_images_are_never_broken_is_told() -> None:
    result = full_evaluation()
    teacher, student = evaluation_view(result, _RECIPES, _ORIGIN).models
    model = result.models[1]
    assert model.outcomes is not None
    pairs = zip(model.outcomes.minimal_epsilon, model.outcomes.broken_by, strict=True)
    never = sum(epsilon is None for epsilon, by in pairs if by != 0)
    assert f"({never} of {model.clean.correct}) are never broken" in student.needed
    assert teacher.needed.startswith("half fall at 1/255 or less; 0.0")


def test_exports_comparison_and_the_way_back_are_linked(lab: Lab, client: httpx.Client) -> None:
    job, html = _shown(lab, client, full_evaluation(images=60))
    for href in (f"/compare?job={job}", f"/jobs/{job}/report.html", f"/evaluate?from={job}",
                 f"/api/jobs/{job}/export.json", f"/api/jobs/{job}/export.csv"):  # fmt: skip
        assert f'href="{href}"' in html
        assert client.get(href).status_code == 200, href


def test_how_it_was_measured_names_hashes_seed_code_and_hardware(
    lab: Lab, client: httpx.Client
) -> None:
    result = full_evaluation(images=60)
    _, html = _shown(lab, client, result)
    told = html[html.index("How it was measured") :]
    here = result.environment
    for text in (result.dataset.sha256, *(model.sha256 for model in result.models),
                 here.code_version, "cpu, 2 threads; torch 2.14.1", "1 h 24 min"):  # fmt: skip
        assert text in told
    stopped = result.model_copy(update={"stopped_early": True})
    assert "stopped early" in _shown(lab, client, stopped)[1]


def test_every_chart_can_be_saved(lab: Lab, client: httpx.Client) -> None:
    job, html = _shown(lab, client, full_evaluation(images=60))
    charts = len(parsed(html).select("figure.chart"))
    assert html.count('data-save="svg"') == html.count('data-save="png"') == charts > 10
    assert f'data-file="evaluate-{job[:8]}"' in html


def test_hostile_names_stay_text_everywhere(lab: Lab, client: httpx.Client) -> None:
    models = [(TEACHER, _HOSTILE, Recipe.CLEAN), (STUDENT, _HOSTILE, Recipe.AGKD_BML)]
    result = full_evaluation(models, images=60, classes=[f"{_HOSTILE}{i}" for i in range(5)])
    _, html = _shown(lab, client, result)
    assert "<script>alert" not in html
    assert "{{ 7 * 7 }}" in html
    for figure in brought_figures(html).values():
        assert "<script>" not in str(figure)


def test_a_hundred_classes_fit_on_a_page(lab: Lab, client: httpx.Client) -> None:
    many = full_evaluation(images=4000, classes=[f"class {i}" for i in range(100)])
    _, html = _shown(lab, client, many)
    assert "The 20 weakest of 100 classes; all are in the table." in html
    assert html.count('<th scope="row" class="break">class') == 100
    figures = json.dumps(brought_figures(html), separators=(",", ":"))
    assert len(figures) < 2_000_000
    assert len(html) - len(figures) < 400_000


def test_of_many_models_one_is_shown_at_a_time(lab: Lab, client: httpx.Client) -> None:
    models = [(f"{i:032x}", f"Model {i}", Recipe.AGKD_BML) for i in range(8)]
    _, html = _shown(lab, client, full_evaluation(models, images=60))
    for key in ("cascade", "matrices", "features"):
        assert html.count(f'data-panel="{key}-') == html.count(f'name="{key}"') == 8
    _, html = _shown(lab, client, full_evaluation(models[:2], images=60))
    assert 'name="cascade"' not in html


def test_the_first_page_and_the_model_show_the_worst_case_with_its_light(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, teacher=teacher)
    models = [(teacher, "T", Recipe.CLEAN), (student, "S", Recipe.AGKD_BML)]
    result = full_evaluation(models, light=Light.RED)
    assert result.models[1].robust is not None
    robust = f"{100 * result.models[1].robust.value:.1f}\N{NO-BREAK SPACE}%"
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    for path in ("/", f"/models/{student}"):
        html = client.get(path).text
        assert "Robust, worst case" in html
        assert robust in html
        assert 'class="chip red"' in html
        assert f"/jobs/{job}" in html
    assert 'class="chip green"' in client.get(f"/models/{teacher}").text
    lab.files.result(job).unlink()
    for path in ("/", f"/models/{student}"):
        assert "Robust, worst case" not in client.get(path).text


def test_overviews_read_no_result(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    result = full_evaluation([(model, "Teacher", Recipe.CLEAN)], images=60)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    for path in ("/", f"/models/{model}"):
        assert "Robust, worst case" in client.get(path).text
    lab.files.result(job).write_text("{")
    for path in ("/", f"/models/{model}"):
        assert "Robust, worst case" in client.get(path).text


@pytest.mark.parametrize(
    ("attack", "measured"),
    [(Attack(), 6), (Attack(goal=Goal.CLASS, target_class="dog"), 4)],
)
def test_a_running_evaluation_counts_the_images_that_there_are(
    lab: Lab, client: httpx.Client, attack: Attack, measured: int
) -> None:
    dataset = add_dataset(lab)
    params = EvaluateParams(models=(add_model(lab, dataset),), dataset=dataset, attack=attack)
    assert params.images > measured
    job = add_job(lab, JobKind.EVALUATE, params, status=JobStatus.RUNNING, started_at=1e9)
    known = {f"{params.models[0]}:{name}": 0.5 for name in ("clean", "robust")}
    event = MetricsEvent(series="estimate", step=2, values=known)
    with lab.database.writing() as session:
        append(session, job, [event])
    assert f"After 2 of {measured} images" in client.get(f"/jobs/{job}").text
    assert f"After 2 of {measured} images" in client.get(f"/jobs/{job}/estimate").text


def test_a_figure_is_preliminary_until_every_attack_has_had_its_turn(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    params = EvaluateParams(models=(add_model(lab, dataset),), dataset=dataset)
    job = add_job(lab, JobKind.EVALUATE, params, status=JobStatus.RUNNING, started_at=1e9)
    (model,), said = params.models, {}
    for left in (4, 1, 0):
        known = {f"{model}:clean": 0.5, f"{model}:robust": 0.5, f"{model}:attacks_left": left}
        with lab.database.writing() as session:
            append(session, job, [MetricsEvent(series="estimate", step=2, values=known)])
        said[left] = text_of(parsed(client.get(f"/jobs/{job}/estimate").text))
    assert "Robust, preliminary" in said[4]
    assert "Preliminary: 4 attacks have yet to run, so the robust figure can only fall" in said[4]
    assert "Preliminary: 1 attack has yet to run" in said[1]
    assert "reliminary" not in said[0]
    assert "Robust so far" in said[0]


def test_an_unfinished_evaluation_has_its_estimate_and_nothing_else(
    lab: Lab, client: httpx.Client
) -> None:
    params = EvaluateParams(models=(TEACHER,), dataset="0" * 32)
    job = add_job(lab, JobKind.EVALUATE, params, status=JobStatus.RUNNING, started_at=1e9)
    html = client.get(f"/jobs/{job}").text
    assert attributes(html, "data-chart") == ["estimate"]
    assert _sections(html) == []
    assert "/compare" not in html


@pytest.mark.parametrize(
    ("mapped", "said"),
    [
        (
            Mapped(outputs=10, left_out=(), renamed=()),
            "has the dataset's classes in another order, or writes them in another way. Its "
            "outputs were found by name.",
        ),
        (
            Mapped(outputs=10, left_out=(), renamed=("dog for DOG", "ship for SHIP")),
            "has the dataset's classes in another order, or writes them in another way. Its "
            "outputs were found by name; it says dog for DOG, ship for SHIP.",
        ),
        (
            Mapped(outputs=12, left_out=("tram", "van"), renamed=()),
            "knows 12 classes and was asked to decide among the dataset's 10 alone, which is "
            "easier; left out: tram, van. Its outputs were found by name.",
        ),
        (
            Mapped(outputs=1000, left_out=("tench", "goldfish"), renamed=()),
            "knows 1,000 classes and was asked to decide among the dataset's 10 alone, which is "
            "easier; left out: tench, goldfish, …. Its outputs were found by name.",
        ),
    ],
)
def test_classes_that_were_found_by_name_are_said(
    lab: Lab, client: httpx.Client, mapped: Mapped, said: str
) -> None:
    """Of the model that has them so, and of no other."""
    result = full_evaluation()
    own, other = result.models
    assert (own.mapped, other.mapped) == (None, None)
    result = result.model_copy(
        update={"models": (own, other.model_copy(update={"mapped": mapped}))}
    )
    _, html = _shown(lab, client, result)
    notes = [note for note in texts(html, "p.note") if "found by name" in note]
    assert notes == [f"{other.name} {said}"]
