"""Every attack at the budget of the threat model: how each runs, in which order, at what cost.

Iterative attacks take the steps of the first attack, APGD-T and FAB-T as well; the parts of
AutoAttack take its own values, CW-L2 and DeepFool their authors'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import Attack, EvaluateParams, Method
from worker.attacks import FirstBreak, Steps, feature_attack, iterate, iterative
from worker.attacks.apgd import apgd_targeted
from worker.attacks.autoattack import AUTOATTACK_PARTS, STANDARD, autoattack_part
from worker.attacks.cw_l2 import cw_l2
from worker.attacks.deepfool import deepfool
from worker.attacks.fab import fab_targeted
from worker.attacks.hop_skip_jump import hop_skip_jump
from worker.attacks.iterative import IterativeAttack
from worker.attacks.malt import malt
from worker.attacks.noise import noise
from worker.attacks.square import square
from worker.evaluation.adaptive import RUNS, adaptive
from worker.evaluation.arguments import norm_of
from worker.evaluation.target import AttackBatch, Source, TargetModel

DRAWS = 10
"""Random points of the ball that an image must withstand."""
TARGETS = 9
"""Classes that MALT, APGD-T and FAB-T aim at in turn, as their authors do, or all wrong ones."""
_FORWARD = 1 / 3
"""What a pass without gradients costs."""


class Returned(NamedTuple):
    """What an attack gives back, before anybody looked at it."""

    x_adv: Tensor
    """(M, 3, H, W)"""
    first_break: Tensor | None = None
    """(M,), of attacks that say when they broke an image."""
    limit: int = 0
    """Up to this `first_break`, the attack says that it broke the image."""

    @property
    def claimed(self) -> Tensor | None:
        return None if self.first_break is None else self.first_break <= self.limit


class Craft(NamedTuple):
    """How one method runs on a batch."""

    run: Callable[[AttackBatch], Returned]
    passes: Callable[[EvaluateParams], float]
    """What it takes an image at most, roughly, in passes forward and backward."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of an evaluation's table of attacks."""

    method: Method
    passes: float
    """As `Craft.passes`; 0 for the first attack, which is counted with its curves."""
    source: Source | None = None
    """What a transfer attack attacks."""
    part: str | None = None
    """Which part of AutoAttack it is."""

    @property
    def sees_all(self) -> bool:
        """Whether it sees every image that is right when clean, though others are broken."""
        return self.part is None and self.method.record.quoted_alone

    @property
    def title(self) -> str:
        """For people who watch."""
        title = self.method.record.title
        if self.source is not None:
            return f"{title} from {self.source.lineage.name}"
        return f"{Method.AUTOATTACK.record.title}, {title}" if self.part else title


def plan(
    params: EvaluateParams, target_model: TargetModel, sources: Sequence[Source]
) -> tuple[Entry, ...]:
    """The rows of a model's table, in the order in which they run.

    The first attack; FGSM as its control, where it takes steps and the norm has it; the further
    attacks in the order of `Method`; random points last, as another control. A model is no source
    of transfer to itself.
    """
    first, control = params.attack.method, Method.FGSM
    rows = [Entry(method=first, passes=0)]
    if (
        first.record.iterative
        and first is not control
        and params.attack.norm in control.record.norms
    ):
        rows.append(Entry(method=control, passes=1))
    for method in Method:
        if method in params.further and method not in (first, control, Method.NOISE):
            rows.extend(_rows_of(method, params, target_model, sources))
    rows.append(Entry(method=Method.NOISE, passes=CRAFT[Method.NOISE].passes(params)))
    return tuple(rows)


def run(entry: Entry, batch: AttackBatch) -> Returned:
    """One row's attack on the images of the batch."""
    if entry.part is not None:
        return _part(entry.part, batch)
    if entry.source is not None:
        return _transfer(entry.source.call, batch)
    return CRAFT[entry.method].run(batch)


