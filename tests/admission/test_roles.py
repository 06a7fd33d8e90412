"""Every route, walked from the application, with each role: what it may, and what is 403."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.contracts.accounts import Role
from app.settings import Auth, Settings
from tests.admission.people import NewClient, proof, signed_in
from tests.admission.test_routes import PUBLIC, shown

FOR_ADMINS = ("/api/users", "/users", "/api/audit", "/audit")
"""Pages and their parts."""
OF_ADMINS = ("/drain", "/resume")
"""Verbs of others' pages."""
OF_ONESELF = ("/api/account", "/account", "/logout")
ASKS = {
    "/ablation/code", "/ablation/plan", "/train/code", "/train/estimate", "/evaluate/code",
    "/evaluate/estimate", "/models/import/code", "/datasets/code", "/live/code",
}  # fmt: skip
"""What is posted to and changes nothing."""
ENDS = "/account/sign-out-everywhere"
RANKS = (Role.VIEWER, Role.RUNNER, Role.ADMIN)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS, "user_requests": 10**6})


def lowest(method: str, path: str) -> Role:
    """Who may ask for it, written down once more, and not taken from the routes."""
    if path.startswith(FOR_ADMINS) or path.endswith(OF_ADMINS):
        return Role.ADMIN
    if method in ("GET", "HEAD") or path.startswith(OF_ONESELF) or path in ASKS:
        return Role.VIEWER
    return Role.RUNNER


def asked(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Each method of each path that is not for everybody."""
    for context in iter_route_contexts(app.routes):
        if context.path is not None and context.methods and shown(context.path) not in PUBLIC:
            for method in sorted(context.methods):
                yield method, shown(context.path)


@pytest.mark.parametrize("role", RANKS)
def test_each_role_passes_its_routes_and_no_others(
    app: FastAPI, new_client: NewClient, users: dict[Role, str], role: Role
) -> None:
    browser = signed_in(new_client, users[role])
    sent = {"X-CSRF-Token": proof(browser)}
    made = browser.post("/api/account/tokens", json={"name": "walk"}, headers=sent).json()
    client, bearer = new_client(), {"Authorization": f"Bearer {made['token']}"}
    every = sorted(set(asked(app)), key=lambda one: one[1].endswith(ENDS))  # and the token
    assert len(every) > 150
    assert {path for _, path in every} >= ASKS
    wrong = []
    for method, path in every:
        status = client.request(method, path, headers=bearer).status_code
        may = RANKS.index(role) >= RANKS.index(lowest(method, path))
        if status in (401, 500) or (status == 403) is may:
            wrong.append((method, path, status))
    assert not wrong
