"""Further attacks at the budget of the threat model, each as its row of the table runs it.

Attacks of steps take those of the main attack, APGD-T and FAB-T as well; the parts of AutoAttack
take its own values, CW-L2 and DeepFool their authors'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import Method
from worker.attacks import FirstBreak, feature_walk, walk
from worker.attacks.apgd import apgd_targeted
from worker.attacks.autoattack import autoattack_part
from worker.attacks.cw_l2 import cw_l2
from worker.attacks.deepfool import deepfool
from worker.attacks.fab import fab_targeted
from worker.attacks.hop_skip_jump import hop_skip_jump
from worker.attacks.noise import noise
from worker.attacks.square import square
from worker.evaluation.adaptive import RUNS, adaptive
from worker.evaluation.arguments import steps_of
from worker.evaluation.last_iterate import last_iterate
from worker.evaluation.subject import Scene
from worker.evaluation.suite import DRAWS, TARGETS, Entry


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


def attack(entry: Entry, scene: Scene) -> Returned:
    """Run one row's attack on the scene's images."""
    if entry.part is not None:
        return _part(entry.part, scene)
    if entry.source is not None:
        return _transfer(entry.source.call, scene)
    run = _CRAFT.get(entry.method)
    return _walk(entry.method, scene) if run is None else run(scene)


def _walk(method: Method, scene: Scene) -> Returned:
    """Towards each class in turn where the main attack aims at classes; broken images leave."""
    how, x_adv = steps_of(scene.params.attack, method), scene.x.clone()
    first_break = torch.full_like(scene.y, how.steps + 1)
    for target in (None,) if scene.targets is None else scene.targets.unbind(dim=1):
        rows = (first_break > how.steps).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        found = walk(
            scene.subject.call,
            scene.x[rows],
            scene.y[rows],
            how=how,
            eps=scene.eps,
            norm=scene.norm,
            noise=scene.start[rows],
            target=None if target is None else target[rows],
        )
        x_adv[rows], first_break[rows] = found.x_adv, found.first_break
    return Returned(x_adv, first_break, how.steps)


def _part(name: str, scene: Scene) -> Returned:
    call, x, y = scene.subject.call, scene.x, scene.y
    return Returned(
        autoattack_part(name, call, x, y, eps=scene.eps, norm=scene.norm, seed=scene.seed)
    )


def _transfer(source: Callable[[Tensor], Tensor], scene: Scene) -> Returned:
    """PGD on the source to its end: what has only just broken the source seldom breaks others."""
    how = steps_of(scene.params.attack, Method.PGD)
    return Returned(
        last_iterate(
            source,
            scene.x,
            scene.y,
            how=how,
            eps=scene.eps,
            norm=scene.norm,
            noise=scene.start,
            target=None,
        )
    )


def _towards_each(craft: Callable[..., Tensor], scene: Scene) -> Returned:
    """APGD-T or FAB-T, with the main attack's steps."""
    return Returned(
        craft(
            scene.subject.call,
            scene.x,
            scene.y,
            eps=scene.eps,
            steps=scene.params.attack.steps,
            norm=scene.norm,
            targets=TARGETS,
            seed=scene.seed,
        )
    )


def _square(scene: Scene) -> Returned:
    queries = scene.params.queries
    found = square(
        scene.subject.call,
        scene.x,
        scene.y,
        eps=scene.eps,
        norm=scene.norm,
        queries=queries,
        seed=scene.seed,
    )
    return Returned(found.x_adv, found.first_break, queries)


def _cw_l2(scene: Scene) -> Returned:
    return Returned(cw_l2(scene.subject.call, scene.x, scene.y, eps=scene.eps))


def _deepfool(scene: Scene) -> Returned:
    call, x, y = scene.subject.call, scene.x, scene.y
    return Returned(deepfool(call, x, y, eps=scene.eps, norm=scene.norm))


def _hop_skip_jump(scene: Scene) -> Returned:
    return Returned(
        hop_skip_jump(
            scene.subject.call,
            scene.x,
            scene.y,
            eps=scene.eps,
            norm=scene.norm,
            queries=scene.params.queries,
            seed=scene.seed,
        )
    )


def _feature(scene: Scene) -> Returned:
    steps = scene.params.attack.steps
    found = feature_walk(
        scene.subject.model,
        scene.x,
        scene.y,
        eps=scene.eps,
        step_size=scene.params.attack.relative_step * scene.eps,
        steps=steps,
        norm=scene.norm,
        noise=scene.start,
    )
    return Returned(found.x_adv, found.first_break, steps)


def _adaptive(scene: Scene) -> Returned:
    steps = scene.params.attack.steps
    found: FirstBreak = adaptive(
        scene.subject.model,
        scene.x,
        scene.y,
        eps=scene.eps,
        step_size=scene.params.attack.relative_step * scene.eps,
        steps=steps,
        norm=scene.norm,
        noise=scene.start,
        reference=scene.subject.teacher,
    )
    return Returned(found.x_adv, found.first_break, steps * len(RUNS))


def _noise(scene: Scene) -> Returned:
    generator = torch.Generator(scene.x.device).manual_seed(scene.seed)
    return Returned(
        noise(
            scene.subject.call,
            scene.x,
            scene.y,
            eps=scene.eps,
            norm=scene.norm,
            draws=DRAWS,
            generator=generator,
        )
    )


_CRAFT: Mapping[Method, Callable[[Scene], Returned]] = {
    Method.APGD_T: partial(_towards_each, apgd_targeted),
    Method.FAB_T: partial(_towards_each, fab_targeted),
    Method.SQUARE: _square,
    Method.CW_L2: _cw_l2,
    Method.DEEPFOOL: _deepfool,
    Method.HOP_SKIP_JUMP: _hop_skip_jump,
    Method.FEATURE: _feature,
    Method.ADAPTIVE: _adaptive,
    Method.NOISE: _noise,
}
"""Those that are no walks."""
