"""Who comes in, by which way, and what is left of it afterwards."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI, Request

from app.admission.cookies import Cookie
from app.admission.signing_in import within_lab
from app.admission.token import OwnersToken, kept_token
from app.client import Lab as Client
from app.client import LabError
from app.services import accounts
from app.services.lab import Lab
from app.settings import Auth, Settings
from tests.admission.others import ANOTHER, as_root, status_for
from tests.api.problems import problem
from tests.plugins.applications import InProcess
from tests.plugins.servers import served
from tests.web.parsing import parsed

HTTPS = {"type": "http", "scheme": "https", "server": ("127.0.0.1", 443), "path": "/",
         "headers": []}  # fmt: skip


@pytest.fixture
def token(app: FastAPI, settings: Settings) -> str:
    return kept_token(settings.data_dir)


@pytest.fixture
def stranger(app: FastAPI, portal: BlockingPortal) -> Iterator[httpx.Client]:
    transport = InProcess(app, portal, is_owner=False)
    with httpx.Client(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened


def test_the_owners_processes_need_nothing(connected: httpx.Client) -> None:
    assert connected.get("/api/jobs").status_code == 200
    assert connected.get("/").status_code == 200


def test_without_accounts_none_is_made(connected: httpx.Client, lab: Lab) -> None:
    assert connected.post("/users", data={"name": "max"}).status_code == 404
    assert accounts.known(lab.database) == []


@as_root
def test_other_users_of_the_machine_need_the_token(web: str, token: str) -> None:
    assert status_for(0, web) == 200
    for path in ("/api/jobs", "/", "/docs"):
        assert status_for(ANOTHER, web, path) == 401
    assert status_for(ANOTHER, web, "/api/alive") == 204
    assert status_for(ANOTHER, web, headers=f"Authorization: Bearer {token}\r\n") == 200
    assert status_for(ANOTHER, web, headers=f"Authorization: Bearer {token}x\r\n") == 401


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"]
)
def test_a_proxys_own_socket_says_nothing(connected: httpx.Client, header: str) -> None:
    assert connected.get("/api/jobs", headers={header: "127.0.0.1"}).status_code == 401


def test_a_wrong_token_is_refused_even_from_the_owners_process(connected: httpx.Client) -> None:
    answer = connected.get("/api/jobs", headers={"Authorization": "Bearer wrong"})
    problem(answer, 401)
    assert "not right" in answer.json()["detail"]


def test_an_address_with_the_token_gives_a_cookie_and_loses_it(
    stranger: httpx.Client, token: str
) -> None:
    answer = stranger.get(f"/jobs?page=2&token={token}&q=a%20b")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/jobs?page=2&q=a+b"
    name, _, rest = answer.headers["set-cookie"].partition("=")
    value, *attributes = rest.split("; ")
    assert token not in value
    assert {each.lower() for each in attributes} >= {"httponly", "samesite=strict", "path=/"}
    assert name.startswith("lab-")
    assert stranger.get("/jobs").status_code == 200
    assert parsed(stranger.get("/jobs").text).select_one("form[action='/logout']")
    assert stranger.post("/logout").status_code == 403
    proof = parsed(stranger.get("/jobs").text).select_one("form[action='/logout'] [name=csrf]")
    assert proof is not None
    stranger.post("/logout", data={"csrf": str(proof["value"])})
    assert stranger.get("/jobs").status_code == 401


def test_over_https_the_cookie_is_secure(app: FastAPI, portal: BlockingPortal, token: str) -> None:
    transport = InProcess(app, portal, is_owner=False)
    with httpx.Client(transport=transport, base_url="https://127.0.0.1") as client:
        cookie = client.get(f"/?token={token}").headers["set-cookie"]
        assert cookie.startswith("__Host-lab-")
        assert "; secure" in cookie.lower()
        assert client.get("/").status_code == 200


def test_a_wrong_token_in_the_address_leads_to_the_form_without_it(
    stranger: httpx.Client, token: str
) -> None:
    answer = stranger.get("/jobs?page=2&token=wrong-guess")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "wrong-guess" not in answer.text
    page = parsed(answer.text)
    then = page.select_one("input[name=then]")
    assert then is not None
    assert then["value"] == "/jobs?page=2"
    sent = {"token": token, "then": str(then["value"])}
    done = stranger.post("/login", data=sent)
    assert (done.status_code, done.headers["location"]) == (303, "/jobs?page=2")
    assert stranger.get("/jobs").status_code == 200


def test_a_wrong_token_in_the_form(stranger: httpx.Client) -> None:
    answer = stranger.post("/login", data={"token": "wrong-guess", "then": "/jobs"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "wrong-guess" not in answer.text
    assert parsed(answer.text).select_one("[aria-invalid=true]")


@pytest.mark.parametrize("foreign", [{"Origin": "https://evil.example"},
                                     {"Sec-Fetch-Site": "cross-site"}])  # fmt: skip
def test_no_other_site_signs_a_browser_in(
    stranger: httpx.Client, token: str, foreign: dict[str, str]
) -> None:
    answer = stranger.post("/login", data={"token": token}, headers=foreign)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "evil",
     "/\t/evil.example", "javascript:alert(1)", "/\n/evil", "", "/a b", "/é"],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(stranger: httpx.Client, token: str, elsewhere: str) -> None:
    assert within_lab(elsewhere) == "/"
    done = stranger.post("/login", data={"token": token, "then": elsewhere})
    assert done.headers["location"] == "/"
    assert stranger.get("/login", params={"then": elsewhere}).headers["location"] == "/"


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "///evil.example"])
def test_an_address_with_the_token_leads_nowhere_else(
    stranger: httpx.Client, token: str, path: str
) -> None:
    url = httpx.URL("http://127.0.0.1", raw_path=f"{path}?token={token}".encode())
    to = stranger.get(url).headers["location"]
    assert within_lab(to) == to


@pytest.fixture
def cookies(tmp_path: Path) -> OwnersToken:
    return OwnersToken(kept_token(tmp_path), 3600)


def test_cookies_end_and_cannot_be_made(
    cookies: OwnersToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = cookies.cookie()
    until, _, signature = cookie.partition(".")
    assert cookies.gave(cookie)
    for forged in (f"{int(until) + 1}.{signature}", until, f"{until}.", f".{signature}", "", ".",
                   f"inf.{signature}", f"{until}.é"):  # fmt: skip
        assert not cookies.gave(forged), forged
    assert not OwnersToken("x" * 43, 3600).gave(cookie)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert not cookies.gave(cookie)


def test_each_lab_has_cookies_of_its_own_name(settings: Settings) -> None:
    below = {"root_path": "/lab"}
    names = {
        Cookie(settings.model_copy(update=changed)).name(Request({**HTTPS, "scheme": scheme}))
        for changed in ({}, {"port": 8001}, {"data_dir": Path("/other")}, below)
        for scheme in ("http", "https")
    }
    assert len(names) == 7, "the path alone makes no other name for http"
    assert sum(name.startswith("__Host-lab-") for name in names) == 3
    assert sum(name.startswith("__Secure-lab-") for name in names) == 1


def test_a_cookie_of_the_same_name_from_elsewhere_shuts_nobody_out(
    stranger: httpx.Client, token: str
) -> None:
    name, _, value = (
        stranger.get(f"/?token={token}").headers["set-cookie"].split(";")[0].partition("=")
    )
    stranger.cookies.clear()
    both = {"Cookie": f"{name}=tossed; x{name}=1; {name}={value}"}
    assert stranger.get("/jobs", headers=both).status_code == 200
    assert stranger.get("/jobs", headers={"Cookie": f"{name}=tossed"}).status_code == 401


def test_the_token_is_the_owners_alone_and_stays(tmp_path: Path) -> None:
    token = kept_token(tmp_path)
    file = tmp_path / "token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept_token(tmp_path) == token
    file.chmod(0o640)
    fresh = kept_token(tmp_path)
    assert fresh != token, "others may have read the first"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("short")
    assert len(kept_token(tmp_path)) > 40


def test_the_token_is_in_no_log(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Not in that of requests either, which a server writes itself."""
    from app.main import create_app

    with served(create_app(settings), log_level="info") as url:
        logging.getLogger("uvicorn.access").addHandler(caplog.handler)
        token = kept_token(settings.data_dir)
        for path in ("/jobs?a=1&", "/api/nothing?", "/static/lab.css?", "/login?"):
            for name in ("token", "%74oken"):
                httpx.get(f"{url}{path}{name}={token}", follow_redirects=False)
        httpx.post(f"{url}/jobs/selected?token={token}")
        httpx.get(f"{url}/jobs", headers={"Authorization": f"Bearer {token}"})
        logging.getLogger("uvicorn.access").removeHandler(caplog.handler)
    said = [record.getMessage() for record in caplog.records]
    assert any("/jobs?a=1 " in line for line in said)
    assert not any(token in line for line in said)


