"""The lab's tables. Times are Unix seconds (UTC); JSON columns hold contracts checked outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    FetchedValue,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    func,
    text,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.contracts.access import Access, Held


def _within(column: str, *paths: str) -> Callable[[Any], Any]:
    """The default of a column that repeats what stands in a JSON column, where an index finds it.

    Args:
        paths: Where it may stand, `training.dataset`; the first place that has it counts.
    """

    def found(context: Any) -> Any:
        body = context.get_current_parameters()[column]
        values = (_at(body, path.split(".")) for path in paths)
        return next((value for value in values if value is not None), None)

    return found


def _at(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


_BYTES = BigInteger().with_variant(Integer(), "sqlite")  # whose integers have 64 bits anyway


class Table(DeclarativeBase):
    # Of the two nulls the one that `IS NULL` finds, also in an UPDATE.
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON(none_as_null=True)}
    # Who writes a row does not ask what the database has made of it.
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - as its base class types it


def _sorted_by(figure: str, *listed: str) -> Index:
    """The rows of the list in the order of a figure, those that have none last: a page of a long
    list is read from its beginning, and the whole is counted there.

    Args:
        listed: the columns of which a row on the list has none.
    """
    table, column = figure.split(".")
    order = f"({column} IS NULL)", f"{column} DESC", "created_at DESC", "id DESC"
    where = text(" AND ".join(f"{name} IS NULL" for name in listed))
    return Index(
        f"{table}_by_{column}", *map(text, order), postgresql_where=where, sqlite_where=where
    )


_FIGURES = ("clean", "robust", "autoattack")
_LISTED = ("deleted_at", "archived_at")


class JobRow(Table):
    """A job. `fence` grows with every claim; a worker that lost its lease holds an old one."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    parent_id: Mapped[str | None] = mapped_column(String(32))
    """The job whose part this one is."""
    owner_id: Mapped[str | None] = mapped_column(String(32))
    """The account that asked for it, and so for what comes from it; None where there were none."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    """What the request is called that asked for it; None where nobody asked."""
    kind: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(String(300))
    """What it does, in the lab's words."""
    name: Mapped[str] = mapped_column(String(80), default="", server_default="")
    """What its user calls it; empty where the title does."""
    note: Mapped[str] = mapped_column(Text, default="", server_default="")
    searched: Mapped[str | None] = mapped_column(Text, FetchedValue(), deferred=True)
    """Title, name and note in small letters, a line each; the database makes it of them, since to
    make it takes longer than to search it."""
    params: Mapped[dict[str, Any]]
    dataset_id: Mapped[str | None] = mapped_column(
        String(32), default=_within("params", "dataset", "training.dataset")
    )
    recipe: Mapped[str | None] = mapped_column(String(16), default=_within("params", "recipe"))
    epochs: Mapped[int | None] = mapped_column(
        default=_within("params", "epochs", "training.epochs")
    )
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    sent_at: Mapped[float | None]
    """When the broker was last told; None when it must be told again."""
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    """`Priority.rank`."""
    needs_gpus: Mapped[int] = mapped_column(default=0, server_default="0")
    """As `Needs.gpus`; likewise the next two."""
    needs_memory_mb: Mapped[int] = mapped_column(default=0, server_default="0")
    release: Mapped[int] = mapped_column(default=0, server_default="0")
    worker: Mapped[str | None] = mapped_column(String(100))
    """The worker that has it, or had it last."""
    claimed_at: Mapped[float | None]
    """When that one took it."""
    returned_at: Mapped[float | None]
    """When it last came back to the queue unfinished."""
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    last_event: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    result_file: Mapped[str | None] = mapped_column(String(200))
    summary: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    """Of an evaluation that succeeded (`app.store.summaries`); read only where it is asked for."""
    clean: Mapped[float | None]
    """Of what it left, the most robust model: a training's on held-out images, an evaluation's on
    test images."""
    robust: Mapped[float | None]
    """Likewise: under PGD-10, or the worst case."""
    autoattack: Mapped[float | None]
    """Likewise: after AutoAttack."""
    expected_s: Mapped[float | None]
    """How long it was expected to take when it was submitted; None where nobody could know."""
    archived_at: Mapped[float | None]
    pinned_at: Mapped[float | None]
    deleted_at: Mapped[float | None]
    """In the bin since then; it goes when it has been there for a while."""
    announced_at: Mapped[float | None]
    """When the webhook took the news of its end."""
    thinned_at: Mapped[float | None]
    """Since when only a part of what it reported is kept (`app.store.thinning`)."""
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    request_digest: Mapped[str | None] = mapped_column(String(64))

    @hybrid_property
    def result_name(self) -> str:
        """What the files of its result are called (`app.store.files`)."""
        return (self.result_file or self.id).removesuffix(".json")

    @result_name.inplace.expression
    @classmethod
    def _result_name(cls) -> ColumnElement[str]:
        return func.replace(func.coalesce(cls.result_file, cls.id), ".json", "")

    __table_args__ = (
        Index("jobs_by_age", "created_at", "id"),
        Index("jobs_by_status", "status", "queue", "created_at"),
        Index("jobs_by_parent", "parent_id", "created_at"),
        Index("jobs_by_owner", "owner_id"),
        # Lists are counted and filtered in this index alone: rows are long, with their parameters.
        Index(
            "jobs_listed", "deleted_at", "archived_at", "parent_id", "created_at", "id", "kind",
            "status", "dataset_id", "recipe",
        ),
        Index("jobs_by_pin", "pinned_at"),
        Index("jobs_by_kind", "kind", "status", "created_at", "id"),
        Index("jobs_to_announce", "announced_at", "finished_at", "id"),
        # The next job is chosen in these two alone (`app.store.placement`).
        Index(
            "jobs_waiting", "status", "queue", "priority", "owner_id", "parent_id", "started_at",
            "created_at", "id", "kind", "needs_gpus", "needs_memory_mb", "release", "returned_at",
        ),
        Index("jobs_worked", "queue", "finished_at", "owner_id", "parent_id", "claimed_at"),
        *(_sorted_by(f"jobs.{name}", "parent_id", *_LISTED) for name in _FIGURES),
    )  # fmt: skip


