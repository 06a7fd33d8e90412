"""Forms as a browser posts them: a job, or the same form with what was typed and what is wrong."""

from __future__ import annotations

import io
import re
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams, ImportParams, Method, TrainParams
from app.services import jobs
from app.services.lab import Lab
from app.web.forms.presets import EVALUATION_PRESETS as PRESETS
from app.web.forms.specs import specs
from tests.web.examples import CLASSES, add_dataset, add_job, add_model
from tests.web.parsing import attributes, chosen, errors, links, parsed, texts, typed

_SOMETHING = b"not looked at before the job runs"


def _started(lab: Lab, answer: httpx.Response) -> dict[str, object]:
    """The parameters of the job that a post started."""
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]
    return jobs.get(lab, where.removeprefix("/jobs/")).params


def test_every_training_parameter_has_its_field(lab: Lab, client: httpx.Client) -> None:
    add_dataset(lab)
    page = client.get("/train").text
    shown, names, units = parsed(page).get_text(), attributes(page, "name"), texts(page, ".unit")
    for spec in specs(TrainParams):
        assert spec.name in names
        assert spec.label in shown
        assert spec.help.replace("`", "") in shown
        if str(spec.bounds):
            assert f"{str(spec.bounds).capitalize()}." in shown
        if spec.unit:
            assert spec.unit in units


def test_every_field_has_a_label_and_a_description(lab: Lab, client: httpx.Client) -> None:
    add_model(lab, add_dataset(lab))
    for path in ("/train", "/evaluate", "/datasets", "/live"):
        page = client.get(path).text
        ids = attributes(page, "id")
        assert len(ids) == len(set(ids)), path
        assert set(attributes(page, "for")) <= set(ids)
        for described in attributes(page, "aria-describedby"):
            assert set(described.split()) <= set(ids)


