"""What a model gives to whoever asks it: one record an access.

What an attack needs stands in its own record (`attacks.py`); whether it applies follows from both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.contracts.options import Option, Record


class Need(StrEnum):
    """What may be needed of a model beside its name."""

    GRADIENTS = "gradients"
    """Of its outputs, by the pixels of an image."""
    FEATURES = "features"
    """Its last feature map: attention, and what learns from it."""
    SCORES = "scores"
    """A number for each class."""
    LABELS = "labels"
    """The likeliest class."""


@dataclass(frozen=True, kw_only=True)
class AccessRecord(Record):
    """One access."""

    gives: frozenset[Need]


class Access(Option):
    """How a model is held."""

    record: AccessRecord

    WHITE_BOX = "white_box", AccessRecord(
        title="white box", summary="Its weights are here, and everything follows from them.",
        gives=frozenset(Need),
    )  # fmt: skip
    NO_FEATURES = "no_features", AccessRecord(
        title="white box without features",
        summary="It gives gradients and scores; which of its values are features nobody knows.",
        gives=frozenset(Need) - {Need.FEATURES},
    )  # fmt: skip
    BLACK_BOX = "black_box", AccessRecord(
        title="black box",
        summary="It gives scores alone: neither gradients nor features.",
        gives=frozenset({Need.SCORES, Need.LABELS}),
    )  # fmt: skip
    LABELS_ONLY = "labels_only", AccessRecord(
        title="black box of labels",
        summary="It gives the likeliest class alone.",
        gives=frozenset({Need.LABELS}),
    )  # fmt: skip


class Held(StrEnum):
    """What the lab has of a model, and how the name of its file ends."""

    WEIGHTS = ".safetensors"
    ONNX = ".onnx"
    ADDRESS = ".json"
    """How it is asked."""
