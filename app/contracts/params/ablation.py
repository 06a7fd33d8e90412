"""The parameters of an ablation: trainings that differ in known ways, each with several seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any, NamedTuple, Self

from pydantic import JsonValue, ValidationError, model_validator

from app.contracts.attacks import Method
from app.contracts.complaints import invalid, message_of
from app.contracts.params.attacks import Attack
from app.contracts.params.base import Name, Params, Seed, parameter
from app.contracts.params.designs import Design
from app.contracts.params.evaluation import EvaluateParams
from app.contracts.params.training import TrainParams
from app.contracts.recipes import READ_BY_SOME, Recipe
from app.contracts.units import format_255

MAX_TRAININGS = 200
_OF_THE_JOB = frozenset(
    {"name", "dataset", "recipe", "seed", "processes", "nodes", "continue_from", "device"}
)
VARIABLE = frozenset(TrainParams.model_fields) - _OF_THE_JOB
"""The training parameters that a grid may vary, and that a recipe may have of its own."""
_OF_STUDENTS = frozenset({"teacher", "start_from_teacher"})
_MAX_NAME, _MAX_LABEL = 80, 48
_SYMBOLS = {
    "epsilon": "ε", "step_size": "step", "steps": "steps", "label_smoothing": "smoothing",
    "bml_weight": "λ", "agkd_weight": "AGKD", "margin": "m", "mu": "μ", "mart": "MART",
    "awp_gamma": "AWP γ",
}  # fmt: skip
"""What labels call the parameters of the method; others by their titles."""


class Row(NamedTuple):
    """One line of the table: what is trained with each of the seeds."""

    recipe: Recipe
    changes: dict[str, JsonValue]
    """What differs from the shared settings: the recipe's own values, then those of the grid; or
    what the design says."""
    varied: tuple[str, ...] = ()
    """The parameters of the grid that tell this row from others of its recipe."""
    title: str = ""
    """What a design calls it; empty for a row of a grid."""
    beside: int | None = None
    """The row that a design compares it with, from 0."""


class Planned(NamedTuple):
    """One training of an ablation."""

    row: int
    """Its line of the table, from 0."""
    seed: int
    params: TrainParams


class AblationMeasure(Params):
    """What is measured of each training's best model, on the dataset's test part.

    One evaluation a model, every one at the budget ε of the shared settings, on the same images
    and from the same random starts, so that rows compare. Accuracy under FGSM, PGD and CW is that
    under the attack alone, on all images. AutoAttack runs on the images that those left standing:
    its figure is the worst case of all, at most what AutoAttack alone would leave.
    """

    images: int = parameter(
        1000, title="Test images", unit="images", ge=1, le=1_000_000,
        help="How many, the same for every model; all where there are fewer.",
    )  # fmt: skip
    steps: int = parameter(20, title="Steps", help="Of PGD and of CW.", ge=1, le=1000)
    cw: bool = parameter(
        True, title="CW", help="PGD on the margin between logits, with as many steps."
    )
    autoattack: bool = parameter(
        True, title="AutoAttack",
        help="AutoAttack standard. Takes most of the time; without it robustness is overstated.",
    )  # fmt: skip
    batch_size: int = parameter(
        250, title="Batch size", unit="images", help="Images attacked at once.", ge=1, le=4096
    )

    def of(self, model: str, training: TrainParams) -> EvaluateParams:
        """How a model is measured; `training`: the shared settings."""
        further = {Method.CW: self.cw, Method.AUTOATTACK: self.autoattack}
        return EvaluateParams(
            models=(model,),
            dataset=training.dataset,
            images=self.images,
            epsilon=training.epsilon,
            attack=Attack(steps=self.steps),
            further=tuple(method for method, wanted in further.items() if wanted),
            epsilons=(),
            step_counts=(),
            minimal_epsilon=False,
            attention=False,
            batch_size=self.batch_size,
            device=training.device,
        )


class AblationParams(Params):
    """Train every recipe with every value of a grid and every seed, and measure each model."""

    name: Name = parameter(
        title="Name", help="What the ablation is called; names of its models begin with it."
    )
    training: TrainParams = parameter(
        title="Shared settings",
        help="What all trainings share. Its name, recipe, seed and `continue_from` are replaced; "
        "recipes that need no teacher may start from its weights, `clean` drops it.",
    )
    design: Design = parameter(
        Design.GRID, title="Design", help="What the rows of the table are.",
    )  # fmt: skip
    recipes: tuple[Recipe, ...] = parameter(
        (), title="Recipes", help="The recipes to compare, in the order of the table.",
        max_length=len(Recipe),
    )  # fmt: skip
    grid: dict[str, tuple[JsonValue, ...]] = parameter(
        dict, title="Grid", max_length=8,
        help="Training parameters and the values to try, all combinations. A recipe that does not "
        "read a parameter, or has its own value of it, takes no part in varying it.",
    )  # fmt: skip
    own: dict[Recipe, dict[str, JsonValue]] = parameter(
        dict, title="Of one recipe alone",
        help="What single recipes change of the shared settings, such as `label_smoothing` 0 for "
        "`pgd_at`. Where the shared settings leave the label smoothing out, each recipe has that "
        "of its authors.",
    )  # fmt: skip
    seeds: tuple[Seed, ...] = parameter(
        (0, 1, 2), title="Seeds", min_length=1, max_length=50,
        help="Every row is trained with each of them.",
    )  # fmt: skip
    measure: AblationMeasure | None = parameter(
        AblationMeasure, title="Measure",
        help="What is measured of each model; without it the table has validation figures only.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _design_names_its_own(self) -> Self:
        if self.design.is_grid and not self.recipes:
            raise invalid("recipes", "must be chosen")
        for name in ("recipes", "grid", "own"):
            if not self.design.is_grid and getattr(self, name):
                raise invalid(name, f"the design “{self.design.record.title}” has rows of its own")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, members in (("recipes", self.recipes), ("seeds", self.seeds)):
            if len(set(members)) != len(members):
                raise invalid(name, "each one once")
        for recipe in self.own:
            if recipe not in self.recipes:
                raise invalid("own", f"{recipe} is not among the recipes")
        named = [("own", field) for own in self.own.values() for field in own]
        for name, field in [*named, *(("grid", field) for field in self.grid)]:
            if field not in VARIABLE:
                raise invalid(name, f"“{field[:80]}” is no training parameter that can vary")
        varied = {field for recipe in self.recipes for field in self._varied(recipe)}
        for field, values in self.grid.items():
            if not values:
                raise invalid("grid", f"{field}: at least one value")
            if field not in varied:
                raise invalid("grid", f"{field}: none of the recipes takes it from the grid")
        return self

    @model_validator(mode="after")
    def _every_training_is_sound(self) -> Self:
        count = len(self.seeds) * sum(
            prod(len(self.grid[field]) for field in self._varied(recipe)) for recipe in self.recipes
        )
        if count > MAX_TRAININGS:
            raise invalid("grid", f"{count:,} trainings; at most {MAX_TRAININGS} in one ablation")
        seen = set()
        for row in self.rows():
            canonical = self._training(row, self.seeds[0], "x").model_dump_json()
            if canonical in seen:
                raise invalid("grid", f"{_raw_label(row)}: the same training twice")
            seen.add(canonical)
        return self

    @model_validator(mode="after")
    def _smooth_as_the_authors(self) -> Self:
        """Write down what each recipe's default is where none is given: it outlives the default."""
        if "label_smoothing" not in self.training.model_fields_set | self.grid.keys():
            for recipe in self.recipes:
                value, reads = recipe.record.label_smoothing, recipe.record.parameters
                if "label_smoothing" in reads and value != self.training.label_smoothing:
                    self.own[recipe] = {"label_smoothing": value, **self.own.get(recipe, {})}
        return self

    def rows(self) -> tuple[Row, ...]:
        """The lines of the table: recipe by recipe, the last parameter of the grid fastest; or
        those of the design."""
        variants = self.design.record.variants
        if variants is not None:
            return tuple(
                Row(variant.recipe, variant.changes, (), variant.title, variant.beside)
                for variant in variants(self.training.epsilon)
            )
        return tuple(row for recipe in self.recipes for row in self._rows_of(recipe))

    def trainings(self) -> tuple[Planned, ...]:
        """Every training: row by row, each with all seeds."""
        return tuple(
            Planned(number, seed, self._training(row, seed, self._name(number, row, seed)))
            for number, row in enumerate(self.rows())
            for seed in self.seeds
        )

    def label(self, row: Row) -> str:
        """`AGKD-BML, attack steps 7`: the recipe, and what the grid varies of it; or what the
        design says."""
        if row.title:
            return row.title
        values = self._training(row, self.seeds[0], "x").model_dump(mode="json")
        varied = (f"{_title(field)} {_shown(field, values[field])}" for field in row.varied)
        return ", ".join([row.recipe.record.title, *varied])

    def _varied(self, recipe: Recipe) -> tuple[str, ...]:
        """What of the grid tells trainings of a recipe apart."""
        ignored = READ_BY_SOME - recipe.record.parameters
        if not recipe.is_robust:
            ignored |= _OF_STUDENTS
        return tuple(f for f in self.grid if f not in ignored and f not in self.own.get(recipe, ()))

    def _rows_of(self, recipe: Recipe) -> Iterator[Row]:
        fields = self._varied(recipe)
        for values in product(*(self.grid[field] for field in fields)):
            changes = {**self.own.get(recipe, {}), **dict(zip(fields, values, strict=True))}
            yield Row(recipe, changes, tuple(f for f in fields if len(self.grid[f]) > 1))

    def _training(self, row: Row, seed: int, name: str) -> TrainParams:
        """Raises `invalid`, which names the row."""
        replaced = {"name": name, "recipe": row.recipe, "seed": seed, "continue_from": None}
        body = {**self.training.model_dump(mode="json"), **row.changes, **replaced}
        if not row.recipe.is_robust:
            body["teacher"] = None
        try:
            return TrainParams.model_validate_json(json.dumps(body), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            field = first.get("ctx", {}).get("field") or ".".join(str(p) for p in first["loc"])
            raise invalid(
                self._culprit(row, str(field)), f"{_raw_label(row)}: {field}: {message_of(first)}"
            ) from None

    def _culprit(self, row: Row, field: str) -> str:
        """The parameter of the ablation that brought a training's wrong field."""
        name = field.split(".")[0]
        if not self.design.is_grid:
            return f"training.{name}"
        if name in self.own.get(row.recipe, {}):
            return "own"
        return "grid" if name in row.changes else f"training.{name}"

    def _name(self, number: int, row: Row, seed: int) -> str:
        """`Nets · AGKD-BML, attack steps 7 · seed 0`, cut to the length of a name.

        The place in the table tells labels apart that are cut.
        """
        label = self.label(row)
        if len(label) > _MAX_LABEL:
            place = f" (row {number + 1})"
            label = _cut(label, _MAX_LABEL - len(place)) + place
        end = f" · {label} · seed {seed}"
        return _cut(self.name, _MAX_NAME - len(end)) + end


def _raw_label(row: Row) -> str:
    """A row as it was asked for, sound or not."""
    if row.title:
        return row.title
    changes = (f"{field} = {json.dumps(value)[:40]}" for field, value in row.changes.items())
    return ", ".join([row.recipe.record.title, *changes])


def _title(field: str) -> str:
    if field in _SYMBOLS:
        return _SYMBOLS[field]
    title = TrainParams.model_fields[field].title or field
    is_acronym = title[1:2].isupper()
    return title if is_acronym else title[0].lower() + title[1:]


def _shown(field: str, value: Any) -> str:
    """A value as people write it."""
    extra = TrainParams.model_fields[field].json_schema_extra
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(extra, Mapping) and extra.get("unit") == "/255":
        return format_255(value)
    if isinstance(value, list):
        return "/".join(str(each) for each in value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
