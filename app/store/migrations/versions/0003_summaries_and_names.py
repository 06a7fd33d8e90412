"""evaluations have a summary, and models are found by name"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("summary", sa.JSON(), nullable=True))
    op.create_index("models_by_name", "models", ["name"], unique=False)


def downgrade() -> None:
    op.drop_index("models_by_name", "models")
    op.drop_column("jobs", "summary")
