"""What makes a comparison of evaluations uneven, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.contracts import words
from app.contracts.attacks import BY_QUERIES
from app.contracts.params import Method
from app.contracts.results import Caveat, EvaluationResult, Light


def caveats(results: Sequence[EvaluationResult], *, shared: int, tests: int) -> Iterator[Caveat]:
    """What is to be said of evaluations compared on `shared` images by so many `tests`.

    Evaluations are named by their number in the order given, from 1.
    """
    for text in _broken(results):
        yield Caveat(severity="warning", text=text)
    for text in _uneven(results, shared=shared, tests=tests):
        yield Caveat(severity="note", text=text)


def _uneven(results: Sequence[EvaluationResult], *, shared: int, tests: int) -> Iterator[str]:
    yield from _other_attacks(results)
    yield from _other_images(results, shared)
    versions = [result.environment.code_version for result in results]
    yield from _where_they_differ("The versions of the lab's code", versions)
    if tests > 1:
        yield (
            f"{tests} tests are made on the same images. Read their adjusted p: if all models were "
            "equally good, the chance that any of these falls below 0.05 is at most 5 %."
        )


def _broken(results: Sequence[EvaluationResult]) -> Iterator[str]:
    for number, result in enumerate(results, start=1):
        for model in result.models:
            if model.verdict is not None and model.verdict.light is Light.RED:
                yield (
                    f"The evaluation of “{model.name}” (evaluation {number}) is broken: its "
                    "verdict is red, and its robust accuracy is not to be quoted or compared."
                )


def _other_attacks(results: Sequence[EvaluationResult]) -> Iterator[str]:
    params = [result.params for result in results]
    aspects = {
        "The budgets": [words.threat_model(p.attack.norm, p.epsilon) for p in params],
        "The first attacks": [words.attack_in_full(p.attack) for p in params],
        "The goals of the attacks": [words.goal(p.attack) for p in params],
        "The further attacks": [_methods(p.further) for p in params],
        "The queries": [
            f"{p.queries:,}" if any(m in BY_QUERIES for m in (p.attack.method, *p.further)) else ""
            for p in params
        ],
        "The sources of transfer": [_sources(result) for result in results],
    }
    uneven = [n for aspect, values in aspects.items() for n in _where_they_differ(aspect, values)]
    yield from uneven
    if uneven:
        yield (
            "So a difference in robust accuracy says as much about the attacks as about the models."
        )


def _other_images(results: Sequence[EvaluationResult], shared: int) -> Iterator[str]:
    for number, result in enumerate(results, start=1):
        if result.images > shared:
            early = ", where it stopped early" if result.stopped_early else ""
            yield (
                f"Of the {result.images:,} images of evaluation {number}{early}, the {shared:,} "
                "that all of them measured are compared: figures differ from its own page."
            )


def _where_they_differ(aspect: str, values: Sequence[str]) -> Iterator[str]:
    """A sentence such as `The budgets differ: 8/255 in evaluations 1 and 3; 4/255 in ... 2.`"""
    where: dict[str, list[str]] = {}
    for number, value in enumerate(values, start=1):
        if value:
            where.setdefault(value, []).append(str(number))
    if len(where) > 1:
        parts = [f"{value} in {_evaluations(numbers)}" for value, numbers in where.items()]
        yield f"{aspect} differ: {'; '.join(parts)}."


def _evaluations(numbers: Sequence[str]) -> str:
    if len(numbers) == 1:
        return f"evaluation {numbers[0]}"
    return f"evaluations {', '.join(numbers[:-1])} and {numbers[-1]}"


def _sources(result: EvaluationResult) -> str:
    """`“Teacher” (3f2a9c1e)`: names repeat, ids do not."""
    if not any(method.record.needs_source for method in result.params.further):
        return ""
    rows = [row for model in result.models for row in model.attacks]
    names = {row.source.id: f"“{row.source.name}” " for row in rows if row.source is not None}
    return ", ".join(f"{names.get(id, '')}({id[:8]})" for id in sorted(result.params.sources))


def _methods(methods: Sequence[Method]) -> str:
    return ", ".join(sorted(method.record.title for method in methods)) or "none"
