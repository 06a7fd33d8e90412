"""How a model behind an HTTP address is asked."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

from app.contracts.options import Option, Record


def plain_url(value: str) -> str:
    """The address as it is compared: scheme and host in small letters, and a path.

    Raises ValueError for one that is no `http://` or `https://`, or has a password or a fragment.
    """
    if not value.isascii() or not value.isprintable() or set(value) & set(' \\<>"'):
        raise ValueError("write an address in ASCII, without spaces")
    try:
        url = urlsplit(value)
        known = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError("no address; write it like https://models.example.org/v1/predict")
    if "@" in url.netloc or "#" in value:
        raise ValueError("an address has neither a password nor a fragment here")
    return url._replace(netloc=url.netloc.lower(), path=url.path or "/").geturl()


Address = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(plain_url),
]
"""One that an operator can list."""


class Sends(Option):
    """What stands for an image in a question."""

    PNG = (
        "png",
        Record(title="PNG in base64", summary="8 bits a channel: pixels are rounded to them."),
    )
    FLOATS = (
        "floats",
        Record(title="Numbers", summary="Rounded to six digits after the point."),
    )
