"""The lab's version, and the commit it runs from where that can be told."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

VERSION = "0.1.0"


@lru_cache
def code_version() -> str:
    """`0.1.0+3f2a9c1`, with `.dirty` for uncommitted changes; `0.1.0` outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return VERSION
    return f"{VERSION}+{commit}{'.dirty' if changed else ''}"


def _git(root: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout.strip()
