"""Files from outside: checked once, here, and stored under a name that the lab chose."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import BinaryIO

from app.contracts.jobs import JobKind
from app.contracts.params import NO_ID, Params
from app.contracts.views import JobView
from app.errors import InvalidInput, LabError, OverQuota, StorageAway, TooLarge, Unavailable
from app.services import jobs, readers, reencoding, room, usage
from app.services.lab import Lab
from app.store import acting, catalogue
from app.store.files import atomic_write, remove
from app.store.tables import UploadRow

MAX_IMAGE_BYTES = 32 * 2**20
"""A photograph of 24 megapixels fits."""
_DECODES_WITHIN_S = 20.0
_CHUNK = 2**20


class Kept(Exception):
    """A job is refused for what was typed, and its file is here for another try."""

    def __init__(self, why: InvalidInput, upload: str) -> None:
        super().__init__(why.detail)
        self.why = why
        self.upload = upload
        """Its id."""


def submit(
    lab: Lab,
    kind: JobKind,
    stream: BinaryIO,
    filename: str,
    params: Callable[[str], Params],
    *,
    idempotency_key: str | None = None,
    keeps: bool = False,
) -> JobView:
    """Store the file of a job of `kind`, and submit the job: `params` is given the upload's id.

    The file comes last: it is looked at where there is room for the job, and nothing is wrong with
    anything else. Where the same was asked for before, its first copy is enough.

    Where the file or the job is refused, neither stays, and what is raised is what `params`,
    storing the file and `jobs.submit` raise. With `keeps`, the file of a job that is refused by
    InvalidInput stays, as long as any that no job takes: raises Kept.
    """
    try:
        jobs.check(lab, kind, params(NO_ID), filename, idempotency_key=idempotency_key)
    except InvalidInput as refused:
        if not keeps:
            raise
        room.check(lab, 1)
        raise Kept(refused, _SAVE[kind](lab, stream, filename)) from None
    upload_id = _SAVE[kind](lab, stream, filename)
    try:
        job = jobs.submit(lab, kind, params(upload_id), idempotency_key=idempotency_key)
    except LabError as refused:  # since it was looked at
        if keeps and isinstance(refused, InvalidInput):
            raise Kept(refused, upload_id) from None
        _forget(lab, upload_id)
        raise
    if job.params["upload"] != upload_id:
        _forget(lab, upload_id)
    return job


def _forget(lab: Lab, upload_id: str) -> None:
    lab.files.drop(lab.files.upload(upload_id))
    catalogue.drop_upload(lab.database, upload_id)


def save_archive(lab: Lab, stream: BinaryIO, filename: str) -> str:
    """Store a dataset archive; its content is checked by the import job. Returns the upload's id.

    Raises TooLarge, InvalidInput (an empty file), Unavailable (a full disk), OverQuota.
    """
    return _save(lab, stream, filename, "archive", "import fewer images")


def save_weights(lab: Lab, stream: BinaryIO, filename: str) -> str:
    """Store a file of weights; its content is checked by the import job. Returns the upload's id.

    Raises TooLarge, InvalidInput (an empty file), Unavailable (a full disk), OverQuota.
    """
    return _save(lab, stream, filename, "file", "save the weights alone")


def _save(lab: Lab, stream: BinaryIO, filename: str, noun: str, instead: str) -> str:
    usage.check_disk(lab, stream.seek(0, os.SEEK_END))
    stream.seek(0)
    upload_id, limit = uuid.uuid4().hex, lab.settings.max_upload_mb * 2**20
    digest, size = hashlib.sha256(), 0
    with _stored(lab, upload_id) as target:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise TooLarge(
                    f"The {noun} is larger than {lab.settings.max_upload_mb} MB.",
                    hint=f"Raise LAB_MAX_UPLOAD_MB, or {instead}.",
                    field="file",
                )
            digest.update(chunk)
            target.write(chunk)
        if size == 0:
            raise InvalidInput(f"The {noun} is empty.", field="file")
    _register(lab, upload_id, filename, digest.hexdigest(), size)
    return upload_id


def save_image(lab: Lab, stream: BinaryIO, filename: str) -> str:
    """Check, decode and re-encode a picture as PNG; nothing of the sent bytes is kept.

    Returns the upload's id. Raises TooLarge, UnsupportedMedia, InvalidInput, Unavailable,
    OverQuota.
    """
    data = stream.read(MAX_IMAGE_BYTES + 1)
    if len(data) > MAX_IMAGE_BYTES:
        raise TooLarge(
            f"The image is larger than {MAX_IMAGE_BYTES // 2**20} MB.",
            hint="The models see at most 224 × 224 pixels: send a smaller one.",
            field="image",
        )
    if not data:
        raise InvalidInput("The image is empty.", field="image")
    try:
        png = readers.read(_DECODES_WITHIN_S, reencoding.as_png, data)
    except readers.ExhaustedError:
        raise TooLarge(
            "Decoding the image takes more time or memory than the lab gives to one picture.",
            hint="Send a smaller one: models see at most 224 × 224 pixels.",
            field="image",
        ) from None
    usage.check_disk(lab, len(png))
    upload_id = uuid.uuid4().hex
    with _stored(lab, upload_id) as target:
        target.write(png)
    _register(lab, upload_id, filename, hashlib.sha256(png).hexdigest(), len(png))
    return upload_id


_SAVE: Mapping[JobKind, Callable[[Lab, BinaryIO, str], str]] = {
    JobKind.IMPORT: save_archive,
    JobKind.IMPORT_MODEL: save_weights,
    JobKind.EXPLAIN: save_image,
}
"""How the file that each kind of job needs is checked and stored."""


def file_name(lab: Lab, upload_id: str) -> str | None:
    """What a file was called; None once the lab has forgotten it. Outside text."""
    row = catalogue.upload(lab.database, upload_id)
    return None if row is None else row.filename


def still_here(lab: Lab, upload_id: str) -> str | None:
    """What a file is called that another job can read too; None where it is gone. Outside text."""
    name = file_name(lab, upload_id)
    return name if name is not None and lab.files.has(lab.files.upload(upload_id)) else None


@contextmanager
def _stored(lab: Lab, upload_id: str) -> Iterator[BinaryIO]:
    path = lab.files.upload(upload_id)
    try:
        with atomic_write(path) as target:
            yield target
        lab.files.keep(path)
    except StorageAway:
        remove(path)
        raise
    except OSError as error:
        raise Unavailable(
            f"The file cannot be stored: {error.strerror}.",
            hint="Make room in the lab's data folder.",
        ) from error


def _register(lab: Lab, upload_id: str, filename: str, sha256: str, size: int) -> None:
    """The file's own name is only shown, never used as a path."""
    name = PurePath(filename.replace("\\", "/")).name
    shown = "".join(c for c in name if c.isprintable())[:200] or "upload"
    act = acting.current()
    row = UploadRow(
        id=upload_id,
        filename=shown,
        sha256=sha256,
        size_bytes=size,
        owner_id=None if act is None else act.user_id,
        created_at=time.time(),
    )
    catalogue.add_upload(lab.database, row)
    try:
        # Of several that were sent at once none knew of the others before: the last does.
        usage.check_disk(lab, size, without=upload_id)
    except OverQuota:
        _forget(lab, upload_id)
        raise
