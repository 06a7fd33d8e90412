"""Every kind of job by its record, which stands in the file of its page."""

from __future__ import annotations

from collections.abc import Mapping

from app.contracts.jobs import JobKind
from app.web.pages import (
    job_ablation,
    job_evaluate,
    job_explain,
    job_import,
    job_import_model,
    job_release,
    job_train,
)
from app.web.pages.job_frame import Kind

KINDS: Mapping[JobKind, Kind] = {
    JobKind.IMPORT: job_import.KIND,
    JobKind.TRAIN: job_train.KIND,
    JobKind.EVALUATE: job_evaluate.KIND,
    JobKind.EXPLAIN: job_explain.KIND,
    JobKind.IMPORT_MODEL: job_import_model.KIND,
    JobKind.RELEASE: job_release.KIND,
    JobKind.ABLATION: job_ablation.KIND,
}
