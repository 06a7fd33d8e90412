"""The adversarial images that an evaluation keeps: what they are, and how they leave the lab."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationResult
from app.errors import InvalidInput, NotFound
from app.services import adversarial, jobs, upkeep
from app.services.lab import Lab
from app.settings import Settings
from tests.jobs.evaluations import small
from tests.jobs.measured import Measured, open_measured, with_whole_cards
from tests.jobs.runs import run
from worker import registry
from worker.models import Classifier

KEPT, EPSILON = 20, 0.3 / 255


class Run(NamedTuple):
    measured: Measured
    lab: Lab
    """The web's view of it."""
    job: str
    result: EvaluationResult

    def arrays(self, model: str) -> dict[str, Any]:
        with np.load(adversarial.held(self.lab, self.job, model).path) as loaded:
            return dict(loaded)

    def network(self, model: str) -> Classifier:
        row = registry.model_row(self.measured.lab.database, model)
        return registry.load_model(self.measured.lab.files, row)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two models on 30 images in batches of 7, of which 20 are kept."""
    torch.set_num_threads(1)
    measured = with_whole_cards(open_measured(tmp_path_factory.mktemp("kept") / "data"))
    params = small(measured, images=30, keep_adversarial=KEPT, batch_size=7, epsilon=EPSILON,
                   further=("square",), queries=20, epsilons=(), step_counts=())  # fmt: skip
    row = run(measured.lab, JobKind.EVALUATE, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    folder = measured.lab.settings.data_dir
    lab = Lab.open(Settings(data_dir=folder, redis_url="redis://127.0.0.1:1/0"))
    result = jobs.result(lab, row.id)
    assert isinstance(result, EvaluationResult)
    yield Run(measured, lab, row.id, result)
    lab.close()


def test_they_are_what_the_figures_were_counted_from(kept: Run) -> None:
    for figures in kept.result.models:
        arrays, outcomes = kept.arrays(figures.model), figures.outcomes
        assert outcomes is not None
        places = [kept.result.image_numbers.index(n) for n in arrays["number"].tolist()]
        assert len(places) == KEPT
        assert places == sorted(places)
        for name, known in (
            ("label", kept.result.labels),
            ("clean_prediction", outcomes.clean_prediction),
            ("prediction", outcomes.worst_prediction),
            ("broken_by", outcomes.broken_by),
        ):
            assert arrays[name].tolist() == [known[place] for place in places], name
        assert 0 < (arrays["broken_by"] == -1).sum() < KEPT
        assert (arrays["broken_by"] > 0).any()


def test_the_model_says_of_them_what_they_say(kept: Run) -> None:
    for model in kept.result.params.models:
        arrays, network = kept.arrays(model), kept.network(model)
        x, x_adv = torch.from_numpy(arrays["clean"]) / 255, torch.from_numpy(arrays["adversarial"])
        assert x_adv.dtype == torch.float32
        assert network(x).argmax(1).tolist() == arrays["clean_prediction"].tolist()
        assert network(x_adv).argmax(1).tolist() == arrays["prediction"].tolist()
        rounded = (x_adv * 255).round() / 255
        assert network(rounded).argmax(1).tolist() == arrays["prediction_8bit"].tolist()
        assert 0 < (x_adv - x).abs().max() <= EPSILON + 1e-6
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1


def test_they_are_the_first_of_the_draw_and_say_what_they_are_of(kept: Run) -> None:
    teacher, student = (kept.arrays(model) for model in kept.result.params.models)
    drawn = kept.measured.dataset.split("test").drawn(seed=kept.result.params.seed)[:KEPT]
    assert teacher["number"].tolist() == sorted(drawn.tolist())
    images = kept.measured.dataset.split("test").images[np.sort(drawn)]
    np.testing.assert_array_equal(teacher["clean"], images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(teacher["number"], student["number"])
    assert teacher["attacks"].tolist() == [row.method for row in kept.result.models[0].attacks]
    assert tuple(teacher["classes"].tolist()) == kept.result.classes
    assert float(teacher["epsilon"]) == EPSILON
    assert str(student["model_sha256"]) == kept.result.models[1].sha256


def test_as_pictures_they_come_with_a_table(kept: Run, tmp_path: Path) -> None:
    model = kept.result.params.models[1]
    arrays = kept.arrays(model)
    data = b"".join(adversarial.pictures(adversarial.held(kept.lab, kept.job, model)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("images.csv").decode())))
        assert len(archive.namelist()) == 2 * KEPT + 1
        for place, row in enumerate(rows):
            number = int(row["number"])
            assert number == arrays["number"][place]
            with Image.open(archive.open(f"adversarial/{number:06d}.png")) as picture:
                pixels = np.asarray(picture)
            rounded = (torch.from_numpy(arrays["adversarial"][place]) * 255).round().byte()
            np.testing.assert_array_equal(pixels.transpose(2, 0, 1), rounded.numpy())
            assert int(row["adversarial_8bit"]) == arrays["prediction_8bit"][place]
            assert row["label_name"] == kept.result.classes[arrays["label"][place]]
    named = {-1: "stands", 0: "clean", **dict(enumerate(arrays["attacks"].tolist(), start=1))}
    assert [row["broken_by_name"] for row in rows] == [named[k] for k in arrays["broken_by"]]


def test_none_are_kept_unless_asked_for(kept: Run) -> None:
    with pytest.raises(NotFound, match="did not measure"):
        adversarial.held(kept.lab, kept.job, "0" * 32)
    params = small(kept.measured, images=4, epsilons=(), step_counts=())
    job = run(kept.measured.lab, JobKind.EVALUATE, params)
    with pytest.raises(NotFound, match="kept no adversarial images"):
        adversarial.held(kept.lab, job.id, params.models[0])
    assert not kept.lab.files.adversarial(job.result_name).exists()


def test_more_than_the_disk_is_to_hold_is_refused(kept: Run) -> None:
    """By the web at once, by a worker without one when it starts."""
    largest = 2**20 // (2 * 5 * 3 * 32**2)
    for images, refused in ((largest, False), (largest + 1, True)):
        params = small(kept.measured, keep_adversarial=images, images=images, epsilons=())
        settings = kept.lab.settings.model_copy(update={"max_kept_mb": 1})
        web = replace(kept.lab, settings=settings)
        if not refused:
            jobs.cancel(web, jobs.submit(web, JobKind.EVALUATE, params).id)
            continue
        with pytest.raises(InvalidInput) as error:
            jobs.submit(web, JobKind.EVALUATE, params)
        assert error.value.field == "keep_adversarial"
        assert "LAB_MAX_KEPT_MB" in error.value.hint
        worker = kept.measured.lab.__class__(
            settings, kept.measured.lab.database, kept.measured.lab.files, lambda _: None
        )
        row = run(worker, JobKind.EVALUATE, params)
        assert row.failure is not None
        assert "more than 1 MB" in row.failure["detail"]


def test_they_go_with_their_job(kept: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    params = small(kept.measured, images=4, keep_adversarial=4, epsilons=(), step_counts=())
    job = run(kept.measured.lab, JobKind.EVALUATE, params)
    folder = kept.lab.files.adversarial(job.result_name)
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(upkeep, "_KEPT_S", -1.0)
    with kept.lab.database.writing() as session:
        session.merge(job).deleted_at = 1.0
    upkeep.clear(kept.lab)
    assert not folder.exists()
    assert kept.lab.files.adversarial(f"{kept.job}-1").exists()