class ShardRow(Table):
    """A part of an unfinished evaluation: a batch before one model. `fence` as that of a job."""

    __tablename__ = "shards"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    """From 0, in the order in which their figures come together."""
    facts: Mapped[str] = mapped_column(String(64))
    """What a worker's environment must be for its figures to be those of one run, as a digest."""
    shared: Mapped[bool]
    """Whether workers may take it that have not the job."""
    fence: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float | None]
    worker: Mapped[str | None] = mapped_column(String(200))
    """Who has it, or had it."""
    done: Mapped[float] = mapped_column(default=0.0)
    """How far it is, in passes of images."""
    finished_at: Mapped[float | None]
    failure: Mapped[dict[str, Any] | None]

    __table_args__ = (Index("shards_left", "job_id", "finished_at", "number"),)


class _Reported(TypeDecorator[dict[str, Any]]):
    """JSON has neither NaN nor infinity, and PostgreSQL takes none; a loss can be either. What such
    a figure was is not kept: it comes back as NaN."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> Any:
        figures = (value or {}).get("values", {})
        if all(map(math.isfinite, figures.values())):
            return value
        kept = {name: each if math.isfinite(each) else None for name, each in figures.items()}
        return {**(value or {}), "values": kept}

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, Any] | None:
        figures = (value or {}).get("values", {})
        if None in figures.values():
            value["values"] = {k: math.nan if v is None else v for k, v in figures.items()}
        return cast("dict[str, Any] | None", value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)


class DrainRow(Table):
    """A worker that is to take no new job; there is a row as long as that holds."""

    __tablename__ = "drains"

    worker: Mapped[str] = mapped_column(String(100), primary_key=True)
    """Its name."""
    since: Mapped[float]
    by: Mapped[str] = mapped_column(String(80))
    """As `AuditRow.who`."""


class EventRow(Table):
    """What a job reported; `seq` counts from 1 within the job, without gaps but for previews and
    what was thinned."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(16))
    at: Mapped[float]
    body: Mapped[dict[str, Any]] = mapped_column(_Reported)


