"""What mends a doubt about an evaluation: the same evaluation with other parameters, and its time.

The time is worked out from the evaluation itself: what its attacks took with its images. An attack
that did not run is reckoned from the passes that it takes at most with an image that stands; where
nothing was measured, no time is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from app.contracts.attacks import BY_QUERIES, Goal, Method, Norm
from app.contracts.params import EvaluateParams
from app.contracts.results import Accuracy, AttackRow, EvaluationResult
from app.contracts.units import from_255

_STEPS, _RESTARTS, _EPSILON = 20, 5, from_255(8)
SWITCHES = ("minimal_epsilon", "corruptions", "attention", "embedding")
"""What an evaluation may have beside its attacks and curves."""
_MOST_QUERIES = 10_000
"""Where more of them are left to people."""
_WIDE = 0.05
"""Half of an interval that a sample is too small for; as the verdict has it."""
_SAMPLES = (100, 200, 400, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True)
class Remedy:
    """Another evaluation that would answer a doubt."""

    label: str
    """What is changed: `Add AutoAttack`."""
    params: EvaluateParams
    seconds: float | None
    """What it is likely to take on the same machine; None where that was not measured."""


@dataclass(frozen=True)
class _Case:
    """An evaluation that is in doubt."""

    result: EvaluationResult
    test_images: int | None
    """What the dataset's test part has; None where the dataset is gone."""

    @property
    def params(self) -> EvaluateParams:
        return self.result.params


_Change = tuple[str, EvaluateParams]


def remedy(
    checks: Sequence[str], result: EvaluationResult, test_images: int | None
) -> Remedy | None:
    """What mends the checks of these ids, all in one; None where no parameter mends any."""
    case, labels = _Case(result, test_images), []
    for check in checks:
        if (change := _change(check, case)) is not None:
            label, params = change
            labels.append(label)
            case = replace(case, result=result.model_copy(update={"params": params}))
    if not labels:
        return None
    return Remedy("; ".join(labels), case.params, expected_seconds(result, case.params))


def _change(check: str, case: _Case) -> _Change | None:
    mend = _MENDS.get(check)
    try:
        return None if mend is None else mend(case)
    except ValidationError:  # what would be changed does not go with the rest
        return None


def _changed(params: EvaluateParams, **changes: Any) -> EvaluateParams:
    """Raises ValidationError."""
    return EvaluateParams.model_validate({**params.model_dump(), **changes})


def _attack(params: EvaluateParams, **changes: Any) -> EvaluateParams:
    return _changed(params, attack={**params.attack.model_dump(), **changes})


def _add(methods: Sequence[Method], case: _Case) -> _Change | None:
    """Those of the methods that did not run, and that the norm has."""
    params = case.params
    new = [
        method
        for method in methods
        if method not in (params.attack.method, *params.further)
        and params.attack.norm in method.record.norms
    ]
    sources = params.sources or _sources(case.result)
    if not sources:
        new = [method for method in new if not method.record.needs_source]
    if not new:
        return None
    if any(method.record.needs_source for method in new):
        params = _changed(params, sources=sources)
    further = tuple(method for method in Method if method in {*params.further, *new})
    named = " and ".join(", ".join(m.record.title for m in new).rsplit(", ", 1))
    if params.attack.goal is not Goal.UNTARGETED:
        params = _attack(params, goal=Goal.UNTARGETED, target_class=None)
        named = f"{named}, towards any wrong class"
    return f"Add {named}", _changed(params, further=further)


def _sources(result: EvaluationResult) -> tuple[str, ...]:
    """Whom transfer could attack: the other models, or the teacher whose maps were measured."""
    models = [model.model for model in result.models]
    teachers = [m.attention.reference.id for m in result.models if m.attention is not None]
    found = models if len(models) > 1 else [t for t in teachers if t not in models]
    return tuple(dict.fromkeys(found))


def _more_images(case: _Case) -> _Change | None:
    most, has = case.test_images, case.result.images
    all_used = has < case.params.images and case.params.stop_half_width is None
    if most is None or most <= has or all_used:
        return None
    shares = [model.robust.value for model in case.result.models if model.robust is not None]
    enough = next((n for n in _SAMPLES if n > has and _narrow(shares, n)), most)
    images = min(most, enough)
    label = f"Measure {'all ' if images == most else ''}{images:,} images"
    return label, _changed(case.params, images=images, stop_half_width=None)


def _narrow(shares: Sequence[float], n: int) -> bool:
    bands = [Accuracy.of(round(share * n), n) for share in shares]
    return all(band.high - band.low <= 2 * _WIDE for band in bands)


def _more_steps(case: _Case) -> _Change | None:
    attack = case.params.attack
    if attack.method.record.one_step:
        return _other_first(Method.PGD, case)
    steps = min(1000, max(_STEPS, 4 * attack.steps))
    if steps == attack.steps:
        return None
    return f"Give {attack.method.record.title} {steps} steps", _attack(case.params, steps=steps)


def _more_queries(case: _Case) -> _Change | None:
    queries = min(_MOST_QUERIES, 4 * case.params.queries)
    if queries <= case.params.queries:
        return None
    return f"Ask {queries:,} times", _changed(case.params, queries=queries)


def _beside(method: Method, case: _Case) -> _Change | None:
    """The method, and attacks on the margin where the first attack follows gradients; nothing where
    the norm does not have the method."""
    attack = case.params.attack
    if attack.norm not in method.record.norms:
        return None
    if attack.method.record.black_box:
        return _add((method,), case)
    return _add((method, Method.CW, Method.AUTOATTACK), case)


