"""Jobs, models and results as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.client.gate import Gate
from app.client.job import Job
from app.client.terminal import on_one_line, paragraph, table
from app.contracts.accounts import Account
from app.contracts.attacks import VALIDATION_ATTACK
from app.contracts.results import (
    AblationResult,
    AblationTable,
    Accuracy,
    Comparison,
    DatasetReport,
    EvaluationResult,
    ExplainResult,
    ImportModelResult,
    ImportResult,
    JobResult,
    ModelCard,
    ModelFigures,
    PairedTest,
    ReleaseResult,
    Reported,
    Spread,
    TrainResult,
)
from app.contracts.results.verdict import Check, Light
from app.contracts.units import format_255
from app.contracts.views import DatasetView, JobView, ModelView, WorkerView
from app.contracts.words import budget, give_or_take, memory, percent, signed, with_interval

_SHORT_ID = 8
_WORST_CHECKS = 3
_NAMED_CLASSES = 12
_FIGURES = ("model", "clean (95 %)", "robust (95 %)", "verdict")
_TESTS = (
    "pair", "accuracy", "points (95 %)", "p", "adjusted p", "only the first", "only the second",
)  # fmt: skip
"""Of a pair a − b, a is the second and b the first."""


def jobs(listed: Sequence[Job[JobResult]]) -> str:
    """A line for each job, newest first."""
    rows = [
        (v.id[:_SHORT_ID], v.kind, v.status, _far(v), _when(v.created_at), v.title)
        for v in (job.view for job in listed)
    ]
    return table(("job", "kind", "status", "done", "submitted (UTC)", "title"), rows, right=(3,))


def workers(listed: Sequence[WorkerView]) -> str:
    """A line for each worker, by name."""
    rows = [
        (
            each.name,
            ", ".join(each.queues),
            each.device,
            "" if each.room_mb is None else memory(each.room_mb),
            "drained" if each.drained_at else "hangs" if each.silent else "",
            ", ".join(run.title for run in each.runs),
        )
        for each in listed
    ]
    return table(("worker", "queues", "computes on", "memory", "state", "runs"), rows, right=(3,))


def _far(view: JobView) -> str:
    return "" if view.progress is None else f"{100 * view.progress.share:.0f} %"


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def users(listed: Sequence[Account]) -> str:
    """A line for each account."""
    rows = [
        (user.name, user.role, str(user.sessions), str(user.tokens), _ends(user.disabled_at))
        for user in listed
    ]
    head = ("name", "role", "sessions", "tokens", "disabled since (UTC)")
    return table(head, rows, right=(2, 3))


def _ends(moment: datetime | None) -> str:
    return "" if moment is None else _when(moment)


def models(listed: Sequence[ModelView]) -> str:
    """A line for each model, with its figures on validation images."""
    rows = [
        (
            model.id[:_SHORT_ID],
            model.name,
            model.card.architecture,
            model.card.dataset.name,
            _validation(model.card.validation_clean),
            _validation(model.card.validation_robust),
        )
        for model in listed
    ]
    head = (
        "model", "name", "network", "dataset", "clean, validation",
        f"{VALIDATION_ATTACK}, validation",
    )  # fmt: skip
    return table(head, rows, right=(4, 5))


def _validation(figure: Accuracy | None) -> str:
    return "" if figure is None else with_interval(figure)


def datasets(listed: Sequence[DatasetView]) -> str:
    """A line for each dataset."""
    rows = [
        (
            dataset.id[:_SHORT_ID],
            dataset.name,
            f"{len(dataset.report.classes):,}",
            f"{dataset.report.train_images:,}",
            f"{dataset.report.test_images:,}",
        )
        for dataset in listed
    ]
    head = ("dataset", "name", "classes", "training images", "test images")
    return table(head, rows, right=(2, 3, 4))


def imported(dataset: str | None, report: DatasetReport) -> str:
    """A dataset, or what a preview would import, and what weakens it."""
    what = "Preview, nothing is kept" if dataset is None else f"Dataset {dataset}"
    more = ["…"] if len(report.classes) > _NAMED_CLASSES else []
    lines = [
        f"{what}: {report.train_images:,} training and {report.test_images:,} test images of "
        f"{len(report.classes)} classes, {report.files_left_out:,} files left out.",
        f"Classes: {', '.join((*report.classes[:_NAMED_CLASSES], *more))}.",
        *report.notes,
        *(f"Warning: {warning.text}" for warning in report.warnings),
        *(f"Left out: {one.reason} ({one.count:,})." for one in report.left_out),
    ]
    return "\n".join(map(on_one_line, lines))


def result(found: JobResult) -> str:
    """What a job left, in short."""
    match found:
        case EvaluationResult():
            return evaluation(found)
        case TrainResult(card=card):
            return _trained(card, found)
        case ImportModelResult(card=card):
            (clean,) = card.test
            return on_one_line(
                f"Model “{card.name}” ({found.model}): clean {with_interval(clean.accuracy)} on "
                f"{clean.accuracy.n:,} test images."
            )
        case ReleaseResult():
            return on_one_line(
                f"“{found.model.name}” as ONNX: logits differ by at most "
                f"{found.onnx.difference:.1e} on {found.onnx.checked_on} images."
            )
        case ImportResult(report=report):
            return imported(found.dataset, report)
        case AblationResult(table=known):
            return ablation(known)
        case ExplainResult():
            return live(found)


def _untold(each: Reported) -> str:
    return " (its training's steps are not told)" if each.training_steps is None else ""


def _trained(card: ModelCard, found: TrainResult) -> str:
    clean, robust = card.validation_clean, card.validation_robust
    shares = [] if clean is None else [f"clean {with_interval(clean)}"]
    shares += [] if robust is None else [f"under {VALIDATION_ATTACK} {with_interval(robust)}"]
    last = "" if found.last == found.model else f" The last epoch is model {found.last}."
    return on_one_line(
        f"Model “{card.name}” ({found.model}), epoch {card.epoch}: {', '.join(shares)} on "
        f"validation images.{last}"
    )


def ablation(found: AblationTable) -> str:
    """A line for each row with mean and deviation over seeds, then what is reported elsewhere."""
    rows = [
        (
            row.label,
            f"{sum(child.status.is_final for child in row.children)}/{len(row.children)}",
            *(_spread(row.figures.get(column.measure)) for column in found.columns),
        )
        for row in found.rows
    ]
    head = ("recipe", "trained", *(column.name for column in found.columns))
    reported = [f"{each.variant}: {percent(each.value)}{_untold(each)}" for each in found.reported]
    lines = [
        paragraph("", "Mean ± standard deviation over seeds, best model of each training; on test "
                  f"images under attacks of L∞ ε = {format_255(found.epsilon)}"),
        "",
        table(head, rows, right=range(1, len(head))),
    ]  # fmt: skip
    if reported:
        lines += ["", paragraph("Note: ", f"{found.reported[0].label}. {'; '.join(reported)}")]
    failures = [
        paragraph("  ", f"{row.label}, seed {child.seed}: {child.failure}")
        for row in found.rows
        for child in row.children
        if child.failure is not None
    ]
    return "\n".join([*lines, *(["", "failed", *failures] if failures else [])])


def live(found: ExplainResult) -> str:
    """The smallest budget of the slider that changes what each model says."""
    norm = found.params.attack.norm
    rows = [
        (
            model.name,
            found.classes[clean.top],
            "never" if one.minimal.broke is None else budget(norm, one.minimal.broke),
        )
        for model, clean, one in zip(found.models, found.clean, found.attacks, strict=True)
    ]
    largest = budget(norm, found.budgets[-1])
    return "\n".join(
        [
            paragraph("", f"{len(found.budgets)} budgets up to {norm.record.title} ε = {largest}"),
            "",
            table(("model", "says of the clean image", "changes at ε"), rows, right=(2,)),
        ]
    )


def _spread(over: Spread | None) -> str:
    """`71.0 ± 0.4 %`; one seed has no deviation."""
    if over is None:
        return ""
    return percent(over.mean) if over.std is None else give_or_take(over.mean, over.std)


def evaluation(found: EvaluationResult) -> str:
    """The worst case of each model with its verdict, then what speaks against it."""
    params = found.params
    norm = params.attack.norm
    methods = (params.attack.method, *params.further)
    tried = ", ".join(method.record.title for method in methods)
    rows = [
        (
            model.name,
            with_interval(model.clean),
            "not measured" if model.robust is None else with_interval(model.robust),
            "not checked" if model.verdict is None else model.verdict.light,
        )
        for model in found.models
    ]
    return "\n".join(
        [
            paragraph(
                "",
                f"{found.images:,} test images of {found.dataset.name}, "
                f"{norm.record.title} ε = {budget(norm, params.epsilon)}, worst case of {tried}",
            ),
            "",
            table(_FIGURES, rows, right=(1, 2)),
            *(line for model in found.models for line in _doubts(model)),
        ]
    )


def _doubts(model: ModelFigures) -> list[str]:
    """The checks that are not green; the worst come first."""
    if model.verdict is None:
        return []
    doubts = [check for check in model.verdict.checks if check.light is not Light.GREEN]
    if not doubts:
        return []
    more = len(doubts) - _WORST_CHECKS
    return [
        "",
        on_one_line(f"{model.name}: {model.verdict.light}"),
        *(_doubt(check) for check in doubts[:_WORST_CHECKS]),
        *([f"  and {more} more"] if more > 0 else []),
    ]


def _doubt(check: Check) -> str:
    measured = "" if check.figure == "not measured" else f": {check.figure}"
    return paragraph(f"  {check.light:<5}  ", f"{check.title}{measured}. {check.sentence}")


def gate(found: Gate) -> str:
    """Every condition of every model, then what its verdict doubts where one does not hold."""
    rows = [
        (one.model, one.asked, one.found, "holds" if one.holds else "does not hold")
        for one in found.conditions
    ]
    lines = [table(("model", "asked for", "found", ""), rows)]
    for model in dict.fromkeys(one.model for one in found.conditions if not one.holds):
        doubts = [_doubt(doubt.check) for doubt in found.doubts if doubt.model == model]
        lines += ["", f"{on_one_line(model)}, by its verdict:", *doubts] if doubts else []
    return "\n".join(lines)


def comparison(found: Comparison) -> str:
    """Each model on the common images, then each pair's difference with McNemar's test."""
    names = [f"{number}  {one.name}" for number, one in enumerate(found.compared, 1)]
    rows = [
        (name, with_interval(one.clean), with_interval(one.robust), one.light)
        for name, one in zip(names, found.compared, strict=True)
    ]
    return "\n".join(
        [
            paragraph(
                "", f"{found.images:,} test images of {found.dataset.name} that all measured"
            ),
            "",
            table(_FIGURES, rows, right=(1, 2)),
            "",
            table(_TESTS, [_paired(test) for test in found.tests], right=(2, 3, 4, 5, 6)),
            "",
            *(paragraph(f"{one.severity.capitalize()}: ", one.text) for one in found.caveats),
        ]
    ).rstrip()


def _paired(test: PairedTest) -> Sequence[str]:
    return (
        f"{test.second + 1} − {test.first + 1}",
        test.quantity,
        f"{signed(test.difference)} ({signed(test.low)} to {signed(test.high)})",
        f"{test.p_value:.2g}",
        f"{test.p_adjusted:.2g}",
        f"{test.only_first:,}",
        f"{test.only_second:,}",
    )
