"""jobs have parents"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in batch mode, which may copy the table: dropping the old one would drop its events too.
    op.add_column("jobs", sa.Column("parent_id", sa.String(length=32), nullable=True))
    op.create_index("jobs_by_parent", "jobs", ["parent_id", "created_at"], unique=False)


def downgrade() -> None:
    op.drop_index("jobs_by_parent", "jobs")
    op.drop_column("jobs", "parent_id")
