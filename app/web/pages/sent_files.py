"""Forms that bring a file, or name one that an earlier job was given and that is still here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from starlette.datastructures import FormData, UploadFile

from app.contracts.jobs import JobKind
from app.contracts.params import Params
from app.contracts.views import JobView
from app.errors import InvalidInput
from app.services import uploads
from app.services.lab import Lab
from app.web.forms.entries import Rejected, read, rejected_by_service
from app.web.pages.submitting import Entries, submit

_LONGEST_NAME = 255
"""Bytes of a file's name on most file systems."""


@dataclass(frozen=True)
class SentFile:
    """A file that need not be sent again."""

    upload: str
    """Its id."""
    name: str
    """What it was called; outside text."""


def sent_file(lab: Lab, entries: Entries) -> SentFile | None:
    """The file that a form names, as long as the lab has it."""
    upload = next(iter(entries.get("upload", ())), "")
    name = uploads.still_here(lab, upload) if upload else None
    return None if name is None else SentFile(upload, name)


def names_an_address(entries: Entries) -> bool:
    """Whether a model behind an address is asked for, in place of a file."""
    return any(entries.get("address", ()))


def file_to_name(lab: Lab, posted: FormData, entries: Entries, otherwise: str) -> str:
    """What the file of a form is called that is not sent itself: the chosen one, else the one that
    is here already; empty where an address stands in its place."""
    chosen = posted.get("file")
    if isinstance(chosen, str) and chosen:
        return chosen[:_LONGEST_NAME]
    if names_an_address(entries):
        return ""
    sent = sent_file(lab, entries)
    return otherwise if sent is None else sent.name


def submit_with_file(
    lab: Lab, kind: JobKind, params: type[Params], file: object, entries: Entries
) -> JobView:
    """Start the job with the file that came, else with the address or the file that the form names.

    Raises Rejected, with the file that it keeps, and what storing a file raises; InvalidInput where
    there is neither.
    """
    if isinstance(file, UploadFile) and file.filename:
        return _submit_with_new(lab, kind, params, file.file, file.filename, entries)
    if names_an_address(entries):  # and not the file of an earlier try
        return submit(lab, kind, params, {**entries, "upload": ()})
    sent = sent_file(lab, entries)
    if sent is None:
        raise InvalidInput("Choose a file; an hour after it was sent, the lab lets go of it.",
                           field="file")  # fmt: skip
    return submit(lab, kind, params, {**entries, "upload": (sent.upload,)})


def _submit_with_new(
    lab: Lab, kind: JobKind, params: type[Params], stream: BinaryIO, name: str, entries: Entries
) -> JobView:
    def typed(upload: str) -> Params:
        return read(params, {**entries, "upload": (upload,)})

    try:
        return uploads.submit(lab, kind, stream, name, typed, keeps=True)
    except uploads.Kept as kept:
        why = kept.why
        rejected = why if isinstance(why, Rejected) else rejected_by_service(params, why)
        rejected.sent = {"upload": (kept.upload,)}
        raise rejected from None
