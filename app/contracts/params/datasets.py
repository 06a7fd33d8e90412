"""The parameters of an import."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from app.contracts.options import Option
from app.contracts.params.base import Id, Name, Params, Seed, invalid, parameter


class Source(Option):
    ARCHIVE = "archive"
    SHAPES = "shapes"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    SVHN = "svhn"


class ImportParams(Params):
    """Bring a dataset into the lab."""

    name: Name = parameter(title="Name", help="What the dataset is called in lists and charts.")
    source: Source = parameter(
        Source.SHAPES,
        title="Source",
        help="An uploaded archive of class folders, a dataset that torchvision downloads, or "
        "`shapes`: ten classes of drawn objects that need no network.",
    )
    upload: Id | None = parameter(None, title="Archive", help="The uploaded archive.")
    image_size: Literal[32, 64] = parameter(
        32,
        title="Image size",
        unit="px",
        help="Images are centre-cropped to a square and resized to this side.",
    )
    train_per_class: int = parameter(
        1000,
        title="Training images a class",
        help="How many images `shapes` draws; other sources ignore it.",
        ge=10,
        le=10_000,
    )
    seed: Seed = parameter(
        0, title="Seed", help="Seeds the drawing, and the split where there is none."
    )

    @model_validator(mode="after")
    def _archive_has_upload(self) -> Self:
        if (self.source is Source.ARCHIVE) != (self.upload is not None):
            raise invalid(
                "upload", "an archive needs an uploaded file, and only an archive has one"
            )
        if self.source not in (Source.ARCHIVE, Source.SHAPES) and self.image_size != 32:
            raise invalid("image_size", f"the images of {self.source} have 32 pixels a side")
        return self
