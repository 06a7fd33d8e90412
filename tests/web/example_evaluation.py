"""A full evaluation made by hand: every part filled, and counts that agree with one another.

Every image has the budget that each attack needs for it; all figures are counted from these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import Attack, EvaluateParams, Method, Recipe
from app.contracts.results import (
    Accuracy,
    AttackRow,
    AttentionDistance,
    AttentionFigures,
    AttentionInside,
    Check,
    ClassFigures,
    Corruption,
    CurvePoint,
    EmbeddingView,
    Environment,
    EvaluationResult,
    Gallery,
    GalleryImage,
    Light,
    Lineage,
    Look,
    Looks,
    Mean,
    ModelFigures,
    Outcomes,
    Pace,
    Projection,
    Verdict,
)
from app.contracts.units import from_255

TEACHER, STUDENT = "a1" * 16, "b2" * 16
DATASET = Lineage(id="d0" * 16, name="CIFAR-10 (JPEG)", sha256="0d" * 32)
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEST_IMAGES = 8000
_EMBEDDED = 60
_MEDIAN = {Recipe.CLEAN: from_255(0.9), Recipe.AGKD_BML: from_255(8.5)}
_WEAKNESS = {
    Method.FGSM: 0.5, Method.PGD: 0.16, Method.APGD_CE: 0.12, Method.APGD_T: 0.0,
    Method.FAB_T: 0.04, Method.SQUARE: 0.5, Method.HOP_SKIP_JUMP: 1.2, Method.TRANSFER: 1.5,
    Method.NOISE: 9.0,
}  # fmt: skip
"""How much more than the least budget an attack needs, on average."""
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNoaGgAAAMEAYFL09IQAAAAAElFTkSuQmCC"
)
"""A PNG of one grey pixel."""
_CORRUPTIONS = ("brightness", "contrast", "defocus_blur", "gaussian_noise", "jpeg", "pixelate")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Run:
    """One model on all images."""

    rng: np.random.Generator
    params: EvaluateParams
    labels: Ints
    classes: int
    predicted: Ints
    wrong: Ints
    """The class that an attack reaches, never the true one."""
    least: Floats
    """The smallest budget that breaks each image; 0 where the clean prediction is wrong."""

    def needed(self, method: Method) -> Floats:
        """The budget that one attack needs for each image."""
        seed = [ord(letter) for letter in method]
        extra = np.random.default_rng(seed).exponential(_WEAKNESS[method], len(self.labels))
        return self.least * (1 + extra)

    def accuracy(self, kept: Bools) -> Accuracy:
        return Accuracy.of(int(kept.sum()), len(kept))


def full_evaluation(
    models: Sequence[tuple[str, str, Recipe]] = (
        (TEACHER, "Teacher WRN-10-2", Recipe.CLEAN),
        (STUDENT, "AGKD-BML WRN-10-2", Recipe.AGKD_BML),
    ),
    *,
    images: int = 500,
    classes: Sequence[str] = CIFAR,
    light: Light = Light.AMBER,
    dataset: Lineage = DATASET,
) -> EvaluationResult:
    """Of models given by id, name and recipe. `light` is the verdict of the last one."""
    params = EvaluateParams(
        models=tuple(model for model, _, _ in models),
        dataset=dataset.id,
        images=images,
        attack=Attack(restarts=5),
        further=(Method.AUTOATTACK, Method.HOP_SKIP_JUMP, Method.TRANSFER, Method.NOISE),
        sources=(models[0][0],),
        epsilons=tuple(from_255(n) for n in (0, 1, 2, 4, 6, 8, 12, 16)),
        corruptions=True,
        embedding=True,
    )
    rng = np.random.default_rng(images + len(classes))
    labels = rng.integers(0, len(classes), images)
    numbers = tuple(sorted(rng.choice(max(TEST_IMAGES, images), images, False).tolist()))
    figures = []
    for model, name, recipe in models:
        run = _run(np.random.default_rng([images, len(figures)]), params, labels, classes, recipe)
        lit = light if model == models[-1][0] else Light.GREEN
        figures.append(_figures(run, model, name, recipe, lit, models[0][:2], numbers))
    return EvaluationResult(
        params=params,
        dataset=dataset,
        images=images,
        classes=tuple(classes),
        image_numbers=numbers,
        labels=tuple(labels.tolist()),
        models=tuple(figures),
        environment=Environment(
            code_version="0.2.0+5f3c1d2", torch="2.14.1", device="cpu", threads=2, seconds=5025.0
        ),
        pace=Pace(passes=5e6, an_image={Method.CW: 20.0, Method.ADAPTIVE: 40.0}),
    )


def _run(
    rng: np.random.Generator,
    params: EvaluateParams,
    labels: Ints,
    classes: Sequence[str],
    recipe: Recipe,
) -> _Run:
    count, number = len(labels), len(classes)
    wrong = (labels + 1 + np.floor((number - 1) * rng.random(count) ** 2).astype(int)) % number
    clean = rng.random(count) < (0.94 if recipe is Recipe.CLEAN else 0.83)
    spread = 0.35 if recipe is Recipe.CLEAN else 0.75
    easier = 1.25 - 0.5 * labels / number
    least = np.where(clean, _MEDIAN[recipe] * easier * rng.lognormal(0, spread, count), 0.0)
    return _Run(rng, params, labels, number, np.where(clean, labels, wrong), wrong, least)


def _figures(
    run: _Run,
    model: str,
    name: str,
    recipe: Recipe,
    light: Light,
    reference: tuple[str, str],
    numbers: Sequence[int],
) -> ModelFigures:
    rows, broken_by = _cascade(run, reference)
    stands = broken_by < 0
    worst = np.where(stands, run.labels, np.where(broken_by == 0, run.predicted, run.wrong))
    main = run.needed(Method.PGD)
    eps = run.params.epsilon
    return ModelFigures(
        model=model,
        name=name,
        sha256=hashlib.sha256(model.encode()).hexdigest(),
        clean=run.accuracy(broken_by != 0),
        robust=run.accuracy(stands),
        attacks=rows,
        against_epsilon=tuple(
            CurvePoint(x=x, accuracy=run.accuracy((main > x) & (stands | (x < eps))))
            for x in run.params.epsilons
        ),
        against_steps=tuple(
            CurvePoint(x=s, accuracy=run.accuracy(main * (1 + 0.9 / s) > eps))
            for s in run.params.step_counts
        ),
        against_restarts=tuple(
            CurvePoint(x=r, accuracy=run.accuracy(main * (1 + 0.04 / r) > eps))
            for r in range(1, run.params.attack.restarts + 1)
        ),
        against_queries=tuple(
            CurvePoint(x=q, accuracy=run.accuracy(run.needed(Method.SQUARE) * (1 + 40 / q) > eps))
            for q in (10, 30, 100, 300, 1000, 3000, 5000)
        ),
        per_class=tuple(_class_figures(run, broken_by, k) for k in range(run.classes)),
        confusion_clean=_confusion(run, run.predicted),
        confusion_robust=_confusion(run, worst),
        corruptions=_corruptions(run, recipe),
        attention=_attention(run, recipe, broken_by, reference),
        embedding=_embedding(run),
        verdict=_verdict(light, rows, len(run.labels)),
        outcomes=Outcomes(
            clean_prediction=tuple(run.predicted.tolist()),
            worst_prediction=tuple(worst.tolist()),
            broken_by=tuple(broken_by.tolist()),
            minimal_epsilon=tuple(
                None if value > run.params.epsilons[-1] else float(value) for value in main
            ),
        ),
        gallery=_gallery(run, broken_by, worst, numbers),
    )


def _gallery(run: _Run, broken_by: Ints, worst: Ints, numbers: Sequence[int]) -> Gallery:
    """Six flipped and six standing images, in plain colours, with maps of two by two."""
    shown = []
    for kind in (broken_by > 0, broken_by < 0):
        for i in np.flatnonzero(kind)[:6]:
            label, given = int(run.labels[i]), int(worst[i])
            clean = Look(prediction=label, probability=0.8, attention=((0.0, 1.0), (0.5, 0.25)))
            attacked = Look(prediction=given, probability=0.4, attention=((1.0, 0.0), (0.5, 0.5)))
            looks = Looks(clean=clean, adversarial=attacked)
            stands = broken_by[i] < 0
            shown.append(
                GalleryImage(
                    number=int(numbers[i]),
                    label=label,
                    broken_by=int(broken_by[i]),
                    least=None if stands else float(run.least[i]),
                    lead=0.3 if stands else -0.3,
                    clean_png=_PIXEL,
                    adversarial_png=_PIXEL,
                    model=looks,
                    teacher=looks,
                )
            )
    shown.sort(key=lambda image: np.inf if image.least is None else image.least)
    return Gallery(
        images=tuple(shown),
        of_flipped=int((broken_by > 0).sum()),
        of_standing=int((broken_by < 0).sum()),
    )


def _cascade(run: _Run, reference: tuple[str, str]) -> tuple[tuple[AttackRow, ...], Ints]:
    """The attacks one after the other, and the number of the one that broke each image."""
    parts = (Method.APGD_CE, Method.APGD_T, Method.FAB_T, Method.SQUARE)
    methods = (Method.FGSM, Method.PGD, *parts, Method.HOP_SKIP_JUMP, Method.TRANSFER, Method.NOISE)
    broken_by = np.where(run.least > 0, -1, 0)
    rows = []
    for number, method in enumerate(methods, 1):
        breaks = run.needed(method) <= run.params.epsilon
        new = (broken_by < 0) & breaks
        attacked = int((broken_by < 0).sum())
        broken_by[new] = number
        source = Lineage(id=reference[0], name=reference[1], sha256="a1" * 32)
        rows.append(
            AttackRow(
                method=method,
                source=source if method is Method.TRANSFER else None,
                part_of_autoattack=method in parts,
                attacked=attacked,
                broken=int(new.sum()),
                worst_case=run.accuracy(broken_by < 0),
                alone=run.accuracy(~breaks) if number <= 2 else None,
                largest=run.params.epsilon,
                seconds=0.4 * attacked * (1 if method is Method.FGSM else 2),
            )
        )
    return tuple(rows), broken_by


def _class_figures(run: _Run, broken_by: Ints, k: int) -> ClassFigures:
    of_class = run.labels == k
    if not of_class.any():
        return ClassFigures(clean=None, robust=None)
    return ClassFigures(
        clean=run.accuracy(broken_by[of_class] != 0), robust=run.accuracy(broken_by[of_class] < 0)
    )


def _confusion(run: _Run, predicted: Ints) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((run.classes, run.classes), int)
    np.add.at(counts, (run.labels, predicted), 1)
    return tuple(tuple(row) for row in counts.tolist())


def _corruptions(run: _Run, recipe: Recipe) -> tuple[Corruption, ...]:
    loss = 0.11 if recipe is Recipe.CLEAN else 0.05
    clean = run.least > 0
    return tuple(
        Corruption(
            name=name,
            severity=severity,
            accuracy=run.accuracy(clean & (run.rng.random(len(clean)) > loss * severity * hurt)),
        )
        for name, hurt in zip(_CORRUPTIONS, (0.2, 0.6, 1, 1.6, 0.8, 0.9), strict=True)
        for severity in range(1, 6)
    )


def _attention(
    run: _Run, recipe: Recipe, broken_by: Ints, reference: tuple[str, str]
) -> AttentionFigures:
    count = len(run.labels)
    flipped = broken_by > 0
    moves = 0.16 if recipe is Recipe.CLEAN else 0.04
    own = 0.0 if recipe is Recipe.CLEAN else 0.05
    clean = own * run.rng.lognormal(0, 0.3, count)
    l1 = clean + moves * run.rng.lognormal(0, 0.4, count) * np.where(flipped, 1.3, 0.8)
    area = run.rng.uniform(0.15, 0.35, count)
    return AttentionFigures(
        reference=Lineage(id=reference[0], name=reference[1], sha256="a1" * 32),
        images=count,
        distances=(
            _distance("l1", clean, l1, flipped),
            _distance("cosine", 0.6 * clean, 0.7 * l1, flipped),
            _distance("iou", 1 - 2 * clean, np.clip(1 - 2.5 * l1, 0, 1), flipped),
        ),
        inside=AttentionInside(
            clean=Mean.of((area + 0.3).tolist()),
            adversarial=Mean.of((area + 0.25 - l1).tolist()),
            area=Mean.of(area.tolist()),
            pointing_clean=Accuracy.of(int(0.84 * count), count),
            pointing_adversarial=Accuracy.of(int(0.61 * count), count),
        ),
        clean_l1=tuple(clean.tolist()),
        adversarial_l1=tuple(l1.tolist()),
        flipped=tuple(flipped.tolist()),
    )


def _distance(
    measure: Literal["l1", "cosine", "iou"], clean: Floats, adversarial: Floats, flipped: Bools
) -> AttentionDistance:
    far, near = adversarial[flipped], adversarial[~flipped]
    if measure == "iou":
        far, near = -far, -near
    both = len(far) and len(near)
    return AttentionDistance(
        measure=measure,
        clean=Mean.of(clean.tolist()),
        adversarial=Mean.of(adversarial.tolist()),
        adversarial_kept=Mean.of(adversarial[~flipped].tolist()) if len(near) else None,
        adversarial_flipped=Mean.of(adversarial[flipped].tolist()) if len(far) else None,
        auc=float((far[:, None] > near[None, :]).mean()) if both else None,
    )


def _embedding(run: _Run) -> EmbeddingView:
    """Each class around a place of its own; forward and backward examples between two of them."""
    labels, confusing = run.labels[:_EMBEDDED], run.wrong[:_EMBEDDED]

    def around(k: Ints) -> Floats:
        turn = 2 * np.pi * k / run.classes
        return np.stack([np.cos(turn), np.sin(turn)]) + run.rng.normal(0, 0.12, (2, len(k)))

    clean, other = around(labels), around(confusing)
    points = np.concatenate([clean, 0.6 * clean + 0.4 * other, 0.4 * clean + 0.6 * other], axis=1)
    return EmbeddingView(
        classes=tuple(labels.tolist()),
        confusing=tuple(confusing.tolist()),
        projections=(
            Projection(name="pca", x=points[0].tolist(), y=points[1].tolist(), explained=0.41),
            Projection(name="tsne", x=(20 * points[1]).tolist(), y=(-20 * points[0]).tolist(),
                       explained=None),
        ),
    )  # fmt: skip


_CHECKS = (
    ("autoattack_gap", "AutoAttack finds little that PGD missed", "{gap:.1f} points",
     "PGD and AutoAttack agree: the gradients are useful."),
    ("white_box_is_strongest", "Black-box attacks break nothing that white-box ones left",
     "0 of {n} images", "Neither Square nor transfer nor hard labels found anything new."),
    ("interval", "The sample is large enough", "± 4.3 points, n = {n}",
     "The 95 % interval is narrower than 10 points."),
    ("inputs", "Inputs lie in [0, 1] and outputs are logits", "sum of outputs −3.4 to 11.2",
     "The model returns logits, not probabilities."),
    ("repeatable", "Two passes agree", "largest difference 0", "The model is deterministic."),
    ("zero_gradients", "Gradients carry information", "0.0 % all zero, n = 64",
     "No gradient was all zero, NaN or infinite."),
    ("steps_help", "Twice the steps change little", "0.2 points",
     "The attack has converged at 20 steps."),
    ("epsilon_monotone", "Accuracy falls with the budget", "0.0 points of rise",
     "No larger budget left more images correct."),
    ("budget_one", "Nothing survives ε = 1", "0 of 64 images",
     "At the full range the model is at chance or below."),
    ("perturbations", "Perturbations stay inside the budget", "largest 8/255",
     "Every adversarial image was measured again: norm, range and NaN."),
    ("best_iterate", "What attacks call broken is broken, and the best iterate is kept",
     "0 not confirmed, over all runs; in the probe the best iterate broke 64, the last 61 of 64",
     "An image counts as broken by the iterate that broke it, and it did so again when measured "
     "again."),
    ("rounding", "The attack survives 8-bit images", "0.1 points",
     "Rounded to 256 levels the images still break the model."),
)  # fmt: skip
_DOUBTS = {
    Light.AMBER: (
        "autoattack_gap", Light.AMBER, "{gap:.1f} points",
        "AutoAttack breaks clearly more than PGD: quote AutoAttack, and look for masked gradients.",
    ),
    Light.RED: (
        "zero_gradients", Light.RED, "71.9 % all zero, n = 64",
        "The gradients say nothing about the model. The robust accuracy is not to be quoted; "
        "attack through the quantisation (BPDA).",
    ),
}  # fmt: skip
_WHOLE = {
    Light.GREEN: "Nothing speaks against these figures: every check is green.",
    Light.AMBER: "One check is unusual: read it before quoting the robust accuracy.",
    Light.RED: "The evaluation is broken: the robust accuracy is not to be quoted.",
}


def _verdict(light: Light, rows: Sequence[AttackRow], n: int) -> Verdict:
    """Green but for the one check that makes it `light`."""
    alone = next(row.alone for row in rows if row.method is Method.PGD)
    last = next(row.worst_case for row in rows if row.method is Method.SQUARE)
    assert alone is not None
    told = {"n": n, "gap": 100 * (alone.value - last.value)}
    doubt = _DOUBTS.get(light)
    checks = []
    for name, title, figure, sentence in _CHECKS:
        seen = (Light.GREEN, figure, sentence)
        if doubt is not None and name == doubt[0]:
            seen = doubt[1:]
        checks.append(
            Check(
                id=name, title=title, light=seen[0], figure=seen[1].format(**told), sentence=seen[2]
            )
        )
    worst_first = sorted(checks, key=lambda check: check.light is Light.GREEN)
    return Verdict(light=light, sentence=_WHOLE[light], checks=tuple(worst_first))
