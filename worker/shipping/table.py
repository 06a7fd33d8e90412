"""The table of the shipped models' figures, written from their cards alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.contracts.params import Method
from app.contracts.results import Accuracy, ModelCard
from app.contracts.words import with_interval

_MEASURES = ("clean", "PGD-20", Method.AUTOATTACK.record.title)


def table(box: Sequence[tuple[str, ModelCard]]) -> str:
    """Markdown: a row for each (slug, card)."""
    head = ("file", "images", "recipe", "epochs", *_MEASURES, "seed", "code")
    rows = [_row(slug, card) for slug, card in box]
    rule = ("---", "---", "---", "---:", *["---:" for _ in _MEASURES], "---:", "---")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def write_table(readme: Path, box: Sequence[tuple[str, ModelCard]]) -> None:
    """Replace the figures of `readme`; a new file has nothing else."""
    if not readme.exists():
        readme.write_text("<!-- figures --><!-- end of figures -->\n", encoding="utf-8")
    write_part(readme, "figures", table(box))


def write_part(readme: Path, name: str, part: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end of name -->`.

    Raises ValueError where there are no such marks.
    """
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = readme.read_text(encoding="utf-8").partition(start)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"{readme} has no place for {name}: {start} and {end}")
    readme.write_text(f"{before}{start}\n{part}\n{end}{after}", encoding="utf-8")


def _row(slug: str, card: ModelCard) -> tuple[str, ...]:
    params = card.params
    assert params is not None
    measured = {one.measure: one.accuracy for one in card.test}
    steps = f", {params.steps} steps" if params.recipe.is_robust else ""
    return (
        f"`{slug}`",
        card.dataset.name,
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
