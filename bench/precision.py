"""Whether training's fast attack is as strong as the precise one, on one model and its test images.

    python -m bench.precision                                 from the root of the repository
    python -m bench.precision --lab DATA_DIR --model ID --dataset ID

PGD-10 at 8/255 from the same random starts is made three ways: through the model itself in float32,
through its copy with folded batch norms, as a training step in float32 attacks, and through that
copy in bfloat16. What comes out is always classified by the model itself in float32. Without a
lab's model, a small one first learns the drawn shapes.

PASS: the robust accuracy under either fast attack lies within the 95 % interval of the precise one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from app.contracts.results import Accuracy
from bench.models import Trained, of_lab, of_shapes
from worker.attacks import Model, pgd
from worker.memory import keep_freed_memory
from worker.models import frozen

EPS, STEP_SIZE, STEPS, BATCH = 8 / 255, 2 / 255, 10, 250
PRECISE = "the model itself"


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--lab", type=Path, help="a lab's data folder; it is only read")
    parser.add_argument("--model", help="id of a model there")
    parser.add_argument("--dataset", help="id of a dataset there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        trained = (
            of_shapes(Path(folder))
            if options.lab is None
            else of_lab(Path(folder), options.lab, options.model, options.dataset)
        )
        survives = survivors(trained, options.images)
    print(f"{trained.title}: PGD-{STEPS} at 8/255, torch {torch.__version__}")
    accuracy = {name: Accuracy.of(int(right.sum()), len(right)) for name, right in survives.items()}
    for name, found in accuracy.items():
        others = int((survives[name] != survives[PRECISE]).sum())
        print(
            f"{name:>16}: {found.value:.1%} ({found.low:.1%} to {found.high:.1%}), n = {found.n}; "
            f"{others} images fare otherwise"
        )
    precise = accuracy[PRECISE]
    met = all(precise.low <= found.value <= precise.high for found in accuracy.values())
    furthest = max(abs(found.value - precise.value) for found in accuracy.values())
    print(
        f"{'PASS' if met else 'MISS'} precision: robust accuracy moves by {100 * furthest:.1f} "
        f"points at most, target within {precise.low:.1%} to {precise.high:.1%}"
    )
    return 0 if met else 1


def survivors(trained: Trained, images: int) -> dict[str, Tensor]:
    """Whether each image is still classified rightly, (N,) bool, by how the attack was made."""
    model = trained.model().to(memory_format=torch.channels_last)
    x, y = (part[:images] for part in trained.images())
    routes: dict[str, Model] = {
        PRECISE: model,
        "folded, float32": frozen(model, dtype=None),
        "folded, bfloat16": frozen(model, dtype=torch.bfloat16),
    }
    right: dict[str, list[Tensor]] = {name: [] for name in routes}
    for number, (batch, classes) in enumerate(
        zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True)
    ):
        for name, route in routes.items():
            x_adv = attacked(route, batch, classes, torch.Generator().manual_seed(number))
            with torch.no_grad():
                right[name].append(model(x_adv).argmax(dim=1) == classes)
    return {name: torch.cat(parts) for name, parts in right.items()}


def attacked(model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """The last iterate, (N, 3, H, W): the one that a training step learns from."""
    return pgd(
        model,
        x,
        y,
        eps=EPS,
        step_size=STEP_SIZE,
        steps=STEPS,
        norm="linf",
        targeted=False,
        random_start=True,
        generator=generator,
    )


if __name__ == "__main__":
    sys.exit(main())
