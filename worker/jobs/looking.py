"""What one model makes of pictures: what it says, where it looks, how far its maps are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.contracts.results import Distances, MapFigures, MapSheet
from worker.agkd_bml.attention import attention_map, cosine_distance, grad_cam_of, l1_distance
from worker.evaluation.attention import on_grid, top_iou
from worker.models import Classifier, Outputs, Passes
from worker.pictures import sheet

_AT_ONCE = 64
"""Pictures of one pass: few enough that feature maps stay in a processor's cache."""
_DECIMALS = 4


class Looker(NamedTuple):
    """A model in eval mode, and its passes by whatever way is quick."""

    model: Classifier
    passes: Passes


@dataclass(frozen=True)
class Seen:
    """What one model makes of N pictures."""

    probabilities: Tensor
    """(N, K)"""
    attention: Tensor
    """(N, h, w)"""
    grad_cam: Tensor
    """(N, h, w), for the predicted class."""
    stages: tuple[Tensor, ...]
    """Channel sums, (N, h_s, w_s) each, from the finest to the coarsest; or none."""

    @classmethod
    def joined(cls, several: Sequence[Seen]) -> Seen:
        """What it makes of these pictures and then of those."""
        parts = zip(*(one._parts for one in several), strict=True)
        return cls._of([torch.cat(part) for part in parts])

    def cpu(self) -> Seen:
        """The same, where it is asked for as numbers."""
        return self._of([part.cpu() for part in self._parts])

    def split(self, sizes: Sequence[int]) -> list[Seen]:
        """What it makes of the first pictures, of the next ones, and so on."""
        parts = zip(*(torch.split(part, list(sizes)) for part in self._parts), strict=True)
        return [self._of(part) for part in parts]

    @classmethod
    def woven(cls, columns: Sequence[Seen]) -> Seen:
        """Of T columns of B pictures, row by row: (B * T,); without their stages."""
        parts = zip(*(one._parts[:3] for one in columns), strict=True)
        return cls._of([torch.stack(part, dim=1).flatten(0, 1) for part in parts])

    def replaced(self, rows: Tensor, by: Seen) -> Seen:
        """With other answers at some places, (M,)."""
        parts = zip(self._parts, by._parts, strict=True)
        return self._of([part.index_copy(0, rows, other) for part, other in parts])

    @classmethod
    def _of(cls, parts: Sequence[Tensor]) -> Seen:
        said, attention, cams, *stages = parts
        return cls(said, attention, cams, tuple(stages))

    @property
    def without_stages(self) -> Seen:
        return self._of(self._parts[:3])

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return (self.probabilities, self.attention, self.grad_cam, *self.stages)

    @property
    def top(self) -> list[int]:
        """The likeliest class of each picture."""
        found: list[int] = self.probabilities.argmax(dim=1).tolist()
        return found

    @property
    def confidence(self) -> tuple[float, ...]:
        """Its probability."""
        found: tuple[float, ...] = rounded(self.probabilities.amax(dim=1))
        return found


@torch.no_grad()
def look(looker: Looker, x: Tensor) -> Seen:
    """What a model makes of images (N, 3, H, W) in [0, 1], without its stages."""
    parts = [looker.passes.outputs(some) for some in torch.split(x, _AT_ONCE)]
    return Seen.joined([seen(looker.model, part) for part in parts]).cpu()


@torch.no_grad()
def look_closely(looker: Looker, x: Tensor) -> Seen:
    """The same of a few images, with its stages."""
    return seen(looker.model, *looker.passes.staged(x)).cpu()


@torch.no_grad()
def seen(model: Classifier, outputs: Outputs, stages: Sequence[Tensor] = ()) -> Seen:
    """What a pass says, and the feature maps of its stages; nothing here waits for the device."""
    cams = grad_cam_of(model, outputs, outputs.logits.argmax(dim=1))
    sums = tuple(attention_map(stage) for stage in stages)
    maps = sums[-1] if sums else attention_map(outputs.features)
    return Seen(outputs.logits.softmax(dim=1), maps, cams, sums)


def distances(maps: Tensor, other: Tensor) -> Distances:
    """Of maps (N, h, w) from one other map, (1, H, W), on its grid."""
    maps = on_grid(maps, other.shape[1:])
    other = other.expand_as(maps)
    return Distances(
        l1=rounded(l1_distance(maps, other)),
        cosine=rounded(cosine_distance(maps, other)),
        overlap=rounded(top_iou(maps, other)),
    )


def map_figures(maps: Tensor, clean: Tensor, reference: Tensor, columns: int) -> MapFigures:
    """Maps (R * columns, h, w), held against two maps (1, h, w) of the clean image."""
    return MapFigures(
        sheet=map_sheet(maps, columns),
        shift=distances(maps, clean),
        reference=distances(maps, reference),
    )


def map_sheet(maps: Tensor, columns: int) -> MapSheet:
    """Maps (R * columns, h, w) in [0, 1] as one picture."""
    _, height, width = maps.shape
    grey = (255 * maps).round().to(torch.uint8).view(-1, columns, height, width)
    return MapSheet(png=sheet(grey.numpy()), height=height, width=width)


def rounded(values: Tensor) -> Any:
    """(N,) or (N, M) as tuples of short decimals: the result is a page's worth of JSON."""
    found = values.double().mul(10**_DECIMALS).round().div(10**_DECIMALS).tolist()
    return tuple(tuple(row) if isinstance(row, list) else row for row in found)
