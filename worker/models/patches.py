"""Passes of images of which only a square has changed, for attacks that change one at a time.

A convolution sees no further than its kernel: after a change of 4 x 4 pixels the first one of a
Wide ResNet gives 6 x 6 other outputs of 32 x 32, the next 8 x 8. All else is remembered from the
image before, so a pass computes only these windows: the same logits up to rounding. No error adds
up, since every number is computed anew from all that it depends on. Passes are filled up to whole
blocks (`worker.models.blocks`), so that an image's logits do not depend on how many it has beside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.models.blocks import BLOCK
from worker.models.folded import Block, Convolution, Folded


class _Span(NamedTuple):
    """Rows, or columns, of a map, from `begin` to before `end`."""

    begin: int
    end: int

    def seen_by(self, kernel: int, stride: int, padding: int, size: int) -> _Span:
        """The outputs of a convolution that depend on it, where the map is `size` long."""
        last = (size + 2 * padding - kernel) // stride
        begin = -((kernel - 1 - padding - self.begin) // stride)  # rounded up
        return _Span(max(begin, 0), min((self.end - 1 + padding) // stride, last) + 1)

    def inputs(self, kernel: int, stride: int, padding: int) -> _Span:
        """What these outputs of a convolution depend on; beyond the map lies its padding."""
        begin = stride * self.begin - padding
        return _Span(begin, begin + stride * (self.end - self.begin - 1) + kernel)

    def common(self, other: _Span) -> _Span:
        return _Span(max(self.begin, other.begin), min(self.end, other.end))

    def within(self, other: _Span) -> slice:
        """Where it lies in the other one."""
        return slice(self.begin - other.begin, self.end - other.begin)


_Window = tuple[_Span, _Span]
"""Rows and columns."""
_Slices = tuple[slice, slice]


# Attacks ask for the same few thousand windows again and again, each a score of times a pass.
@lru_cache(2**14)
def _seen_by(window: _Window, *kernel: tuple[int, ...]) -> _Window:
    """Kernel, stride, padding and size of the map are pairs: along rows, and along columns."""
    rows, columns = (span.seen_by(*along) for span, *along in zip(window, *kernel, strict=True))
    return rows, columns


@lru_cache(2**14)
def _inputs(window: _Window, *kernel: tuple[int, ...]) -> _Window:
    rows, columns = (span.inputs(*along) for span, *along in zip(window, *kernel, strict=True))
    return rows, columns


@lru_cache(2**14)
def _within(window: _Window, other: _Window) -> _Slices:
    """Where it lies in the other one."""
    return window[0].within(other[0]), window[1].within(other[1])


@lru_cache(2**14)
def _common(window: _Window, other: _Window) -> tuple[_Slices, _Slices]:
    """Where what both share lies in the one and in the other."""
    both = window[0].common(other[0]), window[1].common(other[1])
    return _within(both, window), _within(both, other)


class _Change(NamedTuple):
    """What a window of a map becomes, (M, C, h, w)."""

    window: _Window
    content: Tensor


class _Map:
    """A feature map of all images, with zeros around it, that changes window by window."""

    def __init__(self, whole: Tensor, padding: tuple[int, ...]) -> None:
        """Before its first content; of the size of `whole`, (N, C, H, W)."""
        n, channels, height, width = whole.shape
        (above, beside), self.size = padding, (height, width)
        self._around = _Span(-above, height + above), _Span(-beside, width + beside)
        shape = (n, height + 2 * above, width + 2 * beside, channels)
        self._numbers = whole.new_zeros(shape)  # channels last, as convolutions take them

    def after(self, change: _Change, rows: Tensor, wanted: _Window) -> Tensor:
        """A window of the images at `rows`, (M,), as the change leaves it, (M, C, h, w)."""
        height, width = _within(wanted, self._around)
        found = self._numbers[:, height, width].index_select(0, rows).permute(0, 3, 1, 2)
        into, of = _common(wanted, change.window)
        found[:, :, into[0], into[1]] = change.content[:, :, of[0], of[1]]
        return found

    def keep(self, change: _Change, rows: Tensor, kept: Tensor) -> None:
        """The change holds for those of the images at `rows`, (M,), of which `kept` says so."""
        height, width = _within(change.window, self._around)
        content = change.content[kept].permute(0, 2, 3, 1)
        self._numbers[:, height, width].index_copy_(0, rows[kept], content)


class Memory:
    """Images, and all that a folded network computes of them on its way to their logits."""

    def __init__(self, folded: Folded, x: Tensor, passing: Callable[[Tensor], None]) -> None:
        """`passing` is handed what every pass takes in; x is (N, 3, H, W)."""
        self._folded, self._passing = folded, passing
        self._maps: list[_Map] = []
        every = torch.arange(len(x), device=x.device)
        self.logits = self.look(every, 0, 0, x)
        """Of the images as they were first, (N, K)."""
        self.keep(torch.ones_like(every, dtype=torch.bool))

    @torch.no_grad()
    def look(self, rows: Tensor, top: int, left: int, pixels: Tensor) -> Tensor:
        """Logits (M, K) of the images at `rows`, (M,), with other pixels, (M, 3, h, w).

        The uppermost and leftmost of the other pixels lies at (top, left) in each image.
        """
        self._passing(pixels)
        rows, pixels, asked = _filled(rows), _filled(pixels), len(rows)
        folded, (height, width) = self._folded, pixels.shape[2:]
        self._rows, self._changes = rows, list[_Change]()
        window = _Span(top, top + height), _Span(left, left + width)
        change = _Change(window, folded.normalised(pixels))
        seen = self._convolved(folded.start, self._meet(change, folded.start.padding), change)
        for block in folded.blocks:
            seen = self._through(block, seen)
        features = seen._replace(content=folded.ended(seen.content))
        last = self._meet(features, (0, 0))
        whole = last.after(features, rows, (_Span(0, last.size[0]), _Span(0, last.size[1])))
        return folded.read_out(whole, pixels.dtype).logits[:asked]

    def keep(self, kept: Tensor) -> None:
        """Those of the images last looked at, (M,) bool, have changed for good."""
        kept = F.pad(kept, (0, len(self._rows) - len(kept)))
        for of, change in zip(self._maps, self._changes, strict=True):
            of.keep(change, self._rows, kept)

    def _through(self, block: Block, seen: _Change) -> _Change:
        activated = seen._replace(content=block.activated(seen.content))
        taken = self._meet(activated, block.first.padding)
        found = self._convolved(block.first, taken, activated)
        between = found._replace(content=F.relu(found.content))
        end = self._convolved(block.second, self._meet(between, block.second.padding), between)
        if block.shortcut is None:
            beside = self._meet(seen, (0, 0)).after(seen, self._rows, end.window)
        else:
            beside = self._outputs(block.shortcut, taken, activated, end.window)
        return end._replace(content=end.content + beside)

    def _meet(self, change: _Change, padding: tuple[int, ...]) -> _Map:
        """The next map on the way, of which the change is noted; the first time it is whole."""
        number = len(self._changes)
        if number == len(self._maps):
            self._maps.append(_Map(change.content, padding))
        self._changes.append(change)
        return self._maps[number]

    def _convolved(self, convolution: Convolution, of: _Map, change: _Change) -> _Change:
        """What becomes of all outputs that see the change."""
        kernel = convolution.weight.shape[2:], convolution.stride, convolution.padding
        window = _seen_by(change.window, *kernel, of.size)
        return _Change(window, self._outputs(convolution, of, change, window))

    def _outputs(
        self, convolution: Convolution, of: _Map, change: _Change, window: _Window
    ) -> Tensor:
        kernel = convolution.weight.shape[2:], convolution.stride, convolution.padding
        taken = of.after(change, self._rows, _inputs(window, *kernel))
        return F.conv2d(taken, convolution.weight, convolution.bias, convolution.stride)


def _filled(of: Tensor) -> Tensor:
    """Up to whole blocks, with the last one again."""
    return torch.cat([of, of[-1:].expand(-len(of) % BLOCK, *of.shape[1:])])
