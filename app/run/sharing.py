"""`python -m app share`: what a lab of one machine keeps goes into the storage of several.

Files are copied, and the data folder stays as it is. What is there already is not sent again, so
that a run which was interrupted goes on.
"""

from __future__ import annotations

from app.errors import StorageAway, WrongSchema
from app.run import checks
from app.run.checks import CannotStart
from app.run.lines import announce
from app.store import catalogue
from app.store.db import Database
from app.store.files import Files
from app.store.shared_files import SharedFiles, files_of

_PATIENCE_S = 60.0


def main() -> int:
    """The exit code. Raises CannotStart."""
    settings = checks.read_settings()
    if settings.storage_url is None:
        raise CannotStart("LAB_STORAGE_URL says where to share files, and is not set")
    checks.check_storage(settings)
    checks.lock(settings.data_dir)
    database = Database(settings.sql_url)
    shared = files_of(settings, database, patience_s=_PATIENCE_S)
    assert isinstance(shared, SharedFiles)
    here = Files(settings.data_dir)
    here.prepare()
    try:
        database.migrate()
        count = _copy(here, shared, catalogue.named_files(database))
    except (StorageAway, WrongSchema, OSError) as error:
        raise CannotStart(f"it is not done: {str(error).rstrip('.')}; give it again") from None
    finally:
        database.close()
    announce(f"{count:,} files are in the storage of LAB_STORAGE_URL.")
    return 0


def _copy(here: Files, shared: SharedFiles, named: dict[str, set[str]]) -> int:
    return sum(
        len(shared.take(path, path.relative_to(here.root).as_posix())) for path in here.named(named)
    )
