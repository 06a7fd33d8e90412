"""Tests that need a program of the system: skipped with the reason, or failed where it must be.

`LAB_REQUIRE=browser,nginx,postgresql,redis` names the needs whose absence is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

_SYSTEM_CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@lru_cache
def chromium() -> str | None:
    """The system's Chromium, or the one that Playwright downloaded; None where there is none."""
    for name in _SYSTEM_CHROMIUM:
        if found := shutil.which(name):
            return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def redis_server() -> str | None:
    return shutil.which("redis-server")


def nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def postgresql() -> str | None:
    """The folder of PostgreSQL's server programs, of the newest; None where there are none."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, newest)])
    found = shutil.which("initdb", path=path)
    return None if found is None else str(Path(found).resolve().parent)


_NEEDS: dict[str, tuple[Callable[[], str | None], str]] = {
    "browser": (
        chromium,
        "no Chromium: install the system's, or run `python -m playwright install chromium`",
    ),
    "nginx": (nginx, "no nginx: install the system's package of that name"),
    "postgresql": (postgresql, "no PostgreSQL server: install the system's package of that name"),
    "redis": (redis_server, "no redis-server: install the system's package of that name"),
}


def _required() -> set[str]:
    names = {name.strip() for name in os.environ.get("LAB_REQUIRE", "").split(",")} - {""}
    if unknown := names - set(_NEEDS):
        raise pytest.UsageError(f"LAB_REQUIRE: unknown needs {sorted(unknown)}")
    return names


def pytest_configure(config: pytest.Config) -> None:
    _required()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, (find, reason) in _NEEDS.items():
        if item.get_closest_marker(name) is None or find() is not None:
            continue
        if name in _required():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
