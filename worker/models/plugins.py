"""Architectures that the worker's administrator has installed, found by a Python entry point."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

from worker.models.base import Classifier
from worker.models.timm_models import unknown

GROUP = "agkd_bml_lab.architectures"


def plugin_classifier(
    name: str, *, num_classes: int, mean: Sequence[float], std: Sequence[float]
) -> Classifier:
    """What the entry point `name` of the group `agkd_bml_lab.architectures` builds.

    The entry point is called with `num_classes`, `mean` and `std`, and returns a `Classifier`.

    Raises:
        ValueError: there is no such entry point, or several; it fails; it builds something else.
    """
    found = entry_points(group=GROUP)
    chosen = list(found.select(name=name))
    if not chosen:
        raise ValueError(unknown("plugin", name, sorted(found.names)))
    if len(chosen) > 1:
        raise ValueError(
            f"plugin:{name} is offered by {len(chosen)} packages; uninstall all but one"
        )
    try:
        model = chosen[0].load()(num_classes=num_classes, mean=mean, std=std)
    except Exception as error:  # other people's code
        raise ValueError(f"plugin:{name} fails: {type(error).__name__}: {error}"[:500]) from error
    if not isinstance(model, Classifier) or model.num_classes != num_classes:
        raise ValueError(f"plugin:{name} builds no Classifier of {num_classes} classes")
    return model
