"""The explain job: one uploaded image, attacked on every model at every budget, seen by them all.

Images are rounded to 8 bit before any model sees them, at each step of an attack too: the picture
on the page is the evidence itself, and every figure is measured on it. Rounding moves a pixel by
half a grey level at most, so a budget of less than that may show the clean image. All budgets start
in the same direction, so that the slider moves along one path instead of jumping between unrelated
attacks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts import words
from app.contracts.events import PreviewEvent
from app.contracts.params import LIVE_ITERATES, LIVE_LEVELS, ExplainParams, Goal, Recipe
from app.contracts.results import ExplainResult, LiveModel
from app.errors import JobError
from app.store.files import Files
from app.store.tables import ModelRow
from imagefile import UnreadableImageError, remarks_of
from worker import registry
from worker.data import decode_image
from worker.evaluation.attacks import steps_of
from worker.jobs.context import JobContext, Outcome
from worker.jobs.crafting import columns, runs
from worker.jobs.live_attack import LiveAttack, Part, as_batch
from worker.jobs.looking import Looker, Seen, look_closely
from worker.jobs.telling import Evidence, attacked, clean_look, minimal, shown_classes
from worker.models import frozen_passes
from worker.pictures import png

_MODELS_KEPT = 12
_MIDDLE = LIVE_LEVELS // 2
"""Where the slider begins."""

_loaded: OrderedDict[str, Looker] = OrderedDict()
"""Models by checksum, the least recently used first: a warm worker does not load them again."""


def run(context: JobContext, params: ExplainParams) -> Outcome:
    """Attack the image on every model, and look at it with all. Raises JobError, Cancelled,
    Interrupted.

    What the page shows first is reported as soon as it is there.
    """
    lab = context.lab
    rows = [registry.model_row(lab.database, model) for model in params.models]
    _check_alike(rows)
    attack = _attack_on(lab.files, params, rows)
    if said := remarks_of(lab.files.here(lab.files.upload(params.upload)).read_bytes()):
        context.warn(f"The picture is one {said}.")
    levels, report = _levels(params), _reporter(context, attack)
    threads = _threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        parts = [
            pool.submit(attack.part, [levels[row] for row in some], report)
            for some in _in_turn(threads)
        ]
        if len(parts) > 1:
            first = attack.with_budget_zero([parts[0].result().last])
            few = [levels[0], levels[_MIDDLE]]
            context.report(PreviewEvent(result=_result(context, attack, rows, few, first)))
        middle, *sides = [part.result() for part in parts]
    half = len(sides) // 2
    whole = attack.with_budget_zero([*sides[:half], middle, *sides[half:]])
    return Outcome(_result(context, attack, rows, levels, whole))


def _threads() -> int:
    """How many parts are computed at once: an accelerator takes all in one go."""
    return torch.get_num_threads() if registry.device().type == "cpu" else 1


def _in_turn(threads: int) -> list[Sequence[int]]:
    """The numbers of the budgets above 0 in parts, the one that is shown first before all."""
    if registry.device().type != "cpu":
        return [range(1, LIVE_LEVELS)]
    pieces = min((threads + 1) // 2, _MIDDLE - 1)
    below, above = range(1, _MIDDLE), range(_MIDDLE + 1, LIVE_LEVELS)
    sides = [part.tolist() for side in (below, above) for part in np.array_split(side, pieces)]
    return [[_MIDDLE], *sides]


def _attack_on(files: Files, params: ExplainParams, rows: Sequence[ModelRow]) -> LiveAttack:
    classes: tuple[str, ...] = tuple(rows[0].card["classes"])
    lookers = [_warm(files, row) for row in rows]
    pixels = _image(files, params.upload, rows[0].card["image_size"])
    x = as_batch(pixels[None])
    clean = [look_closely(looker, x) for looker in lookers]
    truths = _truths(params, classes, clean)
    return LiveAttack(
        params=params,
        lookers=lookers,
        pixels=pixels,
        clean=clean,
        truths=truths,
        runs=[
            runs(looker, x, truth, params.attack, classes, params.seed)
            for looker, truth in zip(lookers, truths, strict=True)
        ],
    )


def _reporter(context: JobContext, attack: LiveAttack) -> Callable[[int], None]:
    """Counts the pictures that attacks have passed through models, in any thread.

    It raises what `progress` raises. The attack is most of the work, and not the last of it.
    """
    passes = sum(len(each) for each in attack.runs) * (steps_of(attack.params.attack).steps + 1)
    total, done, lock = passes * (LIVE_LEVELS - 1), 0, threading.Lock()

    def report(pictures: int) -> None:
        nonlocal done
        with lock:
            context.progress(done, total, "attacking")
            done += pictures

    return report


def _levels(params: ExplainParams) -> list[float]:
    """The budgets, from 0 to the largest."""
    levels: list[float] = np.linspace(0, params.max_epsilon, LIVE_LEVELS).tolist()
    return levels


def _result(
    context: JobContext,
    attack: LiveAttack,
    rows: Sequence[ModelRow],
    levels: Sequence[float],
    part: Part,
) -> ExplainResult:
    """What is told of a part that begins with budget 0, at these budgets."""
    params, clean = attack.params, attack.pixels
    evidence = [
        Evidence(*each) for each in zip(attack.clean, attack.truths, part.responses, strict=True)
    ]
    shown = shown_classes(evidence)
    iterates = columns(params.attack, LIVE_ITERATES)[-part.pictures[0].shape[1] :]
    attacks = tuple(
        attacked(i, clean, made, evidence, shown, minimal(i, evidence, levels, iterates))
        for i, made in enumerate(part.pictures)
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


def _warm(files: Files, row: ModelRow) -> Looker:
    """The model; its row says that it is still in the lab."""
    found = _loaded.pop(row.sha256, None)
    if found is None:
        model = registry.load_model(files, row)
        found = Looker(model, frozen_passes(model))
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
    path = files.here(files.upload(upload))
    try:
        return decode_image(path.read_bytes(), image_size=image_size)
    except (OSError, UnreadableImageError) as error:
        raise JobError(
            "The uploaded image is gone, or is damaged.", hint="Upload it again."
        ) from error


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
