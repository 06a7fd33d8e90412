"""A request as bytes: a line with its path and query, lines of headers, an empty one, its body."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Query

from app import error_handlers
from app.api.datasets import ImportForm
from app.api.live import LiveForm
from app.api.models import ImportModelForm
from app.border import Border
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
    await form.file.read()


_app.add_middleware(Border, limit_of=lambda _: 2**20, names=(), root="", on_loopback=False)


def read(data: bytes) -> None:
    """Have it answered. Raises AssertionError where the answer is a fault of the server's."""
    head, _, content = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    path, _, query = first.partition(b"?")
    pairs = [line.partition(b":") for line in lines]
    scope = {
        "type": "http", "method": "POST", "path": path.decode("latin-1"), "raw_path": path,
        "query_string": query, "root_path": "", "scheme": "http", "http_version": "1.1",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
        "headers": [(name.lower(), value.strip()) for name, _, value in pairs],
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
    head = f"{address}\nhost: localhost\ncontent-type: multipart/form-data; boundary=b\n"
    rest = "cookie: a=b\nidempotency-key: k\nx-request-id: r\norigin: http://localhost\n\n"
    return (head + rest).encode() + b"".join(parts) + b"--b--\r\n"


_ID = b"0" * 32
WHOLE = [
    _form("/api/live", image=b"\x89PNG", models=_ID, steps=b"10", max_epsilon=b"0.03"),
    _form("/api/datasets?tag=a", name=b"Shapes", source=b"shapes", classes="é".encode()),
    _form("/api/models", file=b"PK", name="Né".encode(), dataset=_ID, mean=b"0.5"),
]
