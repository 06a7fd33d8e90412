"""The page that imports a model: a job, or the same form with what was typed and what is wrong."""

from __future__ import annotations

import httpx
import pytest

from app.contracts import results
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportModelParams
from app.contracts.results import Accuracy, ImportModelResult, Lineage
from app.services import jobs, models
from app.services.lab import Lab
from tests.web.examples import CLASSES, add_dataset, add_job, add_model
from tests.web.parsing import attributes, errors

FILES = {"file": ("net.safetensors", b"not looked at before the job runs")}


def test_the_form_starts_a_job(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    classes = list(reversed(CLASSES))
    sent = {"name": "Net", "dataset": dataset, "architecture": "timm:resnet18",
            "classes": "\r\n".join(["", *classes, "  "]), "mean": "0.5, 0.4 0.3",
            "std": "0.2,0.2,0.2", "expected": "0.9", "tolerance": "0.05"}  # fmt: skip
    answer = client.post("/models/import", data=sent, files=FILES)
    assert answer.status_code == 303, answer.text
    job = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/"))
    assert job.kind is JobKind.IMPORT_MODEL
    assert ImportModelParams.model_validate(job.params) == ImportModelParams(
        name="Net", upload=str(job.params["upload"]), dataset=dataset, classes=tuple(classes),
        architecture="timm:resnet18", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), expected=0.9,
        tolerance=0.05,
    )  # fmt: skip
    page = client.get(f"/jobs/{job.id}")
    assert page.status_code == 200
    assert "0.5, 0.4, 0.3" in page.text


def test_what_is_left_empty_is_for_the_file_to_say(lab: Lab, client: httpx.Client) -> None:
    sent = {"name": "Net", "dataset": add_dataset(lab), "architecture": "wrn-28-10",
            "classes": "", "mean": "", "std": "", "expected": "", "tolerance": "0.02"}  # fmt: skip
    answer = client.post("/models/import", data=sent, files=FILES)
    assert answer.status_code == 303, answer.text
    params = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/")).params
    assert [params[name] for name in ("classes", "mean", "std", "expected")] == [None] * 4


def test_what_is_wrong_stands_at_its_field_and_nothing_is_lost(
    lab: Lab, client: httpx.Client
) -> None:
    sent = {"name": '"><b>', "dataset": add_dataset(lab), "architecture": "timm:<b>",
            "classes": "<i>\nb", "mean": "0.5", "std": "1, 1, x"}  # fmt: skip
    answer = client.post("/models/import", data=sent, files=FILES)
    assert answer.status_code == 422
    assert set(errors(answer.text)) == {"field-architecture", "field-mean", "field-std"}
    assert "net.safetensors</strong> is still here" in answer.text
    assert "&lt;i&gt;\nb</textarea>" in answer.text
    assert "<b>" not in answer.text
    assert 'value="timm:&lt;b&gt;"' in answer.text
    assert jobs.page(lab).total == 0
    (kept,) = attributes(answer.text, "value", 'input[name="upload"]')
    better = {"name": "Net", "dataset": sent["dataset"], "architecture": "wrn-28-10"}
    again = client.post("/models/import", data=better | {"upload": kept})
    assert again.status_code == 303, again.text
    job = again.headers["location"].removeprefix("/jobs/")
    assert jobs.get(lab, job).params["upload"] == kept


@pytest.mark.parametrize("files", [None, {"file": ("net.pt", b"")}])
def test_a_missing_or_empty_file_is_said_at_the_file(
    lab: Lab, client: httpx.Client, files: dict[str, tuple[str, bytes]] | None
) -> None:
    sent = {"name": "Net", "dataset": add_dataset(lab), "architecture": "wrn-28-10"}
    answer = client.post("/models/import", data=sent, files=files)
    assert answer.status_code == 422
    assert set(errors(answer.text)) == {"weights-file"}
    assert "nothing was started" in answer.text


def test_classes_that_the_dataset_has_not_are_said_at_the_classes(
    lab: Lab, client: httpx.Client
) -> None:
    sent = {"name": "Net", "dataset": add_dataset(lab), "architecture": "wrn-28-10",
            "classes": "cat\nunicorn"}  # fmt: skip
    answer = client.post("/models/import", data=sent, files=FILES)
    ((field, message),) = errors(answer.text).items()
    assert field == "model-classes"
    assert CLASSES[0] in message


