"""From a context to a page: the template environment and the page's shell."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import ClassVar
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.admission.callers import caller_of
from app.admission.forms import FIELD
from app.admission.signing_in import wanted
from app.contracts.accounts import Role
from app.contracts.attacks import VALIDATION_ATTACK
from app.contracts.units import format_255
from app.errors import LabError, Unauthenticated
from app.settings import BESIDE, VERSION, Auth, Settings
from app.web import words
from app.web.locks import Owned, locked_for_viewers, why_not

TEMPLATES = BESIDE / "templates"


@dataclass(frozen=True)
class Context:
    """The base of all contexts."""

    template: ClassVar[str]
    """The file in `templates/`."""


@dataclass(frozen=True)
class ErrorContext(Context):
    """An error that ends a request outside /api."""

    template: ClassVar[str] = "error.html"

    status: int
    """The HTTP status."""
    title: str
    """The kind of error, in a few words."""
    detail: str
    """What happened; may quote outside text."""
    hint: str
    """What to do about it; empty where there is nothing to say."""


@dataclass(frozen=True)
class SignInContext(Context):
    """Instead of a page for those who may not see it yet."""

    template: ClassVar[str] = "sign_in.html"

    then: str
    """The page that was asked for, an address of the lab."""
    complaint: str
    """What was wrong with the last try; empty before it."""
    elsewhere: bool
    """Whether another site's link led here: browsers then keep their cookies back."""
    accounts: bool
    """Whether there are accounts; else there is a token."""
    openid: str
    """The host of a provider to sign in by; empty where there is none."""


@dataclass(frozen=True)
class Shell:
    """What the frame around every page needs; `shell` in the templates."""

    path: str
    """Of the request: the menu marks where one is."""
    version: str
    """Of the lab."""
    inside: bool
    """Whether whoever asks may look around; else nothing leads on."""
    role: Role
    """What whoever asks may do."""
    user: str
    """Whose account it is; empty where there are none."""
    form_key: str
    """What forms bring along; empty where the browser has no session, which it could leave."""

    @property
    def submits(self) -> bool:
        """Whether whoever asks may start something."""
        return self.role.covers(Role.RUNNER)

    def why_not(self, thing: Owned) -> str:
        """Why whoever asks may not change a thing; empty where they may."""
        return why_not(self.role, self.user, thing)


_NAMES = "href|src|action|formaction|hx-get|hx-post|data-image|data-results|data-given"
_ADDRESS = re.compile(rf'(?<=\s)({_NAMES})="/(?!/)')
"""Where pages name an address of the lab. Quotes of outside text are escaped, so none is one."""
_OWN_LINK = re.compile(r'<a href="/[^"]*"[^>]*>(.*?)</a>', re.DOTALL)


_POST_FORM = re.compile(r'<form\b[^>]*\bmethod="post"[^>]*>')
_OWN_FORM = re.compile(r'<form [^>]*action="/.*?</form>', re.DOTALL)


def _unlinked(html: Markup) -> Markup:
    """Escaped HTML whose links into the lab are plain text and without its forms: outside of it
    they lead nowhere.
    """
    return Markup(_OWN_LINK.sub(r"\1", _OWN_FORM.sub("", html)))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=words.percent,
        interval=words.interval,
        count=words.count,
        size=words.size,
        memory=words.memory,
        duration=words.duration,
        took=words.took,
        spread=words.spread,
        share=words.share,
        ago=words.ago,
        clock=words.clock,
        role=words.role,
        json_block=words.json_block,
        json_list=words.json_list,
        of_255=format_255,
        code=words.code,
        unlinked=_unlinked,
    )
    environment.globals.update(validation_attack=VALIDATION_ATTACK)
    return environment


ENVIRONMENT = _environment()


def own_address(request: Request) -> str:
    """Where whoever asks finds the lab: `http://127.0.0.1:8000`, `https://example.org/lab`."""
    root: str = request.app.state.settings.root_path
    return str(request.base_url).rstrip("/") + root


def render(request: Request, context: Context, *, status: int = 200) -> HTMLResponse:
    """The page of a context. Every field of the context is a variable of its template."""
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    caller = caller_of(request)
    shell = Shell(
        path=request.url.path,
        version=VERSION,
        inside=caller is not None,
        role=Role.VIEWER if caller is None else caller.role,
        user="" if caller is None or caller.user is None else caller.user.name,
        form_key="" if caller is None else caller.form_key,
    )
    html = ENVIRONMENT.get_template(context.template).render(values, shell=shell)
    if shell.inside and not shell.submits:
        html = locked_for_viewers(html)
    root = request.app.state.settings.root_path
    if root:
        html = _ADDRESS.sub(rf'\1="{root}/', html)
    if shell.form_key:
        proof = f'<input type="hidden" name="{FIELD}" value="{shell.form_key}">'
        html = _POST_FORM.sub(rf"\g<0>{proof}", html)
    return HTMLResponse(html, status_code=status)


def error_page(request: Request, error: LabError) -> HTMLResponse:
    """An error as a page, with its status and what to do about it."""
    context: Context = ErrorContext(
        status=error.status, title=error.title, detail=error.detail, hint=error.hint
    )
    if isinstance(error, Unauthenticated):
        context = sign_in(request, wanted(request), complaint=error.complaint)
    return render(request, context, status=error.status)


def sign_in(request: Request, then: str, *, complaint: str = "") -> SignInContext:
    """The page to sign in on, before the page `then`."""
    elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
    settings: Settings = request.app.state.settings
    openid = urlsplit(settings.oidc_issuer or "").hostname or ""
    return SignInContext(then, complaint, elsewhere, settings.auth is Auth.ACCOUNTS, openid)
