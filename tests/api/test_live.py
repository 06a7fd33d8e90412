"""Live uploads over REST: flat form fields become an explain job."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from app.contracts.jobs import Queue
from app.services.lab import Lab
from tests.api.problems import problem
from tests.plugins.stock import stock_model


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, "PNG")
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
        assert kept.size == (40, 30)
    assert lab.broker.waiting(Queue.LIVE) == 1


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
def test_a_wrong_field_is_named_and_no_upload_stays(
    client: httpx.Client, lab: Lab, pair: dict[str, list[str]], change: dict[str, Any], field: str
) -> None:
    assert problem(send(client, {**pair, **change}), 422) == [field]
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
        (b"\0" * (10 * 2**20 + 1), 413),
        (b"\0" * (12 * 2**20), 413),
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
