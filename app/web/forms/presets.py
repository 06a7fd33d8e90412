"""Ways to fill a form, with what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from app.contracts.params import TRAINING_PRESETS, Method, Norm, TrainParams
from app.web.forms.entries import entries_of
from app.web.forms.specs import specs


@dataclass(frozen=True)
class Preset:
    """Entries for some fields; the others stay as they are."""

    title: str
    cost: str
    """What it takes and what it is good for."""
    entries: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class PresetLink:
    """A preset as an address that fills the form."""

    title: str
    cost: str
    href: str
    fields: tuple[str, ...]
    """The names of what it fills."""


def _entries(
    images: str, steps: str, restarts: str, further: Sequence[Method], *, more: bool, **own: str
) -> dict[str, Sequence[str]]:
    """Every preset names the same fields, so that one undoes another."""
    switch = "true" if more else "false"
    single = {
        "images": images, "attack.method": Method.PGD, "attack.steps": steps,
        "attack.restarts": restarts, "attack.goal": "untargeted",
        "epsilons": "0, 1, 2, 4, 8, 12, 16", "step_counts": "1, 2, 5, 10, 20, 50",
        "minimal_epsilon": switch, "corruptions": switch, "attention": switch,
        "embedding": switch, **own,
    }  # fmt: skip
    return {"further": further or ("",), **{name: (value,) for name, value in single.items()}}


_SPARED = (
    Method.PGD,  # the first attack
    Method.FGSM, Method.BIM, Method.NOISE,  # weaker than PGD
    Method.APGD_CE, Method.APGD_T, Method.FAB_T, Method.SQUARE,  # AutoAttack runs them
)  # fmt: skip
_EVERY = tuple(
    method
    for method in Method
    if Norm.LINF in method.record.norms and not method.record.needs_source and method not in _SPARED
)
EVALUATION_PRESETS = (
    Preset(
        "Quick look",
        "PGD-10 on 200 images: minutes for a small network. The interval is ± 7 points; for a "
        "first impression, not for a table.",
        _entries("200", "10", "1", (), more=False, epsilons="0, 2, 4, 8, 16", step_counts=""),
    ),
    Preset(
        "Publishable: PGD + AutoAttack",
        "Up to 10,000 images. AutoAttack takes up to 1,900 gradients and 5,000 predictions for "
        "each image that stands: hours on a GPU, days on a CPU. The interval is ± 1 point.",
        _entries("10000", "20", "5", (Method.AUTOATTACK,), more=False, minimal_epsilon="true"),
    ),
    Preset(
        "Everything",
        "Every attack but transfer, which needs a second model, every curve and every picture, on "
        "1,000 images. The longest of the three for each image; the interval is ± 3 points.",
        _entries(
            "1000", "20", "5",
            _EVERY,
            more=True,
        ),
    ),
    Preset(
        "Black box",
        "Square, 1,000 queries a budget, then HopSkipJump, on 500 images: nothing but answers, for "
        "models that give no more. An upper bound; its verdict is amber at best.",
        _entries(
            "500", "20", "1", (Method.HOP_SKIP_JUMP,), more=False, epsilons="0, 2, 4, 8",
            step_counts="", **{"attack.method": Method.SQUARE},
        ),
    ),
)  # fmt: skip


def training_presets(prefix: str = "", without: Sequence[str] = ()) -> tuple[Preset, ...]:
    """Those of the contract for a form whose training parameters begin with `prefix`."""
    checks = {spec.name for spec in specs(TrainParams) if spec.widget == "check"}
    left = {spec.name: ("",) for spec in specs(TrainParams) if spec.default_by is not None}

    def typed(name: str, entries: Sequence[str]) -> Sequence[str]:
        return ("false",) if name in checks and not entries else entries

    return tuple(
        Preset(
            preset.title,
            preset.summary,
            {
                prefix + name: typed(name, entries)
                for name, entries in (left | entries_of(TrainParams, preset.values)).items()
                if name not in without
            },
        )
        for preset in TRAINING_PRESETS
    )


def links(
    path: str, presets: Sequence[Preset], entries: Mapping[str, Sequence[str]]
) -> tuple[PresetLink, ...]:
    """The presets as addresses of the form at `path`, which keep the other entries."""
    return tuple(
        PresetLink(
            preset.title,
            preset.cost,
            f"{path}?{urlencode({**entries, **preset.entries}, doseq=True)}",
            tuple(preset.entries),
        )
        for preset in presets
    )
