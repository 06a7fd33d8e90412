"""After the last chunk: the checks on a few images, the verdict, and the feature view."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from app.contracts.params import EvaluateParams, Method, Norm
from app.contracts.results import EmbeddingView, ModelFigures, Verdict
from app.contracts.units import from_255
from worker.data import Split
from worker.evaluation.arguments import norm_of
from worker.evaluation.attacks import steps_of
from worker.evaluation.embedding import VIEW_IMAGES, embedding_view
from worker.evaluation.figures import facts_of, model_figures
from worker.evaluation.measurement import Measurement
from worker.evaluation.outcomes import STANDS
from worker.evaluation.probing.probes import probe, probe_answers
from worker.evaluation.progress import Meter
from worker.evaluation.target import Chunk
from worker.evaluation.verdict.judge import judge

PROBE_IMAGES = 100
_PROBE_PASSES = 100
"""What a probe takes an image, in passes forward and backward, beside nine runs of the attack."""
_OTHER_WAYS = (*(m for m in Method if m.record.black_box), Method.ADAPTIVE)
"""Attacks that hidden gradients do not stop: the probe runs those that the evaluation did not."""
_VIEW_EPSILON = from_255(8)
"""Of the feature view's examples where the threat model is not Linf, as theirs always is."""


@dataclass(frozen=True)
class Samples:
    """Some of the images that were measured, and those where backward examples start."""

    probe: Chunk
    """At most `PROBE_IMAGES`."""
    view: Chunk
    """At most `VIEW_IMAGES`."""
    pool: Split


def passes(params: EvaluateParams, images: int) -> float:
    """What `conclude` takes at most for a model, in passes forward and backward."""
    view = min(images, VIEW_IMAGES) * 2 * params.attack.steps if params.embedding else 0
    return min(images, PROBE_IMAGES) * _of_probe(params) + view


def _of_probe(params: EvaluateParams) -> float:
    """What the probe takes an image at most, in passes forward and backward."""
    along_gradients = params.attack.method.record.iterative
    return _PROBE_PASSES + (9 * params.attack.steps if along_gradients else 0)


def conclude(measured: Measurement, samples: Samples, meter: Meter) -> ModelFigures:
    """All figures of a model, with the verdict on them."""
    name, params = measured.target_model.name, measured.params
    steps = params.attack.steps
    with meter.stage(f"{name}: checks", len(samples.probe.y) * _of_probe(params)):
        verdict = _verdict(measured, samples.probe)
    if not params.embedding:
        return model_figures(measured, embedding=None, verdict=verdict)
    with meter.stage(f"{name}: feature view", len(samples.view.y) * 2 * steps):
        embedding = _embedding(measured, samples)
    return model_figures(measured, embedding=embedding, verdict=verdict)


def _verdict(measured: Measurement, chunk: Chunk) -> Verdict:
    target_model, params, record = measured.target_model, measured.params, measured.record
    rows = np.searchsorted(np.sort(record.numbers), chunk.numbers)
    standing = torch.from_numpy(record["broken_by"][rows] == STANDS).to(chunk.y.device)
    if params.attack.method.record.black_box:
        answers = probe_answers(
            target_model.call,
            chunk.x,
            chunk.y,
            eps=params.epsilon,
            norm=norm_of(params.attack),
            seed=params.seed,
            standing=standing,
            blind=_blind(measured),
            batch_size=params.batch_size,
        )
        return judge(facts_of(measured), answers)
    seen = probe(
        target_model.call,
        chunk.x,
        chunk.y,
        how=steps_of(params.attack),
        eps=params.epsilon,
        norm=norm_of(params.attack),
        seed=params.seed,
        standing=standing,
        blind=_blind(measured),
        seeing=target_model.white_box,
        reference=target_model.teacher,
        teacher=target_model.teacher,
        batch_size=params.batch_size,
    )
    return judge(facts_of(measured), seen)


def _blind(measured: Measurement) -> Collection[Method]:
    """Black-box and adaptive attacks that did not run, as far as the norm has them."""
    norm, ran = measured.params.attack.norm, {entry.method for entry in measured.entries}
    return [method for method in _OTHER_WAYS if method not in ran and norm in method.record.norms]


def _embedding(measured: Measurement, samples: Samples) -> EmbeddingView | None:
    """None where embeddings are no numbers, which is no reason to lose the figures."""
    params, attack = measured.params, measured.params.attack
    eps = params.epsilon if attack.norm is Norm.LINF else _VIEW_EPSILON
    try:
        return embedding_view(
            measured.target_model.white_box,
            samples.view.x,
            samples.view.y,
            samples.pool,
            eps=eps,
            step_size=attack.relative_step * eps,
            steps=attack.steps,
            seed=params.seed,
        )
    except ValueError:
        return None
