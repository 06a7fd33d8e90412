"""A lab's model as a shipped one: float16 weights, a card, the job that trains it again.

Nothing is measured here: figures come from evaluations, and only from those of the very weights
in the box.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from app.contracts.params import Attack, Method
from app.contracts.results import (
    EvaluationResult,
    Lineage,
    ModelCard,
    ModelFigures,
    TestAccuracy,
    after_autoattack,
)
from app.contracts.units import from_255
from app.contracts.words import attack as in_words
from app.errors import InvalidInput
from app.store import catalogue, job_queries
from app.store.db import Database
from app.store.files import Files, atomic_write
from app.store.shipped import SLUG, SUMS, Shipped, listed, read_card
from worker import registry
from worker.shipping.table import write_table

_EPSILON = from_255(8)
_ROUNDED_FROM = "rounded_from"


def pack(database: Database, files: Files, model_id: str, slug: str, folder: Path) -> Shipped:
    """Put a model of the lab into the box, in the place of what is there under `slug`.

    Its card names nothing that another lab lacks: no job that the training went on from.
    Test figures of the same weights stay. A student's teacher has to be in the box before it.
    Raises InvalidInput and JobError.
    """
    if re.fullmatch(SLUG, slug) is None:
        raise InvalidInput("A slug has lower case letters, digits and hyphens.", field="slug")
    row = catalogue.model(database, model_id)
    if row is None:
        raise InvalidInput(f"There is no model {model_id}.", field="model")
    card = ModelCard.model_validate(row.card)
    if card.params is None:
        raise InvalidInput("Imported weights are not shipped: no job trains them again.")
    weights = registry.load_model(files, row).state_dict()
    facts = _facts(files.weights(row.id)) | {_ROUNDED_FROM: row.sha256}
    data = safetensors.torch.save(_rounded(weights), {"lab": json.dumps(facts)})
    sha256 = hashlib.sha256(data).hexdigest()
    teacher = None if card.teacher is None else _shipped_teacher(folder, card.teacher)
    params = card.params.model_copy(
        update={"teacher": teacher.id if teacher else None, "continue_from": None}
    )
    test = [t for s in listed(folder) if s.weights_sha256 == sha256 for t in read_card(s).test]
    packed = card.model_copy(
        update={"origin": "shipped", "teacher": teacher, "params": params, "test": tuple(test)}
    )
    _write(folder / f"{slug}.safetensors", data)
    _write_card(folder / f"{slug}.json", packed)
    _write_job(folder, slug, packed)
    refresh(folder)
    return next(shipped for shipped in listed(folder) if shipped.slug == slug)


def packed(database: Database, model_id: str, slug: str, folder: Path) -> Shipped | None:
    """What is in the box under `slug`, where that was made of this model."""
    row = catalogue.model(database, model_id)
    for shipped in listed(folder):
        made_of = _facts(shipped.weights).get(_ROUNDED_FROM)
        if shipped.slug == slug and row is not None and made_of == row.sha256:
            return shipped
    return None


def measure(database: Database, files: Files, job_id: str, folder: Path) -> list[str]:
    """Write what an evaluation measured on shipped weights into their cards; returns their slugs.

    Of two figures of one measure, that of more images stays. Raises InvalidInput.
    """
    job = job_queries.get(database, job_id)
    if job is None or job.kind != "evaluate" or job.result_file is None:
        raise InvalidInput(f"{job_id} is no finished evaluation.")
    result = EvaluationResult.model_validate_json(files.result(job.result_name).read_bytes())
    by_sum = {figures.sha256: figures for figures in result.models}
    found = [shipped for shipped in listed(folder) if shipped.weights_sha256 in by_sum]
    if not found:
        raise InvalidInput("It measured none of the models in the box.")
    tested = []
    for shipped in found:
        card = read_card(shipped)
        if result.dataset.sha256 != card.dataset.sha256:
            raise InvalidInput(
                f"“{card.name}” was trained on “{card.dataset.name}”; the evaluation has images of "
                f"“{result.dataset.name}”."
            )
        test = _merged([*card.test, *_test(result, by_sum[shipped.weights_sha256])])
        tested.append((shipped.card, card.model_copy(update={"test": test})))
    for path, card in tested:  # only now: a refusal leaves every card as it was
        _write_card(path, card)
    refresh(folder)
    return [shipped.slug for shipped in found]


def _rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels in float16; vectors, a hundredth of the size, stay as they are.

    Raises InvalidInput where float16 cannot hold a weight.
    """
    rounded = {
        name: (w.half() if w.is_floating_point() and w.ndim > 1 else w).cpu().contiguous()
        for name, w in weights.items()
    }
    lost = [name for name, w in rounded.items() if not w.isfinite().all()]
    if lost:
        raise InvalidInput(f"float16 cannot hold {', '.join(lost)}.")
    return rounded


