"""Ways to train, one a file: `(networks, batch, parameters) -> objective`.

All share one loop, which is not theirs. A recipe makes its adversarial examples at once, and its
objective, `() -> Step`, computes the loss on them whenever it is called. It leaves the student in
train mode, gives the teacher no gradient and moves nothing off the device. All images are in
[0, 1] and in one memory format, best channels-last, like the networks. What `pgd` refuses, they
refuse.
"""

from collections.abc import Mapping

from worker.agkd_bml.examples import TrainingAttack
from worker.agkd_bml.objective import Weights
from worker.recipes.agkd import agkd
from worker.recipes.agkd_bml import agkd_bml
from worker.recipes.awp import perturb
from worker.recipes.base import Batch, Networks, Objective, Parameters, Recipe, Step
from worker.recipes.bml import bml
from worker.recipes.clean import clean
from worker.recipes.mart import mart
from worker.recipes.pgd_at import pgd_at
from worker.recipes.rslad import rslad
from worker.recipes.sml import sml
from worker.recipes.trades import trades

RECIPES: Mapping[str, Recipe] = {
    "clean": clean,
    "pgd_at": pgd_at,
    "trades": trades,
    "mart": mart,
    "rslad": rslad,
    "sml": sml,
    "agkd": agkd,
    "bml": bml,
    "agkd_bml": agkd_bml,
}
"""Every recipe by the name that jobs give it."""

__all__ = [
    "RECIPES",
    "Batch",
    "Networks",
    "Objective",
    "Parameters",
    "Recipe",
    "Step",
    "TrainingAttack",
    "Weights",
    "perturb",
]
