"""Wide residual networks, WRN-d-k (Zagoruyko & Komodakis, BMVC 2016, arXiv 1605.07146)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from worker.models.base import Classifier
from worker.models.preactivation import preactivation_body, published_names


def blocks_of(depth: int, widen_factor: int) -> int:
    """How many blocks a stage of a WRN-d-k has. Raises ValueError where there is none such."""
    if depth < 10 or (depth - 4) % 6 != 0:
        raise ValueError(f"a Wide ResNet's depth is 10, 16, 22, 28, 34, ... and not {depth}")
    if widen_factor < 1:
        raise ValueError(f"a Wide ResNet's width is at least 1, not {widen_factor}")
    return (depth - 4) // 6


class WideResNet(Classifier):
    """WRN-d-k without dropout: three stages of (d - 4) / 6 blocks, 16k, 32k and 64k channels wide.

    Args:
        depth: d, with d - 4 a positive multiple of 6.
        widen_factor: k, at least 1.

    Raises:
        ValueError: no such depth or width.
    """

    unused: ClassVar[tuple[str, ...]] = ("sub_block1.",)
    """A second first stage in the code of TRADES (Zhang et al., ICML 2019) and its heirs."""

    def __init__(
        self,
        *,
        depth: int,
        widen_factor: int,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self._blocks = blocks_of(depth, widen_factor)
        widths = [16 * widen_factor, 32 * widen_factor, 64 * widen_factor]
        super().__init__(
            body=preactivation_body(stem=16, widths=widths, blocks=self._blocks),
            feature_dim=widths[-1],
            num_classes=num_classes,
            mean=mean,
            std=std,
        )

    def published_names(self) -> dict[str, str]:
        """Those of github.com/xternalz/WideResNet-pytorch, which most published WRNs go back to."""
        return published_names(
            self.state_dict(),
            blocks=self._blocks,
            block="block{stage}.layer.{index}",
            shortcut="convShortcut",
            norm="bn1",
            head="fc",
        )
