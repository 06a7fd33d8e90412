"""Every parameter of every job: bounds, unit, default and help.

Forms, the API's schema and the validation all come from here. Fields carry `title` (label),
`description` (help) and, in `json_schema_extra`, `unit` and `group` for the forms.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.contracts.attacks import Goal, Method, Norm
from app.contracts.jobs import JobKind
from app.contracts.params.ablation import (
    MAX_TRAININGS,
    VARIABLE,
    AblationMeasure,
    AblationParams,
)
from app.contracts.params.architectures import Architecture, family
from app.contracts.params.attacks import (
    MAX_L1,
    MAX_L2,
    MAX_LINF,
    MAX_OF,
    Attack,
)
from app.contracts.params.base import (
    NO_ID,
    DefaultBy,
    Device,
    Finite,
    Id,
    Name,
    Params,
    Seed,
    parameter,
)
from app.contracts.params.datasets import ClassOrder, ImportParams, NameEncoding, Source
from app.contracts.params.designs import Design
from app.contracts.params.evaluation import EvaluateParams
from app.contracts.params.live import (
    LARGEST_OF,
    LIVE_ITERATES,
    LIVE_LEVELS,
    MOST_MODELS,
    ExplainParams,
)
from app.contracts.params.model_import import ImportModelParams
from app.contracts.params.presets import TRAINING_PRESETS, TrainingPreset, training_preset
from app.contracts.params.release import ReleaseParams
from app.contracts.params.training import (
    Direction,
    Precision,
    Schedule,
    TrainParams,
)
from app.contracts.recipes import Recipe

PARAMS_OF: Mapping[JobKind, type[Params]] = {
    JobKind.IMPORT: ImportParams,
    JobKind.TRAIN: TrainParams,
    JobKind.EVALUATE: EvaluateParams,
    JobKind.EXPLAIN: ExplainParams,
    JobKind.IMPORT_MODEL: ImportModelParams,
    JobKind.RELEASE: ReleaseParams,
    JobKind.ABLATION: AblationParams,
}

__all__ = [
    "LARGEST_OF",
    "LIVE_ITERATES",
    "LIVE_LEVELS",
    "MAX_L1",
    "MAX_L2",
    "MAX_LINF",
    "MAX_OF",
    "MAX_TRAININGS",
    "MOST_MODELS",
    "NO_ID",
    "PARAMS_OF",
    "TRAINING_PRESETS",
    "VARIABLE",
    "AblationMeasure",
    "AblationParams",
    "Architecture",
    "Attack",
    "ClassOrder",
    "DefaultBy",
    "Design",
    "Device",
    "Direction",
    "EvaluateParams",
    "ExplainParams",
    "Finite",
    "Goal",
    "Id",
    "ImportModelParams",
    "ImportParams",
    "Method",
    "Name",
    "NameEncoding",
    "Norm",
    "Params",
    "Precision",
    "Recipe",
    "ReleaseParams",
    "Schedule",
    "Seed",
    "Source",
    "TrainParams",
    "TrainingPreset",
    "family",
    "parameter",
    "training_preset",
]
