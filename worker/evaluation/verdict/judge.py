"""The trust verdict: whether a robust accuracy can be quoted, from numbers alone.

Each check answers one of the ways in which published evaluations have been wrong; `docs/trust.md`
says for each where it comes from and what to do when it fires. Thresholds are in `thresholds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.contracts.results import Check, Light, Verdict
from app.contracts.words import interval, percent, threat_model
from worker.evaluation.verdict import answer_checks, attack_checks, model_checks, second_opinions
from worker.evaluation.verdict.checks import NOT_MEASURED, worst, worst_first
from worker.evaluation.verdict.evidence import Answers, Facts, Probe, Tried

__all__ = ["CHECKS", "Facts", "Probe", "Tried", "judge"]

CHECKS: tuple[Callable[[Facts, Probe], Check], ...] = (
    model_checks.zero_gradients,
    model_checks.finite_gradients,
    attack_checks.unbounded,
    attack_checks.whole_range,
    attack_checks.falls_with_epsilon,
    second_opinions.autoattack_gap,
    second_opinions.noise,
    second_opinions.square,
    second_opinions.transfer,
    second_opinions.hard_label,
    attack_checks.stronger_than_fgsm,
    attack_checks.converged,
    second_opinions.adaptive,
    model_checks.inputs_in_range,
    model_checks.outputs_are_logits,
    model_checks.passes_agree,
    attack_checks.perturbations,
    attack_checks.best_iterate,
    attack_checks.rounding,
    model_checks.undefended_teacher,
    model_checks.better_than_chance,
    model_checks.selection,
    model_checks.sample_size,
    model_checks.goal,
)
"""Every check; those that say most come first among checks of one light."""

ANSWER_CHECKS: tuple[Callable[[Facts, Answers], Check], ...] = (
    answer_checks.gradients_followed,
    answer_checks.other_questions,
    answer_checks.queries_suffice,
    model_checks.inputs_in_range,
    model_checks.passes_agree,
    attack_checks.perturbations,
    answer_checks.answers_called_broken,
    model_checks.better_than_chance,
    model_checks.selection,
    model_checks.sample_size,
)
"""The same of an evaluation that asked for answers alone; the first is never green."""

_TOLD = 3


def judge(facts: Facts, probe: Answers) -> Verdict:
    """Every check once, worst first; without a `Probe` those of answers. The verdict is as bad as
    the worst of them.

    Raises:
        ValueError: a probe of no images, or accuracies of different numbers of images.
    """
    _check_numbers(facts, probe)
    found = (
        [check(facts, probe) for check in CHECKS]
        if isinstance(probe, Probe)
        else [check(facts, probe) for check in ANSWER_CHECKS]
    )
    checks = worst_first(found)
    light = worst(check.light for check in checks)
    return Verdict(light=light, sentence=_in_words(facts, light, checks), checks=checks)


def _check_numbers(facts: Facts, probe: Answers) -> None:
    if probe.images < 1:
        raise ValueError("a probe needs at least one image")
    given = (
        facts.clean, facts.robust, facts.main, facts.fgsm, facts.doubled, facts.halved,
        facts.autoattack,
    )  # fmt: skip
    sizes = {accuracy.n for accuracy in given if accuracy is not None}
    if len(sizes) > 1:
        raise ValueError(f"accuracies of one run have one n, not {sorted(sizes)}")


def _in_words(facts: Facts, light: Light, checks: Sequence[Check]) -> str:
    robust = facts.robust
    figure = (
        f"{percent(robust.value)} of {robust.n:,} images (95 % interval {interval(robust)}) stayed "
        "right under every attack that was tried at "
        f"ε = {threat_model(facts.attack.norm, facts.epsilon)}"
    )
    if light is Light.RED:
        failed = [check for check in checks if check.light is Light.RED]
        return (
            f"Do not quote {percent(robust.value)} as robust accuracy: this evaluation is broken, "
            f"and the model may withstand far less. Failed: {_titles(failed)}."
        )
    if light is Light.AMBER:
        return (
            f"{figure}. Treat it as an upper bound, and do not quote it without these "
            f"reservations. {_reservations(checks)}"
        )
    return (
        f"{figure}. Every check is green, so it can be quoted with this budget and these attacks. "
        "It remains an upper bound: a stronger attack may exist."
    )


def _reservations(checks: Sequence[Check]) -> str:
    """What was not measured, and what is in doubt: a sentence of each, where there are any."""
    amber = [check for check in checks if check.light is Light.AMBER]
    missing = [check for check in amber if check.figure == NOT_MEASURED]
    doubted = [check for check in amber if check.figure != NOT_MEASURED]
    named = (("Not measured", missing), ("In doubt", doubted))
    return " ".join(f"{name}: {_titles(found)}." for name, found in named if found)


def _titles(checks: Sequence[Check]) -> str:
    """`“one”, “two”, “three” and 4 more`."""
    told = ", ".join(f"“{check.title}”" for check in checks[:_TOLD])
    more = len(checks) - _TOLD
    return f"{told} and {more} more" if more > 0 else told