def test_a_training_job_is_started_from_the_form(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    sent = {"name": "S", "dataset": dataset, "recipe": "agkd_bml", "teacher": teacher,
            "epsilon": "6", "step_size": "1.5", "milestones": "5, 7", "mart": "false",
            "schedule": "multistep"}  # fmt: skip
    params = TrainParams.model_validate(_started(lab, client.post("/train", data=sent)))
    assert params == TrainParams(
        name="S", dataset=dataset, recipe="agkd_bml", teacher=teacher, epsilon="6/255",
        step_size="1.5/255", milestones=(5, 7), mart=False, schedule="multistep",
    )  # fmt: skip


def test_what_is_wrong_stands_at_its_field_and_nothing_is_lost(
    lab: Lab, client: httpx.Client
) -> None:
    dataset = add_dataset(lab)
    sent = {"name": '"><b>', "dataset": dataset, "recipe": "agkd_bml", "epsilon": "99",
            "epochs": "many", "momentum": "0.8", "mart": "false", "milestones": "7 5"}  # fmt: skip
    answer = client.post("/train", data=sent)
    assert answer.status_code == 422
    assert errors(answer.text) == {
        "field-epsilon": "must be above 0, at most 64 (/255)",
        "field-epochs": "must be a whole number",
        "field-milestones": "milestones are epochs from 1 upwards, rising",
    }
    for name in ("name", "epsilon", "epochs", "momentum", "milestones"):
        assert typed(answer.text, name) == sent[name]
    assert chosen(answer.text, "dataset") == [dataset]
    assert chosen(answer.text, "recipe") == ["agkd_bml"]
    assert chosen(answer.text, "mart") == []
    assert jobs.page(lab).total == 0


def test_what_only_the_lab_knows_is_said_at_the_field_too(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset, classes=("one", "two"))
    sent = {"name": "S", "dataset": dataset, "recipe": "agkd_bml", "teacher": teacher}
    ((field, message),) = errors(client.post("/train", data=sent).text).items()
    assert field == "field-teacher"
    assert "other classes" in message


def test_an_evaluation_is_started_from_the_form(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    models = [add_model(lab, dataset), add_model(lab, dataset)]
    sent = {"models": models, "dataset": dataset, "attack.steps": "7", "epsilons": "0, 8",
            "attack.random_start": ["false", "true"]}  # fmt: skip
    params = _started(lab, client.post("/evaluate", data=sent))
    assert params["models"] == models
    assert params["epsilons"] == [0.0, 8 / 255]
    assert params["attack"]["steps"] == 7  # type: ignore[index]
    assert params["attack"]["random_start"] is True  # type: ignore[index]


def test_a_target_class_is_asked_for_where_it_belongs(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    sent = {"models": add_model(lab, dataset), "dataset": dataset, "attack.goal": "class"}
    assert set(errors(client.post("/evaluate", data=sent).text)) == {"field-attack-target_class"}
    sent["attack.target_class"] = "zebra"
    (message,) = errors(client.post("/evaluate", data=sent).text).values()
    assert ", ".join(CLASSES) in message


def test_the_address_fills_the_form(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    add_dataset(lab, name="More")
    model = add_model(lab, dataset)
    page = client.get(f"/train?recipe=agkd_bml&teacher={model}&epsilon=4").text
    assert chosen(page, "recipe") == ["agkd_bml"]
    assert chosen(page, "teacher") == [model]
    assert typed(page, "epsilon") == "4"
    page = client.get(f"/evaluate?models={model}").text
    assert chosen(page, "models") == [model]
    assert chosen(page, "dataset") == [dataset]


def test_further_attacks_are_chosen_from_a_list(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    sent = {"models": model, "dataset": dataset, "further": ["autoattack", "square"],
            "queries": "700", "epsilon": "4", "corruptions": "true",
            "stop_half_width": "2.5"}  # fmt: skip
    params = EvaluateParams.model_validate(_started(lab, client.post("/evaluate", data=sent)))
    assert params == EvaluateParams(
        models=(model,), dataset=dataset, further=(Method.AUTOATTACK, Method.SQUARE), queries=700,
        epsilon="4/255", corruptions=True, stop_half_width=2.5,
    )  # fmt: skip
    sent["attack.norm"] = "l1"
    again = client.post("/evaluate", data=sent)
    assert set(errors(again.text)) == {"field-attack-norm"}
    assert set(chosen(again.text, "further")) == {"autoattack", "square"}
    assert typed(again.text, "stop_half_width") == "2.5"


def test_every_evaluation_parameter_has_its_field_in_a_clear_order(
    lab: Lab, client: httpx.Client
) -> None:
    add_model(lab, add_dataset(lab))
    names = attributes(client.get("/evaluate").text, "name")
    assert {spec.name for spec in specs(EvaluateParams)} <= set(names)
    order = ["models", "images", "epsilon", "attack.norm", "attack.method", "attack.steps",
             "further", "queries", "epsilons", "minimal_epsilon", "corruptions", "embedding",
             "stop_half_width", "seed"]  # fmt: skip
    places = [names.index(name) for name in order]
    assert places == sorted(places)


@pytest.mark.parametrize("number", range(len(PRESETS)))
def test_a_preset_fills_the_form_and_starts_as_it_is(
    lab: Lab, client: httpx.Client, number: int
) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    page = client.get(f"/evaluate?models={model}&dataset={dataset}").text
    presets = links(page, "/evaluate?")
    assert len(presets) == len(PRESETS)
    filled = client.get(presets[number]).text
    for name, entries in PRESETS[number].entries.items():
        held = {typed(filled, name), *chosen(filled, name)}
        assert set(filter(None, entries)) <= held, name
        if entries == ("false",):
            assert chosen(filled, name) == [], name
    assert chosen(filled, "models") == [model]
    sent = {name: list(entries) for name, entries in PRESETS[number].entries.items()}
    params = _started(
        lab, client.post("/evaluate", data={"models": model, "dataset": dataset} | sent)
    )
    assert params["further"] == [e for e in PRESETS[number].entries["further"] if e]
    assert params["embedding"] is (number == 2)


def test_one_click_draws_the_shapes(lab: Lab, client: httpx.Client) -> None:
    for name in ("Shapes", "Shapes 2"):
        params = _started(lab, client.post("/datasets", data={"source": "shapes"}))
        assert ImportParams.model_validate(params) == ImportParams(name=name)


def test_an_archive_is_uploaded_and_imported(lab: Lab, client: httpx.Client) -> None:
    sent = {"source": "archive", "name": "Mine", "image_size": "64"}
    answer = client.post("/datasets", data=sent, files={"file": ("mine.zip", _SOMETHING)})
    params = ImportParams.model_validate(_started(lab, answer))
    assert (params.name, params.image_size, params.source) == ("Mine", 64, "archive")
    assert params.upload is not None
    assert lab.files.upload(params.upload).read_bytes() == _SOMETHING


@pytest.mark.parametrize(
    ("file", "name", "field"),
    [
        (None, "Mine", "archive-file"),
        (("", b""), "Mine", "archive-file"),
        (("mine.zip", b""), "Mine", "archive-file"),
        (("mine.zip", _SOMETHING), "", "archive-name"),
        (("mine.zip", _SOMETHING), "Pets", "archive-name"),
    ],
)
def test_an_archive_that_cannot_be_taken_says_why_and_a_file_that_can_is_kept(
    lab: Lab, client: httpx.Client, file: tuple[str, bytes] | None, name: str, field: str
) -> None:
    add_dataset(lab, name="Pets")
    files = {} if file is None else {"file": file}
    sent = {"source": "archive", "name": name, "seed": "5"}
    answer = client.post("/datasets", data=sent, files=files)
    assert answer.status_code == 422
    assert set(errors(answer.text)) == {field}
    assert attributes(answer.text, "value", "#archive-seed") == ["5"]
    kept = attributes(answer.text, "value", 'input[name="upload"]')
    assert [path.name for path in (lab.files.root / "uploads").iterdir()] == kept
    assert bool(kept) == (field == "archive-name")  # the file is one, and need not come again


def test_drawing_with_wrong_numbers_says_so_in_its_own_form(lab: Lab, client: httpx.Client) -> None:
    sent = {"source": "shapes", "name": "S", "train_per_class": "3"}
    answer = client.post("/datasets", data=sent)
    assert errors(answer.text) == {"drawn-train_per_class": "must be from 10 to 10,000"}


def test_an_unknown_source_is_refused(client: httpx.Client) -> None:
    answer = client.post("/datasets", data={"source": "elsewhere"})
    assert answer.status_code == 422
    assert "is none of the choices" in answer.text


def test_running_imports_are_shown(lab: Lab, client: httpx.Client) -> None:
    add_job(lab, JobKind.IMPORT, ImportParams(name="New"), title="Import New")
    assert "Import New" in client.get("/datasets").text


def test_samples_are_the_test_images_of_the_class(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    sheet = client.get(f"/datasets/{dataset}/samples/2.png")
    one = client.get(f"/datasets/{dataset}/samples/2/1.png")
    for answer, size in ((sheet, (64, 32)), (one, (32, 32))):
        assert answer.headers["content-type"] == "image/png"
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == size
        assert image.getpixel((size[0] - 1, 0)) == (21, 21, 21)
    assert client.get(f"/datasets/{dataset}/samples/2/2.png").status_code == 404
    assert client.get(f"/datasets/{dataset}/samples/3.png").status_code == 404


def test_everything_that_pages_load_is_there(client: httpx.Client) -> None:
    static = Path(__file__).resolve().parents[2] / "static"
    for path in ("/", "/train", "/live", "/datasets"):
        page = client.get(path).text
        for address in links(page, "/static/"):
            assert client.get(address).status_code == 200, address
    for module in static.glob("*.js"):
        for other in re.findall(r'from "\./([^"]+)"', module.read_text()):
            assert (static / other).exists(), f"{module.name} imports {other}"


@pytest.mark.parametrize("path", ["/train", "/evaluate", "/ablation"])
def test_a_job_gets_the_priority_of_its_form(lab: Lab, client: httpx.Client, path: str) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    sent = {
        "/train": {"name": "S", "dataset": dataset, "recipe": "clean"},
        "/evaluate": {"models": model, "dataset": dataset},
        "/ablation": {"name": "A", "recipes": "clean", "training.dataset": dataset},
    }[path]
    assert chosen(client.get(path).text, "priority") == ["normal"]
    answer = client.post(path, data={**sent, "priority": "low"})
    assert answer.status_code == 303, answer.text
    first = answer.headers["location"].removeprefix("/jobs/")
    assert jobs.get(lab, first).priority == "low"
    answer = client.post(path, data={**sent, "priority": "urgent"})
    assert (answer.status_code, "The priority is none of" in answer.text) == (422, True)
    answer = client.post(path, data={**sent, "models": "", "name": "", "priority": "low"})
    assert answer.status_code == 422
    assert chosen(answer.text, "priority") == ["low"], "nothing that was typed is lost"
    code = client.post(f"{path}/code", data={**sent, "priority": "low"}).text
    assert "&#34;priority&#34;: &#34;low&#34;" in code
    assert "priority=&#39;low&#39;" in code
    assert "priority" not in client.post(f"{path}/code", data=sent).text
