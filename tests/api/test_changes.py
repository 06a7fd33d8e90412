"""Names, notes, tags, archive and bin through the API, for jobs, models and datasets alike."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.contracts.changes import MAX_TAGS, Changes
from app.contracts.jobs import JobStatus
from app.errors import InvalidInput
from app.services import checks, datasets, job_changes, models
from app.services.lab import Lab
from app.services.upkeep import clear
from app.store import marks
from app.store.tables import DatasetRow, JobRow, ModelRow
from tests.plugins.rows import job_row
from tests.plugins.stock import stock_dataset, stock_model, train_body


@pytest.fixture
def things(lab: Lab) -> dict[str, str]:
    """The path of one thing of each kind."""
    row = job_row(status=JobStatus.FAILED, finished_at=time.time(), title="Train Net")
    with lab.database.writing() as session:
        session.add(row)
    return {
        "job": f"/api/jobs/{row.id}",
        "model": f"/api/models/{stock_model(lab)}",
        "dataset": f"/api/datasets/{stock_dataset(lab)}",
    }


@pytest.mark.parametrize("kind", ["job", "model", "dataset"])
def test_what_is_changed_is_shown_and_the_rest_stays(
    client: httpx.Client, things: dict[str, str], kind: str
) -> None:
    path = things[kind]
    answer = client.patch(path, json={"note": " Good.\n", "tags": ["Paper  2", "paper 2", "x"]})
    assert answer.status_code == 200
    said = answer.json()
    assert (said["note"], said["tags"]) == ("Good.", ["paper 2", "x"])
    assert said["archived_at"] is None
    said = client.patch(path, json={"archived": True, "name": "Mine"}).json()
    assert (said["note"], said["tags"], said["name"]) == ("Good.", ["paper 2", "x"], "Mine")
    assert said["archived_at"] is not None
    assert client.get(path).json() == said
    assert client.patch(path, json={"archived": False, "tags": []}).json()["tags"] == []


@pytest.mark.parametrize("kind", ["job", "model", "dataset"])
def test_what_is_deleted_is_gone_until_it_is_restored(
    client: httpx.Client, things: dict[str, str], kind: str
) -> None:
    path = things[kind]
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
    assert client.patch(path, json={"note": "x"}).status_code == 404
    restored = client.post(f"{path}/restore")
    assert restored.status_code == 200
    assert client.get(path).json() == restored.json()
    assert client.post(f"{path}/restore").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tags": ["a,b"]}, "tags.0"),
        ({"tags": [" "]}, "tags.0"),
        ({"tags": ["x" * 41]}, "tags.0"),
        ({"tags": ["İ" * 40]}, "tags.0"),  # 80 characters, when small
        ({"tags": [str(i) for i in range(21)]}, "tags"),
        ({"note": "x" * 2001}, "note"),
        ({"note": "\x00"}, "note"),
        ({"name": "two\nlines"}, "name"),
        ({"archived": "yes"}, "archived"),
        ({"title": "x"}, "title"),
    ],
)
@pytest.mark.parametrize("kind", ["job", "model", "dataset"])
def test_what_cannot_be_taken_names_the_field(
    client: httpx.Client, things: dict[str, str], kind: str, body: dict[str, object], field: str
) -> None:
    answer = client.patch(things[kind], json=body)
    assert answer.status_code == 422
    # A job's name may be empty, so its errors name the form that was tried.
    assert all(error["field"].startswith(field) for error in answer.json()["errors"])


def test_names_of_datasets_are_given_once(client: httpx.Client, lab: Lab) -> None:
    one, other = stock_dataset(lab, name="One"), stock_dataset(lab, name="Other")
    said = client.patch(f"/api/datasets/{other}", json={"name": "One"})
    assert (said.status_code, said.json()["errors"][0]["field"]) == (422, "name")
    assert client.patch(f"/api/datasets/{one}", json={"name": "One"}).status_code == 200
    client.delete(f"/api/datasets/{one}")
    said = client.patch(f"/api/datasets/{other}", json={"name": "One"})
    assert said.json()["detail"] == "There is a dataset named “One” already in the bin."
    body = {"source": (None, "shapes"), "name": (None, "One")}
    assert client.post("/api/datasets", files=body).status_code == 422


def test_of_two_who_give_one_name_at_once_the_second_is_told(
    client: httpx.Client, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = stock_dataset(lab, name="One"), stock_dataset(lab, name="Other")
    check = checks.check_name

    def beaten(lab: Lab, name: str) -> None:
        check(lab, name)
        monkeypatch.setattr(checks, "check_name", check)
        datasets.change(lab, one, Changes(name=name))

    monkeypatch.setattr(checks, "check_name", beaten)
    body = {"name": "Pets", "note": "mine", "tags": ["paper"]}
    said = client.patch(f"/api/datasets/{other}", json=body)
    assert said.status_code == 409
    assert "Another change came first" in said.json()["detail"]
    left = client.get(f"/api/datasets/{other}").json()
    assert (left["name"], left["note"], left["tags"]) == ("Other", "", [])


@pytest.mark.parametrize(
    ("table", "service", "kind"),
    [(JobRow, job_changes, "job"), (ModelRow, models, "model")],
)
def test_tags_that_come_one_by_one_stay_within_their_number(
    lab: Lab, things: dict[str, str], table: type[JobRow], service: Any, kind: str
) -> None:
    thing = things[kind].rsplit("/", 1)[1]
    service.change(lab, [thing], Changes(tags=tuple(f"tag {i}" for i in range(MAX_TAGS - 1))))
    with ThreadPoolExecutor(4) as at_once:
        asked = [at_once.submit(service.change, lab, [thing], Changes(), more_tags=[f"new {i}"])
                 for i in range(4)]  # fmt: skip
    refused = [one.exception() for one in asked if one.exception() is not None]
    assert [type(one) for one in refused] == [InvalidInput] * 3
    assert len(marks.tags_of(lab.database, table, [thing])[thing]) == MAX_TAGS


def test_a_dataset_in_use_says_so_and_its_files_go_after_a_week(
    client: httpx.Client, lab: Lab
) -> None:
    used, old = stock_dataset(lab, name="Used"), stock_dataset(lab, name="Old")
    job = client.post("/api/jobs", json=train_body(used)).json()["id"]
    said = client.delete(f"/api/datasets/{used}")
    assert said.status_code == 409
    assert "Train Model on Used" in said.json()["detail"]
    client.post(f"/api/jobs/{job}/cancel")
    assert client.delete(f"/api/datasets/{used}").status_code == 204
    client.delete(f"/api/datasets/{old}")
    binned = client.get("/api/datasets", params={"deleted": True}).json()
    assert {view["name"] for view in binned} == {"Used", "Old"}
    for dataset in (used, old):
        lab.files.dataset(dataset).mkdir()
    with lab.database.writing() as session:
        long_ago = update(DatasetRow).where(DatasetRow.id == old)
        session.execute(long_ago.values(deleted_at=time.time() - 8 * 24 * 3600))
    clear(lab)
    assert (lab.files.dataset(used).exists(), lab.files.dataset(old).exists()) == (True, False)


def test_a_key_of_a_deleted_job_says_that_it_is_in_the_bin(client: httpx.Client, lab: Lab) -> None:
    body, key = train_body(stock_dataset(lab)), {"Idempotency-Key": "once"}
    job = client.post("/api/jobs", json=body, headers=key).json()["id"]
    client.post(f"/api/jobs/{job}/cancel")
    client.delete(f"/api/jobs/{job}")
    again = client.post("/api/jobs", json=body, headers=key)
    assert (again.status_code, "bin" in again.json()["detail"]) == (409, True)


def test_lists_are_asked_for_a_tag_or_for_the_bin(
    client: httpx.Client, things: dict[str, str], lab: Lab
) -> None:
    stock_model(lab, name="Other")
    for kind in ("job", "model"):
        client.patch(things[kind], json={"tags": ["Paper"]})
        path = things[kind].rsplit("/", 1)[0]
        found = client.get(path, params={"tag": "paper"}).json()["items"]
        assert [each["id"] for each in found] == [things[kind].rsplit("/", 1)[1]]
        assert client.get(path, params={"tag": "x"}).json()["total"] == 0
        client.delete(things[kind])
        assert client.get(path, params={"tag": "paper"}).json()["total"] == 0
        assert client.get(path, params={"tag": "paper", "deleted": True}).json()["total"] == 1
