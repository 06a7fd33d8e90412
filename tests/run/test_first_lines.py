"""What whoever starts the lab is told of access: that it runs as root, and how it is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.run.supervisor import Supervisor
from app.settings import Settings
from tests.plugins.lab_process import LabProcess, wait_until

AS_ROOT = "[lab] warning: it runs as root, and so do its jobs; a user of its own is safer"


@pytest.mark.parametrize("user", [0, 1000])
def test_root_is_warned_and_nobody_else(
    user: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    Supervisor(Settings(data_dir=tmp_path), lock_fd=-1)._warn()
    assert (AS_ROOT in capsys.readouterr().err.splitlines()) is (user == 0)


@pytest.fixture
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LabProcess]:
    """Ready, with all that it says at its start."""
    lab = LabProcess(tmp_path / "data", terminal=request.param, LAB_AUTH="token")
    told = re.compile(r"Open it by |\[lab\] it asks for the token in ")
    try:
        wait_until(lambda: any(map(told.match, lab.output)), f"who may: {lab.output}")
        yield lab
        lab.stop()
    finally:
        lab.clean_up()


def token_of(lab: LabProcess) -> str:
    return (lab.data_dir / "token").read_text().strip()


@pytest.mark.slow
@pytest.mark.parametrize("started", [True], indirect=True)
def test_the_address_that_a_terminal_shows_opens_the_lab(started: LabProcess) -> None:
    shown = f"{started.url}/?token={token_of(started)}"
    assert f"Open it by {shown}" in started.output
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(f"{started.url}/jobs").status_code == 401
        page = browser.get(shown)
        assert (page.status_code, str(page.url)) == (200, f"{started.url}/")
        assert browser.get(f"{started.url}/jobs").status_code == 200
    assert started.output[0].startswith(AS_ROOT) is (os.geteuid() == 0)


@pytest.mark.slow
@pytest.mark.parametrize("started", [False], indirect=True)
def test_a_log_says_where_the_token_lies_and_not_what_it_is(started: LabProcess) -> None:
    assert f"[lab] it asks for the token in {started.data_dir / 'token'}" in started.output
    assert token_of(started) not in "\n".join(started.output)
    assert httpx.get(f"{started.url}/jobs").status_code == 401
    as_owner = {"Authorization": f"Bearer {token_of(started)}"}
    wait_until(
        lambda: httpx.get(f"{started.url}/api/health", headers=as_owner).json()["ok"],
        "every queue has its worker",
    )
    assert not any("privileges" in line for line in started.output), "root is told once, by the lab"
