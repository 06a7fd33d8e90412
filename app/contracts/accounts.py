"""Accounts: who may sign in, and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field


class Role(StrEnum):
    """What somebody may do; each role may also do what those before it may."""

    VIEWER = "viewer"
    """Look at everything."""
    RUNNER = "runner"
    """Submit, upload and change."""
    ADMIN = "admin"
    """What concerns everybody."""

    def covers(self, other: Role) -> bool:
        """Whether it may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class User(BaseModel):
    """Somebody with an account."""

    id: str
    name: str
    role: Role
    created_at: datetime
    has_password: bool = True
    """Whether it has one here; else an OpenID provider says who comes."""
    generation: int = Field(default=0, exclude=True)
    """Grows when its sessions and tokens end: what was begun before counts no more."""


class Account(User):
    """The same as admins see it."""

    disabled_at: datetime | None
    """Nobody comes in by it since then."""
    sessions: int
    """Browsers that are signed in."""
    tokens: int
    """Those of its programs."""


class Share(BaseModel):
    """What an account uses of something that there is for everybody."""

    used: int
    most: int
    setting: str
    """The variable that says how much it may be."""


class Shares(BaseModel):
    """What an account uses of the lab."""

    requests: Share
    """In this minute."""
    jobs: Share
    """That are not over."""
    streams: Share
    """Of events, open now."""
    disk: Share
    """Bytes of what it sent and of what its jobs left."""


class ApiToken(BaseModel):
    """A program's way in, as it is listed."""

    id: str
    name: str
    """What its user calls it."""
    created_at: datetime


class NewApiToken(ApiToken):
    """One that was just made."""

    token: str
    """Shown this once: the lab keeps a digest alone."""


class Audit(BaseModel):
    """That somebody changed something, or was refused."""

    id: int
    """It grows with each."""
    at: datetime
    who: str
    """The name of an account; `owner` of who runs the lab, empty of who is not known."""
    address: str
    """From where; empty of a command."""
    what: str
    """The request, as `POST /api/jobs`, or the command."""
    targets: tuple[str, ...]
    """What it concerned: ids, and names of accounts."""
    status: int | None
    """HTTP status of the answer; None where the process ended before it."""


class AuditPage(BaseModel):
    """Some records, newest first."""

    items: tuple[Audit, ...]
    older: int | None
    """The record before which the next ones are; None at the end."""


@dataclass(frozen=True)
class Pending:
    """What a browser keeps while it is at an OpenID provider."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    then: str
    """The page that it wanted."""
