"""The parts of the lab that services work with, opened once a process."""

from __future__ import annotations

from dataclasses import dataclass

from app.queue import Broker
from app.settings import Settings
from app.store import shipped
from app.store.db import Database
from app.store.files import Files


@dataclass(frozen=True)
class Lab:
    settings: Settings
    database: Database
    files: Files
    broker: Broker

    @classmethod
    def open(cls, settings: Settings) -> Lab:
        """Connect to everything, and register the models that come with the code.

        Raises OSError where the data folder cannot be written.
        """
        files = Files(settings.data_dir)
        files.prepare()
        database = Database(settings.sql_url)
        database.migrate()
        shipped.register(database, files, settings.shipped_dir)
        return cls(settings, database, files, Broker(settings))

    def close(self) -> None:
        self.broker.close()
        self.database.close()
