"""Requests to one lab: what is sent again, what becomes an error, what an answer means."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from app.client.errors import LabError, not_understood, refused, unreachable, write
from app.client.tokens import Token

T = TypeVar("T")
Query = Mapping[str, str | int | Sequence[str]]

PASSING = frozenset({502, 503, 504})
"""States of a lab that starts, stops, or has lost its database for a moment."""
_WAITS_S = (0.2, 0.8, 2.0)
"""Before each further attempt."""
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_CONNECT_S = 5.0
_UPLOAD_S = 600.0
"""An archive is stored before it is answered for."""
_SILENCE_S = 60.0
"""An open stream says something every 15 s, if only that it is open."""


class Transport:
    """Speaks HTTP to the lab at `url`.

    What cannot do harm twice is sent again, a few times, when the connection breaks or the lab is
    out of reach for a moment: reads, and submissions with a key of their own.

    Raises LabError where `url` is no address, and from every method.
    """

    def __init__(self, url: str, timeout_s: float, token: str | None = None) -> None:
        self.url = _address(url)
        self._http = httpx.Client(
            base_url=self.url,
            auth=Token(token),
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
            # The server drops idle connections after 5 s; one that is older may just be dying.
            limits=httpx.Limits(keepalive_expiry=2.0),
            # A lab listens on loopback alone, so no proxy stands between.
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, kind: TypeAdapter[T], path: str, query: Query | None = None) -> T:
        """The answer to a read, as what it should be."""
        return _understood(kind, self._send("GET", path, repeatable=True, params=query))

    def save(self, path: str, target: Path) -> None:
        """Write the answer to a read to a file, as it is."""
        write(target, self._send("GET", path, repeatable=True).content)

    def post(
        self, kind: TypeAdapter[T], path: str, body: Any = None, *, key: str | None = None
    ) -> T:
        """Ask for something to be done; with a `key`, at most once however often it is sent."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = self._send("POST", path, repeatable=key is not None, json=body, headers=headers)
        return _understood(kind, answer)

    def patch(self, kind: TypeAdapter[T], path: str, body: Any) -> T:
        """Change something; the same change twice changes nothing more."""
        return _understood(kind, self._send("PATCH", path, repeatable=True, json=body))

    def delete(self, path: str) -> None:
        self._send("DELETE", path, repeatable=False)

    def upload(
        self,
        kind: TypeAdapter[T],
        path: str,
        fields: Sequence[tuple[str, str]],
        file: BinaryIO | None,
        *,
        called: str = "file",
    ) -> T:
        """Send a form, with a file where there is one; names of fields may repeat.

        `called`: the field's name of the file.
        """
        # A tuple without a file name is a plain field; so is the whole form then.
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in fields]
        if file is not None:
            parts.append((called, file))
        timeout = httpx.Timeout(_UPLOAD_S, connect=_CONNECT_S)
        return _understood(
            kind, self._send("POST", path, repeatable=False, files=parts, timeout=timeout)
        )

    def stream(
        self, path: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[httpx.Response]:
        """An answer that goes on; httpx's errors and the status are the caller's business."""
        timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
        return self._http.stream("GET", path, headers=dict(headers), timeout=timeout)

    def _send(self, method: str, path: str, *, repeatable: bool, **request: Any) -> httpx.Response:
        for wait in (*_WAITS_S, None):
            try:
                answer = self._http.request(method, path, **request)
            except ValueError as error:  # NaN, infinity, half a character: nothing was sent
                raise LabError("Not JSON", f"The parameters cannot be sent: {error}.") from error
            except httpx.TransportError as error:
                if wait is None or not (repeatable or isinstance(error, _UNSENT)):
                    raise unreachable(self.url, error) from error
            else:
                if wait is None or not repeatable or answer.status_code not in PASSING:
                    return _accepted(answer)
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


def _address(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise LabError(
            "Not the address of a lab",
            f"{url!r} is not a web address.",
            hint="Write it like http://127.0.0.1:8000.",
        )
    return str(parsed).rstrip("/")


def _accepted(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise refused(answer)
    return answer


def _understood(kind: TypeAdapter[T], answer: httpx.Response) -> T:
    try:
        return kind.validate_json(answer.content)
    except ValidationError as error:
        raise not_understood(str(answer.request.url)) from error
