"""The import of a model: a file from outside becomes one of the lab's, once shown to fit.

Nothing is registered before the network's names and shapes, its numbers, the logits of the stored
file and the accuracy on test images have been looked at. What differs between weights, an ONNX file
and a model behind an address stands in `bringing`, `asking` and `connecting`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath

import torch
from torch import Tensor

from app.contracts.params import ImportModelParams
from app.contracts.results import (
    Accuracy,
    EndpointInterface,
    ImportModelResult,
    Lineage,
    ModelCard,
    OnnxInterface,
    TestAccuracy,
)
from app.contracts.words import interval, percent
from app.errors import JobError
from app.store import catalogue
from app.store.tables import ModelRow, UploadRow
from confinement import gaps
from worker import registry
from worker.data import Dataset, TensorSplit
from worker.data.augment import to_float
from worker.endpoint import Reach
from worker.jobs import file_kinds, outputs
from worker.jobs.asking import Asked, asked
from worker.jobs.bringing import Brought, brought
from worker.jobs.connecting import Connected, connected
from worker.jobs.context import JobContext, Outcome
from worker.jobs.validation import clean_guesses
from worker.jobs.weights_file import opened
from worker.models import AnyModel, BlackBox, TimmClassifier
from worker.models.converted import Converted

CHECKED_IMAGES = 1000
_SEED = 0
_BATCH = 100
_Network = Brought | Asked | Connected
_CAUSES = (
    "Usual causes: the normalisation (images are given in [0, 1] and normalised by mean and "
    "standard deviation), the order of the classes, another architecture than the one trained, or "
    "images prepared in another way."
)


def run(context: JobContext, params: ImportModelParams) -> Outcome:
    """Import a model. Raises JobError with what does not fit."""
    lab = context.lab
    row, dataset = registry.dataset(lab.database, lab.files, params.dataset)
    upload = None if params.upload is None else _upload(context, params.upload)
    model_id = registry.id_within(context.claim.job_id, context.claim.fence, "model")
    context.progress(0, 3, "asking" if upload is None else "reading the file")
    images = _test_images(dataset)
    if upload is None:
        network: _Network = connected(context, params, dataset, images)
    else:
        network = _of_file(context, params, dataset, images, upload, model_id)
    model = network.model
    context.progress(1, 3, "comparing logits")
    expected = _reference(model, images, network.outputs.order)
    model.choose_outputs(network.outputs.order)
    card = _card(context, params, network, upload, registry.lineage_of_dataset(row), dataset)
    stored = lab.files.weights(model_id, card.held)
    try:
        kept = _register(context, card, network, model_id, row.id)
        again = registry.load(lab.files, kept, Reach(lab.settings, context.check))
        parity = _parity(again, images, expected, network.rounding)
        if card.onnx is not None and card.onnx.proof is not None:
            parity = max(parity, card.onnx.proof.difference)
        context.progress(2, 3, "measuring the accuracy")
        guesses = clean_guesses(context.check, again, images, _BATCH)
        found = Accuracy.of(int((guesses == images.labels).sum()), len(images.labels))
        doubts = [
            *network.doubts,
            *_ordered(network.outputs, guesses, images.labels, dataset),
            *_judged(context, params, found, images.labels),
        ]
        tested = _tested(card, params, found, doubts)
        kept.card = tested.model_dump(mode="json")
    except BaseException:
        stored.unlink(missing_ok=True)
        raise
    for doubt in doubts:
        context.warn(doubt)
    context.progress(3, 3, "registered")
    return Outcome(ImportModelResult(model=model_id, card=tested, parity=parity), [kept], [stored])


def _of_file(
    context: JobContext,
    params: ImportModelParams,
    dataset: Dataset,
    images: TensorSplit,
    upload: UploadRow,
    model_id: str,
) -> Brought | Asked:
    """What the file holds. Raises JobError."""
    files = context.lab.files
    path = files.here(files.upload(upload.id))
    with path.open("rb") as stream:
        is_onnx = file_kinds.is_onnx(stream.read(file_kinds.START_BYTES))
    for gap in gaps():
        context.log(gap)
    if is_onnx:
        scratch = files.weights(model_id).with_suffix(".converted")
        return asked(context, params, dataset, images, path, scratch)
    if params.architecture is None:
        raise JobError(
            "Weights need the architecture that they belong to.",
            hint="Say which network it is. Only an ONNX file holds its own.",
            field="architecture",
        )
    if params.black_box:
        raise JobError(
            "The file holds weights, which are no black box.",
            hint="Leave that out, and ask it by `square` alone where that is wanted.",
            field="black_box",
        )
    for field, told in (("pixels", params.pixels), ("layout", params.layout)):
        if told is not None:
            raise JobError(
                f"The file holds weights, of which no {field} can be said.",
                hint="Leave it empty: networks of the lab take images in [0, 1], channels first.",
                field=field,
            )
    with opened(
        path,
        network=params.network or "",
        scratch=files.weights(model_id).with_suffix(".converted"),
        check=context.check,
    ) as file:
        for note in file.notes:
            context.log(note)
        return brought(context, params, dataset, file)


def _upload(context: JobContext, upload_id: str) -> UploadRow:
    upload = catalogue.upload(context.lab.database, upload_id)
    if upload is None or not context.lab.files.has(context.lab.files.upload(upload_id)):
        raise JobError("The uploaded file is gone.", hint="Upload it again.")
    return upload


def _test_images(dataset: Dataset) -> TensorSplit:
    """Up to 1,000 test images, balanced over the classes."""
    test = dataset.split("test")
    return test.sample(min(CHECKED_IMAGES, len(test)), seed=_SEED).to(registry.device())


def _reference(model: AnyModel, images: TensorSplit, order: Sequence[int]) -> Tensor:
    """Logits of the network as the file's own code has it, in the dataset's order of classes.

    For a network of timm that is timm's own class, which normalises nothing.
    """
    x = _first(images)
    network: Callable[[Tensor], Tensor] = model
    if isinstance(model, TimmClassifier):
        network = model.native().to(x.device).to(memory_format=torch.channels_last)
        x = (x - model.mean.view(1, 3, 1, 1)) / model.std.view(1, 3, 1, 1)
    with torch.no_grad():
        logits = network(x)[:, list(order)]
    if not logits.isfinite().all():
        raise JobError(
            "The network's logits are no finite numbers.",
            hint="Check mean and standard deviation; the training may have diverged.",
        )
    return logits


def _first(images: TensorSplit) -> Tensor:
    return to_float(images.images[:_BATCH])


def _card(
    context: JobContext,
    params: ImportModelParams,
    network: _Network,
    upload: UploadRow | None,
    dataset: Lineage,
    facts: Dataset,
) -> ModelCard:
    how = network.interface
    if upload is None:
        came = f"Asked at {params.address}."
    else:
        came = f"Imported from {PurePath(upload.filename).name}, SHA-256 {upload.sha256}."
    return ModelCard(
        name=params.name,
        architecture=network.architecture,
        parameters=network.parameters,
        access=network.access,
        onnx=how if isinstance(how, OnnxInterface) else None,
        endpoint=how if isinstance(how, EndpointInterface) else None,
        classes=facts.class_names,
        image_size=facts.image_size,
        dataset=dataset,
        teacher=None,
        params=None,
        origin="imported",
        selection=came,
        epoch=0,
        validation_clean=None,
        validation_robust=None,
        environment=registry.environment(context.seconds),
    )


def _register(
    context: JobContext,
    card: ModelCard,
    network: _Network,
    model_id: str,
    dataset_id: str,
) -> ModelRow:
    files, job_id = context.lab.files, context.claim.job_id
    model = network.model
    if isinstance(model, BlackBox):
        assert not isinstance(network, Brought)
        return registry.register_black_box(
            files, card, network.data, model_id=model_id, job_id=job_id, dataset_id=dataset_id
        )
    return registry.register(
        files,
        card,
        model.state_dict(),
        model_id=model_id,
        job_id=job_id,
        dataset_id=dataset_id,
        graph=model.graph.plain if isinstance(model, Converted) else None,
    )


def _parity(again: AnyModel, images: TensorSplit, expected: Tensor, rounding: float) -> float:
    """The largest difference of logits between the registered model and the file's network.

    Raises JobError where it is more than `rounding`, of the largest logit.
    """
    with torch.no_grad():
        difference = float((again(_first(images)) - expected).abs().max())
    most = rounding * max(1.0, expected.abs().max().item())
    if not difference <= most:
        raise JobError(
            f"The stored network's logits differ from those of the file's by {difference:.3g}; "
            f"at most {most:.3g} is rounding.",
            hint="The architecture computes something else than the network that was trained.",
        )
    return difference


def _ordered(taken: outputs.Taken, guesses: Tensor, labels: Tensor, dataset: Dataset) -> list[str]:
    """What the answers say against the order of classes.

    Raises JobError where it was nobody's word.
    """
    better = outputs.better_order(guesses, labels, dataset.class_names)
    if better is None:
        return []
    if taken.guessed:
        raise JobError(
            f"The head's outputs are not in the dataset's order of classes: {better.said}.",
            hint="Name the classes in the order in which the network was trained on them. What "
            f"fits best is: {', '.join(better.classes[:20])}.",
            field="classes",
            choices=better.classes,
        )
    return [f"The order of classes may be another than was said: {better.said}."]


def _judged(
    context: JobContext, params: ImportModelParams, found: Accuracy, labels: Tensor
) -> list[str]:
    """What the accuracy says against the import; `labels` (N,) are those it was measured on.

    Raises JobError where it is not as expected.
    """
    measured = (
        f"{percent(found.value)} of {found.n:,} test images are classified right "
        f"(95 % interval {interval(found)})"
    )
    expected = params.expected
    if expected is None:
        context.log(f"{measured}; no accuracy was given to expect.")
        if found.low <= labels.bincount().max().item() / len(labels):
            return [f"{measured}: that is no better than guessing. {_CAUSES}"]
        return []
    inside = found.low <= expected <= found.high
    if not inside and abs(found.value - expected) > params.tolerance:
        raise JobError(
            f"{measured}; {percent(expected)} were expected, so the import is not right.",
            hint=_CAUSES,
        )
    context.log(f"{measured}; {percent(expected)} were expected.")
    return []


def _tested(
    card: ModelCard, params: ImportModelParams, accuracy: Accuracy, doubts: Sequence[str]
) -> ModelCard:
    tested = TestAccuracy(
        measure="clean", accuracy=accuracy, dataset=card.dataset, expected=params.expected
    )
    return card.model_copy(update={"test": (tested,), "warnings": tuple(doubts)})
