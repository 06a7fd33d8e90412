"""Networks that answer alike whatever else is in the batch.

On a CPU the last bits of logits and gradients depend on how many images a pass has: libraries
choose their kernels by shape. A network that always sees equally many rounds an image alike in any
batch, of any size. A block is small enough for the caches, too, so that full blocks cost less than
one large pass.

Measured with convolutional networks, bit for bit, on one and two threads, with AVX2 and AVX-512.
Attention of transformers rounds by the place in the batch as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.models.base import Classifier, Outputs

BLOCK = 8
"""Images of a pass."""


def in_blocks(passing: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
    """What `passing` gives of images x (N, 3, H, W), each part (N, ...).

    On a CPU they go through block by block, the last one filled up with black; elsewhere as they
    are.
    """
    if x.device.type != "cpu" or len(x) == 0:
        return passing(x)
    filled = F.pad(x, (0, 0, 0, 0, 0, 0, 0, -len(x) % BLOCK))
    seen = [passing(part) for part in torch.split(filled, BLOCK)]
    return tuple(torch.cat(parts)[: len(x)] for parts in zip(*seen, strict=True))


def steady(model: Classifier, passing: Callable[[Tensor], None]) -> Classifier:
    """The same network, which from now on takes images in blocks; `passing` is handed what it takes
    in before that.
    """
    outputs = model.outputs

    def in_turn(x: Tensor) -> Outputs:
        passing(x)
        return Outputs(*in_blocks(lambda part: outputs(part).parts, x))

    model.outputs = in_turn  # type: ignore[method-assign]
    return model
