"""What a verdict is built on: facts of the whole run, and a probe of a small part of the images.

Numbers only, so that a verdict can be worked out again wherever they are stored. A count is of
images. An `Accuracy` counts the images that are still right, of all that the run measured, those
that are wrong when clean included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.contracts.params import Attack, Recipe
from app.contracts.results import Accuracy, AttackRow

OutputKind = Literal["logits", "unit", "probabilities", "not_finite"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the run over all images knows of one model, at the budget of the threat model.

    All accuracies have the same n: the images of the run.
    """

    classes: int
    """K, at least 2."""
    commonest: float
    """The share of the images that are of their commonest class: who always says it is right so
    often."""
    epsilon: float
    """Budget of the threat model, in units of [0, 1], in the norm of `attack`."""
    attack: Attack
    """The main attack: method, norm, steps, goal."""
    clean: Accuracy
    robust: Accuracy
    """The worst case over all attacks, image by image."""
    main: Accuracy
    """Under the main attack alone, all its restarts, after `attack.steps` steps."""
    doubled: Accuracy | None
    """The same after twice as many steps (never more images than in `main`). None where it was not
    measured, which is so for FGSM: it has one step."""
    halved: Accuracy | None = None
    """Under the main attack after half of its queries (never fewer images than in `main`). None for
    an attack of steps."""
    fgsm: Accuracy | None
    """Under FGSM alone, with the same goal as the main attack. None in L1, where it is not
    defined."""
    only_fgsm: int
    """Images that FGSM broke and the main attack, after all its steps and restarts, did not."""
    autoattack: Accuracy | None
    """The worst case after the last part of AutoAttack standard (with what ran before it); None
    where it did not run."""
    attacks: tuple[AttackRow, ...]
    """Every attack in the order in which they ran, as they stand in the result; those of black-box
    methods (`square`, `hop_skip_jump`, `transfer`, `noise`) and of adaptive ones (`adaptive`,
    `feature`) are looked up here by their method. A method that is not here did not run."""
    largest: float
    """The largest norm of any perturbation that any attack returned, in units of [0, 1]; infinite
    where one was not finite."""
    slack: float = 1e-6
    """By how much rounding may carry a perturbation out of its ball."""
    out_of_range: int
    """Perturbed images with a pixel outside [0, 1], over all attacks."""
    not_finite: int
    """Perturbed images with a NaN or an infinite pixel, over all attacks."""
    disproved: int
    """Images that an attack reported as broken (a `first_break` within its steps) and that were
    right when measured again, over all attacks."""
    kept: Literal["best", "last"] | None
    """Which epoch the model is: the best on held-out images, or the last. None where nobody knows
    how it was chosen, as of imported weights."""
    recipe: Recipe | None
    """How the model was trained; None where that is not known. One that was trained on clean images
    alone stands for the undefended teacher itself."""
    teacher_recipe: Recipe | None
    """How its teacher was trained; None where there is none, or that is not known."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An attack on part of the probe."""

    attacked: int
    broken: int
    """Of these."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a small part of the images showed, in raw runs: every budget attacked on its own, no
    bound taken from another run. Attacks are untargeted. `worker.evaluation.probing` makes it.
    """

    images: int
    """N, at least 1."""
    input_low: float
    """The smallest pixel of the clean images; NaN if any is NaN."""
    input_high: float
    passes_gap: float
    """The largest difference between outputs of two passes over the same images, the second one in
    another order and other batches, as a share of the largest output; infinite where not finite."""
    hard_label: Tried | None
    """HopSkipJump, on a few of the images that stand. None where the run itself had it, or it
    cannot be had."""


@dataclass(frozen=True, kw_only=True)
class Probe(Answers):
    """The same of a run along gradients, with what these show."""

    outputs: OutputKind
    """`probabilities`: not negative, and each row sums to one. `unit`: all in [0, 1] without that.
    `not_finite`: NaN or infinite somewhere."""
    gradients: int
    """Images whose gradients were looked at: those that are right when clean."""
    zero_gradients: int
    """Of these, those whose gradient of the attack's loss is exactly zero, at the image or at the
    attack's start."""
    bad_gradients: int
    """Of these, those whose gradient has a NaN or an infinity in it."""
    by_epsilon: tuple[tuple[float, int], ...]
    """(budget, images still right), budgets rising from 0."""
    whole_range: int
    """Images still right under the main attack with a budget that covers the whole of [0, 1]."""
    unbounded: Tried
    """Many small steps, held by nothing but [0, 1], on the images that are right when clean."""
    noise: Tried | None
    """Random points of the ball, on the images that stand. None where the run itself had it, or it
    cannot be had; so are the next three."""
    square: Tried | None
    transfer: Tried | None
    """PGD on the teacher."""
    adaptive: Tried | None
    teacher: int | None
    """Images on which the teacher, defended or not, is still right under the main attack; None
    without a teacher."""
    rounding: tuple[int, int] | None
    """Images whose last iterate breaks them: as it is, and rounded to 8 bits inside the ball. None
    in L1, where no attack has plain iterates."""
    iterates: tuple[int, int] | None
    """Images that some iterate breaks, and that the last one breaks; None as above."""
