"""A job that was submitted: watch it, wait for it, end it, take what it left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, Self, TypeVar, cast

from pydantic import TypeAdapter

from app.client.errors import LabError
from app.client.events import follow
from app.client.progress import show
from app.client.transport import Transport
from app.contracts.events import Event
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import JobResult
from app.contracts.views import JobView, ModelView

R = TypeVar("R", bound=JobResult)

JOB: TypeAdapter[JobView] = TypeAdapter(JobView)
MODEL: TypeAdapter[ModelView] = TypeAdapter(ModelView)
_RESULT: TypeAdapter[JobResult] = TypeAdapter(JobResult)
_EXPORTS: Mapping[str, str] = {
    ".json": "/api/jobs/{id}/export.json",
    ".csv": "/api/jobs/{id}/export.csv",
    ".html": "/jobs/{id}/report.html",
}
_IMAGES = "/api/jobs/{id}/images.csv"


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

    def result(self) -> R:
        """What the job left; waits for its end. Raises LabError, with the reason, if it failed."""
        self._succeed()
        return cast(R, self._transport.get(_RESULT, f"/api/jobs/{self.id}/result"))

    def export(self, path: str | Path, *, images: bool = False) -> Path:
        """Write an evaluation to a file; waits for its end. The ending chooses the form.

        `.json`: everything, enough to run it again. `.csv`: a row for each model and figure, or
        with `images` a row for each image. `.html`: a report that needs no network.
        """
        target = Path(path)
        route = _IMAGES if images else _EXPORTS.get(target.suffix.lower())
        if route is None or (images and target.suffix.lower() != ".csv"):
            known = ".csv" if images else ", ".join(_EXPORTS)
            raise LabError(
                "Not a form of export",
                f"{target.name!r} does not end in {known}.",
                hint="The ending of the file's name chooses the form.",
                field="path",
            )
        if self.view.kind is not JobKind.EVALUATE:
            raise LabError("Not an evaluation", f"“{self.view.title}” has nothing to export.")
        self._succeed()
        self._transport.save(route.format(id=self.id), target)
        return target

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
