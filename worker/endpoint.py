"""The one way in which the lab asks a model behind an HTTP address.

Nothing is fetched but addresses that the operator listed (`LAB_ENDPOINTS`), no redirect is followed
and no proxy of the environment is used. A host is looked up here, each of the places that it leads
to has to be public or in a network that is listed too, and the connection goes to the very places
that were looked at, whatever the name says a moment later.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from app.errors import JobError
from app.settings import VERSION, Settings

_WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Before each further try."""
_LONGEST_WAIT_S = 60.0
"""However long the server asks to be left alone."""
_LOOK_S = 0.25
"""How often a wait looks whether its job must end."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_BYTES = 64 * 2**20
"""Of an answer: 1,024 images of 2,500 classes, a number in 25 characters."""
_TOLD = 200
"""Characters of what a server says about a refusal."""

_free_at: dict[str, float] = {}
"""When each address may be sent the next image: its pace is one, whoever asks in this process."""

_Place = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Reach:
    """What a job may ask, and how it notices that it must end."""

    settings: Settings
    check: Callable[[], None]


class _NotNow(Exception):
    """No answer, as it may come a moment later. Says why, and after how many seconds to ask."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class _NotThere(_NotNow):
    """Nobody answers at that place; at another one of the same name somebody may."""


class Line:
    """Questions to one address, one after the other.

    Args:
        per_second: images that may be sent a second, over any longer time and by all lines to the
            address; None: any number.
        patience_s: how long an answer may take.

    Raises JobError, here and from `ask`, where the address is not listed any more.
    """

    def __init__(
        self, address: str, reach: Reach, *, per_second: float | None, patience_s: float
    ) -> None:
        if address not in reach.settings.endpoints:
            raise JobError(
                f"{address} is not among the addresses that this lab may ask.",
                hint="Its operator lists them in LAB_ENDPOINTS.",
                field="address",
                choices=reach.settings.endpoints,
            )
        self._url, self._reach = httpx.URL(address), reach
        self._per_second, self._patience_s = per_second, patience_s
        self._client = httpx.Client(
            trust_env=False,
            timeout=patience_s,
            headers={
                "User-Agent": f"agkd-bml-lab/{VERSION}",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
            },
        )
        weakref.finalize(self, self._client.close)

    def ask(self, body: bytes, images: int) -> bytes:
        """What it answers to a question about so many images. Raises JobError, and what `check`
        raises."""
        self._keep_pace(images)
        for wait in (*_WAITS_S, math.inf):
            self._reach.check()
            try:
                return self._once(body)
            except _NotNow as no:
                if wait == math.inf:
                    raise JobError(
                        f"{self._url} {no}, {len(_WAITS_S) + 1} times in a row.",
                        hint="See whether the model runs. The job goes on where it is run again.",
                    ) from None
                self._sleep(min(max(wait, no.after_s), _LONGEST_WAIT_S))
        raise AssertionError

    def _keep_pace(self, images: int) -> None:
        if self._per_second is not None:
            free_at = _free_at.get(str(self._url), 0.0)
            self._sleep(free_at - time.monotonic())
            _free_at[str(self._url)] = max(time.monotonic(), free_at) + images / self._per_second

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._reach.check()
            time.sleep(min(left, _LOOK_S))

    def _once(self, body: bytes) -> bytes:
        *others, last = self._places()
        for place in others:
            try:
                return self._at(place, body)
            except _NotThere:  # as ::1, where a server has 127.0.0.1 alone
                self._reach.check()
        return self._at(last, body)

    def _at(self, place: _Place, body: bytes) -> bytes:
        request = self._client.build_request(
            "POST",
            self._url.copy_with(host=str(place)),
            content=body,
            headers={"Host": self._url.netloc.decode("ascii")},
            extensions={"sni_hostname": self._url.host},
        )
        try:
            answer = self._client.send(request, stream=True)
            try:
                told = self._read(answer)
            finally:
                answer.close()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _NotThere(f"cannot be reached ({_why(error)})") from None
        except httpx.TimeoutException:
            raise _NotNow(f"did not answer within {self._patience_s:g} s") from None
        except httpx.HTTPError as error:
            raise _NotNow(f"broke the connection ({type(error).__name__})") from None
        if answer.status_code in _PASSING:
            raise _NotNow(f"answered {_status(answer)}", _retry_after(answer))
        if not answer.is_success:
            raise _refusal(self._url, answer, told)
        return told

    def _read(self, answer: httpx.Response) -> bytes:
        until, parts, size = time.monotonic() + self._patience_s, [], 0
        for part in answer.iter_bytes():
            self._reach.check()
            size += len(part)
            parts.append(part)
            if size > _MOST_BYTES:
                raise JobError(
                    f"{self._url} answered with more than {_MOST_BYTES // 2**20} MB.",
                    hint="It should answer with scores alone; fewer images of a request may help.",
                )
            if time.monotonic() > until:
                raise _NotNow(f"did not answer within {self._patience_s:g} s")
        return b"".join(parts)

    def _places(self) -> list[_Place]:
        """Where the host is, one at least. Raises JobError where any may not be asked."""
        host, networks = self._url.host, self._reach.settings.endpoint_networks
        try:
            return [ipaddress.ip_address(host)]  # the operator's own word
        except ValueError:
            pass
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _NotNow(f"cannot be reached ({host} is not known: {error})") from None
        places = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        for place in places:
            if not _may_be_asked(host, place, networks):
                raise JobError(
                    f"{host} leads to {place}, which is no public address.",
                    hint="The lab's operator lists its network in LAB_ENDPOINT_NETWORKS, or writes "
                    "the address in numbers into LAB_ENDPOINTS.",
                )
        return places


def _may_be_asked(host: str, place: _Place, networks: tuple[str, ...]) -> bool:
    inner = getattr(place, "ipv4_mapped", None) or place
    listed = any(inner in ipaddress.ip_network(network) for network in networks)
    own = host == "localhost" and inner.is_loopback
    return listed or own or (inner.is_global and not inner.is_multicast)


def _why(error: httpx.TransportError) -> str:
    return " ".join(str(error).split())[:_TOLD] or "no connection"


def _status(answer: httpx.Response) -> str:
    phrase = httpx.codes.get_reason_phrase(answer.status_code)
    return f"{answer.status_code} {phrase}".strip()


def _retry_after(answer: httpx.Response) -> float:
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() and len(told) < 6 else 0.0


def _refusal(url: httpx.URL, answer: httpx.Response, told: bytes) -> JobError:
    said = "".join(c for c in told[:4096].decode("utf-8", "replace") if c.isprintable())[:_TOLD]
    quoted = f" It says: {said}" if said else ""
    if answer.is_redirect:
        return JobError(
            f"{url} sends the question elsewhere ({_status(answer)}), and the lab follows nobody.",
            hint="The lab's operator lists the address that it leads to.",
        )
    if answer.status_code in (401, 403):
        hint = "The lab sends no password or key; a proxy beside it can add them."
    else:
        hint = "See what the model takes; docs/importing.md has the questions of the lab."
    return JobError(f"{url} answered {_status(answer)}.{quoted}", hint=hint)
