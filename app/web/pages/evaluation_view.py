"""An evaluation as a page shows it: what was found, what speaks against it, what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.contracts.attacks import Method
from app.contracts.results import (
    Accuracy,
    AttackRow,
    AttentionFigures,
    Check,
    EvaluationResult,
    EvaluationSummary,
    Light,
    Mapped,
    ModelFigures,
    Verdict,
)
from app.contracts.words import attack, budget, counted, least_budget
from app.web import words
from app.web.charts import classes as class_charts
from app.web.charts.base import Recipes, styled
from app.web.charts.curves import needed_budgets
from app.web.charts.palette import identity
from app.web.pages.evaluation_doubts import Doubt, Mend, Origin, doubts, mend_all
from app.web.pages.evaluation_gallery import GalleryView, gallery_view
from app.web.pages.evaluation_tables import (
    AccuracyTable,
    ClassTable,
    accuracy_table,
    class_table,
)
from app.web.pages.headlines import Chart, Headlines, headlines

_WHOLE = f"{Method.AUTOATTACK.record.title} standard"
_SHOWN_CONFUSIONS = 5
_PROJECTIONS = {"pca": "PCA", "tsne": "t-SNE"}


@dataclass(frozen=True)
class CascadeRow:
    """One attack of the cascade, or AutoAttack as a whole."""

    label: str
    """May name a model: outside text."""
    part: bool
    """Whether it is a part of the attack above it."""
    attacked: int
    broken: int
    worst_case: Accuracy
    alone: Accuracy | None
    seconds: float | None
    """None where it is counted with the attack above it."""


@dataclass(frozen=True)
class Confused:
    """A class that attacked images of another one are given."""

    true: str
    given: str
    count: int
    share: float
    """Of the images of the true class."""


@dataclass(frozen=True)
class MeasuredModel:
    """One model of the evaluation. Names are outside text."""

    model: str
    name: str
    sha256: str
    identity: str
    """The style sheet's name of its colour."""
    mapped: str
    """How its outputs were taken for the dataset's classes, in words and in outside text; empty
    where they are the same."""
    asked: str
    """How many images a model that only answers was asked about; empty of others."""
    verdict: Verdict | None
    cascade: tuple[CascadeRow, ...]
    confused: tuple[Confused, ...]
    """The most frequent ones under attack."""
    attention: AttentionFigures | None
    needed: str
    """What the minimal budgets say, in words; empty where they were not asked for."""
    matrices: tuple[Chart, ...]
    projections: tuple[Chart, ...]

    @property
    def cleared(self) -> tuple[Check, ...]:
        """The checks that are green."""
        checks = self.verdict.checks if self.verdict else ()
        return tuple(check for check in checks if check.light is Light.GREEN)


@dataclass(frozen=True)
class EvaluationView:
    """Everything that the pages show of an evaluation; a part that it lacks is empty or None."""

    result: EvaluationResult
    short: Headlines
    """What it begins with."""
    doubts: tuple[Doubt, ...]
    """What speaks against it, over all models, the worst first."""
    mend_all: Mend | None
    """What mends several of them at once."""
    gallery: GalleryView | None
    """None where no images were kept."""
    models: tuple[MeasuredModel, ...]
    curves: tuple[Chart, ...]
    table: AccuracyTable
    classes: Chart | None
    class_table: ClassTable | None
    corruptions: Chart | None
    severities: tuple[int, ...]
    """Of the corruptions."""
    attention: Chart | None

    @property
    def carried_on(self) -> bool:
        """Whether the first attack broke images beyond its own steps."""
        return any(row.seconds is None for model in self.models for row in model.cascade)

    @property
    def inside(self) -> bool:
        """Whether the dataset's masks say where the objects are."""
        return any(s.attention is not None and s.attention.inside is not None for s in self.models)


def evaluation_view(result: EvaluationResult, recipes: Recipes, origin: Origin) -> EvaluationView:
    """What the pages show of `result`, which `origin` left; `recipes` are of the models still
    known, by id.
    """
    short = headlines(EvaluationSummary.of(result), recipes)
    models = result.models
    severities = sorted({c.severity for model in models for c in model.corruptions})
    found = doubts(result, recipes, origin)
    return EvaluationView(
        result=result,
        short=short,
        doubts=found,
        mend_all=mend_all(found, result, origin),
        gallery=gallery_view(result, recipes),
        models=tuple(
            _measured_model(result, one.model, number, identity(one.hue))
            for number, one in enumerate(styled(result.models, recipes))
        ),
        curves=(*short.curves, *_further_curves(result)),
        table=accuracy_table(result),
        classes=_class_chart(result),
        class_table=class_table(result),
        corruptions=Chart(
            "corruptions",
            "Accuracy on common corruptions",
            "From the clean images (smallest) to the strongest severity (largest).",
        )
        if severities
        else None,
        severities=tuple(severities),
        attention=Chart(
            "attention",
            "How far attention moves",
            "Distance to the reference's map on the clean image. Boxes hold the middle half of "
            "the images, whiskers nine tenths. Filled: clean images.",
        )
        if any(model.attention for model in models)
        else None,
    )