def _facts(path: Path) -> dict[str, object]:
    with safe_open(path, framework="pt") as opened:
        facts: dict[str, object] = json.loads(opened.metadata()["lab"])
    return facts


def _shipped_teacher(folder: Path, teacher: Lineage) -> Lineage:
    for shipped in listed(folder):
        before = _facts(shipped.weights)[_ROUNDED_FROM]
        if teacher.sha256 in (before, shipped.weights_sha256):
            name = read_card(shipped).name
            return Lineage(id=shipped.id, name=name, sha256=shipped.weights_sha256)
    raise InvalidInput(f"The teacher “{teacher.name}” is not in the box: pack it first.")


def _test(result: EvaluationResult, figures: ModelFigures) -> list[TestAccuracy]:
    """Clean, PGD alone, and the worst case of PGD and AutoAttack. Raises InvalidInput."""
    params = result.params
    attack = params.attack
    if attack != Attack(steps=attack.steps) or params.epsilon != _EPSILON:
        raise InvalidInput(
            "Cards show PGD in the L∞ norm at 8/255: untargeted, one random start, steps of a "
            "quarter of the budget. The evaluation's first attack is another."
        )
    autoattack = Method.AUTOATTACK
    found = (
        ("clean", None, figures.clean),
        (in_words(attack), attack.method, figures.attacks[0].alone if figures.attacks else None),
        (autoattack.record.title, autoattack, after_autoattack(figures.attacks)),
    )
    return [
        TestAccuracy(measure=measure, method=method, accuracy=accuracy, dataset=result.dataset)
        for measure, method, accuracy in found
        if accuracy is not None
    ]


def _merged(test: Iterable[TestAccuracy]) -> tuple[TestAccuracy, ...]:
    best: dict[str, TestAccuracy] = {}
    for one in test:
        known = best.get(one.measure)
        if known is None or one.accuracy.n >= known.accuracy.n:
            best[one.measure] = one
    return tuple(best.values())


def _write_job(folder: Path, slug: str, card: ModelCard) -> None:
    """The training's parameters, with the teacher's slug and without what another lab lacks, beside
    the import of its images."""
    assert card.params is not None
    params = card.params.model_dump(mode="json", exclude={"dataset", "continue_from"})
    if card.teacher is not None and params["teacher"] is not None:
        params["teacher"] = next(s.slug for s in listed(folder) if s.id == card.teacher.id)
    jobs = _jobs_with_images(folder / "jobs", card.dataset.name)
    jobs.mkdir(exist_ok=True)
    _write(jobs / f"{slug}.json", f"{json.dumps(params, indent=2)}\n".encode())


def _jobs_with_images(jobs: Path, name: str) -> Path:
    """Of `jobs` and the folders in it, the first whose jobs import images of this name."""
    for folder in (jobs, *sorted(jobs.glob("*/"))):
        images = folder / "import" / "images.json"
        if images.exists() and json.loads(images.read_bytes())["name"] == name:
            return folder
    return jobs


def _write_card(path: Path, card: ModelCard) -> None:
    _write(path, f"{card.model_dump_json(indent=2)}\n".encode())


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as stream:
        stream.write(data)


def refresh(folder: Path) -> None:
    """Bring the checksums and the table of figures up to date with the files."""
    slugs = sorted(path.stem for path in folder.glob("*.safetensors"))
    names = [f"{slug}.{kind}" for slug in slugs for kind in ("json", "safetensors")]
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    _write(folder / SUMS, "".join(f"{s}  {name}\n" for name, s in sums.items()).encode())
    write_table(folder / "README.md", [(s.slug, read_card(s)) for s in listed(folder)])
