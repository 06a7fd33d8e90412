"""What a file of weights notes beside its tensors, in arguments, configurations and metadata: a
normalisation, names of classes, the order of colours. Nothing of it is used without a word."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from torch import Tensor

from worker.models.normalising import read_name

_DEEPEST, _MOST_VALUES, _LONGEST_TEXT = 6, 200_000, 2**20
_MAY_HOLD_MORE = (Mapping, Namespace, list, tuple, str)
_SHOWN, _MOST = 120, 12
_NUMBER = r"-?\d{1,4}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?"
"""Of so many digits at most: a run of them without end would be tried in every two parts."""
_THREE = rf"\W{{1,4}}(?:[a-z.]{{1,12}}\W{{1,3}})?({_NUMBER}(?:\s*,\s*{_NUMBER}){{2}})"
_WRITTEN = re.compile(rf"mean{_THREE}\W{{1,12}}[a-z_]{{0,12}}std{_THREE}", re.IGNORECASE)
"""As configurations and transforms are written out: `Normalize(mean=[…], std=[…])`."""
_BOTH = re.compile(r"(img_)?norm(ali[sz]e|ali[sz]ation|_cfg)?|mean_?(and_?)?std", re.IGNORECASE)
_CLASSES = re.compile(
    r"classes|class_?names|class_to_idx|idx_to_class|id2label|label2id|label_?(map|names)"
    r"|target_?names|categories",
    re.IGNORECASE,
)
_COLOURS = re.compile(
    r"(input_?)?(channels?|colou?rs?)(_?(order|format|space|mode))?|(input_?|image_?)?format"
    r"|(input|image)_?space",
    re.IGNORECASE,
)
_TAKES_BGR = re.compile(r"(is_|use_|to_)?bgr", re.IGNORECASE)
_TO_RGB = re.compile(r"(bgr_)?to_rgb", re.IGNORECASE)
_RANGE = re.compile(r"(input|image|pixel)_?range", re.IGNORECASE)
_FEWEST_UNNAMED = 4
_WRITTEN_BGR = re.compile(r"to_rgb\W{1,4}false", re.IGNORECASE)


@dataclass(frozen=True)
class Told:
    """A normalisation that is noted."""

    where: str
    """Names of keys, from the outside in: `config.data.mean, config.data.std`."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of three channels each."""


@dataclass(frozen=True)
class Noted:
    """What a file notes."""

    normalisations: tuple[Told, ...] = ()
    named: tuple[str, ...] = ()
    """Entries called like a mean or a deviation, right beside the weights or of a channel each,
    whatever they hold."""
    classes: tuple[str, ...] = ()
    """Where names of classes stand."""
    bgr: tuple[str, ...] = ()
    """Where it stands that images are blue, green, red."""
    maybe_bgr: tuple[str, ...] = ()
    """Where it stands that images are not turned to red, green, blue."""
    levels: tuple[str, ...] = ()
    """Where a range of pixels stands that ends above 1."""
    unnamed: tuple[str, ...] = ()
    """Lists of weights without names, as averages and copies of another precision are kept."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Noted:
        """What `plain` has. Raises KeyError, TypeError, ValueError where it is something else."""
        told = [
            Told(str(t["where"]), *(tuple(map(float, t[of])) for of in ("mean", "std")))
            for t in plain["normalisations"]
        ]
        texts = ("named", "classes", "bgr", "maybe_bgr", "levels", "unnamed")
        return cls(tuple(told), *(tuple(map(str, plain[of])) for of in texts))


def noted(loaded: Mapping[str, Any], weights: Mapping[str, Any] | None = None) -> Noted:
    """What `loaded` notes beside `weights`, a dict in it or itself."""
    normalisations: list[Told] = []
    named, classes, bgr, maybe = list[str](), list[str](), list[str](), list[str]()
    levels, unnamed = list[str](), list[str]()
    for where, entries in _mappings(loaded):
        beside = {
            name: value
            for name, value in entries.items()
            if isinstance(name, str) and not (entries is weights and isinstance(value, Tensor))
        }
        normalisations += _normalisations(where, beside)
        for name, value in beside.items():
            path = _path(where, name)
            if (read := read_name(name.lower())) is not None and (
                not where or entries is weights or (read.what == "mean" and _three(value))
            ):
                named.append(path)
            if _CLASSES.fullmatch(name) and _are_names(value):
                classes.append(path)
            bgr += [path] if _says_bgr(name, value) else []
            maybe += [path] if _says_not_rgb(name, value) else []
            levels += (
                [path] if _RANGE.fullmatch(name) and max(_numbers(value), default=0) > 1 else []
            )
            unnamed += [path] if _are_weights(value) else []
    texts = (named, classes, bgr, maybe, levels, unnamed)
    return Noted(tuple(normalisations[:_MOST]), *(tuple(of[:_MOST]) for of in texts))


def _says_bgr(name: str, value: Any) -> bool:
    is_order = _COLOURS.fullmatch(name) and isinstance(value, str) and value.lower() == "bgr"
    return bool(is_order or (_TAKES_BGR.fullmatch(name) and value is True))


def _says_not_rgb(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return bool(_WRITTEN_BGR.search(value[:_LONGEST_TEXT]))
    return bool(_TO_RGB.fullmatch(name) and value is False)


def _are_weights(value: Any) -> bool:
    of_layers = [isinstance(v, Tensor) and v.dim() > 1 for v in value] if _is_list(value) else []
    return sum(of_layers) >= _FEWEST_UNNAMED


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple))


def _mappings(loaded: Any) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every mapping in it, from the outside in, by the keys that lead there; those of a namespace
    and those that are written as JSON, too. States of optimisers have many, and are no notes."""
    todo: deque[tuple[tuple[str, ...], Any]] = deque([((), loaded)])
    left = _MOST_VALUES
    while todo:
        where, value = todo.popleft()
        value = vars(value) if isinstance(value, Namespace) else value
        value = _json(value) if isinstance(value, str) else value
        if isinstance(value, Mapping):
            if "param_groups" in value or (left := left - len(value)) < 0:
                continue
            yield where, value
            inner: Sequence[tuple[Any, Any]] = list(value.items())
        elif _is_list(value) and 0 < len(value) <= _MOST:
            inner = list(enumerate(value))
        else:
            continue
        if len(where) < _DEEPEST:
            todo += [((*where, str(k)), v) for k, v in inner if isinstance(v, _MAY_HOLD_MORE)]


