"""Pages of a model that only answers: what they offer, and what they say is missing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.contracts.access import Held
from app.contracts.results import OnnxInterface
from app.services import jobs
from app.services.lab import Lab
from app.store.tables import UploadRow
from tests.web.examples import BLACK_BOX, ENDPOINT, add_dataset, add_model
from tests.web.parsing import chosen, errors, links, live_models, parsed, texts


@pytest.fixture
def dataset(lab: Lab) -> str:
    return add_dataset(lab)


@pytest.fixture
def black_box(lab: Lab, dataset: str) -> str:
    return add_model(lab, dataset, name="<b>Box</b>", **BLACK_BOX)


def test_its_page_says_what_it_takes_and_what_remains(client: httpx.Client, black_box: str) -> None:
    page = client.get(f"/models/{black_box}").text
    assert "<b>Box</b>" not in page
    assert "black box" in texts(page, "h1 .badge")
    section = parsed(page).select_one('section[aria-label="Black box"]')
    assert section is not None
    said = " ".join(section.text.split())
    assert "float32 from 0 to 255, NHWC, 8 images at once" in said
    assert "probabilities" in said
    assert "amber at best" in said
    assert links(page, "/live") == ["/live"]  # in the head of every page
    assert parsed(page).select_one('form[action$="/release"]') is None
    assert "ONNX file" in " ".join(texts(page, ".heading a.button"))


WHY = "it has operators that the lab does not compute: <b>Cos</b>"
PROOF = {"images": 1100, "difference": 3e-6, "tolerance": 2e-3}


def test_a_file_that_was_not_converted_says_why(
    client: httpx.Client, lab: Lab, dataset: str
) -> None:
    asked = BLACK_BOX["onnx"] | {"why_asked": WHY}
    page = client.get(f"/models/{add_model(lab, dataset, **BLACK_BOX | {'onnx': asked})}").text
    assert "<b>Cos</b>" not in page
    section = parsed(page).select_one('section[aria-label="Black box"]')
    assert section is not None
    assert f"Why it is one: {WHY}." in " ".join(section.text.split())


@pytest.mark.parametrize("access", ["white_box", "no_features"])
def test_a_file_that_was_converted_is_a_white_box_with_its_proof(
    client: httpx.Client, lab: Lab, dataset: str, access: str
) -> None:
    given = BLACK_BOX | {"access": access, "onnx": BLACK_BOX["onnx"] | {"proof": PROOF}}
    model = add_model(lab, dataset, **given)
    page = client.get(f"/models/{model}").text
    section = parsed(page).select_one('section[aria-label="From an ONNX file"]')
    assert section is not None
    said = " ".join(section.text.split())
    assert "on 1,100 images its logits differ from those of onnxruntime by at most 3.0e-06" in said
    assert ("which of its values are features" in said) is (access == "no_features")
    assert parsed(page).select_one('form[action$="/release"]') is not None
    assert "Weights" in " ".join(texts(page, ".heading a.button"))
    assert live_models(client.get(f"/live?models={model}").text) == (
        [model] if access == "white_box" else []
    )
    form = client.get(f"/evaluate?models={model}").text
    assert chosen(form, "attack.method") == ["pgd"]
    attention = parsed(form).select_one('input[type="checkbox"][name="attention"]')
    assert attention is not None
    assert attention.has_attr("checked") is (access == "white_box")
    sent = {"models": model, "dataset": dataset, "attack.method": "pgd", "attention": "true"}
    answer = client.post("/evaluate", data=sent)
    assert answer.status_code == (303 if access == "white_box" else 422)
    if access == "no_features":
        assert "it gives no features" in errors(answer.text)["field-models"]


def test_its_file_is_downloaded_as_it_came(client: httpx.Client, lab: Lab, black_box: str) -> None:
    lab.files.weights(black_box, Held.ONNX).write_bytes(b"its file")
    answer = client.get(f"/api/models/{black_box}/weights")
    assert answer.content == b"its file"
    assert answer.headers["content-disposition"].endswith('.onnx"')
    card = client.get(f"/api/models/{black_box}").json()["card"]
    assert card["access"] == "black_box"
    assert OnnxInterface.model_validate(card["onnx"]).batch == 8


def test_lists_tell_it_apart(client: httpx.Client, black_box: str) -> None:
    assert "black box" in texts(client.get("/models").text, "tbody .badge")
    form = client.get("/evaluate").text
    assert any("black box, ONNX" in one for one in texts(form, "#field-models small"))


def test_its_evaluation_begins_with_square(
    client: httpx.Client, lab: Lab, dataset: str, black_box: str
) -> None:
    page = client.get(f"/evaluate?models={black_box}").text
    assert chosen(page, "attack.method") == ["square"]
    form = parsed(page)
    for method, barred in (("pgd", True), ("square", False)):
        choice = form.select_one(f'li:has(input[name="attack.method"][value="{method}"])')
        assert choice is not None
        assert (black_box in str(choice.get("data-and-is", ""))) is barred
    note = form.select_one(f'[data-when="models"][data-is="{black_box}"]')
    assert note is not None
    assert "neither gradients nor features" in " ".join(note.text.split())
    sent = {"models": black_box, "dataset": dataset, "attack.method": "square",
            "further": ["hop_skip_jump"]}  # fmt: skip
    assert client.post("/evaluate", data=sent).status_code == 303
    (job,) = jobs.page(lab).items
    assert (job.params["attention"], job.params["minimal_epsilon"]) == (False, False)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"attack.method": "pgd"}, "field-models", "it gives no gradients"),
    ({"attack.method": "square", "further": ["autoattack"]}, "field-further", "needs more than"),
    ({"attack.method": "square", "attention": "true"}, "field-attention", "along gradients"),
]


@pytest.mark.parametrize(("changes", "field", "message"), WRONG)
def test_what_it_cannot_give_is_said_at_the_field(
    client: httpx.Client,
    dataset: str,
    black_box: str,
    changes: dict[str, Any],
    field: str,
    message: str,
) -> None:
    answer = client.post("/evaluate", data={"models": black_box, "dataset": dataset} | changes)
    assert answer.status_code == 422
    assert message in errors(answer.text)[field]


def test_where_more_is_needed_it_is_not_offered(
    client: httpx.Client, lab: Lab, dataset: str, black_box: str
) -> None:
    white = add_model(lab, dataset)
    assert live_models(client.get(f"/live?models={black_box}").text) == [white]
    for path, field in (("/train", "teacher"), ("/ablation", "training.teacher")):
        form = parsed(client.get(path).text)
        offered = {option["value"] for option in form.select(f'[name="{field}"] option')}
        assert white in offered
        assert black_box not in offered
    sources = parsed(client.get("/evaluate").text).select('input[name="sources"]')
    assert [one["value"] for one in sources] == [white]


def test_weights_without_an_architecture_are_refused_at_once_and_onnx_is_not(
    client: httpx.Client, lab: Lab, dataset: str
) -> None:
    sent = {"name": "Net", "dataset": dataset}
    answer = client.post("/models/import", data=sent, files={"file": ("net.pt", b"x")})
    assert answer.status_code == 422
    assert "need the architecture" in errors(answer.text)["field-architecture"]
    sent |= {"pixels": "0-255", "layout": "nhwc"}
    answer = client.post("/models/import", data=sent, files={"file": ("net.ONNX", b"x")})
    assert answer.status_code == 303
    (job,) = jobs.page(lab).items
    assert [job.params[name] for name in ("architecture", "pixels", "layout")] == [
        None, "0-255", "nhwc",
    ]  # fmt: skip


ADDRESS = "https://models.example.org/v1/predict"


@pytest.fixture
def listed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator has listed an address."""
    monkeypatch.setattr(lab.settings, "endpoints", (ADDRESS,))


