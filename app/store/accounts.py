"""Rows of accounts: users, the sessions of their browsers, the tokens of their programs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.contracts.accounts import Role
from app.store.db import Database
from app.store.tables import ApiTokenRow, SessionRow, UserRow

_enabled = UserRow.disabled_at.is_(None)


def names(database: Database) -> Sequence[str]:
    """All, in alphabetical order."""
    with database.reading() as session:
        return session.scalars(select(UserRow.name).order_by(UserRow.name)).all()


def counted(database: Database, name: str | None = None) -> list[tuple[UserRow, int, int]]:
    """All by name, or the one of that name, with how many sessions and tokens each has."""
    lasting = (SessionRow.user_id == UserRow.id, SessionRow.until > time.time())
    sessions = select(func.count()).select_from(SessionRow).where(*lasting)
    held = select(func.count()).select_from(ApiTokenRow).where(ApiTokenRow.user_id == UserRow.id)
    counts = (each.correlate(UserRow).scalar_subquery() for each in (sessions, held))
    query = select(UserRow, *counts).order_by(UserRow.name)
    if name is not None:
        query = query.where(UserRow.name == name)
    with database.reading() as session:
        return [found._tuple() for found in session.execute(query)]


def named(database: Database, name: str) -> UserRow | None:
    with database.reading() as session:
        return session.scalar(select(UserRow).where(UserRow.name == name))


def of_subject(database: Database, subject: str) -> UserRow | None:
    """Whom an OpenID provider knows by it."""
    with database.reading() as session:
        return session.scalar(select(UserRow).where(UserRow.subject == subject))


def add_user(
    database: Database, name: str, password: str, role: str, *, subject: str | None = None
) -> bool:
    """Whether the name was free, and the subject. `password`: its hash; empty beside a subject."""
    row = UserRow(
        id=uuid.uuid4().hex,
        name=name,
        password=password,
        role=role,
        created_at=time.time(),
        subject=subject,
    )
    try:
        with database.writing() as session:
            session.add(row)
    except IntegrityError:
        return False
    return True


def _is_led_without(session: Session, user_id: str) -> bool:
    """Whether an admin is left where a user is none; holds until the transaction ends: of two who
    demote each other at once the second waits for the first, and finds nobody else."""
    leading = select(UserRow.id).where(UserRow.role == Role.ADMIN, _enabled).order_by(UserRow.id)
    found = session.scalars(leading.with_for_update()).all()
    return user_id not in found or len(found) > 1


def change_user(
    database: Database, user_id: str, *, role: str | None = None, disabled: bool | None = None
) -> bool:
    """Whether it is so now: not where no admin would be left. The sessions of one that is disabled
    end; its tokens stay, and open nothing for as long."""
    with database.writing() as session:
        demoted = role is not None and role != Role.ADMIN
        if (demoted or disabled) and not _is_led_without(session, user_id):
            return False
        row = session.get_one(UserRow, user_id, with_for_update=True)
        row.role = role or row.role
        if disabled is not None:
            row.disabled_at = time.time() if disabled else None
            row.generation += 1
            session.execute(delete(SessionRow).where(SessionRow.user_id == user_id))
    return True


def follow_role(database: Database, user_id: str, role: str) -> None:
    """That which another house gives, whoever is left."""
    with database.writing() as session:
        session.get_one(UserRow, user_id).role = role


def set_password(database: Database, user_id: str, password: str) -> None:
    """Its hash; who came in by the old one goes, and who is about to does not come in."""
    with database.writing() as session:
        row = session.get_one(UserRow, user_id, with_for_update=True)
        row.password, row.generation = password, row.generation + 1
        for kind in (SessionRow, ApiTokenRow):
            session.execute(delete(kind).where(kind.user_id == user_id))


def remove_user(database: Database, user_id: str) -> bool:
    """With its sessions and tokens. Whether it is gone: not where no admin would be left."""
    with database.writing() as session:
        if gone := _is_led_without(session, user_id):
            session.delete(session.get_one(UserRow, user_id))
    return gone


def by_session(database: Database, digests: Collection[str]) -> tuple[str, UserRow] | None:
    """The session among these that has not ended, and whose it is."""
    query = select(SessionRow.digest, UserRow).join(UserRow, SessionRow.user_id == UserRow.id)
    lasting = (SessionRow.digest.in_(digests), SessionRow.until > time.time(), _enabled)
    with database.reading() as session:
        found = session.execute(query.where(*lasting).limit(1)).first()
        return None if found is None else found._tuple()


def by_token(database: Database, digest: str) -> UserRow | None:
    query = select(UserRow).join(ApiTokenRow, ApiTokenRow.user_id == UserRow.id)
    with database.reading() as session:
        return session.scalar(query.where(ApiTokenRow.digest == digest, _enabled))


def _stands(session: Session, user_id: str, generation: int) -> bool:
    """Whether a user is still the one that was admitted; holds until the transaction ends."""
    same = (UserRow.id == user_id, UserRow.generation == generation, _enabled)
    return session.scalar(select(UserRow.id).where(*same).with_for_update()) is not None


def begin_session(
    database: Database, user_id: str, generation: int, digest: str, until: float
) -> bool:
    """Whether it begins: not where the user's password changed meanwhile. Those that have ended
    go."""
    with database.writing() as session:
        # The user first, as whoever removes one does.
        if stands := _stands(session, user_id, generation):
            session.add(SessionRow(digest=digest, user_id=user_id, until=until))
        ended = select(SessionRow.digest).where(SessionRow.until <= time.time())
        # Those alone that nobody else removes just now: two would wait for each other.
        nobodys = SessionRow.digest.in_(ended.with_for_update(skip_locked=True))
        session.execute(delete(SessionRow).where(nobodys))
        return stands


def end_session(database: Database, digest: str) -> None:
    with database.writing() as session:
        session.execute(delete(SessionRow).where(SessionRow.digest == digest))


def end_sessions(database: Database, user_id: str) -> None:
    """And who is about to sign in does not come in."""
    _end(database, SessionRow, user_id)


def _end(database: Database, kind: type[SessionRow | ApiTokenRow], user_id: str) -> None:
    """All sessions or tokens of a user, and those under way."""
    with database.writing() as session:
        newer = update(UserRow).where(UserRow.id == user_id)
        session.execute(newer.values(generation=UserRow.generation + 1))
        session.execute(delete(kind).where(kind.user_id == user_id))


def tokens(database: Database, user_id: str) -> Sequence[ApiTokenRow]:
    """Newest first."""
    query = select(ApiTokenRow).where(ApiTokenRow.user_id == user_id)
    with database.reading() as session:
        return session.scalars(query.order_by(ApiTokenRow.created_at.desc())).all()


def add_token(
    database: Database, user_id: str, generation: int, name: str, digest: str
) -> ApiTokenRow | None:
    """None where the user's sessions and tokens ended meanwhile."""
    row = ApiTokenRow(
        id=uuid.uuid4().hex, user_id=user_id, name=name, digest=digest, created_at=time.time()
    )
    with database.writing() as session:
        if not _stands(session, user_id, generation):
            return None
        session.add(row)
    return row


def revoke_token(database: Database, user_id: str, token_id: str) -> bool:
    """Whether the user had it."""
    mine = (ApiTokenRow.id == token_id, ApiTokenRow.user_id == user_id)
    with database.writing() as session:
        found = session.scalar(select(ApiTokenRow).where(*mine))
        if found is not None:
            session.delete(found)
        return found is not None


def revoke_tokens(database: Database, user_id: str) -> None:
    """All of them; one that is about to be made is not."""
    _end(database, ApiTokenRow, user_id)
