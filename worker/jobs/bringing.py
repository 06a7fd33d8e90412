"""Weights from outside in a network of the lab: found by their names, normalised, with the outputs
that the dataset needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import torch

from app.contracts.access import Access
from app.contracts.params import ImportModelParams
from app.errors import JobError
from worker import registry
from worker.data import Dataset
from worker.jobs import normalisation, outputs
from worker.jobs.context import JobContext
from worker.jobs.weights_file import WeightsFile
from worker.models import Classifier, suggest
from worker.models.matching import Match, Mismatch, SeveralNetworks, listed, match, shown

PARITY = 1e-5
"""Of the largest logit: one network computed in two orders differs by rounding."""
_MOST_NAMES = 12
_PARAMETRISED = re.compile(r"weight_(g|v|u|orig|mask)$|(^|\.)parametrizations\.")


class Brought(NamedTuple):
    """A network with the file's weights, in eval mode on the device."""

    model: Classifier
    """With the file's own outputs; of one output, with a second that is always 0."""
    outputs: outputs.Taken
    doubts: list[str]
    """What may be wrong with it, in words."""
    architecture: str
    access: Access = Access.WHITE_BOX
    interface: None = None
    rounding: float = PARITY

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        return sum(p.numel() for p in self.model.parameters())


def brought(
    context: JobContext, params: ImportModelParams, dataset: Dataset, file: WeightsFile
) -> Brought:
    """The network that the file holds. Raises JobError."""
    model = _network(params, dataset, dataset.num_classes)
    found = _found(context, params, model, file)
    taken = outputs.mapped(params, dataset, found.outputs)
    if model.num_classes != max(2, found.outputs):
        model = _network(params, dataset, max(2, found.outputs))
    weights = file.read(found.names, model.state_dict())
    wrong = [name for name, value in weights.items() if not value.isfinite().all()]
    if wrong:
        raise JobError(
            f"Not all weights are finite numbers: {listed('with NaN or infinity', wrong)}.",
            hint="The training may have diverged; take an earlier checkpoint.",
        )
    weights, changed = model.adopted(weights, found.names)
    normalised = normalisation.settled(params, found, file)
    if found.outputs == 1:
        weights |= {
            name: torch.cat([torch.zeros_like(weights[name]), weights[name]])
            for name in ("head.weight", "head.bias")
        }
    weights |= {"mean": torch.tensor(normalised.mean), "std": torch.tensor(normalised.std)}
    model.load_state_dict(model.state_dict() | weights)
    model = model.to(registry.device()).to(memory_format=torch.channels_last)
    doubts = [] if normalised.known else [normalisation.unknown(model, found.prefix)]
    for note in (*_notes(found), *([] if doubts else [normalisation.in_words(normalised)])):
        context.log(note)
    for said in filter(None, (changed, taken.said)):
        context.log(said)
    doubts += filter(None, (normalisation.contradicted(normalised, file), *_doubts(params, file)))
    assert params.architecture is not None
    return Brought(model.eval().requires_grad_(False), taken, doubts, params.architecture)


def _doubts(params: ImportModelParams, file: WeightsFile) -> Iterator[str]:
    """About what the file notes beside its weights. Raises JobError where these cannot be used."""
    if file.noted.bgr:
        raise JobError(
            f"Images are blue, green, red, by {', '.join(map(shown, file.noted.bgr))} beside the "
            "weights; the lab gives red, green, blue.",
            hint="Turn the channels of the first layer, `weight.flip(1)`, and the mean and the "
            "deviation, and save the state dict alone.",
        )
    if file.noted.maybe_bgr:
        yield (
            f"By {', '.join(map(shown, file.noted.maybe_bgr))} beside the weights images were not "
            "turned to red, green, blue, as the lab gives them: where they were read by OpenCV, "
            "the network takes blue, green, red."
        )
    if file.noted.levels:
        yield (
            f"By {', '.join(map(shown, file.noted.levels))} beside the weights pixels end above 1; "
            "the lab normalises images in [0, 1]."
        )
    if file.noted.unnamed:
        yield (
            f"Beside the weights {', '.join(map(shown, file.noted.unnamed))} holds weights without "
            "names, perhaps an average (EMA) or the same in another precision: they are not read."
        )
    if params.classes is None and file.noted.classes:
        yield (
            f"Beside the weights the file has {', '.join(map(shown, file.noted.classes))}, which "
            "is not read: where that is another order than the dataset's, name the classes with "
            "the import."
        )


