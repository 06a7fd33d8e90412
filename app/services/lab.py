"""The parts of the lab that services work with, opened once a process."""

from __future__ import annotations

from dataclasses import dataclass

from app.queue import Broker
from app.settings import Settings
from app.store import shipped, showcase
from app.store.db import Database
from app.store.files import Files, keep_private
from app.store.losses import Leases
from app.store.shared_files import files_of
from app.store.showcase import Shown

_LOCKED_S, _AWAY_S, _ANSWERS_S = 5.0, 2.0, 2.5
"""Who asks the web hears after so long that the database is locked, and that the storage is away or
hangs."""


@dataclass(frozen=True)
class Lab:
    settings: Settings
    database: Database
    files: Files
    broker: Broker
    shown: Shown | None
    """The showcase of the models that come with the code."""
    leases: Leases

    @classmethod
    def open(cls, settings: Settings) -> Lab:
        """Connect to everything, and register the models that come with the code.

        Raises OSError where the data folder cannot be written.
        """
        keep_private(settings.data_dir)
        database = Database(settings.sql_url, patience_s=_LOCKED_S)
        database.migrate()
        files = files_of(settings, database, patience_s=_AWAY_S, answers_s=_ANSWERS_S)
        files.prepare()
        shipped.register(database, files, settings.shipped_dir)
        shown = showcase.find(settings.shipped_dir)
        return cls(settings, database, files, Broker(settings), shown, Leases(settings.lease_s))

    def close(self) -> None:
        self.broker.close()
        self.database.close()
