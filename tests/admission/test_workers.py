"""Who may drain workers and raise jobs, and what is told of it."""

from __future__ import annotations

import time

import pytest
import redis

from app.contracts.accounts import Role
from app.contracts.jobs import Queue, presence_key
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store import job_queries, placement
from tests.admission.people import NewClient
from tests.admission.test_owners import Person, records
from tests.plugins.stock import stock_dataset, train_body
from tests.web.parsing import attributes, texts


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS})


@pytest.fixture
def people(new_client: NewClient, users: dict[Role, str]) -> dict[Role, Person]:
    return {role: Person(new_client, name) for role, name in users.items()}


@pytest.fixture(autouse=True)
def _a_worker(broker_url: str, settings: Settings) -> None:
    with redis.Redis.from_url(broker_url) as broker:
        broker.zadd(presence_key(Queue.TRAIN), {"train@box": time.time()})


@pytest.mark.parametrize("prefix", ["/api", ""])
def test_admins_alone_drain_workers(lab: Lab, people: dict[Role, Person], prefix: str) -> None:
    for role in (Role.VIEWER, Role.RUNNER):
        for verb in ("drain", "resume"):
            path = f"{prefix}/workers/train@box/{verb}"
            assert people[role].ask("POST", path).status_code == 403
    assert not placement.drains(lab.database)
    ada = people[Role.ADMIN]
    assert ada.ask("POST", f"{prefix}/workers/train@box/drain").status_code in (200, 303)
    assert placement.drains(lab.database)["train@box"].by == "ada"
    told = ("ada", f"POST {prefix}/workers/train@box/drain")
    assert told in [record[:2] for record in records(ada)]
    assert "drained a worker" in ada.ask("GET", "/audit").text


def test_everybody_sees_workers_and_admins_a_button(people: dict[Role, Person]) -> None:
    pages = {role: person.ask("GET", "/workers").text for role, person in people.items()}
    assert all("train@box" in texts(page, "table.workers th")[-1] for page in pages.values())
    buttons = {role: len(attributes(page, "action", "table.workers form"))
               for role, page in pages.items()}  # fmt: skip
    assert buttons == {Role.VIEWER: 0, Role.RUNNER: 0, Role.ADMIN: 1}


def test_admins_alone_raise_a_job_and_its_owner_lowers_it(
    lab: Lab, people: dict[Role, Person]
) -> None:
    rita, ada = people[Role.RUNNER], people[Role.ADMIN]
    body = train_body(stock_dataset(lab))
    refused = rita.ask("POST", "/api/jobs", json={**body, "priority": "high"})
    assert (refused.status_code, "Only admins" in refused.json()["detail"]) == (403, True)
    assert job_queries.unfinished_count(lab.database) == 0
    path = f"/api/jobs/{rita.ask('POST', '/api/jobs', json=body).json()['id']}"

    def ranked(person: Person, priority: str) -> int:
        return person.ask("PATCH", path, json={"priority": priority}).status_code

    assert ranked(rita, "high") == 403
    assert ranked(ada, "high") == 200
    assert [ranked(rita, priority) for priority in ("high", "normal", "low")] == [200] * 3
    assert ranked(rita, "normal") == 200
    assert ranked(rita, "high") == 403
    assert ranked(people[Role.VIEWER], "low") == 403
