"""Files that a person saves: names that every file system takes."""

from __future__ import annotations

import re
import unicodedata


def file_name(text: str, noun: str, id: str, ending: str) -> str:
    """A name made from what a person called the thing (else from `noun`) and from its id."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9-]+", "-", ascii_text).strip("-")[:60].strip("-")
    return f"{safe or noun}-{id[:8]}{ending}"


def attachment(name: str) -> dict[str, str]:
    """The header that makes a browser save an answer under a name of `file_name`."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}
