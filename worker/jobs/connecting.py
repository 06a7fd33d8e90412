"""A model behind an HTTP address as a black box: how it is asked, and what its answers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from app.contracts.access import Access
from app.contracts.onnx import Layout, PixelRange
from app.contracts.params import ImportModelParams
from app.contracts.results import EndpointInterface
from app.errors import JobError
from worker.data import Dataset, TensorSplit
from worker.data.augment import to_float
from worker.endpoint import Reach
from worker.endpoint_network import EndpointNetwork, Told, alike
from worker.jobs import outputs
from worker.jobs.context import JobContext
from worker.models import BlackBox
from worker.onnx_network import are_probabilities

_LOOKED_AT = 100
"""Images by whose answers it is seen what the model gives."""
_ROUNDING = 1e-3
"""Of the largest score: a server computes in its own batches, and on its own device."""
_MAY_CHANGE = (
    "What answers at an address can become another model at any time: figures are of the one that "
    "answered then. Each job first sees whether some images still get the same answers."
)
_RANDOM = (
    "It answered otherwise when it was asked again about the same images. So nobody notices when "
    "another model takes its place, and what an attack breaks may be luck."
)


@dataclass(frozen=True)
class Connected:
    """A model that answers elsewhere."""

    model: BlackBox
    """With all of its outputs; of one output, with a second that is always 0."""
    outputs: outputs.Taken
    doubts: list[str]
    """What may be wrong with it, in words."""
    asked: EndpointInterface
    """Without the choice among its outputs."""
    parameters: None = None
    architecture: str = "HTTP"

    @property
    def interface(self) -> EndpointInterface:
        """With that choice."""
        return self.asked.model_copy(update={"outputs": self.outputs.order})

    @property
    def access(self) -> Access:
        return Access.LABELS_ONLY if self.asked.answers == "labels" else Access.BLACK_BOX

    @property
    def data(self) -> bytes:
        """What the lab keeps of it."""
        return self.interface.model_dump_json().encode()

    @property
    def rounding(self) -> float:
        """How far the same answer may lie from itself, of the largest score."""
        return _ROUNDING if self.asked.known else math.inf


def connected(
    context: JobContext, params: ImportModelParams, dataset: Dataset, images: TensorSplit
) -> Connected:
    """The model behind the address. Raises JobError."""
    assert params.address is not None
    reach = Reach(context.lab.settings, context.check)
    asked = EndpointInterface(
        address=params.address,
        sends=params.sends,
        layout=params.layout or Layout.CHANNELS_FIRST,
        pixels=params.pixels or PixelRange.UNIT,
        mean=params.mean or (0.0, 0.0, 0.0),
        std=params.std or (1.0, 1.0, 1.0),
        answers="logits",
        width=0,
        outputs=(),
        at_once=params.at_once,
        per_second=params.per_second,
        budget=params.budget,
        patience_s=params.patience_s,
    )
    told = EndpointNetwork(asked, reach).told(to_float(images.images[:_LOOKED_AT]))
    asked = asked.model_copy(update=_kind(params, dataset, told))
    taken = outputs.mapped(params, dataset, asked.width)
    width = max(2, asked.width)
    if asked.answers == "labels" and len(taken.order) < width:
        raise JobError(
            f"It answers with one of {width:,} classes, the dataset has {len(taken.order):,}: a "
            "label of another class says nothing about these.",
            hint="Choose the dataset that it was trained on.",
            field="dataset",
        )
    asked = asked.model_copy(update={"outputs": tuple(range(width))})
    network = EndpointNetwork(asked, reach)
    first, again = (network.of_known(dataset.image_size) for _ in range(2))
    steady = alike(first, again)
    if steady:
        asked = asked.model_copy(update={"known": tuple(map(tuple, first.tolist()))})
    for note in _notes(asked, taken):
        context.log(note)
    model = BlackBox(EndpointNetwork(asked, reach), asked.outputs)
    return Connected(model, taken, [_MAY_CHANGE, *([] if steady else [_RANDOM])], asked)


def _kind(params: ImportModelParams, dataset: Dataset, told: Told) -> dict[str, Any]:
    """What its answers are. Raises JobError."""
    if told.numbers is not None:
        answers = "probabilities" if are_probabilities(told.numbers) else "logits"
        return {"answers": answers, "width": told.numbers.shape[1]}
    if params.outputs is not None:
        raise JobError(
            "It answers with labels, and has no outputs to choose among.",
            hint="Leave the outputs empty, and name the classes in their order.",
            field="outputs",
        )
    classes = params.classes or dataset.class_names
    names = classes if isinstance(told.labels[0], str) else ()
    return {"answers": "labels", "width": len(classes), "names": names}


def _notes(asked: EndpointInterface, taken: outputs.Taken) -> list[str]:
    """What people should know of it, and what was read from its answers."""
    by = "name" if asked.names else "number"
    what = {
        "logits": f"{asked.width:,} scores an image",
        "probabilities": f"{asked.width:,} probabilities an image, of which the logarithm is taken",
        "labels": f"labels alone, of {asked.width:,} classes, by {by}",
    }[asked.answers]
    return [f"{asked.address} answers with {what}.", *([taken.said] if taken.said else [])]
