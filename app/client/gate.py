"""Whether an evaluation is good enough to go on: what is asked of each model, what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.client.errors import LabError
from app.contracts.results import Accuracy, Check, EvaluationResult, Light, ModelFigures
from app.contracts.words import percent, with_interval

_BEST_FIRST = (Light.GREEN, Light.AMBER, Light.RED)


@dataclass(frozen=True)
class Condition:
    """One condition, asked of one model."""

    rule: str
    """Stable, for programs: `robust`, `clean`, `verdict`."""
    model: str
    """Its name."""
    asked: str
    """In words."""
    found: str
    """What was measured, in words."""
    holds: bool


@dataclass(frozen=True)
class Doubt:
    """A check of a model's verdict that is not green."""

    model: str
    """Its name."""
    check: Check


@dataclass(frozen=True)
class Gate:
    """What was asked of an evaluation, model by model, and what its verdicts doubt."""

    conditions: tuple[Condition, ...]
    doubts: tuple[Doubt, ...]

    @property
    def holds(self) -> bool:
        return all(condition.holds for condition in self.conditions)


@dataclass(frozen=True)
class Asked:
    """What is asked of models. Raises LabError where that is nothing, or no share."""

    robust: float | None = None
    """The least accuracy in the worst case of each image, a share in [0, 1]."""
    clean: float | None = None
    """The least accuracy on clean images, likewise."""
    verdict: Light | None = None
    """The worst that is good enough."""
    models: Sequence[str] = ()
    """Names or ids of those that it is asked of; none: of all."""

    def __post_init__(self) -> None:
        if self.robust is None and self.clean is None and self.verdict is None:
            raise LabError(
                "Nothing is asked",
                "A gate without a condition always holds.",
                hint="Ask for a robust accuracy, a clean accuracy, or a verdict.",
            )
        for rule, least in (("robust", self.robust), ("clean", self.clean)):
            if least is not None and not 0 <= least <= 1:
                raise LabError(
                    "Not a share",
                    f"The least {rule} accuracy would be {least}.",
                    hint="Ask for a share from 0 to 1: 0.45 for 45 %.",
                    field=rule,
                )


def judge(result: EvaluationResult, asked: Asked) -> Gate:
    """Hold an evaluation against conditions. What was not measured does not hold.

    Raises LabError where a model was not measured.
    """
    chosen = _chosen(result, asked.models)
    return Gate(
        conditions=tuple(one for model in chosen for one in _conditions(model, asked)),
        doubts=tuple(doubt for model in chosen for doubt in _doubts(model)),
    )


def _chosen(result: EvaluationResult, named: Sequence[str]) -> list[ModelFigures]:
    for name in named:
        if all(name not in (model.name, model.model) for model in result.models):
            there = ", ".join(f"“{model.name}”" for model in result.models)
            raise LabError(
                "Not in this evaluation",
                f"It did not measure {name!r}.",
                hint=f"It measured {there}.",
                field="model",
            )
    return [m for m in result.models if not named or m.name in named or m.model in named]


def _conditions(model: ModelFigures, asked: Asked) -> Iterator[Condition]:
    if asked.robust is not None:
        yield _share("robust", model.name, asked.robust, model.robust)
    if asked.clean is not None:
        yield _share("clean", model.name, asked.clean, model.clean)
    if asked.verdict is not None:
        found = None if model.verdict is None else model.verdict.light
        good = _BEST_FIRST[: _BEST_FIRST.index(asked.verdict) + 1]
        yield Condition(
            rule="verdict",
            model=model.name,
            asked=f"verdict {' or '.join(good)}",
            found="not checked" if found is None else f"verdict {found}",
            holds=found in good,
        )


def _share(rule: str, model: str, least: float, found: Accuracy | None) -> Condition:
    return Condition(
        rule=rule,
        model=model,
        asked=f"{rule} accuracy at least {percent(least)}",
        found="not measured" if found is None else with_interval(found),
        holds=found is not None and found.value >= least,
    )


def _doubts(model: ModelFigures) -> Iterator[Doubt]:
    if model.verdict is not None:
        for check in model.verdict.checks:
            if check.light is not Light.GREEN:
                yield Doubt(model.name, check)
