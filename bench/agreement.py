"""Whether the lab's attacks break as much as those of four independent libraries.

    python -m bench.agreement [--lab FOLDER --model ID --dataset ID] [--images 100]

from the root of the repository. It attacks a model of a lab, whose folder it only reads, or else a
small one that it first trains, for minutes, on shapes that are drawn here.

Linf, ε = 8/255. Each attack runs alone on all images that the model classifies correctly, first the
lab's, then each library's, batch by batch in turns, with the same steps, targets and queries:

- PGD-20 and CW (PGD-20 on the margin of logits): step 2/255, from the image itself, so that no side
  is luckier with its start. torchattacks has PGD alone; the margin is given to foolbox and ART.
- APGD-CE, APGD-T, FAB-T, Square: of pyautoattack and torchattacks; ART has APGD-CE. ART's Square is
  left out: it stretches its schedule to the queries allowed, which AutoAttack's does not.
- AutoAttack: worst case of the last four, image by image.

Every side is judged alike: an image is broken if the model errs on what came back, which must be in
the ball (to 1e-6) and in [0, 1].

PASS: for every attack and library, the lab's robust accuracy lies in the library's 95 % interval,
and is higher by at most 0.5 points.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import art.attacks.evasion as art_attacks
import foolbox
import numpy as np
import torch
import torchattacks
from art.estimators.classification import PyTorchClassifier
from eagerpy.astensor import astensor
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from app.contracts.results import Accuracy
from bench.models import of_lab, of_shapes
from worker.attacks import Steps, iterate, iterative
from worker.attacks.apgd import apgd_restarts, apgd_targeted
from worker.attacks.fab import fab_targeted
from worker.attacks.iterative import IterativeAttack
from worker.attacks.losses import margin
from worker.attacks.square import square
from worker.models import Classifier

EPS, STEP, PGD_STEPS, TARGETS, SEED = 8 / 255, 2 / 255, 20, 9, 0
MOST_ABOVE = 0.005
PARTS = ("APGD-CE", "APGD-T", "FAB-T", "Square")

Attack = Callable[[Tensor, Tensor], Tensor]
"""Images (N, C, H, W) and their classes (N,) -> perturbed images."""


class Side(NamedTuple):
    """One attack by one library, and what it did so far."""

    attack: str
    library: str
    run: Attack
    broken: list[Tensor]
    seconds: list[float]


def main() -> int:
    """Prints the figures; 0 if the targets are met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lab", type=Path, help="data folder of a lab that has the model")
    parser.add_argument("--model", help="its id")
    parser.add_argument("--dataset", help="the id of the dataset, for its test images")
    parser.add_argument("--images", type=int, default=100, help="test images")
    parser.add_argument("--batch", type=int, default=50, help="images attacked at once")
    parser.add_argument("--iterations", type=int, default=100, help="of APGD and FAB")
    parser.add_argument("--queries", type=int, default=1000, help="of Square")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--attacks", nargs="*", default=("PGD-20", "CW", *PARTS))
    options = parser.parse_args()
    if len({option is None for option in (options.lab, options.model, options.dataset)}) > 1:
        parser.error("--lab, --model and --dataset go together")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        if options.lab is None:
            target_model = of_shapes(Path(folder))
        else:
            target_model = of_lab(Path(folder), options.lab, options.model, options.dataset)
        model, (x, y) = target_model.model(), target_model.images()
        x, y = x[: options.images].contiguous(), y[: options.images]
        with torch.no_grad():
            standing = model(x).argmax(dim=1) == y
        sides = [side for side in every_side(model, options) if side.attack in options.attacks]
        for rows in standing.nonzero().squeeze(1).split(options.batch):
            for side in sides:
                take(side, model, x[rows], y[rows])
    print(
        f"Linf, eps 8/255, {target_model.title}, n = {len(x)}, clean accuracy "
        f"{shown(int(standing.sum()), len(x))}; {options.iterations} iterations, "
        f"{min(TARGETS, target_model.classes - 1)} targets, {options.queries} queries; "
        f"torch {torch.__version__}, {options.threads} threads"
    )
    return report(sides, len(x))


