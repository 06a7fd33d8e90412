"""texts of jobs and models in small letters, so that a search compares only"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

BESIDE = "Older code neither reads nor writes `searched`: the database makes it of the texts."

_TEXTS = {
    "jobs": "title || '\n' || name || '\n' || note",
    "models": "name || '\n' || note",
}


def upgrade() -> None:
    # SQLite adds no stored column to a table, and PostgreSQL before 18 has no other.
    kept = "STORED" if op.get_context().dialect.name == "postgresql" else "VIRTUAL"
    for table, texts in _TEXTS.items():
        made = f"GENERATED ALWAYS AS (lower({texts})) {kept}"
        op.execute(f"ALTER TABLE {table} ADD COLUMN searched TEXT {made}")


def downgrade() -> None:
    for table in _TEXTS:
        op.drop_column(table, "searched")
