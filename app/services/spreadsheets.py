"""Evaluations, ablations and datasets as CSV: one row a figure, an image and model, or an image.

Shares are in [0, 1], budgets in units of [0, 1] (8/255 is 0.0313725...), intervals at 95 %. What
does not apply is empty. A text that a spreadsheet would take for a formula begins with an
apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from app.contracts.results import (
    AblationRow,
    AblationTable,
    Accuracy,
    AttackRow,
    AttentionFigures,
    EvaluationResult,
    Mean,
    ModelFigures,
)

FIGURE_COLUMNS = ("job", "model", "name", "verdict", "quantity", "item", "x",
                  "value", "low", "high", "n")  # fmt: skip
IMAGE_COLUMNS = ("job", "model", "name", "number", "label", "label_name", "clean", "clean_name",
                 "worst", "worst_name", "broken_by", "broken_by_name",
                 "minimal_epsilon")  # fmt: skip
_ADVERSARIAL = ("number", "label", "clean_prediction", "prediction", "prediction_8bit", "broken_by")
ADVERSARIAL_COLUMNS = ("job", "model", "name", "number", "label", "label_name", "clean",
                       "clean_name", "adversarial", "adversarial_name", "adversarial_8bit",
                       "adversarial_8bit_name", "broken_by", "broken_by_name",
                       "epsilon")  # fmt: skip
MANIFEST_COLUMNS = ("part", "number", "label", "label_name", "sha256")
ABLATION_COLUMNS = ("job", "row", "recipe", "label", "measure", "statistic", "seed",
                    "value", "low", "high", "n", "model", "note")  # fmt: skip

Cell = str | int | float | None
Figure = tuple[str, str, float | None, Accuracy | Mean | None]
"""Quantity, item, x, and the figure itself."""

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_ROWS_AT_ONCE = 1000


def figures(job: str, result: EvaluationResult) -> Iterator[str]:
    """The figures of every model, as lines of CSV."""

    def rows() -> Iterator[Sequence[Cell]]:
        for model in result.models:
            light = None if model.verdict is None else model.verdict.light.value
            for quantity, item, x, figure in _figures(model, result):
                if figure is not None:
                    shown = (figure.value, figure.low, figure.high, figure.n)
                    yield (job, model.model, model.name, light, quantity, item, x, *shown)

    return lines(FIGURE_COLUMNS, rows())


def images(job: str, result: EvaluationResult) -> Iterator[str]:
    """What happened to every image under every model, as lines of CSV."""

    def rows() -> Iterator[Sequence[Cell]]:
        for model in result.models:
            yield from _images(job, model, result)

    return lines(IMAGE_COLUMNS, rows())


def adversarial(
    job: str, model: ModelFigures, result: EvaluationResult, arrays: Mapping[str, NDArray[Any]]
) -> Iterator[str]:
    """The images that were kept of a model, as lines of CSV."""

    def rows() -> Iterator[Sequence[Cell]]:
        broke = _breakers(model)
        columns = (arrays[name].tolist() for name in _ADVERSARIAL)
        for number, *classes, by in zip(*columns, strict=True):
            named = (cell for k in classes for cell in (k, result.classes[k]))
            told = (by, broke[by], result.params.epsilon)
            yield (job, model.model, model.name, number, *named, *told)

    return lines(ADVERSARIAL_COLUMNS, rows())


def manifest(classes: Sequence[str], images: Iterable[tuple[str, int, int, str]]) -> Iterator[str]:
    """The images of a dataset, each by part, number, label and SHA-256, as lines of CSV."""
    rows = ((part, number, k, classes[k], sha256) for part, number, k, sha256 in images)
    return lines(MANIFEST_COLUMNS, rows)


def ablation(job: str, table: AblationTable) -> Iterator[str]:
    """Every seed's figures, their means and deviations, then what is reported elsewhere."""

    def rows() -> Iterator[Sequence[Cell]]:
        for number, row in enumerate(table.rows, start=1):
            yield from _ablation_row((job, number, row.recipe.value, row.label), row)
        for each in table.reported:
            yield (job, None, each.recipe.value, each.variant, each.measure.value, "reported",
                   None, each.value, None, None, None, None, each.label)  # fmt: skip

    return lines(ABLATION_COLUMNS, rows())


