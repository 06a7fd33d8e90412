"""The showcase of the models in the box: pictures chosen by measurement, and the box's curves.

Every candidate is attacked by an `explain` job, white-box on teacher and student. What is shown is
cut from the jobs' results; nothing is computed here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contracts import titles
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ExplainParams, Method, Recipe
from app.contracts.results import (
    EvaluationResult,
    EvaluationSummary,
    ExplainResult,
    MapSheet,
    Picture,
    Showcase,
    ShowcasePicture,
    ShowcaseView,
)
from app.contracts.units import from_255
from app.errors import InvalidInput, JobError
from app.store import catalogue, job_queries, jobs
from app.store.files import atomic_write
from app.store.shipped import Shipped, listed, read_card
from app.store.showcase import FOLDER, INDEX, picture_file, pool
from app.store.tables import UploadRow
from worker.job_run import run_job
from worker.jobs.context import WorkerLab
from worker.pictures import change_sheet, sheet
from worker.shipping.table import write_part

EPSILON = from_255(8)


def default_pair(folder: Path) -> tuple[Shipped, Shipped]:
    """Of the models in the box that know the pictures' classes, the clean one, and the AGKD-BML
    student that AutoAttack breaks least.

    Raises InvalidInput where the box has no such pair.
    """
    labels = {picture.label for picture in pool()}
    cards = [(shipped, read_card(shipped)) for shipped in listed(folder)]
    box = [(shipped, card) for shipped, card in cards if labels <= set(card.classes)]
    teachers = [shipped for shipped, card in box if card.recipe and card.recipe.is_teacher]
    students = {
        shipped: one.accuracy.value
        for shipped, card in box
        for one in card.test
        if card.recipe is Recipe.AGKD_BML and one.method is Method.AUTOATTACK
    }
    if not teachers or not students:
        raise InvalidInput("The box needs a clean model, and a student measured by AutoAttack.")
    return teachers[0], max(students, key=lambda student: students[student])


def attacked(lab: WorkerLab, picture: Picture, pair: tuple[Shipped, Shipped]) -> ShowcasePicture:
    """A picture after a job of `lab` that attacks it on both models. Raises JobError."""
    data = picture_file(picture.name).read_bytes()
    params = ExplainParams(
        upload=_uploaded(lab, picture), models=tuple(one.id for one in pair), label=picture.label
    )
    row = jobs.queued(JobKind.EXPLAIN, titles.title(params, {params.upload: picture.title}), params)
    jobs.add(lab.database, row)
    run_job(lab, row.id, stopping=lambda: False)
    done = job_queries.get(lab.database, row.id)
    if done is None or done.status != JobStatus.SUCCEEDED:
        raise JobError(f"The attack on “{picture.name}” did not succeed.")
    result = ExplainResult.model_validate_json(lab.files.result(done.result_name).read_bytes())
    return cut(result, picture, hashlib.sha256(data).hexdigest())


def cut(result: ExplainResult, picture: Picture, sha256: str) -> ShowcasePicture:
    """Of a result, the last iterate at every budget, as the attacked model itself sees it."""
    teacher, student = result.models
    return ShowcasePicture(
        picture=picture,
        sha256=sha256,
        params=result.params,
        models=(teacher, student),
        classes=result.classes,
        budgets=result.budgets,
        image_size=result.image_size,
        clean_png=result.clean_png,
        views=(_view(result, 0), _view(result, 1)),
        environment=result.environment,
    )


def chosen(tried: Iterable[ShowcasePicture]) -> list[ShowcasePicture]:
    """Of those that hold, the photograph and the drawing of each class of which the student is
    surest under attack; photographs first."""

    def surest_last(one: ShowcasePicture) -> tuple[bool, float]:
        return not one.picture.drawing, one.views[1].confidence[one.at(EPSILON)]

    held = sorted((one for one in tried if one.holds(EPSILON)), key=surest_last)
    best = {(one.picture.label, one.picture.drawing): one for one in held}
    return sorted(best.values(), key=surest_last, reverse=True)


def write(folder: Path, tried: list[ShowcasePicture], curves: EvaluationResult) -> Showcase:
    """Write the showcase of the box in `folder`, in the place of what is there, and its README.

    Raises InvalidInput where no picture holds.
    """
    shown = chosen(tried)
    if not shown:
        raise InvalidInput(f"None of the {len(tried)} pictures holds: there is nothing to show.")
    showcase = Showcase(
        epsilon=EPSILON,
        tried=len(tried),
        held=sum(one.holds(EPSILON) for one in tried),
        pictures=tuple(one.picture.name for one in shown),
        curves=EvaluationSummary.of(curves),
        curves_environment=curves.environment,
    )
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    for old in target.glob("*.json"):
        old.unlink()
    for one in shown:
        with atomic_write(target / f"{one.picture.name}.json") as stream:
            stream.write(one.model_dump_json().encode())
    with atomic_write(target / INDEX) as stream:  # last: without it there is no showcase
        stream.write(f"{showcase.model_dump_json(indent=1)}\n".encode())
    write_part(folder / "README.md", "showcase", summary(showcase))
    return showcase


def summary(showcase: Showcase) -> str:
    """How the pictures were chosen, as the README says it."""
    names = ", ".join(f"`{name}`" for name in showcase.pictures)
    counts = f"Of {showcase.tried} pictures tried, {showcase.held} hold with these models"
    return f"{counts}; shown: {names}."


def _uploaded(lab: WorkerLab, picture: Picture) -> str:
    """The id of the picture as an upload of the lab: the same for the same bytes."""
    source = picture_file(picture.name)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    upload = sha256[:32]
    shutil.copyfile(source, lab.files.upload(upload))
    if catalogue.upload(lab.database, upload) is None:
        row = UploadRow(
            id=upload, filename=source.name, sha256=sha256, size_bytes=source.stat().st_size,
            created_at=time.time(),
        )  # fmt: skip
        catalogue.add_upload(lab.database, row)
    return upload


def _view(result: ExplainResult, number: int) -> ShowcaseView:
    attack, columns = result.attacks[number], len(result.iterates)
    look = attack.looks[number]
    width, maps = result.image_size, look.attention.sheet
    changes = _pixels(attack.changes_png)[:, -3 * width :]  # (B * H, 3 * W)
    last = _pixels(maps.png)[:, -maps.width :]  # (B * h, w)
    return ShowcaseView(
        changes_png=change_sheet(changes.reshape(-1, 1, width, width, 3)),
        attention=MapSheet(
            png=sheet(last.reshape(-1, 1, maps.height, maps.width)),
            height=maps.height,
            width=maps.width,
        ),
        top=look.top[columns - 1 :: columns],
        confidence=look.confidence[columns - 1 :: columns],
    )


def _pixels(text: str) -> NDArray[np.uint8]:
    """The grey levels of a sheet; of one with a palette, the numbers of its colours are they."""
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as picture:
        return np.asarray(picture)
