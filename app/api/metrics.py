"""The lab's figures for Prometheus, where it looks for them: outside of /api."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.admission.routes import ByMethod
from app.deps import LabDep

router = APIRouter(include_in_schema=False, route_class=ByMethod)


@router.get("/metrics")
def metrics(lab: LabDep) -> Response:
    from app.services.monitoring import exposition  # brings its library along

    return Response(exposition(lab), media_type="text/plain; version=0.0.4")
