"""The page of the REST API: all of the document that it is made of, and lines that work."""

from __future__ import annotations

import subprocess
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from bs4 import BeautifulSoup

from app.contracts.jobs import JobKind
from app.services import jobs
from app.services.lab import Lab
from app.web.pages.reference import anchor
from tests.web.examples import add_dataset
from tests.web.parsing import parsed, text_of


@pytest.fixture
def page(client: httpx.Client) -> BeautifulSoup:
    return parsed(client.get("/docs").text)


@pytest.fixture
def document(client: httpx.Client) -> Any:
    return client.get("/api/openapi.json").json()


def entry(page: BeautifulSoup, name: str) -> Any:
    heading = page.find(id=name)
    assert heading is not None, name
    return heading.find_parent(class_="entry")


def test_every_operation_is_there_with_all_of_it(page: BeautifulSoup, document: Any) -> None:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            text = text_of(entry(page, anchor(method, path)))
            assert said["description"].split("\n")[0].split("`")[0].strip() in text
            assert all(one["name"] in text for one in said.get("parameters", ()))
            assert all(media in text for media in said.get("requestBody", {}).get("content", ()))
            assert all(status in text for status in said["responses"])
            assert "curl -sSf" in text


def test_every_shape_is_there_with_its_fields(page: BeautifulSoup, document: Any) -> None:
    for name, schema in document["components"]["schemas"].items():
        codes = {code.get_text() for code in entry(page, name).select("th code, li code")}
        assert set(schema.get("properties", schema.get("enum", ()))) <= codes, name


def test_every_place_of_the_page_can_be_linked_to(page: BeautifulSoup) -> None:
    ids = [one["id"] for one in page.select("[id]")]
    assert len(ids) == len(set(ids))
    links = [link["href"][1:] for link in page.select('main a[href^="#"]')]
    assert len(links) > 200
    assert set(links) <= set(ids)


def test_budgets_and_limits_are_said_as_people_write_them(page: BeautifulSoup) -> None:
    rows = {
        text_of(row.th.code): text_of(row) for row in entry(page, "TrainParams").select("tr")[1:]
    }
    assert "Default 8/255" in rows["epsilon"]
    assert "Default 10, at least 1, at most 1,000." in rows["epochs"]
    form = entry(page, "post-datasets")
    assert "multipart/form-data" in text_of(form)
    assert text_of(form.find("code", string="file").find_parent("tr").td) == "file"


def line(page: BeautifulSoup, name: str) -> str:
    return str(entry(page, name).select_one("pre").get_text())


def run(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lines_work_once_the_ids_are_filled_in(connected: httpx.Client, lab: Lab) -> None:
    page, dataset = parsed(connected.get("/docs").text), add_dataset(lab)
    assert '"version"' in run(line(page, "get-health"))
    assert run(line(page, "post-jobs").replace("ID", dataset).replace("…", "Mine"))
    (job,) = jobs.page(lab, kinds=[JobKind.TRAIN]).items
    assert job.params["name"] == "Mine"
    assert run(line(page, "patch-jobs-job_id").replace("ID", job.id).replace("…", "Other"))
    assert jobs.get(lab, job.id).title == "Other"
    assert run(line(page, "post-jobs-job_id-cancel").replace("ID", job.id))
    assert '"cancelled"' in run(line(page, "get-jobs-job_id").replace("ID", job.id))


def test_addresses_are_those_of_this_lab(page: BeautifulSoup) -> None:
    address = line(page, "get-jobs").split()[-1]
    assert urlsplit(address)[:3] == ("http", "127.0.0.1", "/api/jobs")
