"""A real S3 server, started once for all tests that need one, and a bucket folder for each."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.plugins.lab_process import free_port
from tests.plugins.needs import s3_server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "KEY-OF-THE-LAB", "AWS_SECRET_ACCESS_KEY": "Secret-of-the-lab"}
_STARTS_WITHIN_S = 120.0


class S3Server:
    """moto's, with a bucket. What it holds is gone with it."""

    bucket = "lab"

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", str(s3_server()), "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not self._has_bucket():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the S3 server did not start")
            time.sleep(0.1)

    def _has_bucket(self) -> bool:
        asked = urllib.request.Request(f"{self.url}/{self.bucket}", method="PUT")
        try:
            with urllib.request.urlopen(asked, timeout=10):
                return True
        except urllib.error.HTTPError:
            raise
        except OSError:
            return False

    def pause(self) -> None:
        """Stop answering, and keep what there is."""
        assert self._process is not None
        self._process.send_signal(19)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(18)

    def stop(self) -> None:
        if self._process is not None:
            self.go_on()
            self._process.terminate()
            self._process.wait(20)

    def folder(self) -> str:
        """A `LAB_STORAGE_URL` of a place where nothing is."""
        return f"s3://{self.bucket}/{secrets.token_hex(4)}?endpoint={self.url}&region=us-east-1"


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Mark what uses it with `storage`."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    server = S3Server()
    server.start()
    yield server
    server.stop()
    _restore(before)


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@contextmanager
def away(server: S3Server) -> Iterator[None]:
    """For as long as the block, it does not answer."""
    server.pause()
    try:
        yield
    finally:
        server.go_on()
