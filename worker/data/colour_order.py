"""What an archive says of the order of colours: OpenCV has blue before green before red, and so
have arrays that it read, where nobody turned them."""

from __future__ import annotations

import re

from worker.data.layout import Contents
from worker.data.names import name_list
from worker.data.weaknesses import Weakness

_DECLARED = re.compile(
    r"""(channels?|colou?rs?)[_ -]?(order|format|space|mode)?["']?\s*[:=]\s*["']?bgr\b""",
    re.IGNORECASE,
)
_SPOKEN = re.compile(r"\b(bgr|cv2|opencv)\b", re.IGNORECASE)
_NAMED = re.compile("(?<![^\\W\\d_])bgr(?![^\\W\\d_])", re.IGNORECASE)


def declared_bgr(contents: Contents) -> str:
    """The file that says it as metadata do: `"channel_order": "BGR"`; empty where none does."""
    texts = {**contents.texts, **contents.prose}
    return next(("/".join(path) for path, text in texts.items() if _DECLARED.search(text)), "")


def doubts_of_arrays(contents: Contents) -> list[Weakness]:
    """About arrays that are taken as red, green, blue, where a description speaks of another order
    or of OpenCV."""
    texts = {**contents.texts, **contents.prose}
    where = ["/".join(path) for path, text in texts.items() if _SPOKEN.search(text)]
    said = (
        "speaks of BGR or OpenCV. The arrays are taken as red, green, blue: where they are not, "
        "name them so (images_bgr), and they are turned."
    )
    return [_doubt(where, said)] if where else []


def doubts_of_pictures(contents: Contents) -> list[Weakness]:
    """About files of pictures, whose format says the order, where names or metadata say BGR."""
    folders = {"/".join(m.path[:-1]) for m in contents.pictures if _NAMED.search("/".join(m.path))}
    where = [*sorted(folders), *filter(None, [declared_bgr(contents)])]
    said = (
        "says BGR. Pictures are shown as their files have them: look whether red and blue are "
        "exchanged."
    )
    return [_doubt(where, said)] if where else []


def _doubt(where: list[str], said: str) -> Weakness:
    return Weakness("colours_guessed", f"{name_list(where)} {said}", len(where))
