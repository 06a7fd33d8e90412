"""What a network from outside expects images to be normalised by: the file's word and the job's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import ImportModelParams
from app.errors import JobError
from worker.jobs.noted import Noted
from worker.jobs.weights_file import WeightsFile
from worker.models import Classifier, TimmClassifier
from worker.models.matching import Match, shown
from worker.models.normalising import Half, Pair

_GREY_LEVELS = 255
_SAME = 1e-6


class Normalisation(NamedTuple):
    """(x - mean) / std of images in [0, 1], channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    """Where it is from: a name in the file; empty where the job gives it, or nobody."""
    known: bool = True
    """Whether anybody names one; else images are given as they are."""


def settled(params: ImportModelParams, match: Match, file: WeightsFile) -> Normalisation:
    """The one that file and job agree on. Of two that differ, neither wins silently.

    Raises JobError with what is missing, differs, or is in other units.
    """
    found = [one for pair, one in _within(match, file) if _stands_before(pair, match.prefix)]
    if params.mean is not None:
        assert params.std is not None
        return _given(tuple(params.mean), tuple(params.std), found)
    if not found:
        if match.halves:
            raise _half(match.halves[0])
        if match.pairs:
            raise _elsewhere(match)
        if file.noted.normalisations or file.noted.named:
            raise _beside(file.noted)
        return Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "", known=False)
    one = found[0]
    for other in found[1:]:
        if not _alike(one, other):
            raise JobError(
                f"The file holds two normalisations: {_said(one)}, and {_said(other)}.",
                hint="Give mean and standard deviation with the import, as one of the two.",
                field="mean",
            )
    if min(one.mean) < 0:
        raise JobError(
            f"The file's normalisation, {_said(one)}, has a mean below 0, which no images have.",
            hint="Give mean and standard deviation with the import: what is subtracted, and what "
            "that is divided by.",
            field="mean",
        )
    if max(*one.mean, *one.std) > 1:
        mean, std = (_numbers([v / _GREY_LEVELS for v in of]) for of in (one.mean, one.std))
        raise JobError(
            f"The file's normalisation, {_said(one)}, is not in units of [0, 1].",
            hint=f"Where the network takes images from 0 to {_GREY_LEVELS}, give mean {mean} and "
            f"standard deviation {std} with the import. Where it takes blue before green before "
            "red, the lab cannot use it.",
            field="mean",
        )
    return one


def _given(
    mean: tuple[float, ...], std: tuple[float, ...], found: Sequence[Normalisation]
) -> Normalisation:
    """What the job says, unless the file says something else, in units of [0, 1] or of 0 to 255, or
    as what is added."""
    given = Normalisation(mean, std, "")
    for one in found:
        levels = one._replace(
            mean=tuple(v / _GREY_LEVELS for v in one.mean),
            std=tuple(v / _GREY_LEVELS for v in one.std),
        )
        added = one._replace(mean=tuple(-v for v in one.mean))
        if any(_alike(given, other) for other in (one, levels, added)):
            return given
    if found:
        raise JobError(
            f"The file says {_said(found[0])}, the job mean {_numbers(mean)} and standard "
            f"deviation {_numbers(std)}.",
            hint="Leave mean and standard deviation empty to take those of the file.",
            field="mean",
        )
    return given


def _within(match: Match, file: WeightsFile) -> Iterator[tuple[Pair, Normalisation]]:
    """Those of the file, checked; the network's own, which stands next to its weights, first."""
    for pair in sorted(match.pairs, key=lambda pair: not pair.mean.startswith(match.prefix)):
        mean, std = (_channels(name, file.numbers(name)) for name in (pair.mean, pair.std))
        if not all(value > 0 for value in std):
            raise JobError(f"The file's {shown(pair.std)} is {_numbers(std)}; it must be above 0.")
        if pair.squared:
            std = tuple(math.sqrt(value) for value in std)
        yield pair, Normalisation(mean, std, _where(pair))


def _stands_before(pair: Pair, prefix: str) -> bool:
    """Whether it is in the network, or in a module around it, and not in another part of the file.

    `a.normalize.mean` stands before the network at `a.model.`, and not before that at `b.`.
    """
    module = pair.mean.rpartition(".")[0]
    around = {f"{name}." if name else "" for name in (module, module.rpartition(".")[0])}
    return pair.mean.startswith(prefix) or any(prefix.startswith(name) for name in around)


