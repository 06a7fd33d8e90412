"""What speaks against the figures of an evaluation, as problems with what mends them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from app.contracts.params import EvaluateParams
from app.contracts.results import Check, EvaluationResult, Light
from app.contracts.views import JobView
from app.errors import NotFound
from app.services import datasets
from app.services.lab import Lab
from app.services.remedies import Remedy, remedy
from app.web.charts.base import Recipes, styled
from app.web.charts.palette import identity
from app.web.forms.entries import entries_of

_WORST_FIRST = (Light.RED, Light.AMBER)
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Origin:
    """The job that an evaluation comes from."""

    job: str
    test_images: int | None
    """What its dataset's test part has; None where the dataset is gone."""


def origin_of(lab: Lab, job: JobView, result: EvaluationResult) -> Origin:
    """Of a result that the job left."""
    try:
        report = datasets.get(lab, result.dataset.id).report
    except NotFound:
        return Origin(job.id, None)
    return Origin(job.id, report.test_images)


@dataclass(frozen=True)
class Mend:
    """What starts the evaluation that mends doubts, and the form to change it first."""

    job: str
    """The evaluation in doubt."""
    checks: tuple[str, ...]
    label: str
    """`Add AutoAttack`."""
    href: str
    """Of the form."""
    seconds: float | None
    """What it is likely to take; None where that is not known."""


@dataclass(frozen=True)
class Doubted:
    """One of the models in doubt; `name` is outside text."""

    name: str
    identity: str
    figure: str


@dataclass(frozen=True)
class Doubt:
    """One problem of one model or of several."""

    light: Light
    check: str
    """Its id; the help about verdicts has a section of that name."""
    problem: str
    sentence: str
    models: tuple[Doubted, ...]
    mend: Mend | None


def doubts(result: EvaluationResult, recipes: Recipes, origin: Origin) -> tuple[Doubt, ...]:
    """Checks that do not hold, the worst first; what is said of several models is said once, be
    it with other numbers of each.
    """
    groups: dict[tuple[Light, str, str, str], list[tuple[Check, Doubted]]] = {}
    for one in styled(result.models, recipes):
        verdict = one.model.verdict
        for check in verdict.checks if verdict else ():
            if check.light is not Light.GREEN:
                doubted = Doubted(one.model.name, identity(one.hue), check.figure)
                problem, sentence = (
                    _NUMBER.sub("#", said) for said in (_problem(check), check.sentence)
                )
                key = (check.light, check.id, problem, sentence)
                groups.setdefault(key, []).append((check, doubted))
    ordered = sorted(groups.items(), key=lambda group: _WORST_FIRST.index(group[0][0]))
    return tuple(
        Doubt(
            light=light,
            check=check,
            problem=_of_all([_problem(each) for each, _ in found]),
            sentence=_of_all([each.sentence for each, _ in found]),
            models=tuple(doubted for _, doubted in found),
            mend=_mend([check], result, origin),
        )
        for (light, check, *_), found in ordered
    )


def _of_all(texts: Sequence[str]) -> str:
    """Texts that differ in nothing but their numbers, as one: `2.0 to 6.7 points`."""
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    spans = iter([_span(column) for column in columns])
    return _NUMBER.sub(lambda _: next(spans), texts[0])


def _span(numbers: Sequence[str]) -> str:
    by_size = sorted(set(numbers), key=lambda number: float(number.replace(",", "")))
    return by_size[0] if len(by_size) == 1 else f"{by_size[0]} to {by_size[-1]}"


def _problem(check: Check) -> str:
    """Results from before problems were said have the title of what does not hold."""
    return check.problem or f"In doubt: “{check.title}”"


def mend_all(found: Sequence[Doubt], result: EvaluationResult, origin: Origin) -> Mend | None:
    """What mends all doubts that can be mended, in one evaluation; None for one or none."""
    mended = [doubt.check for doubt in found if doubt.mend is not None]
    return _mend(mended, result, origin) if len(mended) > 1 else None


def _mend(checks: Sequence[str], result: EvaluationResult, origin: Origin) -> Mend | None:
    found = remedy(checks, result, origin.test_images)
    if found is None:
        return None
    href = _form(found, result.params, origin)
    return Mend(origin.job, tuple(checks), found.label, href, found.seconds)


def _form(found: Remedy, asked: EvaluateParams, origin: Origin) -> str:
    """The form of the same evaluation, with exactly what is changed."""
    old, new = (
        entries_of(EvaluateParams, params.model_dump(mode="json"))
        for params in (asked, found.params)
    )
    changed = {name: new[name] or ("",) for name in new if new[name] != old[name]}
    query = urlencode({"from": origin.job, **changed}, doseq=True)
    return f"/evaluate?{query}"
