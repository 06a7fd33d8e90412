"""A chunk at work before one model, in stages: after each of them another attempt can go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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

    def kept(self) -> dict[str, Any]:
        """What another attempt needs to go on from here, with its chunk: on the CPU, and of what
        later stages write to a copy.
        """
        places = {"reached": self.reached.cpu(), "at": self.at.cpu()}
        return {"state": self.state.state(), "done": self.done, **places}

    def go_on(self, kept: Mapping[str, Any]) -> None:
        """Be where an earlier attempt was when it kept this."""
        self.state.load(kept["state"])
        self.reached, self.at = (kept[name].to(self.reached) for name in ("reached", "at"))
        self.done = kept["done"]


class Stage(NamedTuple):
    """A part of the work on a chunk."""

    title: str
    run: Callable[[Work], int | None]
    """Does it; returns the number of the attack that is over with it, if one is."""
