"""origins of models and datasets, where an index finds them; how long jobs should take"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INDEXES = {
    "jobs_by_kind": ("jobs", ["kind", "status", "created_at", "id"]),
    "datasets_by_age": ("datasets", ["deleted_at", "archived_at", "created_at"]),
    "datasets_by_checksum": ("datasets", ["checksum"]),
    "models_by_dataset": ("models", ["dataset_id"]),
    "models_by_teacher": ("models", ["teacher_id"]),
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("expected_s", sa.Double(), nullable=True))
    op.add_column("models", sa.Column("teacher_id", sa.String(length=32), nullable=True))
    op.add_column("datasets", sa.Column("checksum", sa.String(length=64), nullable=True))
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns, unique=False)
    models = sa.table("models", sa.column("teacher_id"), sa.column("card", sa.JSON))
    teacher = models.c.card[("teacher", "id")].as_string()
    op.execute(sa.update(models).values(teacher_id=teacher))
    datasets = sa.table("datasets", sa.column("checksum"), sa.column("report", sa.JSON))
    checksum = datasets.c.report["checksum"].as_string()
    op.execute(sa.update(datasets).values(checksum=checksum))


def downgrade() -> None:
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
    op.drop_column("datasets", "checksum")
    op.drop_column("models", "teacher_id")
    op.drop_column("jobs", "expected_s")
