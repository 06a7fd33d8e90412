"""Colours that everyone can tell apart, on light and on dark, and that models keep."""

from __future__ import annotations

import itertools
import re

import pytest

from app.contracts.params import MOST_MODELS, Recipe
from app.contracts.results import Light
from app.web.charts.palette import CLASSES, OTHERS, STUDENT, TEACHER, colours, identity
from app.web.render import TEMPLATES

_CSS = (TEMPLATES.parent / "static" / "lab.css").read_text()
# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
_SIGHT = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
                   (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                     (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
                   (0.004733, 0.691367, 0.303900)),
}  # fmt: skip


def _linear(hue: str) -> list[float]:
    parts = [int(hue[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def _luminance(hue: str) -> float:
    red, green, blue = _linear(hue)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _token(name: str, scheme: int) -> str:
    """The colour of a token in the light scheme, 0, or the dark one, 1."""
    (pair,) = re.findall(rf"--{name}: light-dark\((#\w+), (#\w+)\);", _CSS)
    return str(pair[scheme])


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _lab(hue: str, sight: str) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of a colour as it is seen."""
    rgb = _linear(hue)
    r, g, b = (min(1, max(0, sum(m * c for m, c in zip(row, rgb, strict=True))))
               for row in _SIGHT[sight])  # fmt: skip
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
    )
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("ground", [_token("surface", 0), _token("surface", 1)])
@pytest.mark.parametrize("hue", [*(recipe.record.hue for recipe in Recipe), *OTHERS, *CLASSES])
def test_every_hue_stands_out_on_both_grounds(hue: str, ground: str) -> None:
    assert _contrast(hue, ground) >= 3


@pytest.mark.parametrize("sight", _SIGHT)
def test_teacher_and_student_differ_for_everyone(sight: str) -> None:
    pairs = zip(_lab(TEACHER, sight), _lab(STUDENT, sight), strict=True)
    assert sum((a - b) ** 2 for a, b in pairs) ** 0.5 > 60


@pytest.mark.parametrize("hues", [(TEACHER, STUDENT, *OTHERS), CLASSES], ids=["models", "classes"])
def test_all_hues_differ_in_full_sight(hues: tuple[str, ...]) -> None:
    for one, other in itertools.combinations(hues, 2):
        pairs = zip(_lab(one, "full"), _lab(other, "full"), strict=True)
        assert sum((a - b) ** 2 for a, b in pairs) ** 0.5 > 20


def test_the_style_sheet_has_the_same_identities() -> None:
    assert re.findall(r"--teacher: (#\w+);", _CSS) == [TEACHER]
    assert re.findall(r"--student: (#\w+);", _CSS) == [STUDENT]
    for hue in OTHERS:
        assert re.findall(rf"--{identity(hue)}: (#\w+);", _CSS) == [hue]
    for name in ("teacher", "student", *map(identity, OTHERS)):
        assert f".identity.{name}::before" in _CSS
    assert (identity(TEACHER), identity(STUDENT)) == ("teacher", "student")


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("light", list(Light))
def test_lights_stand_out_in_both_schemes(light: Light, scheme: int) -> None:
    hue = _token(f"light-{light}", scheme)
    for ground in ("ground", "surface"):
        assert _contrast(hue, _token(ground, scheme)) >= 3


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(
    "name", ["ink", "muted", "teacher-ink", "student-ink", "good", "bad", "warn", "busy"]
)
def test_text_is_readable_in_both_schemes(name: str, scheme: int) -> None:
    text = _token(name, scheme)
    for ground in ("ground", "surface"):
        assert _contrast(text, _token(ground, scheme)) >= 4.5


def test_a_model_keeps_its_hue_wherever_and_beside_whomever_it_stands() -> None:
    teacher, student, second, rival = (f"{i}" * 32 for i in range(4))
    recipes = {teacher: Recipe.CLEAN, student: Recipe.AGKD_BML, second: Recipe.AGKD_BML}
    recipes |= {rival: Recipe.PGD_AT}
    chosen = colours([rival, second, student, teacher], recipes)
    assert (chosen[teacher], chosen[student]) == (TEACHER, STUDENT)
    assert chosen[rival] == Recipe.PGD_AT.record.hue
    assert chosen[second] in OTHERS
    for models in itertools.permutations([teacher, student, second, rival]):
        assert colours(models, recipes) == chosen
    assert colours([rival], recipes) == {rival: chosen[rival]}
    later = {model: recipes[model] for model in (teacher, second, student)}
    assert colours([student, second], later)[second] == STUDENT, (
        "the first of the recipe has its hue"
    )


def test_nine_models_have_nine_hues() -> None:
    ids = [f"{i:032x}" for i in range(MOST_MODELS)]  # no live attack shows two in one colour
    recipes = dict.fromkeys(ids, Recipe.AGKD_BML)
    assert len(set(colours(ids, recipes).values())) == 9