class DatasetRow(Table):
    """A dataset whose files are complete."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    source: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Text, default="", server_default="")
    job_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[float]
    archived_at: Mapped[float | None]
    deleted_at: Mapped[float | None]
    """In the bin since then; the files go when it has been there for a while."""
    report: Mapped[dict[str, Any]]
    checksum: Mapped[str | None] = mapped_column(String(64), default=_within("report", "checksum"))
    """Of its images: datasets with the same one are the same."""

    __table_args__ = (
        Index("datasets_by_age", "deleted_at", "archived_at", "created_at"),
        Index("datasets_by_checksum", "checksum"),
    )


class ModelRow(Table):
    """A registered model whose weights are on disk."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    """What the lab calls it; its card has the name that it began with."""
    note: Mapped[str] = mapped_column(Text, default="", server_default="")
    searched: Mapped[str | None] = mapped_column(Text, FetchedValue(), deferred=True)
    """Name and note, as with jobs."""
    job_id: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[float]
    archived_at: Mapped[float | None]
    deleted_at: Mapped[float | None]
    """In the bin since then; the files go when it has been there for a while."""
    dataset_id: Mapped[str | None] = mapped_column(String(32))
    dataset_sha256: Mapped[str | None] = mapped_column(
        String(64), default=_within("card", "dataset.sha256")
    )
    dataset_name: Mapped[str | None] = mapped_column(
        String(80), default=_within("card", "dataset.name")
    )
    recipe: Mapped[str | None] = mapped_column(String(16), default=_within("card", "params.recipe"))
    teacher_id: Mapped[str | None] = mapped_column(
        String(32), default=_within("card", "teacher.id")
    )
    epochs: Mapped[int | None] = mapped_column(default=_within("card", "params.epochs"))
    clean: Mapped[float | None] = mapped_column(default=_within("card", "validation_clean.value"))
    """On held-out images."""
    robust: Mapped[float | None] = mapped_column(default=_within("card", "validation_robust.value"))
    """On held-out images, under PGD-10."""
    seconds: Mapped[float | None] = mapped_column(default=_within("card", "environment.seconds"))
    """What its training took."""
    measured_clean: Mapped[float | None]
    """On the test images of its latest evaluation that is not in the bin."""
    measured_robust: Mapped[float | None]
    """Likewise: the worst case; None where it is invalid by its verdict."""
    measured_autoattack: Mapped[float | None]
    """Likewise: after AutoAttack."""
    kept: Mapped[str | None] = mapped_column(String(8), default=_within("card", "kept"))
    """Which epoch of its training it is: `best` or `last`."""
    origin: Mapped[str | None] = mapped_column(String(16), default=_within("card", "origin"))
    """As on its card; None on those of lab 0.2 and earlier, whose models were trained here."""
    image_size: Mapped[int | None] = mapped_column(default=_within("card", "image_size"))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(_BYTES)
    card: Mapped[dict[str, Any]]

    __table_args__ = (
        Index(
            "models_chosen", "deleted_at", "archived_at", "recipe", "kept", "image_size", "origin",
            "clean", "created_at", "id",
        ),
        Index("models_by_age", "created_at", "id"),
        Index("models_by_name", "name"),
        Index("models_by_job", "job_id"),
        Index("models_by_dataset", "dataset_id", "deleted_at"),
        Index("models_by_teacher", "teacher_id", "deleted_at"),
        Index(
            "models_listed", "deleted_at", "archived_at", "created_at", "id", "recipe",
            "dataset_sha256", "dataset_name",
        ),
        *(_sorted_by(f"models.measured_{name}", *_LISTED) for name in _FIGURES),
    )  # fmt: skip

    @property
    def access(self) -> Access:
        """What it gives; where its card is older than the field, everything."""
        return Access(self.card.get("access", Access.WHITE_BOX))

    @property
    def held(self) -> Held:
        """As `ModelCard.held`."""
        if self.card.get("endpoint") is not None:
            return Held.ADDRESS
        asked = self.card.get("onnx") is not None and self.access is Access.BLACK_BOX
        return Held.ONNX if asked else Held.WEIGHTS


class MeasurementRow(Table):
    """One model in one evaluation, in figures that can be sorted and filtered."""

    __tablename__ = "measurements"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Among the models of the evaluation, from 0."""
    at: Mapped[float]
    """When the evaluation was over."""
    model_id: Mapped[str] = mapped_column(String(32))
    model_name: Mapped[str] = mapped_column(String(80))
    """As it was called then."""
    dataset_sha256: Mapped[str] = mapped_column(String(64))
    dataset_name: Mapped[str] = mapped_column(String(80))
    norm: Mapped[str] = mapped_column(String(8))
    epsilon: Mapped[float]
    goal: Mapped[str] = mapped_column(String(16))
    images: Mapped[int]
    clean: Mapped[int]
    """How many of the images were right; likewise the others."""
    robust: Mapped[int | None]
    """The worst case over all attacks; None in results of lab 0.1."""
    autoattack: Mapped[int | None]
    """After AutoAttack and all before it; None where it did not run."""
    light: Mapped[str | None] = mapped_column(String(8))
    """The verdict; None in results of lab 0.1."""
    standing: Mapped[int] = mapped_column(default=0, server_default="0")
    """`Standing` on the board (`app.store.measurements`)."""

    __table_args__ = (
        # The board counts, sorts and cuts off in this index alone.
        Index(
            "measurements_on_board", "standing", "dataset_sha256", "norm", "epsilon", "goal",
            "light", "robust", "clean", "images", "at", "job_id", "position", "dataset_name",
        ),
        Index("measurements_by_model", "model_id", "at"),
    )  # fmt: skip


