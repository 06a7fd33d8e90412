"""What requests and commands of the audit log did, in words."""

from __future__ import annotations

import re

_NAMES = re.compile(r"(?<=/)[0-9a-f]{32}(?=/|$)|(?<=^/users/)[^/]+|(?<=^/workers/)[^/]+")
_DEEDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("POST /login", "GET /login/openid/back"): ("sign in", "signed in"),
    ("POST /logout",): ("sign out", "signed out"),
    ("POST /account/tokens",): ("make an API token", "made an API token"),
    ("POST /account/tokens/*/revoke", "DELETE /account/tokens/*"): (
        "revoke an API token", "revoked an API token",
    ),
    ("POST /account/password",): ("change their password", "changed their password"),
    ("POST /account/sign-out-everywhere",): ("sign out everywhere", "signed out everywhere"),
    ("POST /users", "users add"): ("make an account", "made an account"),
    ("POST /users/*/role", "users role"): ("change a role", "changed a role"),
    ("PATCH /users/*",): ("change an account", "changed an account"),
    ("POST /users/*/disable", "users disable"): ("disable an account", "disabled an account"),
    ("POST /users/*/enable", "users enable"): ("enable an account", "enabled an account"),
    ("POST /users/*/password", "users password"): ("reset a password", "reset a password"),
    ("POST /users/*/end-sessions",): ("end all sessions of a user", "ended all sessions of a user"),
    ("POST /users/*/revoke-tokens",): (
        "revoke all API tokens of a user", "revoked all API tokens of a user",
    ),
    ("users remove",): ("remove an account", "removed an account"),
    ("POST /jobs", "POST /jobs/rerun", "POST /ablation", "POST /evaluate", "POST /evaluate/mend",
     "POST /train", "POST /models/*/release"): ("submit a job", "submitted a job"),
    ("POST /jobs/*/cancel",): ("cancel a job", "cancelled a job"),
    ("POST /jobs/*/change", "PATCH /jobs/*"): ("change a job", "changed a job"),
    ("POST /jobs/*/delete", "DELETE /jobs/*"): ("delete a job", "deleted a job"),
    ("POST /jobs/undo", "POST /jobs/*/restore"): ("restore a job", "restored a job"),
    ("POST /jobs/selected",): ("change several jobs", "changed several jobs"),
    ("POST /live",): ("attack a picture", "attacked a picture"),
    ("POST /datasets",): ("import a dataset", "imported a dataset"),
    ("POST /datasets/*/change", "PATCH /datasets/*"): ("change a dataset", "changed a dataset"),
    ("POST /datasets/*/delete", "DELETE /datasets/*"): ("delete a dataset", "deleted a dataset"),
    ("POST /datasets/*/restore",): ("restore a dataset", "restored a dataset"),
    ("POST /models", "POST /models/import"): ("import a model", "imported a model"),
    ("POST /models/*/change", "PATCH /models/*"): ("change a model", "changed a model"),
    ("POST /models/*/delete", "DELETE /models/*"): ("delete a model", "deleted a model"),
    ("POST /models/undo", "POST /models/*/restore"): ("restore a model", "restored a model"),
    ("POST /models/selected",): ("change several models", "changed several models"),
    ("POST /workers/*/drain",): ("drain a worker", "drained a worker"),
    ("POST /workers/*/resume",): (
        "let a worker take jobs again", "let a worker take jobs again",
    ),
}  # fmt: skip
"""What was asked for, what was done; by the requests of pages and of the API, and the commands."""
_WORDS = {request: words for requests, words in _DEEDS.items() for request in requests}


def deed(what: str, status: int | None) -> str:
    """`POST /api/jobs/…/cancel` -> `cancelled a job`, or `tried to cancel a job` where the answer
    says that nothing came of it; the request itself where it has no words."""
    method, _, path = what.partition(" ")
    words = _WORDS.get(f"{method} {_NAMES.sub('*', path.removeprefix('/api'))}")
    if words is None:
        return what
    asked, done = words
    return done if status is None or status < 400 else f"tried to {asked}"
