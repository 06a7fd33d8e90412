"""What a report brings along, so that it works from a disk: styles, Plotly, and who draws."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

_STATIC = Path(__file__).resolve().parents[3] / "static"


@dataclass(frozen=True)
class Assets:
    """Texts to be written into a page as they are."""

    style: Markup
    plotly: Markup
    drawing: Markup
    """A module that draws the figures of the page."""
    policy: str
    """A content security policy under which these scripts run, and nothing else does."""


def assets() -> Assets:
    """Read anew for each report: kept, they would take more memory than all pages together."""
    plotly = _inline("vendor/plotly-cartesian.min.js")
    drawing = _inline("charts.js") + _inline("report.js")
    hashes = " ".join(_hash(script) for script in (plotly, drawing))
    return Assets(
        style=_inline("vendor/pico.classless.min.css") + _inline("lab.css"),
        plotly=plotly,
        drawing=drawing,
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'",
    )


def _inline(name: str) -> Markup:
    text = (_STATIC / name).read_text(encoding="utf-8")
    lowered = text.lower()
    assert not any(end in lowered for end in ("</script", "</style", "<!--")), name
    return Markup(text)


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
