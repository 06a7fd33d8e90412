"""The pages: each a file with its routes, its contexts and its parts."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.routing import APIRoute, iter_route_contexts

from app.web.pages import (
    ablate,
    ablation,
    account,
    as_code,
    audit,
    board,
    compare,
    compare_trainings,
    datasets,
    evaluate,
    evaluation_running,
    help,
    home,
    import_model,
    job_table,
    jobs,
    live,
    model_table,
    models,
    reference,
    report,
    sign_in,
    sign_in_elsewhere,
    train,
    users,
    workers,
)
from app.web.pages.kinds import KINDS
from app.web.render import ENVIRONMENT

ENVIRONMENT.globals["kinds"] = KINDS

router = APIRouter(include_in_schema=False)
_PAGES = (
    ablate, ablation, account, as_code, audit, board, home, job_table, jobs, report, compare,
    compare_trainings, train, evaluate, evaluation_running, import_model, model_table, models,
    datasets, live, help, reference, sign_in, sign_in_elsewhere, users, workers,
)  # fmt: skip
_ROUTERS = (*(page.router for page in _PAGES), workers.for_admins)
for pages in _ROUTERS:
    for context in iter_route_contexts(pages.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")  # the server leaves the body out
    router.include_router(pages)
