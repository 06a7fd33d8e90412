"""The images that an evaluation shows of a model: the worst of every class, flipped and standing.

What is bad is measured: the smallest budget that was found to break the image; where that is the
same, by how much the model prefers the true class to the strongest other one on the image that the
attacks left. Only the worst are kept while chunks go by, and maps are made of
these alone. A place is taken by the worst image of each class before any class has a second one,
so that what is kept never depends on how the images were batched.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.results import Gallery, GalleryImage, Look, Looks
from app.contracts.results.gallery import MOST_PIXELS, share_of
from worker.agkd_bml.attention import attention_map
from worker.evaluation.attention import on_grid
from worker.evaluation.outcomes import STANDS, WRONG, ChunkState
from worker.evaluation.target import Chunk, TargetModel
from worker.models import AnyModel, BlackBox
from worker.pictures import png

_MAP_SIDE, _DECIMALS, _OF_BUDGETS = 16, 3, 5


class _Candidate(NamedTuple):
    least: float
    """Infinite where no budget broke it; rounded, as batches round otherwise."""
    lead: float
    number: int
    label: int
    broken_by: int
    x: Tensor
    """(3, H, W) in [0, 1], as is the next one."""
    x_adv: Tensor


class Candidates:
    """The worst flipped and the worst standing images of one model so far."""

    def __init__(self, target_model: TargetModel, models: int) -> None:
        """`models`: among how many an evaluation divides its places."""
        self._target_model, self._most = target_model, share_of(models)
        self._flipped: list[_Candidate] = []
        self._standing: list[_Candidate] = []
        self._seen: Counter[bool] = Counter()

    @property
    def passes(self) -> float:
        """What it takes an image at most, in passes forward and backward."""
        return 1 / 3

    def add(self, chunk: Chunk, state: ChunkState) -> None:
        """Look at a chunk that every attack is done with."""
        rows = (state.broken_by != WRONG).nonzero().squeeze(1)
        if len(rows) == 0:
            return
        leads = _leads(self._target_model.model, state.x_adv[rows], chunk.y[rows])
        for row, lead in zip(rows.tolist(), leads, strict=True):
            found = _Candidate(
                least=round(float(state.upper[row]), _OF_BUDGETS),
                lead=round(lead, _DECIMALS),
                number=chunk.numbers[row],
                label=int(chunk.y[row]),
                broken_by=int(state.broken_by[row]),
                x=chunk.x[row],
                x_adv=state.x_adv[row],
            )
            stands = found.broken_by == STANDS
            self._seen[stands] += 1
            (self._standing if stands else self._flipped).append(found)
        self._flipped, self._standing = (
            _worst(each, self._most) for each in (self._flipped, self._standing)
        )

    def state(self) -> dict[str, Any]:
        """The worst so far, for `load`."""
        flipped, standing = (
            [one._replace(x=one.x.cpu(), x_adv=one.x_adv.cpu())._asdict() for one in kind]
            for kind in (self._flipped, self._standing)
        )
        seen = (self._seen[False], self._seen[True])
        return {"flipped": flipped, "standing": standing, "seen": seen}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take in a `state`, of other images, with these where the model takes them."""
        flipped, standing = (
            [
                _Candidate(**{**one, "x": one["x"].to(device), "x_adv": one["x_adv"].to(device)})
                for one in state[kind]
            ]
            for kind in ("flipped", "standing")
        )
        self._flipped = _worst([*self._flipped, *flipped], self._most)
        self._standing = _worst([*self._standing, *standing], self._most)
        self._seen.update(dict(zip((False, True), state["seen"], strict=True)))

    def gallery(self) -> Gallery:
        """Half of the places for either kind, as far as there are so many of it."""
        half = -(-self._most // 2)
        flipped = max(half, self._most - len(self._standing))
        chosen = _worst(self._flipped, flipped)
        chosen += _worst(self._standing, self._most - len(chosen))
        ordered = sorted(chosen, key=_badness)
        return Gallery(
            images=tuple(_pictured(self._target_model, ordered)),
            of_flipped=self._seen[False],
            of_standing=self._seen[True],
        )


def _badness(one: _Candidate) -> tuple[float, float, int]:
    return one.least, one.lead, one.number


def _worst(found: Sequence[_Candidate], most: int) -> list[_Candidate]:
    """The first of every class, then the second ones, and so on; copies of what is kept."""
    rank: Counter[int] = Counter()
    ranked = []
    for one in sorted(found, key=_badness):
        ranked.append((rank[one.label], _badness(one), one))
        rank[one.label] += 1
    kept = [one for _, _, one in sorted(ranked, key=lambda entry: entry[:2])[:most]]
    # A row of a chunk would hold all of the chunk in memory.
    return [one._replace(x=one.x.clone(), x_adv=one.x_adv.clone()) for one in kept]


@torch.no_grad()
def _leads(model: AnyModel, x_adv: Tensor, y: Tensor) -> list[float]:
    """p(true class) - max of the others, image by image; -1 where the answer is no number."""
    shares = model(x_adv).softmax(dim=1)
    true = shares.gather(1, y[:, None])[:, 0]
    others = shares.scatter(1, y[:, None], -1.0).amax(dim=1)
    leads: list[float] = (true - others).nan_to_num(-1.0).tolist()
    return leads


def _pictured(target: TargetModel, chosen: Sequence[_Candidate]) -> list[GalleryImage]:
    if not chosen:
        return []
    x, x_adv = (torch.stack([getattr(c, part) for c in chosen]) for part in ("x", "x_adv"))
    own = _looks(target.model, x, x_adv)
    teachers = [None] * len(chosen) if target.teacher is None else _looks(target.teacher, x, x_adv)
    return [
        GalleryImage(
            number=one.number,
            label=one.label,
            broken_by=one.broken_by,
            least=one.least if math.isfinite(one.least) else None,
            lead=one.lead,
            clean_png=_picture(one.x),
            adversarial_png=_picture(one.x_adv),
            model=looks,
            teacher=teacher,
        )
        for one, looks, teacher in zip(chosen, own, teachers, strict=True)
    ]


def _looks(model: AnyModel, x: Tensor, x_adv: Tensor) -> list[Looks]:
    pairs = zip(_look(model, x), _look(model, x_adv), strict=True)
    return [Looks(clean=clean, adversarial=adversarial) for clean, adversarial in pairs]


@torch.no_grad()
def _look(model: AnyModel, x: Tensor) -> list[Look]:
    if isinstance(model, BlackBox):
        logits, grids = model(x), x.new_zeros(len(x), 0, 0)
    else:
        outputs = model.outputs(x)
        logits, grids = outputs.logits, _grids(outputs.features)
    probability, prediction = logits.softmax(dim=1).nan_to_num(0.0).max(dim=1)
    return [
        Look(prediction=k, probability=p, attention=tuple(map(tuple, rows)))
        for k, p, rows in zip(
            prediction.tolist(), _rounded(probability), _rounded(grids), strict=True
        )
    ]


def _grids(features: Tensor) -> Tensor:
    """Attention maps of a page's size, (N, h, w), of features (N, C, H, W)."""
    maps = attention_map(features).nan_to_num(0.0)
    height, width = (min(side, _MAP_SIDE) for side in maps.shape[1:])
    return on_grid(maps, torch.Size((height, width))).clamp(0, 1)


def _rounded(values: Tensor) -> list[Any]:
    found: list[Any] = np.round(values.double().cpu().numpy(), _DECIMALS).tolist()
    return found


def _picture(x: Tensor) -> str:
    """(3, H, W) in [0, 1] as a PNG of at most `MOST_PIXELS` a side."""
    side = max(x.shape[1:])
    if side > MOST_PIXELS:
        scale = MOST_PIXELS / side
        x = F.interpolate(x[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8)
    return png(pixels.permute(1, 2, 0).cpu().numpy())
