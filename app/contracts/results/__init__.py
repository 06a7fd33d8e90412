"""What a finished job leaves: curves with their intervals, verdicts, attention, model cards."""

from app.contracts.results.ablation import (
    REPORTED,
    AblationChild,
    AblationResult,
    AblationRow,
    AblationTable,
    Column,
    Contrast,
    Measure,
    Reported,
    SeedChange,
    SeedValue,
    Spread,
    Survival,
    columns_of,
    compares,
    reported_in,
)
from app.contracts.results.base import (
    Z_95,
    Accuracy,
    CurvePoint,
    Environment,
    Lineage,
    Mean,
)
from app.contracts.results.comparison import (
    Caveat,
    Compared,
    Comparison,
    DifferingImage,
    PairedTest,
)
from app.contracts.results.datasets import DatasetReport, DatasetWarning, ImportResult, LeftOut
from app.contracts.results.evaluation import (
    AttackRow,
    AttentionDistance,
    AttentionFigures,
    AttentionInside,
    ClassFigures,
    Corruption,
    EmbeddingView,
    EvaluationResult,
    Mapped,
    ModelFigures,
    Outcomes,
    Pace,
    Projection,
    after_autoattack,
)
from app.contracts.results.gallery import Gallery, GalleryImage, Look, Looks
from app.contracts.results.live import (
    Attacked,
    CleanLook,
    Distances,
    ExplainResult,
    Level,
    LiveLook,
    LiveModel,
    MapFigures,
    MapSheet,
    Minimal,
    Stored,
)
from app.contracts.results.models import (
    ImportModelResult,
    ModelCard,
    OnnxInterface,
    TestAccuracy,
    TrainResult,
)
from app.contracts.results.release import OnnxFile, ReleaseResult
from app.contracts.results.showcase import Picture, Showcase, ShowcasePicture, ShowcaseView
from app.contracts.results.summary import EvaluationSummary, ModelSummary, VerdictSummary
from app.contracts.results.verdict import Check, Light, Verdict

JobResult = (
    ImportResult
    | TrainResult
    | EvaluationResult
    | ExplainResult
    | ImportModelResult
    | ReleaseResult
    | AblationResult
)

__all__ = [
    "REPORTED",
    "Z_95",
    "AblationChild",
    "AblationResult",
    "AblationRow",
    "AblationTable",
    "Accuracy",
    "AttackRow",
    "Attacked",
    "AttentionDistance",
    "AttentionFigures",
    "AttentionInside",
    "Caveat",
    "Check",
    "ClassFigures",
    "CleanLook",
    "Column",
    "Compared",
    "Comparison",
    "Contrast",
    "Corruption",
    "CurvePoint",
    "DatasetReport",
    "DatasetWarning",
    "DifferingImage",
    "Distances",
    "EmbeddingView",
    "Environment",
    "EvaluationResult",
    "EvaluationSummary",
    "ExplainResult",
    "Gallery",
    "GalleryImage",
    "ImportModelResult",
    "ImportResult",
    "JobResult",
    "LeftOut",
    "Level",
    "Light",
    "Lineage",
    "LiveLook",
    "LiveModel",
    "Look",
    "Looks",
    "MapFigures",
    "MapSheet",
    "Mapped",
    "Mean",
    "Measure",
    "Minimal",
    "ModelCard",
    "ModelFigures",
    "ModelSummary",
    "OnnxFile",
    "OnnxInterface",
    "Outcomes",
    "Pace",
    "PairedTest",
    "Picture",
    "Projection",
    "ReleaseResult",
    "Reported",
    "SeedChange",
    "SeedValue",
    "Showcase",
    "ShowcasePicture",
    "ShowcaseView",
    "Spread",
    "Stored",
    "Survival",
    "TestAccuracy",
    "TrainResult",
    "Verdict",
    "VerdictSummary",
    "after_autoattack",
    "columns_of",
    "compares",
    "reported_in",
]
