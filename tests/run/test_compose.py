"""docker-compose.yml: what it promises, and the commands of one machine against a real Redis."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.contracts.jobs import Queue
from app.run.supervisor import web_command, worker_command
from app.settings import Settings
from tests.plugins.lab_process import ROOT, read_health
from tests.plugins.needs import beside_python
from tests.run.containers import Containers, Service, containers, make_secrets, read

pytestmark = pytest.mark.containers
ONE, MANY = {"cpu", "gpu"}, {"scale", "scale-gpu"}
OF_OTHERS = {"redis", "broker", "database", "storage", "proxy"}
"""Services whose images are not the lab's."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read(make_secrets(tmp_path_factory.mktemp("secrets") / "made"))


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = project["services"]
    return found


def of_profile(services: dict[str, Service], *profiles: str) -> dict[str, Service]:
    return {name: each for name, each in services.items() if {*profiles} & {*each["profiles"]}}


def test_each_profile_has_what_a_lab_needs(services: dict[str, Service]) -> None:
    shared = {"bucket", "broker", "database", "storage", "proxy", "web-scale"}
    for profile, suffix, others in (
        ("gpu", "", {"web", "redis"}),
        ("cpu", "-cpu", {"web", "redis"}),
        ("scale", "-scale", shared),
        ("scale-gpu", "-scale-gpu", shared),
    ):
        workers = {f"worker-{queue}{suffix}" for queue in Queue}
        assert set(of_profile(services, profile)) == workers | others


