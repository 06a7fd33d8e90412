"""What tests of the service share: a lab of its own folder, a broker, and a client."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from app.main import create_app
from app.services.lab import Lab
from app.settings import Settings
from tests.plugins.lab_process import NO_MODELS
from tests.plugins.servers import served, valkey_on_socket

os.environ.update(NO_MODELS)

pytest_plugins = ["tests.plugins.needs"]


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
def settings(broker_url: str, tmp_path: Path) -> Settings:
    """Settings of a lab with nothing in it, and an empty broker."""
    with redis.Redis.from_url(broker_url) as client:
        client.flushall()
    return Settings(data_dir=tmp_path / "data", redis_url=broker_url)


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    """The opened lab; share its `settings` with an app to see it from both sides."""
    opened = Lab.open(settings)
    yield opened
    opened.close()


@pytest.fixture
def web(lab: Lab) -> Iterator[str]:
    """The URL of a real web server on the lab."""
    with served(create_app(lab.settings)) as url:
        yield url


@pytest.fixture
def client(web: str) -> Iterator[httpx.Client]:
    """Speaks to the web server as a program without a browser does."""
    with httpx.Client(base_url=web, timeout=30) as opened:
        yield opened
