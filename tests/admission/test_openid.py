"""Signing in by an OpenID provider: a real one, in this process, on a port of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import httpx
import oidc_provider_mock
import pytest
from oidc_provider_mock import User
from pydantic import ValidationError
from werkzeug.serving import make_server

from app.contracts.accounts import Pending, Role
from app.errors import Unavailable
from app.services import accounts, openid
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store import audit
from tests.admission.people import PASSWORD, NewClient, proof
from tests.web.parsing import parsed

SECRET = "the password of the lab at the provider"
PEOPLE = {
    "1": {"preferred_username": "Grace.Hopper", "groups": ["ml", "all"]},
    "2": {"email": "vera@example.org", "email_verified": True},
    "3": {"email": "carl@example.org", "email_verified": False},
    "4": {"email": "eve@example.org.evil.example", "email_verified": True, "groups": "ml"},
    "5": {"preferred_username": "ada", "groups": ["leads", "ml"]},
    "6": {"preferred_username": "é..", "groups": ["ml"]},
}


class Served:
    """The provider, and what the lab said to it."""

    def __init__(self) -> None:
        people = [User(sub=sub, claims=claims) for sub, claims in PEOPLE.items()]  # type: ignore[arg-type]
        self.app = oidc_provider_mock.app(require_nonce=True, user_claims=people)
        self.app.before_request(self._holds)
        self._challenges: set[str] = set()
        self.secrets: list[str] = []
        self.descriptions = 0
        """How often it said where it is found."""
        self.odd: dict[str, object] = {}
        """What it answers instead, by path."""
        self.server = make_server("127.0.0.1", 0, self.app, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.port}"

    def _holds(self) -> tuple[str, int] | None:
        """Proof of possession of the code (RFC 7636), which this provider does not ask for itself,
        and the client's password."""
        self.descriptions += flask.request.path == "/.well-known/openid-configuration"
        if flask.request.path in self.odd:
            return json.dumps(self.odd[flask.request.path]), 200
        if flask.request.path == "/oauth2/authorize":
            assert flask.request.args["code_challenge_method"] == "S256"
            self._challenges.add(flask.request.args["code_challenge"])
        if flask.request.path == "/oauth2/token":
            verifier, password = flask.request.form["code_verifier"], flask.request.authorization
            digest = hashlib.sha256(verifier.encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            known = password is not None and password.password == SECRET
            if challenge not in self._challenges or not known:
                return "no", 401
            self.secrets += [verifier, flask.request.form["code"]]
        return None


@pytest.fixture(scope="module")
def provider() -> Iterator[Served]:
    served = Served()
    thread = threading.Thread(target=served.server.serve_forever, args=(0.05,))
    thread.start()
    yield served
    served.server.shutdown()
    thread.join(20)
    served.server.server_close()


@pytest.fixture
def settings(settings: Settings, provider: Served, tmp_path: Path) -> Settings:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    changed: dict[str, Any] = {
        "auth": Auth.ACCOUNTS, "oidc_issuer": provider.url, "oidc_client_id": "lab",
        "oidc_client_secret_file": secret, "oidc_domains": "example.org",
        "oidc_groups": "ml=runner, leads=admin",
    }  # fmt: skip
    return Settings.model_validate({**settings.model_dump(), **changed})


def left(client: httpx.Client) -> str:
    """Where the lab's button leads."""
    button = parsed(client.get("/jobs").text).select_one("main .openid a")
    assert button is not None
    answer = client.get(str(button["href"]))
    assert answer.status_code == 303
    assert "SameSite=lax" in answer.headers["set-cookie"]
    return answer.headers["location"]


def agreed(address: str, sub: str) -> str:
    """Where the provider sends the browser back to, path and query."""
    answer = httpx.post(address, data={"sub": sub})
    back = urlsplit(answer.headers["location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == "http://127.0.0.1/login/openid/back"
    return f"{back.path}?{back.query}"


def signed_in(client: httpx.Client, sub: str) -> httpx.Response:
    client.cookies.clear()
    return client.get(agreed(left(client), sub))


def test_an_account_is_made_at_the_first_time(
    lab: Lab, provider: Served, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for others in ("httpx", "httpcore", "werkzeug"):  # the browser's and the provider's
        caplog.set_level(logging.CRITICAL, others)
    first, second = new_client(), new_client()
    answer = signed_in(first, "1")
    assert answer.status_code == 200
    leads = parsed(answer.text).select_one("meta[http-equiv=refresh]")
    assert leads is not None
    assert leads["content"] == "0;url=/jobs"
    me = first.get("/api/account").json()
    assert (me["name"], me["role"], me["has_password"]) == ("grace.hopper", "runner", False)
    signed_in(second, "1")
    assert second.get("/api/account").json()["id"] == me["id"]
    page = parsed(second.get("/account").text)
    assert not page.select("input[type=password]"), "the password is kept elsewhere"
    second.headers["X-CSRF-Token"] = proof(second)
    assert second.post("/account/password", data={"old": "", "new": PASSWORD}).status_code == 422
    assert second.post("/api/account/tokens", json={"name": "ci"}).status_code == 201

    rows, _ = audit.newest(lab.database, limit=9)
    signs = [(row.who, row.targets, row.status) for row in rows if "openid" in row.what]
    assert signs == [("grace.hopper", "grace.hopper", 200)] * 2
    cookies = [value for client in (first, second) for value in client.cookies.values()]
    assert len(provider.secrets) >= 4
    for secret in (SECRET, *provider.secrets, *cookies):
        assert secret not in caplog.text


def test_a_sign_in_that_begins_costs_the_lab_little(
    provider: Served, new_client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody may begin one."""
    made, make = [], ssl.create_default_context
    monkeypatch.setattr(
        ssl, "create_default_context", lambda **given: made.append(make(**given)) or made[-1]
    )
    asked = provider.descriptions
    for _ in range(5):
        left(new_client())
    assert (len(made), provider.descriptions - asked) == (1, 1)


def test_roles_are_those_of_groups_or_given_once(lab: Lab, new_client: NewClient) -> None:
    leads, vera = new_client(), new_client()
    accounts.add(lab.database, "ada", PASSWORD, Role.ADMIN)
    signed_in(leads, "5")
    me = leads.get("/api/account").json()
    assert (me["name"], me["role"]) == ("ada-2", "admin"), "a name is no proof of being somebody"
    accounts.change(lab.database, "ada-2", role=Role.VIEWER)
    signed_in(leads, "5")
    assert leads.get("/api/account").json()["role"] == "admin"
    signed_in(vera, "2")
    assert vera.get("/api/account").json()["role"] == "viewer"
    accounts.change(lab.database, "vera", role=Role.ADMIN)
    signed_in(vera, "2")
    assert vera.get("/api/account").json()["role"] == "viewer", "who leaves a group keeps nothing"
    accounts.change(lab.database, "vera", role=Role.RUNNER)
    without_groups = lab.settings.model_copy(update={"oidc_groups": ()})
    openid.sign_in(replace(lab, settings=without_groups), {"sub": "2", **PEOPLE["2"]})
    assert vera.get("/api/account").json()["role"] == "runner", "admins may change what is given"
    accounts.change(lab.database, "vera", disabled=True)
    assert signed_in(vera, "2").status_code == 403
    assert new_client().post("/login", data={"name": "vera", "password": ""}).status_code == 401


@pytest.mark.parametrize("sub", ["3", "4"])
def test_who_is_not_of_a_domain_or_a_group_stays_outside(
    lab: Lab, new_client: NewClient, sub: str
) -> None:
    client = new_client()
    answer = signed_in(client, sub)
    assert answer.status_code == 403
    assert "LAB_OIDC_DOMAINS" in answer.text
    assert client.get("/jobs").status_code == 401
    assert accounts.known(lab.database) == []
    ((row,), _) = audit.newest(lab.database, limit=9)
    assert (row.who, row.status) == ("", 403)


def test_what_did_not_begin_in_this_browser_is_refused(
    lab: Lab, new_client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = new_client(), new_client()
    back = agreed(left(mine), "1")
    assert other.get(back).status_code == 401, "it keeps nothing"
    left(other)
    assert other.get(back).status_code == 401, "it keeps another state"
    state = parse_qs(urlsplit(back).query)["state"][0]
    assert mine.get(f"/login/openid/back?state={state}&code=guess").status_code == 401
    assert mine.get(back).status_code == 401, "it began once"

    assert mine.get(agreed(left(mine), "1").replace("state=", "state=x")).status_code == 401
    again, tampered = agreed(left(mine), "1"), new_client()
    ((name, value),) = mine.cookies.items()
    tampered.cookies.set(name, f"x{value}", domain="127.0.0.1")
    assert tampered.get(again).status_code == 401
    for wrong in ("nonce", "verifier"):

        def changed(wrong: str = wrong, **kept: str) -> Pending:
            return Pending(**{**kept, wrong: "another"})

        monkeypatch.setattr("app.admission.away.Pending", changed)
        assert signed_in(new_client(), "1").status_code in (401, 503), wrong
    assert accounts.known(lab.database) == []


def test_what_anybody_may_send_leaves_no_record(lab: Lab, new_client: NewClient) -> None:
    for query in ("", "state=x&code=y", "a=1&" * 50):
        assert new_client().get(f"/login/openid/back?{query}").status_code == 401
    assert audit.newest(lab.database, limit=9) == ([], None)


def test_a_name_is_one_that_has_a_page(lab: Lab, new_client: NewClient) -> None:
    signed_in(new_client(), "6")
    assert [user.name for user in accounts.known(lab.database)] == ["user"]


@pytest.mark.parametrize("said", [{}, [], {"keys": 1}, 1])
def test_a_provider_that_says_something_else(
    new_client: NewClient, provider: Served, monkeypatch: pytest.MonkeyPatch, said: object
) -> None:
    for path in ("/jwks", "/oauth2/token"):
        back = agreed(left(client := new_client()), "1")
        monkeypatch.setattr(provider, "odd", {path: said})
        assert client.get(back).status_code in (401, 503), path
        monkeypatch.setattr(provider, "odd", {})


def test_it_needs_to_be_said_whom_to_let_in(settings: Settings) -> None:
    sound = settings.model_dump()
    for changed, why in (
        ({"oidc_domains": (), "oidc_groups": ()}, "whom"),
        ({"oidc_issuer": "http://login.example.org"}, "https"),
        ({"oidc_groups": "ml=owner"}, "roles"),
        ({"oidc_client_secret_file": "/nowhere"}, "no such file"),
        ({"oidc_client_id": ""}, "calls"),
        ({"auth": Auth.TOKEN}, "accounts"),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=why):
            Settings.model_validate({**sound, **changed})


def test_a_provider_that_is_not_there(lab: Lab, new_client: NewClient, provider: Served) -> None:
    gone = lab.settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:9"})
    with pytest.raises(Unavailable):
        openid.Provider(gone).begin("http://127.0.0.1/login/openid/back", "/")
    other = lab.settings.model_copy(update={"oidc_issuer": provider.url + "/"})
    with pytest.raises(Unavailable, match="calls itself"):
        openid.Provider(other).begin("http://127.0.0.1/login/openid/back", "/")
