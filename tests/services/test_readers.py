"""Reading in processes of their own: within time and memory, and never too many at once."""

from __future__ import annotations

import operator
import os
import pickle
import pydoc
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.api import fields
from app.contracts.jobs import JobStatus
from app.errors import InvalidFields, Unavailable, UnsupportedMedia
from app.services import readers, reencoding

GIGABYTE = 2**30


def test_what_takes_too_much_ends_and_the_next_is_read() -> None:
    with pytest.raises(readers.ExhaustedError):
        readers.read(0.3, time.sleep, 60)
    with pytest.raises(readers.ExhaustedError):
        readers.read(30, bytearray, 3 * GIGABYTE)
    with pytest.raises(readers.ExhaustedError):
        readers.read(30, os._exit, 3)
    assert readers.read(30, len, b"four") == 4


def test_an_answer_that_would_do_something_is_not_read_and_harms_no_other() -> None:
    """What has taken over a reader answers what it likes."""
    response = httpx.Response(404, request=httpx.Request("GET", "http://127.0.0.1"))
    with pytest.raises(pickle.UnpicklingError, match="HTTPStatusError"):
        readers.read(30, response.raise_for_status)
    for name in ("os.system", "os.fspath"):
        with pytest.raises(pickle.UnpicklingError, match="no business"):
            readers.read(30, pydoc.locate, name)
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.getattr"):
        readers.read(30, operator.attrgetter("read_text"), Path("a"))
    assert readers.read(30, len, b"four") == 4


def test_an_answer_changes_nothing_that_others_have() -> None:
    """A member of an enumeration is one for the whole process."""
    status = "__import__('app.contracts.jobs', fromlist=['JobStatus']).JobStatus"
    reduced = f"({status}, ('queued',), {{'_value_': 'succeeded'}})"
    hostile = f"type('Hostile', (), {{'__reduce__': lambda self: {reduced}}})()"
    with pytest.raises(pickle.UnpicklingError, match="what others have"):
        readers.read(30, eval, hostile)
    assert JobStatus.QUEUED.value == "queued"
    assert readers.read(30, JobStatus, "queued") is JobStatus.QUEUED


def test_a_reader_knows_no_password() -> None:
    """The lab's variables are among what a process may read of itself."""
    held = readers.read(30, Path("/proc/self/environ").read_bytes)
    names = {each.partition(b"=")[0] for each in held.split(b"\0") if each}
    assert names <= {b"PATH", b"LD_LIBRARY_PATH", b"PYTHONPATH", b"OMP_NUM_THREADS"}


def test_errors_arrive_whole() -> None:
    with pytest.raises(InvalidFields) as several:
        readers.read(30, fields.named_once, [("a", 1), ("a", 2)])
    assert (several.value.errors, several.value.hint) == (
        (("a", "appears twice"),),
        "Name each field once.",
    )
    with pytest.raises(UnsupportedMedia, match="not a PNG") as raised:
        readers.read(30, reencoding.as_png, b"GIF89a")
    assert (raised.value.field, raised.value.hint) == ("image", "Send one of these formats.")


def test_a_reader_has_no_network_and_sees_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PermissionError):
        readers.read(30, socket.create_connection, server.getsockname())
    with pytest.raises(PermissionError):
        readers.read(30, secret.read_text)
    with pytest.raises(PermissionError):
        readers.read(30, os.listdir, tmp_path)


def test_who_comes_while_many_wait_is_told_so() -> None:
    with ThreadPoolExecutor(24) as threads:
        asked = [threads.submit(readers.read, 30, time.sleep, 0.5) for _ in range(24)]
        errors = [error for each in asked if (error := each.exception())]
    assert 0 < len(errors) < 24
    assert all(isinstance(error, Unavailable) and error.hint for error in errors)
