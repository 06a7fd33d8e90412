"""Evaluations on a dataset whose classes are the model's by name, in another order or fewer."""

from __future__ import annotations

import time
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from app.contracts.jobs import JobKind
from app.contracts.params import Attack, EvaluateParams, ImportModelParams
from app.contracts.results import DatasetReport, Mapped
from app.errors import InvalidInput
from app.services import checks
from app.store.tables import DatasetRow
from tests.jobs.evaluations import evaluate, small
from tests.jobs.measured import Measured
from tests.jobs.test_files_of_weights import with_head
from tests.jobs.test_importing_model import bring, log, result, teacher
from tests.plugins.images import MINI
from worker.data import Wishes, import_archive, load_dataset


def renamed(measured: Measured, folder: Path, names: Sequence[tuple[str, str]]) -> str:
    """A dataset of some of the classes, each under a name that gives it its place."""
    archive, into = folder / "renamed.zip", dict(names)
    with zipfile.ZipFile(MINI) as source, zipfile.ZipFile(archive, "w") as target:
        for member in source.infolist():
            *_, part, name, file = ("", "", *member.filename.split("/"))
            if name in into and file:
                target.writestr(f"{part}/{into[name]}/{name}-{file}", source.read(member))
    dataset_id = uuid.uuid4().hex
    import_archive(
        archive, measured.lab.files.dataset(dataset_id), wishes=Wishes(image_size=32),
        label="Some", source="renamed.zip", progress=lambda done, total: None,
    )  # fmt: skip
    dataset = load_dataset(measured.lab.files.dataset(dataset_id))
    report = DatasetReport(
        classes=dataset.class_names, image_size=32, checksum=dataset.checksum,
        train_images=sum(dataset.info.train_counts), test_images=sum(dataset.info.test_counts),
    )  # fmt: skip
    row = DatasetRow(
        id=dataset_id, name=dataset_id, source="archive", job_id=uuid.uuid4().hex,
        created_at=time.time(), report=report.model_dump(mode="json"),
    )  # fmt: skip
    with measured.lab.database.writing() as session:
        session.add(row)
    return dataset_id


@pytest.mark.slow
def test_an_order_of_its_own_changes_no_figure(measured: Measured, tmp_path: Path) -> None:
    names = measured.dataset.class_names
    # Capitals sort before the rest, so that both orders differ.
    other = [(name, name.upper() if name in ("ship", "dog") else name) for name in names]
    dataset = renamed(measured, tmp_path, other)
    images = {"images": 500, "models": (measured.teacher,), "step_counts": (1,), "epsilons": (0,)}
    attack = Attack(steps=1)
    (same,) = evaluate(measured, small(measured, attack, **images)).models
    (found,) = evaluate(measured, small(measured, attack, **images, dataset=dataset)).models
    assert same.mapped is None
    assert found.mapped == Mapped(outputs=10, left_out=(), renamed=("dog for DOG", "ship for SHIP"))
    assert found.clean == same.clean
    assert found.robust == same.robust


def test_of_more_classes_a_model_decides_among_those_asked(
    measured: Measured, tmp_path: Path
) -> None:
    dataset = renamed(measured, tmp_path, [(name, name) for name in ("cat", "ship", "truck")])
    (found,) = evaluate(
        measured, small(measured, models=(measured.teacher,), dataset=dataset)
    ).models
    assert found.mapped is not None
    assert (found.mapped.outputs, len(found.mapped.left_out)) == (10, 7)
    assert "airplane" in found.mapped.left_out
    assert len(found.confusion_clean) == 3
    assert found.clean.value > 1 / 3


def test_a_class_that_the_model_does_not_know_is_refused_by_name(
    measured: Measured, tmp_path: Path
) -> None:
    dataset = renamed(measured, tmp_path, [("cat", "cat"), ("ship", "zeppelin")])
    params = EvaluateParams(models=(measured.teacher,), dataset=dataset)
    with pytest.raises(InvalidInput, match="does not know all classes") as raised:
        checks.check(measured.lab, JobKind.EVALUATE, params)  # type: ignore[arg-type]
    assert "zeppelin" in raised.value.hint
    assert raised.value.field == "models"


def test_one_output_tells_two_classes_apart(measured: Measured, tmp_path: Path) -> None:
    """The sigmoid of z_ship - z_cat, which decides as both outputs do."""
    dataset = renamed(measured, tmp_path, [("cat", "cat"), ("ship", "ship")])
    own, classes = teacher(measured), measured.dataset.class_names
    cat, ship = classes.index("cat"), classes.index("ship")
    weight, bias = own["head.weight"], own["head.bias"]
    both = with_head(own, weight[[cat, ship]], bias[[cat, ship]])
    one = with_head(own, (weight[ship] - weight[cat])[None], (bias[ship] - bias[cat])[None])
    expected = result(measured, bring(measured, both, dataset=dataset)).card.test[0].accuracy
    job = bring(measured, one, dataset=dataset)
    assert result(measured, job).card.test[0].accuracy == expected
    assert "above 0 it says “ship”, else “cat”" in log(measured, job)
    swapped = with_head(own, -one["head.weight"], -one["head.bias"])
    job = bring(measured, swapped, dataset=dataset, classes=("ship", "cat"))
    assert result(measured, job).card.test[0].accuracy == expected


def test_what_is_named_for_an_import_is_held_against_the_dataset(measured: Measured) -> None:
    names = {"name": "Net", "architecture": "wrn-10-1", "dataset": measured.dataset_id}
    for field, values in (("outputs", [0, 1]), ("classes", ["cat", "dog", "cat"])):
        params = ImportModelParams.model_validate({**names, "upload": "0" * 32, field: values})
        with pytest.raises(InvalidInput) as raised:
            checks.check(measured.lab, JobKind.IMPORT_MODEL, params)  # type: ignore[arg-type]
        assert raised.value.field == field


def test_to_name_the_commonest_class_each_time_is_guessing(
    measured: Measured, tmp_path: Path
) -> None:
    names = [(name, "cat" if name == "cat" else "else") for name in measured.dataset.class_names]
    dataset = renamed(measured, tmp_path, names)
    own = teacher(measured)
    state = with_head(own, torch.zeros(2, own["head.weight"].shape[1]), torch.tensor([0.0, 1.0]))
    card = result(measured, bring(measured, state, dataset=dataset)).card
    assert card.test[0].accuracy.low > 1 / 2
    assert "no better than guessing" in card.warnings[0]
