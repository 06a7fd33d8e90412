"""Checks of the main attack: whether it finds what its gradients should lead it to, honestly."""

from __future__ import annotations

from app.contracts.params import Norm
from app.contracts.results import Check, Light
from app.contracts.words import attack, counted, percent, points, threat_model
from worker.evaluation.verdict.checks import (
    NONE_RIGHT,
    check,
    images,
    light_of,
    of,
    unmeasured,
    worst,
)
from worker.evaluation.verdict.evidence import Answers, Facts, Probe
from worker.evaluation.verdict.thresholds import (
    ALLOWED,
    DOUBLING,
    DOUBLING_LARGE,
    ONLY_FGSM,
    ROUNDING,
    ROUNDING_LARGE,
    ROUNDING_MATTERS,
)


def stronger_than_fgsm(facts: Facts, probe: Probe) -> Check:
    name, title = "stronger_than_fgsm", "The main attack is stronger than FGSM"
    if facts.fgsm is None:
        return unmeasured(
            name, title, "No control of one step", "FGSM is not defined in this norm."
        )
    n, ahead = facts.main.n, facts.main.correct - facts.fgsm.correct
    missed = Light.AMBER if facts.only_fgsm / n > ONLY_FGSM else Light.GREEN
    light = worst((light_of(max(0, ahead), n, amber=0, red=ALLOWED), missed))
    if facts.attack.method.record.one_step and facts.autoattack is None:
        light = worst((light, Light.AMBER))
    return check(
        name,
        title,
        light,
        f"{percent(facts.main.value)} against {percent(facts.fgsm.value)}; FGSM alone broke "
        f"{of(facts.only_fgsm, n)}",
        _outrun(facts, ahead),
        green="Many small steps find at least what one long step finds.",
        **(_MISLED if facts.attack.crosses else _too_short(facts)),
    )


_MISLED = {
    "amber": "FGSM is the main attack, or broke images that the main attack missed. The gradients "
    "may mislead small steps: add restarts, and `autoattack`.",
    "red": "One long step breaks more than many small ones: the gradients close to the image "
    "mislead the attack. Add attacks that need no gradients, and look for masking.",
}


def _too_short(facts: Facts) -> dict[str, str]:
    """The nearest cause where the main attack's steps do not add up to a way through the ball."""
    attack = facts.attack
    steps = counted(attack.steps, "step")
    said = (
        f"{steps} of {attack.relative_step:g} ε cannot cross the ball, one long step can: FGSM is "
        "ahead because the main attack ends early, which says nothing about gradients. Give it "
        "more steps, or longer ones, before anything is read from this."
    )
    return {"amber": said, "red": said}


def _outrun(facts: Facts, ahead: int) -> str:
    n = facts.main.n
    if facts.attack.method.record.one_step:
        return "A single step is the strongest attack that was tried"
    if ahead > 0:
        return f"One long step broke {of(ahead, n)} more than {attack(facts.attack)}"
    return f"One long step broke {of(facts.only_fgsm, n)} that {attack(facts.attack)} missed"


def falls_with_epsilon(facts: Facts, probe: Probe) -> Check:
    lowest, rise, at = probe.images, 0, 0.0
    for eps, correct in probe.by_epsilon:
        if correct - lowest > rise:
            rise, at = correct - lowest, eps
        lowest = min(lowest, correct)
    where = f", at ε = {threat_model(facts.attack.norm, at)}" if rise else ""
    return check(
        "falls_with_epsilon",
        "Accuracy does not rise with the budget",
        light_of(rise, probe.images, amber=0, red=ALLOWED),
        f"largest rise {of(rise, probe.images)}{where}; {len(probe.by_epsilon)} budgets",
        f"A larger budget left {of(rise, probe.images)} more right",
        green="With every budget attacked on its own, a larger one never helped the model.",
        amber="A larger budget left the odd image more. With so few images that can be chance: "
        "look at the other checks.",
        red="The larger ball contains the smaller one, so an attack that finds less in it gets "
        "lost. Change the step size or the attack.",
    )


def converged(facts: Facts, probe: Probe) -> Check:
    name, title = "converged", "Twice the steps change little"
    if facts.doubled is None:
        return unmeasured(
            name,
            title,
            "Whether more steps would break more is not known",
            "the main attack takes no further steps to look at.",
        )
    change = facts.main.value - facts.doubled.value
    light = Light.GREEN if change < DOUBLING else Light.AMBER
    if change > DOUBLING_LARGE and facts.main.correct - facts.doubled.correct >= 2:
        # With AutoAttack the figure no longer rests on the main attack's steps.
        light = Light.RED if facts.autoattack is None else Light.AMBER
    return check(
        name,
        title,
        light,
        f"{points(change)} from {facts.attack.steps} to {2 * facts.attack.steps} steps, "
        f"n = {facts.main.n:,}",
        f"Twice the steps break {points(change)} more",
        green="The main attack has converged.",
        amber="The main attack has not converged. Give it more steps before quoting it.",
        red="The main attack is far from done, and no other one stands behind the figure. Give it "
        "several times the steps.",
    )


