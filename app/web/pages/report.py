"""A finished evaluation as one HTML file that needs no network and no lab."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from app.admission.routes import ByMethod
from app.contracts.export import Export
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import exports
from app.services.evaluations import finished
from app.services.exports import attachment, file_name
from app.settings import BESIDE
from app.web.charts import evaluation as evaluation_charts
from app.web.forms.readable import RowGroup
from app.web.pages.evaluation_doubts import origin_of
from app.web.pages.evaluation_view import EvaluationView, evaluation_view
from app.web.pages.inputs import IdPath
from app.web.pages.job_params import asked_for
from app.web.pages.recipes import recipes_of
from app.web.render import Context, render

_IMPORTED = re.compile(r"^import .*$", re.MULTILINE)
_STATIC = BESIDE / "static"


@dataclass(frozen=True)
class Assets:
    """Texts to be written into a page as they are."""

    style: Markup
    plotly: Markup
    drawing: Markup
    """A module that draws the figures of the page."""
    policy: str
    """A content security policy under which these scripts run, and nothing else does."""


@dataclass(frozen=True)
class ReportContext(Context):
    """A finished evaluation as one file."""

    template: ClassVar[str] = "report.html"

    job: JobView
    """Which succeeded."""
    exported: Export
    """Where data and models come from."""
    evaluation: EvaluationView
    """What it left."""
    params: tuple[RowGroup, ...]
    """What was asked for."""
    body: str
    """The same as the JSON that asks for it again."""
    figures: dict[str, Any]
    """All charts as Plotly JSON, by name."""
    assets: Assets
    """Styles and scripts, written into the file."""


router = APIRouter(prefix="/jobs", route_class=ByMethod)


@router.get("/{job_id}/report.html")
def report(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    """Configuration, origins, environment, figures, tables and verdicts, all in one file."""
    done = finished(lab, job_id)
    job, result = done
    recipes = recipes_of(lab, [model.model for model in result.models])
    exported = exports.of_finished(lab, done)
    parts = assets()
    context = ReportContext(
        job=job,
        exported=exported,
        evaluation=evaluation_view(result, recipes, origin_of(lab, job, result)),
        params=asked_for(lab, job).rows,
        body=json.dumps({"kind": job.kind, "params": job.params}, ensure_ascii=False, indent=2),
        figures=evaluation_charts.figures(result, recipes),
        assets=parts,
    )
    page = render(request, context)
    page.headers.update(attachment(file_name(job.title, "evaluation", job_id, ".html")))
    page.headers["Content-Security-Policy"] = parts.policy
    return page


def assets() -> Assets:
    """Read anew for each report: kept, they would take more memory than all pages together."""
    plotly = _inline("vendor/plotly-cartesian.min.js")
    modules = ("charts.js", "colours.js", "attention.js", "gallery.js", "report.js")
    drawing = Markup("").join(map(_module, modules))
    hashes = " ".join(_hash(script) for script in (plotly, drawing))
    styles = ("vendor/pico.classless.min.css", "lab.css", "evaluation.css")
    return Assets(
        style=Markup("").join(map(_inline, styles)),
        plotly=plotly,
        drawing=drawing,
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'",
    )


def _module(name: str) -> Markup:
    """A module's text without its imports: what it imports stands above it in the page."""
    return Markup(_IMPORTED.sub("", _inline(name)))


def _inline(name: str) -> Markup:
    text = (_STATIC / name).read_text(encoding="utf-8")
    lowered = text.lower()
    assert not any(end in lowered for end in ("</script", "</style", "<!--")), name
    return Markup(text)


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
