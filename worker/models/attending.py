"""Vision transformers with a class token (Dosovitskiy et al., ICLR 2021): where the token looks."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn


def attends(network: nn.Module) -> bool:
    """Whether a class token of timm's network decides, and its attention can be read."""
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.Sequential) or len(blocks) == 0:
        return False
    attention = getattr(blocks[-1], "attn", None)
    return (
        getattr(network, "global_pool", None) == "token"
        and getattr(network, "num_prefix_tokens", 0) > 0
        and isinstance(getattr(network, "norm", None), nn.Module)
        and hasattr(attention, "attn_drop")
        and hasattr(attention, "fused_attn")
    )


class _Glance:
    """What is to be read of a pass through the last block, and what is to be put into it."""

    def __init__(self, given: Tensor | None) -> None:
        self.given = given
        self.tokens: Tensor | None = None
        self.attention: Tensor | None = None


_glance: ContextVar[_Glance | None] = ContextVar("glance", default=None)
"""Of this thread: others may be on their way through the same network."""


class _ClassRow(nn.Module):
    """Stands where attention, (N, heads, T, T) after its softmax, is dropped out at random."""

    def __init__(self, dropout: nn.Module, prefix: int) -> None:
        super().__init__()
        self.dropout, self._prefix = dropout, prefix

    def forward(self, attention: Tensor) -> Tensor:
        glance = _glance.get()
        if glance is not None:
            if glance.given is not None:
                attention = attention.clone()
                attention[:, :, 0, self._prefix :] = glance.given
            glance.attention = attention[:, :, 0, self._prefix :]
        dropped: Tensor = self.dropout(attention)
        return dropped


class ClassTokenBody(nn.Module):
    """A transformer of timm without its head, and the attention of its class token."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        last = network.blocks[-1]
        last.attn.fused_attn = False  # which never has the attention itself
        last.attn.attn_drop = _ClassRow(last.attn.attn_drop, network.num_prefix_tokens)
        last.register_forward_pre_hook(_keep_tokens)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images (N, 3, H, W) -> the class token's attention to each patch in the last
        block, (N, heads, h, w), the tokens that enter that block, (N, T, C), and the pooled
        features, (N, D)."""
        height, width = (
            side // patch
            for side, patch in zip(x.shape[2:], self.network.patch_embed.patch_size, strict=True)
        )
        row, tokens, pooled = self._seen(None, lambda: self.network(x))
        return row.view(*row.shape[:2], height, width), tokens, pooled

    def last_block(self, tokens: Tensor, attention: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of the last block alone, with the class token's attention as it is given."""
        network = self.network
        _, _, pooled = self._seen(
            attention.flatten(2),
            lambda: network.forward_head(network.norm(network.blocks[-1](tokens))),
        )
        return attention, tokens, pooled

    def _seen(self, given: Tensor | None, run: Any) -> tuple[Tensor, Tensor, Tensor]:
        glance = _Glance(given)
        before = _glance.set(glance)
        try:
            pooled = run()
        finally:
            _glance.reset(before)
        assert glance.attention is not None
        assert glance.tokens is not None
        return glance.attention, glance.tokens, pooled


def _keep_tokens(_: nn.Module, arguments: tuple[Any, ...]) -> None:
    glance = _glance.get()
    if glance is not None:
        glance.tokens = arguments[0]
