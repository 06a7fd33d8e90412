"""The showcase: cut from real jobs, chosen by what they found, refused where it is not true."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationResult, ExplainResult, Picture, ShowcasePicture
from app.errors import InvalidInput, JobError
from app.store import job_queries, showcase
from app.store.shipped import SUMS, Shipped, listed
from app.store.showcase import INDEX, find, pool
from tests.jobs.measured import Measured, open_measured
from tests.test_models_in_the_box import FOLDER, SHOWN
from worker.shipping.showcase import EPSILON, attacked, chosen, default_pair, write

HORSE = next(picture for picture in pool() if picture.name == "horse")


def shipped(model: str) -> Shipped:
    """A model as the box names it; nothing of it is read."""
    nowhere = Path("nowhere")
    return Shipped("model", model, nowhere, "0" * 64, nowhere, "0" * 64)


def pixels(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return open_measured(tmp_path_factory.mktemp("showcase"))


def test_what_is_shown_is_what_a_job_found(measured: Measured) -> None:
    pair = shipped(measured.teacher), shipped(measured.student)
    shown = attacked(measured.lab, HORSE, pair)
    jobs, total = job_queries.page(
        measured.lab.database, kinds=[JobKind.EXPLAIN], offset=0, limit=9
    )
    assert (total, jobs[0].status) == (1, JobStatus.SUCCEEDED)
    file = measured.lab.files.result(jobs[0].result_name)
    result = ExplainResult.model_validate_json(file.read_bytes())
    assert [model.id for model in shown.models] == [measured.teacher, measured.student]
    assert (shown.params, shown.params.label) == (result.params, "horse")
    clean, last = pixels(shown.clean_png), len(result.iterates)
    for number, view in enumerate(shown.views):
        attack = result.attacks[number]
        changes = pixels(view.changes_png).reshape(-1, *clean.shape)
        seen = [pixels(level.adversarial_png) for level in attack.levels]
        assert (clean + changes - np.uint8(128) == np.stack(seen)).all()
        look = attack.looks[number]
        assert view.top == look.top[last - 1 :: last]
        whole = pixels(look.attention.sheet.png)
        assert (pixels(view.attention.png) == whole[:, -view.attention.width :]).all()
    assert attacked(measured.lab, HORSE, pair).views == shown.views  # the same upload, again


def test_an_attack_that_fails_is_said(measured: Measured) -> None:
    with pytest.raises(JobError, match="“horse” did not succeed"):
        attacked(measured.lab, HORSE, (shipped("0" * 32), shipped(measured.student)))


def told(name: str, label: str, *, drawing: bool, sure: float, says: str = "") -> ShowcasePicture:
    """The first shown picture as if it were another, of which the student is so sure."""
    first = SHOWN.pictures[0]
    at = first.at(EPSILON)
    number, other = first.classes.index(label), first.classes.index(says or label)
    wrong = (number + 1) % len(first.classes)
    teacher = tuple(number if i < at else wrong for i in range(len(first.budgets)))
    student = tuple(number if i < at else other for i in range(len(first.budgets)))
    views = (
        first.views[0].model_copy(update={"top": teacher}),
        first.views[1].model_copy(
            update={"top": student, "confidence": (sure,) * len(first.budgets)}
        ),
    )
    facts = {"name": name, "label": label, "drawing": drawing}
    picture = Picture.model_validate(first.picture.model_dump() | facts)
    return first.model_copy(update={"picture": picture, "views": views})


def test_of_each_class_the_surest_photograph_and_drawing_are_shown() -> None:
    tried = [
        told("fawn", "deer", drawing=True, sure=0.9),
        told("cat", "cat", drawing=False, sure=0.2),
        told("tom", "cat", drawing=False, sure=0.4),
        told("kitten", "cat", drawing=True, sure=0.3),
        told("dog", "dog", drawing=False, sure=0.5, says="cat"),
        told("horse", "horse", drawing=False, sure=0.6),
    ]
    assert [one.picture.name for one in chosen(tried)] == ["horse", "tom", "fawn", "kitten"]


def test_nothing_is_written_where_no_picture_holds(tmp_path: Path) -> None:
    tried = [told("dog", "dog", drawing=False, sure=0.5, says="cat")]
    with pytest.raises(InvalidInput, match="None of the 1 pictures holds"):
        write(tmp_path, tried, curves())
    assert list(tmp_path.iterdir()) == []


def curves() -> EvaluationResult:
    """An evaluation with the figures of the box."""
    facts = SHOWN.showcase
    models = [{**m.model_dump(), "verdict": None} for m in facts.curves.models]
    return EvaluationResult.model_validate({
        "params": facts.curves.params, "dataset": facts.curves.dataset, "models": models,
        "images": facts.curves.images, "environment": facts.curves_environment,
    })  # fmt: skip


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A copy of the box."""
    return Path(shutil.copytree(FOLDER, tmp_path / "box"))


def test_what_is_written_is_found(box: Path) -> None:
    (box / "showcase" / "old.json").write_text("{}")
    written = write(box, list(SHOWN.pictures), curves())
    found = find(box)
    assert found is not None
    assert found.showcase == written
    assert (written.tried, written.held) == (len(SHOWN.pictures), len(SHOWN.pictures))
    assert found.pictures == tuple(chosen(SHOWN.pictures))
    assert not (box / "showcase" / "old.json").exists()


def test_the_pair_is_the_clean_model_and_the_best_student_of_the_paper(tmp_path: Path) -> None:
    teacher, student = default_pair(FOLDER)
    assert (teacher.slug, student.slug) == ("clean", "agkd-bml")
    with pytest.raises(InvalidInput, match="needs a clean model"):
        default_pair(tmp_path)


def test_a_lab_without_a_showcase_is_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert find(tmp_path) is None
    assert caplog.messages == []


def drop_a_model(box: Path) -> None:
    lines = (box / SUMS).read_text().splitlines()
    gone = listed(box)[0].slug
    (box / SUMS).write_text("".join(f"{line}\n" for line in lines if f"  {gone}." not in line))


def drop_a_file(box: Path) -> None:
    (box / "showcase" / "horse.json").unlink()


def damage_a_file(box: Path) -> None:
    (box / "showcase" / "horse.json").write_text("{}")


def exchange_a_picture(box: Path) -> None:
    path = box / "showcase" / "horse.json"
    changed = json.loads(path.read_bytes()) | {"sha256": hashlib.sha256(b"other").hexdigest()}
    path.write_text(json.dumps(changed))


def name_a_file_outside(box: Path) -> None:
    path = box / "showcase" / INDEX
    changed = json.loads(path.read_bytes()) | {"pictures": ["../../secret"]}
    path.write_text(json.dumps(changed))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop_a_model, "other models than those in the box"),
        (drop_a_file, "horse.json"),
        (damage_a_file, "ShowcasePicture"),
        (exchange_a_picture, "another picture than the one that was attacked"),
        (name_a_file_outside, "pattern"),
    ],
)
def test_what_is_not_true_of_the_box_is_left_out_and_logged(
    box: Path, change: object, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert find(box) is not None
    assert callable(change)
    change(box)
    with caplog.at_level(logging.ERROR, logger="lab.shipped"):
        assert find(box) is None
    (message,) = caplog.messages
    assert message.startswith("The showcase is left out: ")
    assert says in message


def test_a_picture_that_is_none_of_the_pool_is_refused(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showcase, "pool", lambda: ())
    with pytest.raises(ValueError, match="none of the pictures"):
        showcase.read(box)
