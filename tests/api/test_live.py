"""Live uploads over REST: flat form fields become an explain job."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import zipfile
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import BaseModel

from app.contracts.jobs import JobKind, Queue
from app.contracts.params import ExplainParams, ImportParams
from app.contracts.results import DatasetReport, ExplainResult, ImportResult
from app.services.lab import Lab
from tests.api.problems import problem
from tests.plugins.stock import stock_model
from tests.web.examples import add_job, an_id, explanation


def png(size: tuple[int, int] = (40, 30), colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pair(lab: Lab) -> dict[str, list[str]]:
    return {"models": [stock_model(lab), stock_model(lab, name="Student")]}


def send(client: httpx.Client, data: dict[str, Any], image: bytes | None = None) -> httpx.Response:
    file = ("ship.png", png() if image is None else image)
    return client.post("/api/live", data=data, files={"image": file})


def test_an_image_and_models_are_enough(
    client: httpx.Client, lab: Lab, pair: dict[str, list[str]]
) -> None:
    answer = send(client, pair)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["kind"], job["queue"], job["title"]) == ("explain", "live", "Explain ship.png")
    attack = {
        "method": "pgd", "norm": "linf", "steps": 10, "relative_step": 0.25, "random_start": True,
        "restarts": 1, "goal": "untargeted", "target_class": None,
    }  # fmt: skip
    params = job["params"]
    assert params["attack"] == attack
    assert params["max_epsilon"] == pytest.approx(16 / 255)
    assert (params["models"], params["label"], params["seed"]) == (pair["models"], None, 0)
    with Image.open(lab.files.upload(params["upload"])) as kept:
        assert kept.size == (30, 30)
    assert lab.broker.waiting(Queue.LIVE) == 1


def test_a_picture_that_is_sent_again_with_its_key_is_the_same_job(
    client: httpx.Client, lab: Lab, pair: dict[str, list[str]]
) -> None:
    """By what is in the file; its second copy is not kept."""

    def sent(image: bytes, **fields: str) -> httpx.Response:
        return client.post(
            "/api/live",
            data={**pair, **fields},
            files={"image": ("ship.png", image)},
            headers={"Idempotency-Key": "once"},
        )

    first, again = sent(png()), sent(png())
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    for answer in (sent(png(colour="red")), sent(png(), seed="1")):
        problem(answer, 409)
    kept = [path.name for path in (lab.settings.data_dir / "uploads").iterdir()]
    assert kept == [first.json()["params"]["upload"]]
    assert client.get("/api/jobs").json()["total"] == 1


def test_every_field_of_the_attack_is_taken(
    client: httpx.Client, pair: dict[str, list[str]]
) -> None:
    fields = {
        "method": "fgsm", "norm": "l2", "steps": "3", "relative_step": "0.5", "goal": "class",
        "random_start": "false", "restarts": "2", "target_class": "dog", "max_epsilon": "2.5",
        "label": "cat", "seed": "5",
    }  # fmt: skip
    params = send(client, {**pair, **fields}).json()["params"]
    attack = params.pop("attack")
    assert attack == {
        "method": "fgsm", "norm": "l2", "steps": 3, "relative_step": 0.5, "random_start": False,
        "restarts": 2, "goal": "class", "target_class": "dog",
    }  # fmt: skip
    del params["upload"]
    assert params == {**pair, "max_epsilon": 2.5, "label": "cat", "seed": 5}


def test_a_budget_in_255ths_is_understood(client: httpx.Client, pair: dict[str, list[str]]) -> None:
    params = send(client, {**pair, "max_epsilon": "8/255"}).json()["params"]
    assert params["max_epsilon"] == pytest.approx(8 / 255)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"models": ["0" * 32]}, "models"),
        ({"models": []}, "models"),
        ({"models": ["a" * 32] * 2}, "models"),
        ({"models": [f"{i}" * 32 for i in range(7)]}, "models"),
        ({"teacher": "0" * 32}, "teacher"),
        ({"epsilon": "8/255"}, "epsilon"),
        ({"steps": "0"}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"relative_step": "nan"}, "relative_step"),
        ({"restarts": "0"}, "restarts"),
        ({"method": "square"}, "method"),
        ({"method": "apgd_ce", "goal": "most_confusing"}, "goal"),
        ({"norm": "l1"}, "norm"),
        ({"max_epsilon": "16"}, "max_epsilon"),
        ({"max_epsilon": "inf"}, "max_epsilon"),
        ({"goal": "class"}, "target_class"),
        ({"goal": "class", "target_class": "lion"}, "target_class"),
        ({"label": "lion"}, "label"),
    ],
)
def test_a_wrong_field_is_named_before_the_image_is_looked_at(
    client: httpx.Client, lab: Lab, pair: dict[str, list[str]], change: dict[str, Any], field: str
) -> None:
    assert problem(send(client, {**pair, **change}, b"no image"), 422) == [field]
    assert list((lab.settings.data_dir / "uploads").iterdir()) == []


def test_models_of_other_classes_are_refused(
    client: httpx.Client, lab: Lab, pair: dict[str, list[str]]
) -> None:
    for stranger in (stock_model(lab, classes=("a", "b")), stock_model(lab, image_size=64)):
        other = {"models": [*pair["models"], stranger]}
        assert problem(send(client, other), 422) == ["models"]


def test_one_model_is_enough_and_their_order_is_kept(
    client: httpx.Client, pair: dict[str, list[str]]
) -> None:
    first, second = pair["models"]
    assert send(client, {"models": first}).json()["params"]["models"] == [first]
    turned = send(client, {"models": [second, first]}).json()["params"]["models"]
    assert turned == [second, first]


@pytest.mark.parametrize(
    ("image", "status"),
    [
        (b"", 422),
        (b"GIF89a", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (png()[:60], 422),
        (b"\0" * (32 * 2**20 + 1), 413),
        (b"\0" * (34 * 2**20), 413),
    ],
)
def test_bad_images_are_clear_errors(
    client: httpx.Client, lab: Lab, pair: dict[str, list[str]], image: bytes, status: int
) -> None:
    answer = send(client, pair, image)
    assert problem(answer, status) in (["image"], [])
    assert list((lab.settings.data_dir / "uploads").iterdir()) == []


def test_an_image_is_needed(client: httpx.Client, pair: dict[str, list[str]]) -> None:
    assert problem(client.post("/api/live", data=pair), 422) == ["image"]


@pytest.fixture
def done(lab: Lab, pair: dict[str, list[str]]) -> tuple[str, ExplainResult]:
    """A finished live attack, and what it left."""
    result = explanation(*pair["models"], label='it\'s <a> "cat"', classes=CAT_AND_DOG)
    return add_job(lab, JobKind.EXPLAIN, result.params, result=result), result


CAT_AND_DOG = ('it\'s <a> "cat"', "dog")


def packed(client: httpx.Client, job: str) -> dict[str, bytes]:
    answer = client.get(f"/api/live/{job}/reproduction.zip")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_attack_is_packed_with_all_that_reproduces_it(
    client: httpx.Client, lab: Lab, done: tuple[str, ExplainResult]
) -> None:
    job, result = done
    lab.files.upload(result.params.upload).write_bytes(png())
    files = packed(client, job)
    assert files["image.png"] == png()
    config = json.loads(files["config.json"])
    assert config["params"] == json.loads(result.params.model_dump_json(exclude={"upload"}))
    assert [model["sha256"] for model in config["models"]] == [m.sha256 for m in result.models]
    assert ExplainResult.model_validate_json(files["result.json"]) == result
    sums = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())
    assert sums.keys() == {"image.png", "config.json", "result.json"}
    assert all(hashlib.sha256(files[name]).hexdigest() == found for name, found in sums.items())


def test_the_packed_line_asks_for_the_same_attack(
    client: httpx.Client, done: tuple[str, ExplainResult]
) -> None:
    job, result = done
    words = shlex.split(packed(client, job)["again.sh"].decode())
    assert words[:5] == ["curl", "-sSf", "$LAB/api/live", "-F", "image=@image.png"]
    assert set(words[5::2]) == {"--form-string"}
    fields: dict[str, list[str]] = {}
    for entry in words[6::2]:
        name, _, value = entry.partition("=")
        fields.setdefault(name, []).append(value)
    assert fields["label"] == [result.params.label]
    sent = send(client, {**fields, "label": "cat"}).json()["params"]
    expected = result.params.model_copy(update={"upload": sent["upload"], "label": "cat"})
    assert ExplainParams.model_validate(sent) == expected


def test_without_its_upload_the_models_own_picture_is_packed(
    client: httpx.Client, done: tuple[str, ExplainResult]
) -> None:
    job, result = done
    found = packed(client, job)["image.png"]
    assert base64.b64encode(found).decode() == result.clean_png


def test_the_image_is_kept_as_it_was_sent(
    client: httpx.Client, lab: Lab, done: tuple[str, ExplainResult]
) -> None:
    job, result = done
    seen = client.get(f"/api/live/{job}/image.png")
    assert base64.b64encode(seen.content).decode() == result.clean_png
    lab.files.upload(result.params.upload).write_bytes(png())
    assert client.get(f"/api/live/{job}/image.png").content == png()
    waiting = ExplainParams(upload=an_id(), models=(an_id(),))
    job = add_job(lab, JobKind.EXPLAIN, waiting)
    assert client.get(f"/api/live/{job}/image.png").status_code == 409
    lab.files.upload(waiting.upload).write_bytes(png())
    assert client.get(f"/api/live/{job}/image.png").content == png()


def test_only_a_finished_live_attack_is_packed(client: httpx.Client, lab: Lab) -> None:
    for path, status in (("0" * 32, 404), ("x", 422)):
        assert client.get(f"/api/live/{path}/reproduction.zip").status_code == status
    waiting = ExplainParams(upload=an_id(), models=(an_id(),))
    job = add_job(lab, JobKind.EXPLAIN, waiting)
    assert client.get(f"/api/live/{job}/reproduction.zip").status_code == 409
    report = DatasetReport(
        classes=("a",), image_size=32, train_images=1, test_images=1, checksum="0"
    )
    imported = add_job(
        lab, JobKind.IMPORT, ImportParams(name="x"),
        result=ImportResult(dataset=an_id(), report=report),
    )  # fmt: skip
    for file in ("reproduction.zip", "image.png"):
        assert client.get(f"/api/live/{imported}/{file}").status_code == 422


def test_a_result_of_an_earlier_version_is_named_as_such(client: httpx.Client, lab: Lab) -> None:
    upload, teacher = an_id(), an_id()
    job = add_job(
        lab, JobKind.EXPLAIN, _FormerParams(upload=upload, teacher=teacher), result=_Former()
    )
    lab.files.upload(upload).write_bytes(png())
    assert client.get(f"/live?job={job}").status_code == 200
    assert client.get(f"/api/live/{job}/image.png").content == png()
    answer = client.get(f"/api/live/{job}/reproduction.zip")
    assert answer.status_code == 409
    assert "earlier version" in answer.json()["detail"]
    assert client.get(f"/jobs/{job}").status_code == 200


class _FormerParams(BaseModel):
    upload: str
    teacher: str


class _Former(BaseModel):
    kind: str = "explain"
    levels: tuple[int, ...] = ()
