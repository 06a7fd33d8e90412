"""What is under way when an account changes, and records whose transaction fails at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.admission.throttle import Throttle
from app.api import events
from app.contracts.accounts import Role
from app.errors import Conflict, Unauthenticated
from app.services import accounts, auditing, passwords
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store import acting, audit, jobs
from app.store.acting import Act
from tests.admission.people import PASSWORD
from tests.plugins.rows import job_row


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": Auth.ACCOUNTS})


CHANGES: list[Callable[[Lab], None]] = [
    lambda lab: accounts.set_password(lab.database, "vera", "another long one"),
    lambda lab: accounts.change(lab.database, "vera", disabled=True),
    lambda lab: accounts.remove(lab.database, "vera"),
    lambda lab: accounts.end_sessions(lab.database, "vera"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_sign_in_under_way_does_not_outlive_a_change(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, change: Callable[[Lab], None]
) -> None:
    accounts.add(lab.database, "vera", PASSWORD, Role.VIEWER)

    def meanwhile(*_: object) -> bool:
        change(lab)
        return True

    monkeypatch.setattr(passwords, "is_right", meanwhile)
    with pytest.raises(Unauthenticated):
        accounts.sign_in(lab, Throttle(), "vera", PASSWORD, "192.0.2.1")


@pytest.mark.parametrize(
    ("change", "kept"),
    [*zip(CHANGES, ([], ["before"], [], ["before"]), strict=True),
     (lambda lab: accounts.revoke_tokens(lab.database, "vera"), [])],
)  # fmt: skip
def test_nor_does_a_token(lab: Lab, change: Callable[[Lab], None], kept: list[str]) -> None:
    accounts.add(lab.database, "vera", PASSWORD, Role.VIEWER)
    session = accounts.sign_in(lab, Throttle(), "vera", PASSWORD, "192.0.2.1")
    found = accounts.by_session(lab, [session])
    assert found is not None
    accounts.make_token(lab, found[1], "before")
    change(lab)
    with pytest.raises(Unauthenticated):
        accounts.make_token(lab, found[1], "after")
    assert [token.name for token in accounts.tokens(lab, found[1].id)] == kept


@pytest.mark.parametrize("do", [
    lambda lab, name: accounts.change(lab.database, name, role=Role.VIEWER),
    lambda lab, name: accounts.change(lab.database, name, disabled=True),
    lambda lab, name: accounts.remove(lab.database, name),
])  # fmt: skip
def test_admins_who_end_each_other_leave_one(lab: Lab, do: Callable[[Lab, str], None]) -> None:
    names = [f"ada-{number}" for number in range(6)]
    for name in names:
        accounts.add(lab.database, name, PASSWORD, Role.ADMIN)
    ids = {user.name: user.id for user in accounts.known(lab.database)}
    together = threading.Barrier(len(names))

    def end_next(number: int) -> str:
        together.wait()
        with acting.acting(Act(names[number], "", "x", user_id=ids[names[number]])):
            try:
                do(lab, names[(number + 1) % len(names)])
            except Conflict as refused:
                return refused.detail
        return ""

    with ThreadPoolExecutor(len(names)) as pool:
        said = sorted(pool.map(end_next, range(len(names))))
    left = [user for user in accounts.known(lab.database)
            if user.role is Role.ADMIN and user.disabled_at is None]  # fmt: skip
    assert said[:-1] == [""] * (len(names) - 1)
    assert [f"{user.name} is the last admin." for user in left] == said[-1:]


def test_a_record_whose_commit_fails_gives_its_number_to_nobody(lab: Lab) -> None:
    """The next record gets that number; the end of the first must not be written into it."""

    def fail(_: Session) -> None:
        raise OSError("the disk is gone")

    failing, other = Act("rita", "", "fails"), Act("carl", "", "does not")
    with acting.acting(failing):
        event.listen(Session, "before_commit", fail)
        try:
            with pytest.raises(OSError, match="gone"):
                jobs.add(lab.database, job_row())
        finally:
            event.remove(Session, "before_commit", fail)
    with acting.acting(other):
        jobs.add(lab.database, job_row())
    auditing.finish(lab, other, 202)
    auditing.finish(lab, failing, 500)
    rows, _ = audit.newest(lab.database, limit=9)
    assert [(row.who, row.status) for row in rows] == [("carl", 202)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_stream_ends_with_its_session(
    lab: Lab,
    connected: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Lab], None],
) -> None:
    monkeypatch.setattr(events, "_ASK_AGAIN_S", 0.0)
    accounts.add(lab.database, "vera", PASSWORD, Role.VIEWER)
    connected.post("/login", data={"name": "vera", "password": PASSWORD})
    row = job_row()
    jobs.add(lab.database, row)
    job = row.id
    with connected.stream("GET", f"/api/jobs/{job}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines)  # it is open, and its job never ends
        ending = threading.Timer(0.2, change, (lab,))
        ending.start()
        for _ in lines:
            pass
    ending.join()
    assert connected.get(f"/api/jobs/{job}/events").status_code == 401