def take(side: Side, model: Classifier, x: Tensor, y: Tensor) -> None:
    """Run a side on a batch and judge what comes back."""
    begin = time.perf_counter()
    x_adv = side.run(x, y).detach()
    side.seconds.append(time.perf_counter() - begin)
    with torch.no_grad():
        wrong = model(x_adv).argmax(dim=1) != y
    inside = (x_adv - x).abs().flatten(1).amax(dim=1) <= EPS + 1e-6
    in_range = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)
    side.broken.append(wrong & inside & in_range)


def every_side(model: Classifier, options: argparse.Namespace) -> list[Side]:
    """All attacks of all libraries, the lab's first."""
    iterations, queries = options.iterations, options.queries
    found = [
        *of_the_lab(model, iterations, queries),
        *of_pyautoattack(model, iterations, queries),
        *of_torchattacks(model, iterations, queries),
        *of_foolbox(model),
        *of_art(model, iterations, options.batch),
    ]
    order = ("PGD-20", "CW", *PARTS)
    return sorted(
        (Side(attack, library, run, [], []) for attack, library, run in found),
        key=lambda side: order.index(side.attack),
    )


Found = list[tuple[str, str, Attack]]


def of_the_lab(model: Classifier, iterations: int, queries: int) -> Found:
    def steps(attack: IterativeAttack, x: Tensor, y: Tensor) -> Tensor:
        how = Steps(attack, steps=PGD_STEPS, relative_step=0.25, random_start=False)
        return iterate(model, x, y, how=how, eps=EPS, norm="linf", noise=None).x_adv

    common: dict[str, Any] = {"eps": EPS, "norm": "linf", "seed": SEED}
    aimed = common | {"steps": iterations, "targets": TARGETS}

    def squares(x: Tensor, y: Tensor) -> Tensor:
        return square(model, x, y, queries=queries, **common).x_adv

    return [
        ("PGD-20", "lab", partial(steps, iterative.PGD)),
        ("CW", "lab", partial(steps, iterative.CW)),
        ("APGD-CE", "lab", partial(apgd_restarts, model, steps=iterations, restarts=1, **common)),
        ("APGD-T", "lab", partial(apgd_targeted, model, **aimed)),
        ("FAB-T", "lab", partial(fab_targeted, model, **aimed)),
        ("Square", "lab", squares),
    ]


def of_pyautoattack(model: Classifier, iterations: int, queries: int) -> Found:
    common: dict[str, Any] = {"norm": "Linf", "eps": EPS, "seed": SEED, "device": "cpu"}
    aimed = common | {"n_iter": iterations, "n_target_classes": targets(model)}
    squares = SquareAttack(model, n_queries=queries, resc_schedule=False, **common)
    return [
        ("APGD-CE", "pyautoattack", APGDAttack(model, n_iter=iterations, **common).perturb),
        ("APGD-T", "pyautoattack", APGDAttack_targeted(model, **aimed).perturb),
        ("FAB-T", "pyautoattack", FABAttack_PT(model, targeted=True, **aimed).perturb),
        ("Square", "pyautoattack", squares.perturb),
    ]


def of_torchattacks(model: Classifier, iterations: int, queries: int) -> Found:
    common: dict[str, Any] = {"norm": "Linf", "eps": EPS, "seed": SEED}
    aimed = common | {"steps": iterations, "n_classes": targets(model) + 1}
    squares = torchattacks.Square(model, n_queries=queries, resc_schedule=False, **common)
    plain = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=PGD_STEPS, random_start=False)
    return [
        ("PGD-20", "torchattacks", plain),
        ("APGD-CE", "torchattacks", torchattacks.APGD(model, steps=iterations, **common)),
        ("APGD-T", "torchattacks", torchattacks.APGDT(model, **aimed)),
        ("FAB-T", "torchattacks", torchattacks.FAB(model, multi_targeted=True, **aimed)),
        ("Square", "torchattacks", squares),
    ]


