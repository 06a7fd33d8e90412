"""Names from archives: how they are encoded, compared, sorted and shown."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

MAX_PATH = 4096  # characters of a path in an archive
_MOST_MARKS = 30  # on one letter: the format of stream-safe text, UAX 15

Path = tuple[str, ...]  # the parts of a path, such as ("train", "cat", "1.png")
Encoding = str
"""`auto`, or a codec of Python."""


def split_path(name: str) -> Path:
    """The parts of a member's name, NFC: macOS writes é in two characters, others in one."""
    plain = name if name.isascii() else _composed(name[: MAX_PATH + 1])
    return tuple(part for part in plain.split("/") if part not in ("", "."))


def _composed(name: str) -> str:
    """In NFC; as it is where more marks follow one another than any writing has. They are put in
    order by a sort whose time grows with the square of their number."""
    marks = 0
    for character in name:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MOST_MARKS:
            return name
    return unicodedata.normalize("NFC", name)


def why_left_out(path: Path, name: str) -> str:
    """Why a member is no file of the archive's own; empty where it is one."""
    if len(name) > MAX_PATH:
        return "with a path that is too long"
    if ".." in path:
        return "with a path that leads out of the archive"
    if any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "@eaDir") for part in path):
        return "hidden, or of the system that packed the archive"
    return ""


def with_slashes(names: Sequence[str], made_on_windows: Sequence[bool]) -> list[str]:
    """Names whose backslashes are separators have slashes instead.

    That is so where Windows made the member, whose file names hold no backslash, and where no name
    has a slash.
    """
    none_has = not any("/" in name for name in names)
    return [
        name.replace("\\", "/") if windows or none_has else name
        for name, windows in zip(names, made_on_windows, strict=True)
    ]


def unflagged(raw: bytes, encoding: Encoding) -> tuple[str, bool]:
    """A name in a zip that does not say it is UTF-8, and whether its encoding is a guess.

    Packers of Linux and macOS write UTF-8 all the same, which text of another encoding hardly ever
    is by chance.
    """
    if raw.isascii():
        return raw.decode("ascii"), False
    if encoding != "auto":
        return raw.decode(encoding, "replace"), False
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("cp437"), True


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key: digits by value, letters without case, so that `class2` comes before `Class10`."""
    pieces = re.split("([0-9]+)", name.casefold())
    return [(int(p), "") if i % 2 else (0, p) for i, p in enumerate(pieces)], name


def printable(name: str) -> str:
    """`name` with control characters and undecodable bytes escaped, at most 200 characters."""
    shown = "".join(c if is_shown(c) else c.encode("unicode_escape").decode() for c in name[:200])
    return shown[:200]


def name_list(names: Iterable[str]) -> str:
    """Up to five names for a message, and how many more there are."""
    found = list(names)
    shown = ", ".join(printable(name) for name in found[:5])
    return shown if len(found) <= 5 else f"{shown} and {len(found) - 5:,} more"


def is_shown(character: str) -> bool:
    """Not a control character, a surrogate (bytes that are no UTF-8), or a separator of lines."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
