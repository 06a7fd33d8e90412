"""What remains of an evaluation where a model only answers, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from numpy.random import SeedSequence
from pydantic import ValidationError

from app.contracts.access import Access, Need
from app.contracts.attacks import Method
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    Attack,
    EvaluateParams,
    ExplainParams,
    Norm,
    Recipe,
    ReleaseParams,
    TrainParams,
)
from app.contracts.results import Light, ModelFigures
from app.errors import InvalidInput
from app.services import checks
from tests.jobs.evaluations import evaluate, small, untimed
from tests.jobs.measured import Measured
from tests.jobs.onnx_files import fitted, model_of
from tests.jobs.runs import run
from tests.jobs.test_importing_model import bring, result
from worker.attacks.square import square
from worker.data.augment import to_float

SQUARE = Attack(method=Method.SQUARE)


@pytest.fixture(scope="module")
def black_box(measured: Measured) -> str:
    """The id of a black box."""
    data = model_of(fitted(measured.dataset)).SerializeToString()
    job = bring(measured, data, architecture=None, pixels="0-1", black_box=True)
    return result(measured, job).model


@pytest.fixture(scope="module")
def figures(measured: Measured, black_box: str) -> ModelFigures:
    params = asked(
        measured, black_box, further=(Method.HOP_SKIP_JUMP,), corruptions=True, keep_adversarial=3
    )
    (found,) = evaluate(measured, params).models
    return found


def asked(measured: Measured, *models: str, **changes: Any) -> EvaluateParams:
    return small(measured, SQUARE, models=models, queries=60, **{"epsilon": 4 / 255, **changes})


def test_square_is_the_first_attack_and_draws_the_curves(
    measured: Measured, figures: ModelFigures
) -> None:
    assert [row.method for row in figures.attacks] == ["square", "hop_skip_jump", "noise"]
    assert figures.against_steps == ()
    assert [point.x for point in figures.against_queries] == [1, 2, 5, 10, 20, 50, 60]
    assert figures.robust is not None
    first, alone = figures.attacks[0], figures.attacks[0].alone
    assert alone is not None
    assert figures.against_queries[-1].accuracy == alone
    assert 0 < first.broken < first.attacked
    assert first.largest <= 4 / 255 + 1e-6
    curve = [point.accuracy.correct for point in figures.against_epsilon]
    assert curve == sorted(curve, reverse=True)
    assert curve[0] == figures.clean.correct
    assert len(figures.corruptions) > 0


def test_what_it_breaks_is_what_square_breaks(measured: Measured, black_box: str) -> None:
    """One chunk, the same seed: the attack itself finds the same images."""
    (found,) = evaluate(measured, asked(measured, black_box, epsilons=())).models
    assert found.outcomes is not None
    test = measured.dataset.split("test").to("cpu")
    net = fitted(measured.dataset)
    params = asked(measured, black_box)
    drawn = measured.dataset.split("test").drawn(seed=params.seed)[: params.images]
    x, y = to_float(test.images[drawn.tolist()]), test.labels[drawn.tolist()]
    right = net.logits(x).argmax(dim=1) == y
    seed = int(SeedSequence((params.seed, 0)).generate_state(1)[0])
    with torch.no_grad():
        tried = square(
            net.logits, x[right], y[right], eps=4 / 255, norm="linf", queries=60, seed=seed
        )
    broken = int((tried.first_break <= 60).sum())
    assert found.attacks[0].broken == pytest.approx(broken, abs=1)


def test_the_verdict_is_amber_at_best_and_says_why(figures: ModelFigures) -> None:
    verdict = figures.verdict
    assert verdict is not None
    assert verdict.light is Light.AMBER
    lights = {check.id: check.light for check in verdict.checks}
    assert lights["gradients_followed"] is Light.AMBER
    assert "zero_gradients" not in lights
    assert lights["perturbations"] is lights["passes_agree"] is Light.GREEN
    assert "An attack followed the gradients" in verdict.sentence


def test_the_gallery_has_images_and_no_maps(figures: ModelFigures) -> None:
    assert figures.gallery is not None
    assert len(figures.gallery.images) > 0
    for image in figures.gallery.images:
        assert image.model.clean.attention == image.model.adversarial.attention == ()
    assert (figures.attention, figures.embedding) == (None, None)


@pytest.mark.parametrize(("norm", "epsilon"), [(Norm.L2, 0.8), (Norm.L1, 12.0)])
def test_other_norms_are_asked_in_as_well(
    measured: Measured, black_box: str, norm: Norm, epsilon: float
) -> None:
    attack = Attack(method=Method.SQUARE, norm=norm)
    params = small(
        measured, attack, models=(black_box,), queries=30, epsilon=epsilon, epsilons=(), images=20
    )
    (found,) = evaluate(measured, params).models
    assert found.attacks[0].broken > 0
    assert found.attacks[0].largest <= epsilon * (1 + 1e-5)


def test_the_same_evaluation_twice_is_the_same(measured: Measured, black_box: str) -> None:
    params = asked(measured, black_box, epsilons=(), images=20)
    assert untimed(evaluate(measured, params)) == untimed(evaluate(measured, params))


def test_both_kinds_are_compared_under_one_black_box_attack(
    measured: Measured, black_box: str
) -> None:
    params = asked(
        measured, black_box, measured.student, further=(Method.TRANSFER,),
        sources=(measured.teacher,), epsilons=(), images=20,
    )  # fmt: skip
    checks.check(measured.lab, JobKind.EVALUATE, params)  # type: ignore[arg-type]
    found = evaluate(measured, params)
    for model in found.models:
        assert [row.method for row in model.attacks] == ["square", "transfer", "noise"]
        assert model.verdict is not None
        assert model.verdict.light is not Light.GREEN


@pytest.mark.parametrize("method", Method)
def test_each_attack_says_whether_a_black_box_is_enough(method: Method) -> None:
    asks = {Method.SQUARE, Method.HOP_SKIP_JUMP, Method.TRANSFER, Method.NOISE}
    assert (method.record.needs in Access.BLACK_BOX.record.gives) == (method in asks)


def test_params_that_need_gradients_do_not_go_with_square() -> None:
    given = {"models": ["1" * 32], "dataset": "2" * 32, "attack": {"method": "square"}}
    params = EvaluateParams.model_validate(given)
    assert (params.attention, params.minimal_epsilon, params.embedding) == (False, False, False)
    assert params.needs == {Need.SCORES}
    for wrong in (
        {"attention": True}, {"minimal_epsilon": True}, {"embedding": True},
        {"further": ["autoattack"]}, {"further": ["feature"]},
    ):  # fmt: skip
        with pytest.raises(ValidationError, match="needs"):
            EvaluateParams.model_validate(given | wrong)
    for garbage in (None, [], "square", {"method": []}, {"method": {}}):
        with pytest.raises(ValidationError):
            EvaluateParams.model_validate(given | {"attack": garbage})
    with pytest.raises(ValidationError, match="one of fgsm"):
        ExplainParams(upload="1" * 32, models=("2" * 32,), attack=SQUARE)


def wrongly_used(measured: Measured, black_box: str) -> Iterator[tuple[JobKind, Any, str]]:
    dataset = measured.dataset_id
    yield JobKind.EVALUATE, small(measured, models=(black_box,)), "models"
    yield (
        JobKind.EVALUATE,
        asked(measured, measured.student, further=(Method.TRANSFER,), sources=(black_box,)),
        "sources",
    )
    yield (
        JobKind.TRAIN,
        TrainParams(
            name="S", dataset=dataset, teacher=black_box, recipe=Recipe.AGKD_BML, batch_size=10
        ),
        "teacher",
    )
    yield JobKind.EXPLAIN, ExplainParams(upload="1" * 32, models=(black_box,)), "models"
    yield JobKind.RELEASE, ReleaseParams(model=black_box), "model"


def test_what_needs_more_than_answers_is_refused_before_it_starts(
    measured: Measured, black_box: str
) -> None:
    for kind, params, field in wrongly_used(measured, black_box):
        with pytest.raises(InvalidInput, match="is a black box") as refused:
            checks.check(measured.lab, kind, params)  # type: ignore[arg-type]
        assert refused.value.field == field


def test_a_worker_that_is_asked_all_the_same_refuses_too(
    measured: Measured, black_box: str
) -> None:
    for kind, params, _ in wrongly_used(measured, black_box):
        row = run(measured.lab, kind, params)
        assert row.status == JobStatus.FAILED
        assert row.failure is not None
        assert "is a black box" in row.failure["detail"], (kind, row.failure)
