"""Checks of an evaluation that asked for answers alone, as of a black box."""

from __future__ import annotations

from app.contracts.attacks import BY_QUERIES
from app.contracts.results import Check, Light
from app.contracts.words import attack, points
from worker.evaluation.verdict.checks import check, light_of, nothing_left, of, unmeasured
from worker.evaluation.verdict.evidence import Answers, Facts
from worker.evaluation.verdict.thresholds import ALLOWED, DOUBLING


def gradients_followed(facts: Facts, probe: Answers) -> Check:
    return unmeasured(
        "gradients_followed",
        "An attack followed the gradients",
        "No attack followed the gradients: the model was only asked for its answers",
        "attacks that follow gradients break far more as a rule than those that only ask. What "
        "withstands questions may fall at the first such step: bring the weights, and attack along "
        "gradients, before this is called robust.",
    )


def queries_suffice(facts: Facts, probe: Answers) -> Check:
    name, title = "queries_suffice", "The second half of the queries changes little"
    assert facts.halved is not None
    change = facts.halved.value - facts.main.value
    return check(
        name,
        title,
        Light.GREEN if change < DOUBLING else Light.AMBER,
        f"{points(change)} in the second half, n = {facts.main.n:,}",
        f"The second half of the queries broke {points(change)} more",
        green="The main attack has found nearly all that it can find.",
        amber="The main attack has not come to an end. Give it several times the queries before "
        "quoting it.",
    )


def answers_called_broken(facts: Facts, probe: Answers) -> Check:
    return check(
        "answers_called_broken",
        "What attacks call broken is broken",
        light_of(facts.disproved, facts.main.n, amber=0, red=ALLOWED),
        f"{facts.disproved:,} not confirmed, over all runs",
        f"{of(facts.disproved, facts.main.n)} called broken proved right when asked again",
        green="An image counts as broken by the query that broke it, and it broke again when asked "
        "again.",
        amber="The odd image was right when asked again; it counts as standing.",
        red="Images that the attacks had broken were right when asked again. The model is random, "
        "or answers otherwise from one time to the next.",
    )


def other_questions(facts: Facts, probe: Answers) -> Check:
    name, title = "other_questions", "Another way of asking finds little more"
    asking = set(BY_QUERIES) - {facts.attack.method}
    ran = [row for row in facts.attacks if row.method in asking]
    broken, n = sum(row.broken for row in ran), facts.main.n
    if not ran and probe.hard_label is None:
        if facts.robust.correct == 0:
            return nothing_left(name, title)
        problem = "No second attack asked, in another way"
        other = " or ".join(f"`{method}`" for method in sorted(asking))
        remedy = f"add {other} to the further attacks, where the model gives scores."
        return unmeasured(name, title, problem, remedy)
    if not ran:
        assert probe.hard_label is not None
        broken, n = probe.hard_label.broken, probe.images
    return check(
        name,
        title,
        Light.GREEN if broken <= ALLOWED * n else Light.AMBER,
        f"{points(broken / n)}: {of(broken, n)}",
        f"Another attack broke {of(broken, n)} that {attack(facts.attack)} missed",
        green="An attack that asks in another way adds nothing.",
        amber="An attack that asks in another way breaks what the first one did not find. Give "
        "both more queries, and quote the worst case.",
    )
