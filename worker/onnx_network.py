"""A network in an ONNX file, run by onnxruntime on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from worker.onnx_session import AT_ONCE, session

_TINY = torch.finfo(torch.float32).tiny


class OnnxNetwork:
    """Images (N, 3, H, W) in [0, 1] -> scores (N, O), whatever the file takes and gives.

    A single output z becomes two scores, 0 and z.

    Args:
        data: the file.
        source, output: names of its input and of its output.
        kind: of the input's numbers, as NumPy calls it.
        channels_last: whether it takes (N, H, W, 3).
        white: the value of a white pixel, 1 or 255, before mean and std.
        mean, std: three numbers each, in units of [0, 1].
        batch: how many images it takes at once; None for any number.
        probabilities: whether it answers with these, of which the logarithm is a score.
    """

    def __init__(
        self,
        data: bytes,
        *,
        source: str,
        output: str,
        kind: str,
        channels_last: bool,
        white: float,
        mean: Sequence[float],
        std: Sequence[float],
        batch: int | None,
        probabilities: bool,
    ) -> None:
        self._session = session(data, threads=torch.get_num_threads())
        self._source, self._output, self._kind = source, output, np.dtype(kind)
        self._channels_last, self._white, self._batch = channels_last, white, batch
        self._mean, self._std = (torch.tensor(list(v)).view(1, 3, 1, 1) for v in (mean, std))
        self._probabilities = probabilities

    def __call__(self, x: Tensor) -> Tensor:
        return scores(self.raw(x), probabilities=self._probabilities).to(x)

    def raw(self, x: Tensor) -> Tensor:
        """What the file itself gives, (N, O) float32."""
        return torch.cat([self._run(part) for part in torch.split(x, self._batch or AT_ONCE)])

    def _run(self, x: Tensor) -> Tensor:
        images, n = self._prepared(x.detach().cpu().float()), len(x)
        if self._batch is not None and n < self._batch:  # the last ones, made up to a batch
            images = np.concatenate([images, np.repeat(images[-1:], self._batch - n, axis=0)])
        (given,) = self._session.run([self._output], {self._source: images})
        return torch.from_numpy(np.asarray(given, dtype=np.float32)).flatten(1)[:n]

    def _prepared(self, x: Tensor) -> NDArray[Any]:
        """Images as the file takes them."""
        values = self._white * (x - self._mean) / self._std
        if self._channels_last:
            values = values.permute(0, 2, 3, 1)
        if self._kind.kind in "ui":
            values = values.round()
        return np.ascontiguousarray(values.numpy().astype(self._kind))


def scores(raw: Tensor, *, probabilities: bool) -> Tensor:
    """Logits (N, O) of what a file gives, (N, O); of a single output two, 0 and z."""
    if raw.shape[1] == 1:
        z = torch.logit(raw, eps=1e-7) if probabilities else raw
        return F.pad(z, (1, 0))
    return raw.clamp_min(_TINY).log() if probabilities else raw


def are_probabilities(raw: Tensor) -> bool:
    """Whether answers (N, O) are shares: not negative, with a sum of 1; a single one up to 1."""
    if not raw.isfinite().all() or raw.min() < 0:
        return False
    sums = raw.double().sum(dim=1)
    return bool((sums <= 1).all() if raw.shape[1] == 1 else ((sums - 1).abs() <= 1e-3).all())
