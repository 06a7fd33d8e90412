"""which evaluation a model stands on the board by, and long lists in the order of figures"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_SHOWN = """
    UPDATE measurements SET standing = 1 WHERE goal != 'class'
    AND EXISTS (
        SELECT 1 FROM jobs WHERE jobs.id = measurements.job_id
        AND jobs.deleted_at IS NULL AND jobs.archived_at IS NULL
    )
    AND EXISTS (
        SELECT 1 FROM models WHERE models.id = measurements.model_id
        AND models.deleted_at IS NULL AND models.archived_at IS NULL
    )
"""
_STRONGEST = """
    UPDATE measurements SET standing = 2 WHERE (job_id, position) IN (
        SELECT job_id, position FROM (
            SELECT job_id, position, row_number() OVER (
                PARTITION BY model_id, dataset_sha256, norm, epsilon, goal
                ORDER BY coalesce(light, '') = 'red', autoattack IS NULL, images DESC, at DESC
            ) AS place FROM measurements WHERE standing = 1
        ) AS placed WHERE place = 1
    )
"""
_LISTED = {
    "jobs": "parent_id IS NULL AND deleted_at IS NULL AND archived_at IS NULL",
    "models": "deleted_at IS NULL AND archived_at IS NULL",
}
_FIGURES = [
    *(("jobs", name) for name in ("clean", "robust", "autoattack")),
    *(("models", f"measured_{name}") for name in ("clean", "robust", "autoattack")),
]


def upgrade() -> None:
    op.add_column(
        "measurements", sa.Column("standing", sa.Integer(), nullable=False, server_default="0")
    )
    op.execute(_SHOWN)
    op.execute(_STRONGEST)
    op.drop_index("measurements_by_threat", "measurements")
    op.create_index(
        "measurements_on_board",
        "measurements",
        [
            "standing", "dataset_sha256", "norm", "epsilon", "goal", "light", "robust", "clean",
            "images", "at", "job_id", "position", "dataset_name",
        ],
    )  # fmt: skip
    for table, name in _FIGURES:
        order = f"({name} IS NULL)", f"{name} DESC", "created_at DESC", "id DESC"
        where = sa.text(_LISTED[table])
        op.create_index(
            f"{table}_by_{name}",
            table,
            [sa.text(each) for each in order],
            postgresql_where=where,
            sqlite_where=where,
        )


def downgrade() -> None:
    for table, name in _FIGURES:
        op.drop_index(f"{table}_by_{name}", table)
    op.drop_index("measurements_on_board", "measurements")
    op.create_index(
        "measurements_by_threat",
        "measurements",
        ["dataset_sha256", "norm", "epsilon", "goal", "at"],
    )
    op.drop_column("measurements", "standing")
