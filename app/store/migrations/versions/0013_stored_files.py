"""files in a storage that machines share"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored",
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("place", sa.String(120), nullable=False),
        sa.Column("thing", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.Double(), nullable=False),
    )
    op.create_index("stored_by_place", "stored", ["place"])
    op.create_index("stored_by_thing", "stored", ["thing"])


def downgrade() -> None:
    op.drop_table("stored")
