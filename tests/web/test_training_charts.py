"""The charts of a training: thin lines of steps, thick ones of epochs, the best epoch marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import pytest

from app.contracts.params import Recipe
from app.web.charts import palette
from app.web.charts import reported as job_charts
from app.web.charts.training import training_figures


def _metrics(series: str, step: int, **values: float) -> dict[str, Any]:
    return {"type": "metrics", "series": series, "step": step, "values": values}


def _run(*robust: float) -> list[dict[str, Any]]:
    """A student's epochs of 10 steps with these robust accuracies."""
    events = []
    for epoch, share in enumerate(robust, start=1):
        loss = 3.0 / epoch
        events += [
            _metrics("step", 10 * epoch, loss=loss, classification=loss / 2, agkd=0.1, bml=0.02,
                     train_clean=0.3, train_robust=0.2, learning_rate=0.1, images_per_s=50.0),
            _metrics("epoch", epoch, loss=loss + 1, classification=loss, agkd=0.2, bml=0.03,
                     train_clean=0.35, train_robust=0.25, learning_rate=0.09, images_per_s=45.0,
                     validation_clean=0.9 - share, validation_robust=share,
                     validation_fgsm=share + 0.05, peak_memory_mb=700.0),
        ]  # fmt: skip
    return events


def _figures(events: Sequence[dict[str, Any]], recipe: Recipe) -> dict[str, Any]:
    """Of one run that reports every second."""
    return training_figures([list(enumerate(events))], recipe)


def _by_meta(figure: dict[str, Any]) -> dict[str, Any]:
    return {trace["meta"]: trace for trace in figure["data"]}


def test_every_term_has_its_steps_and_its_epochs() -> None:
    figures = _figures(_run(0.3, 0.4), Recipe.AGKD_BML)
    loss, terms = _by_meta(figures["loss"]), _by_meta(figures["terms"])
    assert set(loss) == {f"{s}:{n}" for s in ("step", "epoch") for n in ("loss", "classification")}
    assert set(terms) == {f"{s}:{n}" for s in ("step", "epoch") for n in ("agkd", "bml")}
    assert (loss["step:loss"]["x"], loss["step:loss"]["y"]) == ([10, 20], [3.0, 1.5])
    assert (loss["epoch:loss"]["x"], loss["epoch:loss"]["y"]) == ([10, 20], [4.0, 2.5])
    assert loss["epoch:loss"]["line"]["color"] == palette.STUDENT
    named = [trace["name"] for trace in loss.values() if trace.get("showlegend", True)]
    assert named == ["Total", "Classification"]


def test_steps_that_a_lost_worker_had_reported_are_replaced() -> None:
    """The next worker goes on from a checkpoint between two epochs, and reports others steps."""
    first, again = _run(0.3, 0.4, 0.5), _run(0.3, 0.4, 0.5, 0.6)
    before = _metrics("step", 14, loss=9.0, classification=1.0)
    traces = _by_meta(_figures([*first, before, *again[2:]], Recipe.TRADES)["loss"])
    assert traces["step:loss"]["x"] == [10, 14, 20, 30, 40]
    assert traces["epoch:loss"]["x"] == [10, 20, 30, 40]


def test_adversarial_accuracies_are_told_from_clean_ones_by_their_dashes() -> None:
    traces = _by_meta(_figures(_run(0.3), Recipe.TRADES)["accuracy"])
    dashes = {name: trace["line"]["dash"] for name, trace in traces.items()}
    assert dashes == {
        "epoch:validation_clean": "solid", "epoch:validation_robust": "dash",
        "epoch:validation_fgsm": "dot", "step:train_clean": "solid", "step:train_robust": "dash",
    }  # fmt: skip


