"""A classifier as an ONNX file, and whether it computes the same.

Needs `onnxscript` to write and `onnxruntime` to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from worker.models import Classifier

OPSET = 20
INPUT, OUTPUT = "images", "logits"
_METADATA = {"Image.NominalPixelRange": "Normalized_0_1", "Image.BitmapPixelFormat": "Rgb8"}
"""In the words of ONNX's own specification: what the images are."""
_BATCH = 4
_TOLERANCE = 1e-4
"""Of the largest logit; one network computed in two orders differs by rounding."""


class Checked(NamedTuple):
    """An ONNX file beside the network that it was made of."""

    images: int
    difference: float
    """The largest difference between logits."""


def write(model: Classifier, side: int, path: Path) -> None:
    """Write `model`, in eval mode on the CPU, as ONNX; normalisation is inside.

    The file takes `images` (N, 3, side, side) in [0, 1], of any N, and gives `logits` (N, K).
    """
    example = torch.zeros(_BATCH, 3, side, side)
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N", min=1, max=2**20)},),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(_METADATA)
    program.save(path, external_data=False)


@torch.no_grad()
def check(model: Classifier, side: int, path: Path, *, batches: int = 4) -> Checked:
    """Compare the logits of the file and of `model` on random images, a batch at a time.

    Raises ValueError where they differ by more than rounding.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    largest, scale, images = 0.0, 0.0, 0
    for size in range(1, batches + 1):  # a file made for one batch size would show
        x = torch.rand(size * _BATCH, 3, side, side, generator=generator)
        (theirs,) = session.run([OUTPUT], {INPUT: x.numpy()})
        ours = model(x)
        largest = max(largest, (torch.from_numpy(theirs) - ours).abs().max().item())
        scale = max(scale, ours.abs().max().item())
        images += len(x)
    if not largest <= _TOLERANCE * scale:
        raise ValueError(f"its logits differ by up to {largest:.2g}, of {scale:.2g}")
    return Checked(images, largest)
