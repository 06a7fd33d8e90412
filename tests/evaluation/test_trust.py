"""The judgement on its own, from numbers: no model, no image."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.params import Attack, Goal, Method, Norm, Recipe
from app.contracts.results import Accuracy, AttackRow, Light, Verdict
from worker.evaluation.verdict.evidence import Answers
from worker.evaluation.verdict.judge import CHECKS, Facts, Probe, Tried, judge

N = 1000
ORDER = {Light.GREEN: 0, Light.AMBER: 1, Light.RED: 2}


def accuracy(correct: int) -> Accuracy:
    return Accuracy.of(correct, N)


def row(method: Method, broken: int, **changes: Any) -> AttackRow:
    given = {"attacked": 500, "worst_case": accuracy(480), "largest": 8 / 255, "seconds": 1.0}
    return AttackRow(method=method, broken=broken, **(given | changes))


def rows(**broken: int) -> tuple[AttackRow, ...]:
    return tuple(row(Method(name), count) for name, count in broken.items())


FACTS = Facts(
    classes=10,
    commonest=0.1,
    epsilon=8 / 255,
    attack=Attack(),
    clean=accuracy(850),
    robust=accuracy(480),
    main=accuracy(520),
    doubled=accuracy(518),
    fgsm=accuracy(600),
    only_fgsm=1,
    autoattack=accuracy(481),
    attacks=rows(apgd_t=30, square=1, hop_skip_jump=0, transfer=0, adaptive=0, noise=0),
    largest=8 / 255,
    out_of_range=0,
    not_finite=0,
    disproved=0,
    kept="best",
    recipe=Recipe.AGKD_BML,
    teacher_recipe=Recipe.CLEAN,
)
PROBE = Probe(
    images=128,
    input_low=0.0,
    input_high=1.0,
    outputs="logits",
    passes_gap=1e-7,
    gradients=109,
    zero_gradients=0,
    bad_gradients=0,
    by_epsilon=((0.0, 109), (2 / 255, 95), (4 / 255, 84), (8 / 255, 66), (16 / 255, 30)),
    whole_range=0,
    unbounded=Tried(attacked=109, broken=109),
    noise=None,
    square=None,
    transfer=None,
    hard_label=None,
    adaptive=None,
    teacher=0,
    rounding=(43, 43),
    iterates=(43, 42),
)


def light(verdict: Verdict, name: str) -> Light:
    (found,) = [check for check in verdict.checks if check.id == name]
    return found.light


def test_a_sound_evaluation_is_green_in_every_check() -> None:
    verdict = judge(FACTS, PROBE)
    assert [check.id for check in verdict.checks if check.light is not Light.GREEN] == []
    assert verdict.light is Light.GREEN
    assert "48.0 % of 1,000 images" in verdict.sentence
    assert "upper bound" in verdict.sentence


FACTS_CASES: list[tuple[str, dict[str, Any], Light]] = [
    ("stronger_than_fgsm", {"fgsm": accuracy(519)}, Light.AMBER),
    ("stronger_than_fgsm", {"fgsm": accuracy(517)}, Light.RED),
    ("stronger_than_fgsm", {"only_fgsm": 6}, Light.AMBER),
    ("converged", {"doubled": accuracy(516)}, Light.GREEN),
    ("converged", {"doubled": accuracy(515)}, Light.AMBER),
    ("converged", {"doubled": accuracy(400)}, Light.AMBER),
    ("converged", {"doubled": accuracy(469), "autoattack": None}, Light.RED),
    ("converged", {"doubled": None}, Light.AMBER),
    # Of ten images: one alone is no proof, however large its share.
    ("converged", {"robust": Accuracy.of(3, 10), "doubled": Accuracy.of(4, 10), "autoattack": None},
     Light.AMBER),
    ("converged", {"robust": Accuracy.of(3, 10), "doubled": Accuracy.of(3, 10), "autoattack": None},
     Light.RED),
    ("autoattack_gap", {"autoattack": None}, Light.AMBER),
    ("autoattack_gap", {"autoattack": accuracy(470)}, Light.GREEN),
    ("autoattack_gap", {"autoattack": accuracy(469)}, Light.AMBER),
    ("autoattack_gap", {"autoattack": accuracy(420)}, Light.AMBER),
    ("autoattack_gap", {"autoattack": accuracy(419)}, Light.RED),
    ("better_than_chance", {"clean": accuracy(122)}, Light.GREEN),
    ("better_than_chance", {"clean": accuracy(118)}, Light.AMBER),
    ("better_than_chance", {"clean": accuracy(618), "commonest": 0.6}, Light.AMBER),
    ("noise", {"attacks": rows(noise=2)}, Light.GREEN),
    ("noise", {"attacks": rows(noise=3)}, Light.RED),
    ("noise", {"attacks": ()}, Light.AMBER),
    ("square", {"attacks": rows(square=3)}, Light.RED),
    ("square", {"attacks": (row(Method.SQUARE, 3, part_of_autoattack=True),)}, Light.RED),
    ("transfer", {"attacks": (row(Method.TRANSFER, 2), row(Method.TRANSFER, 1))}, Light.RED),
    ("hard_label", {"attacks": rows(hop_skip_jump=3)}, Light.RED),
    ("adaptive", {"attacks": rows(adaptive=3)}, Light.AMBER),
    ("adaptive", {"attacks": rows(adaptive=11, feature=10)}, Light.RED),
    ("adaptive", {"attacks": rows(adaptive=100), "autoattack": None}, Light.AMBER),
    ("adaptive", {"attacks": rows(adaptive=101), "autoattack": None}, Light.RED),
    ("adaptive", {"attacks": ()}, Light.AMBER),
    ("perturbations", {"largest": 8 / 255 + 9e-7}, Light.GREEN),
    ("perturbations", {"largest": 8 / 255 + 1e-6}, Light.GREEN),
    ("perturbations", {"largest": 8 / 255 + 2e-6}, Light.RED),
    ("perturbations", {"largest": float("nan")}, Light.RED),
    ("perturbations", {"out_of_range": 1}, Light.RED),
    ("perturbations", {"not_finite": 1}, Light.RED),
    ("best_iterate", {"disproved": 1}, Light.AMBER),
    ("best_iterate", {"disproved": 3}, Light.RED),
    ("sample_size", {"robust": Accuracy.of(150, 300)}, Light.AMBER),
    ("sample_size", {"robust": Accuracy.of(200, 400)}, Light.GREEN),
    ("selection", {"kept": "last"}, Light.GREEN),
    ("selection", {"kept": None}, Light.AMBER),
    ("goal", {"attack": Attack(goal=Goal.MOST_CONFUSING)}, Light.AMBER),
    ("undefended_teacher", {"recipe": Recipe.CLEAN, "robust": accuracy(9)}, Light.GREEN),
    ("undefended_teacher", {"recipe": Recipe.CLEAN, "robust": accuracy(10)}, Light.AMBER),
    ("undefended_teacher", {"teacher_recipe": Recipe.TRADES}, Light.AMBER),
    ("undefended_teacher", {"teacher_recipe": None}, Light.AMBER),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "expected"), FACTS_CASES)
def test_a_fact_lights_its_check(name: str, changes: dict[str, Any], expected: Light) -> None:
    if "robust" in changes:
        n, names = changes["robust"].n, ("clean", "main", "doubled", "fgsm", "autoattack")
        changes = {k: Accuracy.of(n // 2, n) for k in names} | changes
    assert light(judge(replace(FACTS, **changes), PROBE), name) is expected


PROBE_CASES: list[tuple[str, dict[str, Any], Light]] = [
    ("inputs_in_range", {"input_high": 1.1}, Light.RED),
    ("inputs_in_range", {"input_low": float("nan")}, Light.RED),
    ("outputs_are_logits", {"outputs": "unit"}, Light.AMBER),
    ("outputs_are_logits", {"outputs": "probabilities"}, Light.RED),
    ("outputs_are_logits", {"outputs": "not_finite"}, Light.RED),
    ("passes_agree", {"passes_gap": 1e-3}, Light.GREEN),
    ("passes_agree", {"passes_gap": 5e-3}, Light.AMBER),
    ("passes_agree", {"passes_gap": 1e-2}, Light.AMBER),
    ("passes_agree", {"passes_gap": 0.2}, Light.RED),
    ("passes_agree", {"passes_gap": float("inf")}, Light.RED),
    ("zero_gradients", {"zero_gradients": 1}, Light.AMBER),
    ("zero_gradients", {"zero_gradients": 2}, Light.RED),
    ("finite_gradients", {"bad_gradients": 1}, Light.RED),
    ("falls_with_epsilon", {"by_epsilon": ((0.0, 90), (0.1, 70), (0.2, 71))}, Light.AMBER),
    ("falls_with_epsilon", {"by_epsilon": ((0.0, 90), (0.1, 70), (0.2, 72))}, Light.RED),
    # It rises by one step at a time: what counts is the rise over the smallest so far.
    ("falls_with_epsilon", {"by_epsilon": ((0.0, 70), (0.1, 71), (0.2, 72))}, Light.RED),
    ("whole_range", {"whole_range": 12}, Light.GREEN),
    ("whole_range", {"whole_range": 13}, Light.AMBER),
    ("whole_range", {"whole_range": 14}, Light.RED),
    ("unbounded", {"unbounded": Tried(attacked=109, broken=108)}, Light.AMBER),
    ("unbounded", {"unbounded": Tried(attacked=109, broken=107)}, Light.RED),
    ("unbounded", {"unbounded": Tried(attacked=0, broken=0)}, Light.AMBER),
    ("square", {"square": Tried(attacked=60, broken=1)}, Light.AMBER),
    ("square", {"square": Tried(attacked=60, broken=2)}, Light.RED),
    ("transfer", {"transfer": Tried(attacked=60, broken=2)}, Light.RED),
    ("hard_label", {"hard_label": Tried(attacked=16, broken=2)}, Light.RED),
    ("noise", {"noise": Tried(attacked=60, broken=2)}, Light.RED),
    ("adaptive", {"adaptive": Tried(attacked=60, broken=1)}, Light.AMBER),
    ("adaptive", {"adaptive": Tried(attacked=60, broken=3)}, Light.RED),
    ("undefended_teacher", {"teacher": 1}, Light.GREEN),
    ("undefended_teacher", {"teacher": 2}, Light.AMBER),
    ("undefended_teacher", {"teacher": None}, Light.AMBER),
    ("rounding", {"rounding": (40, 38)}, Light.GREEN),
    ("rounding", {"rounding": (40, 37)}, Light.AMBER),
    ("rounding", {"rounding": (40, 19)}, Light.RED),
    ("rounding", {"rounding": (0, 0)}, Light.AMBER),
    ("rounding", {"rounding": None}, Light.AMBER),
]


@pytest.mark.parametrize(
    ("facts", "probe"),
    [({}, changes) for _, changes, _ in PROBE_CASES]
    + [(changes, {}) for _, changes, _ in FACTS_CASES if "robust" not in changes],
)
def test_what_does_not_hold_is_a_problem_in_plain_words(
    facts: dict[str, Any], probe: dict[str, Any]
) -> None:
    for check in judge(replace(FACTS, **facts), replace(PROBE, **probe)).checks:
        assert bool(check.problem) == (check.light is not Light.GREEN)
        assert "`" not in check.problem
        assert not check.problem.endswith(".")


def test_a_small_sample_is_said_with_its_width() -> None:
    shares = {name: Accuracy.of(25, 50) for name in ("clean", "main", "doubled", "fgsm")}
    few = replace(FACTS, **shares, robust=Accuracy.of(25, 50), autoattack=None)
    problems = [check.problem for check in judge(few, PROBE).checks if check.problem]
    assert "Only 50 images: ± 13 points" in problems
    assert "AutoAttack did not run" in problems


@pytest.mark.parametrize(("name", "changes", "expected"), PROBE_CASES)
def test_a_probe_lights_its_check(name: str, changes: dict[str, Any], expected: Light) -> None:
    verdict = judge(FACTS, replace(PROBE, **changes))
    assert light(verdict, name) is expected
    assert [c.id for c in verdict.checks if c.light is not Light.GREEN] in ([], [name])


def test_without_an_image_that_is_right_there_are_no_gradients_to_judge() -> None:
    verdict = judge(FACTS, replace(PROBE, gradients=0))
    missing = {check.id for check in verdict.checks if check.figure == "not measured"}
    assert missing == {"zero_gradients", "finite_gradients"}


def test_what_only_the_probe_tried_counts_where_the_run_did_not() -> None:
    without = replace(FACTS, attacks=rows(noise=0))
    tried = Tried(attacked=60, broken=0)
    probe = replace(PROBE, square=tried, transfer=tried, hard_label=tried, adaptive=tried)
    assert judge(without, probe).light is Light.GREEN
    names = {c.id for c in judge(without, PROBE).checks if c.figure == "not measured"}
    assert names == {"square", "transfer", "hard_label", "adaptive"}


def sentence(verdict: Verdict, name: str) -> str:
    (found,) = [check for check in verdict.checks if check.id == name]
    return found.sentence


def figure(verdict: Verdict, name: str) -> str:
    (found,) = [check for check in verdict.checks if check.id == name]
    return found.figure


def test_the_largest_rise_is_told_and_the_first_of_equals() -> None:
    correct = (90, 70, 77, 60, 67, 40, 42)
    probe = replace(PROBE, by_epsilon=tuple((i / 255, c) for i, c in enumerate(correct)))
    told = figure(judge(FACTS, probe), "falls_with_epsilon")
    assert told == "largest rise 7 of 128 images, at ε = 2/255 (L∞); 7 budgets"


def test_rounding_that_breaks_more_heals_nothing() -> None:
    told = figure(judge(FACTS, replace(PROBE, rounding=(40, 43))), "rounding")
    assert told.startswith("rounding healed 0 of 40 images")


def test_the_best_iterate_is_told_beside_the_last_where_there_are_iterates() -> None:
    told = figure(judge(FACTS, PROBE), "best_iterate")
    assert told.endswith("the best iterate broke 43, the last 42 of 128")
    without = figure(judge(FACTS, replace(PROBE, iterates=None)), "best_iterate")
    assert without == "0 not confirmed, over all runs"


def test_an_attack_that_the_norm_does_not_have_is_not_asked_for() -> None:
    attack = Attack(norm=Norm.L1, method=Method.APGD_CE)
    verdict = judge(replace(FACTS, attack=attack, attacks=()), PROBE)
    assert "`hop_skip_jump` is not defined in L1" in sentence(verdict, "hard_label")
    assert "add `square` to the further attacks" in sentence(verdict, "square")


def test_one_image_makes_a_probe() -> None:
    one = Tried(attacked=1, broken=1)
    probe = replace(
        PROBE, images=1, by_epsilon=((0.0, 1), (8 / 255, 0)), unbounded=one, gradients=1
    )
    assert judge(FACTS, probe).light is Light.GREEN


def test_a_robust_teacher_shows_nothing_of_the_attack() -> None:
    """Though it withstands less than 1 %, and though it is known."""
    robust = judge(replace(FACTS, teacher_recipe=Recipe.PGD_AT), PROBE)
    assert "trained on adversarial images itself" in sentence(robust, "undefended_teacher")
    imported = judge(replace(FACTS, teacher_recipe=None), PROBE)
    assert "nobody told how the teacher was trained" in sentence(imported, "undefended_teacher")
    alone = judge(replace(FACTS, teacher_recipe=None), replace(PROBE, teacher=None))
    assert "no undefended teacher is known" in sentence(alone, "undefended_teacher")


def test_imported_weights_are_judged_with_reservations() -> None:
    verdict = judge(
        replace(FACTS, kept=None, recipe=None, teacher_recipe=None), replace(PROBE, teacher=None)
    )
    doubted = {check.id for check in verdict.checks if check.light is not Light.GREEN}
    assert doubted == {"selection", "undefended_teacher"}
    assert verdict.light is Light.AMBER


BLIND = ("noise", "square", "transfer", "hard_label", "adaptive", "autoattack_gap")


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
def test_where_no_image_stands_nothing_is_left_to_try(norm: Norm) -> None:
    """Of an undefended model without a source of transfer, say."""
    broken = replace(
        FACTS,
        attack=Attack(norm=norm, method=Method.APGD_CE),
        robust=accuracy(0),
        autoattack=None,
        attacks=(),
        recipe=Recipe.CLEAN,
    )
    verdict = judge(broken, PROBE)
    assert {light(verdict, name) for name in BLIND} == {Light.GREEN}
    for name in BLIND:
        assert "nothing left to break" in sentence(verdict, name)
    one = judge(replace(broken, robust=accuracy(1)), PROBE)
    assert {light(one, name) for name in BLIND} == {Light.AMBER}


def test_what_other_attacks_found_counts_though_nothing_stands() -> None:
    masked = replace(FACTS, robust=accuracy(0), attacks=rows(square=300))
    assert light(judge(masked, PROBE), "square") is Light.RED


def test_fgsm_as_the_main_attack_is_never_green_without_autoattack() -> None:
    alone = Attack(method=Method.FGSM, steps=1, random_start=False)
    facts = replace(FACTS, attack=alone, main=FACTS.fgsm, only_fgsm=0, doubled=None)
    assert light(judge(facts, PROBE), "stronger_than_fgsm") is Light.GREEN
    assert light(judge(replace(facts, autoattack=None), PROBE), "stronger_than_fgsm") is Light.AMBER


@pytest.mark.parametrize(
    ("attack", "cause"),
    [
        (Attack(steps=3), "3 steps of 0.25 ε cannot cross the ball"),
        (Attack(steps=7), "7 steps of 0.25 ε cannot cross the ball"),
        (Attack(steps=1, relative_step=1), "1 step of 1 ε cannot cross the ball"),
        (Attack(steps=3, random_start=False), "3 steps of 0.25 ε cannot cross the ball"),
        (Attack(steps=8), "look for masking"),
        (Attack(steps=4, random_start=False), "look for masking"),
        (Attack(method=Method.APGD_CE, steps=3), "look for masking"),
    ],
)
def test_of_fgsm_ahead_the_nearest_cause_is_named(attack: Attack, cause: str) -> None:
    facts = replace(FACTS, attack=attack, fgsm=accuracy(FACTS.main.correct - 50))
    (check,) = (c for c in judge(facts, PROBE).checks if c.id == "stronger_than_fgsm")
    assert check.light is Light.RED
    assert cause in check.sentence
    assert ("masking" in check.sentence) == attack.crosses


def test_rounding_is_no_fault_of_the_attack_at_budgets_below_two_grey_levels() -> None:
    small = replace(FACTS, epsilon=0.5 / 255, largest=0.5 / 255)
    assert light(judge(small, replace(PROBE, rounding=(40, 0))), "rounding") is Light.AMBER
    assert light(judge(small, replace(PROBE, rounding=(40, 40))), "rounding") is Light.GREEN
    two = replace(FACTS, epsilon=2 / 255, largest=2 / 255)
    assert light(judge(two, replace(PROBE, rounding=(40, 0))), "rounding") is Light.RED


def test_a_red_sentence_forbids_the_figure_and_an_amber_one_bounds_it() -> None:
    red = judge(FACTS, replace(PROBE, zero_gradients=100))
    assert red.sentence.startswith("Do not quote 48.0 %")
    assert "Gradients are not zero" in red.sentence
    amber = judge(replace(FACTS, autoattack=None), PROBE)
    assert "upper bound" in amber.sentence
    assert "Not measured: “AutoAttack finds little that the main attack missed”." in amber.sentence
    assert "In doubt" not in amber.sentence
    doubted = judge(replace(FACTS, autoattack=None), replace(PROBE, passes_gap=5e-3))
    assert doubted.sentence.endswith("In doubt: “Repeated passes agree”.")


def test_budgets_are_written_in_the_unit_of_their_norm() -> None:
    assert "ε = 8/255 (L∞)" in judge(FACTS, PROBE).sentence
    l2 = replace(FACTS, attack=Attack(norm=Norm.L2), epsilon=0.5, largest=0.5)
    assert "ε = 0.5 (L2)" in judge(l2, PROBE).sentence


def test_numbers_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        judge(FACTS, replace(PROBE, images=0))
    with pytest.raises(ValueError, match="one n"):
        judge(replace(FACTS, fgsm=Accuracy.of(5, 10)), PROBE)


def test_the_documentation_explains_every_check_and_no_other() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "trust.md"
    headings = re.findall(r"^### `(\w+)`: (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    both = (*judge(FACTS, PROBE).checks, *judge(ASKED, ANSWERS).checks)
    checks = {(check.id, check.title) for check in both}
    assert sorted(headings) == sorted(checks)


ASKED = replace(
    FACTS, attack=Attack(method=Method.SQUARE), main=accuracy(500), halved=accuracy(500),
    doubled=None, fgsm=None, autoattack=None, attacks=(row(Method.SQUARE, 350),),
)  # fmt: skip
ANSWERS = Answers(
    images=128, input_low=0.0, input_high=1.0, passes_gap=1e-7,
    hard_label=Tried(attacked=16, broken=0),
)  # fmt: skip
ANSWER_CASES: list[tuple[str, dict[str, Any], dict[str, Any], Light]] = [
    ("gradients_followed", {}, {}, Light.AMBER),
    ("queries_suffice", {}, {}, Light.GREEN),
    ("queries_suffice", {"halved": accuracy(504)}, {}, Light.GREEN),
    ("queries_suffice", {"halved": accuracy(506)}, {}, Light.AMBER),
    ("other_questions", {}, {}, Light.GREEN),
    ("other_questions", {}, {"hard_label": Tried(attacked=16, broken=1)}, Light.AMBER),
    ("other_questions", {}, {"hard_label": None}, Light.AMBER),
    ("other_questions", {"robust": accuracy(0)}, {"hard_label": None}, Light.GREEN),
    ("other_questions", {"attacks": (row(Method.HOP_SKIP_JUMP, 2),)}, {}, Light.GREEN),
    ("other_questions", {"attacks": (row(Method.HOP_SKIP_JUMP, 3),)}, {}, Light.AMBER),
    ("answers_called_broken", {}, {}, Light.GREEN),
    ("answers_called_broken", {"disproved": 2}, {}, Light.AMBER),
    ("answers_called_broken", {"disproved": 3}, {}, Light.RED),
    ("passes_agree", {}, {"passes_gap": 0.1}, Light.RED),
]


@pytest.mark.parametrize(("name", "facts", "answers", "light"), ANSWER_CASES)
def test_checks_of_answers(
    name: str, facts: dict[str, Any], answers: dict[str, Any], light: Light
) -> None:
    verdict = judge(replace(ASKED, **facts), replace(ANSWERS, **answers))
    (found,) = [check for check in verdict.checks if check.id == name]
    assert found.light is light
    assert verdict.light is not Light.GREEN
    assert (found.problem == "") == (light is Light.GREEN)


def test_judging_needs_no_torch() -> None:
    code = "import sys; import worker.evaluation.verdict.judge; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


counts = st.integers(0, N)
some = st.integers(0, 128)
tries = st.builds(
    lambda a, b: Tried(attacked=max(a, b), broken=min(a, b)), st.integers(0, 128), some
)
maybe_tried = st.none() | tries


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    main = draw(counts)
    methods = draw(
        st.lists(
            st.sampled_from(["square", "noise", "transfer", "hop_skip_jump", "adaptive", "feature"])
        )
    )
    return replace(
        FACTS,
        classes=draw(st.integers(2, 100)),
        epsilon=draw(st.sampled_from([0.5 / 255, 8 / 255, 0.2])),
        robust=accuracy(draw(counts)),
        main=accuracy(main),
        doubled=draw(st.none() | st.integers(0, main).map(accuracy)),
        fgsm=accuracy(draw(counts)),
        only_fgsm=draw(counts),
        autoattack=draw(st.none() | counts.map(accuracy)),
        attacks=tuple(row(Method(m), draw(st.integers(0, 200))) for m in methods),
        largest=draw(st.floats(0, 1)),
        out_of_range=draw(some),
        not_finite=draw(some),
        disproved=draw(some),
        kept=draw(st.sampled_from(["best", "last", None])),
        recipe=draw(st.none() | st.sampled_from(Recipe)),
        teacher_recipe=draw(st.none() | st.sampled_from(Recipe)),
    )


@st.composite
def probes(draw: st.DrawFn) -> Probe:
    correct = draw(st.lists(some, min_size=1, max_size=6))
    before = draw(some)
    return replace(
        PROBE,
        passes_gap=draw(st.floats(0, allow_infinity=True)),
        zero_gradients=draw(st.integers(0, 109)),
        bad_gradients=draw(st.integers(0, 109)),
        outputs=draw(st.sampled_from(["logits", "unit", "probabilities", "not_finite"])),
        by_epsilon=tuple((i / 100, c) for i, c in enumerate(correct)),
        whole_range=draw(some),
        unbounded=draw(tries),
        noise=draw(maybe_tried),
        square=draw(maybe_tried),
        transfer=draw(maybe_tried),
        hard_label=draw(maybe_tried),
        adaptive=draw(maybe_tried),
        teacher=draw(st.none() | some),
        rounding=draw(st.none() | st.integers(0, before).map(lambda after: (before, after))),
    )


IDS = {check.id for check in judge(FACTS, PROBE).checks}


@given(facts(), probes())
def test_every_check_appears_once_worst_first_and_rules_the_verdict(
    facts: Facts, probe: Probe
) -> None:
    verdict = judge(facts, probe)
    assert len(IDS) == len(CHECKS)
    assert sorted(check.id for check in verdict.checks) == sorted(IDS)
    lights = [ORDER[check.light] for check in verdict.checks]
    assert lights == sorted(lights, reverse=True)
    assert ORDER[verdict.light] == lights[0]
    assert all(check.title and check.figure and check.sentence for check in verdict.checks)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def worse_tried(tried: Tried | None, more: int) -> Tried | None:
    if tried is None:
        return None
    return replace(tried, broken=min(tried.attacked, tried.broken + more))


def worse_facts(facts: Facts, by: int) -> list[Facts]:
    """The same facts with one figure worse each."""
    fewer = max(0, facts.main.correct - by)
    changed: list[dict[str, Any]] = [
        {"fgsm": accuracy(max(0, facts.fgsm.correct - by))},
        {"only_fgsm": min(N, facts.only_fgsm + by)},
        {"largest": facts.largest + by / 1e6},
        {"out_of_range": facts.out_of_range + by},
        {"not_finite": facts.not_finite + by},
        {"disproved": facts.disproved + by},
        {"attacks": tuple(r.model_copy(update={"broken": r.broken + by}) for r in facts.attacks)},
    ]
    if facts.doubled is not None:
        lower = accuracy(max(0, min(fewer, facts.doubled.correct - by)))
        changed.append({"doubled": lower})
    if facts.autoattack is not None:
        changed.append({"autoattack": accuracy(max(0, facts.autoattack.correct - by))})
    return [replace(facts, **change) for change in changed]


def worse_probes(probe: Probe, by: int) -> list[Probe]:
    free = probe.unbounded
    last, at = probe.by_epsilon[-1]
    changed: list[dict[str, Any]] = [
        {"passes_gap": probe.passes_gap * (1 + by)},
        {"zero_gradients": min(109, probe.zero_gradients + by)},
        {"bad_gradients": min(109, probe.bad_gradients + by)},
        {"whole_range": min(128, probe.whole_range + by)},
        {"unbounded": replace(free, broken=max(0, free.broken - by))},
        {"by_epsilon": (*probe.by_epsilon[:-1], (last, min(128, at + by)))},
        {"noise": worse_tried(probe.noise, by)},
        {"square": worse_tried(probe.square, by)},
        {"transfer": worse_tried(probe.transfer, by)},
        {"hard_label": worse_tried(probe.hard_label, by)},
        {"adaptive": worse_tried(probe.adaptive, by)},
    ]
    if probe.teacher is not None:
        changed.append({"teacher": min(128, probe.teacher + by)})
    if probe.rounding is not None:
        before, after = probe.rounding
        changed.append({"rounding": (before, max(0, after - by))})
    return [replace(probe, **change) for change in changed]


@given(facts(), probes(), st.integers(1, 200))
def test_a_worse_figure_never_gives_a_better_light(facts: Facts, probe: Probe, by: int) -> None:
    before = {check.id: check.light for check in judge(facts, probe).checks}
    pairs = [(worse, probe) for worse in worse_facts(facts, by)]
    pairs += [(facts, worse) for worse in worse_probes(probe, by)]
    for pair in pairs:
        for check in judge(*pair).checks:
            assert ORDER[check.light] >= ORDER[before[check.id]], check


@given(facts(), probes())
def test_what_was_not_measured_is_amber_and_says_so(facts: Facts, probe: Probe) -> None:
    for check in judge(facts, probe).checks:
        missing = check.figure == "not measured"
        assert missing == check.sentence.startswith("Not measured: ")
        assert not missing or check.light is Light.AMBER
