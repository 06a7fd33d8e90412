"""Datasets over REST: the import is started, or refused and nothing stays."""

from __future__ import annotations

import csv
import hashlib
import io
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.contracts.jobs import Queue
from app.services.lab import Lab
from app.settings import Settings
from app.store import catalogue
from tests.api.problems import problem
from tests.plugins.stock import stock_dataset

PARTS = {"train": 5, "test": 4}
ARCHIVE = ("pets.zip", b"PK\x03\x04 not checked here", "application/zip")


def uploads_on_disk(lab: Lab) -> list[Path]:
    return list((lab.settings.data_dir / "uploads").iterdir())


def test_an_archive_is_stored_and_its_import_queued(client: httpx.Client, lab: Lab) -> None:
    answer = client.post(
        "/api/datasets", files={"file": ARCHIVE}, data={"name": "Pets", "image_size": "64"}
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["kind"], job["queue"], job["title"]) == ("import", "evaluate", "Import Pets")
    assert (job["params"]["source"], job["params"]["image_size"]) == ("archive", 64)
    upload = catalogue.upload(lab.database, job["params"]["upload"])
    assert upload is not None
    assert (upload.filename, upload.size_bytes) == ("pets.zip", len(ARCHIVE[1]))
    assert lab.files.upload(upload.id).read_bytes() == ARCHIVE[1]
    assert lab.broker.waiting(Queue.EVALUATE) == 1


@pytest.mark.parametrize("source", ["shapes", "cifar10", "cifar100", "svhn"])
def test_a_named_source_needs_no_file(client: httpx.Client, source: str) -> None:
    answer = client.post("/api/datasets", data={"name": "Set", "source": source, "seed": "7"})
    assert answer.status_code == 202
    params = answer.json()["params"]
    assert (params["source"], params["upload"], params["seed"]) == (source, None, 7)


@pytest.mark.parametrize(
    ("data", "with_file", "field"),
    [
        ({"name": "Set"}, False, "file"),
        ({"name": "Set", "source": "archive"}, False, "file"),
        ({"name": "Set", "source": "shapes"}, True, "file"),
        ({"name": "Set", "source": "imagenet"}, False, "source"),
        ({"name": ""}, True, "name"),
        ({}, True, "name"),
        ({"name": "a\nb"}, True, "name"),
        ({"name": "x" * 81}, True, "name"),
        ({"name": "Set", "image_size": "48"}, True, "image_size"),
        ({"name": "Set", "image_size": "big"}, True, "image_size"),
        ({"name": "Set", "seed": "-1"}, True, "seed"),
        ({"name": "Set", "source": "shapes", "train_per_class": "1"}, False, "train_per_class"),
        ({"name": "Set", "colour": "blue"}, True, "colour"),
        ({"name": "Taken"}, True, "name"),
        ({"name": "Taken", "source": "shapes"}, False, "name"),
    ],
)
def test_a_refused_import_leaves_nothing(
    client: httpx.Client, lab: Lab, data: dict[str, str], with_file: bool, field: str
) -> None:
    stock_dataset(lab, name="Taken")
    files = {"file": ARCHIVE} if with_file else {"none": ("", b"")}
    answer = client.post("/api/datasets", data=data, files=files if with_file else None)
    assert problem(answer, 422) == [field]
    assert uploads_on_disk(lab) == []
    assert client.get("/api/jobs").json()["total"] == 0


def test_a_preview_and_the_order_of_classes_are_asked_for(client: httpx.Client) -> None:
    fields = {"name": "Set", "preview": "true", "order": "sorted", "encoding": "cp932",
              "image_size": "224", "classes": ["dog", "cat"]}  # fmt: skip
    job = client.post("/api/datasets", data=fields, files={"file": ARCHIVE}).json()
    assert job["title"] == "Look at Set"
    asked = {name: job["params"][name] for name in fields}
    assert asked == {**fields, "preview": True, "image_size": 224}
    drawn = client.post(
        "/api/datasets", data={"name": "Set", "source": "shapes", "preview": "true"}
    )
    assert problem(drawn, 422) == ["preview"]


