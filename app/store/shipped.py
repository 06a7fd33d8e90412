"""The models in the box: files that come with the code, registered in every lab that is opened.

The folder holds `<slug>.safetensors`, `<slug>.json` (the model's card) and `SHA256SUMS`, which
`sha256sum -c` understands and which says what is in the box, in the order of the lab's lists.
A model's id is the beginning of its weights' checksum, so it is the same in every lab, and other
weights are another model.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

from app.contracts.results import ModelCard
from app.errors import StorageAway
from app.store.db import Database, Turn
from app.store.files import Files, atomic_write
from app.store.tables import ModelRow

_LOG = logging.getLogger("lab.shipped")
SUMS = "SHA256SUMS"
SLUG = r"[a-z0-9][a-z0-9-]{0,60}"
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({SLUG})\.(safetensors|json)")
_APART_S = 1e-3
"""Lists show the newest first: each model is this much older than the one before it."""


@dataclass(frozen=True)
class Shipped:
    """A model in the box; nothing of its files has been read yet."""

    slug: str
    id: str
    weights: Path
    weights_sha256: str
    card: Path
    card_sha256: str


def id_of(sha256: str) -> str:
    """The id of the shipped model whose weights have this checksum."""
    return sha256[:32]


def listed(folder: Path) -> list[Shipped]:
    """What is in the box, in its order; nothing where the folder has no list.

    Raises ValueError where the list is damaged.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    sums: dict[str, dict[str, str]] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{SUMS}: “{line[:100]}” is not a checksum and a file")
        sums.setdefault(match[2], {})[match[3]] = match[1]
    return [_shipped(folder, slug, by_kind) for slug, by_kind in sums.items()]


def _shipped(folder: Path, slug: str, sums: dict[str, str]) -> Shipped:
    if sums.keys() != {"safetensors", "json"}:
        raise ValueError(f"{SUMS}: “{slug}” needs weights and a card")
    return Shipped(
        slug=slug,
        id=id_of(sums["safetensors"]),
        weights=folder / f"{slug}.safetensors",
        weights_sha256=sums["safetensors"],
        card=folder / f"{slug}.json",
        card_sha256=sums["json"],
    )


def read_card(shipped: Shipped) -> ModelCard:
    """Raises OSError, and ValueError where it is not the listed file or no card."""
    return ModelCard.model_validate_json(_checked(shipped.card, shipped.card_sha256))


def register(database: Database, files: Files, folder: Path) -> None:
    """Bring the lab's models up to date with the box: weights first, then the row.

    A model in the bin stays there, however long (`catalogue.drop_binned_models`), so nothing that
    was deleted comes back. What is damaged is left out and logged: a lab starts without it.
    """
    now = time.time()
    try:
        box = listed(folder)
    except (OSError, ValueError) as error:
        _LOG.error("The shipped models cannot be listed: %s", error)
        return
    for place, shipped in enumerate(box):
        try:
            _register(database, files, shipped, created_at=now - place * _APART_S)
        except (OSError, ValueError, StorageAway) as error:
            _LOG.error("The shipped model “%s” is left out: %s", shipped.slug, error)


def _register(database: Database, files: Files, shipped: Shipped, *, created_at: float) -> None:
    card = read_card(shipped)
    target = files.weights(shipped.id)
    if not files.has(target):
        data = _checked(shipped.weights, shipped.weights_sha256)
        with atomic_write(target) as stream:
            stream.write(data)
        files.keep(target)
    content = card.model_dump(mode="json")
    with database.writing(Turn.REGISTER) as session:
        row = session.get(ModelRow, shipped.id)
        if row is None:
            row = ModelRow(
                id=shipped.id,
                job_id=None,
                created_at=created_at,
                deleted_at=None,
                dataset_id=None,
                sha256=shipped.weights_sha256,
                size_bytes=shipped.weights.stat().st_size,
            )
            session.add(row)
            row.name = card.name
        elif row.name == row.card["name"]:  # its user has not renamed it
            row.name = card.name
        # The same weights may have been measured again since.
        row.card = content


def _checked(path: Path, sha256: str) -> bytes:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path.name} is not the file that {SUMS} lists")
    return data