class TagRow(Table):
    """A word that a user has put on a job, a model or a dataset."""

    __tablename__ = "tags"

    thing: Mapped[str] = mapped_column(String(8), primary_key=True)
    """`jobs`, `models` or `datasets`: the table of what has it."""
    tag: Mapped[str] = mapped_column(String(40), primary_key=True)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)

    __table_args__ = (Index("tags_by_thing", "thing", "id"),)


class UploadRow(Table):
    """A file that a user sent, checked and kept until its job no longer needs it."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    filename: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(_BYTES)
    owner_id: Mapped[str | None] = mapped_column(String(32))
    """The account that sent it; None where there were none."""
    created_at: Mapped[float]
    """When it was sent, or last taken by a job."""


class StoredRow(Table):
    """A file in the storage that machines share; there is none where the data folder has it."""

    __tablename__ = "stored"

    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    """Its path in a data folder: `datasets/<id>/train_images.npy`."""
    place: Mapped[str] = mapped_column(String(120))
    """The first two parts of it: what is kept and dropped as one."""
    thing: Mapped[str] = mapped_column(String(32))
    """The id of the job, model, dataset or upload that it belongs to."""
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    stored_at: Mapped[float]

    __table_args__ = (Index("stored_by_place", "place"), Index("stored_by_thing", "thing"))


class WebhookRow(Table):
    """The one row says that ends of jobs are announced; there is none while no webhook is set."""

    __tablename__ = "webhook"

    id: Mapped[int] = mapped_column(primary_key=True)
    since: Mapped[float]
    """Jobs that ended earlier are not announced."""
    failure: Mapped[str] = mapped_column(Text, default="")
    """Why the last announcement was not taken; empty when it was."""


def _user() -> Mapped[str]:
    return mapped_column(ForeignKey("users.id", ondelete="CASCADE"))


class UserRow(Table):
    """Somebody with an account."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    password: Mapped[str] = mapped_column(Text)
    """Its argon2 hash, with the hash's parameters and salt; empty where another house knows it."""
    role: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[float]
    disabled_at: Mapped[float | None]
    """Nobody comes in by it since then."""
    generation: Mapped[int] = mapped_column(default=0, server_default="0")
    """Grows whenever its sessions and tokens lose their ground: what was under way then begins
    none."""
    subject: Mapped[str | None] = mapped_column(String(500))
    """Issuer and name there of whom an OpenID provider knows; None of who has a password here."""

    __table_args__ = (Index("users_by_subject", "subject", unique=True),)


class SessionRow(Table):
    """A browser that signed in. Its cookie is kept as a digest alone."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = _user()
    until: Mapped[float]

    __table_args__ = (Index("sessions_by_user", "user_id"), Index("sessions_by_end", "until"))


class ApiTokenRow(Table):
    """A program's way in, kept as a digest alone."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = _user()
    name: Mapped[str] = mapped_column(String(80))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[float]

    __table_args__ = (Index("api_tokens_by_user", "user_id"),)


class KeyRow(Table):
    """A secret that the lab's web processes share."""

    __tablename__ = "keys"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    """Hexadecimal digits."""


class AuditRow(Table):
    """That somebody changed something, or was refused."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[float]
    who: Mapped[str] = mapped_column(String(80))
    """The name of an account; `owner` of who runs the lab, empty of who is not known."""
    address: Mapped[str] = mapped_column(String(80))
    """From where."""
    what: Mapped[str] = mapped_column(String(200))
    """The request: `POST /api/jobs`."""
    targets: Mapped[str] = mapped_column(Text)
    """The ids of what it concerned, with spaces between."""
    status: Mapped[int | None]
    """Of the answer; None where the process ended before it."""
