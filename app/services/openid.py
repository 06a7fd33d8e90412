"""Signing in by an OpenID provider: the authorization code flow with PKCE, by authlib.

Nothing that the provider or the browser sends gets into a log: codes, tokens and the secret are
passwords.
"""

from __future__ import annotations

import logging
import re
import secrets
import ssl
import threading
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from app.contracts.accounts import Pending, Role
from app.errors import Forbidden, Unauthenticated, Unavailable
from app.services import accounts
from app.services.lab import Lab
from app.settings import Settings
from app.store import accounts as store
from app.store import acting
from app.store.tables import UserRow

_LOG = logging.getLogger("lab.web")
_SCOPE = "openid profile email"
_ANSWERS_WITHIN_S = 10.0
_OTHERS_WAIT_S = 1.0
_DESCRIBED_FOR_S = 3600.0
_CLOCKS_DIFFER_S = 60
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
               "Ed25519", "EdDSA"]  # fmt: skip
"""With keys that the provider keeps to itself: none that is signed with the client's secret."""
_UNFIT = re.compile(r"[^a-z0-9._-]+")
_MOST_OF_A_NAME = 99
_AGAIN = "Sign in again from the lab's own page."


class Provider:
    """One provider. Its description is fetched when it is first needed, and anew each hour.

    Raises Unavailable where it does not answer as it has to.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer is not None
        self._settings, self._issuer = settings, settings.oidc_issuer
        self._described: tuple[float, dict[str, Any]] | None = None
        self._lock = threading.Lock()

    @cached_property
    def _authorities(self) -> ssl.SSLContext:
        """Whom TLS trusts. Reading them takes 40 ms, and everybody may ask to sign in."""
        import httpx  # only where there is a provider

        return httpx.create_ssl_context()

    def begin(self, back: str, then: str) -> tuple[str, Pending]:
        """Where the browser goes, and what it keeps meanwhile. `back`: where it comes back to."""
        state, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
        pending = Pending(state, nonce, verifier, then)
        with self._client(back) as client:
            url, _ = client.create_authorization_url(
                self._description()["authorization_endpoint"],
                state=pending.state,
                nonce=pending.nonce,
                code_verifier=pending.verifier,
            )
        return url, pending

    def finish(self, pending: Pending, back: str, code: str) -> Mapping[str, Any]:
        """What the provider says of who signed in. Raises Unauthenticated."""
        from authlib.common.errors import AuthlibBaseError
        from httpx import HTTPError
        from joserfc.errors import JoseError

        description = self._description()
        try:
            with self._client(back) as client:
                tokens = client.fetch_token(
                    description["token_endpoint"], code=code, code_verifier=pending.verifier
                )
            return self._claims(str(tokens.get("id_token", "")), pending, description)
        except (AuthlibBaseError, JoseError) as error:
            # `invalid_client`, `invalid_claim`: which it is, and nothing of what was sent
            _LOG.warning("A sign-in by OpenID was refused: %.60r", error.error)
            raise Unauthenticated(f"The provider did not confirm it. {_AGAIN}") from None
        except (HTTPError, AttributeError, LookupError, TypeError, ValueError):
            raise self._silent() from None  # JSON, but of another shape than it has to be

    def _client(self, back: str) -> Any:
        from authlib.integrations.httpx_client import OAuth2Client

        file = self._settings.oidc_client_secret_file
        try:
            secret = None if file is None else file.read_text().strip()
        except OSError as error:
            raise Unavailable(
                f"The file of LAB_OIDC_CLIENT_SECRET_FILE: {error.strerror}."
            ) from None
        return OAuth2Client(
            self._settings.oidc_client_id,
            secret,
            token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
            scope=_SCOPE,
            redirect_uri=back,
            code_challenge_method="S256",
            timeout=_ANSWERS_WITHIN_S,
            verify=self._authorities,
        )

    def _description(self) -> dict[str, Any]:
        """One request at a time asks for it: a provider that hangs holds up no more of the lab."""
        known, now = self._described, time.monotonic()
        if known is not None and now - known[0] < _DESCRIBED_FOR_S:
            return known[1]
        if not self._lock.acquire(timeout=0 if known else _OTHERS_WAIT_S):
            if known is None:
                raise self._silent()
            return known[1]
        try:
            self._described = now, self._fetched()
            return self._described[1]
        finally:
            self._lock.release()

    def _fetched(self) -> dict[str, Any]:
        needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        found = self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise Unavailable(
                f"The provider calls itself {str(found.get('issuer'))[:200]!r}, and not as "
                "LAB_OIDC_ISSUER does."
            )
        secure = self._issuer.startswith("https://")
        for name in needed:
            if not str(found.get(name, "")).startswith("https://" if secure else "http"):
                raise Unavailable(f"The provider names no {name} by https.")
        return found

    def _get(self, url: str) -> dict[str, Any]:
        import httpx

        try:
            asked = httpx.get(url, timeout=_ANSWERS_WITHIN_S, verify=self._authorities)
            answer = asked.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            raise self._silent() from None
        return answer if isinstance(answer, dict) else {}

    def _silent(self) -> Unavailable:
        host = urlsplit(self._issuer).hostname
        return Unavailable(f"{host} does not answer as an OpenID provider.", hint="Try again.")

    def _claims(
        self, token: str, pending: Pending, description: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.jwk import KeySet

        keys = KeySet.import_key_set(self._get(description["jwks_uri"]))  # type: ignore[arg-type]
        read = jwt.decode(token, keys, algorithms=_ALGORITHMS)
        client = self._settings.oidc_client_id
        claims = CodeIDToken(
            read.claims,
            read.header,
            options={"iss": {"essential": True, "value": self._issuer},
                     "aud": {"essential": True, "value": client}},
            params={"nonce": pending.nonce, "client_id": client},
        )  # fmt: skip
        claims.validate(leeway=_CLOCKS_DIFFER_S)
        return dict(claims)


def sign_in(lab: Lab, claims: Mapping[str, Any]) -> str:
    """Begin a session of whom the provider's claims are about; returns what its cookie holds.

    Their account is made at the first time. Where groups have roles, the role follows them.
    Raises Forbidden.
    """
    settings = lab.settings
    role, subject = _role(settings, claims), f"{settings.oidc_issuer} {claims['sub']}"
    row = store.of_subject(lab.database, subject)
    if row is None:
        row = _new(lab, claims, subject, role or settings.oidc_role)
    elif role is not None and role != row.role:
        store.follow_role(lab.database, row.id, role)
    acting.concerns(row.name)
    if (act := acting.current()) is not None:
        act.who = row.name
    session = None if row.disabled_at is not None else accounts.begin_session(lab, row)
    if session is None:
        raise Forbidden(f"The account {row.name} is disabled.", hint="Ask who runs the lab.")
    return session


def _role(settings: Settings, claims: Mapping[str, Any]) -> Role | None:
    """That of the highest of their groups, or of everybody whom a domain lets in; None where
    admins change that one, since no group has another. Raises Forbidden where neither lets them
    in."""
    told, roles = claims.get(settings.oidc_group_claim), dict(settings.oidc_groups)
    groups = [each for each in told if isinstance(each, str)] if isinstance(told, list) else []
    if held := [roles[each] for each in groups if each in roles]:
        return max(held, key=list(Role).index)
    mail, verified = claims.get("email"), claims.get("email_verified") is True
    domain = mail.rpartition("@")[2].lower() if isinstance(mail, str) else ""
    if verified and domain in settings.oidc_domains:
        return settings.oidc_role if roles else None
    raise Forbidden(
        "The provider knows you, and this lab lets you not in.",
        hint="Ask who runs the lab: LAB_OIDC_GROUPS and LAB_OIDC_DOMAINS say whom it takes.",
    )


def _new(lab: Lab, claims: Mapping[str, Any], subject: str, role: Role) -> UserRow:
    """An account of its own, whatever others are called: a name is no proof of anything."""
    told = str(claims.get("preferred_username") or claims.get("email") or "")
    fit = _UNFIT.sub("", told.partition("@")[0].lower()).lstrip("._-")
    name = fit[: accounts.LONGEST_NAME - 3] or "user"
    for number in range(1, _MOST_OF_A_NAME):
        free = name if number == 1 else f"{name}-{number}"
        if store.add_user(lab.database, free, "", role, subject=subject):
            break
    row = store.of_subject(lab.database, subject)
    if row is None:
        raise Forbidden(f"All names like {name} are taken.", hint="Ask who runs the lab.")
    return row
