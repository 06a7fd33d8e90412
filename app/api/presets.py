"""Named settings, to start from."""

from __future__ import annotations

from fastapi import APIRouter

from app.admission.routes import ByMethod
from app.contracts.params import TRAINING_PRESETS, TrainingPreset

router = APIRouter(prefix="/presets", tags=["presets"], route_class=ByMethod)


@router.get("/train")
def train() -> list[TrainingPreset]:
    """Values of a training's parameters with what they cost; add a name, a dataset, a teacher."""
    return list(TRAINING_PRESETS)
