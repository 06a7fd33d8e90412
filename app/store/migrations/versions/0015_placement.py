"""which worker runs which job, and which it may not"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_COUNTS = ("priority", "needs_gpus", "needs_memory_mb", "release")


def upgrade() -> None:
    for name in _COUNTS:
        column = sa.Column(name, sa.Integer(), nullable=False, server_default="0")
        op.add_column("jobs", column)
    op.add_column("jobs", sa.Column("worker", sa.String(100), nullable=True))
    for name in ("claimed_at", "returned_at"):
        op.add_column("jobs", sa.Column(name, sa.Double(), nullable=True))
    op.execute("UPDATE jobs SET claimed_at = started_at")
    op.create_index(
        "jobs_waiting",
        "jobs",
        [
            "status", "queue", "priority", "owner_id", "parent_id", "started_at", "created_at",
            "id", "kind", "needs_gpus", "needs_memory_mb", "release", "returned_at",
        ],
    )  # fmt: skip
    op.create_index(
        "jobs_worked",
        "jobs",
        ["queue", "finished_at", "owner_id", "parent_id", "claimed_at"],
    )
    op.create_table(
        "drains",
        sa.Column("worker", sa.String(100), primary_key=True),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("drains")
    for name in ("jobs_worked", "jobs_waiting"):
        op.drop_index(name, "jobs")
    for name in ("returned_at", "claimed_at", "worker", *reversed(_COUNTS)):
        op.drop_column("jobs", name)