def passes_of(params: EvaluateParams) -> dict[Method, float]:
    """What every attack of the norm takes an image at most, in passes forward and backward."""
    others = {
        Method.AUTOATTACK: sum(_autoattack_passes(params.attack).values()),
        Method.TRANSFER: _steps(params),
    }
    return {
        method: others[method] if method in others else CRAFT[method].passes(params)
        for method in Method
        if params.attack.norm in method.record.norms
    }


def _rows_of(
    method: Method, params: EvaluateParams, target_model: TargetModel, sources: Sequence[Source]
) -> Iterator[Entry]:
    if method is Method.AUTOATTACK:
        passes = _autoattack_passes(params.attack)
        for part in AUTOATTACK_PARTS:
            yield Entry(method=Method(part), part=part, passes=passes[part])
    elif method.record.needs_source:
        for source in sources:
            if source.lineage.id != target_model.lineage.id:
                yield Entry(method=method, source=source, passes=params.attack.steps)
    else:
        yield Entry(method=method, passes=CRAFT[method].passes(params))


def _autoattack_passes(attack: Attack) -> dict[str, float]:
    values = STANDARD[norm_of(attack)]
    return {
        "apgd_ce": values.steps * values.restarts,
        "apgd_t": values.steps * values.apgd_targets,
        "fab_t": values.steps * values.fab_targets,
        "square": values.queries * _FORWARD,
    }


def _steps(params: EvaluateParams) -> float:
    return params.attack.steps


def _steps_a_target(params: EvaluateParams) -> float:
    return params.attack.steps * TARGETS


def _queries(params: EvaluateParams) -> float:
    return params.queries * _FORWARD


def _iterative(method: Method, batch: AttackBatch) -> Returned:
    """Towards each class in turn where the first attack aims at classes; broken images leave."""
    how, x_adv = steps_of(batch.params.attack, method), batch.x.clone()
    first_break = torch.full_like(batch.y, how.steps + 1)
    for target in (None,) if batch.targets is None else batch.targets.unbind(dim=1):
        rows = (first_break > how.steps).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        found = iterate(
            batch.target_model.call,
            batch.x[rows],
            batch.y[rows],
            how=how,
            eps=batch.eps,
            norm=batch.norm,
            noise=batch.start[rows],
            target=None if target is None else target[rows],
        )
        x_adv[rows], first_break[rows] = found.x_adv, found.first_break
    return Returned(x_adv, first_break, how.steps)


def _part(name: str, batch: AttackBatch) -> Returned:
    return Returned(
        autoattack_part(
            name, *batch.seen, eps=batch.eps, norm=batch.norm, **batch.draws(f"autoattack {name}")
        )
    )


def _transfer(source: Callable[[Tensor], Tensor], batch: AttackBatch) -> Returned:
    """PGD on the source to its end: what has only just broken the source seldom breaks others."""
    how = steps_of(batch.params.attack, Method.PGD)
    found = iterate(
        source,
        batch.x,
        batch.y,
        how=how,
        eps=batch.eps,
        norm=batch.norm,
        noise=batch.start,
        may_break=False,
    )
    return Returned(found.x_adv)


def _towards_each(craft: Callable[..., Tensor], batch: AttackBatch) -> Returned:
    """Class after class, with the first attack's steps."""
    draws = batch.draws(craft.__name__)
    steps = batch.params.attack.steps
    return Returned(
        craft(
            *batch.seen, eps=batch.eps, norm=batch.norm, steps=steps, targets=TARGETS,
            **draws,
        )
    )  # fmt: skip


def _square(batch: AttackBatch) -> Returned:
    queries = batch.params.queries
    found = square(
        *batch.seen, eps=batch.eps, norm=batch.norm, queries=queries, **batch.draws("square")
    )
    return Returned(found.x_adv, found.first_break, queries)


def _cw_l2(batch: AttackBatch) -> Returned:
    return Returned(cw_l2(*batch.seen, eps=batch.eps))


