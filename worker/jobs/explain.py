"""The explain job: one uploaded image, attacked on every model at every budget, seen by them all.

Images are rounded to 8 bit before any model sees them, at each step of an attack too: the picture
on the page is the evidence itself, and every figure is measured on it. Rounding moves a pixel by
half a grey level at most, so a budget of less than that may show the clean image. All budgets start
in the same direction, so that the slider moves along one path instead of jumping between unrelated
attacks.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts import words
from app.contracts.params import LIVE_ITERATES, LIVE_LEVELS, ExplainParams, Goal, Recipe
from app.contracts.results import ExplainResult, LiveModel
from app.errors import JobError
from app.store.files import Files
from app.store.tables import ModelRow
from imagefile import UnreadableImageError
from worker import registry
from worker.data import decode_image, to_float
from worker.evaluation.arguments import steps_of
from worker.jobs.context import JobContext, Outcome
from worker.jobs.crafting import (
    Crafted,
    Pictured,
    columns,
    craft,
    random_directions,
    rounded,
    runs,
)
from worker.jobs.looking import Seen, look, look_closely
from worker.jobs.telling import Evidence, attacked, clean_look, minimal, shown_classes
from worker.models import Classifier, Outputs, frozen_outputs
from worker.pictures import as_jpeg, png

_MODELS_KEPT = 8
_QUALITIES = (90, 75)


class _Loaded(NamedTuple):
    model: Classifier
    quick: Callable[[Tensor], Outputs]
    """Its outputs with batch norms folded."""


_loaded: OrderedDict[str, _Loaded] = OrderedDict()
"""Models by checksum, the least recently used first: a warm worker does not load them again."""


def run(context: JobContext, params: ExplainParams) -> Outcome:
    """Attack the image on every model, and look at it with all. Raises JobError, Cancelled,
    Interrupted."""
    lab = context.lab
    rows = [registry.model_row(lab.database, model) for model in params.models]
    _check_alike(rows)
    classes, size = tuple(rows[0].card["classes"]), rows[0].card["image_size"]
    models = [_warm(lab.files, row) for row in rows]
    clean = _image(lab.files, params.upload, size)  # (H, W, 3)
    x = _to_batch(clean[None])
    seen = [look_closely(one.model, x) for one in models]
    truths = _truths(params, classes, seen)
    budgets = torch.tensor(_levels(params)).to(x)
    crafted = _craft_all(context, params, classes, models, x, truths, budgets)
    noise = random_directions(x, budgets, attack=params.attack, seed=params.seed)
    pictures = [_pixels(one.iterates) for one in crafted]  # (B, T, H, W, 3) each
    evidence = []
    for number, one in enumerate(models):
        context.check()
        looks = _look_all(one, number, seen[number], crafted, pictures, noise)
        evidence.append(Evidence(truth=truths[number], **looks))
    return Outcome(_result(context, params, rows, clean, pictures, evidence))


def _levels(params: ExplainParams) -> list[float]:
    """The budgets, from 0 to the largest."""
    levels: list[float] = np.linspace(0, params.max_epsilon, LIVE_LEVELS).tolist()
    return levels


def _result(
    context: JobContext,
    params: ExplainParams,
    rows: Sequence[ModelRow],
    clean: NDArray[np.uint8],
    pictures: Sequence[NDArray[np.uint8]],
    evidence: Sequence[Evidence],
) -> ExplainResult:
    shown, numbers, levels = shown_classes(evidence), range(len(rows)), _levels(params)
    iterates = columns(params.attack, LIVE_ITERATES)
    attacks = tuple(
        attacked(i, clean, pictures[i], evidence, shown, minimal(i, evidence, levels, iterates))
        for i in numbers
    )
    return ExplainResult(
        params=params,
        attack=_in_words(params),
        classes=rows[0].card["classes"],
        shown=tuple(shown),
        label=params.label,
        models=tuple(_facts(row) for row in rows),
        budgets=tuple(levels),
        iterates=iterates,
        image_size=len(clean),
        clean_png=png(clean),
        clean=tuple(clean_look(one, shown) for one in evidence),
        attacks=attacks,
        environment=registry.environment(context.seconds),
    )


def _in_words(params: ExplainParams) -> str:
    how = params.attack
    goal = words.goal(how)
    if params.label is None and how.goal is Goal.UNTARGETED:
        goal = "away from what the model says of the clean image"
    return f"{words.attack(how)} ({how.norm.record.title}), {goal}"


def _check_alike(rows: Sequence[ModelRow]) -> None:
    first = rows[0]
    for other in rows[1:]:
        if other.card["classes"] != first.card["classes"]:
            raise JobError(
                f"“{first.name}” and “{other.name}” have different classes.",
                hint="Choose models that were trained on the same classes, in the same order.",
            )
        if other.card["image_size"] != first.card["image_size"]:
            raise JobError(
                f"“{first.name}” and “{other.name}” see images of different sizes.",
                hint="Choose models that were trained at one image size.",
            )


def _warm(files: Files, row: ModelRow) -> _Loaded:
    """The model; its row says that it is still in the lab."""
    found = _loaded.pop(row.sha256, None)
    if found is None:
        model = registry.load_model(files, row)
        found = _Loaded(model, frozen_outputs(model))
    _loaded[row.sha256] = found
    if len(_loaded) > _MODELS_KEPT:
        _loaded.popitem(last=False)
    return found


def _facts(row: ModelRow) -> LiveModel:
    training, recipe, smoothing = row.card.get("params"), None, None
    if training is not None:
        recipe = Recipe(training["recipe"])
        smooths = "label_smoothing" in recipe.record.parameters
        smoothing = training["label_smoothing"] if smooths else 0.0
    return LiveModel(
        id=row.id, name=row.name, sha256=row.sha256, recipe=recipe, label_smoothing=smoothing
    )


def _image(files: Files, upload: str, image_size: int) -> NDArray[np.uint8]:
    """The uploaded picture as the models see pictures, (H, W, 3)."""
    try:
        return decode_image(files.upload(upload).read_bytes(), image_size=image_size)
    except (OSError, UnreadableImageError) as error:
        raise JobError(
            "The uploaded image is gone, or is damaged.", hint="Upload it again."
        ) from error


def _to_batch(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) in [0, 1], on the device, channels last."""
    return to_float(torch.tensor(pixels, device=registry.device()).permute(0, 3, 1, 2))


