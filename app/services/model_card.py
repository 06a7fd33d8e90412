"""A model's card as model hubs read it: Markdown, with figures for programs at its top.

The top is YAML (https://huggingface.co/docs/hub/model-cards), written as JSON, which is YAML too:
so no name from outside can be anything but a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from app.contracts import words
from app.contracts.params import EvaluateParams
from app.contracts.results import (
    Check,
    EvaluationResult,
    Light,
    ModelFigures,
    OnnxFile,
    TestAccuracy,
)
from app.contracts.views import ModelView
from app.contracts.words import attack_in_full, percent, threat_model, with_interval

_MARKUP = re.compile(r"([\\`*_{}\[\]|<>#~&])")


def card(
    model: ModelView,
    onnx: OnnxFile,
    evaluation: EvaluationResult | None,
    *,
    usage: str,
    version: str,
) -> str:
    """The card of a released model.

    Args:
        evaluation: What its figures are; None where there is none that can be read.
        usage: Python that runs it.
        version: Of the lab.
    """
    figures = None if evaluation is None else _figures(model, evaluation)
    top = json.dumps(_top(model, evaluation, figures), indent=2, ensure_ascii=False)
    parts = [
        f"---\n{top}\n---\n\n# {_plain(model.name)}",
        *_what(model),
        "## How robust it is",
        *(_robust(model, evaluation, figures) if evaluation and figures else _known(model)),
        "## Use",
        f"```python\n{usage.strip()}\n```",
        *_files(onnx),
        f"Made by AGKD-BML Lab {version}, after Wang et al., ICCV 2021, arXiv 2108.06017.",
    ]
    return "\n\n".join(parts) + "\n"


def _figures(model: ModelView, evaluation: EvaluationResult) -> ModelFigures:
    return next(one for one in evaluation.models if one.model == model.id)


def _plain(text: str) -> str:
    """Text from outside, of which Markdown makes nothing else."""
    return _MARKUP.sub(r"\\\1", text)


def _top(
    model: ModelView, evaluation: EvaluationResult | None, figures: ModelFigures | None
) -> dict[str, Any]:
    results = [
        _entry(one.dataset.name, one.dataset.sha256, [_tested(one)]) for one in model.card.test
    ]
    if evaluation is not None and figures is not None:
        lineage = evaluation.dataset
        metrics = list(_metrics(evaluation.params, figures))
        results.insert(0, _entry(lineage.name, lineage.sha256, metrics))
    return {
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "adversarial-robustness", "agkd-bml-lab"],
        "model-index": [{"name": model.name, "results": results}],
    }


def _entry(dataset: str, sha256: str, metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": dataset, "type": "imagefolder", "split": "test", "revision": sha256},
        "metrics": list(metrics),
    }


def _metric(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"type": "accuracy", "name": name, "value": value, **more}


def _tested(one: TestAccuracy) -> dict[str, Any]:
    return _metric(f"Accuracy, {one.measure}", one.accuracy.value)


def _metrics(params: EvaluateParams, figures: ModelFigures) -> Iterator[dict[str, Any]]:
    yield _metric("Clean accuracy", figures.clean.value)
    if figures.robust is not None:
        threat = threat_model(params.attack.norm, params.epsilon)
        light = None if figures.verdict is None else figures.verdict.light
        more = {"verdict": "not checked" if light is None else light}
        yield _metric(f"Robust accuracy, worst case, ε = {threat}", figures.robust.value, **more)


def _what(model: ModelView) -> Iterator[str]:
    card = model.card
    learned = "" if card.params is None else f", trained by {card.params.recipe_name}"
    yield (
        f"A classifier of {card.image_size} × {card.image_size} pixel images into "
        f"{len(card.classes)} classes: {_plain(card.architecture)}, {card.parameters:,} "
        f"parameters{learned}."
    )
    yield from (f"> **Note:** {_plain(warning)}" for warning in card.warnings)
    told = [
        f"- Classes, in the order of the logits: {', '.join(map(_plain, card.classes))}",
        f"- Images: {_plain(card.dataset.name)}, SHA-256 `{card.dataset.sha256}`",
    ]
    if card.teacher is not None:
        told.append(f"- Teacher: {_plain(card.teacher.name)}, SHA-256 `{card.teacher.sha256}`")
    yield "\n".join([*told, f"- Kept: {_plain(card.selection)}"])


def _known(model: ModelView) -> Iterator[str]:
    yield "This lab has no evaluation of it that can be read: nothing vouches for its robustness."
    lines = [
        f"- {_plain(one.measure)}: {with_interval(one.accuracy)} on {one.accuracy.n:,} test images "
        f"of {_plain(one.dataset.name)}"
        for one in model.card.test
    ]
    if lines:
        yield "\n".join(["Figures that came with it:", "", *lines])


def _robust(model: ModelView, evaluation: EvaluationResult, figures: ModelFigures) -> Iterator[str]:
    params, verdict = evaluation.params, figures.verdict
    tried = [attack_in_full(params.attack), *(m.record.title for m in params.further)]
    light = None if verdict is None else verdict.light
    robust = "not measured" if figures.robust is None else with_interval(figures.robust)
    yield "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| Clean accuracy (95 %) | {with_interval(figures.clean)} |",
            f"| Robust accuracy (95 %), worst case of each image | {robust} |",
            f"| Threat model | {threat_model(params.attack.norm, params.epsilon)}, "
            f"{_plain(words.goal(params.attack))} |",
            f"| Attacks | {', '.join(tried)} |",
            f"| Images | {evaluation.images:,} test images of {_plain(evaluation.dataset.name)} |",
            f"| Verdict | {'not checked' if light is None else f'{light}: {light.standing}'} |",
        ]
    )
    yield _chosen(model, params)
    if verdict is not None:
        yield _plain(verdict.sentence)
        yield "\n".join(_doubt(check) for check in verdict.checks if check.light is not Light.GREEN)
    if figures.attacks:
        head = ["| attack | broke | robust after it |", "|---|---|---|"]
        rows = (
            f"| {row.method.record.title} | {row.broken:,} of {row.attacked:,} | "
            f"{percent(row.worst_case.value)} |"
            for row in figures.attacks
        )
        yield "\n".join([*head, *rows])


def _chosen(model: ModelView, params: EvaluateParams) -> str:
    """Why these figures are shown, of all that were measured."""
    own = model.card.trained_for
    if own is None:
        among = "of all threat models, as none is known that it was trained for"
    elif own == (params.attack.norm, params.epsilon, params.attack.goal):
        among = "under the threat model that it was trained for"
    else:
        among = (
            f"of all threat models, as none is under {threat_model(*own[:2])}, any wrong class, "
        )
        among += "that it was trained for"
    return (
        f"The figures are of this lab's strongest evaluation of it {among}: a valid one before an "
        "invalid one, one with AutoAttack before one without, then of most images, then the newest."
    )


def _doubt(check: Check) -> str:
    doubt = check.problem or f"{check.title}: {check.figure}"
    return f"- {check.light}: " + _plain(f"{doubt}. {check.sentence}")


def _files(onnx: OnnxFile) -> Iterator[str]:
    yield (
        f"`model.onnx` (opset {onnx.opset}) takes images (N, 3, H, W) in [0, 1] and normalises "
        f"inside. On {onnx.checked_on} random images its logits differ by at most "
        f"{onnx.difference:.1e} from the network's own. `model.safetensors` has the weights as the "
        "lab keeps them, `card.json` what they are, `job.json` the job that trains them again, "
        "`evaluation.json` the evaluation, to be judged, or run again in a lab that has the images."
    )
