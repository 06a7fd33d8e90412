"""Requests as they come from the network, read by h11 as in the lab."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import h11
from fastapi import FastAPI, Form, Query

from app import error_handlers
from app.api.datasets import ImportForm
from app.api.live import LiveForm
from app.api.models import ImportModelForm
from app.border import Border, Limit
from app.contracts.changes import Tag
from app.settings import Settings

_app = FastAPI(openapi_url=None)
_app.state.settings = Settings(data_dir=Path("nowhere"))
error_handlers.install(_app)


@_app.post("/api/live")
async def live(form: Annotated[LiveForm, Form()]) -> None:
    await form.image.read()


@_app.post("/api/datasets")
async def datasets(
    form: Annotated[ImportForm, Form()], tag: Annotated[Tag | None, Query()] = None
) -> None:
    return


@_app.post("/api/models")
async def models(form: Annotated[ImportModelForm, Form()]) -> None:
    if form.file is not None:
        await form.file.read()


_app.add_middleware(Border, limit_of=lambda _: Limit(2**20), names=(), root="", on_loopback=False)


def read(data: bytes) -> None:
    """Have it answered as far as it came.

    Raises AssertionError where the answer is a fault of the server's, and what h11 refuses.
    """
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    asked = connection.next_event()
    if not isinstance(asked, h11.Request):
        return
    content = b""
    while isinstance(event := connection.next_event(), h11.Data):
        content += event.data
    raw, _, query = asked.target.partition(b"?")
    scope = {
        "type": "http", "method": asked.method.decode(), "path": unquote(raw.decode()),
        "raw_path": raw, "query_string": query, "root_path": "", "scheme": "http",
        "http_version": asked.http_version.decode(), "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1), "headers": [*asked.headers],
    }  # fmt: skip
    status = asyncio.run(_answered(scope, content))
    assert status < 500, f"answered {status}"


async def _answered(scope: dict[str, Any], content: bytes) -> int:
    status = 0
    messages = [{"type": "http.request", "body": content}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    await _app(scope, receive, send)
    return status


def _form(address: str, **fields: bytes) -> bytes:
    parts = []
    for name, value in fields.items():
        file = '; filename="a.png"\r\nContent-Type: image/png' if name in ("image", "file") else ""
        named = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        parts.append(named.encode() + value + b"\r\n")
    body = b"".join(parts) + b"--b--\r\n"
    lines = (
        f"POST {address} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}",
        "Content-Type: multipart/form-data; boundary=b", "Cookie: a=b", "Idempotency-Key: k",
        "X-Request-ID: r", "Origin: http://localhost", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode() + body


_ID = b"0" * 32
WHOLE = [
    _form("/api/live", image=b"\x89PNG", models=_ID, steps=b"10", max_epsilon=b"0.03"),
    _form("/api/datasets?tag=a", name=b"Shapes", source=b"shapes", classes="é".encode()),
    _form("/api/models", file=b"PK", name="Né".encode(), dataset=_ID, mean=b"0.5"),
]