def _pixels(x: Tensor) -> NDArray[np.uint8]:
    """(..., 3, H, W) in [0, 1] -> (..., H, W, 3) as 8 bit holds it."""
    return (x * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def _truths(params: ExplainParams, classes: Sequence[str], clean: Sequence[Seen]) -> list[int]:
    """The class that each model's attack leaves: the true one, else what it says itself."""
    if params.label is None:
        return [seen.top[0] for seen in clean]
    label = _index(classes, params.label, "true")
    if params.attack.goal is Goal.CLASS:
        assert params.attack.target_class is not None
        if _index(classes, params.attack.target_class, "target") == label:
            raise JobError(
                f"The image shows the target class “{classes[label]}” already.",
                hint="Choose another target, or another goal.",
            )
    return [label] * len(clean)


def _index(classes: Sequence[str], name: str, what: str) -> int:
    if name not in classes:
        raise JobError(
            f"The {what} class is not a class of the models.",
            hint=f"One of: {', '.join(classes[:20])}.",
        )
    return classes.index(name)


def _craft_all(
    context: JobContext,
    params: ExplainParams,
    classes: Sequence[str],
    models: Sequence[_Loaded],
    x: Tensor,
    truths: Sequence[int],
    budgets: Tensor,
) -> list[Crafted]:
    """The attack on each model."""
    attack, step = params.attack, itertools.count()
    steps = len(models) * runs(attack, len(classes)) * (steps_of(attack).steps + 1)

    def report() -> None:
        """Raises what `progress` raises. The attack is most of the work, and not the last of it."""
        context.progress(min(next(step), steps - 1), steps, "attacking")

    return [
        craft(
            Pictured(one.model, one.quick),
            x,
            truth,
            budgets,
            attack=attack,
            classes=classes,
            seed=params.seed,
            most=LIVE_ITERATES,
            report=report,
        )
        for one, truth in zip(models, truths, strict=True)
    ]


def _look_all(
    loaded: _Loaded,
    number: int,
    clean: Seen,
    crafted: Sequence[Crafted],
    pictures: Sequence[NDArray[np.uint8]],
    noise: Tensor,
) -> dict[str, Any]:
    """The fields of `Evidence` but the truth: all that was crafted, seen in one go.

    `number` is the model's own; at budget 0 there is the clean image, which is seen already.
    """
    last = [each[1:, -1] for each in pictures]
    jpegs = [np.stack([as_jpeg(one, quality) for one in last[number]]) for quality in _QUALITIES]
    batches: dict[str | int, Tensor] = {
        "noise": rounded(noise[1:]),
        "float": crafted[number].iterates[1:, -1],
        **{f"jpeg-{q}": _to_batch(jpeg) for q, jpeg in zip(_QUALITIES, jpegs, strict=True)},
        **{i: _to_batch(each) for i, each in enumerate(last) if i != number},
    }
    every = look(*loaded, torch.cat(list(batches.values())))
    parts = every.split([len(batch) for batch in batches.values()])
    first = clean.without_stages
    seen = {n: Seen.joined([first, part]) for n, part in zip(batches, parts, strict=True)}
    own = Seen.joined([clean, look_closely(loaded.model, _to_batch(last[number]))])
    before = [Seen.joined([first, each]) for each in crafted[number].seen]
    seen[number] = Seen.woven([*before, own])
    stored = ("float", *(f"jpeg-{quality}" for quality in _QUALITIES))
    return {
        "clean": clean,
        "noise": seen["noise"],
        "stored": {form: seen[form].top for form in stored},
        "looks": [seen[i] for i in range(len(pictures))],
        "stages": own.stages,
    }
