"""The parameters of an import."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from app.contracts.complaints import invalid
from app.contracts.options import Option, Record
from app.contracts.params.base import Id, Name, Params, Seed, parameter


class Source(Option):
    ARCHIVE = "archive"
    SHAPES = "shapes"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    SVHN = "svhn"


class ClassOrder(Option):
    """What decides which label stands for which class."""

    NATURAL = "natural", Record(title="Natural: class2 before Class10")
    SORTED = "sorted", Record(title="As torchvision sorts: capitals first, 10 before 2")
    FILE = "file", Record(title="That of a file of the archive, such as classes.txt")


class NameEncoding(Option):
    """What names in a zip are written in that does not say it."""

    AUTO = "auto", Record(title="UTF-8, else CP437")
    CP437 = "cp437", Record(title="CP437, old English")
    CP850 = "cp850", Record(title="CP850, old Western European")
    CP1252 = "cp1252", Record(title="Windows-1252, Western European")
    CP932 = "cp932", Record(title="CP932, Japanese")
    GB18030 = "gb18030", Record(title="GB18030, Chinese")
    EUC_KR = "euc_kr", Record(title="EUC-KR, Korean")
    CP866 = "cp866", Record(title="CP866, Cyrillic of DOS")
    CP1251 = "cp1251", Record(title="Windows-1251, Cyrillic")


_MOST_DRAWN = 40_000
"""Images a class of 32 pixels a side: ten such classes take 1.6 GB while they are drawn."""


class ImportParams(Params):
    """Bring a dataset into the lab."""

    name: Name = parameter(title="Name", help="What the dataset is called in lists and charts.")
    source: Source = parameter(
        Source.SHAPES,
        title="Source",
        help="An uploaded archive, a dataset that torchvision downloads, or "
        "`shapes`: ten classes of drawn objects that need no network.",
    )
    upload: Id | None = parameter(None, title="Archive", help="The uploaded archive.")
    image_size: Literal[32, 64, 96, 128, 224] = parameter(
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

    order: ClassOrder = parameter(
        ClassOrder.NATURAL,
        title="Order of classes",
        help="Which label stands for which class. Weights that were trained elsewhere expect the "
        "order that they were trained in.",
        group="Classes and names",
    )
    classes: tuple[Name, ...] | None = parameter(
        None,
        title="Classes",
        help="The classes in their order, each once, instead.",
        group="Classes and names",
        max_length=1000,
    )
    encoding: NameEncoding = parameter(
        NameEncoding.AUTO,
        title="Encoding of names",
        help="Of a `.zip` whose names are not in UTF-8 and that does not say in what.",
        group="Classes and names",
    )
    preview: bool = parameter(
        False,
        title="Preview",
        help="Only look: the job says what it would import, and nothing is kept.",
    )

    @model_validator(mode="after")
    def _only_an_archive_is_previewed(self) -> Self:
        if self.preview and self.source is not Source.ARCHIVE:
            raise invalid("preview", "only an archive can be looked at beforehand")
        return self

    @model_validator(mode="after")
    def _archive_has_upload(self) -> Self:
        if (self.source is Source.ARCHIVE) != (self.upload is not None):
            raise invalid(
                "upload", "an archive needs an uploaded file, and only an archive has one"
            )
        if self.source not in (Source.ARCHIVE, Source.SHAPES) and self.image_size != 32:
            raise invalid("image_size", f"the images of {self.source} have 32 pixels a side")
        return self

    @model_validator(mode="after")
    def _drawing_fits(self) -> Self:
        most = _MOST_DRAWN * 32**2 // self.image_size**2
        if self.source is Source.SHAPES and self.train_per_class > most:
            raise invalid("train_per_class", f"at most {most:,} at {self.image_size} px")
        return self
