"""What tests of the service share: a lab of its own folder, a broker, and two ways to the web."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import hypothesis
import pytest
import redis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from app.main import create_app
from app.services.lab import Lab
from app.settings import Settings
from tests.plugins import migrated
from tests.plugins.applications import Entrance, InProcess, entrance, running
from tests.plugins.lab_process import NO_MODELS
from tests.plugins.servers import valkey_on_socket

os.environ.update(NO_MODELS)
# Tests run beside each other; and a sum over other threads can end in other bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Every run draws the same examples, and none fails for being slow beside other work.
hypothesis.settings.register_profile("lab", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lab")

pytest_plugins = [
    "tests.plugins.needs",
    "tests.plugins.order",
    "tests.plugins.postgresql",
    "tests.plugins.storage",
]


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """A Valkey of its own, behind a password, on a unix socket."""
    # A socket's path has to stay under 108 bytes; pytest's own folders can be longer.
    with (
        tempfile.TemporaryDirectory(prefix="lab-") as folder,
        valkey_on_socket(Path(folder, "broker.sock"), secrets.token_urlsafe(24)) as url,
    ):
        yield url


@pytest.fixture
def settings(broker_url: str, tmp_path: Path, database_url: str | None) -> Settings:
    """Settings of a lab with nothing in it, and an empty broker."""
    with redis.Redis.from_url(broker_url) as client:
        client.flushall()
    # Tests claim jobs for longer than they last themselves.
    return Settings(
        data_dir=tmp_path / "data", redis_url=broker_url, database_url=database_url, lease_s=1000
    )


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    """The opened lab; share its `settings` with an app to see it from both sides."""
    if settings.database_url is None:
        migrated.lay_out(settings.data_dir)
    opened = Lab.open(settings)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """The event loop in which applications run."""
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture(scope="session")
def door(portal: BlockingPortal) -> Iterator[Entrance]:
    with entrance(portal) as opened:
        yield opened


@pytest.fixture
def app(lab: Lab, portal: BlockingPortal) -> Iterator[FastAPI]:
    """The web application on the lab, from its start to its end."""
    with running(create_app(lab.settings), portal) as started:
        yield started


@pytest.fixture
def client(app: FastAPI, portal: BlockingPortal) -> Iterator[httpx.Client]:
    """Speaks to the application as a program without a browser does."""
    with httpx.Client(transport=InProcess(app, portal), base_url="http://127.0.0.1") as opened:
        yield opened


@pytest.fixture
def web(app: FastAPI, door: Entrance) -> Iterator[str]:
    """The application's URL: for browsers, for streams, and for what depends on a connection."""
    with door.leading_to(app) as url:
        yield url


@pytest.fixture
def connected(web: str) -> Iterator[httpx.Client]:
    """As `client`, over a connection."""
    with httpx.Client(base_url=web, timeout=30) as opened:
        yield opened