def test_no_websocket_is_opened(web: str) -> None:
    host, port = web.removeprefix("http://").split(":")
    lines = (
        "GET /api/jobs HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    )  # fmt: skip
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert b" 101 " not in connection.recv(4096).split(b"\r\n")[0]


class TestTokenAlone:
    """`LAB_AUTH=token`."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"auth": Auth.TOKEN})

    def test_no_process_is_known(self, connected: httpx.Client, token: str) -> None:
        assert connected.get("/api/jobs").status_code == 401
        headers = {"Authorization": f"bearer {token}"}
        assert connected.get("/api/jobs", headers=headers).status_code == 200

    def test_the_client_finds_the_token(
        self, web: str, token: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LAB_DATA_DIR", str(settings.data_dir / "nowhere"))
        with Client(web) as client, pytest.raises(LabError) as refused:
            client.models()
        assert refused.value.status == 401
        with Client(web, token=token) as client:
            assert client.models() == []
        monkeypatch.setenv("LAB_DATA_DIR", str(settings.data_dir))
        with Client(web) as client:
            assert client.models() == []
        monkeypatch.setattr("app.client.tokens.listeners", lambda _: {ANOTHER})
        with Client(web) as client, pytest.raises(LabError):
            client.models()
        monkeypatch.setenv("LAB_TOKEN", token)
        with Client(web) as client:
            assert client.models() == []


class TestOff:
    """`LAB_AUTH=off`."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"auth": Auth.OFF})

    @as_root
    def test_everybody_on_this_machine_is_let_in(self, web: str, lab: Lab) -> None:
        assert status_for(ANOTHER, web) == 200
        assert not (lab.settings.data_dir / "token").exists()

    def test_there_is_nothing_to_sign_in_to(self, web: str) -> None:
        for method, path in (("GET", "/login"), ("POST", "/login"), ("GET", "/?token=x")):
            answer = httpx.request(method, f"{web}{path}")
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
