"""What torchvision calls the weights of networks that timm has, too: VGG, EfficientNet and ViT."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

_PART = r"(?P<part>[a-z_]+)"
_VGG = (
    (r"features\.(?P<rest>.+)", r"features.\g<rest>"),
    (rf"pre_logits\.fc1\.{_PART}", r"classifier.0.\g<part>"),
    (rf"pre_logits\.fc2\.{_PART}", r"classifier.3.\g<part>"),
    (rf"head\.fc\.{_PART}", r"classifier.6.\g<part>"),
)
_VIT = (
    (r"cls_token", "class_token"),
    (r"pos_embed", "encoder.pos_embedding"),
    (rf"patch_embed\.proj\.{_PART}", r"conv_proj.\g<part>"),
    (rf"norm\.{_PART}", r"encoder.ln.\g<part>"),
    (rf"head\.{_PART}", r"heads.head.\g<part>"),
)
_VIT_BLOCK = {
    "norm1.": "ln_1.", "norm2.": "ln_2.", "attn.qkv.": "self_attention.in_proj_",
    "attn.proj.": "self_attention.out_proj.", "mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3.",
}  # fmt: skip
_OLDER = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
"""As in the files that torchvision hands out, which it renames when it loads them."""
_EFFICIENTNET = (
    (rf"conv_stem\.{_PART}", r"features.0.0.\g<part>"),
    (rf"bn1\.{_PART}", r"features.0.1.\g<part>"),
    (rf"conv_head\.{_PART}", r"features.8.0.\g<part>"),
    (rf"bn2\.{_PART}", r"features.8.1.\g<part>"),
    (rf"classifier\.{_PART}", r"classifier.1.\g<part>"),
)
_NARROW = {
    "conv_dw.": "0.0.", "bn1.": "0.1.", "se.conv_reduce.": "1.fc1.", "se.conv_expand.": "1.fc2.",
    "conv_pw.": "2.0.", "bn2.": "2.1.",
}  # fmt: skip
_WIDENING = {
    "conv_pw.": "0.0.", "bn1.": "0.1.", "conv_dw.": "1.0.", "bn2.": "1.1.",
    "se.conv_reduce.": "2.fc1.", "se.conv_expand.": "2.fc2.", "conv_pwl.": "3.0.", "bn3.": "3.1.",
}  # fmt: skip


_LARGE = "blocks.0.2.conv_pw.weight"
"""Of EfficientNet-B5 and larger alone."""
_STEM = "conv_stem.weight"
_EPSILON_OF_LARGE = 1e-3


def torchvision_names(names: Iterable[str]) -> tuple[dict[str, str], ...]:
    """torchvision's names of a network, by timm's; each way that there is, or none."""
    known = set(names)
    ways: list[Callable[[str], str | None]] = []
    if "pre_logits.fc1.weight" in known:
        ways = [lambda name: _renamed(name, _VGG)]
    elif "blocks.0.attn.qkv.weight" in known:
        ways = [_in_vit, _in_older_vit]
    elif "blocks.0.0.se.conv_reduce.weight" in known:
        ways = [lambda name: _in_efficientnet(name, known)]
    found = ({name: way(name) for name in known} for way in ways)
    return tuple(
        {ours: theirs for ours, theirs in each.items() if theirs is not None}
        for each in found
        if None not in each.values()
    )


def other_epsilon(names: Mapping[str, str]) -> float | None:
    """The ε of torchvision's batch norms where it gave them another one than timm, of a file that
    has its names; `names` are those of the file by timm's. All its other networks have timm's."""
    theirs = names.get(_STEM, "").endswith(_renamed(_STEM, _EFFICIENTNET) or _STEM)
    return _EPSILON_OF_LARGE if theirs and _LARGE in names else None


def _renamed(name: str, rules: Iterable[tuple[str, str]]) -> str | None:
    for pattern, theirs in rules:
        if (match := re.fullmatch(pattern, name)) is not None:
            return match.expand(theirs)
    return None


def _started(rest: str, by: Mapping[str, str]) -> str | None:
    """With another beginning."""
    return next((to + rest[len(of) :] for of, to in by.items() if rest.startswith(of)), None)


def _in_vit(name: str) -> str | None:
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if block is None:
        return _renamed(name, _VIT)
    rest = _started(block[2], _VIT_BLOCK)
    return None if rest is None else f"encoder.layers.encoder_layer_{block[1]}.{rest}"


def _in_older_vit(name: str) -> str | None:
    found = _in_vit(name)
    for now, before in _OLDER.items():
        found = None if found is None else found.replace(f".{now}", f".{before}")
    return found


def _in_efficientnet(name: str, known: set[str]) -> str | None:
    block = re.fullmatch(r"(blocks\.(\d+)\.(\d+)\.)(.+)", name)
    if block is None:
        return _renamed(name, _EFFICIENTNET)
    widens = f"{block[1]}conv_pwl.weight" in known
    rest = _started(block[4], _WIDENING if widens else _NARROW)
    return None if rest is None else f"features.{int(block[2]) + 1}.{block[3]}.block.{rest}"
