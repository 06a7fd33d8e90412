"""Tests that need a program of the system: skipped with the reason, or failed where it must be.

`LAB_REQUIRE=browser,containers,namespaces,nginx,postgresql,redis,storage` names the needs whose
absence is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from bench.hosts import network

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


def s3_server() -> str | None:
    """The module that is one, where it and what speaks with it are installed."""
    found = all(map(importlib.util.find_spec, ("moto", "s3fs", "flask")))
    return "moto.server" if found else None


def beside_python(name: str) -> str | None:
    """A program that a package of the tests brings, or the system's."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def container_tools() -> str | None:
    """What reads docker-compose.yml and the Dockerfile, where there is all of it."""
    found = [beside_python(name) for name in ("docker-compose", "hadolint")]
    return found[0] if all(found) else None


def postgresql() -> str | None:
    """The folder of PostgreSQL's server programs, of the newest; None where there are none."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, newest)])
    found = shutil.which("initdb", path=path)
    return None if found is None else str(Path(found).resolve().parent)


@lru_cache
def namespaces() -> str | None:
    """Whether hosts can be made of this machine's network."""
    return "ip" if network.usable() else None


_NEEDS: dict[str, tuple[Callable[[], str | None], str]] = {
    "browser": (
        chromium,
        "no Chromium: install the system's, or run `python -m playwright install chromium`",
    ),
    "containers": (
        container_tools,
        "no docker-compose or hadolint: the packages that bring them are for Linux and macOS",
    ),
    "namespaces": (
        namespaces,
        "no network namespaces: it takes root, the package iproute2, and a kernel that lets root",
    ),
    "nginx": (nginx, "no nginx: install the system's package of that name"),
    "postgresql": (postgresql, "no PostgreSQL server: install the system's package of that name"),
    "storage": (
        s3_server,
        "no S3 server: install the extra `storage` and the group `dev`, which has moto",
    ),
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
