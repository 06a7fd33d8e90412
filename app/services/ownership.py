"""What belongs to whom: a job to the account that asked for it, with all that comes from it."""

from __future__ import annotations

from collections.abc import Collection

from app.errors import Forbidden
from app.services.lab import Lab
from app.store import acting, marks


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
