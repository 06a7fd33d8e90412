"""A job is expected to take what jobs like it took here; where there are none, nothing is said."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationParams, EvaluateParams, Recipe, TrainParams
from app.services import estimates, jobs
from app.services.estimates import estimate
from app.services.lab import Lab
from app.services.remedies import expected_seconds
from app.store.tables import JobRow, ModelRow
from app.web.forms.entries import entries_of
from tests.web.example_evaluation import full_evaluation
from tests.web.examples import BLACK_BOX, ENDPOINT, ENVIRONMENT, add_dataset, add_job, add_model
from tests.web.measured import add_measured


@pytest.fixture
def dataset(lab: Lab) -> str:
    return add_dataset(lab)  # 900 training and 6 test images


def trained(lab: Lab, dataset: str, seconds: float, *, attempt: int = 1, **params: Any) -> None:
    """A training that took so long."""
    asked = TrainParams(**{"name": "Net", "dataset": dataset, "epochs": 10, **params})
    job = add_job(
        lab, JobKind.TRAIN, asked, status=JobStatus.SUCCEEDED, attempt=attempt, started_at=1.0,
        finished_at=1.0 + seconds,
    )  # fmt: skip
    card = {"params": asked.model_dump(mode="json")}
    device = {"environment": ENVIRONMENT.model_copy(update={"device": "cpu"}).model_dump()}
    model = add_model(lab, dataset, **card, **device)
    with lab.database.writing() as session:
        session.execute(
            update(ModelRow).where(ModelRow.id == model).values(job_id=job, recipe=asked.recipe)
        )


def asked(dataset: str, **params: Any) -> TrainParams:
    return TrainParams(**{"name": "New", "dataset": dataset, "epochs": 20, **params})


def test_nothing_is_said_where_nothing_has_run(lab: Lab, dataset: str) -> None:
    assert estimate(lab, asked(dataset)) is None
    assert jobs.submit(lab, JobKind.TRAIN, asked(dataset)).expected_s is None


def test_a_training_takes_what_others_took_for_each_epoch(lab: Lab, dataset: str) -> None:
    for seconds in (100.0, 120.0, 1000.0):
        trained(lab, dataset, seconds)
    found = estimate(lab, asked(dataset))
    assert found is not None
    assert (found.seconds, found.jobs, found.device) == (pytest.approx(240.0), 3, "cpu")
    assert jobs.submit(lab, JobKind.TRAIN, asked(dataset)).expected_s == pytest.approx(240.0)


def test_what_does_not_grow_with_the_work_is_told_apart(lab: Lab, dataset: str) -> None:
    for epochs in (10, 20):
        trained(lab, dataset, 60.0 + 10.0 * epochs, epochs=epochs)
    found = estimate(lab, asked(dataset, epochs=100))
    assert found is not None
    assert found.seconds == pytest.approx(1060.0)


@pytest.mark.parametrize(
    "other",
    [
        {"architecture": "wrn-16-4"},
        {"batch_size": 64},
        {"precision": "bfloat16"},
    ],
)
def test_only_what_costs_as_much_counts(lab: Lab, dataset: str, other: dict[str, Any]) -> None:
    trained(lab, dataset, 100.0)
    assert estimate(lab, asked(dataset, **other)) is None
    assert estimate(lab, asked(dataset, seed=7, learning_rate=0.01)) is not None


def test_without_one_of_its_recipe_a_trainings_passes_are_counted(
    lab: Lab, dataset: str, client: httpx.Client
) -> None:
    trained(lab, dataset, 60.0)  # three passes, ten epochs
    student = asked(dataset, recipe=Recipe.PGD_AT, steps=10)
    found = estimate(lab, student)
    assert found is not None
    assert found.reckoned
    assert found.seconds == pytest.approx(60 * 2 * 23 / 3)
    typed = entries_of(TrainParams, student.model_dump(mode="json"))
    assert "Very roughly" in client.post("/train/estimate", data=typed).text


def test_attack_steps_count_only_where_they_are_taken(lab: Lab, dataset: str) -> None:
    trained(lab, dataset, 100.0, recipe=Recipe.PGD_AT, steps=7)
    for steps, reckoned in ((10, True), (7, False)):
        found = estimate(lab, asked(dataset, recipe=Recipe.PGD_AT, steps=steps))
        assert found is not None
        assert found.reckoned is reckoned
    trained(lab, dataset, 100.0, steps=7)
    found = estimate(lab, asked(dataset, steps=10))
    assert found is not None
    assert not found.reckoned


def test_runs_that_were_interrupted_or_continued_tell_nothing(lab: Lab, dataset: str) -> None:
    trained(lab, dataset, 100.0, attempt=2)
    trained(lab, dataset, 100.0, continue_from="a" * 32)
    assert estimate(lab, asked(dataset)) is None


def evaluated(lab: Lab, model: str, seconds: float, **params: Any) -> None:
    job = add_measured(lab, [(model, "Net", 80, 40)], **params)
    with lab.database.writing() as session:
        timed = update(JobRow).where(JobRow.id == job)
        session.execute(timed.values(started_at=0.0, finished_at=seconds))


def test_an_evaluation_takes_what_others_with_its_attacks_took_for_each_image(
    lab: Lab, dataset: str
) -> None:
    model = add_model(lab, dataset)
    evaluated(lab, model, 300.0)  # of 100 images
    params = {"models": (model,), "dataset": dataset, "epsilons": (0.0, 0.1, 0.2),
              "step_counts": (1, 10)}  # fmt: skip
    found = estimate(lab, EvaluateParams(**params, images=4, seed=3))
    assert found is not None
    assert found.seconds == pytest.approx(12.0)
    assert found.device == "cpu"
    everything = estimate(lab, EvaluateParams(**params, images=1000))
    assert everything is not None
    assert everything.seconds == pytest.approx(18.0)  # there are six
    curves = estimate(lab, EvaluateParams(**params | {"step_counts": (1, 50)}))
    assert curves is not None
    assert curves.reckoned
    wide = add_model(lab, dataset, architecture="wrn-16-4")
    for other in ({"further": ("fgsm",)}, {"corruptions": True}, {"stop_half_width": 0.05},
                  {"models": (model, wide)}):  # fmt: skip
        assert estimate(lab, EvaluateParams(**params | other)) is None


def test_a_black_box_says_nothing_of_another(lab: Lab, dataset: str) -> None:
    far = ENDPOINT["endpoint"]
    asked = {"models": (add_model(lab, dataset, **ENDPOINT),), "dataset": dataset,
             "epsilons": (0.0, 0.1, 0.2), "step_counts": (1, 10)}  # fmt: skip
    evaluated(lab, asked["models"][0], 300.0)
    evaluated(lab, add_model(lab, dataset, **BLACK_BOX), 300.0)
    others = {
        "the same address": ENDPOINT,
        "another one": ENDPOINT | {"endpoint": far | {"address": "https://elsewhere.example/"}},
        "a slower one": ENDPOINT | {"endpoint": far | {"per_second": 1.0}},
        "as large": BLACK_BOX,
        "larger": BLACK_BOX | {"parameters": 25_000_000},
    }
    said = {
        what: estimate(lab, EvaluateParams(**asked | {"models": (add_model(lab, dataset, **of),)}))
        for what, of in others.items()
    }
    assert [what for what, found in said.items() if found] == ["the same address", "as large"]


def test_without_one_like_it_the_time_follows_from_what_another_ones_parts_took(
    lab: Lab, client: httpx.Client, dataset: str
) -> None:
    model = add_model(lab, dataset)
    earlier = full_evaluation([(model, "Net", Recipe.CLEAN)], images=4)
    plain = {"further": (), "sources": (), "corruptions": False, "dataset": dataset}
    params = EvaluateParams.model_validate({**earlier.params.model_dump(), **plain})
    earlier = earlier.model_copy(update={"params": params})
    times = {"started_at": 0.0, "finished_at": 60.0, "attempt": 1}
    add_job(lab, JobKind.EVALUATE, params, result=earlier, **times)
    attack = {**params.attack.model_dump(), "steps": 2 * params.attack.steps}
    more = EvaluateParams.model_validate({**params.model_dump(), "attack": attack})
    found = estimate(lab, more)
    assert found is not None
    assert found.reckoned
    assert found.seconds == pytest.approx(expected_seconds(earlier, more))
    typed = entries_of(EvaluateParams, more.model_dump(mode="json"))
    assert "Very roughly" in client.post("/evaluate/estimate", data=typed).text
    unknown = more.model_copy(update={"corruptions": True})
    assert estimate(lab, unknown) is None


def test_the_time_of_some_models_follows_from_an_evaluation_that_had_others_too(
    lab: Lab, dataset: str
) -> None:
    teacher, student = add_model(lab, dataset), add_model(lab, dataset, architecture="wrn-16-4")
    both = [(teacher, "Net", Recipe.CLEAN), (student, "Wide", Recipe.CLEAN)]
    earlier = full_evaluation(both, images=4)
    plain = {"further": (), "sources": (), "corruptions": False, "dataset": dataset}
    params = EvaluateParams.model_validate({**earlier.params.model_dump(), **plain})
    earlier = earlier.model_copy(update={"params": params})
    times = {"started_at": 0.0, "finished_at": 60.0, "attempt": 1}
    add_job(lab, JobKind.EVALUATE, params, result=earlier, **times)
    whole, *parts = (
        estimate(lab, EvaluateParams.model_validate({**params.model_dump(), "models": models}))
        for models in ((teacher, student), (teacher,), (student,))
    )
    assert whole is not None
    assert not whole.reckoned
    assert None not in parts
    assert all(part.reckoned for part in parts if part)
    seconds = sum(part.seconds for part in parts if part)
    assert seconds == pytest.approx(earlier.environment.seconds)
    other = {"models": (teacher, add_model(lab, dataset, architecture="preact-resnet-18"))}
    assert estimate(lab, EvaluateParams.model_validate({**params.model_dump(), **other})) is None


def ablation(dataset: str, teacher: str, **changes: Any) -> AblationParams:
    shared = {"name": "x", "dataset": dataset, "recipe": "agkd_bml", "teacher": teacher}
    training = shared | {"epochs": 20} | changes.pop("training", {})
    values = {"name": "Apart", "design": "steps", "seeds": (0,), "training": training}
    return AblationParams.model_validate(values | changes)


def test_an_ablation_takes_as_long_as_its_passes_through_the_network(
    lab: Lab, dataset: str
) -> None:
    """PGD-AT with 2 steps makes 2 * 2 + 3 = 7 passes for each image, AGKD-BML with k steps
    4 * k + 9: with 1, 2, 3, 7 and 10 steps 137 in all."""
    teacher = add_model(lab, dataset)
    params = ablation(dataset, teacher, measure=None)
    assert estimates.of_ablation(lab, params)[0] is None
    trained(lab, dataset, 70.0, recipe=Recipe.PGD_AT, steps=2)
    training, measuring = estimates.of_ablation(lab, params)
    assert training is not None
    assert training.seconds == pytest.approx(137 * 10.0 * 2)  # twice the epochs
    assert measuring is not None
    assert measuring.seconds == 0
    assert jobs.submit(lab, JobKind.ABLATION, params).expected_s == pytest.approx(2740)
    other = ablation(dataset, teacher, measure=None, training={"architecture": "wrn-16-4"})
    assert estimates.of_ablation(lab, other)[0] is None


def test_a_pass_that_perturbs_the_weights_is_counted(dataset: str) -> None:
    plain = asked(dataset, recipe=Recipe.PGD_AT, steps=3)
    perturbed = asked(dataset, recipe=Recipe.PGD_AT, steps=3, awp_gamma=0.01, awp_warmup=19)
    never = asked(dataset, recipe=Recipe.PGD_AT, steps=3, awp_gamma=0.01, awp_warmup=20)
    assert [params.passes for params in (plain, perturbed, never)] == [9, 12, 9]
    assert asked(dataset).passes == 3
