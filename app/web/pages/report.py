"""A finished evaluation as one HTML file that needs no network and no lab."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.contracts.params import EvaluateParams
from app.deps import LabDep
from app.downloads import attachment, file_name
from app.services import exports
from app.services.evaluations import finished
from app.web.charts import evaluation as evaluation_charts
from app.web.forms.readable import readable
from app.web.pages.contexts import ReportContext
from app.web.pages.evaluation_view import evaluation_view
from app.web.pages.evaluations import recipes_of
from app.web.pages.inputs import IdPath
from app.web.pages.jobs import names_in
from app.web.pages.report_assets import assets
from app.web.render import render

router = APIRouter(prefix="/jobs")


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
        evaluation=evaluation_view(result, recipes),
        params=readable(EvaluateParams, job.params, names_in(lab, job)),
        body=json.dumps({"kind": job.kind, "params": job.params}, ensure_ascii=False, indent=2),
        figures=evaluation_charts.figures(result, recipes),
        assets=parts,
    )
    page = render(request, context)
    page.headers.update(attachment(file_name(job.title, "evaluation", job_id, ".html")))
    page.headers["Content-Security-Policy"] = parts.policy
    return page
