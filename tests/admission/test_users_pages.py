"""Accounts as admins see them, the audit log in words, and what viewers and others find locked."""

from __future__ import annotations

import httpx
import pytest
from bs4 import Tag
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from app.admission.routes import LOOKS
from app.contracts.accounts import Role
from app.contracts.jobs import JobKind
from app.errors import Unauthenticated
from app.run import users as commands
from app.services import auditing
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store.tables import DatasetRow, ModelRow
from app.web.pages.audit_words import deed
from tests.admission.people import NewClient, proof, signed_in
from tests.plugins.stock import stock_dataset, stock_model
from tests.web.examples import add_job, train_params
from tests.web.parsing import parsed


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS})


@pytest.fixture
def ada(new_client: NewClient, users: dict[Role, str]) -> httpx.Client:
    return person(new_client, "ada")


@pytest.fixture
def rita(new_client: NewClient, users: dict[Role, str]) -> httpx.Client:
    return person(new_client, "rita")


def person(new_client: NewClient, name: str) -> httpx.Client:
    client = signed_in(new_client, name)
    client.headers["X-CSRF-Token"] = proof(client)
    return client


def shown(answer: httpx.Response) -> str:
    """The secret that a page shows once."""
    secret = parsed(answer.text).select_one(".note pre code")
    assert secret is not None, answer.text
    return secret.get_text()


def test_an_admin_makes_and_changes_accounts(ada: httpx.Client, new_client: NewClient) -> None:
    made = ada.post("/users", data={"name": "Max", "role": "viewer"})
    password = shown(made)
    assert password not in ada.get("/users").text
    for wrong in ({"name": "max"}, {"name": "no name"}):
        assert ada.post("/users", data=wrong).status_code == 422
    browser = signed_in(new_client, "max", password)
    assert browser.get("/api/account").json()["role"] == "viewer"
    ada.post("/users/max/role", data={"role": "runner"})
    assert browser.get("/api/account").json()["role"] == "runner"
    browser.headers["X-CSRF-Token"] = proof(browser)
    token = browser.post("/api/account/tokens", json={"name": "ci"}).json()["token"]
    program = new_client()
    program.headers["Authorization"] = f"Bearer {token}"
    row = parsed(ada.get("/users").text).find("a", string="max").find_parent("tr")  # type: ignore[union-attr]
    assert isinstance(row, Tag)
    assert [cell.get_text(strip=True) for cell in row.select("td")][:4] == [
        "runner", "password", "1", "1",
    ]  # fmt: skip

    def inside() -> list[int]:
        return [each.get("/api/account").status_code for each in (browser, program)]

    assert inside() == [200, 200]
    ada.post("/users/max/disable")
    assert inside() == [401, 401]
    refused = new_client().post("/login", data={"name": "max", "password": password})
    assert refused.status_code == 401
    ada.post("/users/max/enable")
    assert inside() == [401, 200], "tokens are as they were"
    browser = signed_in(new_client, "max", password)
    ada.post("/users/max/end-sessions")
    assert inside() == [401, 200]
    ada.post("/users/max/revoke-tokens")
    assert inside() == [401, 401]
    browser = signed_in(new_client, "max", shown(ada.post("/users/max/password")))
    assert inside() == [200, 401]
    assert ada.post("/users/Max/password").status_code == 404, "accounts have no such names"
    assert inside() == [200, 401]


def test_nobody_locks_all_admins_out(ada: httpx.Client, rita: httpx.Client) -> None:
    for path, data in (("role", {"role": "viewer"}), ("disable", {})):
        assert ada.post(f"/users/ada/{path}", data=data).status_code == 409
    assert ada.get("/users").status_code == 200
    assert ada.get("/users/nobody").status_code == 404
    for method, path in (("GET", "/users"), ("POST", "/users"), ("GET", "/users/ada"),
                         ("POST", "/users/ada/disable")):  # fmt: skip
        assert rita.request(method, path).status_code == 403, path


def test_every_change_has_words(app: FastAPI) -> None:
    requests = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and not getattr(route.endpoint, "asks", False):
            path = (context.path or "").replace("{name}", "rita")
            for part in ("job", "dataset", "model", "token"):
                path = path.replace(f"{{{part}_id}}", "0" * 32)
            requests += [f"{method} {path}" for method in route.methods - LOOKS]
    made = commands.parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    requests += [f"users {name}" for name in made or () if name != "list"]
    assert len(requests) > 45
    assert [each for each in requests if deed(each, 200) == each] == []
    assert deed(f"POST /api/jobs/{'0' * 32}/cancel", 202) == "cancelled a job"
    assert deed(f"POST /jobs/{'0' * 32}/cancel", 403) == "tried to cancel a job"
    assert deed("POST /somewhere/<b>", 200) == "POST /somewhere/<b>"


