"""The parameters of an import of weights."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from app.contracts.params.architectures import ARCHITECTURE_HELP, Architecture
from app.contracts.params.base import Finite, Id, Name, Params, invalid, parameter

Channels = tuple[Finite, Finite, Finite]


class ImportModelParams(Params):
    """Bring a model that was trained elsewhere into the lab."""

    name: Name = parameter(title="Name", help="What the model is called in lists and charts.")
    upload: Id = parameter(
        title="Weights",
        help="The uploaded file: `.safetensors`, or a `.pt` or `.pth` that holds a state dict.",
    )
    architecture: Architecture = parameter(title="Architecture", help=ARCHITECTURE_HELP)
    dataset: Id = parameter(
        title="Dataset",
        help="Its classes and its image size are the model's; its test images show whether the "
        "import is right.",
    )
    classes: tuple[Name, ...] | None = parameter(
        None,
        title="Order of classes",
        help="What the outputs of the file's head stand for, in their order: the dataset's "
        "classes, each once. Without it, in the dataset's own order.",
        max_length=1000,
    )
    mean: Channels | None = parameter(
        None,
        title="Mean",
        help="Of red, green and blue, in units of [0, 1]: what the weights expect to be "
        "subtracted from an image, such as 0.491, 0.482, 0.447. Without it: what the file says, or "
        "else 0.",
        group="Normalisation",
    )
    std: Channels | None = parameter(
        None,
        title="Standard deviation",
        help="What the weights expect an image to be divided by, after that. Without it: what the "
        "file says, or else 1.",
        group="Normalisation",
    )
    expected: Finite | None = parameter(
        None,
        title="Expected clean accuracy",
        help="On the dataset's test images, as a share: 0.95 for 95 %. What is measured must come "
        "near it, or nothing is imported.",
        group="Check",
        ge=0,
        le=1,
    )
    tolerance: Finite = parameter(
        0.02,
        title="Tolerance",
        help="How far from what is expected the accuracy may be, as a share, when even its 95 % "
        "interval leaves that out.",
        group="Check",
        ge=0,
        le=1,
    )

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            raise invalid("classes", "names at least two classes, each once")
        return self

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> Self:
        if (self.mean is None) != (self.std is None):
            field = "mean" if self.mean is None else "std"
            raise invalid(field, "mean and standard deviation are given together")
        if self.std is not None and min(self.std) <= 0:
            raise invalid("std", "must be above 0")
        return self
