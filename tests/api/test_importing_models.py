"""The import of a model over REST: it is started, or refused and nothing stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.contracts.jobs import Queue
from app.services.lab import Lab
from app.store import catalogue
from tests.api.problems import problem
from tests.plugins.stock import stock_dataset

FILE = ("../../net.pt", b"PK\x03\x04 not checked here", "application/octet-stream")


def on_disk(lab: Lab) -> list[Path]:
    return list((lab.settings.data_dir / "uploads").iterdir())


def post(client: httpx.Client, lab: Lab, **changes: Any) -> httpx.Response:
    data = {"name": "Net", "dataset": stock_dataset(lab), "architecture": "timm:resnet18"} | changes
    sent = {name: value for name, value in data.items() if value is not None}
    return client.post("/api/models", files={"file": FILE}, data=sent)


def test_the_file_is_stored_and_its_import_queued(client: httpx.Client, lab: Lab) -> None:
    answer = post(
        client, lab, classes=["dog", "cat", "ship"], expected="0.95",
        mean=["0.5", "0.4", "0.3"], std=["0.2", "0.2", "0.2"],
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["kind"], job["queue"], job["title"]) == (
        "import_model", "evaluate", "Import the model Net",
    )  # fmt: skip
    params = job["params"]
    assert params["classes"] == ["dog", "cat", "ship"]
    assert (params["mean"], params["std"]) == ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2])
    assert (params["expected"], params["tolerance"]) == (0.95, 0.02)
    upload = catalogue.upload(lab.database, params["upload"])
    assert upload is not None
    assert (upload.filename, upload.size_bytes) == ("net.pt", len(FILE[1]))
    assert lab.files.upload(upload.id).read_bytes() == FILE[1]
    assert lab.broker.waiting(Queue.EVALUATE) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"architecture": None}, "architecture"),
        ({"architecture": "timm:<b>"}, "architecture"),
        ({"dataset": "0" * 32}, "dataset"),
        ({"dataset": "x"}, "dataset"),
        ({"name": ""}, "name"),
        ({"classes": ["cat", "dog"]}, "classes"),
        ({"classes": ["cat", "dog", "boat"]}, "classes"),
        ({"mean": ["0.5", "0.5", "0.5"]}, "std"),
        ({"mean": ["nan", "0.5", "0.5"], "std": ["1", "1", "1"]}, "mean"),
        ({"expected": "95"}, "expected"),
        ({"expected": "many"}, "expected"),
        ({"epochs": "3"}, "epochs"),
    ],
)
def test_what_is_refused_names_the_field_and_leaves_nothing(
    client: httpx.Client, lab: Lab, changes: dict[str, Any], field: str
) -> None:
    named = problem(post(client, lab, **changes), 422)
    assert any(name.split(".")[0] == field for name in named), named
    assert on_disk(lab) == []
    assert lab.broker.waiting(Queue.EVALUATE) == 0


def test_without_a_file_or_with_an_empty_one_nothing_starts(client: httpx.Client, lab: Lab) -> None:
    data = {"name": "Net", "dataset": stock_dataset(lab), "architecture": "wrn-10-1"}
    assert problem(client.post("/api/models", data=data), 422) == ["file"]
    empty = {"file": ("net.pt", b"")}
    assert problem(client.post("/api/models", data=data, files=empty), 422) == ["file"]
    assert on_disk(lab) == []
