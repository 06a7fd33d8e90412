"""Where bfloat16 is faster: on devices that compute it natively."""

from __future__ import annotations

import torch


def bfloat16_is_native(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware, instead of by way of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(feature)) for feature in ("amx_bf16", "avx512_bf16", "bf16"))
