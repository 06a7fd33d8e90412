"""docker-compose.yml: what it promises, and its very commands against a real Redis."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.contracts.jobs import Queue
from app.run.supervisor import web_command, worker_command
from app.settings import Settings
from tests.plugins.lab_process import PATIENCE_S, ROOT, free_port, read_health, wait_until

PASSWORD = "5e" * 24
Service = dict[str, Any]


def _services(**variables: str) -> dict[str, Service]:
    """The file's services, with variables filled in and `$$` unescaped as Compose does it."""

    def fill(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, required = match["name"], match["rule"] == "?"
        if required and name not in variables:
            raise KeyError(f"{name}: {match['text']}")
        return variables.get(name, match["text"])

    text = (ROOT / "docker-compose.yml").read_text()
    pattern = r"\$\$|\$\{(?P<name>\w+):(?P<rule>[-?])(?P<text>[^}]*)\}"
    filled = re.sub(pattern, fill, text)
    services: dict[str, Service] = yaml.safe_load(filled)["services"]
    return services


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    return _services(LAB_REDIS_PASSWORD=PASSWORD)


def test_it_has_the_web_a_redis_and_a_worker_for_each_queue_and_device(
    services: dict[str, Service],
) -> None:
    workers = {f"worker-{queue}{device}" for queue in Queue for device in ("", "-cpu")}
    assert set(services) == {"web", "redis"} | workers


def test_nothing_is_published(services: dict[str, Service]) -> None:
    for service in services.values():
        assert not {"ports", "expose"} & set(service)
    assert services["redis"]["network_mode"] == "none"
    assert services["web"]["network_mode"] == "host"
    assert services["web"]["command"][services["web"]["command"].index("--host") + 1] == "127.0.0.1"


def test_without_a_password_it_refuses() -> None:
    with pytest.raises(KeyError, match="LAB_REDIS_PASSWORD"):
        _services()


def test_every_service_has_a_health_check_and_few_rights(services: dict[str, Service]) -> None:
    for service in services.values():
        assert service["healthcheck"]["test"]
        assert service["user"] != "0"
        assert service["cap_drop"] == ["ALL"]


def test_the_data_survives_in_a_named_volume(services: dict[str, Service]) -> None:
    assert "data" in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    for name, service in services.items():
        if name != "redis":
            assert "data:/data" in service["volumes"]
            assert service["environment"]["LAB_DATA_DIR"] == "/data"


def test_the_lab_alone_reads_its_settings_from_a_file(services: dict[str, Service]) -> None:
    for name, service in services.items():
        read = service.get("env_file", [])
        assert read == ([] if name == "redis" else [{"path": "lab.env", "required": False}])


def test_a_gpu_is_reserved_for_workers_outside_the_cpu_profile(
    services: dict[str, Service],
) -> None:
    for queue in Queue:
        with_gpu, without = services[f"worker-{queue}"], services[f"worker-{queue}-cpu"]
        (device,) = with_gpu["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert with_gpu["profiles"] == ["gpu"]
        assert "deploy" not in without
        assert without["profiles"] == ["cpu"]
        assert with_gpu["command"] == without["command"]


def test_the_commands_are_those_of_the_supervisor(services: dict[str, Service]) -> None:
    assert services["web"]["command"] == ["python", *web_command(Settings(port=8000))]
    for queue in Queue:
        assert services[f"worker-{queue}"]["command"] == ["python", *worker_command(queue)]


def test_the_commands_are_those_of_the_documentation() -> None:
    text = (ROOT / "docs" / "running.md").read_text()
    documented = {line.strip() for line in text.splitlines() if line.startswith("    python -m ")}
    for command in [web_command(Settings(port=8000)), *(worker_command(queue) for queue in Queue)]:
        assert shlex.join(["python", *command]) in documented


def test_what_the_images_copy_exists_and_the_build_sees_it() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    dockerfile = (ROOT / "Dockerfile").read_text()
    for source in re.findall(r"^COPY ([\w/.]+) ", dockerfile, re.MULTILINE):
        assert (ROOT / source).exists()
        assert f"!{source.split('/')[0]}" in ignored
    stages = re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE)
    assert {"web", "worker"} <= set(stages)


class _Containers:
    """The services' commands as plain processes; the volumes are folders."""

    def __init__(self, folder: Path, port: int) -> None:
        self._services = _services(LAB_REDIS_PASSWORD=PASSWORD, LAB_PORT=str(port))
        self._folders = {"/data": str(folder / "data"), "/run/lab": str(folder / "run")}
        for made in self._folders.values():
            Path(made).mkdir()
        self._running: list[subprocess.Popen[bytes]] = []

    def _here(self, text: str) -> str:
        for inside, outside in self._folders.items():
            text = text.replace(inside, outside)
        return text

    def _command(self, command: list[str]) -> list[str]:
        return [sys.executable if part == "python" else self._here(part) for part in command]

    def _environment(self, service: Service) -> Mapping[str, str]:
        own = {name: self._here(value) for name, value in service["environment"].items()}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
        return clean | own | {"OMP_NUM_THREADS": "1"}

    def token(self) -> str:
        return Path(self._folders["/data"], "token").read_text().strip()

    def start(self, name: str) -> None:
        service = self._services[name]
        self._running.append(
            subprocess.Popen(
                self._command(service["command"]),
                cwd=ROOT,
                env=self._environment(service),
                start_new_session=True,
            )
        )

    def healthy(self, name: str) -> bool:
        service = self._services[name]
        kind, *test = service["healthcheck"]["test"]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        done = subprocess.run(
            self._command(command),
            cwd=ROOT,
            env=self._environment(service),
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def stop(self) -> list[int]:
        """Stop them in the reverse order; returns the exit codes, first started first."""
        codes = []
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
            codes.append(process.wait(PATIENCE_S))
        return codes[::-1]

    def kill(self) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def containers() -> Iterator[tuple[_Containers, int]]:
    port = free_port()
    # Not pytest's own folder: a socket's path has to stay short.
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        running = _Containers(Path(folder), port)
        yield running, port
        running.kill()


@pytest.mark.slow
@pytest.mark.redis
def test_its_commands_make_a_lab_on_a_real_redis(containers: tuple[_Containers, int]) -> None:
    lab, port = containers
    for name in ("redis", "web", *(f"worker-{queue}" for queue in Queue)):
        assert not lab.healthy(name)
    # As `depends_on` orders it.
    lab.start("redis")
    wait_until(lambda: lab.healthy("redis"), "Redis answers")
    lab.start("web")
    wait_until(lambda: lab.healthy("web"), "the web answers")
    for queue in Queue:
        lab.start(f"worker-{queue}")
    for queue in Queue:
        wait_until(partial(lab.healthy, f"worker-{queue}"), f"a worker for {queue}")
    url = f"http://127.0.0.1:{port}"
    assert read_health(url)["status"] == 401, "whose processes connect is not to be known"
    health = read_health(url, lab.token())
    assert health["ok"]
    assert [queue["workers"] for queue in health["queues"]] == [1, 1, 1]
    commands = subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, check=True)
    assert PASSWORD.encode() not in commands.stdout
    # Celery and Redis end with 0; uvicorn raises the signal again when it is done.
    redis, web, *workers = lab.stop()
    assert (redis, workers) == (0, [0, 0, 0])
    assert web in (0, -signal.SIGTERM)
