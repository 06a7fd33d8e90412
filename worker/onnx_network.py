"""A network in an ONNX file, run by onnxruntime in a process that can do nothing else."""

from __future__ import annotations

import struct
import subprocess
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from app.errors import JobError
from confinement import killed_after
from worker import apart
from worker.onnx_session import AT_ONCE

_TINY = torch.finfo(torch.float32).tiny
_SECONDS = 120
"""How long a batch may take, as long as trying the file might."""
_SPARE_MB, _THREAD_MB, _SIZES = 1024, 128, 4
"""Of its process: beside its code, for each thread, and times the size of the file."""
_MOST_OUTPUTS = 100_000
_LONGEST_FAILURE = 1000


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

    Raises JobError where the file's process fails or takes too long, here and at every batch.
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
        self._answering = _Answering(data, source, output, kind, torch.get_num_threads())
        self._kind = np.dtype(kind)
        self._channels_last, self._white, self._batch = channels_last, white, batch
        self._mean, self._std = (torch.tensor(list(v)).view(1, 3, 1, 1) for v in (mean, std))
        self.probabilities = probabilities

    def __call__(self, x: Tensor) -> Tensor:
        return scores(self.raw(x), probabilities=self.probabilities).to(x)

    def raw(self, x: Tensor) -> Tensor:
        """What the file itself gives, (N, O) float32."""
        return torch.cat([self._run(part) for part in torch.split(x, self._batch or AT_ONCE)])

    def _run(self, x: Tensor) -> Tensor:
        images, n = self._prepared(x.detach().cpu().float()), len(x)
        if self._batch is not None and n < self._batch:  # the last ones, made up to a batch
            images = np.concatenate([images, np.repeat(images[-1:], self._batch - n, axis=0)])
        return torch.from_numpy(self._answering.to(images))[:n]

    def _prepared(self, x: Tensor) -> NDArray[Any]:
        """Images as the file takes them."""
        values = self._white * (x - self._mean) / self._std
        if self._channels_last:
            values = values.permute(0, 2, 3, 1)
        if self._kind.kind in "ui":
            values = values.round()
        return np.ascontiguousarray(values.numpy().astype(self._kind))


class _Answering:
    """The process that runs the network (`worker.onnx_answering`); it ends with this object."""

    def __init__(self, data: bytes, source: str, output: str, kind: str, threads: int) -> None:
        self._megabytes = _SPARE_MB + _THREAD_MB * threads + _SIZES * len(data) // 2**20
        self._process = apart.start(
            "worker.onnx_answering", source, output, kind, threads, self._megabytes,
            stdin=subprocess.PIPE,
        )  # fmt: skip
        weakref.finalize(self, apart.end, self._process)
        self._asked, self._told = apart.ends_of(self._process)
        self._exchange(data, most=0, what="to be loaded")

    def to(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers (N, O) to a batch, as the file takes it."""
        n = len(images)
        shape = struct.pack("4I", *images.shape)
        most = n * _MOST_OUTPUTS * np.dtype(np.float32).itemsize
        given = self._exchange(shape, images.data.cast("B"), most=most, what=f"for {n} images")
        try:
            return np.frombuffer(bytearray(given), np.float32).reshape(n, -1)
        except ValueError as error:
            raise JobError("The network's answers cannot be read.") from error

    def _exchange(self, *asked: bytes | memoryview, most: int, what: str) -> bytes:
        """What it answers, in so many bytes at most. Raises JobError."""
        try:
            with killed_after(_SECONDS, self._process.kill):
                for message in asked:
                    self._asked.send_bytes(message)
                failure = self._told.recv_bytes(_LONGEST_FAILURE).decode(errors="replace")
                answer = self._told.recv_bytes(most)
        except (EOFError, OSError) as error:
            apart.end(self._process)
            raise self._ended(what, overran=isinstance(error, TimeoutError)) from error
        if failure:
            raise JobError(
                f"The network fails: {' '.join(failure.split())}.", hint="Export it again."
            )
        return answer

    def _ended(self, what: str, *, overran: bool) -> JobError:
        if overran:
            return JobError(
                f"The network took more than {_SECONDS} s {what}.", hint="Bring a smaller one."
            )
        return JobError(
            f"The process that runs the network ended (exit code {self._process.returncode}). It "
            f"has {self._megabytes:,} MB of memory.",
            hint="Bring a smaller network, or export it again.",
        )


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
