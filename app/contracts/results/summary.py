"""An evaluation in short: what lists and overviews show of it, without a line for each image.

Fields are called as in the result, so what reads both needs to know one name.
"""

from __future__ import annotations

from typing import Self

from app.contracts.params import EvaluateParams
from app.contracts.results.base import Accuracy, CurvePoint, Lineage, Result
from app.contracts.results.evaluation import AttackRow, EvaluationResult, ModelFigures
from app.contracts.results.verdict import Light


class VerdictSummary(Result):
    """The verdict without its checks."""

    light: Light
    sentence: str


class ModelSummary(Result):
    """One model's figures at the budget of the threat model, and its two main curves."""

    model: str
    name: str
    sha256: str
    clean: Accuracy
    robust: Accuracy | None
    """The worst case over all attacks; None in results of lab 0.1."""
    attacks: tuple[AttackRow, ...]
    against_epsilon: tuple[CurvePoint, ...]
    against_steps: tuple[CurvePoint, ...]
    verdict: VerdictSummary | None
    """None in results of lab 0.1, which did not check."""

    @classmethod
    def of(cls, figures: ModelFigures) -> Self:
        verdict = figures.verdict
        return cls(
            model=figures.model,
            name=figures.name,
            sha256=figures.sha256,
            clean=figures.clean,
            robust=figures.robust,
            attacks=figures.attacks,
            against_epsilon=figures.against_epsilon,
            against_steps=figures.against_steps,
            verdict=verdict and VerdictSummary(light=verdict.light, sentence=verdict.sentence),
        )


class EvaluationSummary(Result):
    """What was measured, how, on what, and each model's figures in short."""

    params: EvaluateParams
    dataset: Lineage
    images: int
    """How many were measured."""
    models: tuple[ModelSummary, ...]
    device: str = ""
    """What computed it; empty in summaries of older versions of the lab."""

    @classmethod
    def of(cls, result: EvaluationResult) -> Self:
        return cls(
            params=result.params,
            dataset=result.dataset,
            images=result.images,
            models=tuple(map(ModelSummary.of, result.models)),
            device=result.environment.device,
        )