def test_pace_rate_and_memory_have_their_own_charts() -> None:
    figures = _figures(_run(0.3, 0.4), Recipe.AGKD_BML)
    assert set(figures) == {"loss", "terms", "accuracy", "rate", "pace", "memory"}
    assert [trace["meta"] for trace in figures["rate"]["data"]] == ["step:learning_rate"]
    assert _by_meta(figures["memory"])["epoch:peak_memory_mb"]["y"] == [700, 700]
    assert _by_meta(figures["pace"])["epoch:images_per_s"]["y"] == [45, 45]
    assert job_charts.readings(_run(0.3)) == {"learning_rate": 0.09, "images_per_s": 45.0}


@pytest.mark.parametrize(
    ("robust", "best"), [((0.3, 0.5, 0.4), 2), ((0.3, 0.5, 0.5), 3), ((0.5,), 1)]
)
def test_the_best_epoch_is_marked_where_it_ended(robust: tuple[float, ...], best: int) -> None:
    figures = _figures(_run(*robust), Recipe.AGKD_BML)
    for name in ("loss", "terms", "accuracy"):
        layout = figures[name]["layout"]
        assert layout["shapes"][0]["x0"] == layout["shapes"][0]["x1"] == 10 * best
        assert layout["shapes"][0]["name"] == f"Best: epoch {best}"
        assert layout["shapes"][0]["showlegend"]
        assert layout["meta"]["best"] == [best, 2 * best - 2]


def test_a_clean_model_is_judged_by_its_clean_accuracy_and_is_blue() -> None:
    epochs = [
        _metrics("epoch", 1, validation_clean=0.6),
        _metrics("epoch", 2, validation_clean=0.4),
    ]
    figures = _figures(epochs, Recipe.CLEAN)
    assert figures["accuracy"]["layout"]["shapes"][0]["name"] == "Best: epoch 1"
    assert figures["accuracy"]["data"][0]["line"]["color"] == palette.TEACHER


def test_a_run_that_lost_an_epoch_and_repeated_it_still_finds_the_best() -> None:
    events = [*_run(0.3, 0.5), *_run(0.3, 0.5, 0.6)[2:]]
    figure = _figures(events, Recipe.AGKD_BML)["accuracy"]
    assert figure["layout"]["shapes"][0]["x0"] == 30
    assert _by_meta(figure)["epoch:validation_robust"]["x"] == [10, 20, 30]
    assert _by_meta(figure)["step:train_robust"]["x"] == [10, 20, 30]


def test_before_the_first_epoch_there_are_steps_alone_and_no_mark() -> None:
    figures = _figures([_metrics("step", 5, loss=1.0)], Recipe.AGKD_BML)
    assert set(figures) == {"loss"}
    assert "shapes" not in figures["loss"]["layout"]
    assert figures["loss"]["data"][0]["showlegend"] is True
    assert _figures([], Recipe.CLEAN) == {}


def test_a_term_that_the_page_does_not_know_is_drawn_by_its_own_name() -> None:
    figures = _figures([_metrics("step", 1, loss=1.0, new_term=0.5)], Recipe.PGD_AT)
    assert [trace["name"] for trace in figures["loss"]["data"]] == ["Total", "new term"]


def test_a_loss_that_is_no_number_is_a_gap() -> None:
    events = [_metrics("step", 1, loss=float("nan")), _metrics("step", 2, loss=1.0)]
    assert _figures(events, Recipe.CLEAN)["loss"]["data"][0]["y"] == [None, 1.0]


@pytest.mark.parametrize("count", [1, 799, 800, 801, 5000])
def test_long_lines_are_thinned_and_keep_their_end(count: int) -> None:
    events = [_metrics("step", step, loss=float(step)) for step in range(count)]
    line = _figures(events, Recipe.CLEAN)["loss"]["data"][0]
    assert len(line["x"]) <= job_charts.MAX_POINTS
    assert len(line["x"]) >= min(count, job_charts.MAX_POINTS // 2)
    assert line["x"][-1] == count - 1
    assert line["x"] == line["y"]


def test_plotly_knows_every_part() -> None:
    for figure in _figures(_run(0.3, 0.4), Recipe.AGKD_BML).values():
        go.Figure(figure)  # raises ValueError for what it does not know