def test_an_empty_archive_is_refused(client: httpx.Client, lab: Lab) -> None:
    answer = client.post("/api/datasets", files={"file": ("a.zip", b"")}, data={"name": "Set"})
    assert problem(answer, 422) == ["file"]
    assert uploads_on_disk(lab) == []


def test_a_file_that_is_text_is_refused(client: httpx.Client) -> None:
    answer = client.post("/api/datasets", data={"name": "Set", "file": "pets.zip"})
    assert problem(answer, 422) == ["file"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\pets.zip", "pets.zip"),
        ("<b>.zip", "<b>.zip"),
        ("line\u2028break.zip", "linebreak.zip"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_files_own_name_is_only_shown(
    client: httpx.Client, lab: Lab, sent: str, shown: str
) -> None:
    answer = client.post("/api/datasets", files={"file": (sent, b"PK")}, data={"name": "Set"})
    upload_id = answer.json()["params"]["upload"]
    upload = catalogue.upload(lab.database, upload_id)
    assert upload is not None
    assert upload.filename == shown
    assert [path.name for path in uploads_on_disk(lab)] == [upload_id]


class TestSmallLimit:
    """Where archives of at most 1 MB are taken (and 1 MB of form beside them)."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"max_upload_mb": 1})

    def test_a_little_too_large_is_found_while_storing(
        self, client: httpx.Client, lab: Lab
    ) -> None:
        file = io.BytesIO(b"x" * (2**20 + 1))
        answer = client.post("/api/datasets", files={"file": file}, data={"name": "Set"})
        assert problem(answer, 413) == ["file"]
        assert uploads_on_disk(lab) == []

    def test_far_too_large_is_refused_before_it_is_sent(self, web: str) -> None:
        host, port = web.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                f"POST /api/datasets HTTP/1.1\r\nHost: {host}:{port}\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\n"
                f"Content-Length: {10**12}\r\n\r\n".encode()
            )
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in answer

    def test_a_body_without_length_is_not_read(self, connected: httpx.Client, lab: Lab) -> None:
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            while sent < 500 * 2**20:
                sent += 2**16
                yield b"x" * 2**16

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with suppress(httpx.TransportError):  # it may hang up while this side still sends
            problem(connected.post("/api/datasets", content=endless(), headers=headers), 411)
        assert sent < 50 * 2**20
        assert uploads_on_disk(lab) == []


def test_looking_at_datasets(client: httpx.Client, lab: Lab) -> None:
    assert client.get("/api/datasets").json() == []
    first, second = stock_dataset(lab, name="First"), stock_dataset(lab, name="Second")
    listed = client.get("/api/datasets").json()
    assert [view["id"] for view in listed] == [second, first]
    one = client.get(f"/api/datasets/{first}").json()
    assert one == listed[1]
    assert one["report"]["classes"] == ["cat", "dog", "ship"]
    named = client.get("/api/datasets", params={"name": "First"}).json()
    assert named == [one]
    assert client.get("/api/datasets", params={"name": "first"}).json() == []
    problem(client.get(f"/api/datasets/{'0' * 32}"), 404)
    assert problem(client.get("/api/datasets/x"), 422) == ["dataset_id"]


def test_a_manifest_names_every_image_in_order(client: httpx.Client, lab: Lab) -> None:
    dataset = stock_dataset(lab, classes=("cat", "=dog", "ship"))
    problem(client.get(f"/api/datasets/{dataset}/manifest.csv"), 404)
    folder = lab.files.dataset(dataset)
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = {part: rng.integers(0, 256, (n, 4, 4, 3), np.uint8) for part, n in PARTS.items()}
    labels = {part: np.arange(n) % 3 for part, n in PARTS.items()}
    for part in PARTS:
        np.save(folder / f"{part}_images.npy", images[part])
        np.save(folder / f"{part}_labels.npy", labels[part])
    answer = client.get(f"/api/datasets/{dataset}/manifest.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="Pets-' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    names = ("cat", "'=dog", "ship")
    assert [tuple(row.values()) for row in rows] == [
        (part, str(i), str(k), names[k], hashlib.sha256(images[part][i].tobytes()).hexdigest())
        for part in PARTS
        for i, k in enumerate(labels[part].tolist())
    ]
