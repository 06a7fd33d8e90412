"""Checks by other attacks: whether one of another kind breaks what the first ones missed."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.params import Method
from app.contracts.results import Check
from app.contracts.words import attack, percent, points
from worker.evaluation.verdict.checks import check, light_of, nothing_left, of, unmeasured, worst
from worker.evaluation.verdict.evidence import Facts, Probe, Tried
from worker.evaluation.verdict.thresholds import ADAPTIVE_LARGE, ALLOWED, GAP, GAP_LARGE


def noise(facts: Facts, probe: Probe) -> Check:
    return _black_box(
        facts,
        probe,
        "noise",
        "Random points break nothing that the attacks missed",
        Method.NOISE,
        probe.noise,
    )


def square(facts: Facts, probe: Probe) -> Check:
    return _black_box(
        facts,
        probe,
        "square",
        "Square breaks nothing that gradients missed",
        Method.SQUARE,
        probe.square,
    )


def transfer(facts: Facts, probe: Probe) -> Check:
    return _black_box(
        facts,
        probe,
        "transfer",
        "Transfer breaks nothing that gradients missed",
        Method.TRANSFER,
        probe.transfer,
    )


def hard_label(facts: Facts, probe: Probe) -> Check:
    return _black_box(
        facts,
        probe,
        "hard_label",
        "Hard labels break nothing that gradients missed",
        Method.HOP_SKIP_JUMP,
        probe.hard_label,
    )


def autoattack_gap(facts: Facts, probe: Probe) -> Check:
    name, title = "autoattack_gap", "AutoAttack finds little that the main attack missed"
    if facts.autoattack is None and facts.robust.correct == 0:
        return nothing_left(name, title)
    if facts.autoattack is None:
        return unmeasured(
            name,
            title,
            "AutoAttack did not run",
            "AutoAttack did not run. Published figures need it; add `autoattack`, as the figure is "
            "likely to fall by some points.",
        )
    n, more = facts.main.n, facts.main.correct - facts.autoattack.correct
    return check(
        name,
        title,
        light_of(more, n, amber=GAP, red=GAP_LARGE),
        f"{points(more / n)}: {percent(facts.main.value)} to {percent(facts.autoattack.value)}, "
        f"n = {n:,}",
        f"AutoAttack breaks {points(more / n)} more than {attack(facts.attack)}",
        green="Gradients of this model are useful: attacks that choose their own steps and losses "
        "add little.",
        amber="AutoAttack finds clearly more. Quote the worst case, never the main attack alone, "
        "and look at the attacks that made the difference.",
        red="So large a gap is the sign of masked gradients. Even the worst case may be too high: "
        "attack the defence itself before quoting anything.",
    )


def adaptive(facts: Facts, probe: Probe) -> Check:
    name, title = "adaptive", "An attack made for this defence adds nothing"
    found = _findings(facts, probe, (Method.ADAPTIVE, Method.FEATURE), probe.adaptive)
    if not found:
        return _not_tried(facts, name, title, Method.ADAPTIVE)
    large = GAP_LARGE if facts.autoattack is None else ADAPTIVE_LARGE
    lights = (light_of(k, n, amber=ALLOWED, red=large) for k, n in found)
    return check(
        name,
        title,
        worst(lights),
        _found_in_words(found),
        f"An attack made for this defence broke {_most(found)} more",
        green="Attacking the attention together with the decision finds nothing beyond the rest.",
        amber="Attacking what the defence protects finds more. The worst case counts it only where "
        "it ran on all images: add `adaptive`, `cw` and `autoattack`.",
        red="Attacking what the defence protects breaks much that the other attacks missed, and a "
        "better attack of the kind may break more still.",
    )


def _black_box(
    facts: Facts,
    probe: Probe,
    name: str,
    title: str,
    method: Method,
    tried: Tried | None,
) -> Check:
    found = _findings(facts, probe, (method,), tried)
    if not found:
        return _not_tried(facts, name, title, method)
    return check(
        name,
        title,
        worst(light_of(k, n, amber=ALLOWED, red=ALLOWED) for k, n in found),
        _found_in_words(found),
        f"{method.record.title} broke {_most(found)} that gradients missed",
        green="An attack that sees no gradients of this model adds nothing, as it should be.",
        amber="An attack that sees no gradients of this model broke one image that gradients "
        "missed. With so few images that can be chance.",
        red="An attack that sees no gradients of this model breaks what gradients missed: they "
        "mislead. Attack the margin as well (`cw`, `autoattack`); if this stays, look for masking.",
    )


def _findings(
    facts: Facts, probe: Probe, methods: Sequence[Method], tried: Tried | None
) -> list[tuple[int, int]]:
    """(broken, n): by these methods in the run, and in the probe; none where neither looked."""
    rows = [row.broken for row in facts.attacks if row.method in methods]
    found = [(sum(rows), facts.main.n)] if rows else []
    return found if tried is None else [*found, (tried.broken, probe.images)]


def _not_tried(facts: Facts, name: str, title: str, method: Method) -> Check:
    norm = facts.attack.norm
    if facts.robust.correct == 0:
        return nothing_left(name, title)
    if norm not in method.record.norms:
        missing = f"`{method.value}` is not defined in {norm.value.upper()}."
        problem = f"{method.record.title} cannot be tried in {norm.record.title}"
        return unmeasured(name, title, problem, missing)
    problem = f"{method.record.title} was not tried"
    return unmeasured(name, title, problem, f"add `{method.value}` to the further attacks.")


def _most(found: Sequence[tuple[int, int]]) -> str:
    """Where it found most, as a share: `5 of 60 images`."""
    return of(*max(found, key=lambda each: each[0] / each[1]))


def _found_in_words(found: Sequence[tuple[int, int]]) -> str:
    return "; ".join(f"{points(k / n)}: {of(k, n)}" for k, n in found)