def _deepfool(batch: AttackBatch) -> Returned:
    return Returned(deepfool(*batch.seen, eps=batch.eps, norm=batch.norm))


def _hop_skip_jump(batch: AttackBatch) -> Returned:
    queries = batch.params.queries
    found = hop_skip_jump(
        *batch.seen, eps=batch.eps, norm=batch.norm, queries=queries, starts=batch.answered,
        **batch.draws("hop_skip_jump"),
    )  # fmt: skip
    return Returned(found.x_adv, found.first_break, queries)


def _feature(batch: AttackBatch) -> Returned:
    steps = batch.params.attack.steps
    found = feature_attack(
        batch.target_model.white_box,
        batch.x,
        batch.y,
        eps=batch.eps,
        step_size=batch.params.attack.relative_step * batch.eps,
        steps=steps,
        norm=batch.norm,
        noise=batch.start,
    )
    return Returned(found.x_adv, found.first_break, steps)


def _adaptive(batch: AttackBatch) -> Returned:
    steps = batch.params.attack.steps
    found: FirstBreak = adaptive(
        batch.target_model.white_box,
        batch.x,
        batch.y,
        eps=batch.eps,
        step_size=batch.params.attack.relative_step * batch.eps,
        steps=steps,
        norm=batch.norm,
        noise=batch.start,
        reference=batch.target_model.teacher,
    )
    return Returned(found.x_adv, found.first_break, steps * len(RUNS))


def _noise(batch: AttackBatch) -> Returned:
    return Returned(
        noise(*batch.seen, eps=batch.eps, norm=batch.norm, draws=DRAWS, **batch.draws("noise"))
    )


ITERATIVE_ATTACKS: Mapping[Method, IterativeAttack] = {
    Method.FGSM: iterative.PGD,
    Method.BIM: iterative.PGD,
    Method.PGD: iterative.PGD,
    Method.MI_FGSM: iterative.MI_FGSM,
    Method.CW: iterative.CW,
    Method.APGD_CE: iterative.APGD_CE,
    Method.APGD_DLR: iterative.APGD_DLR,
}
"""What those climb that can be the first attack; where they start and how often they step stands in
their records."""

CRAFT: Mapping[Method, Craft] = {
    **{method: Craft(partial(_iterative, method), _steps) for method in ITERATIVE_ATTACKS},
    Method.MALT: Craft(partial(_towards_each, malt), _steps_a_target),
    Method.APGD_T: Craft(partial(_towards_each, apgd_targeted), _steps_a_target),
    Method.FAB_T: Craft(partial(_towards_each, fab_targeted), _steps_a_target),
    Method.SQUARE: Craft(_square, _queries),
    Method.CW_L2: Craft(_cw_l2, lambda _: 1000),
    Method.DEEPFOOL: Craft(_deepfool, lambda _: 100),
    Method.HOP_SKIP_JUMP: Craft(_hop_skip_jump, _queries),
    Method.FEATURE: Craft(_feature, _steps),
    Method.ADAPTIVE: Craft(_adaptive, lambda params: params.attack.steps * len(RUNS)),
    Method.NOISE: Craft(_noise, lambda _: DRAWS * _FORWARD),
}
"""One row a method. AutoAttack is the rows of its parts, and transfer a row for each source."""


def steps_of(attack: Attack, method: Method | None = None) -> Steps:
    """How the attack moves, or another iterative method with its parameters."""
    method = method or attack.method
    record, run = method.record, ITERATIVE_ATTACKS[method]
    if record.one_step:
        return Steps(run, steps=1, relative_step=1.0, random_start=False)
    starts = record.random_start and attack.random_start
    return Steps(run, attack.steps, attack.relative_step, starts)


def restarts_of(attack: Attack) -> int:
    """How many starts there are: all are the same where none is random."""
    starts = attack.method.record.random_start and attack.random_start
    return attack.restarts if starts else 1
