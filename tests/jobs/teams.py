"""Steps of trainings in double precision, taken by one process or by several.

    python -m tests.jobs.teams PLAN FOLDER        as one of WORLD_SIZE processes

PLAN is a JSON list of trainings, the parameters of each that differ from the small ones here.
FOLDER gets a `report.json` of what the first process found.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from app.contracts.params import TrainParams
from worker.data import TensorSplit
from worker.jobs import stepping
from worker.jobs.stepping import Stepping
from worker.jobs.training_state import TrainingState, snapshot
from worker.jobs.validation import measure
from worker.models import Classifier, build
from worker.recipes import Networks
from worker.team import ALONE, Team

IMAGES, CLASSES, SIDE = 21, 3, 8
"""Two batches of 8 images in an epoch, and one of 5, which two processes share unevenly."""
STEPS = 4
SMALL = {
    "name": "x", "dataset": "0" * 32, "architecture": "wrn-10-1", "batch_size": 8, "epochs": 2,
    "steps": 2, "learning_rate": 0.02, "ema_decay": 0.5, "seed": 3,
}  # fmt: skip


def params_of(**changes: Any) -> TrainParams:
    teacher = {} if changes["recipe"] == "clean" else {"teacher": "1" * 32}
    return TrainParams.model_validate({**SMALL, **teacher, "start_from_teacher": False, **changes})


def images_of(seed: int, count: int) -> TensorSplit:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    return TensorSplit(images, torch.arange(count) % CLASSES, None)


def network(seed: int) -> Classifier:
    torch.manual_seed(seed)
    grey = (0.5, 0.5, 0.5)
    made = build("wrn-10-1", num_classes=CLASSES, mean=grey, std=grey, image_size=SIDE)
    return made.double()


def advance(params: TrainParams, team: Team, folder: Path, steps: int = STEPS) -> dict[str, Any]:
    """Go on from the folder's checkpoint, and leave another."""
    stepping.to_float = _to_double
    state = TrainingState.start(network(0), params, IMAGES)
    state.restore(folder)
    networks = Networks(
        student=state.model,
        teacher=network(1).eval().requires_grad_(False),
        dtype=None,
        seeing=team.seeing(state.model, synchronised=params.sync_batch_norm),
    )
    taken = Stepping(params, state, images_of(5, IMAGES), networks, print, team)
    last, told = state.steps + steps, []
    while state.steps < last:
        for indices in state.sampler:
            scalars = taken.step(indices, perturbs=params.perturbs_weights(state.sampler.epoch))
            told.append({name: float(value) for name, value in scalars.items()})
            if state.steps == last:
                break
    if team.leads:
        state.save(folder)
    return {"told": told, "sizes": _sizes(state), "draws": _draws(state)}


def _sizes(state: TrainingState) -> dict[str, float]:
    """How large the weights are, and their averages."""
    return {
        f"{which} {name}": float(value.double().norm())
        for which, model in (("model", state.model), ("average", state.measured))
        for name, value in snapshot(model).items()
    }


def _draws(state: TrainingState) -> list[int]:
    """What each generator would give next."""
    return [int(torch.randint(2**62, (), generator=g)) for g in state.generators.values()]


def _to_double(images: Tensor) -> Tensor:
    return images.double() / 255


def counts(team: Team) -> dict[str, tuple[int, int]]:
    """What a network of random weights gets right of held-out images, attacked and not."""
    params = params_of(recipe="pgd_at", epsilon="1/255")
    return measure(lambda: None, params, network(2).float().eval(), images_of(6, 50), team)


def main(plan: str, folder: Path) -> None:
    torch.set_num_threads(1)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    meeting = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    team = Team(rank, size)
    found: dict[str, Any] = {"counts": counts(team), "trainings": []}
    for number, changes in enumerate(json.loads(plan)):
        own = _made(folder / str(number))
        found["trainings"].append(advance(params_of(**changes), team, own))
    found["changing"] = _changing(team, _made(folder / "changing"))
    if team.leads:
        (folder / "report.json").write_text(json.dumps(found))
    dist.destroy_process_group()
    os._exit(0)  # as `worker.jobs.rank` ends, and for the same reason


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _changing(team: Team, folder: Path) -> list[dict[str, Any]]:
    """A training of all processes, of one, and of all again."""
    params, told = params_of(recipe="agkd_bml", processes=team.size), []
    for of in (team, ALONE, team):
        if of is team or team.leads:
            changed = params.model_copy(update={"processes": of.size})
            told += advance(changed, of, folder, steps=2)["told"]
        dist.barrier()
    return told


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
