"""An ONNX file from outside: how it is asked, what its answers mean, and what its network gives."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.contracts.access import Access
from app.contracts.onnx import Layout, PixelRange
from app.contracts.params import ImportModelParams
from app.contracts.results import OnnxInterface
from app.errors import JobError
from worker import apart, registry
from worker.data import Dataset, TensorSplit
from worker.data.augment import to_float
from worker.jobs import outputs
from worker.jobs.bringing import PARITY
from worker.jobs.context import JobContext
from worker.jobs.onnx_proof import proven
from worker.models import BlackBox
from worker.models.converted import Converted, Unlike
from worker.onnx_network import are_probabilities

_SECONDS = 120
"""How long reading and trying may take, on the clock and on the processor."""
_SPARE_MB = 1024
_LOOKED_AT = 100
"""Images by whose answers scores are told from probabilities."""


@dataclass(frozen=True)
class Asked:
    """A network that was asked: it only answers, or it was converted too."""

    model: BlackBox | Converted
    """With all of its outputs; of one output, with a second that is always 0."""
    outputs: outputs.Taken
    doubts: list[str]
    """What may be wrong with it, in words."""
    data: bytes
    """The file."""
    parameters: int
    asked: OnnxInterface
    """Without the choice among its outputs."""
    architecture: str = "ONNX"
    rounding: float = PARITY

    @property
    def access(self) -> Access:
        """What it gives."""
        if isinstance(self.model, BlackBox):
            return Access.BLACK_BOX
        return Access.WHITE_BOX if self.model.shows else Access.NO_FEATURES

    @property
    def interface(self) -> OnnxInterface:
        """With that choice."""
        return self.asked.model_copy(update={"outputs": self.outputs.order})


def asked(
    context: JobContext,
    params: ImportModelParams,
    dataset: Dataset,
    images: TensorSplit,
    path: Path,
    scratch: Path,
) -> Asked:
    """The network in an ONNX file, with a folder to convert it in. Raises JobError."""
    if params.architecture is not None:
        raise JobError(
            f"The file is an ONNX model, which holds its own network: it is no matter of "
            f"{params.architecture}.",
            hint="Leave the architecture empty.",
            field="architecture",
        )
    facts = _read(context, params, dataset, path)
    taken = outputs.mapped(params, dataset, facts["outputs"])
    data, pixels = path.read_bytes(), _pixels(params, facts)
    mean, std, doubts = _normalisation(params, facts, pixels)
    told = OnnxInterface(
        input=facts["input"],
        output=facts["output"],
        kind=facts["kind"],
        layout=Layout(facts["layout"]),
        pixels=pixels,
        mean=mean,
        std=std,
        batch=facts["batch"],
        scores="logits",
        outputs=tuple(range(max(2, facts["outputs"]))),
        opset=facts["opset"],
    )
    network = registry.onnx_network(data, told)
    if are_probabilities(network.raw(to_float(images.images[:_LOOKED_AT]))):
        told = told.model_copy(update={"scores": "probabilities"})
        network.probabilities = True
    for note in (*_notes(facts, told), *([taken.said] if taken.said else [])):
        context.log(note)
    model: BlackBox | Converted = BlackBox(network, told.outputs)
    try:
        if params.black_box:
            raise Unlike("it was imported as one")
        model, proof = proven(path, told, network, images, scratch=scratch, check=context.check)
        told = told.model_copy(update={"proof": proof})
    except Unlike as unlike:
        told = told.model_copy(update={"why_asked": str(unlike)})
    context.log(_outcome(told))
    return Asked(model, taken, doubts, data, facts["parameters"], told)


def _outcome(told: OnnxInterface) -> str:
    """What the network became."""
    if told.proof is None:
        return f"A black box: {told.why_asked}."
    return (
        f"A white box: on {told.proof.images:,} images its logits, computed by the lab, differ "
        f"from those of onnxruntime by at most {told.proof.difference:.1e}; up to "
        f"{told.proof.tolerance:.1e} would be rounding."
    )


def _read(
    context: JobContext, params: ImportModelParams, dataset: Dataset, path: Path
) -> dict[str, Any]:
    """What another process found, which read and tried the file. Raises JobError."""
    megabytes = _SPARE_MB + 4 * path.stat().st_size // 2**20
    layout = "" if params.layout is None else params.layout.value
    try:
        reply = apart.run(
            "worker.jobs.reading_onnx", path, dataset.image_size, layout, params.network or "",
            megabytes, _SECONDS, seconds=_SECONDS, check=context.check,
        )  # fmt: skip
    except apart.TookTooLongError:
        raise JobError(
            f"Reading and trying the network took more than {_SECONDS} s.",
            hint="Export a smaller network.",
        ) from None
    except apart.BrokeDownError as error:
        if error.code == -signal.SIGKILL:
            raise JobError(
                "The system ended the process that read the file, as it does when memory runs out.",
                hint="Try again when fewer jobs run.",
            ) from None
        raise JobError(
            f"The file made the process that read it break down (exit code {error.code}).",
            hint="Export the network again.",
        ) from None
    if "detail" in reply:
        raise JobError(
            reply["detail"][:1000],
            hint=reply["hint"][:500],
            field=reply["field"],
            choices=tuple(map(str, reply["choices"])),
        )
    return reply


def _pixels(params: ImportModelParams, facts: Mapping[str, Any]) -> PixelRange:
    """What black and white are. Raises JobError where nothing says so, or two things differ."""
    told = None if facts["pixels"] is None else PixelRange(facts["pixels"])
    if params.pixels is None and told is None:
        raise JobError(
            "The file does not say whether its network takes pixels from 0 to 1 or from 0 to 255.",
            hint="Say which, before any mean is subtracted. PyTorch's networks take 0 to 1 as a "
            "rule, Keras' often 0 to 255.",
            field="pixels",
            choices=tuple(PixelRange),
        )
    if params.pixels is not None and told not in (None, params.pixels):
        raise JobError(
            f"The file says that pixels go from {told.record.title}, the job from "
            f"{params.pixels.record.title}.",
            hint="Leave the pixel range empty to take that of the file.",
            field="pixels",
        )
    chosen = params.pixels or told
    assert chosen is not None
    return chosen


_Channels = tuple[float, float, float]


def _normalisation(
    params: ImportModelParams, facts: Mapping[str, Any], pixels: PixelRange
) -> tuple[_Channels, _Channels, list[str]]:
    """Mean and standard deviation, and the doubt where nobody names any. Raises JobError."""
    middle = facts["middle"]
    if facts["kind"] == "uint8" and (params.mean is not None or middle is not None):
        raise JobError(
            "The network takes whole numbers from 0 to 255: nothing can be subtracted from them.",
            hint="Leave mean and standard deviation empty."
            if middle is None
            else "The file says that pixels go from -1 to 1: export it for float32, or without "
            "that property.",
            field=None if params.mean is None else "mean",
        )
    if params.mean is not None and middle is not None:
        raise JobError(
            "The file says that pixels go from -1 to 1, the job something else.",
            hint="Leave mean and standard deviation empty.",
            field="mean",
        )
    if middle is not None:
        return (middle,) * 3, (middle,) * 3, []
    if params.mean is not None:
        assert params.std is not None
        return params.mean, params.std, []
    doubts = []
    if facts["pixels"] is None:
        doubts.append(
            "Nobody named a normalisation: the network is given images from "
            f"{pixels.record.title} as they are. Where it normalises inside, that is right."
        )
    return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), doubts


def _notes(facts: Mapping[str, Any], told: OnnxInterface) -> list[str]:
    """What people should know of the file, and what was read from it."""
    size = "any number of" if told.batch is None else f"{told.batch:,}"
    by = f", written by {facts['producer']}" if facts["producer"] else ""
    notes = [
        f"An ONNX model of {facts['parameters']:,} parameters{by}: {told.layout.value.upper()}, "
        f"{size} images at once, pixels from {told.pixels.record.title}."
    ]
    if facts["declared"] is None and told.batch == 1:
        notes.append("It says that it takes any number of images, and fails with several.")
    if told.scores == "probabilities":
        notes.append(
            "Its answers are probabilities: on test images they are never negative and sum to one. "
            "Their logarithms are taken as scores."
        )
    return notes