def _ablation_row(which: Sequence[Cell], row: AblationRow) -> Iterator[Sequence[Cell]]:
    models = {child.seed: child.model for child in row.children}
    for measure, spread in row.figures.items():
        for of_seed in spread.values:
            share = of_seed.accuracy
            yield (*which, measure.value, "seed", of_seed.seed, share.value, share.low, share.high,
                   share.n, models[of_seed.seed], None)  # fmt: skip
        nothing = (None, None, spread.n, None, None)
        yield (*which, measure.value, "mean", None, spread.mean, *nothing)
        yield (*which, measure.value, "std", None, spread.std, *nothing)


def attack_name(row: AttackRow) -> str:
    """`square`, or `transfer from Teacher`."""
    return row.method if row.source is None else f"{row.method} from {row.source.name}"


def _figures(model: ModelFigures, result: EvaluationResult) -> Iterator[Figure]:
    yield ("accuracy_clean", "", None, model.clean)
    yield ("accuracy_robust", "", result.params.epsilon, model.robust)
    for number, row in enumerate(model.attacks, start=1):
        broke = Accuracy.of(row.broken, row.attacked) if row.attacked else None
        yield ("attack_broke", attack_name(row), number, broke)
        yield ("attack_alone", attack_name(row), number, row.alone)
        yield ("attack_worst_case", attack_name(row), number, row.worst_case)
    for quantity, points in (
        ("accuracy_epsilon", model.against_epsilon),
        ("accuracy_steps", model.against_steps),
        ("accuracy_restarts", model.against_restarts),
        ("accuracy_queries", model.against_queries),
    ):
        for point in points:
            yield (quantity, "", point.x, point.accuracy)
    for name, of_class in zip(result.classes, model.per_class, strict=False):
        yield ("class_clean", name, None, of_class.clean)
        yield ("class_robust", name, None, of_class.robust)
    for corruption in model.corruptions:
        yield ("corruption", corruption.name, corruption.severity, corruption.accuracy)
    if model.attention is not None:
        yield from _attention(model.attention)


def _attention(attention: AttentionFigures) -> Iterator[Figure]:
    for distance in attention.distances:
        yield ("attention_clean", distance.measure, None, distance.clean)
        yield ("attention_adversarial", distance.measure, None, distance.adversarial)
        yield ("attention_kept", distance.measure, None, distance.adversarial_kept)
        yield ("attention_flipped", distance.measure, None, distance.adversarial_flipped)
    if attention.inside is not None:
        for part in type(attention.inside).model_fields:
            yield ("attention_on_object", part, None, getattr(attention.inside, part))


def _images(job: str, model: ModelFigures, result: EvaluationResult) -> Iterator[Sequence[Cell]]:
    outcomes, names = model.outcomes, result.classes
    assert outcomes is not None
    broke = _breakers(model)
    budgets = outcomes.minimal_epsilon or (None,) * len(result.labels)
    for number, label, clean, worst, broken_by, least in zip(
        result.image_numbers,
        result.labels,
        outcomes.clean_prediction,
        outcomes.worst_prediction,
        outcomes.broken_by,
        budgets,
        strict=True,
    ):
        yield (job, model.model, model.name, number, label, names[label], clean, names[clean],
               worst, names[worst], broken_by, broke[broken_by], least)  # fmt: skip


def _breakers(model: ModelFigures) -> dict[int, str]:
    """What broke an image, by `broken_by`."""
    attacks = {number: attack_name(row) for number, row in enumerate(model.attacks, start=1)}
    return {-1: "stands", 0: "clean", **attacks}


def lines(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """CSV as RFC 4180 has it, in pieces of many rows."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for number, row in enumerate(rows, start=1):
        writer.writerow([_harmless(cell) for cell in row])
        if number % _ROWS_AT_ONCE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _harmless(cell: Cell) -> Cell:
    """Names come from outside; spreadsheets run what looks like a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
