"""What belongs to whom: a job to the account that asked for it, with all that comes from it."""

from __future__ import annotations

from collections.abc import Collection

from app.errors import Forbidden
from app.services.lab import Lab
from app.settings import Auth
from app.store import accounts as store
from app.store import acting, marks


def names(lab: Lab, table: marks.Marked, ids: Collection[str]) -> dict[str, str]:
    """The names of the accounts that rows belong to; nothing where there are no accounts."""
    if lab.settings.auth is not Auth.ACCOUNTS or not ids:
        return {}
    return marks.owner_names(lab.database, table, ids)


def accounts(lab: Lab) -> tuple[str, ...]:
    """The names of all accounts; nothing where there are none."""
    return tuple(store.names(lab.database)) if lab.settings.auth is Auth.ACCOUNTS else ()


def check(lab: Lab, table: marks.Marked, ids: Collection[str]) -> None:
    """Raises Forbidden where whoever asks may not change one of these rows: neither made them nor
    is an admin. What nobody made is the admins'."""
    act = acting.current()
    if act is None or act.owns_all:
        return
    acting.concerns(*ids)
    owners = marks.owners(lab.database, table, ids)
    if any(owners.get(each) != act.user_id for each in ids):
        what = table.__tablename__.removesuffix("s")
        raise Forbidden(
            f"This {what} is somebody else's.", hint=f"Its owner and admins change a {what}."
        )
