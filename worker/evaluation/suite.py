"""Every attack at the budget of the threat model, in one order: which ones run on a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.contracts.params import NORMS_OF, Attack, EvaluateParams, Method
from worker.attacks.autoattack import AUTOATTACK_PARTS, STANDARD
from worker.evaluation.adaptive import RUNS
from worker.evaluation.subject import Source, Subject

DRAWS = 10
"""Random points of the ball that an image must withstand."""
TARGETS = 9
"""Classes that APGD-T and FAB-T aim at in turn, as in AutoAttack, or all wrong ones."""
_SEE_ALL = (Method.FGSM, Method.CW, Method.SQUARE)
"""FGSM is the main attack's control, papers quote CW alone, and accuracy against queries is that of
Square alone."""
_FORWARD = 1 / 3
"""What a pass without gradients costs."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the table of attacks."""

    method: Method
    passes: float
    """What it takes an image at most, roughly, in passes forward and backward."""
    source: Source | None = None
    """What a transfer attack attacks."""
    part: str | None = None
    """Which part of AutoAttack it is."""

    @property
    def sees_all(self) -> bool:
        """Whether it sees every image that is right when clean, though others are broken."""
        return self.part is None and self.method in _SEE_ALL

    @property
    def title(self) -> str:
        """For people who watch."""
        if self.source is not None:
            return f"{self.method} from {self.source.lineage.name}"
        return f"AutoAttack, {self.part}" if self.part else str(self.method)


def plan(params: EvaluateParams, subject: Subject, sources: Sequence[Source]) -> tuple[Entry, ...]:
    """The rows of a model's table, in the order in which they run.

    The main attack; FGSM as its control, where the norm has it; the further attacks in the order of
    `Method`; random points last, as another control. A model is no source of transfer to itself.
    """
    main = params.attack.method
    rows = [Entry(method=main, passes=0)]
    if main is not Method.FGSM and params.attack.norm in NORMS_OF[Method.FGSM]:
        rows.append(Entry(method=Method.FGSM, passes=1))
    for method in Method:
        if method in params.further and method not in (main, Method.FGSM, Method.NOISE):
            rows.extend(_rows_of(method, params, subject, sources))
    rows.append(Entry(method=Method.NOISE, passes=DRAWS * _FORWARD))
    return tuple(rows)


def _rows_of(
    method: Method, params: EvaluateParams, subject: Subject, sources: Sequence[Source]
) -> Iterator[Entry]:
    if method is Method.AUTOATTACK:
        passes = _autoattack_passes(params.attack)
        for part in AUTOATTACK_PARTS:
            yield Entry(method=Method(part), part=part, passes=passes[part])
    elif method is Method.TRANSFER:
        for source in sources:
            if source.lineage.id != subject.lineage.id:
                yield Entry(method=method, source=source, passes=params.attack.steps)
    else:
        yield Entry(method=method, passes=_passes(method, params))


def _autoattack_passes(attack: Attack) -> dict[str, float]:
    values = STANDARD[attack.norm.value]
    return {
        "apgd_ce": values.steps * values.restarts,
        "apgd_t": values.steps * values.apgd_targets,
        "fab_t": values.steps * values.fab_targets,
        "square": values.queries * _FORWARD,
    }


def _passes(method: Method, params: EvaluateParams) -> float:
    steps = params.attack.steps
    match method:
        case Method.APGD_T | Method.FAB_T:
            return steps * TARGETS
        case Method.SQUARE | Method.HOP_SKIP_JUMP:
            return params.queries * _FORWARD
        case Method.CW_L2:
            return 1000
        case Method.DEEPFOOL:
            return 100
        case Method.ADAPTIVE:
            return steps * len(RUNS)
        case _:
            return steps
