"""A job that was submitted: watch it, wait for it, end it, take what it left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, Self, TypedDict, TypeVar, Unpack, cast

from pydantic import TypeAdapter

from app.client.errors import LabError
from app.client.events import follow
from app.client.gate import Asked, Gate, judge
from app.client.progress import show
from app.client.transport import Transport
from app.contracts.events import Event
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import AblationTable, EvaluationResult, JobResult
from app.contracts.views import JobView, ModelView

R = TypeVar("R", bound=JobResult)

JOB: TypeAdapter[JobView] = TypeAdapter(JobView)
MODEL: TypeAdapter[ModelView] = TypeAdapter(ModelView)
_RESULT: TypeAdapter[JobResult] = TypeAdapter(JobResult)
_TABLE: TypeAdapter[AblationTable] = TypeAdapter(AblationTable)
_EXPORTS: Mapping[JobKind, Mapping[str, str]] = {
    JobKind.EVALUATE: {
        ".json": "/api/jobs/{id}/export.json",
        ".csv": "/api/jobs/{id}/export.csv",
        ".html": "/jobs/{id}/report.html",
        ".npz": "/api/jobs/{id}/adversarial/{model}.npz",
        ".zip": "/api/jobs/{id}/adversarial/{model}.zip",
    },
    JobKind.ABLATION: {
        ".json": "/api/jobs/{id}/result",
        ".csv": "/api/jobs/{id}/ablation.csv",
    },
    JobKind.RELEASE: {".zip": "/api/jobs/{id}/release.zip"},
}
_IMAGES = "/api/jobs/{id}/images.csv"


class Change(TypedDict, total=False):
    """What is to be changed of a model or a dataset; what is left out stays."""

    name: str
    note: str
    tags: Sequence[str]
    """In place of those it has."""
    archived: bool


class JobChange(Change, total=False):
    """What is to be changed of a job."""

    pinned: bool
    priority: str
    """low, normal or high: before which others it runs."""


class Job(Generic[R]):
    """One job of a lab. `view` is what was last read of it; `refresh` reads it again.

    All methods raise LabError.
    """

    def __init__(self, transport: Transport, view: JobView) -> None:
        self._transport = transport
        self.view = view

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.view.title!r}, {self.view.status}>"

    @property
    def id(self) -> str:
        return self.view.id

    def refresh(self) -> JobView:
        """What the lab says of the job now."""
        self.view = self._transport.get(JOB, f"/api/jobs/{self.id}")
        return self.view

    def watch(self) -> Iterator[Event]:
        """The job's events from the first to the last, as they happen; survives lost connections.

        The job goes on when nobody watches.
        """
        return follow(self._transport, self.id)

    def wait(self, *, progress: bool = False) -> Self:
        """Wait until the job is over, however it ends; `progress` is shown on standard error."""
        if not self.refresh().status.is_final:
            if progress:
                show(self.watch(), self._model_names())
            else:
                for _ in self.watch():
                    pass
            self.refresh()
        return self

    def cancel(self) -> JobView:
        """End it if it waits; ask it to end at its next step if it runs."""
        self.view = self._transport.post(JOB, f"/api/jobs/{self.id}/cancel")
        return self.view

    def change(self, **changes: Unpack[JobChange]) -> JobView:
        """Name it, write a note, tag, archive or pin it; what is left out stays.

        An empty name: it is called by what it does.
        """
        self.view = self._transport.patch(JOB, f"/api/jobs/{self.id}", changes)
        return self.view

    def delete(self) -> None:
        """Move it into the bin for a week, an ablation with its jobs; it has to be over."""
        self._transport.delete(f"/api/jobs/{self.id}")

    def restore(self) -> JobView:
        """Take it out of the bin."""
        self.view = self._transport.post(JOB, f"/api/jobs/{self.id}/restore")
        return self.view

    def result(self) -> R:
        """What the job left; waits for its end. Raises LabError, with the reason, if it failed."""
        self._succeed()
        return cast(R, self._transport.get(_RESULT, f"/api/jobs/{self.id}/result"))

    def export(self, path: str | Path, *, images: bool = False, model: str | None = None) -> Path:
        """Write an evaluation, an ablation or a release to a file; waits for its end. The ending
        chooses the form.

        `.json`: everything. `.csv`: a row for each figure, or with `images` a row for each image of
        an evaluation. `.html`: an evaluation's report that needs no network. `.zip`: a release.
        `.npz`, `.zip`: the adversarial images that an evaluation kept, as arrays or as pictures; of
        several models that of the `model` with this name or id.
        """
        target, ending = Path(path), Path(path).suffix.lower()
        forms = {".csv": _IMAGES} if images else _EXPORTS.get(self.view.kind, {})
        if not forms or (images and self.view.kind is not JobKind.EVALUATE):
            raise LabError("Not an evaluation", f"“{self.view.title}” has nothing to export.")
        if ending not in forms:
            raise LabError(
                "Not a form of export",
                f"{target.name!r} does not end in {', '.join(forms)}.",
                hint="The ending of the file's name chooses the form.",
                field="path",
            )
        self._succeed()
        address = forms[ending]
        if "{model}" in address:
            address = address.replace("{model}", self._measured(model))
        self._transport.save(address.format(id=self.id), target)
        return target

    def _measured(self, name: str | None) -> str:
        """The id of the model that an evaluation measured, by name or id; of one, the only one."""
        result = self.result()
        assert isinstance(result, EvaluationResult)
        ids = [m.model for m in result.models if name is None or name in (m.name, m.model)]
        if len(ids) != 1:
            named = ", ".join(f"“{model.name}”" for model in result.models)
            raise LabError(
                "Not a single model", "Say of which model.", hint=f"One of {named}.", field="model"
            )
        return ids[0]

    def gate(self, asked: Asked) -> Gate:
        """Hold an evaluation against what is asked; waits for its end.

        `holds` of the gate says whether all conditions hold; what was not measured does not.
        """
        result = self.result()
        if not isinstance(result, EvaluationResult):
            raise LabError("Not an evaluation", f"“{self.view.title}” measured no model.")
        return judge(result, asked)

    def table(self) -> AblationTable:
        """What is known of an ablation now; waits for nothing."""
        return self._transport.get(_TABLE, f"/api/jobs/{self.id}/ablation")

    def _model_names(self) -> dict[str, str]:
        """Of the models that an evaluation measures, by id."""
        if self.view.kind is not JobKind.EVALUATE:
            return {}
        models = [
            self._transport.get(MODEL, f"/api/models/{m}") for m in self.view.params["models"]
        ]
        return {model.id: model.name for model in models}

    def _succeed(self) -> None:
        view = self.wait().view
        if view.status is JobStatus.CANCELLED:
            raise LabError("The job was cancelled", "It left no result.", hint="Submit it again.")
        if view.failure is not None:
            raise LabError(view.failure.title, view.failure.detail, hint=view.failure.hint)
