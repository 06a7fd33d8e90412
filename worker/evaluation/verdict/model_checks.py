"""Checks of the model, of the images, and of what the figure can stand for."""

from __future__ import annotations

from app.contracts.params import Goal
from app.contracts.results import Check, Light
from app.contracts.words import goal as goal_of
from app.contracts.words import percent, points
from worker.evaluation.verdict.checks import (
    NONE_RIGHT,
    check,
    images,
    light_of,
    of,
    unmeasured,
)
from worker.evaluation.verdict.evidence import Answers, Facts, Probe
from worker.evaluation.verdict.thresholds import (
    HALF_WIDTH,
    PASSES_APART,
    PASSES_UNUSUAL,
    UNDEFENDED,
    ZERO_GRADIENTS,
)

_KEPT = {"best": "the best epoch on held-out training images", "last": "the last epoch"}


def inputs_in_range(facts: Facts, probe: Answers) -> Check:
    within = probe.input_low >= 0 and probe.input_high <= 1  # false for NaN
    return check(
        "inputs_in_range",
        "Images lie in [0, 1]",
        Light.GREEN if within else Light.RED,
        f"{probe.input_low:.3g} to {probe.input_high:.3g}, n = {probe.images}",
        f"Pixels reach from {probe.input_low:.3g} to {probe.input_high:.3g}, not from 0 to 1",
        green="Budgets mean what they say: images are in the range in which ε is given.",
        red="A budget means nothing outside [0, 1]. Normalise inside the model, not the data.",
    )


def outputs_are_logits(facts: Facts, probe: Probe) -> Check:
    light, figure = {
        "logits": (Light.GREEN, "logits"),
        "unit": (Light.AMBER, "all in [0, 1]"),
        "probabilities": (Light.RED, "probabilities: rows sum to one"),
        "not_finite": (Light.RED, "NaN or infinite"),
    }[probe.outputs]
    return check(
        "outputs_are_logits",
        "Outputs are logits",
        light,
        f"{figure}, n = {probe.images}",
        f"Outputs are no logits: {figure}",
        green="The attacks' losses apply their softmax to logits, as they must.",
        amber="All outputs lie in [0, 1]: if a sigmoid ends the model, remove it, as it flattens "
        "the gradients.",
        red="A softmax on top of a softmax, or outputs that are no numbers, leave the attack "
        "without gradients. Return the raw logits of the last layer.",
    )


def passes_agree(facts: Facts, probe: Answers) -> Check:
    gap = probe.passes_gap
    light = Light.GREEN if gap <= PASSES_UNUSUAL else Light.AMBER
    return check(
        "passes_agree",
        "Repeated passes agree",
        light if gap <= PASSES_APART else Light.RED,
        f"largest difference {gap:.1e} of the largest output, n = {probe.images}",
        f"The model answers otherwise when asked again: {gap:.1e} of the largest output",
        green="The model answers the same, whatever order and company an image comes in.",
        amber="Answers vary a little from pass to pass: look for low-precision arithmetic.",
        red="The model is random, or depends on the other images of the batch, so that attacks aim "
        "at a moving target. Put it in eval mode, or attack the expectation over its randomness.",
    )


def zero_gradients(facts: Facts, probe: Probe) -> Check:
    name, title = "zero_gradients", "Gradients are not zero"
    if probe.gradients == 0:
        return unmeasured(name, title, NONE_RIGHT, "no image of the probe is right when clean.")
    return check(
        name,
        title,
        light_of(probe.zero_gradients, probe.gradients, amber=0, red=ZERO_GRADIENTS),
        f"all zero for {of(probe.zero_gradients, probe.gradients)}",
        f"The gradient is exactly zero for {of(probe.zero_gradients, probe.gradients)}",
        green="The loss of the attack has a direction for every image.",
        amber="For the odd image the loss has no direction, and the attack stands still. Try `cw` "
        "or `autoattack` as well.",
        red="The attack stands still where the gradient is zero, which says nothing about "
        "robustness. Look for saturated logits (attack with `apgd_dlr`) or rounding inside the "
        "model (attack it without).",
    )


