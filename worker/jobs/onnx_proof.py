"""An ONNX file's network as a white box, once it was shown to be the same network.

The file is read by a process of its own (`worker.jobs.plain_onnx`); what that hands over is plain
values, and is checked again. Its logits are compared with those of onnxruntime, on test images,
such images with noise, and noise alone, in batches of several sizes. What is not shown to be the
same is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from app.contracts.onnx import Layout
from app.contracts.results import OnnxInterface, OnnxProof
from app.store.files import remove
from worker import apart, registry
from worker.data import TensorSplit
from worker.data.augment import to_float
from worker.models.blocks import BLOCK
from worker.models.converted import Converted, Unlike, converted
from worker.onnx_graph import Graph
from worker.onnx_network import OnnxNetwork

_SECONDS = 120
"""How long the other process may take, on the clock and on the processor."""
_SPARE_MB = 1024
TOLERANCE = 1e-4
"""Of the largest logit: one network computed in two orders, in float32, differs by rounding."""
_BATCH = 50
_FEW = (1, 7)
"""Images of passes that show whether answers depend on these; others have `BLOCK`, as attacks."""
_NOISE = 8 / 255
_LEAST_LOG, _MOST_LOGIT = -80.0, 8.0
"""Beyond these, probabilities in float32 do not tell logits apart."""
_KINDS = (torch.float32, torch.int64, torch.bool)


class Proven(NamedTuple):
    """A network of the lab that computes what the file does."""

    model: Converted
    """In eval mode on the device, with all outputs of the file."""
    proof: OnnxProof


def proven(
    path: Path,
    told: OnnxInterface,
    network: OnnxNetwork,
    images: TensorSplit,
    *,
    scratch: Path,
    check: Callable[[], None],
) -> Proven:
    """The network in a file as a white box.

    Args:
        told: how it is asked.
        network: the same, run by onnxruntime.
        images: from the test part.
        scratch: a folder for what is converted; made for it, and gone afterwards.
        check: called again and again; raises when the job must end.

    Raises Unlike where it cannot be computed, or does not compute the same.
    """
    if told.kind != "float32":
        raise Unlike(f"it takes images of {told.kind}, and the lab computes in float32")
    graph, weights = _read(path, told.output, scratch, check)
    graph = replace(
        graph, white=told.pixels.white, channels_last=told.layout is Layout.CHANNELS_LAST
    )
    theirs: list[Tensor] = []

    def attempt(graph: Graph) -> Proven:
        side = images.images.shape[-1]
        model = converted(graph, weights, image_size=side, mean=told.mean, std=told.std)
        model.to(registry.device()).to(memory_format=torch.channels_last)
        return Proven(model, _compared(model, told, network, images, theirs, check))

    if told.batch != 1:
        return attempt(graph)
    try:
        return attempt(graph)
    except Unlike:  # it may have the number of images in its shapes
        return attempt(replace(graph, one_by_one=True))


def _read(
    path: Path, output: str, scratch: Path, check: Callable[[], None]
) -> tuple[Graph, dict[str, Tensor]]:
    """What another process makes of the file. Raises Unlike."""
    megabytes = _SPARE_MB + 4 * path.stat().st_size // 2**20
    scratch.mkdir()
    try:
        target = scratch / "network"
        said = apart.run(
            "worker.jobs.plain_onnx", path, target, output, megabytes, _SECONDS,
            seconds=_SECONDS, check=check,
        )  # fmt: skip
        if "why" in said:
            raise Unlike(str(said["why"])[:500])
        with safe_open(target, framework="pt") as file:
            graph = Graph.of(file.metadata()["graph"])
            weights = {name: file.get_tensor(name) for name in graph.weights}
    except apart.TookTooLongError:
        raise Unlike(f"to read it anew takes more than {_SECONDS} s") from None
    except (apart.BrokeDownError, SafetensorError, OSError, KeyError, TypeError) as error:
        raise Unlike("the process that read it anew broke down") from error
    except Unlike:
        raise
    except ValueError as error:
        raise Unlike(str(error)) from error
    finally:
        remove(scratch)
    if any(value.dtype not in _KINDS for value in weights.values()):
        raise Unlike("its weights are no numbers of float32")
    return graph, weights


@torch.no_grad()
def _compared(
    model: Converted,
    told: OnnxInterface,
    network: OnnxNetwork,
    images: TensorSplit,
    theirs: list[Tensor],
    check: Callable[[], None],
) -> OnnxProof:
    """What the comparison shows. Raises Unlike.

    `theirs`: what onnxruntime said to each batch, where it was asked before; filled otherwise.
    """
    if (told.scores == "probabilities") != (model.left_out in ("Softmax", "Sigmoid")):
        raise Unlike("its probabilities do not come of a softmax or a sigmoid at its end")
    largest, scale, count = 0.0, 0.0, 0
    for number, x in enumerate(_batches(images)):
        check()
        if number == len(theirs):
            theirs.append(network.raw(x))
        asked = theirs[number].to(x.device)
        passes = [*zip(torch.split(x, BLOCK), torch.split(asked, BLOCK), strict=True)]
        passes += [(x[:few], asked[:few]) for few in _FEW if number == 0]
        for part, answers in passes:
            ours, expected = _comparable(model(part), answers, model.left_out)
            gap = (ours - expected).abs().max().item()
            largest = max(largest, gap) if gap == gap else float("inf")
            scale = max(scale, expected.abs().max().item())
        count += len(x)
    most = TOLERANCE * scale
    if not largest <= most:
        raise Unlike(
            f"its logits, computed by the lab, differ from those of onnxruntime by up to "
            f"{largest:.2g}; {most:.2g} would be rounding"
        )
    return OnnxProof(images=count, difference=largest, tolerance=most)


def _batches(images: TensorSplit) -> Iterator[Tensor]:
    """(N, 3, H, W) in [0, 1]: test images, some of them with noise, noise, and black and white."""
    for pixels in torch.split(images.images, _BATCH):
        yield to_float(pixels)
    first = to_float(images.images[:_BATCH])
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(first.shape, generator=generator).to(first.device)
    yield (first + _NOISE * (2 * noise - 1)).clamp(0, 1)
    noise[0], noise[-1] = 0, 1
    yield noise


def _comparable(ours: Tensor, theirs: Tensor, left_out: str) -> tuple[Tensor, Tensor]:
    """Logits of the lab's network (N, K), and what the file answered (N, O), as the same thing."""
    ours, theirs = ours.double(), theirs.double()
    if left_out == "Sigmoid":
        z = (ours[:, 1:], torch.logit(theirs))
        return z[0].clamp(-_MOST_LOGIT, _MOST_LOGIT), z[1].clamp(-_MOST_LOGIT, _MOST_LOGIT)
    if left_out == "Softmax":
        return ours.log_softmax(1).clamp_min(_LEAST_LOG), theirs.log().clamp_min(_LEAST_LOG)
    if left_out == "LogSoftmax":
        return ours.log_softmax(1), theirs
    return (ours[:, 1:] if theirs.shape[1] == 1 else ours), theirs
