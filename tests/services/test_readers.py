"""Reading in processes of their own: within time and memory, and never too many at once."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.api import fields
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


class UnpicklableError(Exception):
    def __init__(self, one: str, another: str) -> None:
        super().__init__(f"{one} {another}")


def fail(error: type[Exception]) -> None:
    raise error("one", "another")


def test_an_error_that_cannot_arrive_harms_no_other() -> None:
    with pytest.raises(TypeError):
        readers.read(30, fail, UnpicklableError)
    assert readers.read(30, len, b"four") == 4


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


def test_a_reader_has_no_network() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises((OSError, PermissionError)):
            readers.read(30, socket.create_connection, server.getsockname())


def test_who_comes_while_many_wait_is_told_so() -> None:
    with ThreadPoolExecutor(24) as threads:
        asked = [threads.submit(readers.read, 30, time.sleep, 0.5) for _ in range(24)]
        errors = [error for each in asked if (error := each.exception())]
    assert 0 < len(errors) < 24
    assert all(isinstance(error, Unavailable) and error.hint for error in errors)