def of_foolbox(model: Classifier) -> Found:
    class OnTheMargin(foolbox.attacks.LinfPGD):
        def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
            return lambda inputs: astensor(margin(model(inputs).raw, labels.raw).sum())

    wrapped = foolbox.models.pytorch.PyTorchModel(model, bounds=(0, 1), device="cpu")
    settings: dict[str, Any] = {"abs_stepsize": STEP, "steps": PGD_STEPS, "random_start": False}

    def run(attack: Any, x: Tensor, y: Tensor) -> Tensor:
        _, clipped, _ = attack(wrapped, x, y, epsilons=EPS)
        found: Tensor = clipped
        return found

    return [
        ("PGD-20", "foolbox", partial(run, foolbox.attacks.LinfPGD(**settings))),
        ("CW", "foolbox", partial(run, OnTheMargin(**settings))),
    ]


def of_art(model: Classifier, iterations: int, batch: int) -> Found:
    class Margin(nn.Module):
        reduction = "mean"

        def forward(self, logits: Tensor, y: Tensor) -> Tensor:
            return margin(logits, y.argmax(dim=1)).mean()  # ART hands over one-hot rows

    def estimator(loss: nn.Module) -> PyTorchClassifier:
        return PyTorchClassifier(
            model, loss, input_shape=(3, 32, 32), nb_classes=targets(model) + 1, clip_values=(0, 1),
            device_type="cpu",
        )  # fmt: skip

    def run(attack: Any, x: Tensor, y: Tensor) -> Tensor:
        np.random.seed(SEED)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    common: dict[str, Any] = {"norm": np.inf, "eps": EPS, "batch_size": batch, "verbose": False}
    steps = common | {"eps_step": STEP, "max_iter": PGD_STEPS, "num_random_init": 0}
    by_entropy, by_margin = estimator(nn.CrossEntropyLoss()), estimator(Margin())
    auto = art_attacks.AutoProjectedGradientDescent(
        by_entropy, eps_step=2 * EPS, max_iter=iterations, nb_random_init=1,
        loss_type="cross_entropy", **common,
    )  # fmt: skip
    pgd_20 = art_attacks.ProjectedGradientDescent(by_entropy, **steps)
    cw = art_attacks.ProjectedGradientDescent(by_margin, **steps)
    return [
        ("PGD-20", "ART", partial(run, pgd_20)),
        ("CW", "ART", partial(run, cw)),
        ("APGD-CE", "ART", partial(run, auto)),
    ]


def targets(model: Classifier) -> int:
    """Classes that an image may be moved to, at most nine."""
    with torch.no_grad():
        classes: int = model(torch.zeros(1, 3, 32, 32)).shape[1]
    return min(TARGETS, classes - 1)


def report(sides: list[Side], n: int) -> int:
    """The table and the last line; 0 if every comparison is met."""
    broken: dict[tuple[str, str], Tensor] = {
        (side.attack, side.library): torch.cat(side.broken) for side in sides
    }
    seconds = {(side.attack, side.library): sum(side.seconds) for side in sides}
    for library in dict.fromkeys(side.library for side in sides):
        parts = [broken[part, library] for part in PARTS if (part, library) in broken]
        if len(parts) == len(PARTS):
            broken["AutoAttack", library] = torch.stack(parts).any(dim=0)
            seconds["AutoAttack", library] = sum(seconds[part, library] for part in PARTS)
    print(
        f"{'attack':<11} {'library':<13} {'robust accuracy':<24} {'lab above':>10} {'seconds':>8}"
    )
    worst, met = -1.0, True
    for (attack, library), mask in broken.items():
        theirs = Accuracy.of(len(mask) - int(mask.sum()), n)
        mine = Accuracy.of(len(mask) - int(broken[attack, "lab"].sum()), n)
        above = mine.value - theirs.value
        worst = max(worst, above)
        met &= above <= MOST_ABOVE and theirs.low <= mine.value <= theirs.high
        print(
            f"{attack:<11} {library:<13} {shown(theirs.correct, n):<24} "
            f"{'' if library == 'lab' else f'{100 * above:+.1f}':>10} "
            f"{seconds[attack, library]:8.1f}"
        )
    print(
        f"{'PASS' if met else 'MISS'} agreement: at most {100 * worst:+.1f} points above a library,"
        f" target at most {100 * MOST_ABOVE:+.1f} and inside its 95 % interval"
    )
    return 0 if met else 1


def shown(correct: int, n: int) -> str:
    """As percent with its 95 % interval."""
    share = Accuracy.of(correct, n)
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


if __name__ == "__main__":
    sys.exit(main())
