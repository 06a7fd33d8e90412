"""The models in the box: registered once, checked, and gone for good once they are deleted."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from app.contracts.params import Recipe, TrainParams
from app.contracts.results import Accuracy, Environment, Lineage, ModelCard
from app.store import catalogue, marks
from app.store.db import Database
from app.store.files import Files
from app.store.shipped import SUMS, id_of, listed, read_card, register
from app.store.tables import ModelRow

DATASET = "d" * 32
WEIGHTS = {"a-student": b"the student's weights", "teacher": b"the teacher's"}


def card(name: str, **values: object) -> ModelCard:
    return ModelCard(
        name=name, architecture="wrn-10-2", parameters=9, classes=("cat", "dog"), image_size=32,
        dataset=Lineage(id=DATASET, name="Pets", sha256="0" * 64), teacher=None,
        params=TrainParams(name=name, dataset=DATASET, recipe=Recipe.CLEAN), origin="shipped",
        selection="Best.", epoch=1, validation_clean=Accuracy.of(7, 10), validation_robust=None,
        environment=Environment(code_version="1", torch="2", device="cpu", threads=1, seconds=1),
    ).model_copy(update=values)  # fmt: skip


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fill(folder: Path, **cards: ModelCard) -> Path:
    """A box with the two models."""
    folder.mkdir(exist_ok=True)
    lines = []
    for slug, data in WEIGHTS.items():
        (folder / f"{slug}.safetensors").write_bytes(data)
        text = cards.get(slug, card(slug)).model_dump_json(indent=2).encode()
        (folder / f"{slug}.json").write_bytes(text)
        lines += [f"{sha(text)}  {slug}.json", f"{sha(data)}  {slug}.safetensors"]
    (folder / SUMS).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return fill(tmp_path / "box")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    opened = Files(tmp_path / "data")
    opened.prepare()
    return opened


def names(database: Database, *, deleted: bool = False) -> list[str]:
    return [row.name for row in catalogue.models(database, deleted=deleted)[0]]


def id_in(box: Path, slug: str) -> str:
    return next(shipped.id for shipped in listed(box) if shipped.slug == slug)


def test_a_new_lab_has_the_models_in_the_order_of_the_box(
    database: Database, files: Files, box: Path
) -> None:
    register(database, files, box)
    rows, total = catalogue.models(database)
    assert (total, [row.name for row in rows]) == (2, list(WEIGHTS))
    for row in rows:
        data = WEIGHTS[row.name]
        assert (row.id, row.sha256, row.size_bytes) == (id_of(sha(data)), sha(data), len(data))
        assert files.weights(row.id).read_bytes() == data
        assert ModelCard.model_validate(row.card) == card(row.name)
        assert (row.job_id, row.dataset_id, row.deleted_at) == (None, None, None)


def test_another_start_changes_nothing(database: Database, files: Files, box: Path) -> None:
    register(database, files, box)
    before = [(row.id, row.created_at) for row in catalogue.models(database)[0]]
    register(database, files, box)
    assert [(row.id, row.created_at) for row in catalogue.models(database)[0]] == before


def test_the_same_weights_measured_again_bring_a_new_card(
    database: Database, files: Files, box: Path
) -> None:
    register(database, files, box)
    fill(box, teacher=card("teacher", epoch=5))
    register(database, files, box)
    row = catalogue.model(database, id_in(box, "teacher"))
    assert row is not None
    assert row.card["epoch"] == 5
    assert catalogue.models(database)[1] == 2


def test_a_name_that_its_user_gave_stays(database: Database, files: Files, box: Path) -> None:
    register(database, files, box)
    marks.change(database, ModelRow, [id_in(box, "teacher")], {"name": "Mine"})
    register(database, files, box)
    assert "Mine" in names(database)


def test_what_was_deleted_stays_deleted_and_can_come_back_from_the_bin(
    database: Database, files: Files, box: Path
) -> None:
    register(database, files, box)
    gone = id_in(box, "teacher")
    marks.put_in_bin(database, ModelRow, [gone])
    with database.writing() as session:
        session.execute(update(ModelRow).values(deleted_at=ModelRow.deleted_at - 1e8))
    assert catalogue.drop_binned_models(database, older_than_s=1e6) == []
    register(database, files, box)
    assert (names(database), names(database, deleted=True)) == (["a-student"], ["teacher"])
    marks.take_out_of_bin(database, ModelRow, [gone])
    assert names(database) == list(WEIGHTS)
    assert files.weights(gone).exists()


def test_own_models_leave_the_bin_after_their_time(database: Database, files: Files) -> None:
    without_origin = card("old").model_dump(mode="json", exclude={"origin"})
    for number, body in enumerate((without_origin, without_origin | {"origin": "trained"})):
        row = ModelRow(
            id=f"{number:032d}", name="old", job_id=None, created_at=time.time(),
            deleted_at=time.time() - 100, dataset_id=None, sha256="0" * 64, size_bytes=1, card=body,
        )  # fmt: skip
        with database.writing() as session:
            session.add(row)
    assert catalogue.drop_binned_models(database, older_than_s=1000) == []
    assert len(catalogue.drop_binned_models(database, older_than_s=10)) == 2


def test_a_lost_file_is_put_back(database: Database, files: Files, box: Path) -> None:
    register(database, files, box)
    lost = files.weights(id_in(box, "teacher"))
    lost.unlink()
    register(database, files, box)
    assert lost.read_bytes() == WEIGHTS["teacher"]


@pytest.mark.parametrize("damage", ["teacher.safetensors", "teacher.json"])
def test_a_damaged_file_is_left_out_and_said(
    database: Database, files: Files, box: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (box / damage).open("ab") as stream:
        stream.write(b" ")
    with caplog.at_level(logging.ERROR):
        register(database, files, box)
    assert names(database) == ["a-student"]
    assert damage in caplog.text
    assert [path.stem for path in (files.root / "models").iterdir()] == [id_in(box, "a-student")]


@pytest.mark.parametrize("line", ["nonsense", f"{'0' * 64}  ../../x.json", f"{'0' * 64}  x.json"])
def test_a_damaged_list_leaves_the_lab_empty(
    database: Database, files: Files, box: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (box / SUMS).open("a") as stream:
        stream.write(line + "\n")
    with caplog.at_level(logging.ERROR):
        register(database, files, box)
    assert names(database) == []
    assert SUMS in caplog.text


def test_a_folder_without_a_list_is_an_empty_box(
    database: Database, files: Files, tmp_path: Path
) -> None:
    register(database, files, tmp_path / "nowhere")
    assert names(database) == []


def test_a_card_is_read_with_its_checksum(box: Path) -> None:
    teacher = next(shipped for shipped in listed(box) if shipped.slug == "teacher")
    assert read_card(teacher) == card("teacher")