def _network(params: ImportModelParams, dataset: Dataset, num_classes: int) -> Classifier:
    assert params.architecture is not None
    return registry.new_model(
        params.architecture,
        num_classes=num_classes,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        image_size=dataset.image_size,
    )


def _found(
    context: JobContext, params: ImportModelParams, model: Classifier, file: WeightsFile
) -> Match:
    """The network in the file; the log lists what does not match."""
    if file.within and not any(name.startswith(f"{file.within}.") for name in file.shapes):
        there = sorted({name.partition(".")[0] for name in file.shapes if "." in name})
        raise JobError(
            f"No weight's name in the file begins with “{shown(file.within)}.”.",
            hint=f"They begin with {', '.join(map(shown, there[:_MOST_NAMES]))}.",
            field="network",
            choices=there[:_MOST_NAMES],
        )
    try:
        return match(model, file.shapes, within=file.within, same=file.same)
    except Mismatch as mismatch:
        for line in mismatch.lists():
            context.warn(line)
        raise JobError(
            f"The weights do not fit {params.architecture}. {mismatch}.",
            hint=_advice(params.architecture or "", mismatch, file),
            field="architecture",
        ) from mismatch
    except SeveralNetworks as several:
        names = ", ".join(map(shown, several.names[:_MOST_NAMES]))
        raise JobError(
            f"The file holds the network several times, with other weights: {names}.",
            hint="Say which one is meant, as the network in the file. An average of weights (EMA) "
            "is often the one that was measured.",
            field="network",
            choices=several.names[:_MOST_NAMES],
        ) from several


def _notes(found: Match) -> Iterator[str]:
    """What was made of the file's names."""
    if found.prefix:
        yield f"The names of the network's weights begin with “{shown(found.prefix)}”."
    if found.copies:
        yield f"The same weights lie under {', '.join(map(shown, found.copies))} again."
    if found.left_out:
        yield f"{listed('other tensors are left out', found.left_out)}."


_TELLING: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"lora_(A|B|embedding|magnitude)"),
        "The file holds adapters (LoRA) alone, of a network that is elsewhere: merge them "
        "(`merge_and_unload()` of peft), and save the state dict of what comes of it.",
    ),
    (
        re.compile(
            r"(^|\.)(SCB|absmax|quant_map|quant_state\S*|qweight|qzeros|scales|zero_point)$"
        ),
        "The weights are quantised, with their scales beside them: save the network in float32.",
    ),
    (
        re.compile(r"^(resnet\.embedder|vit\.embeddings|deit\.embeddings|convnext\.embeddings)\."),
        "The names are those of Hugging Face's transformers. timm has most of these networks under "
        "names of its own, and its weights fit; or export the network to ONNX, as a black box.",
    ),
)
"""Names that weights of no plain network have, and what to do."""


def _advice(architecture: str, mismatch: Mismatch, file: WeightsFile) -> str:
    """What to do about weights that do not fit."""
    for telling, advice in _TELLING:
        if any(map(telling.search, mismatch.unexpected)):
            return advice
    if any(_PARAMETRISED.search(name) for name in mismatch.unexpected):
        return (
            "The weights are kept in parts, as weight norm, spectral norm and pruning keep them: "
            "remove that (`remove_parametrizations`, `prune.remove`) and save the state dict again."
        )
    fits = suggest.fitting(file.shapes, file.within)
    if fits is not None and fits.name == architecture.partition(".")[0]:
        return (
            f"It was trained on images of {fits.image_size} pixels: choose a dataset of that size, "
            "or import this one again at it."
        )
    if fits is not None:
        return f"Its names and shapes are those of {fits.name}: choose that architecture."
    if mismatch.unexpected and not mismatch.missing and not mismatch.shapes:
        return (
            "The network is there, with more beside it. Where the rest belongs to another network "
            "or to the training, say how the names of the one that is meant begin, as the network "
            "in the file; where it is part of the network, the architecture is another one."
        )
    return "Choose the architecture that was trained; the log lists what does not match."
