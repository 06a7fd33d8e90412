"""What must hold before the lab starts; each failure is one line that says what to do."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import redis
from pydantic import ValidationError
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.contracts.storage import Storage
from app.errors import WrongSchema, field_errors
from app.run import lines
from app.run.lines import say
from app.settings import Settings
from app.store import bucket
from app.store.files import keep_private

DATABASE_ANSWERS_WITHIN_S = REDIS_ANSWERS_WITHIN_S = 3.0
_STORAGE_ANSWERS_WITHIN_S = 30.0
_NEEDED_TO_START = 2**20
"""Bytes: the database, the broker and their logs grow by as much at once."""
_PREDECESSOR_GONE_WITHIN_S = 30.0


class CannotStart(Exception):
    """One line for the person who started the lab."""


def read_settings() -> Settings:
    """The environment's facts. Raises CannotStart naming the wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        found = field_errors(error.errors())
        wrong = "; ".join(f"LAB_{field.upper()}: {message}" for field, message in found)
        raise CannotStart(f"the settings are not valid: {wrong}") from None


def check_worker() -> None:
    """Raises CannotStart where what workers compute with is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise CannotStart("its workers need torch; install it with `pip install '.[worker]'`")


def prepare_folder(folder: Path) -> None:
    """Create the data folder and write to it. Raises CannotStart."""
    try:
        keep_private(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_NEEDED_TO_START))
    except OSError as error:
        raise CannotStart(
            f"the data folder {folder} cannot be written ({error.strerror}); "
            "make room there, or set LAB_DATA_DIR to one that can"
        ) from None


def prepare_log(settings: Settings) -> None:
    """Write the lab's lines as the settings say. Raises CannotStart where their file is none."""
    try:
        lines.set_up(settings)
    except OSError as error:
        raise CannotStart(
            f"the log {settings.log_file} cannot be written ({error.strerror}); set LAB_LOG_FILE "
            "to a file that can, or to nothing"
        ) from None


def lock(folder: Path) -> int:
    """Claim the data folder for this lab; returns the lock's file descriptor.

    The processes of a lab that was killed hold the lock until they are gone, so a folder whose
    supervisor is dead is worth waiting for. Raises CannotStart.
    """
    fd = os.open(folder / "lab.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _PREDECESSOR_GONE_WITHIN_S
    told = False
    while not _locked(fd):
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        if _runs(owner) or time.monotonic() > deadline:
            os.close(fd)
            raise CannotStart(
                f"another lab (process {owner or 'unknown'}) uses the data folder {folder}; "
                "stop it, or set LAB_DATA_DIR to another folder"
            )
        if not told:
            say("waiting for the processes of the lab that ran here before")
            told = True
        time.sleep(0.1)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _runs(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_port(host: str, port: int) -> None:
    """Raises CannotStart when something listens there, or the port may not be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As uvicorn does: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = (
                "is in use"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
            raise CannotStart(
                f"port {port} on {host} {reason}; set LAB_PORT to another one"
            ) from None


def _without_secrets(url: str) -> str:
    whole = urlsplit(url)
    return f"{whole.scheme}://{whole.netloc.rpartition('@')[2]}{whole.path}"


def check_database(url: str) -> None:
    """Raises CannotStart when no PostgreSQL takes writes there in time, or it is of a version that
    this one does not work with."""
    from app.store.db import Database  # a lab on SQLite starts without

    database = Database(url, patience_s=DATABASE_ANSWERS_WITHIN_S)
    try:
        database.writes()
        database.migrate()
    except WrongSchema as error:
        raise CannotStart(error.detail.rstrip(".")) from None
    except Exception as error:
        said = str(getattr(error, "orig", error)).splitlines() or [type(error).__name__]
        raise CannotStart(
            f"the PostgreSQL of LAB_DATABASE_URL ({_without_secrets(url)}) does not answer: "
            f"{said[0].rstrip('.')}; start it, or unset LAB_DATABASE_URL to use SQLite"
        ) from None
    finally:
        database.close()


def check_storage(settings: Settings) -> None:
    """Raises CannotStart when the storage of LAB_STORAGE_URL cannot be used."""
    if settings.storage_url is None:
        return
    if not bucket.is_installed():
        raise CannotStart(bucket.MISSING)
    found = bucket.Bucket(Storage.of(settings.storage_url), patience_s=0)
    said = found.trouble(_STORAGE_ANSWERS_WITHIN_S)
    if said is not None:
        raise CannotStart(
            f"{said.rstrip('.')}; see to it, or unset LAB_STORAGE_URL to keep files in the data "
            "folder"
        )


def check_redis(settings: Settings) -> None:
    """Raises CannotStart when the Redis of LAB_REDIS_URL answers no PING in time."""
    if settings.redis_url is None:
        return
    seconds = REDIS_ANSWERS_WITHIN_S
    try:
        connection = redis.Redis.from_url(
            settings.broker_url,
            socket_connect_timeout=seconds,
            socket_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
        )
        connection.ping()
        connection.close()
    except (RedisError, OSError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CannotStart(
            f"the Redis of LAB_REDIS_URL ({_without_secrets(settings.redis_url)}) does not answer: "
            f"{why.rstrip('.')}; start it, or unset LAB_REDIS_URL to use the embedded one"
        ) from None
