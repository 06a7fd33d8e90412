"""A chunk at work before one model, in stages of pieces: after each another attempt can go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from worker.evaluation.outcomes import ChunkState
from worker.evaluation.target import AttackBatch, Chunk


@dataclass(kw_only=True)
class Work:
    """A chunk before one model, and how far that is."""

    chunk: Chunk
    batch: AttackBatch
    state: ChunkState
    reached: Tensor
    """Where the main attack left the images, as points of the unit ball, (B, 3, H, W); replaced by
    the stage that finds others, and never written to, as is the next one."""
    at: Tensor
    """Likewise the last budget of a curve."""
    done: int = 0
    """Stages that are over."""
    images: int = 0
    """The first so many images have the present stage behind them."""

    def kept(self) -> dict[str, Any]:
        """What another attempt needs to go on from here, with its chunk: on the CPU, and of what
        later stages write to a copy.
        """
        places = {"reached": self.reached.cpu(), "at": self.at.cpu()}
        return {"state": self.state.state(), "done": self.done, "images": self.images, **places}

    def go_on(self, kept: Mapping[str, Any]) -> None:
        """Be where an earlier attempt was when it kept this."""
        self.state.load(kept["state"])
        self.reached, self.at = (kept[name].to(self.reached) for name in ("reached", "at"))
        self.done, self.images = kept["done"], kept["images"]

    def run(self, stage: Stage, end: int) -> int | None:
        """The present stage with the next images, up to before `end`; returns what it returns."""
        begin, device = self.images, self.state.y.device
        piece = Work(
            chunk=self.chunk.part(begin, end),
            batch=self.batch.take(torch.arange(begin, end, device=device)),
            state=self.state.part(begin, end),
            reached=self.reached[begin:end],
            at=self.at[begin:end],
        )
        returned = stage.run(piece)
        self.reached = torch.cat([self.reached[:begin], piece.reached, self.reached[end:]])
        self.at = torch.cat([self.at[:begin], piece.at, self.at[end:]])
        self.images = end
        return returned

    def end_of(self, stage: Stage, count: int) -> int:
        """Where a piece ends that begins here and has work for so many images of the stage."""
        rows = stage.takes(self.state)
        rows = rows[rows >= self.images]
        return int(rows[count]) if len(rows) > count else len(self.chunk.numbers)


class Stage(NamedTuple):
    """A part of the work on a chunk."""

    title: str
    run: Callable[[Work], int | None]
    """Does it; returns the number of the attack that is over with it, if one is."""
    takes: Callable[[ChunkState], Tensor]
    """The images that there is something to do for: their places, (M,)."""
