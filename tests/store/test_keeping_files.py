"""What is kept is there for every machine, whole and as it was: on a disk, and in a storage."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.contracts.access import Held
from app.errors import Damaged, StorageAway
from app.run import checks, sharing
from app.run.checks import CannotStart
from app.services.lab import Lab
from app.settings import Settings
from app.store import cache, catalogue, shared_files
from app.store.bucket import Bucket
from app.store.cache import Cache
from app.store.db import Database
from app.store.files import Files, atomic_write, changed
from app.store.shared_files import SharedFiles, files_of
from app.store.tables import UploadRow
from tests.plugins import migrated
from tests.plugins.storage import CREDENTIALS, S3Server, away

JOB, MODEL, DATASET = "a" * 32, "b" * 32, "c" * 32


@dataclass
class Site:
    """Machines with one database; `another` opens one more."""

    database: Database
    another: Callable[[], Files]


@pytest.fixture(params=["disk", pytest.param("storage", marks=pytest.mark.storage)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    url = migrated.lay_out(tmp_path / "data")
    database = Database(url)
    facts: dict[str, object] = {"database_url": url, "cache_mb": 1}
    if request.param == "storage":
        facts["storage_url"] = request.getfixturevalue("s3").folder()
    numbers: Iterator[int] = iter(range(100))

    def another() -> Files:
        # Two processes of one machine where files are on its disk, else two machines.
        own = "data" if request.param == "disk" else f"machine-{next(numbers)}"
        settings = Settings.model_validate({"data_dir": tmp_path / own, **facts})
        opened = files_of(settings, database, patience_s=0)
        opened.prepare()
        return opened

    return Site(database, another)


def written(path: Path, data: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        stream.write(data)
    return path


def test_what_one_machine_keeps_another_reads(site: Site) -> None:
    here, there = site.another(), site.another()
    here.keep(written(here.weights(MODEL)))
    for machine in (here, there):
        path = machine.weights(MODEL)
        assert machine.has(path)
        assert machine.here(path).read_bytes() == b"weights"
        assert machine.here(path).suffix == Held.WEIGHTS


def test_a_folder_is_kept_whole_and_read_whole_or_file_by_file(site: Site) -> None:
    here, there = site.another(), site.another()
    folder = here.dataset(DATASET)
    arrays = {"train_images.npy": b"1" * 1000, "test_labels.npy": b"2", "dataset.json": b"{}"}
    for name, data in arrays.items():
        written(folder / name, data)
    here.keep(folder)
    assert there.here(there.dataset(DATASET) / "test_labels.npy").read_bytes() == b"2"
    found = there.here(there.dataset(DATASET))
    assert {path.name: path.read_bytes() for path in found.iterdir()} == arrays


def test_what_is_not_there_is_missing_as_a_file_is(site: Site) -> None:
    files = site.another()
    path = files.result(f"{JOB}-1")
    assert not files.has(path)
    assert not files.here(path).exists()
    files.drop(path)


def test_what_is_dropped_is_gone_everywhere(site: Site) -> None:
    here, there = site.another(), site.another()
    for machine, path in ((here, here.weights(MODEL)), (there, there.dataset(DATASET))):
        written(path if machine is here else path / "dataset.json")
        machine.keep(path)
    there.drop(there.weights(MODEL))
    here.drop(here.dataset(DATASET))
    for machine in (here, there, site.another()):
        for path in (machine.weights(MODEL), machine.dataset(DATASET)):
            assert not machine.has(path)
            assert not machine.here(path).exists()


def test_an_empty_evaluation_keeps_nothing(site: Site) -> None:
    files = site.another()
    files.keep(files.adversarial(f"{JOB}-1"))
    assert not files.has(files.adversarial(f"{JOB}-1"))


def test_a_checkpoint_is_replaced_whole_and_its_maker_goes_on_with_its_own(site: Site) -> None:
    here, there = site.another(), site.another()
    own = here.checkpoints(JOB) / "1"
    for best, last in ((1, b"first"), (2, b"second")):
        written(own / f"best-{best}.pt", b"best")
        written(own / "last.pt", last)
        (own / "best-1.pt").unlink() if best == 2 else None
        here.keep(own)
    assert (own / "last.pt").read_bytes() == b"second"
    found = there.here(there.checkpoints(JOB)) / "1"
    assert {p.name: p.read_bytes() for p in found.iterdir()} == {
        "best-2.pt": b"best",
        "last.pt": b"second",
    }
    assert there.has_checkpoint(JOB)
    assert there.with_checkpoints() == {JOB}
    assert {path.name for path in there.attempts(JOB)} == {"1"}


def test_sizes_are_counted_by_what_files_belong_to(site: Site) -> None:
    files = site.another()
    files.keep(written(files.weights(MODEL), b"x" * 100))
    files.keep(written(files.result(f"{JOB}-1"), b"x" * 10))
    written(files.checkpoints(JOB) / "1" / "last.pt", b"x" * 5)
    files.keep(files.checkpoints(JOB) / "1")
    for ids, size in (({MODEL}, 100), ({JOB}, 15), ({MODEL, JOB, "f" * 32}, 115)):
        assert files.used_by(str(ids), lambda of=ids: of) == size


def test_what_attempts_left_is_found_by_their_job(site: Site) -> None:
    files = site.another()
    files.keep(written(files.result(f"{JOB}-1")))
    written(files.adversarial(f"{JOB}-2") / f"{MODEL}.npz")
    files.keep(files.adversarial(f"{JOB}-2"))
    left = {files.result(f"{JOB}-1"), files.adversarial(f"{JOB}-2")}
    assert set(files.left_by(JOB)) == left
    for path in left:
        files.drop(path)
    assert list(files.left_by(JOB)) == []
    assert not files.has(files.result(f"{JOB}-1"))


def test_what_no_row_names_goes_after_a_day(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    files = site.another()
    named = written(files.weights(MODEL))
    forgotten = written(files.weights(JOB))
    files.keep(named)
    files.keep(forgotten)
    names = {"models": {MODEL}, "datasets": set[str]()}
    assert list(files.unnamed(names)) == []
    in_a_day = time.time() + 25 * 3600
    monkeypatch.setattr(time, "time", lambda: in_a_day)
    assert list(files.unnamed(names)) == [forgotten]


@pytest.fixture
def shared(s3: S3Server, tmp_path: Path) -> Iterator[Callable[..., SharedFiles]]:
    """Machines that share a folder of a bucket, each with a name of its own."""
    url = migrated.lay_out(tmp_path / "sql")
    database, folder = Database(url), s3.folder()

    def machine(name: str, patience_s: float = 30, **facts: object) -> SharedFiles:
        settings = Settings.model_validate(
            {"data_dir": tmp_path / name, "database_url": url, "storage_url": folder, **facts}
        )
        opened = files_of(settings, database, patience_s=patience_s)
        assert isinstance(opened, SharedFiles)
        opened.prepare()
        return opened

    yield machine
    database.close()


def bucket_of(files: SharedFiles) -> Bucket:
    return files._bucket


@pytest.mark.storage
def test_another_object_than_was_stored_is_an_error_and_no_figure(
    shared: Callable[..., SharedFiles], tmp_path: Path
) -> None:
    here, there = shared("here"), shared("there")
    here.keep(written(here.weights(MODEL)))
    ((key, _),) = bucket_of(here).listed()
    bucket_of(here).put(written(tmp_path / "other", b"WEIGHTS"), key)
    with pytest.raises(Damaged, match="not the file that was stored"):
        there.here(there.weights(MODEL))
    assert not list((there.root / "copies").glob("*/*.safetensors"))


@pytest.mark.storage
def test_large_files_go_in_parts_and_come_back_as_they_were(
    shared: Callable[..., SharedFiles],
) -> None:
    here, there = shared("here"), shared("there")
    data = os.urandom(20 * 2**20)
    here.keep(written(here.upload(JOB), data))
    assert not here.upload(JOB).exists()
    assert there.here(there.upload(JOB)).read_bytes() == data


@pytest.mark.storage
def test_a_torn_upload_is_seen_by_nobody_and_goes_after_a_day(
    shared: Callable[..., SharedFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shared("here")
    monkeypatch.setattr(shared_files.stored, "replace", _killed)
    with pytest.raises(KeyboardInterrupt):
        here.keep(written(here.weights(MODEL)))
    monkeypatch.undo()
    assert not here.has(here.weights(MODEL))
    here.tidy()
    assert len(list(bucket_of(here).listed())) == 1
    in_a_day = time.time() + 25 * 3600
    monkeypatch.setattr(time, "time", lambda: in_a_day)
    here.tidy()
    assert list(bucket_of(here).listed()) == []


@pytest.mark.storage
def test_parts_of_what_was_never_finished_go_by_their_age(
    shared: Callable[..., SharedFiles],
) -> None:
    bucket = bucket_of(shared("here"))
    bucket._ask("create_multipart_upload", Key=bucket._below("models/torn"))
    ((torn,),) = [bucket._ask("list_multipart_uploads")["Uploads"]]
    begun = torn["Initiated"].timestamp()
    for before, left in ((begun - 1, 1), (begun + 1, 0)):
        bucket.drop_torn(before)
        assert len(bucket._ask("list_multipart_uploads").get("Uploads", ())) == left


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.storage
def test_copies_take_no_more_than_they_may_but_for_those_in_use(
    shared: Callable[..., SharedFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = shared("here"), shared("there", cache_mb=1)
    monkeypatch.setattr(cache, "_APART_S", 0)
    ids = [letter * 32 for letter in "abcdef"]
    for id_ in ids:
        here.keep(written(here.weights(id_), id_.encode() * (300 * 2**10 // 32)))
    for number, id_ in enumerate(ids):
        entry = there.here(there.weights(id_)).parent
        used = time.time() - cache.IN_USE_S - 100 + number if number < 4 else time.time()
        os.utime(entry, (used, used))
    kept = {path.name[:1] for path in (there.root / "copies").glob("*/*.safetensors")}
    assert kept == {"d", "e", "f"}
    assert there.here(there.weights(ids[0])).read_bytes()[:1] == b"a"


@pytest.mark.storage
def test_threads_that_want_the_same_copy_fetch_it_once(
    shared: Callable[..., SharedFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = shared("here"), shared("there")
    here.keep(written(here.weights(MODEL), os.urandom(2**20)))
    fetched: list[object] = []
    get = Bucket.get
    monkeypatch.setattr(Bucket, "get", lambda self, *args: (fetched.append(args), get(self, *args)))
    threads = [threading.Thread(target=there.here, args=(there.weights(MODEL),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1


def test_a_copy_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    made = Cache(tmp_path, 2**20)
    made.prepare()

    def torn(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        made.get("ab" * 32, torn)
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]


@pytest.mark.storage
def test_a_storage_that_is_away_says_so_and_nothing_secret(
    shared: Callable[..., SharedFiles], s3: S3Server, tmp_path: Path
) -> None:
    here = shared("here", 0, storage_url="s3://lab/x?endpoint=http://127.0.0.1:9")
    with pytest.raises(StorageAway, match="does not answer") as said:
        here.keep(written(here.weights(MODEL)))
    assert here.trouble() == said.value.detail
    assert not any(secret in said.value.detail for secret in CREDENTIALS.values())
    assert here.weights(MODEL).exists()  # and can be kept later
    nowhere = shared("there", storage_url=f"s3://nobody/x?endpoint={s3.url}")
    assert "no bucket" in str(nowhere.trouble())


@pytest.mark.storage
def test_a_storage_that_hangs_is_said_soon(
    s3: S3Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To whoever asks the web: within about three seconds at rest, whatever a transfer may take."""
    monkeypatch.setattr("app.store.bucket._READ_S", 120)
    facts = {"storage_url": s3.folder(), "database_url": settings.sql_url}
    here = Lab.open(settings.model_copy(update=facts))
    there = Lab.open(settings.model_copy(update={**facts, "data_dir": tmp_path / "there"}))
    here.files.keep(written(here.files.weights(MODEL)))
    file = written(there.files.weights(JOB))
    with away(s3):
        for ask in (
            lambda: there.files.here(there.files.weights(MODEL)),
            lambda: there.files.keep(file),
        ):
            came = time.monotonic()
            with pytest.raises(StorageAway, match="does not answer"):
                ask()
            assert time.monotonic() - came < 60
        came = time.monotonic()
        assert "does not answer" in str(there.files.trouble())
        there.files.drop(there.files.weights(MODEL))
        assert time.monotonic() - came < 60
    here.close()
    there.close()