def finite_gradients(facts: Facts, probe: Probe) -> Check:
    name, title = "finite_gradients", "Gradients are finite"
    if probe.gradients == 0:
        return unmeasured(name, title, NONE_RIGHT, "no image of the probe is right when clean.")
    return check(
        name,
        title,
        Light.RED if probe.bad_gradients else Light.GREEN,
        f"NaN or infinite for {of(probe.bad_gradients, probe.gradients)}",
        f"The gradient is no number for {of(probe.bad_gradients, probe.gradients)}",
        green="No gradient overflowed or divided by zero.",
        red="The attack cannot follow a gradient that is no number. Find the operation that "
        "divides by zero or overflows.",
    )


def undefended_teacher(facts: Facts, probe: Probe) -> Check:
    name, title = "undefended_teacher", "The same attack defeats an undefended model"
    if facts.recipe and facts.recipe.is_teacher:
        correct, n, whose = facts.robust.correct, facts.robust.n, "the model itself, undefended"
    elif probe.teacher is not None and facts.teacher_recipe and facts.teacher_recipe.is_teacher:
        correct, n, whose = probe.teacher, probe.images, "the teacher"
    else:
        why = _no_undefended(facts, probe)
        return unmeasured(
            name,
            title,
            f"Nothing shows what this attack does to an undefended model: {why}",
            f"{why}, so nothing shows what the attack can do.",
        )
    return check(
        name,
        title,
        Light.GREEN if correct / n < UNDEFENDED else Light.AMBER,
        f"{whose}: {percent(correct / n)} right, n = {n:,}",
        f"A model without any defence keeps {percent(correct / n)}",
        green="At this budget the attack leaves under 1 % of a model without any defence.",
        amber="A model without any defence keeps 1 % or more. Either the budget is so small that "
        "withstanding it says little, or the attack is too weak: compare at 8/255.",
    )


def _no_undefended(facts: Facts, probe: Probe) -> str:
    """Why there is no model without a defence to hold against."""
    if probe.teacher is None:
        return "no undefended teacher is known"
    if facts.teacher_recipe is None:
        return "nobody told how the teacher was trained"
    return "the teacher was trained on adversarial images itself"


def better_than_chance(facts: Facts, probe: Answers) -> Check:
    """Than the best answer without looking: the commonest class, which is 1/K or more."""
    chance = facts.commonest
    return check(
        "better_than_chance",
        "The model is right more often than by chance",
        Light.GREEN if facts.clean.low > chance else Light.AMBER,
        f"{percent(facts.clean.value)} of clean images, the commonest class alone "
        f"{percent(chance)}, n = {facts.clean.n:,}",
        f"Only {percent(facts.clean.value)} of clean images are right: to name the commonest class "
        f"each time gives {percent(chance)}",
        green="There is something to defend: clean images are told apart.",
        amber="A model that answers at random, or always the same, withstands attacks without "
        "having learned anything. Train it longer, or measure more images.",
    )


def sample_size(facts: Facts, probe: Answers) -> Check:
    half = (facts.robust.high - facts.robust.low) / 2
    return check(
        "sample_size",
        "The sample is large enough",
        Light.GREEN if half <= HALF_WIDTH else Light.AMBER,
        f"± {points(half)} (95 %), n = {facts.robust.n:,}",
        f"Only {images(facts.robust.n)}: ± {100 * half:.0f} points",
        green="Other images of the same kind would give a figure within the interval.",
        amber="The interval is wider than ± 5 points, more than most defences differ by. Measure "
        "more images.",
    )


def selection(facts: Facts, probe: Answers) -> Check:
    name, title = "selection", "The model was not chosen on test images"
    if facts.kept is None:
        return unmeasured(
            name,
            title,
            "On which images these weights were chosen is not known",
            "these weights came from elsewhere, and on which images they were chosen is not known. "
            "Make sure that it was not on the test images: the figure would be the best of many.",
        )
    return check(
        name,
        title,
        Light.GREEN,
        _KEPT[facts.kept],
        green="The test images had no say in which epoch was kept.",
    )


def goal(facts: Facts, probe: Probe) -> Check:
    untargeted = facts.attack.goal is Goal.UNTARGETED
    return check(
        "goal",
        "The attack may reach any wrong class",
        Light.GREEN if untargeted else Light.AMBER,
        f"{facts.attack.goal.value.replace('_', ' ')}, {images(facts.robust.n)}",
        f"The attack may not reach any wrong class: it goes {goal_of(facts.attack)}",
        green="Any error counts, and the attack is free to choose the nearest.",
        amber="An attack that aims at given classes is weaker than one that takes any. The figure "
        "holds for this goal alone.",
    )
