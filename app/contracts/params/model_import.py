"""The parameters of an import of a model: weights, an ONNX file, or one behind an address."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.contracts.complaints import invalid
from app.contracts.endpoint import Address, Sends
from app.contracts.onnx import Layout, PixelRange
from app.contracts.params.architectures import ARCHITECTURE_HELP, Architecture
from app.contracts.params.base import (
    Finite,
    Id,
    Name,
    Params,
    parameter,
    printable,
)

Channels = tuple[Finite, Finite, Finite]
MOST_OUTPUTS = 25_000
"""More than ImageNet-21k has."""
OF_AN_ADDRESS = ("sends", "at_once", "per_second", "budget", "patience_s")
"""How a model is asked that is behind one."""
Output = Annotated[int, Field(ge=0, lt=MOST_OUTPUTS)]
Network = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(printable),
]


class ImportModelParams(Params):
    """Bring a model that was trained elsewhere into the lab."""

    name: Name = parameter(title="Name", help="What the model is called in lists and charts.")
    upload: Id | None = parameter(
        None,
        title="File",
        help="The uploaded file: `.safetensors`, a `.pt` or `.pth` that holds a state dict, or "
        "`.onnx`, which holds its own network.",
    )
    address: Address | None = parameter(
        None,
        title="Address",
        nothing="None: a file",
        help="Instead of a file: where a model answers over HTTP, which becomes a black box. One "
        "of those that the lab's operator lists in `LAB_ENDPOINTS`.",
    )
    architecture: Architecture | None = parameter(
        None,
        title="Architecture",
        help=f"{ARCHITECTURE_HELP} Empty for an ONNX file, which holds its own network, and for an "
        "address.",
    )
    dataset: Id = parameter(
        title="Dataset",
        help="Its classes and its image size are the model's; its test images show whether the "
        "import is right.",
    )
    classes: tuple[Name, ...] | None = parameter(
        None,
        title="Order of classes",
        help="What the outputs of the file's head stand for, in their order: the dataset's "
        "classes, each once, and what else the head tells apart. Without it, the dataset's own.",
        max_length=MOST_OUTPUTS,
    )
    outputs: tuple[Output, ...] | None = parameter(
        None,
        title="Outputs",
        help="Of a head with more outputs than the dataset has classes: the number of the one that "
        "stands for each class, from 0, in the dataset's order, such as 0, 217, 482.",
        group="Classes",
        max_length=1000,
    )
    network: Network | None = parameter(
        None,
        title="Network in the file",
        help="Where a file holds several: the key that it lies under, such as `state_dict_ema`, or "
        "how the names of its weights begin; of an ONNX file the name of an output. Without it, "
        "the only one.",
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
    pixels: PixelRange | None = parameter(
        None,
        title="Pixel range",
        nothing="As the file says",
        help="Of an ONNX file, or of numbers that an address is sent: what the network takes, "
        "before mean and standard deviation. Without it, what the file says; where that is "
        "nothing, the lab asks.",
        group="Pixels",
    )
    layout: Layout | None = parameter(
        None,
        title="Layout",
        nothing="As the file says",
        help="Of an ONNX file, or of numbers that an address is sent: the order of an image's "
        "axes. Without it, as the shape of a file's input shows; where nothing shows it, the lab "
        "asks.",
        group="Pixels",
    )
    black_box: bool = parameter(
        False,
        title="As a black box",
        help="Of an ONNX file: only ask its network, also where the lab can follow its gradients.",
        group="Pixels",
    )
    sends: Sends = parameter(
        Sends.PNG,
        title="An image is sent as",
        help="What stands for it in the JSON that the address gets.",
        group="Address",
    )
    at_once: int = parameter(
        32,
        title="Images of a request",
        help="At most; the last request of a batch may have fewer.",
        unit="images",
        group="Address",
        ge=1,
        le=1024,
    )
    per_second: Finite | None = parameter(
        None,
        title="Images a second",
        help="At most so many are sent, over any longer time. Empty: as fast as it answers.",
        group="Address",
        gt=0,
        le=100_000,
    )
    budget: int = parameter(
        1_000_000,
        title="Budget of a job",
        help="Images that one job may ask about. An evaluation that could need more is refused "
        "before it asks, and none goes beyond.",
        unit="images",
        group="Address",
        ge=2_000,
        le=1_000_000_000,
    )
    patience_s: Finite = parameter(
        30,
        title="Patience",
        help="How long an answer may take before it is asked for again, five times in all.",
        unit="s",
        group="Address",
        gt=0,
        le=600,
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
    def _comes_from_somewhere(self) -> Self:
        if self.upload is None and self.address is None:
            raise invalid("upload", "a file is needed, or an address")
        if self.address is None:
            self._asks_nobody()
            return self
        for field, of_a_file in (
            ("upload", self.upload), ("architecture", self.architecture), ("network", self.network),
            ("black_box", self.black_box or None),
        ):  # fmt: skip
            if of_a_file is not None:
                raise invalid(field, "leave it empty where the model is behind an address")
        named = {"pixels": self.pixels, "layout": self.layout, "mean": self.mean}
        for field, value in named.items():
            if self.sends is Sends.PNG and value is not None:
                raise invalid(field, "is said of numbers; PNG is sent")
            if self.sends is Sends.FLOATS and value is None and field != "mean":
                raise invalid(field, "has to be said of numbers")
        return self

    def _asks_nobody(self) -> None:
        """Raises what a validator does where something is said of how an address is asked."""
        for field in OF_AN_ADDRESS:
            if getattr(self, field) != type(self).model_fields[field].default:
                raise invalid(field, "is said of an address, and a file is imported: leave it out")

    @model_validator(mode="after")
    def _outputs_are_distinct(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < 2:
            raise invalid("classes", "names at least two classes")
        if self.outputs is not None and len(set(self.outputs)) < len(self.outputs):
            raise invalid("outputs", "names an output twice")
        if self.classes is not None and self.outputs is not None:
            raise invalid("outputs", "leave it empty where the classes are named")
        return self

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> Self:
        if (self.mean is None) != (self.std is None):
            field = "mean" if self.mean is None else "std"
            raise invalid(field, "mean and standard deviation are given together")
        if self.std is not None and min(self.std) <= 0:
            raise invalid("std", "must be above 0")
        for field, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not 0 <= min(values) <= max(values) <= 1:
                raise invalid(field, "is in units of [0, 1]: divide what is from 0 to 255 by 255")
        return self