@pytest.mark.storage
def test_who_is_patient_goes_on_when_the_storage_comes_back(
    shared: Callable[..., SharedFiles], s3: S3Server
) -> None:
    here = shared("here")
    back = threading.Timer(0.5, s3.go_on)
    with away(s3):
        back.start()
        here.keep(written(here.weights(MODEL)))
    assert here.has(here.weights(MODEL))


@pytest.mark.storage
def test_what_the_scratch_of_a_killed_worker_holds_goes_after_a_day(
    shared: Callable[..., SharedFiles],
) -> None:
    here = shared("here")
    old, young = written(here.weights(MODEL)), written(here.weights(JOB))
    os.utime(old, (0, 0))
    here.prepare()
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.storage
def test_a_process_that_begins_is_not_stopped_by_what_another_is_done_with(
    shared: Callable[..., SharedFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job's process looks through the scratch of its machine, where others write."""
    here = shared("here")
    done = written(here.weights(MODEL))

    def late(path: Path) -> float:
        done.unlink(missing_ok=True)
        return changed(path)

    monkeypatch.setattr(shared_files, "changed", late)
    old = written(here.weights(JOB))
    os.utime(old, (0, 0))
    shared("here")
    assert not old.exists()


def test_a_copy_is_whole_or_gone_and_stays_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever another process of this machine clears away."""
    mine, other = Cache(tmp_path, 10), Cache(tmp_path, 10)
    keys = ["ab" * 32, "cd" * 32]

    def fill(folder: Path) -> None:
        for name in ("images", "labels"):
            (folder / name).write_bytes(b"x" * 100)

    mine.prepare()
    for key in keys:
        os.utime(mine.get(key, fill), (1.0, 1.0))
    looked = cache.size_of

    def slowly(entry: os.DirEntry[str]) -> int:
        if Path(entry.path).parent == tmp_path:
            mine.get(keys[0], fill)  # somebody reads it by now
        return looked(entry)

    def stops(path: Path) -> None:
        assert not (tmp_path / keys[1]).exists(), "nobody is given half of it"

    monkeypatch.setattr(cache, "size_of", slowly)
    monkeypatch.setattr(cache, "remove", stops)
    other.prepare()
    assert (tmp_path / keys[0] / "labels").exists()
    assert not (tmp_path / keys[1]).exists()
    mine.forget(keys[0])
    assert sorted(path.name for path in mine.get(keys[0], fill).iterdir()) == ["images", "labels"]


@pytest.mark.storage
def test_a_lab_of_one_machine_moves_into_a_storage(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url, folder = migrated.lay_out(tmp_path / "data"), s3.folder()
    alone, database = Files(tmp_path / "data"), Database(url)
    alone.prepare()
    written(alone.upload(JOB), b"archive")
    written(alone.upload(MODEL), b"nobody's")
    row = UploadRow(id=JOB, filename="x", sha256="", size_bytes=7, created_at=time.time())
    catalogue.add_upload(database, row)
    monkeypatch.setattr(checks, "lock", lambda _: 0)  # which a process holds to its end
    monkeypatch.setenv("LAB_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(CannotStart, match="LAB_STORAGE_URL"):
        sharing.main()
    monkeypatch.setenv("LAB_STORAGE_URL", folder)
    for _ in range(2):  # the second time there is nothing to send
        assert sharing.main() == 0
    assert "1 files are in the storage" in capfd.readouterr().out
    shared = files_of(
        Settings(data_dir=tmp_path / "other", storage_url=folder), database, patience_s=0
    )
    shared.prepare()
    assert shared.here(shared.upload(JOB)).read_bytes() == b"archive"
    assert not shared.has(shared.upload(MODEL))
    assert alone.upload(JOB).exists()
    database.close()


@pytest.mark.storage
def test_a_storage_that_cannot_be_used_stops_the_start_with_a_line(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks.check_storage(Settings(data_dir=tmp_path))
    checks.check_storage(Settings(data_dir=tmp_path, storage_url=s3.folder()))
    for url, said in (
        (f"s3://nobody?endpoint={s3.url}", "There is no bucket of the storage s3://nobody at"),
        ("s3://lab?endpoint=http://127.0.0.1:9", "does not answer"),
    ):
        with pytest.raises(CannotStart, match=said):
            checks.check_storage(Settings(data_dir=tmp_path, storage_url=url))
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CannotStart, match=r"no credentials .* AWS_SHARED_CREDENTIALS_FILE"):
        checks.check_storage(Settings(data_dir=tmp_path, storage_url=s3.folder()))
    secrets = tmp_path / "credentials"
    secrets.write_text("[default]\naws_access_key_id = k\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secrets))
    checks.check_storage(Settings(data_dir=tmp_path, storage_url=s3.folder()))


def test_a_storage_without_its_package_stops_the_start_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.bucket, "is_installed", lambda: False)
    with pytest.raises(CannotStart, match=r"pip install '.\[storage\]'"):
        checks.check_storage(Settings(data_dir=tmp_path, storage_url="s3://lab"))
