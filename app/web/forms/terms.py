"""Where the help says more about a parameter than its form does: page and anchor below `/help`.

What needs no more than the line below its field is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from app.contracts.params import (
    AblationMeasure,
    AblationParams,
    Attack,
    EvaluateParams,
    ExplainParams,
    ImportModelParams,
    Params,
    TrainParams,
)

_THREAT, _ATTACKS = "evaluating#the-threat-model", "evaluating#the-attacks"
_FIGURE, _PAGE = "evaluating#how-the-figure-comes-about", "evaluating#how-to-read-the-page"

_TERMS: Mapping[type[Params], Mapping[str, str]] = {
    TrainParams: {
        "recipe": "training#recipes",
        "teacher": "training#recipes",
        "architecture": "importing#the-network",
        "precision": "training#weight-averaging-and-precision",
        "schedule": "training#schedule",
        "ema_decay": "training#weight-averaging-and-precision",
        "label_smoothing": "training#label_smoothing",
        "epsilon": "training#epsilon",
        "step_size": "training#epsilon",
        "steps": "training#epsilon",
        "direction": "training#recipes",
        "awp_gamma": "training#adversarial-weight-perturbation",
        "awp_warmup": "training#adversarial-weight-perturbation",
        "agkd_weight": "training#agkd_weight",
        "bml_weight": "training#bml_weight",
        "margin": "training#bml_weight",
        "mu": "training#bml_weight",
        "mart": "training#mart",
        "mart_beta": "training#mart",
        "trades_beta": "training#trades_beta",
        "start_from_teacher": "training#start_from_teacher",
        **dict.fromkeys(
            ("processes", "nodes", "sync_batch_norm"), "training#several-gpus-and-machines"
        ),
        "continue_from": "training#runs-that-end-early",
        "device": "running#placement",
    },
    Attack: {
        "method": _ATTACKS,
        "norm": _THREAT,
        "steps": "evaluating#relative_step",
        "relative_step": "evaluating#relative_step",
        "random_start": "evaluating#restarts",
        "restarts": "evaluating#restarts",
        "goal": "trust#goal",
    },
    EvaluateParams: {
        "images": "evaluating#what-it-costs",
        "epsilon": _THREAT,
        "further": _ATTACKS,
        "queries": _ATTACKS,
        "sources": "trust#transfer",
        "epsilons": _PAGE,
        "step_counts": _PAGE,
        "minimal_epsilon": _FIGURE,
        "corruptions": _ATTACKS,
        "attention": _PAGE,
        "embedding": _PAGE,
        "stop_half_width": _FIGURE,
        "batch_size": "evaluating#what-it-costs",
        "seed": _FIGURE,
        "device": "running#placement",
    },
    AblationParams: dict.fromkeys(
        ("training", "design", "recipes", "grid", "own", "seeds", "measure"), "training#ablations"
    ),
    AblationMeasure: {
        "images": "evaluating#what-it-costs",
        "cw": _ATTACKS,
        "autoattack": _ATTACKS,
        "batch_size": "evaluating#what-it-costs",
    },
    ImportModelParams: {
        "architecture": "importing#the-network",
        "mean": "importing#what-is-checked",
        "std": "importing#what-is-checked",
        "expected": "importing#what-is-checked",
        "tolerance": "importing#what-is-checked",
    },
    ExplainParams: {
        "models": "live#what-is-computed",
        "max_epsilon": "live#what-is-computed",
        "label": "live#true-class-or-none",
    },
}


def help_on(params: type[Params], name: str) -> str:
    """`training#margin` for `training.margin` of an ablation; empty where nothing more is said."""
    first, _, rest = name.partition(".")
    if not rest:
        return _TERMS.get(params, {}).get(first, "")
    kind = params.model_fields[first].annotation
    nested = next(one for one in (kind, *get_args(kind)) if isinstance(one, type))
    return help_on(nested, rest)
