"""Arrays and numbers of NumPy in pickles from outside.

NumPy's own `dtype.__setstate__` believes what a pickle says of a type, and a hostile one makes it
write where it must not. What stands here reads the same pickles, under the same names, and refuses
whatever is no plain array of numbers. To be called in a process that can do little else.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

_PLAIN = re.compile("[biuf][1248]")


class Kind:
    """`numpy.dtype` of plain numbers."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        """Raises ValueError, TypeError."""
        import numpy as np

        if not _PLAIN.fullmatch(code):
            raise ValueError(f"arrays of “{code[:20]}” are not read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """`state`: a version, the order of bytes, then what only other types have."""
        _, order, *others = state
        if others[:3] != [None] * 3:
            raise ValueError("arrays of records are not read")
        if order in ("<", ">"):  # else it is a byte, or this machine's
            self.dtype = self.dtype.newbyteorder(order)


class Array:
    """`numpy.ndarray`; `values` are its own once its state was read."""

    values: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Raises ValueError, TypeError."""
        _, shape, kind, by_columns, data = state
        self.values = _array(data, kind, shape, "F" if by_columns else "C")


def _array(data: Any, kind: Kind, shape: Any, order: Any) -> np.ndarray:
    import numpy as np

    held = data.encode("latin-1") if isinstance(data, str) else data  # as Python 2 wrote bytes
    return np.asarray(np.frombuffer(held, dtype=kind.dtype).reshape(shape, order=order))


def _begin(*_: object) -> Array:
    """`numpy.core.multiarray._reconstruct`: an array that has no state yet."""
    return Array()


def _of_buffer(data: Any, kind: Kind, shape: Any, order: str) -> Array:
    """`numpy.core.numeric._frombuffer`, of protocol 5."""
    made = Array()
    made.values = _array(data, kind, shape, order)
    return made


def _number(kind: Kind, data: bytes | str) -> Any:
    """`numpy.core.multiarray.scalar`, as a number of Python. Raises ValueError where it is more
    than one."""
    return _array(data, kind, -1, "C").item()


def _of_numpy(part: str, reads: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Under its name in NumPy 1, and in NumPy 2."""
    return {f"numpy.{core}.{part}": reads for core in ("core", "_core")}


NUMBERS: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": Kind,
    **_of_numpy("multiarray.scalar", _number),
}
"""What stands for the names by which NumPy pickles a number."""
_KNOWN: Mapping[str, Callable[..., Any]] = {
    **NUMBERS,
    "numpy.ndarray": Array,
    **_of_numpy("multiarray._reconstruct", _begin),
    **_of_numpy("numeric._frombuffer", _of_buffer),
}


class _Plain(pickle._Unpickler):
    """In Python: its bounds are checked, as those of the one in C are not everywhere."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # bytes of Python 2, written by Python 3
            return lambda text, encoding: text.encode("latin-1")
        try:
            return _KNOWN[f"{module}.{name}"]
        except KeyError:
            raise NotPlain(f"{module}.{name}") from None


class NotPlain(Exception):
    """A pickle asks for something else; its name, outside text."""


def load(file: BinaryIO) -> Any:
    """Plain containers, numbers and texts, and the arrays in a dictionary.

    Raises NotPlain, and for hostile bytes whatever there is.
    """
    found: Any = _Plain(file, encoding="latin-1").load()
    if not isinstance(found, dict):
        return found
    return {key: v.values if isinstance(v, Array) else v for key, v in found.items()}
