"""A data folder of every released version opens, shows its pages, and goes on."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from app.contracts.events import LogEvent
from app.contracts.jobs import JobStatus
from app.main import create_app
from app.services.lab import Lab
from app.settings import BESIDE, VERSION, Settings
from app.store import job_queries
from app.store.tables import JobRow
from tests.jobs.runs import events_of, row_of
from tests.plugins.servers import served
from worker.job_run import run_job
from worker.jobs.context import WorkerLab

HERE = Path(__file__).parent
KEPT = sorted(path.name.removesuffix(".tar.xz") for path in HERE.glob("*.tar.xz"))
RELEASES = re.findall(
    r"^## (\d+\.\d+\.\d+)(?: \(([^)]*)\))?", (BESIDE / "CHANGELOG.md").read_text(), re.M
)


@pytest.fixture(params=KEPT)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of a lab on the folder that a version left."""
    with tarfile.open(HERE / f"{request.param}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    return Settings(data_dir=tmp_path, redis_url="redis://127.0.0.1:1/0", shipped_dir=HERE)


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    opened = Lab.open(settings)
    yield opened
    opened.close()


def jobs_of(lab: Lab) -> dict[str, JobRow]:
    return {row.title: row for row in job_queries.page(lab.database, offset=0, limit=10)[0]}


def test_every_released_version_has_its_folder() -> None:
    released = [version for version, said in RELEASES if said != "unreleased"]
    assert sorted(released) == KEPT
    assert RELEASES[0] == (VERSION, "unreleased"), "what is being worked on has a number of its own"


def test_its_pages_show_what_it_left(settings: Settings, lab: Lab) -> None:
    rows = jobs_of(lab)
    addresses = ["/", "/jobs", "/models", "/datasets", "/board", "/api/jobs"]
    for row in rows.values():
        addresses += [f"/jobs/{row.id}", f"/jobs/{row.id}/record.json", f"/api/jobs/{row.id}"]
        if row.status == JobStatus.SUCCEEDED:
            addresses.append(f"/api/jobs/{row.id}/result")
    with served(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        for address in addresses:
            assert client.get(address).status_code == 200, address
        assert client.get("/api/health").json()["version"] == VERSION
        assert client.get("/api/openapi.json").json()["info"]["version"] == VERSION
        figures = client.get(f"/jobs/{rows['Train Net'].id}/record.json").json()["figures"]
        assert {"accuracy", "loss"} <= figures.keys()
        models = client.get("/api/models").json()["items"]
        assert [model["name"] for model in models] == ["Net"]
        assert client.get(f"/models/{models[0]['id']}").status_code == 200


def test_what_was_unfinished_goes_on_or_says_why_not(settings: Settings, lab: Lab) -> None:
    torch.set_num_threads(1)
    worker = WorkerLab(lab.settings, lab.database, lab.files, lambda _: None)
    rows = jobs_of(lab)
    assert run_job(worker, rows["Train Waiting"].id, stopping=never) is JobStatus.SUCCEEDED
    begun = rows["Train Unfinished"].id
    ended = run_job(worker, begun, stopping=never)
    said = [event.text for event in events_of(worker, begun) if isinstance(event, LogEvent)]
    if ended is JobStatus.SUCCEEDED:
        assert "Going on after 4 steps." in said
        return
    failure = row_of(worker, begun).failure
    assert failure is not None
    assert "another version of the lab" in failure["detail"]
    assert "train from the start" in failure["hint"]


def never() -> bool:
    return False
