"""owners of jobs, and who did what"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("owner_id", sa.String(32), nullable=True))
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.String(80), nullable=False),
        sa.Column("address", sa.String(80), nullable=False),
        sa.Column("what", sa.String(200), nullable=False),
        sa.Column("targets", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
    )


def downgrade() -> None:
    op.drop_table("audit")
    op.drop_column("jobs", "owner_id")
