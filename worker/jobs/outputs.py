"""Which output of a network from outside stands for which class of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.classes import places
from app.contracts.params import ImportModelParams
from app.contracts.results import Accuracy
from app.contracts.words import percent
from app.errors import JobError
from worker.data import Dataset
from worker.data.names import natural_key

_IMAGENET = 1000
_GAIN, _GOOD = 0.1, 0.5
_ABOVE_CHANCE, _IMAGES_OF_PAIR = 0.12, 5
"""A better order gives so much more accuracy, and so much at least; where there are so many images
for each pair of classes, so far above chance at least. Luck among many orders does not."""
_LUCK = 0.001
"""A way to sort the classes fits better where chance would say so less often than this."""


class Taken(NamedTuple):
    """The outputs that are taken, in the dataset's order of classes."""

    order: tuple[int, ...]
    said: str
    """A line of the log; empty where nothing is to be said."""
    guessed: bool
    """Whether it is the dataset's own order, for want of another."""


def mapped(params: ImportModelParams, dataset: Dataset, outputs: int) -> Taken:
    """The outputs of a head with so many for the classes of a dataset.

    Raises JobError where nothing says which they are.
    """
    classes, count = dataset.class_names, dataset.num_classes
    if params.outputs is not None:
        return _numbered(params.outputs, classes, outputs)
    if params.classes is not None:
        return _named(params.classes, classes, outputs)
    if outputs == 1 and count == 2:
        said = (
            f"The head has one output: above 0 it says “{classes[1]}”, else “{classes[0]}”. Where "
            "it is the other way round, name the classes in their order."
        )
        return Taken((0, 1), said, True)
    if outputs == count:
        return Taken(tuple(range(count)), "", True)
    found = _of_imagenet(classes) if outputs == _IMAGENET else None
    if found is not None:
        return Taken(found, f"{_left(outputs, count)}, found by their names in ImageNet.", False)
    raise _unclear(outputs, count)


def _unclear(outputs: int, count: int) -> JobError:
    said = f"The file's head has {outputs:,} outputs, the dataset {count:,} classes."
    if outputs < count:
        return JobError(
            said, hint="Choose the dataset that it was trained on: the number of classes differs."
        )
    return JobError(
        said,
        hint="Say which output stands for each class, in the dataset's order, or name the classes "
        "of all outputs; or choose the dataset that it was trained on: the number of classes "
        "differs.",
        field="outputs",
    )


def _numbered(given: Sequence[int], classes: Sequence[str], outputs: int) -> Taken:
    if len(given) != len(classes):
        raise JobError(
            f"{len(given):,} outputs are named for {len(classes):,} classes.",
            hint="Give one number for each class, in the dataset's order.",
            field="outputs",
        )
    most = max(2, outputs) - 1
    if max(given) > most:
        raise JobError(
            f"There is no output {max(given):,}: the file's head has those from 0 to {most:,}.",
            hint="Outputs are counted from 0.",
            field="outputs",
        )
    return Taken(tuple(given), f"{_left(max(2, outputs), len(given))}, as the job says.", False)


def _named(given: Sequence[str], classes: Sequence[str], outputs: int) -> Taken:
    order = places(classes, given)
    if order is None:
        raise JobError(
            "The classes given are not those of the dataset.",
            hint=f"The dataset has: {', '.join(classes[:20])}.",
            field="classes",
        )
    if len(given) != max(2, outputs):
        raise JobError(
            f"{len(given):,} classes are named, and the file's head has {outputs:,} outputs.",
            hint="Name the class of each output, in their order, also those that the dataset "
            "has not.",
            field="classes",
        )
    said = "" if len(given) == len(classes) else f"{_left(len(given), len(classes))}, by name."
    return Taken(order, said, False)


def _left(outputs: int, count: int) -> str:
    more = outputs - count
    rest = (
        f"; the other {more:,} are left out, so the model decides among these alone" if more else ""
    )
    return f"{count:,} of {outputs:,} outputs stand for the dataset's classes{rest}"


def _of_imagenet(classes: Sequence[str]) -> tuple[int, ...] | None:
    """Outputs of a head for ImageNet, by WordNet's numbers, or by their descriptions."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    synsets = info.label_names()  # type: ignore[no-untyped-call]
    described = [info.label_name_to_description(name) for name in synsets]
    known = (synsets, described, [text.partition(",")[0] for text in described])
    return next((found for names in known if (found := places(classes, names)) is not None), None)


class Better(NamedTuple):
    """An order of classes that fits the answers better than the one that was taken."""

    classes: tuple[str, ...]
    """What the outputs stand for, in their order."""
    said: str
    """Which order that is, and how well it fits."""


def better_order(guesses: Tensor, labels: Tensor, classes: Sequence[str]) -> Better | None:
    """The order of outputs in which far more answers would be right; None where there is none.

    The ways to sort names are few: what is no luck suffices for them. Of all other orders one must
    gain far more.

    Args:
        guesses: the likeliest output of each image, (N,), of a head that is in `classes`' order.
        labels: (N,), the classes' numbers.
    """
    from scipy.optimize import linear_sum_assignment

    count, n = len(classes), len(labels)
    met = torch.zeros(count, count, dtype=torch.int64)
    met.index_put_((guesses.cpu(), labels.cpu()), torch.ones(n, dtype=torch.int64), accumulate=True)
    better = _better_sorted(met, classes)
    order = better.classes if better else classes
    now = Accuracy.of(_hits(met, classes, order), n)
    outputs, meant = linear_sum_assignment(met.numpy(), maximize=True)
    then = Accuracy.of(int(met.numpy()[outputs, meant].sum()), n)
    many = n >= _IMAGES_OF_PAIR * count**2
    good = 1 / count + _ABOVE_CHANCE * (1 - 1 / count) if many else _GOOD
    luck = then.low <= max(good, now.high) or then.value <= _common(met) / n
    if luck or then.value < now.value + _GAIN:
        return better
    best = tuple(classes[k] for k in meant)
    return Better(best, f"in the order that fits best, {percent(then.value)} would be right")


def _better_sorted(met: Tensor, classes: Sequence[str]) -> Better | None:
    """The way to sort the classes that fits better than theirs, by an exact McNemar test on the
    same images; None where there is none.

    Args:
        met: images (K, K) by output and class.
    """
    from scipy.stats import binomtest

    n, found = int(met.sum()), None
    most = _hits(met, classes, classes)
    for name, key in (
        ("sorted as bytes are, capitals first", str),
        ("sorted by number", natural_key),
    ):
        order = tuple(sorted(classes, key=key))
        moved = torch.tensor([of != own for of, own in zip(order, classes, strict=True)])
        gained = _hits(met * moved[:, None], classes, order)
        lost = _hits(met * moved[:, None], classes, classes)
        hits = _hits(met, classes, order)
        if hits > max(most, _common(met)) and binomtest(gained, gained + lost).pvalue < _LUCK:
            most = hits
            said = f"in the order of the classes {name}, {percent(hits / n)} would be right"
            found = Better(order, said)
    return found


def _common(met: Tensor) -> int:
    """Images of the commonest class: so many are right for a network that says it of all."""
    return int(met.sum(0).max())


def _hits(met: Tensor, classes: Sequence[str], order: Sequence[str]) -> int:
    """Images whose answer is right where the outputs stand for `order`."""
    number = {name: k for k, name in enumerate(classes)}
    return int(met[torch.arange(len(order)), [number[name] for name in order]].sum())