def _json(text: str) -> Any:
    """A list or a mapping; None where a text is none."""
    if text[:1] not in ("{", "[") or len(text) > _LONGEST_TEXT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _normalisations(where: tuple[str, ...], entries: Mapping[str, Any]) -> Iterator[Told]:
    found: dict[str | None, dict[str, tuple[str, list[float]]]] = {}
    for name, value in entries.items():
        path = _path(where, name)
        text = value[:_LONGEST_TEXT] if isinstance(value, str) and _json(value) is None else ""
        if written := _WRITTEN.search(text):
            mean, std = ([float(n) for n in numbers.split(",")] for numbers in written.groups())
            yield Told(path, _of_three(mean), _of_three(std))
        elif _BOTH.fullmatch(name) and _is_list(value) and len(value) == 2:
            both = [_numbers(each) for each in value]
            if all(len(each) in (1, 3) for each in both):
                yield Told(path, *(_of_three(each) for each in both))
        elif (read := read_name(name.lower())) and len(numbers := _numbers(value)) in (1, 3):
            found.setdefault(read.whose, {})[read.what] = (path, numbers)
    for each in found.values():
        spread = next((each[what] for what in ("std", "var") if what in each), None)
        if "mean" not in each or spread is None:
            continue
        (mean_at, mean), (std_at, std) = each["mean"], spread
        is_called_so = "mean" in mean_at.rpartition(".")[2].lower()
        if "std" not in each:
            std = [max(0.0, v) ** 0.5 for v in std]
        # One number may be anything: 0 and 0.01 are how weights begin, mu and sigma settings.
        if len(mean) == 3 or (mean[0] > 0 and is_called_so):
            yield Told(f"{mean_at}, {std_at}", _of_three(mean), _of_three(std))


def _of_three(numbers: Sequence[float]) -> tuple[float, ...]:
    return tuple(numbers) if len(numbers) == 3 else (numbers[0],) * 3


def _numbers(value: Any) -> list[float]:
    """Of a list, a tensor, a number, or what is written of one in JSON; empty where it is none."""
    if isinstance(value, str):
        value = _json(value)
    if isinstance(value, Tensor):
        value = value.flatten().tolist() if value.numel() <= 3 else None
    value = [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    if not _is_list(value) or len(value) > 3:
        return []
    plain = [v.item() if hasattr(v, "item") and getattr(v, "size", 1) == 1 else v for v in value]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in plain):
        return []
    try:
        return list(map(float, plain))
    except OverflowError:  # a whole number that no float is as large as
        return []


def _three(value: Any) -> bool:
    return len(_numbers(value)) == 3


def _are_names(value: Any) -> bool:
    """Whether it is a list of texts, or a mapping from or to texts, also as JSON."""
    if isinstance(value, str):
        value = _json(value)
    if isinstance(value, Mapping):
        texts = [any(isinstance(side, str) for side in pair) for pair in value.items()]
        return len(texts) > 1 and all(texts)
    return _is_list(value) and len(value) > 1 and all(isinstance(each, str) for each in value)


def _path(where: tuple[str, ...], name: str) -> str:
    return ".".join((*where, name))[-_SHOWN:]
