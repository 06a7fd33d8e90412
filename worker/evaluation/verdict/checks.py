"""What checks are written with: lights of a count, figures in words."""

from __future__ import annotations

from collections.abc import Iterable

from app.contracts.results import Check, Light

_WORST_FIRST = (Light.RED, Light.AMBER, Light.GREEN)
NOT_MEASURED = "not measured"


def worst(lights: Iterable[Light]) -> Light:
    """The worst of them; green of none."""
    return min(lights, key=_WORST_FIRST.index, default=Light.GREEN)


def worst_first(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Sorted by light; checks of one light stay in their order."""
    return tuple(sorted(checks, key=lambda check: _WORST_FIRST.index(check.light)))


def light_of(count: int, n: int, *, amber: float, red: float) -> Light:
    """Red where more than `red` of the n images, two or more; amber where more than `amber`."""
    share = count / n
    if share > red and count >= 2:
        return Light.RED
    return Light.AMBER if share > amber else Light.GREEN


def check(name: str, title: str, light: Light, figure: str, **said: str) -> Check:
    """A check that was measured; `said` has a sentence for every light that it can come to."""
    return Check(id=name, title=title, light=light, figure=figure, sentence=said[light.value])


def unmeasured(name: str, title: str, sentence: str) -> Check:
    """Amber: what nobody looked at is no evidence."""
    said = f"Not measured: {sentence}"
    return Check(id=name, title=title, light=Light.AMBER, figure=NOT_MEASURED, sentence=said)


def nothing_left(name: str, title: str) -> Check:
    """Green: where no image stands, no attack has anything to find."""
    sentence = "No image withstood the other attacks, so there is nothing left to break."
    return Check(
        id=name, title=title, light=Light.GREEN, figure="no image stands", sentence=sentence
    )


def images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def of(count: int, n: int) -> str:
    """`3 of 128 images`."""
    return f"{count:,} of {images(n)}"
