"""What the lab has written down in the end, against what was asked of it: nothing lost, nothing
twice, nothing held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contracts.storage import Storage
from app.store.bucket import Bucket
from app.store.db import Database
from app.store.tables import DatasetRow, EventRow, JobRow, ModelRow, ShardRow, StoredRow
from bench.hosts.site import Site


def settled(lab: Site, database: Database, submitted: Mapping[str, str]) -> list[str]:
    """What is wrong with a lab that has done all; empty where nothing is."""
    lab.until(lambda: (lab.ask("/api/health") or {}).get("ok"), "a lab that is well")
    found = wrong(database, submitted)
    there = objects(database, lab.storage_url)
    print(f"objects of the storage: {dict(there)}")
    if there["missing"]:
        found.append(f"{there['missing']} objects that rows name are not there")
    return found + [f"{each} ended" for each in lab.dead()]


def wrong(database: Database, submitted: Mapping[str, str]) -> list[str]:
    """In words; empty where all is right. `submitted`: kinds by the ids of jobs."""
    with database.reading() as session:
        return [*_of_jobs(session, submitted), *_left(session)]


def _of_jobs(session: Session, submitted: Mapping[str, str]) -> Iterator[str]:
    rows = {row.id: row for row in session.scalars(select(JobRow))}
    for job in rows.keys() ^ submitted.keys():
        yield f"job {job} was {'never asked for' if job in rows else 'lost'}"
    for job in rows.keys() & submitted.keys():
        row = rows[job]
        if row.status != "succeeded" or row.lease_until is not None or row.result_file is None:
            yield f"job {job}: {row.status}, lease {row.lease_until}, result {row.result_file}"
        found = session.execute(
            select(EventRow.seq, EventRow.type, EventRow.body)
            .where(EventRow.job_id == job).order_by(EventRow.seq)
        ).all()  # fmt: skip
        ends = sum(each.type == "state" and each.body["status"] == "succeeded" for each in found)
        # A live attack's preview goes with its end.
        gaps = row.last_event - len(found)
        if ends != 1 or gaps > (submitted[job] == "explain"):
            yield f"job {job}: {ends} ends, {gaps} of {row.last_event} events missing"
        yield from _made(session, job, submitted[job])
        kept = select(StoredRow.name).where(
            StoredRow.thing == job, StoredRow.place.startswith("results/")
        )
        if (there := session.scalars(kept).all()) != [f"results/{row.result_file}"]:
            yield f"job {job}, a {row.kind}: results {there}, and its own is {row.result_file}"


def _made(session: Session, job: str, kind: str) -> Iterator[str]:
    """An import leaves a dataset; a training its best model, and its last where that is another."""
    datasets = select(func.count()).select_from(DatasetRow).where(DatasetRow.job_id == job)
    if (there := session.scalar(datasets)) != (kind == "import"):
        yield f"job {job}: {there} datasets"
    kept = session.scalars(select(ModelRow.kept).where(ModelRow.job_id == job)).all()
    if len(kept) != len({*kept}) or ("best" in kept) is not (kind == "train"):
        yield f"job {job}: models {kept}"


def _left(session: Session) -> Iterator[str]:
    if shards := session.scalar(select(func.count()).select_from(ShardRow)):
        yield f"{shards} parts of evaluations are left"


def objects(database: Database, url: str) -> Counter[str]:
    """Objects of the storage: `named` by a row, `unnamed` by any (the web removes these after a
    day), and `missing` though a row names them."""
    bucket = Bucket(Storage.of(url), patience_s=5.0)
    there = {key for key, _ in bucket.listed()}
    with database.reading() as session:
        rows = session.execute(select(StoredRow.name, StoredRow.sha256)).all()
    named = {f"{row.name}.{row.sha256}" for row in rows}
    return Counter(named=len(there & named), unnamed=len(there - named), missing=len(named - there))
