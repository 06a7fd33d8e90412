"""Models and datasets of the lab, as a worker sees them: rows of the store, loaded with torch."""

from __future__ import annotations

import hashlib
import json
import platform
import time
import uuid
from collections.abc import Sequence
from functools import lru_cache

import safetensors.torch
import torch
from safetensors import SafetensorError

from app.contracts.access import Held, Need
from app.contracts.onnx import Layout
from app.contracts.results import (
    EndpointInterface,
    Environment,
    Lineage,
    ModelCard,
    OnnxInterface,
)
from app.errors import JobError
from app.settings import code_version
from app.store import catalogue
from app.store.db import Database
from app.store.files import Files, atomic_write
from app.store.tables import DatasetRow, ModelRow
from worker.data import Dataset, DatasetError, load_dataset
from worker.endpoint import Reach
from worker.endpoint_network import EndpointNetwork
from worker.models import AnyModel, BlackBox, Classifier, build
from worker.models.converted import Converted, stored
from worker.onnx_network import OnnxNetwork


def id_within(job_id: str, fence: int, part: str) -> str:
    """The id of what an attempt of a job leaves: a worker that lost the job to another one writes
    to files of its own."""
    return uuid.uuid5(uuid.UUID(job_id), f"{part} {fence}").hex


@lru_cache
def device() -> torch.device:
    """The GPU where there is one. Called in the child: no CUDA call may come before a fork.

    Its float32 is float32: by default cuDNN multiplies with 10 bits of the mantissa (TF32).
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_gpus(wanted: int) -> None:
    """Raises JobError where torch finds fewer GPUs here than a job asked for: whoever wants one is
    not served by a CPU."""
    have = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if have < wanted:
        raise JobError(
            f"It needs {'a GPU' if wanted == 1 else f'{wanted} GPUs'}, and torch finds "
            f"{have or 'none'} in this worker.",
            hint="Ask for any device; or see to the worker: its driver, its CUDA_VISIBLE_DEVICES, "
            "and whether its torch is one for GPUs.",
            field="device",
        )


def environment(seconds: float) -> Environment:
    """What a figure depends on besides its parameters."""
    cuda = device().type == "cuda"
    return Environment(
        code_version=code_version(),
        torch=torch.__version__,
        device=torch.cuda.get_device_name() if cuda else f"CPU ({platform.machine()})",
        threads=torch.get_num_threads(),
        seconds=round(seconds, 3),
    )


def dataset(database: Database, files: Files, dataset_id: str) -> tuple[DatasetRow, Dataset]:
    """A dataset and its row. Raises JobError where either is missing or damaged."""
    row = dataset_row(database, dataset_id)
    return row, images_of(files, row)


def dataset_row(database: Database, dataset_id: str) -> DatasetRow:
    """Raises JobError where the dataset was deleted since the job was submitted."""
    row = catalogue.dataset(database, dataset_id)
    if row is None:
        raise JobError("The dataset is not in the lab any more.", hint="Import it again.")
    return row


def images_of(files: Files, row: DatasetRow) -> Dataset:
    """Raises JobError where its files are missing or damaged."""
    try:
        return load_dataset(files.here(files.dataset(row.id)))
    except DatasetError as error:
        raise JobError(error.detail, hint=error.hint) from error


def model_row(database: Database, model_id: str) -> ModelRow:
    """Raises JobError where the model was deleted since the job was submitted."""
    row = catalogue.model(database, model_id)
    if row is None:
        raise JobError("A model of this job was deleted.", hint="Restore it, or choose another.")
    return row


def new_model(
    architecture: str,
    *,
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int,
) -> Classifier:
    """`worker.models.build`. Raises JobError where this worker has no such architecture."""
    try:
        return build(
            architecture, num_classes=num_classes, mean=mean, std=std, image_size=image_size
        )
    except ValueError as error:
        raise JobError(
            f"The network cannot be built: {error}.",
            hint="Choose another architecture, or have it installed where the worker runs.",
        ) from error


def load(files: Files, row: ModelRow, reach: Reach) -> AnyModel:
    """The registered model, whatever it gives, with `reach` to one behind an address.

    Raises JobError as `load_model` does, and where an address may not be asked, does not answer or
    answers with another model.
    """
    if Need.GRADIENTS in row.access.record.gives:
        return _white_box(files, row)
    data = _data(files, row)
    if row.held is Held.ONNX:
        told = OnnxInterface.model_validate(row.card["onnx"])
        return BlackBox(onnx_network(data, told), told.outputs)
    asked = EndpointInterface.model_validate_json(data)
    network = EndpointNetwork(asked, reach)
    network.check_known(row.card["image_size"])
    return BlackBox(network, asked.outputs, budget=asked.budget)


def onnx_network(data: bytes, asked: OnnxInterface) -> OnnxNetwork:
    """The network in an ONNX file, in a process of its own."""
    return OnnxNetwork(
        data,
        source=asked.input,
        output=asked.output,
        kind=asked.kind,
        channels_last=asked.layout is Layout.CHANNELS_LAST,
        white=asked.pixels.white,
        mean=asked.mean,
        std=asked.std,
        batch=asked.batch,
        probabilities=asked.scores == "probabilities",
    )


def gives_too_little(row: ModelRow) -> JobError:
    """Why it is not taken where gradients or features are needed."""
    access = row.access.record
    none = "no" if Need.GRADIENTS in access.gives else "neither gradients nor"
    return JobError(
        f"“{row.name}” is a {access.title}: it gives {none} features.",
        hint="Choose a model whose weights are in the lab.",
    )


def load_model(files: Files, row: ModelRow, *, features: bool = True) -> Classifier:
    """The registered white box, on the device, channels-last, in eval mode, without gradients.

    `features`: whether these are wanted too. Raises JobError where its file is missing or is not
    the one that was registered, and where it does not give what is wanted.
    """
    needs = {Need.GRADIENTS, Need.FEATURES} if features else {Need.GRADIENTS}
    if not needs <= row.access.record.gives:
        raise gives_too_little(row)
    return _white_box(files, row)


def _white_box(files: Files, row: ModelRow) -> Classifier:
    data = _data(files, row)
    model = _of_architecture(data, row) if row.card.get("onnx") is None else _of_graph(data, row)
    model = model.to(device()).to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def _of_graph(data: bytes, row: ModelRow) -> Converted:
    """A network that was an ONNX file's: what it computes stands in the header."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        facts = json.loads(header["__metadata__"]["lab"])
        return stored(facts["graph"], safetensors.torch.load(data))
    except (KeyError, RuntimeError, SafetensorError, ValueError) as error:
        raise JobError(f"The weights of “{row.name}” do not fit its network.") from error


