"""A finished evaluation as one file: to be judged elsewhere, and to be run again here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Self

from pydantic import model_validator

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams, invalid
from app.contracts.results import DatasetReport, EvaluationResult, Lineage, ModelCard
from app.contracts.results.base import Result

MAX_BYTES = 32 * 2**20
"""The largest export that is read; 26,000 images of eight models with all their parts take half."""


MAX_VALUES = 8_000_000
"""Of such a file: twice those of these images."""


class ExportedJob(Result):
    """When it was asked for and when it ran, UTC."""

    id: str
    title: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ExportedDataset(Result):
    lineage: Lineage
    """As it was measured."""
    report: DatasetReport | None
    """None where the lab no longer has it."""


class ExportedModel(Result):
    lineage: Lineage
    """As it was measured."""
    card: ModelCard | None
    """How it was trained; None where the lab no longer has it."""


class Export(Result):
    """Parameters, result and origins of one evaluation. `kind` and `params` are a job's request."""

    format: Literal["agkd-bml-lab/evaluation"] = "agkd-bml-lab/evaluation"
    version: Literal[1] = 1
    """Of this format; it changes whenever an older lab could misread it."""
    exported_by: str
    """Version of the lab that wrote the file; that which measured is in `result.environment`."""
    kind: Literal[JobKind.EVALUATE] = JobKind.EVALUATE
    params: EvaluateParams
    job: ExportedJob
    dataset: ExportedDataset
    models: tuple[ExportedModel, ...]
    """Those under test, the sources of transfer and the references of attention."""
    result: EvaluationResult

    @model_validator(mode="after")
    def _is_of_one_piece(self) -> Self:
        if self.params != self.result.params:
            raise invalid(
                "params", "not those of the result; a job with other parameters is a new job"
            )
        if self.dataset.lineage.id != self.params.dataset:
            raise invalid("dataset", "not the one of the parameters")
        return self

    def differs_from(
        self, dataset_sha256: str | None, model_sha256: Mapping[str, str]
    ) -> str | None:
        """Why a lab with this dataset and these models, by id, would measure something else.

        None where it holds the very same data and weights.
        """
        told = {model.lineage.id: model.lineage for model in self.models}
        for model in (*self.params.models, *self.params.sources):
            if model not in told:
                return f"The export does not tell the checksum of the model {model}."
        dataset = self.dataset.lineage
        held = {dataset.id: dataset_sha256, **model_sha256}
        for noun, origin in (("dataset", dataset), *(("model", m) for m in told.values())):
            sha256 = held.get(origin.id)
            if sha256 is None:
                return f"This lab has no {noun} “{origin.name}” ({origin.id})."
            if sha256 != origin.sha256:
                return (
                    f"The {noun} “{origin.name}” has the checksum {sha256[:12]}… in this lab and "
                    f"{origin.sha256[:12]}… in the export."
                )
        return None
