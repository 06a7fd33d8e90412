"""What is said of access when a lab is started, and accounts from a shell."""

from __future__ import annotations

import argparse
import io
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from app.run import users
from app.run.supervisor import Supervisor
from app.settings import Auth, Settings
from tests.admission.people import PASSWORD
from tests.plugins.lab_process import free_port, wait_until
from tests.plugins.servers import web_process

TLS = Path(__file__).with_name("tls")


def test_other_addresses_have_accounts() -> None:
    assert Settings(host="192.0.2.1").auth is Auth.ACCOUNTS
    assert Settings(host="::1").auth is Auth.OWNER
    for auth in (Auth.OWNER, Auth.TOKEN, Auth.OFF):
        with pytest.raises(ValidationError, match="accounts"):
            Settings(host="0.0.0.0", auth=auth)
    for wrong in ("", "localhost", "10.0.0.0/8"):
        with pytest.raises(ValidationError):
            Settings(host=wrong)
    with pytest.raises(ValidationError, match="key"):
        Settings(tls_cert=TLS / "cert.pem")


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"),
     ("::", "http://[::1]:8000"), ("2001:db8::1", "http://[2001:db8::1]:8000")],
)  # fmt: skip
def test_where_this_machine_finds_it(host: str, address: str) -> None:
    assert Settings(host=host).address == address


@pytest.mark.slow
def test_https_for_others_with_accounts(settings: Settings) -> None:
    changed = {
        "host": "0.0.0.0", "port": free_port(), "tls_cert": TLS / "cert.pem",
        "tls_key": TLS / "key.pem", "auth": Auth.ACCOUNTS,
    }  # fmt: skip
    settings = settings.model_copy(update=changed)
    supervisor = Supervisor(settings, lock_fd=-1)
    known = ssl.create_default_context(cafile=TLS / "cert.pem")
    with web_process(settings), httpx.Client(base_url=settings.address, verify=known) as client:
        wait_until(supervisor._web_answers, "it answers the supervisor")
        users.run(settings, typed("add", "ada", "admin"))
        assert client.get("/api/jobs").status_code == 401
        sent = client.post("/login", data={"name": "ada", "password": PASSWORD},
                           headers={"Origin": settings.address})  # fmt: skip
        assert sent.headers["set-cookie"].startswith("__Host-lab-")
        assert client.get("/api/jobs").status_code == 200
        assert client.get("/api/jobs", headers={"Host": "evil.example"}).status_code == 421


def typed(*words: str) -> argparse.Namespace:
    return users.parser().parse_args(words)


@pytest.fixture(autouse=True)
def _line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n" * 9))


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command of `python -m app users` prints."""
    settings = Settings(data_dir=tmp_path / "data")

    def run(*words: str, code: int = 0) -> str:
        assert users.run(settings, typed(*words)) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return run


def test_accounts_from_a_shell(ask: Callable[..., str]) -> None:
    ask("add", "Ada", "admin")
    ask("add", "rita")
    assert [line.split() for line in ask("list").splitlines()] == [["ada", "admin"],
                                                                  ["rita", "runner"]]  # fmt: skip
    ask("role", "rita", "viewer")
    ask("disable", "rita")
    assert ask("list").splitlines()[1].split() == ["rita", "viewer", "disabled"]
    ask("enable", "rita")
    ask("password", "rita")
    assert "last admin" in ask("remove", "ada", code=1)
    ask("role", "rita", "admin")
    ask("remove", "ada")
    assert "last admin" in ask("role", "rita", "viewer", code=1)
    assert ask("list").split() == ["rita", "admin"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("add", "rita"), "already"), (("add", "no name"), "characters"),
        (("add", "../x"), "characters"), (("add", "é"), "characters"),
        (("role", "x", "admin"), "no user"), (("remove", "x"), "no user"),
    ],
)  # fmt: skip
def test_what_cannot_be(ask: Callable[..., str], words: tuple[str, ...], why: str) -> None:
    ask("add", "rita")
    assert why in ask(*words, code=1)


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_what_is_no_password(
    ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    assert "10 to 200" in ask("add", "rita", code=1)
    assert ask("list") == ""
