"""The table of the shipped models' figures, written from their cards alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.contracts.results import Accuracy, ModelCard
from app.contracts.words import with_interval

_MEASURES = ("clean", "PGD-20", "AutoAttack")
_START, _END = "<!-- figures -->", "<!-- end of figures -->"


def table(box: Sequence[tuple[str, ModelCard]]) -> str:
    """Markdown: a row for each (slug, card)."""
    head = ("file", "recipe", "epochs", *_MEASURES, "seed", "code")
    rows = [_row(slug, card) for slug, card in box]
    rule = ("---", "---", "---:", *["---:" for _ in _MEASURES], "---:", "---")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def write_table(readme: Path, box: Sequence[tuple[str, ModelCard]]) -> None:
    """Replace what stands between the two marks of `readme`; a new file has nothing else."""
    text = readme.read_text(encoding="utf-8") if readme.exists() else f"{_START}{_END}\n"
    before, _, rest = text.partition(_START)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError(f"{readme} has no place for figures: {_START} and {_END}")
    whole = f"{before}{_START}\n{table(box)}\n{_END}{after}"
    readme.write_text(whole, encoding="utf-8")


def _row(slug: str, card: ModelCard) -> tuple[str, ...]:
    params = card.params
    assert params is not None
    measured = {one.measure: one.accuracy for one in card.test}
    steps = f", {params.steps} steps" if params.recipe.is_robust else ""
    return (
        f"`{slug}`",
        f"{params.recipe_name}{steps}",
        f"{card.epoch} of {params.epochs}",
        *(_cell(measured.get(name)) for name in _MEASURES),
        str(params.seed),
        card.environment.code_version,
    )


def _cell(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "not measured"
    return f"{with_interval(accuracy)}, n = {accuracy.n:,}"