def test_the_proxy_alone_is_published(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert not {"ports", "expose"} & set(service) or name == "proxy"
    assert services["redis"]["network_mode"] == "none"
    assert services["web"]["network_mode"] == "host"
    assert services["web"]["command"][services["web"]["command"].index("--host") + 1] == "127.0.0.1"


def test_what_keeps_state_is_reached_by_the_lab_alone(project: dict[str, Any]) -> None:
    services = project["services"]
    assert project["networks"]["stores"]["internal"]
    for name in ("broker", "database", "storage", "bucket"):
        assert set(services[name]["networks"]) == {"stores"}
    assert set(services["proxy"]["networks"]) == {"front"}
    (subnet,) = project["networks"]["front"]["ipam"]["config"]
    trusted = services["web-scale"]["environment"]["LAB_TRUSTED_PROXIES"]
    assert subnet["subnet"] == trusted
    assert {name for name, each in services.items() if "front" in each.get("networks", ())} == {
        "proxy",
        "web-scale",
    }


def test_every_service_has_few_rights_and_limits(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert not service["user"].startswith("0"), name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"]
        assert any(each.startswith("/tmp") for each in service["tmpfs"])
        assert service["pids_limit"]
        assert int(service["mem_limit"])
        assert service["logging"]["options"]["max-size"]


def test_every_service_that_stays_has_a_health_check(services: dict[str, Service]) -> None:
    for name, service in services.items():
        if name == "bucket":
            assert service["restart"] == "on-failure"
        else:
            assert service["healthcheck"]["test"][0] == "CMD"
            assert service["restart"] == "unless-stopped"


def test_what_is_waited_for_is_there(services: dict[str, Service]) -> None:
    """And whoever is waited for can be found healthy, or ends."""
    for service in services.values():
        for other, asked in service.get("depends_on", {}).items():
            assert {*service["profiles"]} <= {*services[other]["profiles"]}
            ends = asked["condition"] == "service_completed_successfully"
            assert ends is (other == "bucket")


def test_no_password_is_in_an_environment(
    project: dict[str, Any], services: dict[str, Service]
) -> None:
    for service in services.values():
        names = set(service.get("environment", {}))
        assert not {name for name in names if re.search(r"PASSWORD$|_KEY|REDIS_URL|DATABASE", name)}
    passwords = {
        Path(each["file"]).read_text().strip()
        for name, each in project["secrets"].items()
        if name.endswith("password")
    }
    assert not any(password in str(services) for password in passwords)


def test_secrets_are_made_once_and_nobody_else_gets_at_them(tmp_path: Path) -> None:
    folder = make_secrets(tmp_path / "secrets", "lab.example.org")
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    # Containers have users of their own.
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.iterdir())
    make_secrets(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    read_there = {Path(each["file"]).name for each in read(folder)["secrets"].values()}
    assert read_there <= set(first)
    assert first["redis_password"].strip() in first["lab_redis_url"]
    assert first["database_password"].strip() in first["lab_database_url"]


def test_without_openssl_there_is_no_empty_password(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for each in ("sh", "cat", "chmod", "dirname", "mkdir", "mv", "rm"):
        (programs / each).symlink_to(shutil.which(each) or "")
    done = subprocess.run(
        [programs / "sh", str(ROOT / "deploy" / "secrets.sh")],
        env={"PATH": str(programs), "LAB_SECRETS": str(tmp_path / "secrets")},
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert b"openssl" in done.stderr
    assert not list((tmp_path / "secrets").iterdir())


def test_images_can_be_pinned_by_their_digests(tmp_path: Path) -> None:
    pinned = {
        f"LAB_{name}_IMAGE": f"{name.lower()}@sha256:{'5e' * 32}"
        for name in ("REDIS", "POSTGRES", "S3", "NGINX", "WEB", "WORKER")
    }
    found = read(tmp_path, **pinned, LAB_BASE_IMAGE="python@sha256:5e")["services"]
    assert {each["image"] for each in found.values()} == set(pinned.values())
    assert found["web"]["build"]["args"] == {"BASE": "python@sha256:5e"}


def test_the_data_survives_in_named_volumes(project: dict[str, Any]) -> None:
    services = project["services"]
    for name, service in services.items():
        kept = {each["target"]: each.get("source") for each in service.get("volumes", ())}
        if name in OF_OTHERS - {"redis", "broker", "proxy"}:
            (source,) = kept.values()
            assert source in project["volumes"]
        elif {*service["profiles"]} <= ONE and name != "redis":
            assert kept == {"/data": "data", "/run/lab": "run"}
            assert service["environment"]["LAB_DATA_DIR"] == "/data"
        elif name not in OF_OTHERS:
            assert kept == {"/data": None}, "each has a disk of its own"


def test_the_lab_alone_reads_its_settings_from_a_file() -> None:
    written = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, service in written.items():
        read_there = service.get("env_file", [])
        wanted = [] if name in OF_OTHERS else [{"path": "lab.env", "required": False}]
        assert read_there == wanted


def test_a_gpu_is_reserved_for_workers_of_its_profiles_alone(services: dict[str, Service]) -> None:
    for name, service in services.items():
        if not name.startswith("worker"):
            continue
        has_gpu = {*service["profiles"]} <= {"gpu", "scale-gpu"}
        assert has_gpu is ("deploy" in service)
        if has_gpu:
            (device,) = service["deploy"]["resources"]["reservations"]["devices"]
            assert device["capabilities"] == ["gpu"]
        trains = has_gpu and "-train" in name
        assert (int(service.get("shm_size", 0)) >= 2**30) is trains, "NCCL needs more than 64 MB"


def test_the_commands_are_those_of_the_supervisor(services: dict[str, Service]) -> None:
    assert services["web"]["command"] == ["python", *web_command(Settings(port=8000))]
    everywhere = Settings(port=8000, host="0.0.0.0")
    assert services["web-scale"]["command"] == ["python", *web_command(everywhere)]
    for queue in Queue:
        for suffix in ("", "-cpu", "-scale", "-scale-gpu"):
            command = services[f"worker-{queue}{suffix}"]["command"]
            assert command == ["python", *worker_command(queue)]


def test_the_commands_are_those_of_the_documentation() -> None:
    text = (ROOT / "docs" / "running.md").read_text()
    documented = {line.strip() for line in text.splitlines() if line.startswith("    python -m ")}
    for command in [web_command(Settings(port=8000)), *(worker_command(queue) for queue in Queue)]:
        assert shlex.join(["python", *command]) in documented


def test_what_the_images_copy_exists_and_the_build_sees_it() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)
    sources = [each for line in copied for each in line.split()]
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source.split('/')[0]}" in ignored
    stages = re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE)
    assert {"web", "worker"} <= set(stages)
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    code = built["targets"]["wheel"]["only-include"]
    for module in code:
        assert sources.count(module) == (1 if module == "worker" else 2), "each image has it"


def test_the_dockerfile_is_as_its_linter_wants_it() -> None:
    done = subprocess.run(
        [beside_python("hadolint") or "", "--no-color", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def one() -> Iterator[Containers]:
    # Not pytest's own folder: a socket's path has to stay short.
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    project = read(make_secrets(folder / "secrets"))
    with containers(folder, project, ["8000"]) as running:
        yield running


@pytest.mark.slow
@pytest.mark.redis
def test_its_commands_make_a_lab_on_a_real_redis(one: Containers) -> None:
    redis, web = one.make("redis"), one.make("web")
    workers = [one.make(f"worker-{queue}") for queue in Queue]
    for each in one.running:
        assert not each.healthy()
    # As `depends_on` orders it.
    for each in (redis, web):
        each.start()
        each.wait()
    for each in workers:
        each.start()
    for each in workers:
        each.wait()
    url = f"http://127.0.0.1:{one.ports['8000']}"
    assert read_health(url)["status"] == 401, "whose processes connect is not to be known"
    health = read_health(url, (web.paths["/data"] / "token").read_text().strip())
    assert health["ok"]
    assert [queue["workers"] for queue in health["queues"]] == [1, 1, 1]
    assert not any(secret in one.shown() for secret in one.secrets)
    # Celery and Redis end with 0; uvicorn raises the signal again when it is done.
    assert [each.stop() for each in workers] == [0, 0, 0]
    assert web.stop() in (0, -signal.SIGTERM)
    assert redis.stop() == 0
