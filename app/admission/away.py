"""What a browser keeps while it is at an OpenID provider: signed, since it is shown again."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import asdict

from starlette.requests import Request

from app.admission.cookies import Cookie
from app.admission.credentials import laid
from app.contracts.accounts import Pending
from app.settings import Settings

_LIFETIME_S = 600


class Away:
    """Its cookie comes along with the link back, which may lead to another process of the lab.

    Args:
        key: What all processes of the lab sign with, and nobody else.
        lab: As `Cookie`'s.
    """

    def __init__(self, settings: Settings, key: bytes, *, lab: bytes | None = None) -> None:
        self._key = key
        self.cookie = Cookie(
            settings, "lab-openid", lab=lab, lifetime_s=_LIFETIME_S, same_site="lax"
        )

    def sealed(self, pending: Pending) -> str:
        """The value of its cookie."""
        kept = {**asdict(pending), "until": time.time() + _LIFETIME_S}
        body = json.dumps(kept).encode().hex()  # of signs that no cookie has to quote
        return f"{body}.{self._signature(body)}"

    def opened(self, request: Request, state: str) -> Pending | None:
        """What the browser that comes back with this state kept; None where it kept nothing that
        holds."""
        for value in laid(request.scope).cookies(self.cookie.name(request)):
            body, _, signature = value.partition(".")
            if not hmac.compare_digest(self._signature(body).encode(), signature.encode("latin-1")):
                continue
            kept = json.loads(bytes.fromhex(body))
            if kept.pop("until") > time.time() and hmac.compare_digest(
                kept["state"].encode(), state.encode(errors="replace")
            ):
                return Pending(**kept)
        return None

    def _signature(self, body: str) -> str:
        return hmac.new(self._key, body.encode("latin-1"), "sha256").hexdigest()
