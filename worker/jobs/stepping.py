"""One optimiser step, from the places of its images to the weights; on a GPU as a CUDA graph.

Nothing in a step waits for the device. There, the whole of it up to the gradient is recorded once
its kernels are warm, and replayed for every further batch of the same size
(`worker.jobs.replaying`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import Direction, TrainParams
from worker.data import TensorSplit
from worker.data.augment import random_crop_flip, to_float
from worker.data.sampling import ClassIndex
from worker.jobs import fitting, replaying
from worker.jobs.training_state import TrainingState
from worker.recipes import (
    RECIPES,
    Batch,
    Networks,
    Parameters,
    Step,
    TrainingAttack,
    Weights,
    perturb,
)
from worker.team import ALL, ALONE, Share, Team

_AHEAD = 2
"""Steps that may wait on the device; a graph is launched so fast that thousands would."""


class _Descent(NamedTuple):
    """What a batch leaves beside the gradients of the student's weights."""

    scalars: dict[str, Tensor]
    """The loss, its terms, and accuracies in train mode, on the device."""
    restore: Callable[[], None] | None
    """Takes a perturbation off the weights again."""


class Stepping:
    """The steps of one run, which `state` remembers."""

    def __init__(
        self,
        params: TrainParams,
        state: TrainingState,
        train: TensorSplit,
        networks: Networks,
        warn: Callable[[str], None],
        team: Team = ALONE,
    ) -> None:
        """`warn` is told where a step cannot be recorded, which costs nothing but speed.

        In a `team` every process is given the same batches, and takes its share of each.
        """
        self._params, self._state, self._train, self._networks = params, state, train, networks
        self._parameters = parameters_of(params)
        self._by_class = ClassIndex(train.labels)
        self._warn, self._team = warn, team
        self._records = replaying.is_possible(train.labels.device)
        if self._records and team.size > 1:
            self._record_no_more("several processes take them")
        self._where = train.labels.new_zeros(params.batch_size)
        self._graphs: dict[bool, Callable[[], _Descent]] = {}
        self._warm: dict[bool, int] = {}
        self._unfinished: deque[torch.cuda.Event] = deque()

    @property
    def taken(self) -> int:
        """Steps of the run, those of earlier attempts among them."""
        return self._state.steps

    def step(self, indices: Tensor, *, perturbs: bool) -> dict[str, Tensor]:
        """One step with the training images at `indices`, (B,) on the CPU.

        Returns the loss, its terms, and accuracies in train mode: scalars on the device, good until
        the next step. `perturbs`: whether by adversarial weight perturbation.
        """
        if self._records and len(indices) == len(self._where):
            self._where.copy_(indices, non_blocking=True)
            descent = self._graph(perturbs)()
        else:
            share = self._team.share(len(indices))
            where = share.of(indices).to(self._train.labels.device, non_blocking=True)
            descent = self._descend(where, perturbs, share)
        if not self._params.sync_batch_norm:
            self._team.even_out(self._state.model)
        self._state.advance(descent.restore)
        self._keep_near()
        return descent.scalars

    def _graph(self, perturbs: bool) -> Callable[[], _Descent]:
        """What a full batch is done by: as ever while it warms up, then its recording."""
        work = partial(self._descend, self._where, perturbs)
        warm = self._warm.get(perturbs, 0)
        if warm < replaying.WARM_UPS:
            self._warm[perturbs] = warm + 1
            return partial(replaying.aside, work)
        if perturbs not in self._graphs:
            try:
                generators = self._state.generators.values()
                self._graphs[perturbs] = replaying.recorded(work, generators)
            except RuntimeError as error:
                if fitting.is_out_of_memory(error):
                    raise
                self._record_no_more(error)
                return work
        return self._graphs[perturbs]

    def _record_no_more(self, why: object) -> None:
        self._records = False
        self._warn(f"Steps are not recorded as a CUDA graph, and slower: {why}"[:500])

    def _descend(self, where: Tensor, perturbs: bool, share: Share = ALL) -> _Descent:
        """The gradient of the loss on the images at `where`, on the device."""
        state, params = self._state, self._params
        y = self._train.labels[where]
        batch = Batch(
            x=self._augmented(where, share),
            y=y,
            draw_prime=partial(self._draw_prime, share=share),
            generator=state.generators["attack"],
            share=share,
        )
        objective = RECIPES[params.recipe](self._networks, batch, self._parameters)
        gamma = params.awp_gamma
        restore = perturb(state.model, objective, gamma=gamma, share=share) if perturbs else None
        taken = objective()
        # Kept and not dropped: a recording goes on writing where the gradients were.
        state.optimizer.zero_grad(set_to_none=False)
        torch.autograd.backward(share.weighed(taken.loss))
        return _Descent(_scalars(taken, y, share), restore)

    def _draw_prime(self, classes: Tensor, share: Share) -> Tensor:
        generator = self._state.generators["classes"]
        return self._augmented(self._by_class.draw(classes, generator, share), share)

    def _augmented(self, where: Tensor, share: Share) -> Tensor:
        images, generator = self._train.images[where], self._state.generators["augmentation"]
        if self._params.augment:
            images = random_crop_flip(images, generator=generator, share=share)
        return to_float(images)

    def _keep_near(self) -> None:
        """Wait until the device is at most a few steps behind; it is never without work."""
        if self._train.labels.device.type != "cuda":
            return
        if len(self._unfinished) == _AHEAD:
            self._unfinished.popleft().synchronize()
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        self._unfinished.append(done)


def parameters_of(params: TrainParams) -> Parameters:
    """The parameters as recipes read them."""
    reads = params.recipe.record.parameters
    has_mart = params.mart if "mart" in reads else "mart_beta" in reads
    return Parameters(
        attack=TrainingAttack(eps=params.epsilon, step_size=params.step_size, steps=params.steps),
        weights=Weights(
            smoothing=params.label_smoothing,
            mart_beta=params.mart_beta if has_mart else None,
            agkd_weight=params.agkd_weight,
            bml_weight=params.bml_weight,
            margin=params.margin,
            mu=params.mu,
        ),
        trades_beta=params.trades_beta,
        towards_confusing=params.direction is Direction.CONFUSING,
    )


def _scalars(step: Step, y: Tensor, share: Share) -> dict[str, Tensor]:
    """What is averaged over steps: the loss, its terms, and accuracies in train mode, of the whole
    batch."""
    seen = {"train_clean": step.clean, "train_robust": step.adversarial}
    shares = {
        name: (logits.detach().argmax(dim=1) == y).float().mean()
        for name, logits in seen.items()
        if logits is not None
    }
    terms = {name: value.detach() for name, value in step.terms.items()}
    here = {"loss": step.loss.detach()} | terms | shares
    whole = share.averaged([share.weighed(mean) for mean in here.values()])
    return dict(zip(here, whole, strict=True))
