"""The short form of `make soak`: a lab whose every process is killed while it gets work."""

from __future__ import annotations

import pytest

from bench import soak


@pytest.mark.slow
def test_no_job_is_lost_whatever_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--jobs", "10", "--every", "6", "--submits", "8"]
    assert soak.main(asked) == 0, capsys.readouterr().out
