"""The files that take longest come first, so that processes which share them end together.

`make test` gives a whole file to whichever process is free, in this order: what a file has set up
is set up once, and only short files are left when one process runs out of work.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]

# By their time on two cores at rest, measured with `--durations=0`; the rest take seconds each.
LONG = (
    "e2e/test_browser.py",
    "jobs/test_resume.py",
    "web/test_in_browser.py",
    "e2e/test_client.py",
    "e2e/test_docs.py",
    "e2e/test_rest.py",
    "web/test_evaluation_in_browser.py",
    "run/test_supervisor.py",
    "jobs/test_evaluation.py",
    "shipping/test_repeating.py",
    "jobs/test_training.py",
    "jobs/test_command_line.py",
    "jobs/test_going_on.py",
    "jobs/test_evaluation_tables.py",
    "jobs/test_rerun.py",
    "run/test_compose.py",
    "e2e/test_restart.py",
    "attacks/test_autoattack.py",
    "run/test_cannot_start.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {_ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def pytest_sessionstart() -> None:
    gone = [name for name in LONG if not (_ROOT / "tests" / name).is_file()]
    if gone:
        raise pytest.UsageError(f"tests/plugins/order.py names files that are gone: {gone}")
