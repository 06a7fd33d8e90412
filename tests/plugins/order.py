"""How processes share the tests: the longest files first, and whole ones.

`make test` gives a file to whichever process is free, in this order: what a file has set up is set
up once, and only short files are left when one process runs out of work. Files that follow one
another in one running lab stay together, since each process would start a lab of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

_ROOT = Path(__file__).resolve().parents[2]

# By their time on two cores, measured with `--durations=0`; the rest take seconds each.
LONG = (
    "run/test_hosts.py",
    "e2e/test_docs.py",
    "e2e/test_browser.py",
    "e2e/test_client.py",
    "e2e/test_rest.py",
    "web/test_layout_in_browser.py",
    "run/test_several_processes.py",
    "jobs/test_files_of_weights.py",
    "jobs/test_converted_models.py",
    "run/test_soak.py",
    "jobs/test_cluster.py",
    "jobs/test_resume.py",
    "web/test_in_browser.py",
    "web/test_live_in_browser.py",
    "web/test_evaluation_in_browser.py",
    "run/test_supervisor.py",
    "jobs/test_evaluation.py",
    "shipping/test_repeating.py",
    "jobs/test_training.py",
    "jobs/test_command_line.py",
    "jobs/test_going_on.py",
    "jobs/test_evaluation_tables.py",
    "jobs/test_rerun.py",
    "jobs/test_together.py",
    "run/test_machines.py",
    "jobs/test_sharding.py",
    "jobs/test_evaluation_going_on.py",
    "run/test_compose.py",
    "run/test_compose_scaled.py",
    "jobs/test_any_division.py",
    "run/test_first_lines.py",
    "attacks/test_autoattack.py",
    "run/test_cannot_start.py",
)

ONE_LAB = tuple(f"tests/{file}" for file in LONG if file.startswith("e2e/"))


class _Sharing(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "one lab" if file in ONE_LAB else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Sharing | None:
    return _Sharing(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {_ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def pytest_sessionstart() -> None:
    gone = [name for name in LONG if not (_ROOT / "tests" / name).is_file()]
    if gone:
        raise pytest.UsageError(f"tests/plugins/order.py names files that are gone: {gone}")
