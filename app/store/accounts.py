"""Rows of accounts: users, the sessions of their browsers, the tokens of their programs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from app.store.db import Database
from app.store.tables import ApiTokenRow, SessionRow, UserRow


def users(database: Database) -> Sequence[UserRow]:
    """All, by name."""
    with database.reading() as session:
        return session.scalars(select(UserRow).order_by(UserRow.name)).all()


def named(database: Database, name: str) -> UserRow | None:
    with database.reading() as session:
        return session.scalar(select(UserRow).where(UserRow.name == name))


def add_user(database: Database, name: str, password: str, role: str) -> bool:
    """Whether the name was free. `password`: its hash."""
    row = UserRow(
        id=uuid.uuid4().hex, name=name, password=password, role=role, created_at=time.time()
    )
    try:
        with database.writing() as session:
            session.add(row)
    except IntegrityError:
        return False
    return True


def set_role(database: Database, user_id: str, role: str) -> None:
    with database.writing() as session:
        session.get_one(UserRow, user_id).role = role


def set_password(database: Database, user_id: str, password: str) -> None:
    """Its hash; who came in by the old one goes."""
    with database.writing() as session:
        session.get_one(UserRow, user_id).password = password
        for kind in (SessionRow, ApiTokenRow):
            session.execute(delete(kind).where(kind.user_id == user_id))


def remove_user(database: Database, user_id: str) -> None:
    """With its sessions and tokens."""
    with database.writing() as session:
        session.delete(session.get_one(UserRow, user_id))


def by_session(database: Database, digests: Collection[str]) -> tuple[str, UserRow] | None:
    """The session among these that has not ended, and whose it is."""
    query = select(SessionRow.digest, UserRow).join(UserRow, SessionRow.user_id == UserRow.id)
    lasting = (SessionRow.digest.in_(digests), SessionRow.until > time.time())
    with database.reading() as session:
        found = session.execute(query.where(*lasting).limit(1)).first()
        return None if found is None else found._tuple()


def by_token(database: Database, digest: str) -> UserRow | None:
    query = select(UserRow).join(ApiTokenRow, ApiTokenRow.user_id == UserRow.id)
    with database.reading() as session:
        return session.scalar(query.where(ApiTokenRow.digest == digest))


def begin_session(database: Database, user_id: str, digest: str, until: float) -> None:
    """Those that have ended go."""
    with database.writing() as session:
        session.execute(delete(SessionRow).where(SessionRow.until <= time.time()))
        session.add(SessionRow(digest=digest, user_id=user_id, until=until))


def end_session(database: Database, digest: str) -> None:
    with database.writing() as session:
        session.execute(delete(SessionRow).where(SessionRow.digest == digest))


def end_sessions(database: Database, user_id: str) -> None:
    with database.writing() as session:
        session.execute(delete(SessionRow).where(SessionRow.user_id == user_id))


def tokens(database: Database, user_id: str) -> Sequence[ApiTokenRow]:
    """Newest first."""
    query = select(ApiTokenRow).where(ApiTokenRow.user_id == user_id)
    with database.reading() as session:
        return session.scalars(query.order_by(ApiTokenRow.created_at.desc())).all()


def add_token(database: Database, user_id: str, name: str, digest: str) -> ApiTokenRow:
    row = ApiTokenRow(
        id=uuid.uuid4().hex, user_id=user_id, name=name, digest=digest, created_at=time.time()
    )
    with database.writing() as session:
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
