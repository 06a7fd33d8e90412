"""Accounts: roles, sessions, tokens, forms, and guessing that becomes slow."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import create_engine, text

from app.admission import throttle
from app.admission.throttle import OF_A_NAME, OF_AN_ADDRESS, WHILE_S, Throttle
from app.contracts.accounts import Role
from app.contracts.jobs import JobKind
from app.errors import Unauthenticated
from app.services import accounts, passwords
from app.services.lab import Lab
from app.settings import Auth, Settings
from tests.admission.people import PASSWORD, NewClient, proof, signed_in
from tests.api.problems import problem
from tests.web.examples import add_job, train_params
from tests.web.parsing import parsed


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS})


def test_nobody_comes_in_by_a_socket_or_the_labs_token(
    connected: httpx.Client, new_client: NewClient, lab: Lab
) -> None:
    assert connected.get("/api/jobs").status_code == 401
    assert not (lab.settings.data_dir / "token").exists()
    page = parsed(new_client().get("/jobs").text)
    assert {str(each["name"]) for each in page.select("main input")} == {"then", "name", "password"}


def test_what_each_role_may(new_client: NewClient, users: dict[Role, str], lab: Lab) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params())
    for role, name in users.items():
        client = signed_in(new_client, name)
        assert client.get("/jobs").status_code == 200
        assert client.get(f"/api/jobs/{job}").status_code == 200
        sent = {"X-CSRF-Token": proof(client)}
        asked = {"name": name, "source": "shapes"}
        answer = client.post("/api/datasets", data=asked, headers=sent)
        assert answer.status_code == (403 if role is Role.VIEWER else 202)
    client = signed_in(new_client, users[Role.VIEWER])
    form = {"csrf": proof(client), "note": "x"}
    assert client.post(f"/jobs/{job}/change", data=form).status_code == 403
    upload = client.post("/api/live", files={"image": b"x" * 2**21}, headers=sent)
    problem(upload, 403)


def test_a_role_and_a_removal_count_from_the_next_request_on(
    new_client: NewClient, users: dict[Role, str], lab: Lab
) -> None:
    client = signed_in(new_client, "vera")
    accounts.change(lab.database, "vera", role=Role.RUNNER)
    assert client.get("/api/account").json()["role"] == "runner"
    accounts.remove(lab.database, "vera")
    problem(client.get("/api/account"), 401)


def test_changes_need_what_the_page_brings(
    new_client: NewClient, users: dict[Role, str], lab: Lab
) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params())
    client, other = signed_in(new_client, "ada"), signed_in(new_client, "rita")
    for shown in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": proof(other)}):
        answer = client.post(f"/jobs/{job}/change", data={"note": "x", **shown})
        assert answer.status_code == 403, shown
    problem(client.post(f"/api/jobs/{job}/cancel"), 403)
    done = client.post(f"/jobs/{job}/change", data={"note": "x", "csrf": proof(client)})
    assert done.status_code == 303
    assert client.get(f"/api/jobs/{job}").json()["note"] == "x"


def test_every_form_that_changes_something_brings_it(
    new_client: NewClient, users: dict[Role, str], lab: Lab
) -> None:
    client = signed_in(new_client, "rita")
    job = add_job(lab, JobKind.TRAIN, train_params())
    expected, seen = proof(client), 0
    for path in ("/", "/jobs", f"/jobs/{job}", "/datasets", "/models", "/train", "/live",
                 "/models/import", "/account"):  # fmt: skip
        for form in parsed(client.get(path).text).select("form[method=post]"):
            brought = [str(field["value"]) for field in form.select("input[name=csrf]")]
            assert brought == [expected], (path, form.get("action"))
            seen += 1
    assert seen > 12


def test_an_upload_brings_it_too(new_client: NewClient, users: dict[Role, str], lab: Lab) -> None:
    client = signed_in(new_client, "rita")
    body = {"name": "S", "source": "shapes"}
    assert client.post("/datasets", data=body).status_code == 403
    files = {name: (None, value) for name, value in {**body, "csrf": proof(client)}.items()}
    assert client.post("/datasets", files=files).status_code == 303
    sent = client.post("/api/datasets", files={k: (None, v) for k, v in body.items()},
                       headers={"X-CSRF-Token": proof(client)})  # fmt: skip
    assert sent.status_code in (202, 409, 422), sent.text


def test_sessions_end(
    new_client: NewClient, users: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (signed_in(new_client, "vera") for _ in range(3))
    first.post("/logout", data={"csrf": proof(first)})
    assert [each.get("/jobs").status_code for each in (first, second, third)] == [401, 200, 200]
    cookie = dict(second.cookies)
    second.post("/account/sign-out-everywhere", data={"csrf": proof(second)})
    second.cookies.update(cookie)
    assert [each.get("/jobs").status_code for each in (second, third)] == [401, 401]
    fourth = signed_in(new_client, "vera")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 169 * 3600)
    assert fourth.get("/jobs").status_code == 401


def test_a_session_is_new_at_each_sign_in(new_client: NewClient, users: dict[Role, str]) -> None:
    """One that somebody else laid into the browser is not taken up."""
    client = new_client()
    name = next(iter(signed_in(new_client, "vera").cookies))
    client.cookies.set(name, "laid-by-another", domain="127.0.0.1")
    form = {"name": "vera", "password": PASSWORD}
    given = client.post("/login", data=form).headers["set-cookie"]
    assert "laid-by-another" not in given


def test_neither_sessions_nor_tokens_nor_passwords_are_kept(
    new_client: NewClient, users: dict[Role, str], lab: Lab
) -> None:
    client = signed_in(new_client, "vera")
    sent = {"X-CSRF-Token": proof(client)}
    made = client.post("/api/account/tokens", json={"name": "ci"}, headers=sent)
    assert made.status_code == 201
    engine = create_engine(lab.database.url)
    with engine.connect() as connection:
        kept = str([connection.execute(text(f"SELECT * FROM {table}")).all()
                    for table in ("users", "sessions", "api_tokens")])  # fmt: skip
    engine.dispose()
    assert "$argon2id$" in kept
    for secret in (PASSWORD, made.json()["token"], next(iter(client.cookies.values()))):
        assert secret not in kept


def test_tokens_of_programs(new_client: NewClient, users: dict[Role, str], lab: Lab) -> None:
    client, other = signed_in(new_client, "rita"), signed_in(new_client, "ada")
    page = client.post("/account/tokens", data={"name": "ci", "csrf": proof(client)})
    found = re.search(r"lab_[\w-]{43}", page.text)
    assert found is not None
    assert found[0] not in client.get("/account").text
    program = {"Authorization": f"Bearer {found[0]}"}
    assert new_client().get("/api/account", headers=program).json()["name"] == "rita"
    answer = new_client().post("/api/datasets", data={"name": "S", "source": "shapes"},
                               headers=program)  # fmt: skip
    assert answer.status_code == 202, "a program has no forms"
    (token,) = client.get("/api/account/tokens").json()
    assert other.get("/api/account/tokens").json() == []
    path = f"/api/account/tokens/{token['id']}"
    problem(other.delete(path, headers={"X-CSRF-Token": proof(other)}), 404)
    assert client.delete(path, headers={"X-CSRF-Token": proof(client)}).status_code == 204
    problem(new_client().get("/api/account", headers=program), 401)


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[31mb", "a\N{RIGHT-TO-LEFT OVERRIDE}b", "a\nb", ""])
def test_a_token_is_called_what_can_be_shown(
    new_client: NewClient, users: dict[Role, str], name: str
) -> None:
    """By programs and by its page, where admins see it too."""
    client = signed_in(new_client, "rita")
    told = {"X-CSRF-Token": proof(client)}
    problem(client.post("/api/account/tokens", json={"name": name}, headers=told), 422)
    page = client.post("/account/tokens", data={"name": name}, headers=told).text
    assert "lab_" not in page
    assert client.get("/api/account/tokens").json() == []


def test_a_token_that_is_refused_keeps_what_was_typed(
    new_client: NewClient, users: dict[Role, str]
) -> None:
    client, name = signed_in(new_client, "rita"), "n" * 81
    told = {"X-CSRF-Token": proof(client)}
    page = parsed(client.post("/account/tokens", data={"name": name}, headers=told).text)
    (field,) = page.select("#token-name")
    assert field["value"] == name


def test_a_new_password_ends_everything(new_client: NewClient, users: dict[Role, str]) -> None:
    client, elsewhere = signed_in(new_client, "vera"), signed_in(new_client, "vera")
    form = {"old": "wrong wrong wrong", "new": "another long one", "csrf": proof(client)}
    assert client.post("/account/password", data=form).status_code == 422
    assert client.post("/account/password", data={**form, "old": PASSWORD, "new": "short"}
                       ).status_code == 422  # fmt: skip
    assert client.post("/account/password", data={**form, "old": PASSWORD}).status_code == 303
    assert elsewhere.get("/jobs").status_code == 401
    signed_in(new_client, "vera", "another long one")


def test_guessing_becomes_slow(new_client: NewClient, users: dict[Role, str]) -> None:
    client = new_client()
    answers = [
        client.post("/login", data={"name": "vera", "password": f"guess {number}"})
        for number in range(OF_A_NAME + 1)
    ]
    assert [answer.status_code for answer in answers] == [401] * OF_A_NAME + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= WHILE_S / OF_A_NAME + 1
    right = client.post("/login", data={"name": "vera", "password": PASSWORD})
    assert right.status_code == 429, "nor does a right guess come through"
    signed_in(new_client, "rita")


def test_an_unknown_name_is_answered_as_a_wrong_password(
    new_client: NewClient, users: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    hasher = passwords.hasher()
    monkeypatch.setattr(
        type(hasher), "verify", lambda _, hashed, password: bool(compared.append(hashed)) or False
    )
    known, unknown = (
        new_client().post("/login", data={"name": name, "password": "guess"})
        for name in ("vera", "nobody")
    )
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)
    assert len(compared) == 2, "which takes as long"


def test_attempts_come_back_and_are_kept_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(throttle, "_MOST_KEYS", 20)
    one = Throttle()
    assert [one.take("a", "1.1.1.1") for _ in range(OF_A_NAME)] == [None] * OF_A_NAME
    wait = one.take("a", "2.2.2.2")
    assert wait is not None
    now[0] += wait
    assert one.take("a", "2.2.2.2") is None
    assert one.take("a", "2.2.2.2") is not None
    tried = [one.take(f"n{number}", "3.3.3.3") for number in range(OF_AN_ADDRESS + 1)]
    assert tried.count(None) == OF_AN_ADDRESS
    for number in range(OF_AN_ADDRESS):
        assert one.take(f"m{number}", f"2001:db8::{number:x}") is None
    assert one.take("m", "2001:db8::ffff") is not None, "a customer has one network"
    assert len(one._attempts._used) <= 20
    one.give_back("z", "9.9.9.9")
    assert one.take("z", "9.9.9.9") is None


def test_unknown_names_take_no_more_memory_than_known_ones(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash takes 64 MB: two are made at once, also those to compare an unknown name with."""
    passwords.nobodys.cache_clear()
    at_once, most = 0, 0

    def slow(_: PasswordHasher, password: str) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.05)
        at_once -= 1
        return password

    monkeypatch.setattr(PasswordHasher, "hash", slow)
    monkeypatch.setattr(PasswordHasher, "verify", lambda *_: False)

    def guess(number: int) -> None:
        with pytest.raises(Unauthenticated):
            accounts.sign_in(lab, Throttle(), f"nobody{number}", "guess", "192.0.2.1")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(guess, range(8)))
    passwords.nobodys.cache_clear()
    assert 1 <= most <= 2
