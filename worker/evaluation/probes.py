"""What a small part of the images shows about an evaluation, in raw runs."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from app.contracts.params import Method
from worker.attacks import Model, Norm
from worker.attacks.walks import Steps
from worker.evaluation.adaptive import Seeing
from worker.evaluation.evidence import Probe


def probe(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    how: Steps,
    eps: float,
    norm: Norm,
    seed: int,
    standing: Tensor,
    blind: Collection[Method],
    seeing: Seeing | None,
    reference: Seeing | None,
    teacher: Model | None,
    batch_size: int,
) -> Probe:
    """Try on a few images what the run over all of them cannot tell.

    Args:
        model: the model under test in eval mode; images in [0, 1] -> logits (N, K).
        x, y: about 100 to 128 images (N, C, H, W) of the run and their classes (N,), int64; those
            that are wrong when clean included.
        how: the main attack.
        eps: budget of the threat model, in units of [0, 1].
        seed: of random starts and of the black-box attacks.
        standing: (N,) bool, images that no attack of the run broke.
        blind: black-box and adaptive methods that the run did not take, to be tried here on the
            images that stand: of `noise`, `square`, `transfer`, `hop_skip_jump`, `adaptive`.
        seeing: the same model where it shows its features, for the adaptive attack; None: none.
        reference: the model whose maps of the clean images the adaptive attack leaves; None: the
            model's own maps.
        teacher: the undefended teacher, for its own accuracy under attack and as the source of
            transfer; None: not known, or the model itself.
        batch_size: images attacked at once.

    Raises:
        ValueError: no images, or arguments that the attacks refuse.
    """
    raise NotImplementedError
