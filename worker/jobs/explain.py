"""The explain job: one uploaded image, attacked at every budget of the slider, seen by two models.

The attack's images are rounded to 8 bit before any model sees them: the picture on the page is the
evidence itself, and every figure is measured on it. Rounding moves a pixel by half a grey level at
most, so a budget of less than that may show the clean image. All budgets start in the same
direction, so that the slider moves along one path instead of jumping between unrelated attacks.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.params import LIVE_LEVELS, CraftedOn, ExplainParams, Goal, Norm
from app.contracts.results import ExplainResult, Grid, Level, View
from app.errors import JobError
from app.store.files import Files
from app.store.tables import ModelRow
from imagefile import UnreadableImageError
from worker import registry
from worker.agkd_bml.attention import attention_map, cosine_distance, grad_cam, l1_distance
from worker.attacks import Model, iterate
from worker.data import decode_image, to_float
from worker.evaluation.arguments import aims, norm_of, steps_of, unit_noise
from worker.evaluation.attention import on_grid
from worker.jobs.context import JobContext, Outcome
from worker.models import Classifier
from worker.pictures import diverging, png

_MODELS_KEPT = 4
_DECIMALS = 5

_loaded: OrderedDict[str, Classifier] = OrderedDict()
"""Models by checksum, the least recently used first: a warm worker does not load them again."""


class _Seen(NamedTuple):
    """What one model makes of L images."""

    probabilities: Tensor
    """(L, K)"""
    attention: Tensor
    """(L, h, w)"""
    grad_cam: Tensor
    """(L, h, w), for the predicted class."""


def run(context: JobContext, params: ExplainParams) -> Outcome:
    """Attack the image and look at it with both models. Raises JobError, Cancelled, Interrupted."""
    lab = context.lab
    rows = [registry.model_row(lab.database, m) for m in (params.teacher, params.student)]
    _check_pair(*rows)
    teacher, student = (_warm(lab.files, row) for row in rows)
    classes = tuple(rows[0].card["classes"])
    clean = _image(lab.files, params.upload, rows[0].card["image_size"])  # (H, W, 3)
    x = _to_batch(clean[None])
    label = _label(params, classes, teacher, x)
    attacked = student if params.crafted_on is CraftedOn.STUDENT else teacher
    epsilons = np.linspace(0, params.max_epsilon, LIVE_LEVELS)
    images = _attack(context, params, classes, attacked, x, label, epsilons)  # (L, H, W, 3)
    batch = _to_batch(images)
    context.check()
    seen = _look(teacher, batch), _look(student, batch)
    change = (images.astype(np.int16) - clean) / 255  # (L, H, W, 3) in [-1, 1]
    span = _range(params, change)
    result = ExplainResult(
        params=params,
        classes=classes,
        label=classes[label],
        label_is_given=params.label is not None,
        teacher=registry.lineage_of_model(rows[0]),
        student=registry.lineage_of_model(rows[1]),
        crafted_on=params.crafted_on,
        attack=params.attack,
        clean_png=png(clean),
        perturbation_range=span,
        levels=_levels(epsilons, images, change, span, *seen),
        environment=registry.environment(context.seconds),
    )
    return Outcome(result)


def _check_pair(teacher: ModelRow, student: ModelRow) -> None:
    if teacher.card["classes"] != student.card["classes"]:
        raise JobError(
            f"“{teacher.name}” and “{student.name}” have different classes.",
            hint="Choose two models that were trained on the same classes, in the same order.",
        )
    if teacher.card["image_size"] != student.card["image_size"]:
        raise JobError(
            f"“{teacher.name}” and “{student.name}” see images of different sizes.",
            hint="Choose two models that were trained at one image size.",
        )


def _warm(files: Files, row: ModelRow) -> Classifier:
    """The model; its row says that it is still in the lab."""
    model = _loaded.pop(row.sha256, None) or registry.load_model(files, row)
    _loaded[row.sha256] = model
    if len(_loaded) > _MODELS_KEPT:
        _loaded.popitem(last=False)
    return model


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


def _label(params: ExplainParams, classes: Sequence[str], teacher: Classifier, x: Tensor) -> int:
    if params.label is None:
        with torch.no_grad():
            label = int(teacher(x).argmax())
    else:
        label = _index(classes, params.label, "true")
    if params.attack.goal is Goal.CLASS:
        assert params.attack.target_class is not None
        if _index(classes, params.attack.target_class, "target") == label:
            raise JobError(
                f"The image shows the target class “{classes[label]}” already.",
                hint="Choose another target, or another goal.",
            )
    return label


def _index(classes: Sequence[str], name: str, what: str) -> int:
    if name not in classes:
        raise JobError(
            f"The {what} class is not a class of the models.",
            hint=f"One of: {', '.join(classes[:20])}.",
        )
    return classes.index(name)


def _attack(
    context: JobContext,
    params: ExplainParams,
    classes: Sequence[str],
    model: Classifier,
    x: Tensor,
    label: int,
    epsilons: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """The clean image, then the attacked one at every budget but 0, in one batch: (L, H, W, 3)."""
    attack, how = params.attack, steps_of(params.attack)
    y = torch.tensor([label], device=x.device)
    with torch.no_grad():
        targets = aims(attack, classes, model(x), y)  # (1, A)
    budgets = torch.from_numpy(epsilons[1:]).to(x)  # (L - 1,)
    many = x.expand(len(budgets), *x.shape[1:]).contiguous(memory_format=torch.channels_last)
    norm = norm_of(attack)
    noise = unit_noise(x, norm, params.seed, [0]).expand_as(many)
    turns = [None] if targets is None else list(targets[0])
    call = _reporting(context, model, how.steps * len(turns))
    x_adv, left = many.clone(), torch.arange(len(budgets), device=x.device)
    for target in turns:  # one, unless every class is tried: then what broke leaves
        found = iterate(
            call,
            many[left],
            y.expand(len(left)),
            how=how,
            eps=budgets[left],
            norm=norm,
            noise=noise[left],
            target=None if target is None else target.expand(len(left)),
            may_break=False,
        )
        x_adv[left] = found.x_adv
        if len(turns) > 1:
            left = _unbroken(model, x_adv, label)
        if len(left) == 0:
            break
    pixels = (torch.cat([x, x_adv]) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


@torch.no_grad()
def _unbroken(model: Classifier, x_adv: Tensor, label: int) -> Tensor:
    """Where the model still sees the true class, (M,)."""
    places: Tensor = (model(x_adv).argmax(dim=1) == label).nonzero().squeeze(1)
    return places


def _reporting(context: JobContext, model: Classifier, steps: int) -> Model:
    """The model, reporting each step of the attack; its calls raise what `progress` raises.

    The attack is nearly all of the work; the end is the job's own to report.
    """
    step = itertools.count()

    def call(x: Tensor) -> Tensor:
        context.progress(min(next(step), steps), steps, "attacking")
        logits: Tensor = model(x)
        return logits

    return call


def _look(model: Classifier, x: Tensor) -> _Seen:
    with torch.no_grad():
        outputs = model.outputs(x)
    predicted = outputs.logits.argmax(dim=1)
    return _Seen(
        outputs.logits.softmax(dim=1).cpu(),
        attention_map(outputs.features).cpu(),
        grad_cam(model, x, predicted).cpu(),
    )


def _range(params: ExplainParams, change: NDArray[np.float64]) -> float:
    """Linf: the largest budget. L2: the largest change of any pixel at any budget."""
    if params.attack.norm is Norm.LINF:
        return params.max_epsilon
    return float(np.abs(change).max()) or 1 / 255


def _levels(
    epsilons: NDArray[np.float64],
    images: NDArray[np.uint8],
    change: NDArray[np.float64],
    span: float,
    teacher: _Seen,
    student: _Seen,
) -> tuple[Level, ...]:
    by_teacher, by_student = (_views(seen, teacher) for seen in (teacher, student))
    return tuple(
        Level(
            epsilon=float(eps),
            adversarial_png=png(images[i]),
            perturbation_png=png(diverging(change[i], span)),
            max_change=float(np.abs(change[i]).max()),
            l2_change=round(float(np.linalg.norm(change[i])), _DECIMALS),
            teacher=by_teacher[i],
            student=by_student[i],
        )
        for i, eps in enumerate(epsilons)
    )


def _views(seen: _Seen, teacher: _Seen) -> list[View]:
    """One view for each image; distances are to the teacher's maps of the first, clean one."""
    attention, cam = teacher.attention[:1], teacher.grad_cam[:1]
    own_attention = on_grid(seen.attention, attention.shape[1:])
    own_cam = on_grid(seen.grad_cam, cam.shape[1:])
    columns = (
        seen.probabilities,
        seen.attention,
        seen.grad_cam,
        l1_distance(own_attention, attention),
        cosine_distance(own_attention, attention.expand_as(own_attention)),
        l1_distance(own_cam, cam),
        cosine_distance(own_cam, cam.expand_as(own_cam)),
    )
    return [
        View(
            probabilities=tuple(probabilities),
            attention=_grid(attention_rows),
            grad_cam=_grid(cam_rows),
            attention_l1=distances[0],
            attention_cosine=distances[1],
            grad_cam_l1=distances[2],
            grad_cam_cosine=distances[3],
        )
        for probabilities, attention_rows, cam_rows, *distances in zip(
            *(_rounded(column) for column in columns), strict=True
        )
    ]


def _rounded(values: Tensor) -> list[Any]:
    """As nested lists of short decimals: the result is a page's worth of JSON."""
    rows: list[Any] = np.round(values.double().numpy(), _DECIMALS).tolist()
    return rows


def _grid(rows: list[list[float]]) -> Grid:
    return tuple(tuple(row) for row in rows)
