"""What whoever looks at a page may not do: its buttons are locked, and say why."""

from __future__ import annotations

import re
from typing import Protocol

from markupsafe import escape

from app.contracts.accounts import Role

VIEWERS = "You are a viewer: you may look at everything, and change nothing."
_FORM = re.compile(r'<form\b[^>]*\bmethod="post".*?</form>', re.DOTALL)
_OWN = re.compile(r'<form\b[^>]*\baction="/(account|login|logout)\b')
"""Forms about whoever looks."""
_BUTTON = re.compile(r'<button\b(?![^>]*(\bdisabled\b|type="button"|formmethod="get"))')
_MAIN = '<main id="content" tabindex="-1">'


class Owned(Protocol):
    """A job, a model or a dataset."""

    @property
    def owner(self) -> str | None: ...


def why_not(role: Role, user: str, thing: Owned) -> str:
    """Why whoever looks may not change a thing; empty where they may. `user`: the name of their
    account, empty where there are none."""
    if not role.covers(Role.RUNNER):
        return VIEWERS
    if not user or role is Role.ADMIN or thing.owner == user:
        return ""
    if thing.owner:
        return f"It is {thing.owner}'s: its owner and admins may change it."
    return "It is nobody's: admins alone may change it."


def locked_for_viewers(html: str) -> str:
    """A page whose buttons that change something are locked. Quotes of outside text are escaped, so
    that none of it is a form."""
    found = 0

    def lock(form: re.Match[str]) -> str:
        nonlocal found
        if _OWN.match(form[0]):
            return form[0]
        found += 1
        return _BUTTON.sub(f'<button disabled title="{escape(VIEWERS)}"', form[0])

    locked = _FORM.sub(lock, html)
    note = f'<p class="note locked">{VIEWERS} Who runs the lab can make you a runner.</p>'
    return locked.replace(_MAIN, _MAIN + note, 1) if found else html
