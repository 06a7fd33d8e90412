"""The main job through REST: import, teacher, student, evaluation, live; cancel, loss, resume."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import struct
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.e2e.lab_client import Json, LabClient, accepted, after_epoch
from tests.plugins.lab_process import wait_until

TINY = {"architecture": "wrn-10-1", "batch_size": 64, "seed": 3}
LONG = 16
"""Epochs of a training that is to be cancelled, or killed, after its first."""


@pytest.fixture(scope="module")
def imported(api: LabClient, archive: Path) -> Json:
    with archive.open("rb") as stream:
        answer = api.http.post(
            "/api/datasets", data={"name": "CIFAR-10 mini (JPEG)"}, files={"file": stream}
        )
    return api.result(accepted(answer)["id"])


@pytest.fixture(scope="module")
def dataset(imported: Json) -> str:
    return str(imported["dataset"])


@pytest.fixture(scope="module")
def teacher(api: LabClient, dataset: str) -> Json:
    job = api.submit("train", name="Teacher", dataset=dataset, epochs=1, **TINY)
    return api.result(job["id"])


@pytest.fixture(scope="module")
def student_job(api: LabClient, dataset: str, teacher: Json) -> str:
    job = api.submit(
        "train", name="Student", dataset=dataset, recipe="agkd_bml", teacher=teacher["model"],
        epochs=1, steps=2, step_size="5/255", **TINY,
    )  # fmt: skip
    return str(job["id"])


@pytest.fixture(scope="module")
def student(api: LabClient, student_job: str) -> Json:
    return api.result(student_job)


def test_the_import_reports_what_the_archive_held(api: LabClient, imported: Json) -> None:
    report = imported["report"]
    assert len(report["classes"]) == 10
    assert (report["train_images"], report["test_images"], report["skipped"]) == (300, 100, 0)
    assert api.get(f"/api/datasets/{imported['dataset']}")["report"] == report


def test_a_model_knows_where_it_comes_from(
    api: LabClient, dataset: str, teacher: Json, student: Json
) -> None:
    cards = [api.get(f"/api/models/{made['model']}")["card"] for made in (teacher, student)]
    assert cards == [teacher["card"], student["card"]]
    assert [card["name"] for card in cards] == ["Teacher", "Student"]
    assert cards[0]["teacher"] is None
    assert cards[1]["teacher"]["id"] == teacher["model"]
    assert {card["dataset"]["id"] for card in cards} == {dataset}
    assert cards[1]["params"]["step_size"] == pytest.approx(5 / 255)
    assert cards[1]["validation_robust"]["n"] > 0


def test_the_weights_are_what_the_checksum_says(api: LabClient, student: Json) -> None:
    view = api.get(f"/api/models/{student['model']}")
    weights = api.http.get(f"/api/models/{student['model']}/weights").content
    assert hashlib.sha256(weights).hexdigest() == view["sha256"]
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    assert sum(np.prod(shape) for shape in shapes) >= view["card"]["parameters"]


def test_the_evaluation_is_consistent(
    api: LabClient, dataset: str, teacher: Json, student: Json
) -> None:
    job = api.submit(
        "evaluate", models=[teacher["model"], student["model"]], dataset=dataset, images=40,
        attack={"steps": 3}, epsilons=[0, "4/255", "16/255"], step_counts=[1, 3],
    )  # fmt: skip
    result = api.result(job["id"])
    assert result["images"] == 40
    assert [model["name"] for model in result["models"]] == ["Teacher", "Student"]
    for model in result["models"]:
        curve = [point["accuracy"] for point in model["against_epsilon"]]
        assert curve[0] == model["clean"]
        values = [accuracy["value"] for accuracy in curve]
        assert values == sorted(values, reverse=True)
        for accuracy in curve:
            assert accuracy["n"] == 40
            assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert [point["x"] for point in model["against_steps"]] == [1, 3]


def _pixels(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))), dtype=np.int64)


def test_the_live_result_holds_every_position_of_the_slider(
    api: LabClient, picture: Path, teacher: Json, student: Json
) -> None:
    fields = {"models": [teacher["model"], student["model"]], "label": "ship", "steps": 3}
    answer = api.http.post(
        "/api/live", data=fields, files={"image": ("ship.jpg", picture.read_bytes())}
    )
    result = api.result(accepted(answer)["id"])
    assert result["label"] == "ship"
    assert [round(255 * budget) for budget in result["budgets"]] == list(range(17))
    assert result["iterates"] == [0, 1, 2, 3]
    clean, sheets = _pixels(result["clean_png"]), []
    for number, attacked in enumerate(result["attacks"]):
        for row, level in enumerate(attacked["levels"]):
            # The picture is what the models saw: whole grey levels, at most epsilon away.
            assert np.abs(_pixels(level["adversarial_png"]) - clean).max() <= row
        assert np.abs(_pixels(attacked["levels"][16]["adversarial_png"]) - clean).max() > 0
        own, other = (attacked["looks"][i] for i in (number, 1 - number))
        assert (len(own["top"]), len(other["top"])) == (17 * 4, 17)
        assert own["attention"]["shift"]["l1"][0] == 0
        for look in (own, other):
            assert sum(look["probabilities"][-1]) == pytest.approx(1, abs=1e-2)
        sheets.append(_pixels(own["attention"]["sheet"]["png"]))
        assert (sheets[-1].min(), sheets[-1].max()) == (0, 255)
    assert not np.array_equal(*sheets)
    packed = api.http.get(f"{answer.headers['location'].replace('jobs', 'live')}/reproduction.zip")
    assert packed.content.startswith(b"PK")


def test_a_stream_that_was_cut_goes_on_without_gap_or_repeat(
    api: LabClient, student: Json, student_job: str
) -> None:
    whole = list(api.events(student_job))
    assert [event.id for event in whole] == list(range(1, len(whole) + 1))
    assert whole[-1].data["status"] == "succeeded"
    for cut in (1, len(whole) // 2, len(whole) - 1):
        assert list(api.events(student_job, after=whole[cut - 1].id)) == whole[cut:]
    seen = whole[-1].id
    answer = api.http.get(f"/api/jobs/{student_job}/events", headers={"Last-Event-ID": str(seen)})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_running_training_is_cancelled_and_goes_on_from_its_checkpoint(
    api: LabClient, dataset: str
) -> None:
    params = {"name": "Long", "dataset": dataset, "epochs": LONG} | TINY
    job = api.submit("train", **params)["id"]
    api.wait_for(job, after_epoch(1), "a first epoch")
    _taken(api.http.post(f"/api/jobs/{job}/cancel"))
    assert api.wait(job)["status"] == "cancelled"
    assert not api.job(job)["has_result"]
    assert api.http.post(f"/api/jobs/{job}/cancel").status_code == 409
    # The worker is free again, and another job takes up what the first one left.
    again = api.submit("train", **params | {"name": "Longer", "continue_from": job})["id"]
    assert api.result(again)["card"]["name"] == "Longer"
    assert any("Going on after" in line for line in api.log(again))


def _taken(answer: httpx.Response) -> None:
    assert answer.status_code == 202, answer.text


def test_a_killed_worker_costs_one_attempt_and_what_came_after_the_checkpoint(
    api: LabClient, dataset: str
) -> None:
    job = api.submit("train", name="Survivor", dataset=dataset, epochs=LONG, **TINY)["id"]
    checkpoint = api.process.data_dir / "checkpoints" / job / "1" / "last.pt"
    wait_until(checkpoint.exists, "a checkpoint")
    worker = api.process.named("train")
    assert worker is not None
    for process in api.process.descendants().values():
        if process.parent == worker.pid:
            os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: api.job(job)["attempt"] == 2, "a second attempt")
    assert api.result(job)["model"]
    events = list(api.events(job))
    epochs = [e.data["step"] for e in events if e.kind == "metrics" and e.data["series"] == "epoch"]
    assert set(epochs) == set(range(1, LONG + 1))
    log = api.log(job)
    assert "The worker of attempt 1 was lost: ended by SIGKILL." in log
    (resumed,) = [line for line in log if line.startswith("Going on after")]
    assert int("".join(filter(str.isdigit, resumed))) > 0