def _restarts(case: _Case) -> _Change | None:
    attack = case.params.attack
    if attack.norm not in Method.FGSM.record.norms:
        return None
    if attack.method.record.one_step:
        return _other_first(Method.PGD, case)
    if not attack.crosses:
        return _more_steps(case)
    restarts = max(_RESTARTS, attack.restarts)
    found = _add((Method.AUTOATTACK,), case)
    if not attack.method.record.random_start or restarts == attack.restarts:
        return found
    label, params = found or ("", case.params)
    said = f"{label}, and try {restarts} starts" if label else f"Try {restarts} starts"
    return said, _attack(params, restarts=restarts)


def _other_first(method: Method, case: _Case) -> _Change | None:
    attack = case.params.attack
    if attack.method is method:
        return None
    steps = attack.steps if not attack.method.record.one_step else _STEPS
    further = tuple(m for m in case.params.further if m is not method)
    params = _changed(case.params, further=further)
    return f"Begin with {method.record.title}", _attack(params, method=method, steps=steps)


def _any_class(case: _Case) -> _Change | None:
    if case.params.attack.goal is Goal.UNTARGETED:
        return None
    params = _attack(case.params, goal=Goal.UNTARGETED, target_class=None)
    return "Attack towards any wrong class", params


def _autoattack(case: _Case) -> _Change | None:
    return _add((Method.AUTOATTACK,), case) or _add((Method.CW, Method.ADAPTIVE), case)


def _usual_budget(case: _Case) -> _Change | None:
    params = case.params
    if params.attack.norm is not Norm.LINF or params.epsilon >= _EPSILON:
        return None
    return "Measure at 8/255", _changed(params, epsilon=_EPSILON)


_MENDS: Mapping[str, Callable[[_Case], _Change | None]] = {
    "autoattack_gap": _autoattack,
    "noise": partial(_add, (Method.CW, Method.AUTOATTACK)),
    "square": partial(_beside, Method.SQUARE),
    "transfer": partial(_beside, Method.TRANSFER),
    "hard_label": partial(_beside, Method.HOP_SKIP_JUMP),
    "adaptive": partial(_beside, Method.ADAPTIVE),
    "stronger_than_fgsm": _restarts,
    "converged": _more_steps,
    "queries_suffice": _more_queries,
    "other_questions": partial(_beside, Method.HOP_SKIP_JUMP),
    "falls_with_epsilon": partial(_other_first, Method.APGD_CE),
    "zero_gradients": partial(_other_first, Method.APGD_DLR),
    "unbounded": partial(_add, BY_QUERIES),
    "whole_range": partial(_add, BY_QUERIES),
    "undefended_teacher": _usual_budget,
    "sample_size": _more_images,
    "goal": _any_class,
}
"""By the check's id. The others are about the model or the data, which no parameter changes."""


def asks_for_more(params: EvaluateParams, had: Mapping[str, Any]) -> bool:
    """Whether something beside attacks and curves is asked for that an evaluation did not have."""
    return any(getattr(params, name) and not had.get(name) for name in SWITCHES)


def expected_seconds(result: EvaluationResult, params: EvaluateParams) -> float | None:
    """What these parameters are likely to take, from what `result` took; None where it is unknown.

    The same models, or as many of the same networks, on the same kind of machine. What `result` did
    not have beside attacks and curves is not measured: then it is unknown too.
    """
    old, seconds = result.params, result.environment.seconds
    if asks_for_more(params, dict(old)):
        return None
    # The same images as before are as many as before, however many were asked for.
    images = 1.0 if params.images == old.images else params.images / result.images
    steps = params.attack.steps / old.attack.steps
    runs = _runs(params) / _runs(old)
    rows = [row for model in result.models for row in model.attacks]
    rest = max(0.0, seconds - sum(row.seconds for row in rows))
    kept = sum(row.seconds * _longer(row, result, params, steps, runs) for row in rows)
    added = _added(result, params, steps)
    beside = _passes_beside(params) / _passes_beside(old)
    return None if added is None else images * (rest * beside + kept + added)


def _passes_beside(params: EvaluateParams) -> float:
    """Passes of an image through the first attack for curves, and for what else goes with it."""
    return _runs(params) * (1 + len(params.epsilons)) + max(params.step_counts, default=0)


def _runs(params: EvaluateParams) -> int:
    """Passes of an image through the first attack at one budget, at most."""
    attack, record = params.attack, params.attack.method.record
    if attack.method in BY_QUERIES:
        return params.queries
    return (attack.steps if record.takes_steps else 1) * (
        attack.restarts if record.random_start else 1
    )


def _longer(
    row: AttackRow, result: EvaluationResult, params: EvaluateParams, steps: float, runs: float
) -> float:
    """By how much an attack that ran grows."""
    if row.part_of_autoattack:
        return 1.0
    if row.method is result.params.attack.method:
        return runs
    by = {"steps": steps, "queries": params.queries / result.params.queries, None: 1.0}
    return by[row.method.record.sized_by]


def _added(result: EvaluationResult, params: EvaluateParams, steps: float) -> float | None:
    """Seconds of the attacks that did not run, on as many images; None where it is unknown."""
    new = [method for method in params.further if method not in result.params.further]
    if not new:
        return 0.0
    if (
        result.pace is None
        or result.pace.passes == 0
        or not result.pace.an_image.keys() >= set(new)
    ):
        return None
    of_pass = result.environment.seconds / result.pace.passes
    passes = sum(
        result.pace.an_image[method] * (steps if method.record.sized_by == "steps" else 1.0)
        for method in new
    )
    standing = sum(model.robust.correct for model in result.models if model.robust is not None)
    return standing * passes * of_pass
