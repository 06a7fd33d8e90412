"""What mends a doubt: exactly what is changed, and the time that the evaluation itself tells."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts.params import Attack, EvaluateParams, Goal, Method, Norm
from app.contracts.results import EvaluationResult
from app.services.remedies import expected_seconds, remedy
from tests.web.example_evaluation import full_evaluation
from worker.evaluation.verdict.judge import CHECKS


def _result(attack: Attack | None = None, **changes: Any) -> EvaluationResult:
    result = full_evaluation(images=100)
    plain = {"attack": attack or Attack(), "further": (), "sources": (), **changes}
    params = EvaluateParams.model_validate({**result.params.model_dump(), **plain})
    return result.model_copy(update={"params": params})


def _changed(check: str, result: EvaluationResult) -> dict[str, Any]:
    found = remedy([check], result, 800)
    assert found is not None
    old, new = result.params.model_dump(), found.params.model_dump()
    return {name: new[name] for name in new if new[name] != old[name]}


@pytest.mark.parametrize(
    ("check", "attack", "changes"),
    [
        ("autoattack_gap", Attack(), {"further": (Method.AUTOATTACK,)}),
        ("sample_size", Attack(), {"images": 400}),
        ("square", Attack(), {"further": (Method.CW, Method.SQUARE, Method.AUTOATTACK)}),
        ("goal", Attack(goal=Goal.ALL_CLASSES), {"attack": Attack().model_dump()}),
        ("converged", Attack(steps=5), {"attack": Attack().model_dump()}),
        ("converged", Attack(method=Method.FGSM, steps=3), {"attack": Attack().model_dump()}),
        ("stronger_than_fgsm", Attack(),
         {"attack": Attack(restarts=5).model_dump(), "further": (Method.AUTOATTACK,)}),
        ("stronger_than_fgsm", Attack(steps=3), {"attack": Attack().model_dump()}),
        ("zero_gradients", Attack(), {"attack": Attack(method=Method.APGD_DLR).model_dump()}),
        ("falls_with_epsilon", Attack(), {"attack": Attack(method=Method.APGD_CE).model_dump()}),
    ],
)  # fmt: skip
def test_exactly_what_mends_it_is_changed(
    check: str, attack: Attack, changes: dict[str, Any]
) -> None:
    assert _changed(check, _result(attack)) == changes


def test_a_targeted_attack_is_freed_before_others_join_it() -> None:
    changed = _changed("autoattack_gap", _result(Attack(goal=Goal.CLASS, target_class="cat")))
    assert changed == {"attack": Attack().model_dump(), "further": (Method.AUTOATTACK,)}


def test_transfer_comes_from_the_other_models() -> None:
    result = _result()
    changed = _changed("transfer", result)
    assert changed["sources"] == tuple(model.model for model in result.models)
    assert Method.TRANSFER in changed["further"]


def test_nothing_is_offered_that_would_not_mend() -> None:
    assert remedy(["sample_size"], _result(), 100) is None  # these are all there are
    assert remedy(["sample_size"], _result(), None) is None
    # More were asked for: the others, as those of the target class, are of no use to it.
    towards = Attack(goal=Goal.CLASS, target_class="cat")
    assert remedy(["sample_size"], _result(towards, images=800), 800) is None
    in_l1 = _result(Attack(method=Method.APGD_CE, norm=Norm.L1), epsilon=12.0)
    for check in ("transfer", "hard_label", "adaptive", "stronger_than_fgsm"):
        assert remedy([check], in_l1, 800) is None
    assert remedy(["autoattack_gap"], in_l1, 800) is not None
    for check in ("selection", "outputs_are_logits", "no_such_check"):
        assert remedy([check], _result(), 800) is None


def test_the_first_attack_is_not_run_a_second_time() -> None:
    answers = {"minimal_epsilon": False, "attention": False, "embedding": False, "step_counts": ()}
    asked = _result(Attack(method=Method.HOP_SKIP_JUMP), corruptions=False, **answers)
    assert remedy(["other_questions"], asked, 800) is None
    assert _changed("noise", _result(Attack(method=Method.CW)))["further"] == (Method.AUTOATTACK,)


def test_every_check_can_be_asked() -> None:
    for check in CHECKS:
        found = remedy([check.__name__], _result(), 800)
        assert found is None or found.params != _result().params


def test_times_grow_with_the_queries_of_the_first_attack() -> None:
    answers = {"minimal_epsilon": False, "attention": False, "embedding": False}
    result = _result(Attack(method=Method.SQUARE), queries=1000, step_counts=(), **answers)
    alone = tuple(model.model_copy(update={"attacks": ()}) for model in result.models)
    result = result.model_copy(update={"models": alone})
    more = result.params.model_copy(update={"queries": 4000})
    seconds = result.environment.seconds
    assert expected_seconds(result, more) == pytest.approx(4 * seconds)


def test_times_grow_with_what_was_measured() -> None:
    result = _result()
    seconds = result.environment.seconds
    params = result.params
    assert expected_seconds(result, params) == pytest.approx(seconds)
    more = params.model_copy(update={"images": 400})
    assert expected_seconds(result, more) == pytest.approx(4 * seconds)
    with_cw = params.model_copy(update={"further": (Method.CW,)})
    assert result.pace is not None
    standing = sum(model.robust.correct for model in result.models if model.robust is not None)
    passes = standing * result.pace.an_image[Method.CW]
    expected = seconds + passes * seconds / result.pace.passes
    assert expected_seconds(result, with_cw) == pytest.approx(expected)
    assert expected_seconds(result.model_copy(update={"pace": None}), with_cw) is None
    assert expected_seconds(result.model_copy(update={"pace": None}), more) is not None
