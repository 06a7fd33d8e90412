"""A finished evaluation as one file: to be judged elsewhere, and to be run again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, Self

from pydantic import model_validator

from app.contracts.complaints import invalid
from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams
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

    @property
    def lineages(self) -> tuple[Lineage, ...]:
        """Of the dataset and of all models."""
        return (self.dataset.lineage, *(model.lineage for model in self.models))

    def placed(self, held: Mapping[str, str]) -> EvaluateParams:
        """The parameters, with the ids that a lab gave to the same data and weights.

        Checksums decide, not ids: it may be another lab than the one that measured.

        Args:
            held: Checksums of the lab's datasets and models, by id.

        Raises:
            ValueError: which of them it has not, in words.
        """
        told = {model.lineage.id: model.lineage for model in self.models}
        for model in (*self.params.models, *self.params.sources):
            if model not in told:
                raise ValueError(f"The export does not tell the checksum of the model {model}.")
        places: dict[str, str] = {}
        for noun, origin in (
            ("dataset", self.dataset.lineage),
            *(("model", m) for m in told.values()),
        ):
            places[origin.id] = _place(noun, origin, held, places.values())
        models, sources = (
            tuple(places[model] for model in named)
            for named in (self.params.models, self.params.sources)
        )
        return self.params.model_copy(
            update={"dataset": places[self.params.dataset], "models": models, "sources": sources}
        )


def _place(noun: str, origin: Lineage, held: Mapping[str, str], taken: Collection[str]) -> str:
    """The id of the same thing in a lab, rather one that is not taken. Raises ValueError."""
    if held.get(origin.id) == origin.sha256:
        return origin.id
    same = [id_ for id_, sha256 in held.items() if sha256 == origin.sha256]
    if same:
        return next((id_ for id_ in same if id_ not in taken), same[0])
    if origin.id in held:
        raise ValueError(
            f"The {noun} “{origin.name}” has the checksum {held[origin.id][:12]}… in this lab and "
            f"{origin.sha256[:12]}… in the export."
        )
    raise ValueError(
        f"This lab has no {noun} “{origin.name}” with the checksum {origin.sha256[:12]}…."
    )
