"""The lab on one machine: a broker, the web and a worker for each queue, kept alive and ended.

docker-compose.yml and docs/running.md have the same commands of the processes.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping

import devices
from app.admission import peers
from app.admission.token import kept_token, token_file
from app.contracts.jobs import Queue
from app.run import leftovers
from app.run.broker import Broker
from app.run.checks import CannotStart
from app.run.lines import announce, say
from app.run.processes import GRACE_S, ROOT, Child, stop
from app.run.template import Template, Worker
from app.settings import Auth, Settings
from confinement import gaps

_STREAMS_END_AFTER_S = 3
"""How long an open event stream may hold up the end of the web process."""

_MOST_CONNECTIONS = 4000
"""Who comes beyond them hears 503 at once, without a word on when to come again."""

_WARM = frozenset({Queue.LIVE})
"""Queues whose jobs take a second: their process keeps its models. Others start afresh each job."""

_WATCHDOG = "from app.run.processes import watchdog; watchdog()"
_TICK_S = 0.2
_WEB_GRACE_S = 6.0
_BROKER_GRACE_S = 5.0


def web_command(settings: Settings) -> list[str]:
    """The arguments of `python` that serve pages and API."""
    tls = (("--ssl-certfile", settings.tls_cert), ("--ssl-keyfile", settings.tls_key))
    return [
        *("-m", "uvicorn", "--factory", "app.main:served"),
        *("--host", settings.host, "--port", str(settings.port)),
        *(str(part) for option in tls if option[1] is not None for part in option),
        *("--http", "app.connections:Connection"),
        *("--timeout-graceful-shutdown", str(_STREAMS_END_AFTER_S)),
        *("--limit-concurrency", str(_MOST_CONNECTIONS), "--no-proxy-headers"),
        *("--log-level", "warning"),
    ]


def worker_command(queue: Queue, name: str | None = None) -> list[str]:
    """The arguments of `python` that work on one queue, one job at a time; several workers of one
    queue need names of their own."""
    afresh = [] if queue in _WARM else ["--max-tasks-per-child", "1"]
    return [
        *("-m", "celery", "-A", "worker.celery_app:app", "-q", "worker"),
        *("-Q", queue.value, "-n", f"{name or queue}@%h", "-c", "1", "--prefetch-multiplier", "1"),
        *afresh,
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    ]


def workers(
    environment: Mapping[str, str], template: Template, train_gpus: int = 1
) -> list[Worker]:
    """One for each queue; where the lab may use several GPUs, one that trains for each `train_gpus`
    of them.

    Evaluation and live share the first GPU, as everything does where there is one.
    """
    found = devices.gpus(environment)
    groups = [found[first : first + train_gpus] for first in range(0, len(found), train_gpus)]
    children = []
    for queue in Queue:
        if queue is not Queue.TRAIN or len(groups) < 2:
            children.append(Worker(queue.value, worker_command(queue), {}, template))
            continue
        for number, group in enumerate(groups, 1):
            name = f"{queue}-{number}"
            command = worker_command(queue, name)
            children.append(Worker(name, command, devices.only(group), template))
    return children


class Supervisor:
    """Starts everything in order, restarts what dies, stops everything in the reverse order."""

    def __init__(self, settings: Settings, lock_fd: int) -> None:
        self._settings = settings
        self._lock_fd = lock_fd
        self._broker: Broker | None = None
        self._web: Child | None = None
        self._template: Template | None = None
        self._workers: list[Worker] = []
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._stop_requests = 0

    def run(self) -> int:
        """Run until SIGINT, SIGTERM or SIGHUP; returns the exit code. Raises CannotStart."""
        self._catch_signals()
        self._warn()
        try:
            environment = self._start_broker()
            self._template = Template(environment)
            self._template.start()
            if self._start_web(environment):
                self._workers = workers(environment, self._template, self._settings.train_gpus)
                announce(f"AGKD-BML Lab is ready: {self._settings.address}")
                self._say_who_may()
                self._watch()
        finally:
            self._stop()
        return 0 if self._stop_requests < 2 else 130

    def _warn(self) -> None:
        """Of what makes it less safe than it could be."""
        if os.geteuid() == 0:
            say("warning: it runs as root, and so do its jobs; a user of its own is safer")
        for gap in gaps():
            say(f"warning: {gap}")

    def _say_who_may(self) -> None:
        """Where a browser needs the token, give it to whoever sits at the terminal. Into a log goes
        only where it lies."""
        if self._settings.auth is Auth.OFF:
            say("LAB_AUTH=off: every user of this machine may do everything")
        elif self._settings.auth is Auth.ACCOUNTS:
            if not (self._settings.tls_cert or self._settings.trusted_proxies):
                say("warning: passwords cross the network unencrypted; set LAB_TLS_CERT")
        elif not (self._settings.believes_sockets and peers.can_be_known()):
            folder = self._settings.data_dir
            if sys.stdout.isatty():
                announce(f"Open it by {self._settings.address}/?token={kept_token(folder)}")
            else:
                say(f"it asks for the token in {token_file(folder)}")

    def _catch_signals(self) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # `nohup` ignores SIGHUP for the lab, and that must stay so.
            if signum is not signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._request_stop)

    def _request_stop(self, _signum: int, _frame: object) -> None:
        self._stop_requests += 1

    def _start_broker(self) -> dict[str, str]:
        """Returns the environment of the lab's processes."""
        environment = os.environ | {
            "LAB_DATA_DIR": str(self._settings.data_dir),
            "PYTHONUNBUFFERED": "1",
        }
        if self._settings.redis_url is None:
            self._broker = Broker(self._settings.data_dir / "valkey")
            self._broker.child.start()
            self._tell_watchdog()
            self._broker.wait()
            environment["LAB_REDIS_URL"] = self._broker.url
        return environment

    def _start_web(self, environment: Mapping[str, str]) -> bool:
        """Whether it answers; it also brings the database's schema up to date for the workers."""
        command = [sys.executable, *web_command(self._settings)]
        self._web = Child("web", command, environment)
        self._web.start()
        self._tell_watchdog()
        while not self._web_answers():
            if self._stop_requests:
                return False
            if self._web.ended():
                raise CannotStart("the web process did not start; its lines above say why")
            time.sleep(_TICK_S)
        return True

    def _watch(self) -> None:
        while not self._stop_requests:
            changed = [child.tend() for child in self._children()]
            if any(changed) or self._watchdog_ended():
                self._tell_watchdog()
            time.sleep(_TICK_S)

    def _children(self) -> list[Child]:
        """Every process, in the order in which they end."""
        return [child for stage, _ in self._stages() for child in stage]

    def _stages(self) -> list[tuple[list[Child], float]]:
        """What ends together, in order, and within how many seconds."""
        web = [self._web] if self._web is not None else []
        template = [self._template] if self._template is not None else []
        broker = [self._broker.child] if self._broker is not None else []
        return [
            (web, _WEB_GRACE_S),
            ([*self._workers], GRACE_S),
            ([*template, *broker], _BROKER_GRACE_S),
        ]

    def _web_answers(self) -> bool:
        host, port = self._settings.shown_host.strip("[]"), self._settings.port
        connection = http.client.HTTPConnection(host, port, timeout=2.0)
        if self._settings.tls_cert is not None:
            # Of this machine's own process nothing but the answer is wanted: whoever it is for.
            blind = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(host, port, timeout=2.0, context=blind)
        try:
            connection.request("GET", "/api/alive")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def _watchdog_ended(self) -> bool:
        return self._watchdog is None or self._watchdog.poll() is not None

    def _tell_watchdog(self) -> None:
        """Name the running groups to the watchdog; start one where there is none."""
        if self._watchdog_ended():
            self._watchdog = subprocess.Popen(
                [sys.executable, "-c", _WATCHDOG],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                pass_fds=[self._lock_fd],
                start_new_session=True,
            )
        assert self._watchdog is not None
        assert self._watchdog.stdin is not None
        stages = [_pids(children) for children, _ in self._stages()]
        pids = {each.name: each.pid for each in self._children() if each.pid is not None}
        leftovers.record(self._settings.data_dir, pids)
        try:
            # One write of less than a pipe's atomic size: the watchdog sees all of it or nothing.
            os.write(self._watchdog.stdin.fileno(), json.dumps(stages).encode() + b"\n")
        except BrokenPipeError:
            say("the watchdog ended; another one takes over")

    def _stop(self) -> None:
        if self._stop_requests:
            say("stopping; once more Ctrl-C to stop at once")
        for children, grace_s in self._stages():
            self._stop_stage(children, grace_s)
        if self._broker is not None:
            self._broker.clean()
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._tell_watchdog()
            self._watchdog.stdin.close()
            self._watchdog.wait()

    def _stop_stage(self, children: list[Child], grace_s: float) -> None:
        running = {child.pid: child for child in children if child.pid is not None}
        stop(
            list(running),
            grace_s=grace_s,
            is_gone=lambda pid: running[pid].ended(),
            hurry=lambda: self._stop_requests > 1,
        )
        for child in running.values():
            child.forget()


def _pids(children: list[Child]) -> list[int]:
    return [child.pid for child in children if child.pid is not None]
