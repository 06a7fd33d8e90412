"""Shards of Parquet, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from worker.data.containers import PARTS
from worker.data.names import name_list
from worker.data.row_parts import SPLITS, Split, split_of
from worker.data.rows import NO_LABEL, plain_name
from worker.data.weaknesses import Weakness
from worker.jobs.unpacking.beside_arrays import words_of
from worker.jobs.unpacking.found import Files, Refused, Unpacked

_LONGEST_PICTURE = 32 * 2**20
_LABELS = ("label", "labels", "fine_label", "class", "target")


def parquet(files: Files) -> Unpacked:
    """Shards as Hugging Face's `datasets` writes them: a column of images and one of labels."""
    try:
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError:
        raise Refused(
            "Parquet is not read here: pyarrow is not installed.",
            "Install it where the worker runs, or import class folders.",
        ) from None
    shards = [(part, ParquetFile(path)) for _, part, path in sorted(files)]
    (image, label, texts, classes), warnings = _agreed([s.schema_arrow for _, s in shards])
    labels: list[int] = []
    parts: list[int] = []
    kept: list[list[bool]] = []
    names: dict[str, int] = {}
    left = Counter[str]()
    split = _split([shard for _, shard in shards], (image, label))
    warnings += [doubt.text for doubt in split.doubts] if split else []
    row = 0
    for part, shard in shards:
        values = shard.read(columns=[label]).column(label).to_pylist()
        if texts:
            values = [
                None if v is None or v.strip().casefold() in NO_LABEL
                else names.setdefault(v, len(names))
                for v in values
            ]  # fmt: skip
        good = [value is not None and value >= 0 for value in values]
        labels += [int(v) for v, g in zip(values, good, strict=True) if g]
        by_row = split.of_row[row : row + len(good)] if split else [None] * len(good)
        otherwise = part or PARTS.index(split.otherwise if split else None)
        said = [PARTS.index(own) or otherwise for own in by_row]
        row += len(good)
        parts += [p for p, g in zip(said, good, strict=True) if g]
        left["rows without a label"] += len(good) - sum(good)
        kept.append(good)
    found = Unpacked(
        "Parquet of images",
        labels,
        parts,
        list(names) if texts else classes,
        ordered=not texts,
        files=_pictures([shard for _, shard in shards], image, kept),
    )
    found.notes.append(f"Images are of the column “{image}”, labels of “{label}”.")
    if split and any(split.of_row):
        found.notes.append(f"Parts are those of the column “{split.name}”.")
    if "bgr" in words_of(image):
        warnings.append(
            f"The column “{image}” says BGR. Its pictures are shown as their files have them: look "
            "whether red and blue are exchanged."
        )
    found.warnings, found.left_out = warnings, {k: n for k, n in left.items() if n}
    return found


def _split(shards: Sequence[Any], others: Collection[str]) -> Split | None:
    """What columns say of the parts of all rows: by words, numbers, or yes and no (`is_valid`)."""
    import pyarrow as pa

    kinds = (pa.types.is_integer, pa.types.is_boolean, _is_text)
    names = [
        f.name
        for f in shards[0].schema_arrow
        if f.name not in others
        and any(is_of(f.type) for is_of in kinds)
        and (plain_name(f.name) in SPLITS or f.name.casefold().startswith("is"))
    ]
    if not names:
        return None
    if lacking := [n for n in names if any(n not in shard.schema_arrow.names for shard in shards)]:
        raise Refused(
            f"Some shards lack the column “{lacking[0]}”, which says parts in others.",
            "Pack those of one dataset, which declare the same.",
        )
    columns = [
        [str(v) for shard in shards for v in shard.read(columns=[name]).column(0).to_pylist()]
        for name in names
    ]
    body = list(zip(*columns, strict=True))
    split = split_of("the table", names, body, -1)
    unused = [name for name in names if plain_name(name) in SPLITS]
    if split is None and unused:
        said = name_list(sorted({row[names.index(unused[0])] for row in body}))
        text = f"The column “{unused[0]}” says {said}, which names no part: it is not used."
        doubt = Weakness("split_not_used", text, len(body))
        return Split(frozenset(), unused[0], [None] * len(body), [], doubts=(doubt,))
    return split


