"""Accounts by the REST API, by the client on it, and from a shell of who runs the lab."""

from __future__ import annotations

import httpx
import pytest

from app.client import Lab as Client
from app.client.command_line import main
from app.contracts.accounts import Role
from app.services import accounts
from app.services.lab import Lab
from app.settings import Auth, Settings
from tests.admission.people import NewClient
from tests.api.problems import problem


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS})


@pytest.fixture
def token(lab: Lab, users: dict[Role, str]) -> dict[str, str]:
    """Of a program, by the name of the account."""
    made = {}
    for user in accounts.known(lab.database):
        made[user.name] = accounts.make_token(lab, user, "a program").token
    return made


def asked(
    client: httpx.Client, token: str, method: str, path: str, **body: object
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return client.request(method, path, headers=headers, json=body or None)


def test_admins_change_roles_and_end_accounts(new_client: NewClient, token: dict[str, str]) -> None:
    client = new_client()
    for name in ("vera", "rita"):
        problem(asked(client, token[name], "GET", "/api/users"), 403)
        problem(asked(client, token[name], "PATCH", "/api/users/vera", role="admin"), 403)
    found = asked(client, token["ada"], "GET", "/api/users").json()
    assert [(one["name"], one["role"], one["tokens"]) for one in found] == [
        ("ada", "admin", 1), ("rita", "runner", 1), ("vera", "viewer", 1),
    ]  # fmt: skip
    assert not any(name == "password" for one in found for name in one)
    changed = asked(client, token["ada"], "PATCH", "/api/users/vera", role="runner", disabled=True)
    assert (changed.json()["role"], bool(changed.json()["disabled_at"])) == ("runner", True)
    assert asked(client, token["vera"], "GET", "/api/account").status_code == 401
    asked(client, token["ada"], "PATCH", "/api/users/vera", disabled=False)
    assert asked(client, token["vera"], "GET", "/api/account").json()["role"] == "runner"
    problem(asked(client, token["ada"], "PATCH", "/api/users/ada", role="viewer"), 409)
    problem(asked(client, token["ada"], "PATCH", "/api/users/nobody", disabled=True), 404)
    for wrong in ({"role": "king"}, {"disabled": "true"}, {"name": "x"}):
        problem(asked(client, token["ada"], "PATCH", "/api/users/vera", **wrong), 422)
    assert asked(client, token["ada"], "GET", "/api/users/vera").json()["role"] == "runner"


def test_the_client_does_the_same(
    web: str,
    token: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Client(web, token=token["ada"]) as lab:
        assert lab.change_user("vera", role=Role.ADMIN).role is Role.ADMIN
        assert [user.name for user in lab.users()] == ["ada", "rita", "vera"]
    monkeypatch.setenv("LAB_TOKEN", token["ada"])

    def say(*words: str, code: int = 0) -> list[str]:
        assert main(["--lab", web, *words]) == code
        out, err = capsys.readouterr()
        return [line.strip() for line in (out or err).splitlines()]

    said = say("user", "rita", "--role", "viewer", "--disable")
    assert said[-1].split()[:2] == ["rita", "viewer"]
    assert "disabled" in say("users")[0]
    assert len(say("users")[2].split()) == 6, "name, role, two counts, day and time"
    assert len(say("user", "rita", "--enable")[-1].split()) == 4
    assert "own account" in say("user", "ada", "--disable", code=2)[0]
