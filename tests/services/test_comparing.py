"""Evaluations side by side: shared images, tests, what differs, and what cannot be compared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score

from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import Attack, Method, Recipe
from app.contracts.results import Comparison, EvaluationResult, Light, Lineage
from app.contracts.units import from_255
from app.contracts.views import JobView
from app.errors import Conflict, InvalidInput, NotFound
from app.services.comparing import MAX_DIFFERING, compare, side_by_side
from app.services.evaluations import Finished
from app.services.lab import Lab
from tests.web.examples import add_job, an_id, evaluation, full_evaluation, train_params

MODELS = (("a" * 32, "Teacher", Recipe.CLEAN), ("b" * 32, "Student <b>", Recipe.AGKD_BML))


def some_models(count: int) -> list[tuple[str, str, Recipe]]:
    return [(an_id(), f"Model {i}", Recipe.AGKD_BML) for i in range(count)]


def finished(result: EvaluationResult, title: str = "Evaluate") -> Finished:
    job = JobView(
        id=an_id(), kind=JobKind.EVALUATE, status=JobStatus.SUCCEEDED, queue=Queue.EVALUATE,
        title=title, params={}, progress=None, attempt=1, cancel_requested=False,
        created_at=datetime.now(UTC), started_at=None, finished_at=None, waiting_because=None,
        failure=None, has_result=True,
    )  # fmt: skip
    return Finished(job, result)


def with_params(result: EvaluationResult, **values: Any) -> EvaluationResult:
    params = result.params.model_copy(update=values)
    return result.model_copy(update={"params": params})


def part_of(result: EvaluationResult, chosen: list[int]) -> EvaluationResult:
    """The images at `chosen` alone, in that order."""

    def pick(values: Any) -> Any:
        return tuple(values[i] for i in chosen)

    models = tuple(
        model.model_copy(
            update={
                "outcomes": model.outcomes.model_copy(
                    update={name: pick(values) for name, values in dict(model.outcomes).items()}
                )
            }
        )
        for model in result.models
        if model.outcomes
    )
    return result.model_copy(
        update={
            "images": len(chosen),
            "image_numbers": pick(result.image_numbers),
            "labels": pick(result.labels),
            "models": models,
        }
    )


def test_figures_and_tests_of_one_evaluation() -> None:
    result = full_evaluation(MODELS, images=300)
    comparison = side_by_side([finished(result)])
    assert comparison.images == 300
    assert [row.name for row in comparison.compared] == ["Teacher", "Student <b>"]
    for row, model in zip(comparison.compared, result.models, strict=True):
        assert (row.clean, row.robust) == (model.clean, model.robust)
        assert model.outcomes
        assert row.clean.value == accuracy_score(result.labels, model.outcomes.clean_prediction)
    assert [test.quantity for test in comparison.tests] == ["robust", "clean"]
    robust, clean = comparison.tests
    first, second = (np.array(m.outcomes.broken_by) == -1 for m in result.models if m.outcomes)
    assert robust.only_first == int((first & ~second).sum())
    assert robust.only_second == int((second & ~first).sum())
    assert robust.difference == pytest.approx(second.mean() - first.mean())
    assert robust.low < robust.difference < robust.high
    discordant = robust.only_first + robust.only_second
    expected = binomtest(robust.only_first, discordant, 0.5).pvalue
    assert robust.p_value == pytest.approx(expected, rel=1e-9)
    assert robust.p_adjusted == pytest.approx(min(1, 2 * robust.p_value))
    assert clean.p_adjusted >= clean.p_value


def test_only_shared_images_count_in_whatever_order_they_come() -> None:
    result = full_evaluation(MODELS[:1], images=200)
    odd = part_of(result, list(range(1, 200, 2)))
    mixed = part_of(result, [int(i) for i in np.random.default_rng(0).permutation(150)])
    comparison = side_by_side([finished(mixed), finished(odd)])
    shared = [i for i in range(150) if i % 2]
    assert comparison.images == len(shared) == 75
    outcomes = result.models[0].outcomes
    assert outcomes
    right = sum(outcomes.broken_by[i] == -1 for i in shared)
    assert [row.robust.correct for row in comparison.compared] == [right, right]
    assert [row.robust.n for row in comparison.compared] == [75, 75]
    for test in comparison.tests:
        assert (test.difference, test.only_first, test.only_second, test.p_value) == (0, 0, 0, 1)
    assert (comparison.differing, comparison.differing_total) == ((), 0)
    assert any("150 images of evaluation 1" in note for note in notes_of(comparison))
    assert any("100 images of evaluation 2" in note for note in notes_of(comparison))


def test_images_on_which_they_differ() -> None:
    """The most even splits first, with what each model said."""
    result = full_evaluation(some_models(4), images=400)
    comparison = side_by_side([finished(result)])
    assert 0 < len(comparison.differing) <= MAX_DIFFERING
    robust = np.array([np.array(m.outcomes.broken_by) == -1 for m in result.models if m.outcomes])
    assert comparison.differing_total == int((~np.isin(robust.sum(axis=0), (0, 4))).sum())
    splits = [min(sum(image.robust), 4 - sum(image.robust)) for image in comparison.differing]
    assert splits == sorted(splits, reverse=True)
    assert splits[0] == 2
    for image in comparison.differing:
        at = result.image_numbers.index(image.number)
        assert image.label == result.labels[at]
        for row, model in enumerate(result.models):
            assert model.outcomes
            assert image.clean_predictions[row] == model.outcomes.clean_prediction[at]
            assert image.worst_predictions[row] == model.outcomes.worst_prediction[at]
            assert image.robust[row] == robust[row, at]


@pytest.mark.parametrize(("count", "pairs"), [(2, 1), (4, 6), (5, 4), (8, 7)])
def test_every_pair_of_few_and_the_first_against_many(count: int, pairs: int) -> None:
    result = full_evaluation(some_models(count), images=40)
    tests = side_by_side([finished(result)]).tests
    assert len(tests) == 2 * pairs
    if count > 4:
        assert {test.first for test in tests} == {0}
        assert [test.second for test in tests] == 2 * list(range(1, count))


def test_what_makes_it_uneven_is_said() -> None:
    result = full_evaluation(MODELS[:1], images=30)
    other = with_params(
        result,
        epsilon=from_255(4),
        attack=Attack(method=Method.CW, steps=50, random_start=False),
        further=(Method.SQUARE,),
        queries=500,
    )
    notes = notes_of(side_by_side([finished(result), finished(other), finished(result)]))
    assert "The budgets differ: 8/255 (L∞) in evaluations 1 and 3; 4/255 (L∞) in " \
           "evaluation 2." in notes  # fmt: skip
    assert "The first attacks differ: PGD (20 steps of 0.25 ε, 5 starts) in evaluations 1 and 3; " \
           "CW (50 steps of 0.25 ε, from the image itself) in evaluation 2." in notes  # fmt: skip
    assert any(note.startswith("The further attacks differ: ") for note in notes)
    assert any(note.startswith("The queries differ: 1,000 in") for note in notes)
    assert not any(note.startswith("The goals") for note in notes)
    assert any(note.startswith("6 tests are made on the same images") for note in notes)


def test_queries_of_first_attacks_make_it_uneven() -> None:
    result = full_evaluation(MODELS[:1], images=30)
    attack = Attack(method=Method.SQUARE)
    few, many = (with_params(result, attack=attack, further=(), queries=n) for n in (100, 5000))
    notes = notes_of(side_by_side([finished(few), finished(many)]))
    assert "The queries differ: 100 in evaluation 1; 5,000 in evaluation 2." in notes


def test_parameters_that_an_attack_lacks_make_nothing_uneven() -> None:
    result = full_evaluation(MODELS[:1], images=30)

    def first_attacks(*attacks: Attack) -> list[str]:
        found = [finished(with_params(result, attack=attack)) for attack in attacks]
        return [n for n in notes_of(side_by_side(found)) if n.startswith("The first attacks")]

    assert first_attacks(Attack(method=Method.FGSM), Attack(method=Method.FGSM, steps=7)) == []
    assert first_attacks(
        Attack(method=Method.APGD_CE), Attack(method=Method.APGD_CE, relative_step=1)
    ) == []  # fmt: skip
    (note,) = first_attacks(Attack(method=Method.FGSM), Attack(method=Method.BIM, restarts=3))
    assert note == (
        "The first attacks differ: FGSM in evaluation 1; BIM (20 steps of 0.25 ε, from the image "
        "itself) in evaluation 2."
    )


def test_transfer_from_other_models_is_uneven() -> None:
    result = full_evaluation(MODELS[:1], images=30)
    further = (*result.params.further, Method.TRANSFER)
    one, other = (with_params(result, further=further, sources=(source * 32,)) for source in "cd")
    uneven = notes_of(side_by_side([finished(one), finished(other)]))
    assert any("(cccccccc) in evaluation 1;" in note for note in uneven)
    assert any("(dddddddd) in evaluation 2." in note for note in uneven)
    even = notes_of(side_by_side([finished(one), finished(one)]))
    assert not any("transfer" in note for note in even)


def test_an_even_comparison_has_one_note() -> None:
    result = full_evaluation(MODELS, images=30, light=Light.AMBER)
    (note,) = notes_of(side_by_side([finished(result)]))
    assert "2 tests" in note


def test_a_broken_evaluation_is_named() -> None:
    red = full_evaluation(MODELS, images=30, light=Light.RED)
    comparison = side_by_side([finished(red)])
    assert [row.light for row in comparison.compared] == [Light.GREEN, Light.RED]
    (warning,) = (one.text for one in comparison.caveats if one.severity == "warning")
    assert "“Student <b>” (evaluation 1)" in warning
    assert warning == comparison.caveats[0].text


def test_a_name_makes_no_warning() -> None:
    result = full_evaluation(MODELS[:1], images=30)
    (model,) = result.models
    source = Lineage(id="c" * 32, name="its verdict is red", sha256="1" * 64)
    row = model.attacks[0].model_copy(update={"method": Method.TRANSFER, "source": source})
    model = model.model_copy(update={"attacks": (*model.attacks, row)})
    transferred = with_params(
        result.model_copy(update={"models": (model,)}),
        further=(*result.params.further, Method.TRANSFER),
        sources=(source.id,),
    )
    other = with_params(transferred, sources=("d" * 32,))
    comparison = side_by_side([finished(transferred), finished(other)])
    assert any(source.name in one.text for one in comparison.caveats)
    assert {one.severity for one in comparison.caveats} == {"note"}


def notes_of(comparison: Comparison) -> list[str]:
    return [one.text for one in comparison.caveats]


def refused(*found: Finished) -> str:
    with pytest.raises(InvalidInput) as refusal:
        side_by_side(found)
    assert refusal.value.field == "job"
    assert refusal.value.hint
    return refusal.value.detail


def test_what_cannot_be_compared() -> None:
    result = full_evaluation(MODELS, images=30)
    elsewhere = full_evaluation(
        MODELS, images=30, dataset=Lineage(id=an_id(), name="Other", sha256="e" * 64)
    )
    assert "“Other” (eeeeeeee)" in refused(finished(result), finished(elsewhere, "E"))
    old = evaluation([("a" * 32, "Teacher")])
    assert "lab 0.1" in refused(finished(result), finished(old))
    assert "hold 1" in refused(finished(full_evaluation(MODELS[:1], images=30)))
    assert "hold 10" in refused(*[finished(result)] * 5)
    halves = [part_of(result, list(range(15))), part_of(result, list(range(15, 30)))]
    assert "share no image" in refused(*map(finished, halves))


def test_jobs_that_cannot_be_compared(lab: Lab) -> None:
    result = full_evaluation(MODELS, images=30)
    done = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    assert compare(lab, [done]).images == 30
    with pytest.raises(NotFound):
        compare(lab, [done, "0" * 32])
    for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED):
        job = add_job(lab, JobKind.EVALUATE, result.params, status=status)
        with pytest.raises(Conflict, match=status) as conflict:
            compare(lab, [done, job])
        assert conflict.value.hint
    training = add_job(lab, JobKind.TRAIN, train_params())
    for jobs in ([done, training], [done, done], [an_id() for _ in range(9)], []):
        with pytest.raises(InvalidInput) as refusal:
            compare(lab, jobs)
        assert refusal.value.field == "job"


def test_many_images_that_all_differ() -> None:
    result = full_evaluation(MODELS[:1], images=50_000)
    outcomes = result.models[0].outcomes
    assert outcomes
    turned = outcomes.model_copy(
        update={"broken_by": tuple(1 if k == -1 else -1 for k in outcomes.broken_by)}
    )
    other = result.models[0].model_copy(update={"outcomes": turned})
    comparison = side_by_side(
        [finished(result.model_copy(update={"models": (*result.models, other)}))]
    )
    assert comparison.differing_total == 50_000
    assert len(comparison.differing) == MAX_DIFFERING
