"""What every error of the API looks like."""

from __future__ import annotations

import httpx


def problem(answer: httpx.Response, status: int) -> list[str]:
    """Check the shape of RFC 9457; returns the names of the wrong fields."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "hint", "instance", "errors"}
    assert body["status"] == status
    assert body["instance"] == answer.request.url.path
    assert body["title"]
    assert body["detail"]
    assert all(set(error) == {"field", "message"} for error in body["errors"])
    return [error["field"] for error in body["errors"]]
