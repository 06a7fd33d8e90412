"""The lab of docker-compose.yml's profile `scale` on these hosts, kept up as Docker keeps it."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.hosts.network import ROOT, Network
from tests.run import names, servers
from tests.run.containers import Container, Containers, make_secrets, read

NAME = "lab.example.org"
PASSWORD = "correct horse battery"
USER = "user"
WORKERS = ("worker-1", "worker-2", "worker-3")
WEBS = ("web-1", "web-2")
SERVICES: Mapping[str, tuple[str, ...]] = {
    USER: (),
    "database": ("database",),
    "broker": ("broker",),
    "storage": ("storage",),
    "proxy": ("proxy",),
    "web-1": ("web-scale",),
    "web-2": ("web-scale",),
    "worker-1": ("worker-train-scale", "worker-evaluate-scale"),
    "worker-2": ("worker-train-scale", "worker-evaluate-scale"),
    "worker-3": ("worker-evaluate-scale", "worker-live-scale"),
}
"""What runs on each host, by its name in docker-compose.yml."""
_AGAIN_AFTER_S = 2.0
_LOOKS = 3
_GIVEN_UP_S = 300.0


@dataclass
class Part:
    """One container of a host."""

    container: Container
    run: Callable[[], None]
    host: str
    begun: float = 0.0

    def start(self) -> None:
        self.begun = time.monotonic()
        self.run()

    @property
    def ended(self) -> bool:
        process = self.container.process
        return process is not None and process.poll() is not None


@dataclass
class Site:
    """A lab of ten hosts. This process is one of them, the user's."""

    network: Network
    containers: Containers
    resolver: str
    logs: Path
    settings: Mapping[str, str]
    code: Path
    """What its webs and workers run."""
    parts: list[Part] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    """Hosts that have lost their power."""
    restarts: list[str] = field(default_factory=list)
    """What ended by itself, and was started again as Docker does."""
    wire: str = ""
    """By what links were slow."""
    http: httpx.Client = field(init=False)

    def start(self) -> None:
        """All of it, in the order of `depends_on`; then somebody signs in."""
        for host in ("database", "broker", "storage"):
            self._place(host)
        first = {part.host: part.container for part in self.parts}
        servers.start_database(first["database"])
        first["broker"].start()
        first["broker"].wait()
        servers.start_storage(first["storage"])
        bucket = self._make("bucket", "web-1")
        bucket.run(*bucket.service["command"])
        self.containers.running.remove(bucket)
        for hosts in (WEBS, ("proxy",), WORKERS):
            before = len(self.parts)
            for host in hosts:
                self._place(host)
            for part in self.parts[before:]:
                part.start()
            for part in self.parts[before:]:
                part.container.wait()
        self._sign_in()

    def _make(self, service: str, host: str) -> Container:
        within = self.network.within(host, self.logs / f"{host}.log")
        made = self.containers.make(service, self.network.address(host), within)
        if "env_file" in made.service or service.startswith(("web", "worker")):
            made.service["environment"] = {**made.service["environment"], **self.settings}
            made.code = self.code
        return made

    def _place(self, host: str) -> None:
        for service in SERVICES[host]:
            made = self._make(service, host)
            run = {
                "database": lambda made=made: servers.run_database(made),
                "storage": lambda made=made: servers.start_storage(made),
                "proxy": lambda made=made: servers.start_proxy(made, self.resolver),
            }.get(service, made.start)
            self.parts.append(Part(made, run, host))

    def _sign_in(self) -> None:
        self._web.run("python", "-m", "app", "users", "add", "ada", "admin", said=PASSWORD)
        known = ssl.create_default_context(cafile=self.containers.secrets_folder / "tls_cert")
        known.check_hostname = False  # it is asked by its address
        host = f"{NAME}:8443"
        headers = {"Host": host, "Origin": f"https://{host}"}
        address = f"https://{self.network.address('proxy')}:8443"
        self.http = httpx.Client(base_url=address, verify=known, headers=headers, timeout=30)
        self.http.post("/login", data={"name": "ada", "password": PASSWORD, "then": "/jobs"})
        shown = re.search(r'<meta name="csrf" content="([^"]+)"', self.http.get("/account").text)
        assert shown is not None
        self.http.headers["X-CSRF-Token"] = shown[1]

    @property
    def _web(self) -> Container:
        """The first one."""
        return next(part.container for part in self.parts if part.host == WEBS[0])

    @property
    def database_url(self) -> str:
        """Of the lab's database, from here."""
        return (self._web.paths["/run/secrets"] / "lab_database_url").read_text().strip()

    @property
    def storage_url(self) -> str:
        """The lab's, from here; its credentials are in the environment from then on."""
        told = self._web.environment
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = told["AWS_SHARED_CREDENTIALS_FILE"]
        return told["LAB_STORAGE_URL"]

    def serves(self) -> str:
        """The web that has the proxy's one long request."""
        said = dict.fromkeys(WEBS, 0)
        for _ in range(_LOOKS):
            open_ = self.network.ask("proxy", "ss", "-Htn", "state", "established")
            for web in WEBS:
                said[web] += f"{self.network.address(web)}:8000" in open_
            time.sleep(0.2)
        return max(said, key=lambda web: said[web])

    def ask(self, path: str) -> Any:
        """None while it does not answer."""
        try:
            answer = self.http.get(path)
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None

    def read(self, path: str) -> Any:
        """As `ask`, until it answers. Raises TimeoutError."""
        found: list[Any] = []

        def answers() -> bool:
            found.append(self.ask(path))
            return found[-1] is not None

        self.until(answers, path)
        return found[-1]

    def post(self, path: str, key: str, make: Callable[[], Mapping[str, Any]]) -> Any:
        """Again and again until it is taken, under one key; `make` has what is sent.

        Raises TimeoutError, RuntimeError where it is refused.
        """
        deadline, headers = time.monotonic() + _GIVEN_UP_S, {"Idempotency-Key": key}
        while time.monotonic() < deadline:
            try:
                answer = self.http.post(path, headers=headers, **make())
                if answer.status_code < 500:
                    if not answer.is_success:
                        raise RuntimeError(answer.text)
                    return answer.json()
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        raise TimeoutError(f"{path} was not taken in {_GIVEN_UP_S:.0f} s")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for it, and keep the hosts' containers up. Raises TimeoutError."""
        deadline = time.monotonic() + _GIVEN_UP_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            self.keep()
            time.sleep(0.2)

    def keep(self) -> None:
        """What ended by itself runs again: `restart: unless-stopped`."""
        for part in self.parts:
            late = time.monotonic() - part.begun > _AGAIN_AFTER_S
            if part.host not in self.away and part.ended and late:
                self.restarts.append(part.container.name)
                part.start()

    def lose(self, host: str) -> None:
        """It loses its power."""
        self.away.add(host)
        self.network.lose(host)
        for part in self.parts:
            if part.host == host and part.container.process is not None:
                part.container.process.wait()

    def back(self, host: str) -> None:
        """It has power again, and what was on its disk."""
        self.network.add(host)
        self.away.discard(host)
        for part in self.parts:
            if part.host == host:
                part.start()

    def dead(self) -> list[str]:
        """What should run and does not."""
        return [f"{part.container.name} on {part.host}" for part in self.parts if part.ended]

    def said(self, host: str) -> str:
        """What its processes wrote so far."""
        path = self.logs / f"{host}.log"
        return path.read_text(errors="replace") if path.exists() else ""


@contextmanager
def site(folder: Path, code: Path = ROOT, /, **settings: str) -> Iterator[Site]:
    """Its files go below `folder`. `code`: that of the lab. `settings`: what lab.env says."""
    network = Network(SERVICES)
    network.enter(USER)
    front = f"{network.address('proxy')}/32"
    secrets = make_secrets(folder / "secrets", NAME)
    project = read(secrets, LAB_NAME=f"{NAME}", LAB_FRONT_NETWORK=front)
    logs = folder / "logs"
    logs.mkdir(mode=0o777)
    logs.chmod(0o777)  # PostgreSQL runs as somebody else
    containers = Containers(folder, project, [], "web-scale")
    with names.answering(containers.addresses, network.address(USER)) as resolver:
        made = Site(network, containers, resolver, logs, settings, code)
        made.start()
        try:
            yield made
        finally:
            made.http.close()
