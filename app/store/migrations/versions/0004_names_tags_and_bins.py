"""names, notes, tags, archive and bin of jobs, models and datasets; the figures of lists"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FACTS: dict[str, dict[str, tuple[Any, str, tuple[str, ...]]]] = {
    "jobs": {
        "dataset_id": (sa.String(length=32), "params", ("dataset", "training.dataset")),
        "recipe": (sa.String(length=16), "params", ("recipe",)),
        "epochs": (sa.Integer(), "params", ("epochs", "training.epochs")),
        "clean": (sa.Double(), "", ()),
        "robust": (sa.Double(), "", ()),
        "autoattack": (sa.Double(), "", ()),
    },
    "models": {
        "dataset_sha256": (sa.String(length=64), "card", ("dataset.sha256",)),
        "dataset_name": (sa.String(length=80), "card", ("dataset.name",)),
        "recipe": (sa.String(length=16), "card", ("params.recipe",)),
        "epochs": (sa.Integer(), "card", ("params.epochs",)),
        "clean": (sa.Double(), "card", ("validation_clean.value",)),
        "robust": (sa.Double(), "card", ("validation_robust.value",)),
        "seconds": (sa.Double(), "card", ("environment.seconds",)),
    },
}
"""New columns that repeat what stands in a JSON column, and where it stands there."""
_TIMES = {
    "jobs": ("archived_at", "pinned_at", "deleted_at"),
    "models": ("archived_at",),
    "datasets": ("archived_at", "deleted_at"),
}
_INDEXES = {
    "jobs_listed": ("jobs", ["deleted_at", "archived_at", "parent_id", "created_at", "id", "kind",
                             "status", "dataset_id", "recipe"]),
    "jobs_by_pin": ("jobs", ["pinned_at"]),
    "models_by_job": ("models", ["job_id"]),
    "models_listed": ("models", ["deleted_at", "archived_at", "created_at", "id", "recipe",
                                 "dataset_sha256", "dataset_name"]),
    "measurements_by_threat": (
        "measurements", ["dataset_sha256", "norm", "epsilon", "goal", "at"]
    ),
    "measurements_by_model": ("measurements", ["model_id", "at"]),
    "tags_by_thing": ("tags", ["thing", "id"]),
}  # fmt: skip


def upgrade() -> None:
    # Not in batch mode, which may copy the table: dropping the old one would drop its events too.
    op.add_column(
        "jobs", sa.Column("name", sa.String(length=80), nullable=False, server_default="")
    )
    for table in ("jobs", "models", "datasets"):
        op.add_column(table, sa.Column("note", sa.Text(), nullable=False, server_default=""))
        for name in _TIMES[table]:
            op.add_column(table, sa.Column(name, sa.Double(), nullable=True))
        for name, (type_, _, _) in _FACTS.get(table, {}).items():
            op.add_column(table, sa.Column(name, type_, nullable=True))
    _create_tables()
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns, unique=False)
    _fill()


def _create_tables() -> None:
    op.create_table(
        "measurements",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("model_name", sa.String(length=80), nullable=False),
        sa.Column("dataset_sha256", sa.String(length=64), nullable=False),
        sa.Column("dataset_name", sa.String(length=80), nullable=False),
        sa.Column("norm", sa.String(length=8), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=False),
        sa.Column("goal", sa.String(length=16), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("clean", sa.Integer(), nullable=False),
        sa.Column("robust", sa.Integer(), nullable=True),
        sa.Column("autoattack", sa.Integer(), nullable=True),
        sa.Column("light", sa.String(length=8), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "position"),
    )
    op.create_table(
        "tags",
        sa.Column("thing", sa.String(length=8), nullable=False),
        sa.Column("tag", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("thing", "tag", "id"),
    )


def _fill() -> None:
    """Bring what older versions stored into the new columns and tables."""
    connection = op.get_bind()
    for table, facts in _FACTS.items():
        places = {name: (column, paths) for name, (_, column, paths) in facts.items() if paths}
        values = {
            name: _first_of(column, paths, facts[name][0])
            for name, (column, paths) in places.items()
        }
        connection.execute(sa.update(_bare(table, *values)).values(values))
    models = _bare("models", "job_id", "card", "clean", "robust")
    kept = sa.type_coerce(models.c.card, sa.JSON)["kept"].as_string()
    trained = sa.select(models).where(models.c.job_id.is_not(None), kept == "best")
    for model in connection.execute(trained).all():
        jobs = _bare("jobs", "id", "kind", "clean", "robust")
        training = sa.update(jobs).where(jobs.c.id == model.job_id, jobs.c.kind == "train")
        connection.execute(training.values(clean=model.clean, robust=model.robust))
    summed = _bare("jobs", "id", "finished_at", "created_at", "summary")
    for job in connection.execute(sa.select(summed).where(summed.c.summary.is_not(None))).all():
        _fill_measured(connection, job)


def _bare(table: str, *columns: str) -> sa.TableClause:
    """The table as it is now, whatever later versions make of it."""
    return sa.table(table, *map(sa.column, columns))


def _first_of(column: str, paths: tuple[str, ...], of: Any) -> sa.ColumnElement[Any]:
    read = {sa.String: "as_string", sa.Integer: "as_integer", sa.Double: "as_float"}[type(of)]
    found = (sa.column(column, sa.JSON)[tuple(path.split("."))] for path in paths)
    values = [getattr(each, read)() for each in found]
    return values[0] if len(values) == 1 else sa.func.coalesce(*values)


def _fill_measured(connection: sa.Connection, job: Any) -> None:
    """The measurements of one evaluation, and in its row the most robust model's figures."""
    try:
        rows = _measurements(job, json.loads(job.summary))
    except (KeyError, TypeError, ValueError):
        return  # of another version; it is summed up anew where it is asked for
    connection.execute(sa.insert(_bare("measurements", *rows[0])), rows)
    best = max(rows, key=lambda row: -1 if row["robust"] is None else row["robust"])
    shares = {
        name: None if best[name] is None else best[name] / best["images"]
        for name in ("clean", "robust", "autoattack")
    }
    evaluation = sa.update(_bare("jobs", "id", *shares)).where(sa.column("id") == job.id)
    connection.execute(evaluation.values(shares))


def _measurements(job: Any, summary: dict[str, Any]) -> list[dict[str, Any]]:
    params = summary["params"]
    return [
        {
            "job_id": job.id,
            "position": position,
            "at": job.finished_at or job.created_at,
            "model_id": model["model"],
            "model_name": model["name"],
            "dataset_sha256": summary["dataset"]["sha256"],
            "dataset_name": summary["dataset"]["name"],
            "norm": params["attack"]["norm"],
            "epsilon": params["epsilon"],
            "goal": params["attack"]["goal"],
            "images": model["clean"]["n"],
            "clean": model["clean"]["correct"],
            "robust": model["robust"] and model["robust"]["correct"],
            "autoattack": _after_autoattack(model["attacks"]),
            "light": model["verdict"] and model["verdict"]["light"],
        }
        for position, model in enumerate(summary["models"])
    ]


def _after_autoattack(attacks: list[dict[str, Any]]) -> int | None:
    parts = [row["worst_case"]["correct"] for row in attacks if row.get("part_of_autoattack")]
    return parts[-1] if parts else None


def downgrade() -> None:
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
    op.drop_table("tags")
    op.drop_table("measurements")
    for table in ("jobs", "models", "datasets"):
        for name in ("note", *_TIMES[table], *_FACTS.get(table, {})):
            op.drop_column(table, name)
    op.drop_column("jobs", "name")