def _further_curves(result: EvaluationResult) -> tuple[Chart, ...]:
    first, norm = result.params.attack.method, result.params.attack.norm
    asking = first if first.record.query_curve else Method.SQUARE
    at = f"At ε = {budget(norm, result.params.epsilon)}; solid: clean accuracy."
    models = result.models
    possible = (
        (any(m.against_restarts for m in models), "restarts", "Accuracy against random starts",
         at),
        (any(m.against_queries for m in models), "queries", "Accuracy against queries",
         f"{asking.record.title}, which sees no gradients. {at}"),
        (any(needed_budgets(m) for m in models), "minimal", "The least budget that breaks an image",
         "Of the images that are right when clean."),
    )  # fmt: skip
    return tuple(Chart(name, title, note) for there, name, title, note in possible if there)


def _class_chart(result: EvaluationResult) -> Chart | None:
    shown = class_charts.weakest(result)
    if not shown:
        return None
    note = "Filled: clean. Hollow: worst case. In brackets: how many images."
    if len(shown) < len(result.classes):
        note += f" The {len(shown)} weakest of {len(result.classes)} classes; all are in the table."
    return Chart("classes", "Accuracy by class", note)


def _measured_model(
    result: EvaluationResult, model: ModelFigures, number: int, hue: str
) -> MeasuredModel:
    matrices = (
        ("confusion-clean", "Clean images", bool(model.confusion_clean)),
        ("confusion-robust", "Worst case under attack", bool(model.confusion_robust)),
    )
    return MeasuredModel(
        model=model.model,
        name=model.name,
        sha256=model.sha256,
        identity=hue,
        mapped="" if model.mapped is None else _mapped(model.mapped, len(result.classes)),
        asked="" if model.asked is None else f"was asked about {counted(model.asked, 'image')}.",
        verdict=model.verdict,
        cascade=tuple(_cascade(result, model.attacks)),
        confused=_confused(model, result.classes),
        attention=model.attention,
        needed=_needed(result, model),
        matrices=tuple(Chart(f"{name}-{number}", title) for name, title, has in matrices if has),
        projections=_projections(model, number),
    )


def _mapped(mapped: Mapped, classes: int) -> str:
    left = mapped.outputs - classes
    if left == 0:
        said = "has the dataset's classes in another order, or writes them in another way"
    else:
        named = ", ".join(mapped.left_out)
        more = ", …" if left > len(mapped.left_out) else ""
        said = (
            f"knows {mapped.outputs:,} classes and was asked to decide among the dataset's "
            f"{classes:,} alone, which is easier; left out: {named}{more}"
        )
    renamed = f"; it says {', '.join(mapped.renamed)}" if mapped.renamed else ""
    return f"{said}. Its outputs were found by name{renamed}."


def _cascade(result: EvaluationResult, rows: Sequence[AttackRow]) -> list[CascadeRow]:
    """A row an attack; the parts of AutoAttack under one row that sums them up."""
    parts = [row for row in rows if row.part_of_autoattack]
    cascade = []
    for row in rows:
        if parts and row is parts[0]:
            last = parts[-1]
            cascade.append(
                CascadeRow(_WHOLE, False, row.attacked, sum(p.broken for p in parts),
                           last.worst_case, None, sum(p.seconds for p in parts))
            )  # fmt: skip
        cascade += _carried_on(result, row) if row is rows[0] else [_row(result, row)]
    return cascade


def _row(result: EvaluationResult, row: AttackRow) -> CascadeRow:
    return CascadeRow(_label(result, row), row.part_of_autoattack, row.attacked, row.broken,
                      row.worst_case, row.alone, row.seconds)  # fmt: skip


def _carried_on(result: EvaluationResult, row: AttackRow) -> list[CascadeRow]:
    """The first attack after its own steps, and what it broke beyond them: that counts, too."""
    whole, alone = _row(result, row), row.alone
    longer = result.params.attack.longer_runs(result.params.step_counts)
    if alone is None or not longer or alone.correct == row.worst_case.correct:
        return [whole]
    late = alone.correct - row.worst_case.correct
    first = replace(whole, broken=row.broken - late, worst_case=alone)
    label = f"the same, carried on to {longer[-1]} steps"
    return [
        first,
        CascadeRow(label, True, row.attacked - first.broken, late, row.worst_case, None, None),
    ]


def _label(result: EvaluationResult, row: AttackRow) -> str:
    if row.method is result.params.attack.method and not row.part_of_autoattack:
        return attack(result.params.attack)
    name = row.method.record.title
    return f"{name} from {row.source.name}" if row.source else name


def _confused(model: ModelFigures, classes: Sequence[str]) -> tuple[Confused, ...]:
    pairs = [
        Confused(classes[i], classes[j], count, count / sum(row))
        for i, row in enumerate(model.confusion_robust)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.count)[:_SHOWN_CONFUSIONS])


def _needed(result: EvaluationResult, model: ModelFigures) -> str:
    needed = needed_budgets(model)
    if not needed:
        return ""
    found = sorted(epsilon for epsilon in needed if epsilon is not None)
    never = len(needed) - len(found)
    says = f"{words.percent(never / len(needed))} ({never:,} of {len(needed):,}) are never broken"
    if 2 * len(found) > len(needed):
        middle = found[(len(needed) - 1) // 2]
        shown = least_budget(result.params.attack.norm, middle)
        return f"half fall at {shown} or less; {says}"
    return says


def _projections(model: ModelFigures, number: int) -> tuple[Chart, ...]:
    if model.embedding is None:
        return ()
    charts = []
    for projection in model.embedding.projections:
        title = _PROJECTIONS[projection.name]
        held = projection.explained
        note = "Distances between groups mean little." if held is None else (
            f"The plane holds {words.percent(held)} of the variance."
        )  # fmt: skip
        charts.append(Chart(f"{projection.name}-{number}", title, note))
    return tuple(charts)
