"""What people with accounts do first."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.web.parsing import parsed

PASSWORD = "correct horse battery"
NewClient = Callable[[], httpx.Client]


def signed_in(new_client: NewClient, name: str, password: str = PASSWORD) -> httpx.Client:
    """A browser with a session."""
    client = new_client()
    answer = client.post("/login", data={"name": name, "password": password, "then": "/jobs"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    return client


def proof(client: httpx.Client, path: str = "/account") -> str:
    """What its forms bring along."""
    shown = parsed(client.get(path).text).select_one("meta[name=csrf]")
    assert shown is not None
    return str(shown["content"])
