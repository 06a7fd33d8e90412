"""Who may speak to the lab, how much, and what every answer carries."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import httpx
import pytest
from anyio import BrokenResourceError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import border
from app.border import Border, Limit
from app.main import create_app
from app.services.lab import Lab
from app.settings import Settings
from app.store import job_queries, jobs
from tests.api.problems import problem
from tests.plugins.rows import job_row


def ask(web: str, host: str | None, path: str = "/api/health") -> bytes:
    """A request with exactly this Host header, or without any."""
    address, port = web.removeprefix("http://").split(":")
    line = "" if host is None else f"Host: {host.replace('PORT', port)}\r\n"
    version = "1.0" if host is None else "1.1"
    with socket.create_connection((address, int(port)), timeout=30) as connection:
        connection.sendall(
            f"GET {path} HTTP/{version}\r\n{line}Connection: close\r\n\r\n".encode("latin-1")
        )
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize(
    "host", ["localhost:PORT", "127.0.0.1:PORT", "[::1]:PORT", "LocalHost", "localhost:80"]
)
def test_the_labs_own_names(web: str, host: str) -> None:
    assert ask(web, host).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:PORT", "127.0.0.1.nip.io", "10.0.0.1",
     "0.0.0.0:PORT", "localhost@evil.example", "[::2]", "localhost:x", "", None],
)  # fmt: skip
def test_other_names_are_refused(web: str, host: str | None) -> None:
    for path in ("/api/health", "/", "/static/icon.svg"):
        answer = ask(web, host, path)
        status = answer.split(b" ", 2)[1]
        assert status in (b"421", b"400"), answer
        assert b"evil.example" not in answer.split(b"\r\n\r\n", 1)[1]


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "null"},
    {"Origin": "OWN", "Sec-Fetch-Site": "cross-site"},
]
OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "OWN"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "OWN"},
]


def with_origin(headers: dict[str, str], client: httpx.Client) -> dict[str, str]:
    own = f"http://{client.base_url.netloc.decode()}"
    return {name: value.replace("OWN", own) for name, value in headers.items()}


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_site_cannot_change_anything(
    client: httpx.Client, lab: Lab, headers: dict[str, str]
) -> None:
    row = job_row()
    jobs.add(lab.database, row)
    sent = with_origin(headers, client)
    problem(client.post(f"/api/jobs/{row.id}/cancel", headers=sent), 403)
    problem(client.delete(f"/api/models/{'0' * 32}", headers=sent), 403)
    page = client.post("/datasets", headers=sent, data={"name": "x", "source": "shapes"})
    assert page.status_code == 403
    assert page.headers["content-type"].startswith("text/html")
    after = job_queries.get(lab.database, row.id)
    assert after is not None
    assert after.status == "queued"
    assert job_queries.page(lab.database, offset=0, limit=9)[1] == 1


@pytest.mark.parametrize("headers", OWN)
def test_the_labs_own_pages_and_programs_can(
    client: httpx.Client, lab: Lab, headers: dict[str, str]
) -> None:
    row = job_row()
    jobs.add(lab.database, row)
    answer = client.post(f"/api/jobs/{row.id}/cancel", headers=with_origin(headers, client))
    assert answer.status_code == 202


def test_looking_from_another_site_is_harmless_and_allowed(client: httpx.Client) -> None:
    answer = client.get("/api/jobs", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/api/health", "/api/nothing", "/nothing", "/static/lab.js"]
)
def test_every_answer_is_locked_in(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in
                  headers["content-security-policy"].split(";"))  # fmt: skip
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert "script-src" not in policy, "so default-src is what counts for scripts"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert len(headers.get_list("content-security-policy")) == 1


def test_what_may_be_kept(client: httpx.Client) -> None:
    script = client.get("/static/lab.js")
    assert script.headers["cache-control"] == "no-cache"
    again = client.get("/static/lab.js", headers={"If-None-Match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/jobs").headers["cache-control"] == "no-store"


def test_a_small_body_is_all_that_json_needs(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/jobs", content=b" " * 2**19, headers=headers)
    assert answer.status_code == 422
    answer = client.post("/api/jobs", content=b" " * (2**20 + 1), headers=headers)
    problem(answer, 413)
    assert answer.json()["detail"] == "The request is larger than 1 MB."


def test_what_is_too_large_to_send_names_the_setting(client: httpx.Client) -> None:
    for path in ("/api/datasets", "/api/models"):
        answer = client.post(path, content=b"", headers={"Content-Length": str(2**40)})
        problem(answer, 413)
        said = answer.json()
        assert said["detail"] == "The request is larger than 1,025 MB."
        assert "LAB_MAX_UPLOAD_MB" in said["hint"]


def test_a_body_in_pieces_is_not_read(client: httpx.Client) -> None:
    answer = client.post("/api/jobs", content=iter([b"{", b"}"]))
    assert problem(answer, 411) == []
    assert answer.headers["connection"] == "close"


def test_a_body_of_very_many_values_is_not_read(client: httpx.Client) -> None:
    def sent(values: int) -> httpx.Response:
        models = ",".join(["0"] * values)
        body = '{"kind": "evaluate", "params": {"models": [' + models + "]}}"
        return client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})

    problem(sent(10_001), 413)
    assert len(problem(sent(9_000), 422)) == 100


@pytest.mark.parametrize(
    "charset",
    ["charset=punycode", 'CHARSET="punycode"', "charset*=utf-8''punycode", "charset = idna",
     "charset=utf-8; charset=punycode", "charset=utf-8x"],
)  # fmt: skip
def test_a_form_is_decoded_as_utf_8_alone(client: httpx.Client, charset: str) -> None:
    """Other codecs take minutes for what fits into a small form."""

    def sent(media_type: str) -> httpx.Response:
        part = 'Content-Disposition: form-data; name="then"\r\n\r\n'
        body = f"--x\r\n{part}-{'9' * 10_000}\r\n--x--\r\n"
        return client.post("/login", content=body, headers={"Content-Type": media_type})

    refused = sent(f"multipart/form-data; boundary=x; {charset}")
    assert (refused.status_code, "not in UTF-8" in refused.text) == (422, True)
    for known in ("", "; charset=utf-8", '; charset="UTF-8"'):
        assert "not in UTF-8" not in sent(f"multipart/form-data; boundary=x{known}").text


def test_headers_that_nobody_reads_reach_nobody(settings: Settings) -> None:
    seen: list[bytes] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(name for name, _ in scope["headers"])
        await Response()(scope, receive, send)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(
            Border(inner, limit_of=lambda _: Limit(0), names=(), root="")
        )
        headers = {"Cookie": 'a="' + "\\" * 40_000 + '"', "X-Own": "1", "Idempotency-Key": "k"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/", headers=headers)

    assert asyncio.run(ask()).status_code == 200
    assert {b"host", b"idempotency-key"} <= set(seen)
    assert not {b"cookie", b"x-own", b"user-agent"} & set(seen)


def test_who_leaves_a_stream_is_no_fault() -> None:
    async def ask(error: Exception) -> None:
        async def inner(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise error

        transport = httpx.ASGITransport(
            Border(inner, limit_of=lambda _: Limit(0), names=(), root="")
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            await client.get("/")

    left = BrokenResourceError()
    for gone in (left, ExceptionGroup("", [ExceptionGroup("", [left]), left])):
        with suppress(AssertionError):  # of the transport, which waits for the end of the answer
            asyncio.run(ask(gone))
    for fault in (ValueError(), ExceptionGroup("", [left, ValueError()])):
        with pytest.raises((ValueError, ExceptionGroup)):
            asyncio.run(ask(fault))


def test_large_pages_are_sent_small_and_nothing_else_is_touched(
    client: httpx.Client, web: str, lab: Lab
) -> None:
    packed = client.get("/help/trust")
    plain = client.get("/help/trust", headers={"Accept-Encoding": "identity"})
    assert (packed.headers["content-encoding"], packed.text) == ("gzip", plain.text)
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in client.get("/api/openapi.json").headers
    job = job_row()
    jobs.add(lab.database, job)
    with httpx.stream("GET", f"{web}/api/jobs/{job.id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in stream.headers


def test_pages_are_asked_for_their_headers_alone(web: str) -> None:
    for path in ("/", "/jobs", "/help/trust"):
        head, page = httpx.head(web + path), httpx.get(web + path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == page.headers["content-type"]
    assert httpx.head(f"{web}/nowhere").status_code == 404


def test_static_files_are_sent_small(client: httpx.Client) -> None:
    path = "/static/vendor/plotly-cartesian.min.js"
    packed = client.get(path)
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    with client.stream("GET", path) as sent:
        assert sum(map(len, sent.iter_raw())) < 0.4 * len(plain.content)


def test_static_files_stay_inside_their_folder(web: str) -> None:
    for path in ("/static/../app/main.py", "/static/%2e%2e/app/main.py", "/static//etc/passwd"):
        answer = ask(web, "localhost", path)
        assert answer.split(b" ", 2)[1] == b"404", path


def test_a_server_that_listens_elsewhere_answers_nobody_there(settings: Settings) -> None:
    transport = httpx.ASGITransport(create_app(settings))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://192.0.2.1") as client:
            return await client.get("/api/health", headers={"host": "localhost"})

    assert asyncio.run(ask()).status_code == 421


def test_a_crowd_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "_MOST_AT_ONCE", 3)

    async def crowd() -> tuple[list[httpx.Response], httpx.Response]:
        there, leave = asyncio.Semaphore(0), asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            there.release()
            await leave.wait()
            await Response("Well.")(scope, receive, send)

        lab = Border(slow, limit_of=lambda _: Limit(0), names=(), root="")
        transport = httpx.ASGITransport(lab)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            let_in = [asyncio.create_task(client.get("/api/jobs")) for _ in range(3)]
            for _ in let_in:
                await there.acquire()
            beyond = await client.get("/api/jobs")
            leave.set()
            return [*await asyncio.gather(*let_in), await client.get("/api/jobs")], beyond

    served, beyond = asyncio.run(crowd())
    assert [answer.text for answer in served] == ["Well."] * 4
    assert (beyond.status_code, beyond.headers["retry-after"]) == (503, "5")
