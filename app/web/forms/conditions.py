"""Which fields and which choices mean something, given what is chosen elsewhere in a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.contracts.attacks import BY_QUERIES, ITERATIVE
from app.contracts.params import (
    MAX_LINF,
    AblationMeasure,
    AblationParams,
    Design,
    EvaluateParams,
    ExplainParams,
    Goal,
    ImportModelParams,
    Method,
    Params,
    Recipe,
    Schedule,
    TrainParams,
)
from app.contracts.params.evaluation import ALONG_GRADIENTS
from app.contracts.params.model_import import OF_AN_ADDRESS
from app.contracts.recipes import READ_BY_SOME


@dataclass(frozen=True)
class When:
    """One of `values` must be chosen in `field`, or what `otherwise` says; and what `also` says."""

    field: str
    values: tuple[str, ...] | None
    """None stands for anything."""
    otherwise: When | None = None
    also: When | None = None
    none: bool = False
    """None of `values` may be chosen."""

    def met(self, entries: Mapping[str, Sequence[str]]) -> bool:
        chosen = any(map(self._is_meant, entries.get(self.field, ()))) != self.none
        met = chosen or (self.otherwise is not None and self.otherwise.met(entries))
        return met and (self.also is None or self.also.met(entries))

    def _is_meant(self, entry: str) -> bool:
        return entry != "" if self.values is None else entry in self.values


def _attacks(parameter: str) -> When:
    """Those that read a parameter of an iterative attack."""
    reading = (method for method in ITERATIVE if parameter in method.record.parameters)
    return When("attack.method", tuple(reading))


def _recipes(*recipes: Recipe) -> When:
    return When("recipe", recipes)


_ROBUST = _recipes(*(recipe for recipe in Recipe if recipe.is_robust))
_READ = {
    name: _recipes(*(recipe for recipe in Recipe if name in recipe.record.parameters))
    for name in READ_BY_SOME
}
_ATTACK = {
    **{
        f"attack.{name}": _attacks(name)
        for name in ("steps", "relative_step", "random_start", "restarts")
    },
    "attack.target_class": When("attack.goal", (Goal.CLASS,)),
}

_TRAINING = {
    **_READ,
    "teacher": _ROBUST,
    "start_from_teacher": _ROBUST,
    "milestones": When("schedule", (Schedule.MULTISTEP,)),
}


_IN_STEPS = When("attack.method", ITERATIVE)
_IN_GRID = When("design", (Design.GRID,))


def _of_several(name: str, when: When) -> When:
    """The same for a shared setting of an ablation: for one of its recipes, or its design."""
    if when.field == "recipe":
        return When("recipes", when.values, _left_open(name, when.values or ()))
    return When(f"training.{when.field}", when.values)


def _left_open(name: str, recipes: Sequence[str]) -> When:
    """Designs with a row that means something by a setting, and does not say it itself."""

    def is_open(design: Design) -> bool:
        variants = design.record.variants
        return variants is not None and any(
            variant.recipe in recipes and name not in variant.changes
            for variant in variants(MAX_LINF)  # under any budget the same settings are said
        )

    return When("design", tuple(design for design in Design if is_open(design)))


SHOWN_WHEN: Mapping[type[Params], Mapping[str, When]] = {
    TrainParams: _TRAINING,
    EvaluateParams: {
        **_ATTACK,
        "further": When("attack.goal", (Goal.UNTARGETED,)),
        "queries": When("further", BY_QUERIES, When("attack.method", BY_QUERIES)),
        "sources": When("further", tuple(m for m in Method if m.record.needs_source)),
        "step_counts": _attacks("steps"),
        **dict.fromkeys(ALONG_GRADIENTS, _IN_STEPS),
    },
    ExplainParams: _ATTACK,
    ImportModelParams: dict.fromkeys(OF_AN_ADDRESS, When("address", None)),
    AblationParams: {
        **dict.fromkeys(("recipes", "grid", "own"), _IN_GRID),
        **{f"training.{name}": _of_several(name, when) for name, when in _TRAINING.items()},
        **{
            f"measure.{name}": When("measure", ("true",)) for name in AblationMeasure.model_fields
        },
    },
}  # fmt: skip
"""Fields that mean something only for some values of another field. Scripts hide the others."""

_NEEDS_TEACHER = _recipes(*(recipe for recipe in Recipe if recipe.needs_teacher))
REQUIRED_WHEN: Mapping[type[Params], Mapping[str, When]] = {
    TrainParams: {"teacher": _NEEDS_TEACHER},
    AblationParams: {"training.teacher": _of_several("teacher", _NEEDS_TEACHER)},
}
"""Fields that may be empty, but not then."""


def _in_norm(method: Method) -> When:
    return When("attack.norm", tuple(sorted(method.record.norms)))


def _further(method: Method) -> When:
    """After a first attack that only asks, others that do."""
    first = _IN_STEPS if not method.record.black_box else None
    return replace(_in_norm(method), also=first)


_TARGETED = When("attack.method", tuple(sorted(m for m in Method if m.record.targetable)))
_CHOICES: dict[str, Mapping[str, When]] = {
    "attack.method": {method: _in_norm(method) for method in Method},
    "attack.goal": {goal: _TARGETED for goal in Goal if goal is not Goal.UNTARGETED},
}
CHOICE_WHEN: Mapping[type[Params], Mapping[str, Mapping[str, When]]] = {
    EvaluateParams: {**_CHOICES, "further": {method: _further(method) for method in Method}},
    ExplainParams: _CHOICES,
}
"""The same of single choices, by field and by choice."""
