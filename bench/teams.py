"""What it costs a training step that two processes take it together.

    python -m bench.teams [--rounds 7] [--images 64]      from the root of the repository
    python -m bench.teams --clock cpu                     where other work shares the machine

Two processes of one thread each take turns, within one run, at steps of AGKD-BML (WRN-10-2, three
attack steps): each on half a batch of its own, with nothing to exchange; the same halves as one
batch that they share; that with batch norms which see their own half alone; and one process the
whole batch, while the other waits. All begin and end each turn together. With `--clock cpu` all
seconds are those of the first process's processor, which neither other work nor waiting lengthens.

PASS: sharing a batch costs at most 10 % of the step over what two halves apart take. With one
process nothing of it is used: `torch.distributed` is not even set up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from app.contracts.params import TrainParams
from worker.data import TensorSplit
from worker.jobs.stepping import Stepping
from worker.jobs.training_state import TrainingState
from worker.memory import keep_freed_memory
from worker.models import Classifier, build
from worker.recipes import Networks
from worker.team import ALONE, Team

TARGET = 0.10
_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
APART, SHARED, OWN_NORMS, ONE = "halves apart", "shared", "shared, own batch norms", "one process"


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    options = _options()
    if "RANK" in os.environ:
        return _measure(options)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.teams", *sys.argv[1:], "--folder", folder]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        team = [
            subprocess.Popen(command, env={**environment, "RANK": str(rank)}) for rank in range(2)
        ]
        return max(each.wait() for each in team)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=64, help="of a whole batch")
    parser.add_argument("--clock", choices=_CLOCKS, default="wall")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    keep_freed_memory()
    rank, images, clock = int(os.environ["RANK"]), options.images, _CLOCKS[options.clock]
    meeting = f"file://{options.folder / 'store'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    team = Team(rank, 2)
    ways = {
        APART: _steps(ALONE, images // 2),
        SHARED: _steps(team, images),
        OWN_NORMS: _steps(team, images, sync_batch_norm=False),
        ONE: _steps(ALONE, images) if team.leads else lambda: None,
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(options.rounds + 1):  # the first one warms up
        for way, step in ways.items():
            dist.barrier()
            begin = clock()
            step()
            dist.barrier()
            if turn:
                seconds[way].append(clock() - begin)
    dist.destroy_process_group()
    return _say(seconds, images) if team.leads else 0


def _steps(team: Team, images: int, **changes: object) -> Callable[[], object]:
    values = {"name": "x", "dataset": "0" * 32, "teacher": "1" * 32, "recipe": "agkd_bml"}
    params = TrainParams.model_validate(
        {**values, "batch_size": images, "steps": 3, "epochs": 1000, **changes}
    )
    generator = torch.Generator().manual_seed(0)
    held = max(images, 100)  # of every class
    pixels = torch.randint(256, (held, 3, 32, 32), generator=generator, dtype=torch.uint8)
    split = TensorSplit(pixels, torch.arange(held) % 10, None)
    state = TrainingState.start(_network(), params, held)
    networks = Networks(
        student=state.model,
        teacher=_network().eval().requires_grad_(False),
        dtype=None,
        seeing=team.seeing(state.model, synchronised=params.sync_batch_norm),
    )
    stepping = Stepping(params, state, split, networks, print, team)
    return lambda: stepping.step(torch.arange(images), perturbs=False)


def _network() -> Classifier:
    torch.manual_seed(0)
    grey = (0.5, 0.5, 0.5)
    made = build("wrn-10-2", num_classes=10, mean=grey, std=grey, image_size=32)
    return made.to(memory_format=torch.channels_last)


def _say(seconds: dict[str, list[float]], images: int) -> int:
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    for way, each in seconds.items():
        ratio = medians[way] / medians[APART]
        print(
            f"{way:24} {medians[way]:6.3f} s a step of {images} images (n = {len(each)}, "
            f"{min(each):.3f} to {max(each):.3f}), {ratio:.2f} times halves apart"
        )
    speedup = medians[ONE] / medians[SHARED]
    print(f"two processes are {speedup:.2f} times as fast as one")
    cost = medians[SHARED] / medians[APART] - 1
    met = cost <= TARGET
    print(
        f"{'PASS' if met else 'MISS'} sharing costs {100 * cost:.1f} % (at most {100 * TARGET:.0f})"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
