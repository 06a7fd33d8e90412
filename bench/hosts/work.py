"""What a user has the lab do on these hosts: small jobs that give the same figures each time."""

from __future__ import annotations

import io
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.hosts.site import Site
from tests.plugins.drawn import archive, picture

FINAL = ("succeeded", "failed", "cancelled")
TRAIN, EVALUATE, LIVE, IMPORT = KINDS = ("train", "evaluate", "explain", "import")
_DRAWN = {
    "environment", "id", "model", "upload", "params", "pace", "seconds", "last", "dataset", "name",
}  # fmt: skip
"""Names that the lab drew, those that we did, and what a clock says."""

_FOLLOWS = httpx.Timeout(10.0, read=None)


class Slow(io.BytesIO):
    """A file that comes over a slow line."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._pause_s = seconds * 2**16 / len(data)

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(self._pause_s)
        return super().read(size)


def figures(result: Any) -> Any:
    """What of a result two runs of one job have in common, bit for bit."""
    if isinstance(result, Mapping):
        return {key: figures(value) for key, value in result.items() if key not in _DRAWN}
    if isinstance(result, list):
        return [figures(each) for each in result]
    return result


@dataclass
class Work:
    """One of each kind at a time."""

    site: Site
    epochs: int
    images: int
    submitted: dict[str, str] = field(default_factory=dict)
    """Kinds by the ids of jobs."""
    _dataset: str = ""
    _model: str = ""

    def __post_init__(self) -> None:
        self._archive, self._picture = archive(train=200, test=50), picture()  # 2 MB

    def prepare(self) -> None:
        """A dataset to train on, and a model to measure."""
        drawn = {"name": "Shapes", "source": "shapes", "train_per_class": "20"}
        result = self.over(self._send(IMPORT, "/api/datasets", lambda: {"data": drawn}))
        self._dataset = result["dataset"]
        self._model = self.over(self.submit(TRAIN))["model"]

    def in_peace(self) -> tuple[dict[str, Any], list[str]]:
        """What each kind of job gives, and what is wrong where it gives something else again."""
        calm, wrong = dict[str, Any](), []
        self.prepare()
        for kind in KINDS:
            begun = time.monotonic()
            calm[kind] = self.outcome(self.submit(kind))
            seconds = time.monotonic() - begun
            if self.outcome(self.submit(kind)) != calm[kind]:
                wrong.append(f"{kind}: two calm runs differ")
            print(f"in peace: {kind} {seconds:.0f} s, load {os.getloadavg()[0]:.0f}", flush=True)
        return calm, wrong

    def submit(self, kind: str) -> str:
        """The id of the job."""
        return SUBMITTING[kind](self)

    def _train(self) -> str:
        asked = {
            "name": f"Net {len(self.submitted)}", "dataset": self._dataset, "recipe": "clean",
            "architecture": "wrn-10-1", "epochs": self.epochs, "batch_size": 64, "seed": 3,
        }  # fmt: skip
        body = {"kind": TRAIN, "params": asked}
        return self._send(TRAIN, "/api/jobs", lambda: {"json": body})

    def _evaluate(self) -> str:
        asked = {
            "models": [self._model], "dataset": self._dataset, "images": self.images,
            "batch_size": 8, "epsilon": 1 / 255,
            "further": ["square"], "queries": 50, "attention": False,
            "minimal_epsilon": False, "epsilons": [0, 1 / 255], "step_counts": [1, 5],
        }  # fmt: skip
        body = {"kind": EVALUATE, "params": asked}
        return self._send(EVALUATE, "/api/jobs", lambda: {"json": body})

    def _live(self) -> str:
        fields = {"models": self._model, "steps": "4", "seed": "5"}
        return self._send(
            LIVE, "/api/live",
            lambda: {"data": fields, "files": {"image": ("x.png", self._picture)}},
        )  # fmt: skip

    def upload(self, seconds: float = 0.0) -> str:
        """An archive, over a line that takes so long for it."""
        fields = {"name": f"Noise {len(self.submitted)} {secrets.token_hex(2)}"}
        return self._send(
            IMPORT, "/api/datasets",
            lambda: {"data": fields, "files": {"file": ("a.zip", Slow(self._archive, seconds))}},
        )  # fmt: skip

    def _send(self, kind: str, path: str, make: Callable[[], Mapping[str, Any]]) -> str:
        job = str(self.site.post(path, secrets.token_hex(8), make)["id"])
        self.submitted[job] = kind
        return job

    def job(self, job: str) -> dict[str, Any]:
        """Empty while the lab does not answer."""
        return self.site.ask(f"/api/jobs/{job}") or {}

    def over(self, job: str) -> Any:
        """Its result, once it has one. Raises TimeoutError, RuntimeError where it has none."""
        path = f"/api/jobs/{job}"
        self.site.until(lambda: self.job(job).get("status") in FINAL, f"the end of {job}")
        found = self.site.read(path)
        if found["status"] != "succeeded":
            raise RuntimeError(f"{found['kind']} {job}: {found['status']}, {found['failure']}")
        return self.site.read(f"{path}/result")

    def outcome(self, job: str) -> Any:
        """Its figures; of a training the sum of its weights, too. Raises as `over`."""
        result = self.over(job)
        found = figures(result)
        if self.submitted[job] == TRAIN:
            found["weights"] = self.site.read(f"/api/models/{result['model']}")["sha256"]
        return found


SUBMITTING: Mapping[str, Callable[[Work], str]] = {
    TRAIN: Work._train, EVALUATE: Work._evaluate, LIVE: Work._live, IMPORT: Work.upload,
}  # fmt: skip


class Visitor(threading.Thread):
    """Somebody who opens a page twice a second, and what they get."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self._site, self._over = site, threading.Event()
        self.seen: list[tuple[float, float, str]] = []
        """When each was asked for, the seconds it took, and the status or the error."""

    def run(self) -> None:
        while not self._over.wait(0.5):
            begun = time.monotonic()
            try:
                said = str(self._site.http.get("/jobs").status_code)
            except httpx.HTTPError as error:
                said = type(error).__name__
            self.seen.append((begun, time.monotonic() - begun, said))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def away_s(self) -> float:
        """The longest time from the asking for a page that was not shown to the next one shown."""
        longest, since = 0.0, None
        for asked, seconds, said in self.seen:
            if said != "200" and since is None:
                since = asked
            elif said == "200":
                longest = max(longest, asked + seconds - (asked if since is None else since))
                since = None
        return longest


class Follower(threading.Thread):
    """Somebody whose page follows a job's events, and how long it hears nothing at all."""

    def __init__(self, site: Site, job: str) -> None:
        super().__init__(daemon=True)
        self._site, self._path, self._over = site, f"/api/jobs/{job}/events", threading.Event()
        self._heard, self._longest = time.monotonic(), 0.0

    def run(self) -> None:
        """As a browser does: again, where the stream ends."""
        while not self._over.is_set():
            try:
                with self._site.http.stream("GET", self._path, timeout=_FOLLOWS) as stream:
                    for _ in stream.iter_raw():
                        self._hear()
                        if self._over.is_set():
                            return
            except httpx.HTTPError:
                pass
            self._over.wait(1.0)

    def _hear(self) -> None:
        now = time.monotonic()
        self._longest, self._heard = max(self._longest, now - self._heard), now

    def stop(self) -> float:
        """The longest silence so far, in seconds. An open stream may be left to end by itself."""
        self._over.set()
        self._hear()
        return self._longest
