"""What a finished job leaves: curves with their intervals, verdicts, attention, model cards."""

from app.contracts.results.base import (
    Z_95,
    Accuracy,
    CurvePoint,
    Environment,
    Lineage,
    Mean,
)
from app.contracts.results.comparison import Compared, Comparison, DifferingImage, PairedTest
from app.contracts.results.datasets import DatasetReport, ImportResult
from app.contracts.results.evaluation import (
    AttackRow,
    AttentionDistance,
    AttentionFigures,
    AttentionInside,
    ClassFigures,
    Corruption,
    EmbeddingView,
    EvaluationResult,
    ModelFigures,
    Outcomes,
    Projection,
)
from app.contracts.results.live import ExplainResult, Grid, Level, View
from app.contracts.results.models import ModelCard, TestAccuracy, TrainResult
from app.contracts.results.verdict import Check, Light, Verdict

JobResult = ImportResult | TrainResult | EvaluationResult | ExplainResult

__all__ = [
    "Z_95",
    "Accuracy",
    "AttackRow",
    "AttentionDistance",
    "AttentionFigures",
    "AttentionInside",
    "Check",
    "ClassFigures",
    "Compared",
    "Comparison",
    "Corruption",
    "CurvePoint",
    "DatasetReport",
    "DifferingImage",
    "EmbeddingView",
    "Environment",
    "EvaluationResult",
    "ExplainResult",
    "Grid",
    "ImportResult",
    "JobResult",
    "Level",
    "Light",
    "Lineage",
    "Mean",
    "ModelCard",
    "ModelFigures",
    "Outcomes",
    "PairedTest",
    "Projection",
    "TestAccuracy",
    "TrainResult",
    "Verdict",
    "View",
]