def test_no_form_asks_for_an_address_where_none_is_listed(
    client: httpx.Client, dataset: str
) -> None:
    form = parsed(client.get("/models/import").text)
    assert form.select_one('[name="address"]') is None
    assert form.select_one('[name="budget"]') is None
    sent = {"name": "Net", "dataset": dataset, "address": ADDRESS}
    answer = client.post("/models/import", data=sent)
    assert answer.status_code == 422
    assert "LAB_ENDPOINTS" in answer.text
    assert client.post("/api/models", data=sent).status_code == 422


@pytest.mark.usefixtures("listed")
def test_a_listed_address_is_chosen_in_place_of_a_file(
    client: httpx.Client, lab: Lab, dataset: str
) -> None:
    form = parsed(client.get("/models/import").text)
    offered = [one["value"] for one in form.select('select[name="address"] option')]
    assert offered == ["", ADDRESS]
    sent = {"name": "Net", "dataset": dataset, "address": ADDRESS, "per_second": "5"}
    assert client.post("/models/import", data=sent).status_code == 303
    assert client.post("/api/models", data=sent).status_code == 202
    for job in jobs.page(lab).items:
        assert (job.params["upload"], job.params["address"]) == (None, ADDRESS)
        assert (job.params["per_second"], job.params["sends"]) == (5.0, "png")
        assert client.get(f"/models/import?from={job.id}").status_code == 200
        assert client.get(f"/jobs/{job.id}").status_code == 200
    code = client.post("/models/import/code", data=sent).text
    assert f"address=&#39;{ADDRESS}&#39;" in code, "and no file"
    both = client.post("/models/import", data=sent, files={"file": ("net.onnx", b"net")})
    assert "leave it empty" in errors(both.text)["weights-file"]
    assert "still here" not in both.text
    with lab.database.reading() as session:
        upload = session.scalars(select(UploadRow.id)).one()
    assert client.post("/models/import", data=sent | {"upload": upload}).status_code == 303
    assert jobs.page(lab).items[0].params["upload"] is None, "that was of an earlier try"
    wrong = client.post("/models/import", data=sent | {"architecture": "wrn-10-1"})
    assert "leave it empty" in errors(wrong.text)["field-architecture"]
    assert "choose it again" not in wrong.text


def test_its_page_says_how_it_is_asked(client: httpx.Client, lab: Lab, dataset: str) -> None:
    model = add_model(lab, dataset, name="Far", **ENDPOINT)
    page = client.get(f"/models/{model}").text
    section = parsed(page).select_one('section[aria-label="Black box"]')
    assert section is not None
    said = " ".join(section.text.split())
    assert ADDRESS in said
    assert (
        "PNG in base64, 8 bits a channel; 32 images a request at most, 12.5 images a second" in said
    )
    assert "50,000 images of one job" in said
    assert "and no scores" in said
    assert "parameters" not in texts(page, ".heading .muted")[0]
    lab.files.weights(model, Held.ADDRESS).write_bytes(b"{}")
    answer = client.get(f"/api/models/{model}/weights")
    assert answer.headers["content-disposition"].endswith('.json"')
    form = client.get(f"/evaluate?models={model}").text
    assert chosen(form, "attack.method") == ["hop_skip_jump"]
    for name, method, barred in (
        ("attack.method", "square", True), ("attack.method", "hop_skip_jump", False),
        ("further", "square", True), ("further", "transfer", False),
    ):  # fmt: skip
        choice = parsed(form).select_one(f'li:has(input[name="{name}"][value="{method}"])')
        assert choice is not None
        assert (model in str(choice.get("data-and-is", ""))) is barred, (name, method)
