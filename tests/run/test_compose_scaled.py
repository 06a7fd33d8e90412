"""The commands of docker-compose.yml's profile `scale` with a real PostgreSQL, Redis and nginx."""

from __future__ import annotations

import os
import re
import signal
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.admission.people import PASSWORD
from tests.run import names
from tests.run.containers import Container, Containers, containers, make_secrets, read
from tests.run.servers import start_database, start_proxy, start_storage
from tests.web.parsing import parsed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.containers,
    pytest.mark.nginx,
    pytest.mark.postgresql,
    pytest.mark.redis,
    pytest.mark.storage,
]
NAME = "lab.example.org"
PORTS = ["5432", "6379", "8000", "8080", "8333", "8443"]


@pytest.fixture
def scaled() -> Iterator[Containers]:
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    folder.chmod(0o711)  # PostgreSQL runs as somebody else
    before = os.umask(0o022)  # a lab of an earlier test may have set another
    # Here whatever speaks for others does so from this address.
    variables = {"LAB_NAME": NAME, "LAB_FRONT_NETWORK": "127.0.0.1/32"}
    project = read(make_secrets(folder / "secrets", NAME), **variables)
    try:
        with containers(folder, project, PORTS, "web-scale") as running:
            yield running
    finally:
        os.umask(before)


@pytest.fixture
def lab(scaled: Containers) -> Iterator[dict[str, Container]]:
    """All of it, with two web processes and a worker, in the order of `depends_on`."""
    parts = {
        name: scaled.make(name, f"127.0.9.{number}")
        for number, name in enumerate(("database", "broker", "storage"), 2)
    }
    start_database(parts["database"])
    parts["broker"].start()
    parts["broker"].wait()
    start_storage(parts["storage"])
    bucket = parts["bucket"] = scaled.make("bucket", "127.0.9.5")
    bucket.run(*bucket.service["command"])
    bucket.run(*bucket.service["command"])  # again, as at the next start
    for number in (1, 2):
        parts[f"web {number}"] = scaled.make("web-scale", f"127.0.9.{number + 5}")
    parts["worker"] = scaled.make("worker-evaluate-scale", "127.0.9.8")
    # Both at once: one of them makes the tables.
    for name in ("web 1", "web 2"):
        parts[name].start()
    for name in ("web 1", "web 2"):
        parts[name].wait()
    parts["worker"].start()
    parts["proxy"] = scaled.make("proxy", "127.0.9.9")
    with names.answering(scaled.addresses) as resolver:
        start_proxy(parts["proxy"], resolver)
        parts["worker"].wait()
        yield parts


@pytest.fixture
def ada(scaled: Containers, lab: dict[str, Container]) -> Iterator[httpx.Client]:
    """A browser that has signed in through the proxy."""
    lab["web 1"].run("python", "-m", "app", "users", "add", "ada", "admin", said=PASSWORD)
    certificate = Path(scaled.secrets_folder, "tls_cert")
    known = ssl.create_default_context(cafile=certificate)
    known.check_hostname = False  # it is asked by its address
    host = f"{NAME}:{scaled.ports['8443']}"
    address = f"https://{lab['proxy'].address}:{scaled.ports['8443']}"
    headers = {"Host": host, "Origin": f"https://{host}"}
    with httpx.Client(base_url=address, verify=known, headers=headers, timeout=60) as client:
        form = {"name": "ada", "password": PASSWORD, "then": "/jobs"}
        answer = client.post("/login", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
        meta = parsed(client.get("/account").text).select_one("meta[name=csrf]")
        assert meta is not None
        client.headers["X-CSRF-Token"] = str(meta["content"])
        yield client


def buckets(storage: Container) -> set[str]:
    """All that there are, without s3fs."""
    answer = httpx.get(f"http://{storage.address}:{storage.here('8333')}/")
    return set(re.findall(r"<Name>([^<]+)</Name>", answer.text))


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("", {"lab"}),
        ("s3://team/files?endpoint=http://storage:8333", {"team"}),
        ("s3://lab?endpoint=http://127.0.0.1:9&region=eu-central-1", set()),
        ("s3://lab?region=eu-central-1", set()),
    ],
)
def test_a_bucket_is_made_of_its_own_storage_alone(url: str, made: set[str]) -> None:
    """And where the storage is somebody else's, nothing waits for a bucket that nobody can make."""
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    project = read(make_secrets(folder / "secrets", NAME), LAB_STORAGE_URL=url)
    with containers(folder, project, PORTS) as running:
        storage = running.make("storage", "127.0.9.10")
        start_storage(storage)
        bucket = running.make("bucket", "127.0.9.11")
        bucket.run(*bucket.service["command"])
        assert buckets(storage) == made


def ended(client: httpx.Client, job: str) -> str:
    """How it ended, by the stream of its events."""
    with client.stream("GET", f"/api/jobs/{job}/events", timeout=600) as stream:
        list(stream.iter_lines())
    return str(client.get(f"/api/jobs/{job}").json()["status"])


def open_job(client: httpx.Client) -> str:
    """The id of one that nobody runs: there is no worker that trains."""
    (dataset,) = client.get("/api/datasets").json()
    training = {"name": "Waits", "dataset": dataset["id"], "architecture": "wrn-10-1"}
    sent = client.post("/api/jobs", json={"kind": "train", "params": training})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


def signalled(container: Container, number: signal.Signals) -> None:
    assert container.process is not None
    container.process.send_signal(number)


def test_its_commands_make_a_lab_of_two_webs(
    scaled: Containers, lab: dict[str, Container], ada: httpx.Client
) -> None:
    asked = httpx.get(f"http://{lab['proxy'].address}:{scaled.ports['8080']}/jobs")
    assert (asked.status_code, asked.headers["location"]) == (
        301, f"https://{lab['proxy'].address}/jobs",
    )  # fmt: skip

    drawn = {"name": "Drawn", "source": "shapes", "train_per_class": "20"}
    sent = ada.post("/api/datasets", data=drawn)
    assert sent.status_code == 202, sent.text
    assert ended(ada, sent.json()["id"]) == "succeeded"
    # The worker's disk is not theirs, and the one is not the other's.
    (dataset,) = ada.get("/api/datasets").json()
    for _ in range(4):
        table = ada.get(f"/api/datasets/{dataset['id']}/manifest.csv")
        assert table.status_code == 200
        assert len(table.text.splitlines()) > 200

    file = ("a.zip", b"x" * 3 * 2**20)
    sent = ada.post(
        "/api/datasets", data={"name": "None", "source": "archive"}, files={"file": file}
    )
    assert sent.status_code == 202, sent.text
    assert ended(ada, sent.json()["id"]) == "failed", "the worker has read what was sent"

    assert not any(secret in scaled.shown() for secret in scaled.secrets)

    with ada.stream("GET", f"/api/jobs/{open_job(ada)}/events", timeout=600) as stream:
        lines = stream.iter_lines()
        next(lines)
        for name in ("web 1", "web 2"):
            signalled(lab[name], signal.SIGSTOP)
        with pytest.raises(httpx.RemoteProtocolError):  # a browser asks the other one then
            list(lines)
        for name in ("web 1", "web 2"):
            signalled(lab[name], signal.SIGCONT)

    assert lab["web 1"].stop() in (0, -signal.SIGTERM)
    for _ in range(4):
        assert ada.get("/jobs").status_code == 200, "the other answers, with the same session"
    assert lab["worker"].stop() == 0
    assert lab["proxy"].stop() == 0
