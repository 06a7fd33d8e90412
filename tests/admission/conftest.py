"""Browsers and programs of people with accounts."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from argon2 import PasswordHasher
from fastapi import FastAPI

from app.contracts.accounts import Role
from app.services import accounts, passwords
from app.services.lab import Lab
from tests.admission.people import PASSWORD, NewClient
from tests.plugins.applications import InProcess


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one takes a tenth of a second, on purpose; tests make hundreds."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "hasher", lambda: quick)


@pytest.fixture
def new_client(app: FastAPI, portal: BlockingPortal) -> Iterator[NewClient]:
    """Makes clients that nobody knows yet."""
    opened = []

    def new() -> httpx.Client:
        transport = InProcess(app, portal, is_owner=False)
        opened.append(httpx.Client(transport=transport, base_url="http://127.0.0.1"))
        return opened[-1]

    yield new
    for client in opened:
        client.close()


@pytest.fixture
def users(lab: Lab) -> dict[Role, str]:
    """A name for each role."""
    names = {Role.VIEWER: "vera", Role.RUNNER: "rita", Role.ADMIN: "ada"}
    for role, name in names.items():
        accounts.add(lab.database, name, PASSWORD, role)
    return names