def _of_architecture(data: bytes, row: ModelRow) -> Classifier:
    # The stored buffers bring their own normalisation.
    model = new_model(
        row.card["architecture"],
        num_classes=len(row.card["classes"]),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        image_size=row.card["image_size"],
    )
    try:
        model.load_state_dict(safetensors.torch.load(data))
    except (SafetensorError, RuntimeError) as error:
        raise JobError(f"The weights of “{row.name}” do not fit its architecture.") from error
    return model


def _data(files: Files, row: ModelRow) -> bytes:
    """The model's file. Raises JobError."""
    path = files.here(files.weights(row.id, row.held))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JobError(f"The weights of “{row.name}” cannot be read.") from error
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise JobError(
            f"The weights of “{row.name}” are not those that were registered.",
            hint="The file was changed or damaged: train the model again.",
        )
    return data


def save_weights(
    files: Files, model_id: str, weights: dict[str, torch.Tensor], facts: dict[str, object]
) -> tuple[str, int]:
    """Write a model as safetensors, its facts in the header; returns SHA-256 and size in bytes."""
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    data = safetensors.torch.save(plain, {"lab": json.dumps(facts)})
    with atomic_write(files.weights(model_id)) as stream:
        stream.write(data)
    return hashlib.sha256(data).hexdigest(), len(data)


def register(
    files: Files,
    card: ModelCard,
    weights: dict[str, torch.Tensor],
    *,
    model_id: str,
    job_id: str,
    dataset_id: str | None,
    graph: str | None = None,
) -> ModelRow:
    """Write the weights; returns the row that makes them a model of the lab, to be added.

    `graph`: what is computed with them, where no architecture says it.
    """
    facts: dict[str, object] = {
        "architecture": card.architecture,
        "classes": list(card.classes),
        "image_size": card.image_size,
    }
    if graph is not None:
        facts["graph"] = graph
    sha256, size = save_weights(files, model_id, weights, facts)
    return _row_of(card, sha256, size, model_id=model_id, job_id=job_id, dataset_id=dataset_id)


def register_black_box(
    files: Files,
    card: ModelCard,
    data: bytes,
    *,
    model_id: str,
    job_id: str,
    dataset_id: str | None,
) -> ModelRow:
    """The same with the file of a black box: the network as it came, or how it is asked."""
    with atomic_write(files.weights(model_id, card.held)) as stream:
        stream.write(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return _row_of(card, sha256, len(data), model_id=model_id, job_id=job_id, dataset_id=dataset_id)


def _row_of(
    card: ModelCard,
    sha256: str,
    size: int,
    *,
    model_id: str,
    job_id: str,
    dataset_id: str | None,
) -> ModelRow:
    """The row of a model whose file is written."""
    return ModelRow(
        id=model_id,
        name=card.name,
        job_id=job_id,
        created_at=time.time(),
        dataset_id=dataset_id,
        sha256=sha256,
        size_bytes=size,
        card=card.model_dump(mode="json"),
    )


def lineage_of_model(row: ModelRow) -> Lineage:
    return Lineage(id=row.id, name=row.name, sha256=row.sha256)


def lineage_of_dataset(row: DatasetRow) -> Lineage:
    return Lineage(id=row.id, name=row.name, sha256=row.report["checksum"])