class _Columns(NamedTuple):
    """What a shard declares."""

    image: str
    label: str
    texts: bool
    """Whether labels are texts, not numbers."""
    classes: Sequence[str] | None


def _agreed(schemas: Sequence[Any]) -> tuple[_Columns, list[str]]:
    """The columns that all shards declare, and what is to be said of others."""
    columns, said = zip(*map(_columns, schemas), strict=True)
    if any(other != columns[0] for other in columns):
        raise Refused(
            "The shards declare other columns or classes.",
            "Pack those of one dataset, which declare the same.",
        )
    return columns[0], list(dict.fromkeys(text for each in said for text in each))


def _columns(schema: Any) -> tuple[_Columns, Sequence[str]]:
    """The columns that are meant, and what is to be said of others."""
    import pyarrow as pa

    features = _features(schema)
    images = [f.name for f in schema
              if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]  # fmt: skip
    images += [f.name for f in schema if pa.types.is_binary(f.type)]
    if not images:
        raise Refused(
            "The Parquet file has no column of pictures.",
            "It takes one with the bytes of picture files, as `datasets.Image` has it.",
        )
    plain = [f.name for f in schema if pa.types.is_integer(f.type) or _is_text(f.type)]
    if not plain:
        raise Refused(
            "The Parquet file has no column of labels.", "It takes one of numbers or of texts."
        )
    typed = {name: features.get(name, {}).get("_type") for name in (*images, *plain)}
    declared = [name for name in images if typed[name] == "Image"]
    image, said = _the_one(declared or images, ("image", "img"), "pictures", "the pictures")
    declared = [name for name in plain if typed[name] == "ClassLabel"]
    usual = [name for name in plain if name in _LABELS]
    unread = [f for f in schema if f.name in _LABELS and f.name not in (*images, *plain)]
    if unread and not declared and not usual:
        raise Refused(
            f"The column “{unread[0].name}” holds {str(unread[0].type)[:100]}.",
            "Labels are whole numbers or texts, one an image.",
        )
    best = ("label", "fine_label")
    label, more = _the_one(declared or usual or plain, best, "labels", "the label")
    if not declared and not usual:
        more.append(f"No column is called a label; “{label}” is taken for it.")
    texts = _is_text(schema.field(label).type)
    return _Columns(image, label, texts, features.get(label, {}).get("names")), said + more


def _is_text(kind: Any) -> bool:
    """Also as Polars writes it, and as categories of pandas."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _the_one(
    chosen: Sequence[str], best: Sequence[str], what: str, meant: str
) -> tuple[str, list[str]]:
    """Of several columns the one with one of the best names, and what is to be said of others."""
    found = [name for name in best if name in chosen] or chosen
    if len(found) > 1:
        raise Refused(
            f"Several columns may be {meant}: {', '.join(found)[:200]}.", "Keep one of them."
        )
    others = [name for name in chosen if name != found[0]]
    said = f"Other columns of {what} are not used: {', '.join(others)[:200]}."
    return found[0], [said] if others else []


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` says of the columns, in the file's metadata."""
    try:
        page = json.loads((schema.metadata or {})[b"huggingface"])
        found = page["info"]["features"]
        return found if isinstance(found, dict) else {}
    except (KeyError, ValueError, TypeError):
        return {}


def _pictures(shards: Sequence[Any], image: str, kept: Sequence[Sequence[bool]]) -> Iterator[bytes]:
    """Raises Refused at the end where there was none."""
    there = False
    for shard, good in zip(shards, kept, strict=True):
        at = 0
        for batch in shard.iter_batches(batch_size=256, columns=[image]):
            for value in batch.column(0):
                data: Any = value.as_py()
                data = data.get("bytes") if isinstance(data, dict) else data
                there = there or bool(data)
                if good[at]:
                    # An empty one is reported like any other picture that cannot be read.
                    whole = isinstance(data, bytes) and len(data) <= _LONGEST_PICTURE
                    yield data if whole else b""
                at += 1
    if not there:
        raise Refused(
            f"The column “{image}” holds no picture, at most where they lie.",
            "Save the bytes of picture files in it, or pack the pictures with a table of labels.",
        )
