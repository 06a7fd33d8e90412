"""What an ablation trains: the product of its grid, each recipe's own values, names and labels."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.params import AblationParams, Method, Recipe, TrainParams
from app.contracts.results import REPORTED, Accuracy, Measure, SeedValue, Spread, columns_of
from app.errors import field_errors
from tests.plugins.families import TEACHER, ablation_params

ROBUST = [recipe for recipe in Recipe if recipe.is_robust]


def refused(**values: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        ablation_params(**values)
    return field_errors(caught.value.errors())


def trained(params: AblationParams) -> list[TrainParams]:
    return [planned.params for planned in params.trainings()]


def test_the_last_parameter_of_the_grid_varies_fastest() -> None:
    params = ablation_params(
        recipes=("trades",), seeds=(5,), grid={"steps": (7, 10), "trades_beta": (1, 3.5, 6)}
    )
    assert [(t.steps, t.trades_beta) for t in trained(params)] == [
        (7, 1), (7, 3.5), (7, 6), (10, 1), (10, 3.5), (10, 6),
    ]  # fmt: skip
    assert [params.label(row) for row in params.rows()][:2] == [
        "TRADES, steps 7, TRADES β 1", "TRADES, steps 7, TRADES β 3.5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "grid",
    [
        {"architecture": ("timm:wide_resnet50_2", "timm:wide_resnet101_2")},
        {"ema_decay": (0.99, 0.999), "learning_rate": (0.05, 0.1), "trades_beta": (1, 6)},
        {"learning_rate": (0.1234567, 0.1234568)},
    ],
)
def test_rows_and_models_can_be_told_apart(grid: dict[str, Any]) -> None:
    params = ablation_params(
        recipes=("trades",), seeds=(0, 1), grid=grid, training={"start_from_teacher": False}
    )
    labels = [params.label(row) for row in params.rows()]
    names = [planned.params.name for planned in params.trainings()]
    assert (len(set(labels)), len(set(names))) == (len(labels), len(names))
    assert max(map(len, names)) <= 80


def test_a_recipe_varies_only_what_it_reads_and_has_no_value_of_its_own() -> None:
    params = ablation_params(
        recipes=("clean", "pgd_at", "agkd_bml"),
        seeds=(0,),
        grid={"steps": (7, 10), "label_smoothing": (0, 0.5), "margin": (0.03,)},
        own={"pgd_at": {"label_smoothing": 0.1}},
    )
    assert [params.label(row) for row in params.rows()] == [
        "Clean, smoothing 0",
        "Clean, smoothing 0.5",
        "PGD-AT, steps 7",
        "PGD-AT, steps 10",
        "AGKD-BML, steps 7, smoothing 0",
        "AGKD-BML, steps 7, smoothing 0.5",
        "AGKD-BML, steps 10, smoothing 0",
        "AGKD-BML, steps 10, smoothing 0.5",
    ]
    assert {t.label_smoothing for t in trained(params) if t.recipe is Recipe.PGD_AT} == {0.1}
    assert [t.teacher for t in trained(params)] == [None] * 2 + [TEACHER] * 6


def test_budgets_are_read_and_shown_as_people_write_them() -> None:
    params = ablation_params(recipes=("bml",), seeds=(0,), grid={"epsilon": ("4/255", 8 / 255)})
    assert [t.epsilon for t in trained(params)] == pytest.approx([4 / 255, 8 / 255])
    assert [t.name for t in trained(params)] == [
        "Nets · BML, ε 4/255 · seed 0", "Nets · BML, ε 8/255 · seed 0",
    ]  # fmt: skip


@given(
    name=st.text("aÄ·x ", min_size=1, max_size=80).filter(lambda text: text.strip()),
    recipes=st.lists(st.sampled_from(list(Recipe)), min_size=1, max_size=8, unique=True),
    steps=st.lists(st.integers(1, 100), min_size=1, max_size=3, unique=True),
    rates=st.lists(st.sampled_from([0.01, 0.1, 0.123456]), min_size=1, max_size=3, unique=True),
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=2, unique=True),
)
def test_the_product_is_complete_without_repeats(
    name: str, recipes: list[Recipe], steps: list[int], rates: list[float], seeds: list[int]
) -> None:
    grid = {"learning_rate": rates} | ({"steps": steps} if set(recipes) & set(ROBUST) else {})
    params = ablation_params(name=name, recipes=recipes, seeds=seeds, grid=grid)
    expected = {
        (recipe, rate, step, seed)
        for recipe in recipes
        for rate in rates
        for step in (steps if "steps" in recipe.record.parameters else [10])
        for seed in seeds
    }
    found = trained(params)
    assert {(t.recipe, t.learning_rate, t.steps, t.seed) for t in found} == expected
    assert len(found) == len(expected)
    assert all(len(t.name) <= 80 and t.name.endswith(f" · seed {t.seed}") for t in found)
    assert AblationParams.model_validate(params.model_dump(mode="json")) == params
    assert AblationParams.model_validate_json(params.model_dump_json(), strict=True) == params


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"grid": {"steps": (7, 0)}}, "grid", "AGKD-BML, steps = 0: steps: "),
        ({"grid": {"steps": ("7",)}}, "grid", 'steps = "7": steps: '),
        ({"grid": {"epochs": ()}}, "grid", "epochs: at least one value"),
        ({"grid": {"epsilon": ("8/255", 8 / 255)}}, "grid", "the same training twice"),
        ({"grid": {"name": ("x",)}}, "grid", "“name”"),
        ({"grid": {"continue_from": (None,)}}, "grid", "“continue_from”"),
        ({"grid": {"learning_rate": (math.nan,)}}, "grid.learning_rate.0.float", "finite"),
        ({"grid": {"trades_beta": ("x",)}}, "grid", "none of the recipes"),
        ({"own": {"agkd_bml": {"seed": 3}}}, "own", "“seed”"),
        ({"own": {"bml": {"steps": 3}}}, "own", "bml is not among the recipes"),
        ({"own": {"agkd_bml": {"steps": 0}}}, "own", "AGKD-BML, steps = 0"),
        ({"recipes": ("bml", "bml")}, "recipes", "each one once"),
        ({"seeds": tuple(range(34)), "grid": {"steps": (1, 2)}, "recipes": ("bml", "sml", "mart")},
         "grid", "204 trainings; at most 200"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_row(values: dict[str, Any], field: str, said: str) -> None:
    ((where, message),) = refused(**values)
    assert where == field
    assert said in message


def test_a_recipe_without_its_teacher_is_refused() -> None:
    shared = {"recipe": "trades", "teacher": None}
    assert ablation_params(training=shared, recipes=("clean", "trades", "bml")).trainings()
    ((where, message),) = refused(training=shared, recipes=("trades", "agkd"))
    assert (where, "AGKD: teacher" in message) == ("training.teacher", True)


def test_models_are_measured_at_one_budget_on_the_same_images() -> None:
    params = ablation_params(
        training={"epsilon": "4/255"}, grid={"epsilon": ("4/255", "8/255")},
        recipes=("bml",), measure={"images": 50, "steps": 7, "autoattack": False},
    )  # fmt: skip
    assert params.measure is not None
    measured = params.measure.of("a" * 32, params.training)
    assert measured.epsilon == pytest.approx(4 / 255)
    assert (measured.images, measured.attack.steps, measured.seed) == (50, 7, 0)
    assert measured.attack.relative_step == 0.25
    assert measured.further == (Method.CW,)
    assert (measured.epsilons, measured.step_counts, measured.minimal_epsilon) == ((), (), False)
    assert [column.name for column in columns_of(params)][:4] == [
        "clean", "FGSM", "PGD-7", "CW-7",
    ]  # fmt: skip


def test_a_spread_is_that_of_a_sample() -> None:
    values = [SeedValue(seed=s, accuracy=Accuracy.of(c, 10)) for s, c in enumerate((2, 4, 9))]
    spread = Spread.of(values)
    assert (spread.mean, spread.n) == (pytest.approx(0.5), 3)
    # Deviations -0.3, -0.1, 0.4: squares sum to 0.26, over n - 1 = 2 that is 0.13.
    assert spread.std == pytest.approx(math.sqrt(0.13))
    assert Spread.of(values[:1]).std is None
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_reported_figures_are_labelled_as_not_of_this_lab() -> None:
    told = {(each.recipe, each.measure): each.value for each in REPORTED}
    assert told == {
        (Recipe.PGD_AT, Measure.PGD): 0.4662,
        (Recipe.BML, Measure.PGD): 0.5653,
        (Recipe.AGKD, Measure.PGD): 0.6071,
        (Recipe.AGKD_BML, Measure.PGD): 0.7102,
        (Recipe.AGKD_BML, Measure.AUTOATTACK): 0.5059,
    }
    for each in REPORTED:
        assert each.label.startswith("reported elsewhere")
        assert all(word in each.label for word in ("WRN-28-10", "CIFAR-10", "other"))


def test_a_method_is_taken_apart_a_part_at_a_time() -> None:
    """Each row differs from the one it is compared with in one thing."""
    params = ablation_params(design="parts", recipes=(), seeds=(0, 1))
    rows, found = params.rows(), trained(params)[::2]
    assert [row.beside for row in rows] == [None, 0, 1, 2, 3, 4, 4, 6]
    assert [t.recipe for t in found] == [
        "pgd_at", "pgd_at", "pgd_at", "mart", "mart", "agkd", "bml", "agkd_bml",
    ]  # fmt: skip
    assert [t.label_smoothing for t in found] == [0] + 7 * [0.5]
    assert [t.direction for t in found[:5]] == ["away", "away", *3 * ["confusing"]]
    assert [t.start_from_teacher for t in found] == 4 * [False] + 4 * [True]
    assert {t.mart for t in found[5:]} == {True}
    for row, here in zip(rows, found, strict=True):
        if row.beside is not None:
            before = found[row.beside].model_dump()
            own = {"name", "seed"}
            differing = {k for k, v in here.model_dump().items() if v != before[k]} - own
            # `direction` says nothing to recipes that always go towards a class.
            read = here.recipe.record.parameters | {"recipe", "start_from_teacher"}
            assert len(differing & read) == 1, params.label(row)


@pytest.mark.parametrize("epsilon", [4 / 255, 8 / 255])
def test_the_steps_of_an_attack_cross_the_ball_however_few_they_are(epsilon: float) -> None:
    params = ablation_params(design="steps", recipes=(), training={"epsilon": epsilon})
    found = trained(params)[::2]
    assert [t.steps for t in found] == [1, 2, 3, 7, 10]
    assert {t.recipe for t in found} == {Recipe.AGKD_BML}
    assert [t.steps * t.step_size for t in found] == pytest.approx([2.5 * epsilon] * 5)
    assert [row.beside for row in params.rows()] == [None, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"recipes": ("bml",)}, "recipes"),
        ({"recipes": (), "grid": {"steps": (3,)}}, "grid"),
        ({"recipes": (), "own": {"bml": {"steps": 3}}}, "own"),
        ({"recipes": (), "training": {"recipe": "bml", "teacher": None}}, "training.teacher"),
        ({"recipes": (), "training": {"epsilon": 40 / 255}}, "training.step_size"),
    ],
)
def test_a_design_has_its_own_rows(values: dict[str, Any], field: str) -> None:
    ((where, _),) = refused(design="steps", **values)
    assert where == field


def test_without_a_design_recipes_have_to_be_chosen() -> None:
    assert refused(recipes=()) == [("recipes", "must be chosen")]


def test_each_recipe_smooths_as_its_authors_do_unless_the_shared_settings_say_otherwise() -> None:
    recipes = ("clean", "pgd_at", "trades", "mart", "bml")
    left = ablation_params(recipes=recipes, seeds=(0,))
    assert [t.label_smoothing for t in trained(left)] == [0.5, 0, 0, 0, 0.5]
    stored = AblationParams.model_validate(left.model_dump(mode="json"))
    assert stored == left, "what was stored says it itself"
    said = ablation_params(recipes=recipes, seeds=(0,), training={"label_smoothing": 0.5})
    assert {t.label_smoothing for t in trained(said)} == {0.5}
    own = ablation_params(recipes=recipes, seeds=(0,), own={"mart": {"label_smoothing": 0.1}})
    assert [t.label_smoothing for t in trained(own)] == [0.5, 0, 0, 0.1, 0.5]