def test_the_audit_log_is_read_in_words(lab: Lab, ada: httpx.Client, rita: httpx.Client) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params())
    rita.post(f"/api/jobs/{job}/cancel")
    ada.patch(f"/api/jobs/{job}", json={"name": "Night run"})
    back = auditing.recorded(lab, "GET /login/openid/back", "203.0.113.9")
    with pytest.raises(Unauthenticated), back:
        raise Unauthenticated
    rows = [
        [cell.get_text(" ", strip=True) for cell in row.select("td")][1:5]
        for row in parsed(ada.get("/audit").text).select("tbody tr")
    ]
    assert rows[:3] == [
        ["unknown", "tried to sign in", "unknown", "refused"],
        ["ada", "changed a job", "Night run", "done"],
        ["rita", "tried to cancel a job", "Night run", "refused"],
    ]
    older = parsed(ada.get("/audit?before=2").text).select("tbody tr")
    assert len(older) == 1


def test_owners_stand_in_tables_and_narrow_them(
    lab: Lab, ada: httpx.Client, rita: httpx.Client
) -> None:
    sent = rita.post("/api/datasets", data={"name": "Mine", "source": "shapes"})
    job = sent.json()["id"]
    assert sent.json()["owner"] == "rita"
    things = {"models": stock_model(lab, name="Net"), "datasets": stock_dataset(lab)}
    with lab.database.writing() as session:
        session.get_one(ModelRow, things["models"]).job_id = job
        session.get_one(DatasetRow, things["datasets"]).job_id = job
    add_job(lab, JobKind.TRAIN, train_params())
    for path in ("/jobs", "/models", "/datasets"):
        page = parsed(ada.get(path).text)
        heads = [head.get_text(strip=True) for head in page.select("main thead th")]
        at = heads.index("Owner")
        whose = {row.select("td, th")[at].get_text(strip=True)
                 for row in page.select("main tbody tr")}  # fmt: skip
        assert "rita" in whose
        for name, count in (("rita", 1), ("ada", 0), ("nobody", 0)):
            found = parsed(ada.get(path, params={"owner": name}).text)
            assert len(found.select("main tbody tr")) == count, (path, name)
    assert ada.get(f"/api/models/{things['models']}").json()["owner"] == "rita"
    bin_ = parsed(ada.get("/datasets?shelf=bin&owner=ada").text)
    assert "ada has no dataset here" in bin_.get_text()
    assert [link["href"] for link in bin_.select("nav.shelves a")] == [
        f"/datasets?{shelf}owner=ada" for shelf in ("", "shelf=archive&", "shelf=bin&")
    ]


def buttons(page: str, action: str) -> list[bool]:
    """Of the forms with an address, whether each button that sends it is locked."""
    found = parsed(page).select(
        f'form[method=post][action="{action}"] button:not([formmethod=get], [type=button])'
    )
    assert found, action
    return [each.has_attr("disabled") for each in found]


def test_what_one_may_not_is_locked_and_says_why(
    lab: Lab, new_client: NewClient, ada: httpx.Client, rita: httpx.Client
) -> None:
    vera, job = person(new_client, "vera"), add_job(lab, JobKind.TRAIN, train_params())
    stock_dataset(lab)
    forms = {f"/jobs/{job}": [f"/jobs/{job}/change", f"/jobs/{job}/cancel"]}
    others = {path: [path] for path in ("/train", "/models/import", "/datasets")}
    others["/jobs"] = ["/jobs/selected"]
    for path, actions in {**forms, **others}.items():
        page = vera.get(path).text
        assert all(all(buttons(page, action)) for action in actions), path
        note = parsed(page).select_one("main .note.locked")
        assert note is not None
        assert "viewer" in note.get_text()
        assert not any(any(buttons(ada.get(path).text, action)) for action in actions), path
    assert not any(buttons(vera.get("/account").text, "/account/tokens"))
    compare = parsed(vera.get("/jobs").text).select("button[formmethod=get]")
    assert compare
    assert not any(each.has_attr("disabled") for each in compare), "to look is not locked"
    assert vera.post("/train/estimate").status_code == 200, "nor to ask"
    page = rita.get(f"/jobs/{job}").text
    assert all(all(buttons(page, action)) for action in forms[f"/jobs/{job}"])
    assert "nobody's" in parsed(page).select_one(".kept .locked").get_text()  # type: ignore[union-attr]
    assert not any(buttons(rita.get("/train").text, "/train"))
