"""what accounts need to be limited, disabled and signed in elsewhere"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("disabled_at", sa.Double(), nullable=True))
    generation = sa.Column("generation", sa.Integer(), nullable=False, server_default="0")
    op.add_column("users", generation)
    op.add_column("users", sa.Column("subject", sa.String(500), nullable=True))
    op.create_index("users_by_subject", "users", ["subject"], unique=True)
    op.add_column("uploads", sa.Column("owner_id", sa.String(32), nullable=True))
    op.create_index("jobs_by_owner", "jobs", ["owner_id"])


def downgrade() -> None:
    op.drop_index("jobs_by_owner", "jobs")
    op.drop_column("uploads", "owner_id")
    op.drop_index("users_by_subject", "users")
    for name in ("subject", "generation", "disabled_at"):
        op.drop_column("users", name)
