"""Every figure of an evaluation, by a name that stays: pages, reports and downloads use it."""

from __future__ import annotations

from app.contracts.results import EvaluationResult
from app.web.charts import attention as attention_charts
from app.web.charts import classes as class_charts
from app.web.charts import curves as curve_charts
from app.web.charts.base import Figure, Recipes, styled

_OF_ALL = {
    "epsilon": curve_charts.against_epsilon,
    "steps": curve_charts.against_steps,
    "restarts": curve_charts.against_restarts,
    "queries": curve_charts.against_queries,
    "minimal": curve_charts.minimal_epsilon,
    "classes": class_charts.per_class,
    "corruptions": class_charts.corruptions,
    "attention": attention_charts.attention,
}


def figures(result: EvaluationResult, recipes: Recipes) -> dict[str, Figure]:
    """Those that the result has points for.

    Of all models together: `epsilon`, `steps`, `restarts`, `queries`, `minimal`, `classes`,
    `corruptions`, `attention`. Of the n-th model, from 0: `confusion-clean-n`, `confusion-robust-n`
    and, of its features, `pca-n` and `tsne-n`.
    """
    built = {name: build(result, recipes) for name, build in _OF_ALL.items()}
    found = {name: figure for name, figure in built.items() if figure is not None}
    for n, one in enumerate(styled(result.models, recipes)):
        for name, robust in (("clean", False), ("robust", True)):
            if one.model.confusion_robust if robust else one.model.confusion_clean:
                found[f"confusion-{name}-{n}"] = class_charts.confusion(
                    one.model, one.hue, result.classes, robust=robust
                )
        if one.model.embedding is not None:
            for projection in one.model.embedding.projections:
                found[f"{projection.name}-{n}"] = attention_charts.embedding(
                    one.model, projection, result.classes
                )
    return found
