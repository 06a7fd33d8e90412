"""Objects of an S3-compatible storage, by `s3fs`: each is put whole or not at all, and never again
under the same key."""

from __future__ import annotations

import errno
import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from app.contracts.storage import Storage
from app.errors import StorageAway

_PART = 8 * 2**20
"""Bytes of a part of a large object; two are in memory at once."""
_AT_ONCE = 2
_DELETED_AT_ONCE = 1000
"""The most that S3 takes."""
_CONNECT_S, _READ_S = 2, 10
"""A server that hangs is one that is away; a part, and joining parts, takes less. Who is patient
waits longer for them."""
_SLOWEST = 2**20
"""Bytes a second that a transfer makes at least. While a body is sent no other limit holds."""
_AGAIN_AFTER_S = 1.0
_LOCAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE})
"""What is wrong with this machine, and not with the storage."""
MISSING = "LAB_STORAGE_URL needs s3fs; install it with `pip install '.[storage]'`"
T = TypeVar("T")


def is_installed() -> bool:
    """Whether there is what speaks with such a storage."""
    return importlib.util.find_spec("s3fs") is not None


class Bucket:
    """One folder of one bucket. Keys are names of the lab's own below it."""

    def __init__(
        self, storage: Storage, *, patience_s: float, answers_s: float | None = None
    ) -> None:
        """
        Args:
            patience_s: for how long what fails is tried again before it is an error.
            answers_s: for whoever cannot wait for a transfer that hangs: how long a short question
                may take, which is asked before each. None asks none.
        """
        self.storage, self._patience_s, self._answers_s = storage, patience_s, answers_s
        self._read_s = max(_READ_S, 2 * patience_s)

    @cached_property
    def _fs(self) -> Any:
        """Opened by the process that uses it: its thread does not survive a fork."""
        try:
            import s3fs
        except ImportError:
            raise StorageAway(f"{MISSING}.") from None
        made = s3fs.S3FileSystem(
            endpoint_url=self.storage.endpoint,
            client_kwargs={"region_name": self.storage.region} if self.storage.region else None,
            config_kwargs={
                "connect_timeout": _CONNECT_S,
                "read_timeout": self._read_s,
                "retries": {"total_max_attempts": 1},
                # The lab holds every file against its SHA-256; and not every server knows others.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                # The same sum again, over all that is sent, for the request's signature.
                "s3": {"payload_signing_enabled": False},
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        made.retries = 1  # `_insist` counts them
        return made

    @cached_property
    def _failures(self) -> tuple[type[Exception], ...]:
        """What calls raise: of the operating system, of botocore and of its HTTP client."""
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError, ClientError

        return OSError, BotoCoreError, ClientError, HttpError

    def put(self, file: Path, key: str) -> None:
        """Store a file, in parts where it is large. Raises StorageAway, OSError of the disk."""
        size = file.stat().st_size
        try:
            self._insist(partial(self._fs.put_file, str(file), self._at(key), **self._how(size)))
        except FileNotFoundError as error:
            if error.errno is not None:  # the file's
                raise
            # The bucket is not there, or parts were joined after nobody waited for it any more.
            if not self._has(key, size):
                said = self.trouble() or f"The storage {self.storage} did not take a file."
                raise StorageAway(said) from None

    def _has(self, key: str, size: int) -> bool:
        try:
            return bool(self._insist(partial(self._fs.info, self._at(key)))["size"] == size)
        except FileNotFoundError:
            return False

    def get(self, key: str, file: Path, size: int) -> None:
        """Copy an object of so many bytes into a file.

        Raises FileNotFoundError, StorageAway, OSError of the disk.
        """
        self._insist(partial(self._fs.get_file, self._at(key), str(file), **self._how(size)))

    def drop(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error. Raises StorageAway."""
        objects = [{"Key": self._below(key)} for key in keys]
        for start in range(0, len(objects), _DELETED_AT_ONCE):
            some = objects[start : start + _DELETED_AT_ONCE]
            self._ask("delete_objects", Delete={"Objects": some, "Quiet": True})

    def listed(self) -> Iterator[tuple[str, float]]:
        """All objects, with the time when each was put, in seconds since 1970. Raises
        StorageAway."""
        root = self._at("")
        found = self._insist(lambda: self._fs.find(root, detail=True))
        for path, about in found.items():
            yield path[len(root) :], about["LastModified"].timestamp()

    def drop_torn(self, before: float) -> None:
        """Remove parts of objects that were begun before then, in seconds since 1970, and never
        finished. Raises StorageAway."""
        found = self._ask("list_multipart_uploads", Prefix=self._below(""))
        for torn in found.get("Uploads", ()):
            if torn["Initiated"].timestamp() < before:
                self._ask("abort_multipart_upload", Key=torn["Key"], UploadId=torn["UploadId"])

    def trouble(self, within_s: float = 2.5) -> str | None:
        """Why it cannot be used now, in words; None where it answers in so many seconds."""
        try:
            self._try(partial(self._look, within_s), patience_s=0)
        except FileNotFoundError:
            return f"There is no bucket of the storage {self.storage}."
        except StorageAway as error:
            return error.detail
        return None

    def _look(self, within_s: float) -> None:
        """Raises what `_failures` names, soon: somebody waits for the answer."""
        from fsspec.asyn import sync

        sync(self._fs.loop, self._fs.set_session)  # once; it reads files, and asks nobody
        asked = {"Bucket": self.storage.bucket, "Prefix": self._below(""), "MaxKeys": 1}
        sync(
            self._fs.loop, self._fs._call_s3, "list_objects_v2",
            timeout=within_s, **asked,
        )  # fmt: skip

    def _how(self, size: int) -> dict[str, float]:
        """How so many bytes go, and within how many seconds."""
        within_s = self._read_s + size / _SLOWEST
        return {"chunksize": _PART, "max_concurrency": _AT_ONCE, "timeout": within_s}

    def _at(self, key: str) -> str:
        return f"{self.storage.bucket}/{self._below(key)}"

    def _below(self, key: str) -> str:
        return f"{self.storage.prefix}/{key}" if self.storage.prefix else key

    def _ask(self, call: str, **facts: Any) -> Any:
        """A call of S3 itself, about the bucket. Raises StorageAway, FileNotFoundError."""
        asked = partial(self._fs.call_s3, call, Bucket=self.storage.bucket, **facts)
        return self._insist(asked)

    def _insist(self, call: Callable[[], T]) -> T:
        def asked() -> T:
            if self._answers_s is not None:
                self._look(self._answers_s)
            return call()

        return self._try(asked, self._patience_s)

    def _try(self, call: Callable[[], T], patience_s: float) -> T:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return call()
            except FileNotFoundError:
                raise
            except self._failures as error:
                if isinstance(error, OSError) and error.errno in _LOCAL:
                    raise
                if isinstance(error, PermissionError) or time.monotonic() > deadline:
                    raise StorageAway(self._said(error)) from None
            time.sleep(_AGAIN_AFTER_S)

    def _said(self, error: Exception) -> str:
        """In the lab's words: a server's own may repeat what it was sent."""
        name = type(error).__name__
        if isinstance(error, PermissionError):
            return f"The storage {self.storage} refuses the lab's credentials."
        if name in ("NoCredentialsError", "PartialCredentialsError"):
            return (
                f"There are no credentials for the storage {self.storage}: set AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE."
            )
        return f"The storage {self.storage} does not answer ({name})."
