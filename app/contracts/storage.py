"""Where files lie that several machines share: a bucket of an S3-compatible storage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"(/[A-Za-z0-9_.-]+)*")
_FORM = "write it like s3://bucket/folder?endpoint=https://s3.example.org&region=eu-central-1"


@dataclass(frozen=True)
class Storage:
    """A folder of a bucket."""

    bucket: str
    prefix: str
    """How all names in it begin, without a slash at either end; empty for the whole bucket."""
    endpoint: str | None = None
    """The server's URL; None for that of Amazon, or of `AWS_ENDPOINT_URL`."""
    region: str | None = None

    @classmethod
    def of(cls, url: str) -> Storage:
        """From `s3://bucket/folder?endpoint=...&region=...`. Raises ValueError."""
        whole = urlsplit(url)
        if "@" in url:
            raise ValueError(
                "it says no password: that stands in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or in the file of AWS_SHARED_CREDENTIALS_FILE"
            )
        path = whole.path.rstrip("/")
        if whole.scheme != "s3" or whole.fragment or not _BUCKET.fullmatch(whole.netloc):
            raise ValueError(f"no bucket; {_FORM}")
        if not _PREFIX.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise ValueError("a folder has letters, digits, - _ and . in its name")
        asked = dict(parse_qsl(whole.query, keep_blank_values=True))
        if unknown := asked.keys() - {"endpoint", "region"}:
            raise ValueError(f"{min(unknown)!r} is not known there; {_FORM}")
        endpoint = asked.get("endpoint")
        if endpoint is not None and not _is_server(endpoint):
            raise ValueError(f"the endpoint is no http or https address; {_FORM}")
        return cls(whole.netloc, path.strip("/"), endpoint, asked.get("region"))

    def __str__(self) -> str:
        """As people read it; there is nothing secret in it."""
        where = f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")
        return where if self.endpoint is None else f"{where} at {self.endpoint}"


def _is_server(url: str) -> bool:
    try:
        whole = urlsplit(url)
        return whole.scheme in ("http", "https") and bool(whole.hostname) and whole.port != 0
    except ValueError:
        return False
