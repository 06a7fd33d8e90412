"""Names of architectures: the lab's own, those of `timm`, and those of an administrator's plugins.

Which names of `timm` and of plugins exist, only a worker knows; here a name is made harmless.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

MAX_DEPTH, MAX_WIDTH = 100, 20
_WIDE_RESNET = re.compile(r"(?:dm-)?wrn-([0-9]{1,3})-([0-9]{1,2})")


_LONGEST = 130
_NAME = re.compile(
    r"(dm-)?wrn-[0-9]{1,3}-[0-9]{1,2}|preactresnet-18|resnet-(18|34|50|101|152)"
    r"|vgg-(11|13|16|19)|timm:[a-z0-9_]{1,60}(\.[a-z0-9_]{1,60})?"
    r"|plugin:[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}"
)


def _exists(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "is no name of an architecture: wrn-28-10, dm-wrn-28-10, preactresnet-18, resnet-18, "
            "vgg-16, timm:resnet18, plugin:my_network are such names"
        )
    wide = _WIDE_RESNET.fullmatch(name)
    if wide is not None:
        depth, width = int(wide[1]), int(wide[2])
        if not 10 <= depth <= MAX_DEPTH or (depth - 4) % 6 or not 1 <= width <= MAX_WIDTH:
            raise ValueError(
                f"a Wide ResNet's depth is 6n + 4 (10, 16, 22, ... up to {MAX_DEPTH}), "
                f"its width from 1 to {MAX_WIDTH}"
            )
    return name


Architecture = Annotated[
    str,
    StringConstraints(max_length=_LONGEST),
    AfterValidator(_exists),
    WithJsonSchema({"type": "string", "maxLength": _LONGEST, "pattern": f"^({_NAME.pattern})$"}),
]
"""`wrn-<depth>-<width>`, `dm-wrn-<depth>-<width>`, `preactresnet-18`, `resnet-<depth>`,
`vgg-<depth>`, `timm:<model>` or `plugin:<entry point>`."""

ARCHITECTURE_HELP = (
    "`wrn-<depth>-<width>` (depth = 6n + 4), `preactresnet-18`, `resnet-18` to `-152` and `vgg-11` "
    "to `-19` for small images, `dm-wrn-<depth>-<width>` (SiLU), `timm:<name>` for a network of "
    "timm such as `timm:resnet18`, or `plugin:<name>` for one that the worker's administrator "
    "added."
)


def family(architecture: str) -> str:
    """Architectures of one family have attention maps of one resolution, for the same images."""
    if _WIDE_RESNET.fullmatch(architecture):
        return "wrn"
    return "resnet" if architecture.startswith("resnet-") else architecture