def _channels(name: str, value: Tensor) -> tuple[float, ...]:
    """One number for each of three channels, whatever shape they are kept in."""
    if not value.isfinite().all():
        raise JobError(f"Not all weights are finite numbers: {shown(name)} is none.")
    if value.numel() in (1, 3):
        flat = value.flatten()
    else:
        axis = 0 if value.shape[0] == 3 else 1
        planes = value.movedim(axis, 0).flatten(1)  # (3, positions)
        if value.shape[axis] != 3 or not torch.equal(planes, planes[:, :1].expand_as(planes)):
            raise JobError(
                f"{shown(name)} has another number at every pixel; the lab normalises channels.",
                hint="Such a network cannot be imported as it is.",
            )
        flat = planes[:, 0]
    numbers: list[float] = flat.expand(3).tolist()
    return tuple(numbers)


def _alike(one: Normalisation, other: Normalisation) -> bool:
    pairs = zip((*one.mean, *one.std), (*other.mean, *other.std), strict=True)
    return all(abs(a - b) <= _SAME * max(1.0, abs(b)) for a, b in pairs)


def _half(half: Half) -> JobError:
    return JobError(
        f"The file has half a normalisation: {shown(half.name)}, and no {half.lacks} beside it.",
        hint="Give both, mean and standard deviation, with the import.",
        field="mean",
    )


def _elsewhere(match: Match) -> JobError:
    return JobError(
        f"The file's normalisation, {_where(match.pairs[0])}, is in another part of the file than "
        f"the network, which is at “{shown(match.prefix.removesuffix('.'))}”.",
        hint="Give mean and standard deviation with the import: those, or 0 and 1 where the "
        "network takes images as they are.",
        field="mean",
    )


def _beside(noted: Noted) -> JobError:
    """The question about a normalisation that is noted beside the weights, with what is there."""
    named = list(dict.fromkeys((*(t.where for t in noted.normalisations), *noted.named)))
    named = [name for name in named if not any(f"{name}," in o or f" {name}" in o for o in named)]
    those = "those"
    if noted.normalisations:
        one = noted.normalisations[0]
        units = _GREY_LEVELS if max(*one.mean, *one.std) > 1 else 1
        mean, std = (_numbers([v / units for v in of]) for of in (one.mean, one.std))
        those = f"{mean} and {std}, as {shown(one.where)} has them"
        those += " in units of [0, 1]" if units > 1 else ""
    return JobError(
        f"Beside the weights the file has {', '.join(map(shown, named))}: a normalisation, it "
        "seems, which is not read there.",
        hint=f"Give mean and standard deviation with the import: {those}, or 0 and 1 where the "
        "network takes images as they are.",
        field="mean",
    )


def contradicted(one: Normalisation, file: WeightsFile) -> str:
    """The doubt about a normalisation of the file beside which another one is noted; empty where
    there is none."""
    told = file.noted.normalisations
    if not one.source or not told:
        return ""
    for other in told:
        for units in (1, _GREY_LEVELS):
            mean, std = (tuple(v / units for v in of) for of in (other.mean, other.std))
            if _alike(one, Normalisation(mean, std, "")):
                return ""
    return (
        f"The network normalises by {_said(one)}. Beside the weights {shown(told[0].where)} says "
        f"{_numbers(told[0].mean)} and {_numbers(told[0].std)}, which is not used."
    )


def _where(pair: Pair) -> str:
    said = f"{pair.mean}, with the square root of {pair.std}" if pair.squared else pair.mean
    return shown(said)


def _said(one: Normalisation) -> str:
    return f"{one.source} {_numbers(one.mean)} with standard deviation {_numbers(one.std)}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def in_words(one: Normalisation) -> str:
    """A line of the log."""
    source = f"the file ({one.source})" if one.source else "the job"
    return (
        f"Normalisation from {source}: mean {_numbers(one.mean)}, standard deviation "
        f"{_numbers(one.std)}."
    )


def unknown(model: Classifier, prefix: str) -> str:
    """The doubt about a network whose normalisation nobody names, with what hints at one."""
    said = (
        "Neither the file nor the job names a normalisation: the network is given images in "
        "[0, 1] as they are."
    )
    if prefix.removesuffix(".").rpartition(".")[2].isdecimal():
        said += (
            f" The names begin with “{shown(prefix)}”: in its file another module stands before "
            "the network, perhaps a normalisation whose numbers were not saved."
        )
    if isinstance(model, TimmClassifier) and model.published_normalisation is not None:
        mean, std = map(_numbers, model.published_normalisation)
        said += f" Weights that timm publishes for it expect mean {mean}, deviation {std}."
    return said
