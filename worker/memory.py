"""Keep freed memory in the process, so that tensors of every step reuse the same pages."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of malloc.h


def keep_freed_memory() -> None:
    """Make glibc's malloc neither map large blocks one by one nor give freed ones back.

    By default each tensor of more than 32 MB is a mapping of its own, and every use of a fresh one
    faults page by page: on two cores that took half of the time of a training step. Elsewhere than
    on glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 2**27)
