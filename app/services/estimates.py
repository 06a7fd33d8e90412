"""What a job will take, from what earlier jobs of its kind took in this lab; else nothing is said.

A training costs as much for each image and epoch as others of the same recipe, network, batch,
attack steps and image size did on the same device, or else as is reckoned from the passes of others
of its network; an evaluation for each image and model, as others with the same attacks and curves
did of the same networks, or else as is reckoned from one that had these networks among its own,
with other attacks. For an ablation, whose recipes may never have run here, a training is expected
to take what others of its network took for each pass.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from app.contracts.params import NO_ID, AblationParams, EvaluateParams, Params, Recipe, TrainParams
from app.contracts.results import EvaluationResult, ModelCard, ModelFigures
from app.contracts.stored import understood, understood_json
from app.contracts.views import Estimate
from app.services.lab import Lab
from app.services.remedies import SWITCHES, asks_for_more, expected_seconds
from app.store import catalogue, history

_LOOKED_AT = 100
"""Earlier jobs that are read, the newest."""
_COUNTED = 5
"""Of those that fit, the newest that the estimate is made from."""
_READ = 3
"""Results of other evaluations that are read in search of one from which the time follows."""
_SHARED = ("attack", "further", "queries", "epsilons", "step_counts", "stop_half_width")
"""What two evaluations have to share, beside `SWITCHES`."""


class _Run(NamedTuple):
    """An earlier job like the one asked for."""

    device: str
    work: int
    """Images, of a training in all epochs."""
    seconds: float


_Trained = tuple[str, TrainParams, int, float]
"""An earlier training: device, parameters, training images, seconds."""


def estimate(lab: Lab, params: Params) -> Estimate | None:
    """Of a job with these parameters; None where nothing like it has run here, or for others."""
    match params:
        case TrainParams():
            return _of_training(lab, params)
        case EvaluateParams():
            return _of_evaluation(lab, params)
        case AblationParams():
            parts = of_ablation(lab, params)
            return None if None in parts else _both(*parts)
    return None


def _of_training(lab: Lab, params: TrainParams) -> Estimate | None:
    dataset = catalogue.dataset(lab.database, params.dataset)
    if dataset is None or params.continue_from is not None:
        return None
    images, side = dataset.report["train_images"], dataset.report["image_size"]
    runs = [
        _Run(device, other.epochs * held, seconds)
        for device, other, held, seconds in _trained(lab, params.recipe, side)
        if _costs_as_much(params, other, "recipe", "passes")
    ]
    found = _expected(runs, params.epochs * images)
    if found is None:
        found = _by_passes(params, images, list(_trained(lab, None, side)))
        found = found and found.model_copy(update={"reckoned": True})
    return found


def _by_passes(params: TrainParams, images: int, earlier: Sequence[_Trained]) -> Estimate | None:
    """By what others of its network took for each pass of an image, whatever their recipe."""
    runs = [
        _Run(device, round(other.epochs * held * other.passes), seconds)
        for device, other, held, seconds in earlier
        if _costs_as_much(params, other)
    ]
    return _expected(runs, round(params.epochs * images * params.passes))


def of_ablation(lab: Lab, params: AblationParams) -> tuple[Estimate | None, Estimate | None]:
    """Of all trainings, and of all evaluations; None where nothing like them has run here."""
    dataset = catalogue.dataset(lab.database, params.training.dataset)
    if dataset is None:
        return None, None
    images, side = dataset.report["train_images"], dataset.report["image_size"]
    planned = [each.params for each in params.trainings()]
    earlier = list(_trained(lab, None, side))
    found = [_by_passes(one, images, earlier) for one in planned]
    measuring: Estimate | None = Estimate(seconds=0.0, jobs=0, device="")
    if params.measure is not None:
        evaluation = params.measure.of(NO_ID, params.training)
        one_model = _of_measuring(lab, evaluation, params.training.architecture, dataset.report)
        measuring = reduce(_both, [one_model] * len(planned))
    return reduce(_both, found), measuring


def _of_measuring(
    lab: Lab, params: EvaluateParams, architecture: str, report: Mapping[str, Any]
) -> Estimate | None:
    """Of one student, by others of the same network, whatever their recipe."""
    wanted = _facts(params.model_dump(mode="json"))
    earlier = [
        each
        for each in history.evaluations(lab.database, limit=_LOOKED_AT)
        if _facts(each.params) == wanted and len(each.params.get("models", ())) == 1
    ]
    models = catalogue.models_by_id(lab.database, [each.params["models"][0] for each in earlier])
    alike = {
        model
        for model, row in models.items()
        if row.card["architecture"] == architecture
        and row.card["image_size"] == report["image_size"]
        and (row.card["params"] or {}).get("recipe") != Recipe.CLEAN
    }
    runs = [
        _Run(each.device, each.images, each.seconds)
        for each in earlier
        if each.params["models"][0] in alike
    ]
    return _expected(runs, min(params.images, report["test_images"]))


def _both(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    """One after the other; None where one of them is not known."""
    if first is None or second is None:
        return None
    jobs = max(first.jobs, second.jobs)
    return Estimate(seconds=first.seconds + second.seconds, jobs=jobs, device=first.device)


def _trained(lab: Lab, recipe: Recipe | None, side: int) -> Iterator[_Trained]:
    """Earlier trainings on images of that size."""
    earlier = history.trainings(lab.database, recipe, limit=_LOOKED_AT)
    sizes = catalogue.datasets_by_id(lab.database, {each.dataset_id for each in earlier})
    for each in earlier:
        card, held = understood(ModelCard, each.card), sizes.get(each.dataset_id)
        if card is None or held is None or card.params is None or card.image_size != side:
            continue
        yield card.environment.device, card.params, held.report["train_images"], each.seconds


def _costs_as_much(params: TrainParams, other: TrainParams, *further: str) -> bool:
    """A pass of an image, or a whole step where `further` says so."""
    shared = ("architecture", "batch_size", "precision", "team", *further)
    return all(getattr(params, name) == getattr(other, name) for name in shared)


def _of_evaluation(lab: Lab, params: EvaluateParams) -> Estimate | None:
    if params.stop_half_width is not None:  # who can say on how many images the band is narrow?
        return None
    dataset = catalogue.dataset(lab.database, params.dataset)
    if dataset is None:
        return None
    earlier = history.evaluations(lab.database, limit=_LOOKED_AT)
    networks = _networks(lab, [*params.models, *(m for each in earlier for m in _models(each))])
    if not networks.keys() >= set(params.models):
        return None
    asked = [networks[model] for model in params.models]
    images = min(params.images, dataset.report["test_images"])
    wanted = _facts(params.model_dump(mode="json"))
    runs = [
        _Run(each.device, each.images, each.seconds)
        for each in earlier
        if _facts(each.params) == wanted
        and sorted(networks.get(model, "") for model in _models(each)) == sorted(asked)
    ]
    found = _expected(runs, images)
    return found or _reckoned(lab, params.model_copy(update={"images": images}), earlier, networks)


def _models(each: history.Evaluated) -> Sequence[str]:
    found: Sequence[str] = each.params.get("models", ())
    return found


def _networks(lab: Lab, models: Sequence[str]) -> dict[str, str]:
    """What decides how long a model takes, of those that are there."""
    held = catalogue.models_by_id(lab.database, models)
    return {model: _network(row.card) for model, row in held.items()}


def _reckoned(
    lab: Lab,
    params: EvaluateParams,
    earlier: Sequence[history.Evaluated],
    networks: Mapping[str, str],
) -> Estimate | None:
    """From what the attacks of an earlier evaluation took that had these networks among its own;
    the newest that tells it.
    """
    asked = [networks[model] for model in params.models]
    whole = [
        each
        for each in earlier
        if each.params.get("stop_half_width") is None
        and {networks.get(model) for model in _models(each)} >= set(asked)
    ]
    for each in whole[:_READ]:
        if asks_for_more(params, each.params):  # reading it would tell no time
            continue
        try:
            result = understood_json(
                EvaluationResult, lab.files.here(lab.files.result(each.result_name)).read_bytes()
            )
        except FileNotFoundError:
            continue
        seconds = None if result is None else expected_seconds(_of(asked, result, networks), params)
        if seconds is not None:
            return Estimate(seconds=seconds, jobs=1, device=each.device, reckoned=True)
    return None


def _of(
    asked: Sequence[str], result: EvaluationResult, networks: Mapping[str, str]
) -> EvaluationResult:
    """What an evaluation would have been of models of these networks alone, each of them one of its
    own. What no attack took is shared by all of its models alike.
    """
    by_network = {networks.get(model.model): model for model in result.models}
    models = tuple(by_network[network] for network in asked)
    spent, old = _attacking(models), _attacking(result.models)
    whole = result.environment.seconds
    seconds = spent + max(0.0, whole - old) * len(models) / len(result.models)
    pace = result.pace
    if pace is not None and whole > 0:
        pace = pace.model_copy(update={"passes": pace.passes * seconds / whole})
    environment = result.environment.model_copy(update={"seconds": seconds})
    return result.model_copy(update={"models": models, "environment": environment, "pace": pace})


def _attacking(models: Sequence[ModelFigures]) -> float:
    return sum(row.seconds for model in models for row in model.attacks)


def _facts(params: Mapping[str, Any]) -> dict[str, Any]:
    """What an evaluation's time for each image depends on."""
    found = {name: params.get(name) for name in (*_SHARED, *SWITCHES)}
    found["epsilons"] = len(found["epsilons"] or ())
    return found | {"sources": len(params.get("sources") or ())}


def _network(card: Mapping[str, Any]) -> str:
    """Network, image size and recipe: what resists is attacked for longer. Black boxes are told
    apart by how large they are, or by where and how fast they are asked."""
    params, asked = card["params"] or {}, card.get("endpoint") or {}
    named = card["architecture"]
    if asked:
        named = f"{asked['address']}, {asked['per_second']} images/s"
    elif card.get("onnx"):
        named = f"{named} of {card['parameters']}"
    return f"{named}, {card['image_size']} px, {params.get('recipe')}"


def _expected(runs: Sequence[_Run], work: int) -> Estimate | None:
    """By the newest runs on the device of the newest: what is there at least, and a share a unit.

    Where all did as much work, what is there at least cannot be told apart: then by their pace.
    """
    same = [run for run in runs if run.device == runs[0].device][:_COUNTED]
    if not same:
        return None
    pace = statistics.median(run.seconds / run.work for run in same)
    seconds = pace * work
    if len({run.work for run in same}) > 1:
        line = statistics.linear_regression(
            [run.work for run in same], [run.seconds for run in same]
        )
        if line.slope > 0 and line.intercept > 0:
            seconds = line.intercept + line.slope * work
    return Estimate(seconds=seconds, jobs=len(same), device=same[0].device)
