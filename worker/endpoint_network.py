"""A model behind an HTTP address: images to JSON, and answers back to scores.

The questions are those of TensorFlow Serving and KServe: `{"instances": [image, ...]}`, answered by
`{"predictions": [answer, ...]}`, where an answer is a row of scores, one score, a number of a class
or its name.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.endpoint import Sends
from app.contracts.onnx import Layout
from app.contracts.results import EndpointInterface
from app.errors import JobError
from worker.endpoint import Line, Reach
from worker.onnx_network import scores
from worker.pictures import png

_DIGITS = 6
"""After the point, of numbers that are sent: far finer than 8 bits."""
_SURE = 100.0
"""The score of the one class that a label names, above the others': a share of 1."""
_SHAPE = 'It has to be {"predictions": [...]}, with one answer for each image in their order.'


_PICTURES, _PATCHES = 8, 4
_SAME = 1e-3


def pictures(side: int) -> Tensor:
    """The lab's own images by which a model is known again, (8, 3, side, side): soft colours."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(_PICTURES, 3, _PATCHES, _PATCHES, generator=generator)
    return F.interpolate(drawn, size=(side, side), mode="bilinear")


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether two answers to the same images are of one model, up to rounding elsewhere."""
    most = _SAME * max(1.0, first.abs().max().item())
    return first.shape == second.shape and bool((first - second).abs().max() <= most)


class Told(NamedTuple):
    """What came back of some images."""

    numbers: Tensor | None
    """(N, O); None of labels."""
    labels: tuple[int, ...] | tuple[str, ...] = ()


class EndpointNetwork:
    """Images (N, 3, H, W) in [0, 1] -> scores (N, O), whatever the model takes and gives.

    A single number z becomes two scores, 0 and z, and a label one score above all others.
    """

    def __init__(self, asked: EndpointInterface, reach: Reach) -> None:
        """Raises JobError where the lab may not ask there."""
        self._asked = asked
        self._line = Line(
            asked.address, reach, per_second=asked.per_second, patience_s=asked.patience_s
        )
        self._mean, self._std = (
            torch.tensor(list(v)).view(1, 3, 1, 1) for v in (asked.mean, asked.std)
        )

    def __call__(self, x: Tensor) -> Tensor:
        told = self.told(x)
        if self._asked.answers == "labels":
            return self._of_labels(told).to(x)
        if told.numbers is None or told.numbers.shape[1] != self._asked.width:
            raise JobError(
                f"{self._asked.address} answers otherwise than when it was registered.",
                hint="Another model is behind it now: import that one.",
            )
        return scores(told.numbers, probabilities=self._asked.answers == "probabilities").to(x)

    def of_known(self, side: int) -> Tensor:
        """What it says of `pictures`, (8, O)."""
        return self(pictures(side))

    def check_known(self, side: int) -> None:
        """Raises JobError where it does not say what it said when it was registered."""
        known = self._asked.known
        if known and not alike(torch.tensor(known), self.of_known(side)):
            raise JobError(
                f"What answers at {self._asked.address} is not the model that was registered: it "
                "says something else of the same images.",
                hint="Import what answers there now as a model of its own.",
            )

    def told(self, x: Tensor) -> Told:
        """What it says itself. Raises JobError."""
        parts = [self._once(part) for part in torch.split(x, self._asked.at_once)]
        labels: Any = tuple(label for part in parts for label in part.labels)
        if all(part.numbers is None for part in parts):
            return Told(None, labels)
        numbers = [part.numbers for part in parts if part.numbers is not None]
        if labels or len({n.shape[1] for n in numbers}) > 1:
            raise self._not_understood("its answers are of several kinds")
        return Told(torch.cat(numbers))

    def _once(self, x: Tensor) -> Told:
        body = json.dumps({"instances": self._instances(x.detach().cpu().float())}).encode()
        answers = self._answers(self._line.ask(body, len(x)), len(x))
        kinds = {type(answer) for answer in answers}
        if kinds == {int} or kinds == {str}:
            return Told(None, tuple(answers))
        try:
            numbers = torch.from_numpy(np.asarray(answers, dtype=np.float32)).reshape(len(x), -1)
        except (ValueError, TypeError, OverflowError):
            raise self._not_understood(
                "an answer is neither a row of scores, nor a score, a number or a name of a class"
            ) from None
        if kinds <= {bool} or numbers.shape[1] == 0 or not numbers.isfinite().all():
            raise self._not_understood("an answer holds what is no finite number")
        return Told(numbers)

    def _instances(self, x: Tensor) -> list[Any]:
        if self._asked.sends is Sends.PNG:
            pixels = (x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
            return [{"b64": png(np.ascontiguousarray(image))} for image in pixels]
        values = self._asked.pixels.white * (x - self._mean) / self._std
        if self._asked.layout is Layout.CHANNELS_LAST:
            values = values.permute(0, 2, 3, 1)
        rounded: list[Any] = values.double().numpy().round(_DIGITS).tolist()
        return rounded

    def _answers(self, reply: bytes, count: int) -> list[Any]:
        try:
            answers = json.loads(reply)["predictions"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._not_understood("its answer is no such JSON") from None
        if not isinstance(answers, list) or len(answers) != count:
            raise self._not_understood(f"it does not answer for each of {count:,} images")
        return answers

    def _of_labels(self, told: Told) -> Tensor:
        width, names = self._asked.width, self._asked.names
        if told.numbers is not None:
            raise JobError(
                f"{self._asked.address} answers with scores, and answered with labels when it was "
                "registered.",
                hint="Another model is behind it now: import that one.",
            )
        numbers = [names.index(one) if one in names else one for one in told.labels]
        for one in numbers:
            if not isinstance(one, int) or not 0 <= one < width:
                raise JobError(
                    f"{self._asked.address} answered with the class “{str(one)[:80]}”, which is "
                    f"none of its {width:,}.",
                    hint="Name the classes of all of its answers when it is imported.",
                )
        return _SURE * F.one_hot(torch.tensor(numbers), width).float()

    def _not_understood(self, why: str) -> JobError:
        return JobError(f"{self._asked.address} is not understood: {why}.", hint=_SHAPE)
