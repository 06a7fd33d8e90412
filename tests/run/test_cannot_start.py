"""What stops the lab from starting: one line that says what to do, and an exit code."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from app import settings
from app.run.checks import CannotStart, prepare_folder, read_settings
from tests.plugins.forked import python_m
from tests.plugins.lab_process import free_port

Refuses = Callable[..., str]


@pytest.fixture
def refuses(tmp_path: Path) -> Refuses:
    """Start a lab that must not start; returns the one line that it said."""

    def start(data_dir: Path = tmp_path / "data", **environment: str) -> str:
        told = {"LAB_PORT": str(free_port()), "LAB_DATA_DIR": str(data_dir), **environment}
        done = python_m("app", environment=told)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return line

    return start


def test_a_port_in_use(refuses: Refuses) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refuses(LAB_PORT=str(port))
    assert f"port {port} on 127.0.0.1 is in use" in line
    assert "LAB_PORT" in line


def test_a_data_folder_that_cannot_be(refuses: Refuses, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refuses(tmp_path / "file" / "data")
    assert f"{tmp_path / 'file' / 'data'} cannot be written" in line
    assert "LAB_DATA_DIR" in line


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files is as near as a test gets without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, hard))
    try:
        with pytest.raises(CannotStart, match=r"cannot be written \(File too large\); make room"):
            prepare_folder(tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_data_folder_without_permission(refuses: Refuses, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    assert "cannot be written (Permission denied)" in refuses(tmp_path / "data")


def test_arguments_are_refused_since_there_are_none() -> None:
    done = python_m("app", "--port", "8100", environment={})
    assert done.returncode == 2
    assert "unrecognized arguments: --port 8100" in done.stderr


def test_a_redis_that_is_not_there(refuses: Refuses) -> None:
    line = refuses(LAB_REDIS_URL=f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert "does not answer" in line
    assert "LAB_REDIS_URL" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "url",
    ["redis://:12/sec?ret@127.0.0.1/0", "redis://u:12#sec@127.0.0.1", "redis://:sec:ret/@[::1]/0",
     "redis://127.0.0.1:sec"],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["LAB_REDIS_URL", "LAB_DATABASE_URL"])
def test_a_password_that_tears_its_url_apart_is_not_shown(
    refuses: Refuses, variable: str, url: str
) -> None:
    line = refuses(**{variable: url.replace("redis", "postgresql+psycopg", "DATABASE" in variable)})
    assert f"{variable}: " in line
    assert not any(part in line for part in ("sec", "12", "127.0.0.1"))


def test_a_redis_that_hangs(refuses: Refuses) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        line = refuses(LAB_REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
    assert "does not answer: Timeout" in line


def test_a_redis_that_refuses_the_password(refuses: Refuses, broker_url: str) -> None:
    socket_path = broker_url.split("@")[1]
    line = refuses(LAB_REDIS_URL=f"unix://:wrong@{socket_path}")
    assert "does not answer" in line
    assert "wrong" not in line.replace("WRONGPASS", "")


def test_a_redis_url_that_is_none(refuses: Refuses) -> None:
    assert "LAB_REDIS_URL" in refuses(LAB_REDIS_URL="ftp://127.0.0.1")


SECRET_URL = "postgresql://lab:s3cr3t@127.0.0.1:{port}/lab"


def test_a_postgresql_that_is_not_there(refuses: Refuses) -> None:
    port = free_port()
    line = refuses(LAB_DATABASE_URL=SECRET_URL.format(port=port))
    assert f"(postgresql://127.0.0.1:{port}/lab) does not answer" in line
    assert "refused" in line
    assert "unset LAB_DATABASE_URL" in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize(
    ("url", "said"),
    [("mysql://lab:s3cr3t@127.0.0.1/lab", "write it like postgresql://"),
     ("postgresql://lab:s3cr3t@x@127.0.0.1:1:2/lab", "%40")],
)  # fmt: skip
def test_a_database_url_that_is_none(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", url)
    with pytest.raises(CannotStart) as refused:
        read_settings()
    assert "LAB_DATABASE_URL" in str(refused.value)
    assert said in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_a_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://lab:s3cr3t@127.0.0.1/lab")
    with pytest.raises(CannotStart, match="pip install 'psycopg") as refused:
        read_settings()
    assert "s3cr3t" not in str(refused.value)


def test_a_webhook_that_is_no_address_of_the_web(refuses: Refuses) -> None:
    line = refuses(LAB_WEBHOOK_URL="ftp://hooks.example.com/s3cret")
    assert "LAB_WEBHOOK_URL: must be an address of 'http' or 'https'" in line
    assert "s3cret" not in line


def test_a_setting_that_is_none(refuses: Refuses) -> None:
    line = refuses(LAB_PORT="eighty")
    assert "LAB_PORT" in line
    assert "must be a whole number" in line


def test_a_data_folder_in_use(refuses: Refuses, tmp_path: Path) -> None:
    with (tmp_path / "lab.lock").open("w") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = refuses(tmp_path)
    assert f"another lab (process {os.getpid()}) uses the data folder {tmp_path}" in line