def whole_range(facts: Facts, probe: Probe) -> Check:
    n, classes = probe.images, facts.classes
    above = max(0, probe.whole_range - n // classes)
    return check(
        "whole_range",
        "The whole range of pixels leaves no more than chance",
        light_of(above, n, amber=0, red=0),
        f"{percent(probe.whole_range / n)} right, chance {percent(1 / classes)}, n = {n}",
        f"With any change allowed, {percent(probe.whole_range / n)} are still right",
        green="With a budget that can turn any image into any other, nothing is left but guessing.",
        amber="One image more than chance is left. With so few images that can be chance.",
        red="The attack may turn any image into any other, and still fails: it is broken or "
        "misled, and will be at small budgets too.",
    )


def unbounded(facts: Facts, probe: Probe) -> Check:
    name, title = "unbounded", "An unbounded attack always succeeds"
    tried = probe.unbounded
    if tried.attacked == 0:
        return unmeasured(name, title, NONE_RIGHT, "no image of the probe is right when clean.")
    return check(
        name,
        title,
        light_of(tried.attacked - tried.broken, tried.attacked, amber=0, red=0),
        f"broke {of(tried.broken, tried.attacked)}",
        f"{of(tried.attacked - tried.broken, tried.attacked)} withstood any change at all",
        green="With enough small steps every image is led to another class.",
        amber="One image withstood any change at all: the gradients may lead nowhere there.",
        red="Images withstood any change at all, which no classifier can: the gradients lead "
        "nowhere. What the attack does not break is not robust.",
    )


def perturbations(facts: Facts, probe: Answers) -> Check:
    inside = facts.largest <= facts.epsilon + facts.slack  # false for NaN
    sound = inside and facts.out_of_range == 0 and facts.not_finite == 0
    return check(
        "perturbations",
        "Perturbations keep to the budget",
        Light.GREEN if sound else Light.RED,
        f"largest {_precise(facts.largest, facts.attack.norm)} of "
        f"{threat_model(facts.attack.norm, facts.epsilon)}; {facts.out_of_range:,} outside [0, 1], "
        f"{facts.not_finite:,} not finite",
        "Attacks returned images that the threat model does not allow",
        green="Every perturbed image was measured again: norm, range and NaN.",
        red="An attack returned images that the threat model does not allow. They were not counted "
        "as broken, but an attack that wanders off has not been tried in earnest.",
    )


def rounding(facts: Facts, probe: Probe) -> Check:
    name, title = "rounding", "The attack survives 8-bit images"
    untold = "Whether the attacked images would survive as files is not known"
    if probe.rounding is None:
        return unmeasured(name, title, untold, "in L1 no attack has plain iterates.")
    before, after = probe.rounding
    healed = max(0, before - after)
    if before == 0:
        return unmeasured(
            name, title, untold, "the attack's last iterate broke no image of the probe."
        )
    light = light_of(healed, before, amber=ROUNDING, red=ROUNDING_LARGE)
    if facts.attack.norm is not Norm.LINF or facts.epsilon < ROUNDING_MATTERS:
        light = Light.GREEN if light is Light.GREEN else Light.AMBER
    return check(
        name,
        title,
        light,
        f"rounding healed {of(healed, before)} that the attack broke",
        f"Rounded to 8 bits, {of(healed, before)} no longer break the model",
        green="Rounded to n/255, the perturbed images still break the model: they could be files.",
        amber="Some perturbed images break the model only between two grey levels. At small "
        "budgets that is common; stored as files, they would be harmless.",
        red="Most perturbed images break the model only between two grey levels: the attack lives "
        "on rounding, not on the image.",
    )


def best_iterate(facts: Facts, probe: Probe) -> Check:
    kept = ""
    if probe.iterates is not None:
        best, last = probe.iterates
        kept = (
            f"; in the probe the best iterate broke {best:,}, the last {last:,} of {probe.images:,}"
        )
    return check(
        "best_iterate",
        "What attacks call broken is broken, and the best iterate is kept",
        light_of(facts.disproved, facts.main.n, amber=0, red=ALLOWED),
        f"{facts.disproved:,} not confirmed, over all runs{kept}",
        f"{images(facts.disproved)} called broken proved right when measured again",
        green="An image counts as broken by the iterate that broke it, and it did so again when "
        "measured again.",
        amber="The odd image was right when measured again; it counts as standing. Rounding can do "
        "that at the boundary.",
        red="Images that the attacks had broken were right when measured again. The model is "
        "random, or the attack saw another model than the one that is measured.",
    )


def _precise(length: float, norm: Norm) -> str:
    return f"{255 * length:.5g}/255" if norm is Norm.LINF else f"{length:.6g}"
