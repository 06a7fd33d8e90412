"""ends of jobs are announced"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("announced_at", sa.Double(), nullable=True))
    op.create_index("jobs_to_announce", "jobs", ["announced_at", "finished_at", "id"], unique=False)
    op.create_table(
        "webhook",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("webhook")
    op.drop_index("jobs_to_announce", "jobs")
    op.drop_column("jobs", "announced_at")
