"""docker-compose.yml as Compose itself reads it, and its services as plain processes.

Each container gets a folder for what is mounted into it, and an address of the loopback network.
Commands, health checks, environments, secrets and configurations are those of the file; what they
say of paths, names of hosts and ports is put into terms of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.plugins.lab_process import PATIENCE_S, ROOT, free_port, wait_until
from tests.plugins.needs import beside_python

Service = dict[str, Any]
_URL_PORT = r"(?<![\d.])({})(?![\d.])"


def read(secrets: Path, **variables: str) -> dict[str, Any]:
    """The whole file with variables filled in, of all profiles. Raises ValueError where Compose
    does not take it, or warns."""
    compose = beside_python("docker-compose")
    assert compose is not None
    asked = [
        compose, "--env-file", os.devnull, "-f", str(ROOT / "docker-compose.yml"),
        "--profile", "*", "config", "--format", "json", "--no-env-resolution",
    ]  # fmt: skip
    done = subprocess.run(
        asked,
        env={"PATH": os.environ["PATH"], "LAB_SECRETS": str(secrets), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or done.stderr:
        raise ValueError(done.stderr)
    # It writes a dollar as it is to be read again.
    project: dict[str, Any] = json.loads(done.stdout.replace("$$", "$"))
    return project


def make_secrets(folder: Path, name: str = "localhost") -> Path:
    """What deploy/secrets.sh makes."""
    command = ["sh", str(ROOT / "deploy" / "secrets.sh"), name]
    environment = {"PATH": os.environ["PATH"], "LAB_SECRETS": str(folder)}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return folder


@dataclass
class Container:
    """One of a service, on this machine."""

    name: str
    service: Service
    address: str
    folder: Path
    """What is its own: the files of its mounts."""
    rewrite: Callable[[str], str]
    """Names of hosts and ports, wherever it has to do with them."""
    within: Sequence[str] = ()
    """The command by which another runs where this one is."""
    paths: dict[str, Path] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    code: Path = ROOT
    """What its image has of the lab."""

    def here(self, text: str) -> str:
        """What a container is told, for this machine."""
        text = re.sub(r"(0\.0\.0\.0|127\.0\.0\.1)(?![\d/])", self.address, self.rewrite(text))
        if not self.paths:
            return text
        paths = "|".join(map(re.escape, sorted(self.paths, key=len, reverse=True)))
        return re.sub(paths, lambda found: str(self.paths[found[0]]), text)

    def command(self, of: Sequence[str]) -> list[str]:
        told = [sys.executable if part == "python" else self.here(part) for part in of]
        return [*self.within, *told]

    @property
    def environment(self) -> Mapping[str, str]:
        own = {name: self.here(value) for name, value in self.service["environment"].items()}
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.code),
            "OMP_NUM_THREADS": "1",
            **own,
        }

    def start(self, command: Sequence[str] = (), cwd: Path | None = None) -> None:
        """`command`: what stands in for the service's own."""
        self.process = subprocess.Popen(
            [*self.within, *command] if command else self.command(self.service["command"]),
            cwd=cwd or self.code,
            env=self.environment,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Until it is healthy. Fails where it ends before."""
        assert self.process is not None
        running = self.process

        def begun() -> bool:
            assert running.poll() is None, f"{self.name} ended with {running.returncode}"
            return self.healthy()

        # Its check is a command that has to start as well.
        wait_until(begun, f"{self.name} is healthy", every_s=0.5)

    def run(self, *command: str, said: str = "") -> None:
        """What `docker compose exec` runs; fails where that does. `said`: its standard input."""
        subprocess.run(
            self.command(command), cwd=self.code, env=self.environment, input=said.encode(),
            check=True,
        )  # fmt: skip

    def healthy(self) -> bool:
        kind, *test = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(
            self.command(test),
            cwd=self.code,
            env=self.environment,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def stop(self) -> int:
        """As `docker compose stop` does; the exit code. Fails where it takes longer than that
        waits, many times over."""
        assert self.process is not None
        named = self.service.get("stop_signal", "SIGTERM")
        self.process.send_signal(signal.Signals[named])
        return self.process.wait(PATIENCE_S)


class Containers:
    """The services of docker-compose.yml, started one by one."""

    def __init__(
        self, folder: Path, project: dict[str, Any], ports: list[str], looked_up: str = ""
    ) -> None:
        """`ports`: those that services listen on, to be others here. `looked_up`: the service that
        is found by asking for its name, as `names` answers."""
        self._folder, self._project, self._looked_up = folder, project, looked_up
        self.ports = {port: str(free_port()) for port in ports}
        self.addresses: dict[str, list[str]] = {}
        self.running: list[Container] = []

    def make(self, name: str, address: str = "127.0.0.1", within: Sequence[str] = ()) -> Container:
        """A container that does not run yet."""
        self.addresses.setdefault(name, []).append(address)
        service = {"environment": {}, **self._project["services"][name]}
        folder = self._folder / f"{name}-{len(self.addresses[name])}"
        made = Container(name, service, address, folder, self._rewrite, within)
        self._mount(made)
        self.running.append(made)
        return made

    def _mount(self, container: Container) -> None:
        for volume in container.service.get("volumes", ()):
            source = volume.get("source")
            path = self._folder / source if source else container.folder / "data"
            path.mkdir(parents=True, exist_ok=True)
            container.paths[volume["target"]] = path
        for temporary in container.service["tmpfs"]:
            inside = temporary.split(":")[0]
            container.paths[inside] = container.folder / "tmpfs" / inside.strip("/")
            container.paths[inside].mkdir(parents=True)
        inner = container.folder / "secrets"
        inner.mkdir(parents=True, exist_ok=True)
        for kind in ("secrets", "configs"):
            for mounted in container.service.get(kind, ()):
                text = Path(self._project[kind][mounted["source"]]["file"]).read_text()
                target = Path("/run/secrets", mounted["target"])
                (inner / target.name).write_text(container.here(text))
                container.paths[str(target.parent)] = inner

    def _rewrite(self, text: str) -> str:
        for name in self.addresses.keys() - {self._looked_up}:
            addresses = self.addresses[name]
            text = re.sub(rf"(?<=[@/]){name}(?=[:/])", addresses[0], text)
        if self.ports:
            ports = _URL_PORT.format("|".join(self.ports))
            text = re.sub(ports, lambda found: self.ports[found[1]], text)
        return text

    @property
    def secrets_folder(self) -> Path:
        return Path(self._project["secrets"]["redis_password"]["file"]).parent

    @cached_property
    def secrets(self) -> list[bytes]:
        """What nobody may see: the passwords."""
        return [path.read_bytes().strip() for path in self.secrets_folder.glob("*_password")]

    def shown(self) -> bytes:
        """What everybody on the machine sees of the processes, and what their own user does of
        their environments."""
        listed = subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, check=True)
        environments = [
            Path(f"/proc/{each.process.pid}/environ").read_bytes()
            for each in self.running
            if each.process is not None and each.process.poll() is None
        ]
        return b"\n".join([listed.stdout, *environments])

    def kill(self) -> None:
        for each in self.running:
            if each.process is not None and each.process.poll() is None:
                os.killpg(each.process.pid, signal.SIGKILL)
                each.process.wait()


@contextmanager
def containers(folder: Path, *arguments: Any) -> Iterator[Containers]:
    """They end with the block, and nothing of them is left."""
    made = Containers(folder, *arguments)
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)