def test_every_field_has_a_label_and_the_models_page_leads_here(
    lab: Lab, client: httpx.Client
) -> None:
    assert "import the one" in client.get("/models/import").text
    assert 'href="/models/import"' in client.get("/models").text
    add_dataset(lab)
    page = client.get("/models/import").text
    ids = attributes(page, "id")
    assert len(ids) == len(set(ids))
    assert set(attributes(page, "id", ":is(input, select, textarea)")) <= set(
        attributes(page, "for", "label")
    )
    for described in attributes(page, "aria-describedby"):
        assert set(described.split()) <= set(ids)


def test_a_finished_import_leads_to_its_model(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab)
    model = add_model(lab, dataset)
    accuracy = Accuracy.of(83, 100)
    origin = Lineage(id=dataset, name="Photos", sha256="0" * 64)
    tested = results.TestAccuracy(measure="clean", accuracy=accuracy, dataset=origin, expected=0.9)
    card = models.get(lab, model).card.model_copy(update={"test": (tested,)})
    result = ImportModelResult(model=model, card=card, parity=2e-6)
    params = ImportModelParams(
        name="Net", upload="0" * 32, dataset=dataset, architecture="wrn-28-10"
    )
    job = add_job(
        lab, JobKind.IMPORT_MODEL, params, result=result, status=JobStatus.SUCCEEDED
    )  # fmt: skip
    page = client.get(f"/jobs/{job}").text
    assert f'href="/models/{model}"' in page
    assert "83.0" in page
    assert "90.0" in page
    assert "2.0e-06" in page


def failed(lab: Lab, field: str, choices: list[str]) -> str:
    params = ImportModelParams(
        name="Net", upload="0" * 32, dataset=add_dataset(lab), architecture="wrn-28-10"
    )
    failure = {"title": "The job failed", "hint": "Say.",
               "detail": "The file holds <i>several</i>.",
               "field": field, "choices": choices}  # fmt: skip
    return add_job(lab, JobKind.IMPORT_MODEL, params, status=JobStatus.FAILED, failure=failure)


def test_of_several_networks_in_a_file_the_form_asks_which(lab: Lab, client: httpx.Client) -> None:
    job = failed(lab, "network", ["state_dict", "<b>ema", "."])
    assert "Answer, and try again" in client.get(f"/jobs/{job}").text
    assert client.get(f"/api/jobs/{job}").json()["failure"]["choices"][1] == "<b>ema"
    page = client.get(f"/models/import?from={job}").text
    values = attributes(page, "value", "#model-network option")
    assert values == ["", "state_dict", "<b>ema", "."]
    assert "the one at the top of the file" in page
    assert set(errors(page)) == {"model-network"}
    assert "<i>" not in page


def test_an_order_that_fits_better_is_filled_in(lab: Lab, client: httpx.Client) -> None:
    job = failed(lab, "classes", ["ship", "dog", "cat"])
    page = client.get(f"/models/import?from={job}").text
    assert "ship\ndog\ncat</textarea>" in page
    assert set(errors(page)) == {"model-classes"}


def test_the_network_and_the_outputs_that_were_typed_reach_the_job(
    lab: Lab, client: httpx.Client
) -> None:
    sent = {"name": "Net", "dataset": add_dataset(lab), "architecture": "resnet-18",
            "network": " state_dict_ema ", "outputs": "7, 0 3"}  # fmt: skip
    answer = client.post("/models/import", data=sent, files=FILES)
    assert answer.status_code == 303, answer.text
    params = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/")).params
    assert (params["network"], params["outputs"]) == ("state_dict_ema", [7, 0, 3])
    answer = client.post("/models/import", data={**sent, "outputs": "7, 0"}, files=FILES)
    assert set(errors(answer.text)) == {"model-outputs"}


def test_a_normalisation_in_grey_levels_is_refused_at_its_field(
    lab: Lab, client: httpx.Client
) -> None:
    sent = {"name": "Net", "dataset": add_dataset(lab), "architecture": "resnet-18",
            "mean": "125, 123, 114", "std": "63, 62, 67"}  # fmt: skip
    answer = client.post("/models/import", data=sent, files=FILES)
    assert set(errors(answer.text)) == {"field-mean"}
    assert "divide what is from 0 to 255 by 255" in answer.text
