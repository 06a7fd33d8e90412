"""Lines, paragraphs and tables as a terminal shows them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

_LINE = 100
"""Characters; longer lines are hard to read, however wide the terminal."""


def on_one_line(text: str) -> str:
    """Text from elsewhere, of which no character can move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def paragraph(start: str, text: str) -> str:
    """Text after a start, in lines that fit the terminal, each as far to the right."""
    width = min(_LINE, shutil.get_terminal_size().columns)
    return textwrap.fill(
        on_one_line(text), width, initial_indent=start, subsequent_indent=" " * len(start),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Aligned columns; those numbered in `right` to the right, as figures are."""
    lines = [[on_one_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
