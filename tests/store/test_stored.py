"""Rows say what lies in storage."""

from __future__ import annotations

import threading
import time

from app.store import stored
from app.store.db import Database

JOB, DATASET = "a" * 32, "b" * 32


def put(database: Database, folder: str, *files: str, sum_: str = "0", size: int = 1) -> None:
    rows = [stored.row(f"{folder}/{file}".rstrip("/"), sum_ * 64, size) for file in files]
    stored.replace(database, folder, rows)


def names(rows: list[stored.StoredRow]) -> list[str]:
    return [row.name for row in rows]


def test_a_folder_is_what_was_stored_last_and_nothing_beside_it(database: Database) -> None:
    put(database, f"checkpoints/{JOB}/1", "best-1.pt", "last.pt")
    put(database, f"checkpoints/{JOB}/11", "last.pt")
    put(database, f"checkpoints/{JOB}/1", "best-2.pt", "last.pt", sum_="1")
    inside = stored.under(database, f"checkpoints/{JOB}/1")
    assert names(inside) == [f"checkpoints/{JOB}/1/{name}" for name in ("best-2.pt", "last.pt")]
    assert {row.sha256 for row in inside} == {"1" * 64}
    gone = stored.replace(database, f"checkpoints/{JOB}", ())
    assert len(gone) == 3
    assert stored.under(database, f"checkpoints/{JOB}") == []


def test_files_are_found_by_what_they_belong_to(database: Database) -> None:
    put(database, f"results/{JOB}-1.json", "", size=3 * 2**30)
    put(database, f"adversarial/{JOB}-1", "x.npz", size=2)
    put(database, f"datasets/{DATASET}", "dataset.json", size=5)
    of_job = {f"results/{JOB}-1.json", f"adversarial/{JOB}-1"}
    assert set(stored.places_of(database, JOB)) == of_job
    assert stored.in_room(database, "datasets") == {DATASET}
    assert stored.sizes(database) == {JOB: 3 * 2**30 + 2, DATASET: 5}
    assert len(stored.sums(database)) == 3
    places = {*of_job, f"datasets/{DATASET}"}
    assert set(stored.old_places(database, time.time() + 1)) == places
    assert list(stored.old_places(database, time.time() - 100)) == []


def test_processes_that_store_the_same_at_once_leave_it_once(database: Database) -> None:
    threads = [
        threading.Thread(target=put, args=(database, f"models/{DATASET}.safetensors", ""))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(stored.under(database, f"models/{DATASET}.safetensors")) == [
        f"models/{DATASET}.safetensors"
    ]
