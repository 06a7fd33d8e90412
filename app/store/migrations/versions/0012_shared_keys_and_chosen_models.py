"""keys that web processes share; what models are chosen and sorted by, where an index finds it"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_CHOSEN = ("deleted_at", "archived_at", "recipe", "kept", "image_size", "origin", "clean",
           "created_at", "id")  # fmt: skip
_MEASURED = ("clean", "robust", "autoattack")


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
    )
    op.add_column("models", sa.Column("kept", sa.String(8), nullable=True))
    op.add_column("models", sa.Column("origin", sa.String(16), nullable=True))
    op.add_column("models", sa.Column("image_size", sa.Integer(), nullable=True))
    for name in _MEASURED:
        op.add_column("models", sa.Column(f"measured_{name}", sa.Double(), nullable=True))
    op.create_index("models_chosen", "models", list(_CHOSEN))
    for name in ("dataset", "teacher"):
        op.drop_index(f"models_by_{name}", "models")
        op.create_index(f"models_by_{name}", "models", [f"{name}_id", "deleted_at"])
    _fill()


def _fill() -> None:
    card = sa.column("card", sa.JSON)
    columns = ("id", "kept", "origin", "image_size", *(f"measured_{name}" for name in _MEASURED))
    models = sa.table("models", *map(sa.column, columns))
    op.execute(
        sa.update(models).values(
            kept=card["kept"].as_string(),
            origin=card["origin"].as_string(),
            image_size=card["image_size"].as_integer(),
            **{f"measured_{name}": _latest(models, name) for name in _MEASURED},
        )
    )


def _latest(models: sa.TableClause, name: str) -> sa.ScalarSelect[float]:
    """Of the latest evaluation that is not in the bin; no robust accuracy where it is invalid."""
    of = ("job_id", "model_id", "at", "images", "light", *_MEASURED)
    measured = sa.table("measurements", *map(sa.column, of))
    jobs = sa.table("jobs", sa.column("id"), sa.column("deleted_at"))
    share = sa.cast(measured.c[name], sa.Double) / measured.c.images
    if name != "clean":
        share = sa.case((measured.c.light == "red", None), else_=share)
    return (
        sa.select(share)
        .join_from(measured, jobs, jobs.c.id == measured.c.job_id)
        .where(measured.c.model_id == models.c.id, jobs.c.deleted_at.is_(None))
        .order_by(measured.c.at.desc())
        .limit(1)
        .correlate(models)
        .scalar_subquery()
    )


def downgrade() -> None:
    for name in ("dataset", "teacher"):
        op.drop_index(f"models_by_{name}", "models")
        op.create_index(f"models_by_{name}", "models", [f"{name}_id"])
    op.drop_index("models_chosen", "models")
    for name in ("kept", "origin", "image_size", *(f"measured_{name}" for name in _MEASURED)):
        op.drop_column("models", name)
    op.drop_table("keys")
