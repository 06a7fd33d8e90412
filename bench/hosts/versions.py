"""Other versions of the code, beside this one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from app.settings import VERSION
from app.store.schema import LATEST
from bench.hosts.network import ROOT

_PARTS = ("app", "worker", "docs", "static", "templates")
_SCHEMA = f"{int(LATEST) + 1:04d}"
_MIGRATION = f'''"""what the next version knows of a job, and a table of its own"""

import sqlalchemy as sa
from alembic import op

revision = "{_SCHEMA}"
down_revision = "{LATEST}"
BESIDE = "Older code leaves both alone."


def upgrade() -> None:
    op.add_column("jobs", sa.Column("made_by", sa.Integer(), nullable=False, server_default="0"))
    op.create_table("releases", sa.Column("number", sa.Integer(), primary_key=True))
'''
_COLUMN = '    made_by: Mapped[int] = mapped_column(default=1, server_default="0")\n'


def committed(commit: str, folder: Path) -> Path:
    """The code of a commit, in a new folder."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


def following(folder: Path) -> Path:
    """A copy of this code, in a new folder, as the next version: with another number, and one more
    migration, which adds a column that it writes and reads with each job."""
    for part in _PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.py"), *ROOT.glob("*.md")):
        shutil.copy(file, folder)
    major, minor, _ = VERSION.split(".")
    _change(
        folder / "app/settings.py", r'^VERSION = ".*"', f'VERSION = "{major}.{int(minor) + 1}.0"'
    )
    after = r"^    release: Mapped\[int\] = .*\n"
    _change(folder / "app/store/tables.py", after, rf"\g<0>{_COLUMN}")
    (folder / f"app/store/migrations/versions/{_SCHEMA}_next.py").write_text(_MIGRATION)
    return folder


def _change(file: Path, what: str, into: str) -> None:
    text, count = re.subn(what, into, file.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{what} in {file}"
    file.write_text(text)
