"""Which part may know which: the arrows of the design, read from the source of every file."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORES = (
    "worker.agkd_bml", "worker.attacks", "worker.models", "worker.data", "worker.recipes",
    "worker.team", "worker.onnx_graph",
)  # fmt: skip
"""Code that also runs alone, without the service."""

FORBIDDEN = {
    "app": ("torch", "torchvision", "worker"),
    "app.contracts": (
        "app.api", "app.web", "app.services", "app.store", "app.queue", "app.settings",
        "fastapi", "sqlalchemy", "celery", "redis", "numpy", "PIL",
    ),
    "app.errors": (
        "app.api", "app.web", "app.services", "app.store", "app.queue", "app.contracts.params",
        "fastapi",
    ),
    "app.settings": ("app.api", "app.web", "app.services", "app.store", "app.queue", "fastapi"),
    "app.store": (
        "app.api", "app.web", "app.services", "app.ablations", "app.queue", "fastapi", "celery",
    ),
    "app.admission": (
        "app.api", "app.web", "app.services", "app.store", "app.queue", "app.run", "sqlalchemy",
    ),
    "app.ablations": (
        "app.api", "app.web", "app.services", "app.queue", "sqlalchemy", "fastapi", "celery",
        "redis", "numpy", "PIL",
    ),
    "app.queue": ("app.api", "app.web", "app.services", "app.store", "fastapi"),
    "app.bell": ("app.api", "app.web", "app.services", "app.store", "app.queue", "celery"),
    "app.services": ("app.api", "app.web", "fastapi", "starlette", "celery", "redis"),
    "app.client": (
        "app.api", "app.web", "app.services", "app.store", "app.queue", "app.bell", "app.main",
        "app.settings", "app.errors", "fastapi", "sqlalchemy", "celery", "redis", "numpy",
    ),
    "app.api": ("app.web", "app.main", "app.queue", "sqlalchemy", "celery", "redis", "PIL"),
    "app.web": ("app.api", "app.queue", "sqlalchemy", "celery", "redis"),
    "app.web.pages": ("app.main", "app.error_handlers", "app.border"),
    "app.web.forms": ("app.web.pages", "app.web.charts", "fastapi"),
    "app.web.charts": ("app.web.pages", "app.web.forms", "app.services", "fastapi"),
    "app.web.render": ("app.web.pages", "app.web.charts", "app.web.forms", "app.services"),
    "app.web.words": ("app.web.render", "app.web.pages", "app.web.charts", "app.web.forms"),
    "worker": (
        "app.api", "app.web", "app.services", "app.queue", "app.main", "app.deps", "app.bell",
        "app.border", "app.error_handlers", "app.run", "fastapi", "starlette", "uvicorn",
    ),
    "worker.evaluation": (
        "app.store", "app.settings", "worker.jobs", "worker.registry", "worker.job_run", "celery",
        "redis", "sqlalchemy", "torchvision",
    ),
    **dict.fromkeys(CORES, ("app", "celery", "redis", "sqlalchemy", "pydantic")),
    "worker.recipes": ("app", "celery", "pydantic", "numpy", "PIL", "torchvision", "worker.data"),
    "worker.agkd_bml": (
        "app", "celery", "pydantic", "numpy", "PIL", "torchvision", "worker.data", "worker.recipes",
    ),
    "worker.attacks": (
        "app", "celery", "pydantic", "numpy", "PIL", "torchvision", "worker.data", "worker.recipes",
        "worker.agkd_bml",
    ),
    "worker.models": (
        "app", "celery", "pydantic", "numpy", "PIL", "torchvision", "worker.data", "worker.recipes",
        "worker.agkd_bml", "worker.attacks",
    ),
}  # fmt: skip
"""What a package must not reach, nor anything below it: not by any chain of imports."""

DOORS = {
    "app.services": ("app.queue", "app.store", "sqlalchemy", "celery", "redis", "PIL"),
    "app.queue": ("celery", "kombu", "redis"),
    "app.store": ("sqlalchemy",),
    "worker.data": ("torchvision",),
    "app.deps": ("app.bell", "app.settings"),
}
"""Packages whose use is to hide others: behind them, those do not count."""

ONLY_STORE_TYPES = {"app.store.job_queries": {"StoredEvent"}}
"""What the upper layers may take from the store: the shape of an event."""

LAZY = {
    "app.main": {"aiohttp", "botocore", "fsspec", "s3fs"},  # only where files are shared
    "worker.attacks": {"pyautoattack"},
    "worker.models": {"timm"},
    "worker.data": {"torchvision"},  # downloads CIFAR and SVHN
}
"""What a core may import where it needs it, and not before: it runs without them."""


def modules() -> Iterator[tuple[str, Path]]:
    for top in ("app", "worker"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imports(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """Every (module, imported name) of a file, also inside functions; "" for whole modules."""
    is_package = path.name == "__init__.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = name.split(".")[: len(name.split(".")) - node.level + is_package]
                base = ".".join([*parent, base]).rstrip(".")
            yield from ((base, alias.name) for alias in node.names)


def is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


MODULES = dict(modules())
Chain = tuple[str, ...]


@cache
def edges(name: str) -> tuple[str, ...]:
    """What a module of the project imports: modules by their full name, else what names them.

    A module comes with the packages above it, whose own files are run first.
    """
    found: dict[str, None] = {}
    for module, imported in imports(name, MODULES[name]):
        full = f"{module}.{imported}" if imported else module
        parts = (full if full in MODULES or module not in MODULES else module).split(".")
        found |= dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return tuple(found)


def reached(starts: Sequence[str]) -> dict[str, Chain]:
    """Everything that some of `starts` reach, each with a shortest chain of imports to it."""
    chains: dict[str, Chain] = {name: (name,) for name in starts}
    waiting = deque(starts)
    while waiting:
        name = waiting.popleft()
        hidden = () if name in starts else next(
            (behind for door, behind in DOORS.items() if is_below(name, door)), ()
        )  # fmt: skip
        for other in edges(name):
            if other in chains or any(is_below(other, one) for one in hidden):
                continue
            chains[other] = (*chains[name], other)
            if other in MODULES:
                waiting.append(other)
    return chains


def test_the_source_is_found() -> None:
    assert {"app.main", "app.contracts.params", "worker.agkd_bml.objective"} <= set(MODULES)


@pytest.mark.parametrize("package", list(FORBIDDEN))
def test_a_package_knows_only_what_it_may(package: str) -> None:
    covered = [name for name in MODULES if is_below(name, package)]
    assert covered, f"{package} is gone: correct this test"
    breaches = [
        " -> ".join(chain)
        for name, chain in reached(covered).items()
        if any(is_below(name, bad) for bad in FORBIDDEN[package])
    ]
    assert breaches == []


def test_chains_of_imports_are_followed() -> None:
    chains = reached(["app.main"])
    assert {"app.web.charts.palette", "app.contracts.units"} <= set(chains)
    assert len(chains["app.web.charts.palette"]) > 2
    assert "torch" not in chains


SHARED = ("app.contracts", "app.store", "app.settings", "app.errors")
"""What both sides are built on."""


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("worker", (*SHARED, "app.ablations")), ("app.ablations", (*SHARED, "app.ablations"))],
)
def test_of_the_service_a_package_knows_only(package: str, allowed: tuple[str, ...]) -> None:
    breaches = [
        f"{name} imports {module}"
        for name, path in MODULES.items()
        if is_below(name, package)
        for module, _ in imports(name, path)
        if is_below(module, "app") and not any(is_below(module, ok) for ok in allowed)
    ]
    assert breaches == []


@pytest.mark.parametrize("core", CORES)
def test_a_core_needs_torch_numpy_and_pillow_at_most(core: str) -> None:
    allowed = {"torch", "numpy", "PIL", "worker", "imagefile"} | set(sys.stdlib_module_names)
    allowed |= LAZY.get(core, set())
    used = {
        module.split(".")[0]
        for name, path in MODULES.items()
        if is_below(name, core)
        for module, _ in imports(name, path)
    }
    assert used <= allowed
    inside = {
        module
        for name, path in MODULES.items()
        if is_below(name, core)
        for module, _ in imports(name, path)
        if is_below(module, "worker")
    }
    assert all(any(is_below(module, other) for other in CORES) for module in inside), inside


@pytest.mark.parametrize("core", list(LAZY))
def test_a_core_loads_other_libraries_only_where_it_needs_them(core: str) -> None:
    names = [name for name in MODULES if is_below(name, core)]
    code = (
        f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
        f"print(sorted({LAZY[core]} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("module", ["worker.obituary", "worker.jobs.reading_archive"])
def test_what_runs_beside_a_job_does_without_torch(module: str) -> None:
    code = f"import sys, {module}\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "False\n", done.stderr


def test_the_reader_of_pictures_knows_neither_side() -> None:
    known = {module.split(".")[0] for module, _ in imports("imagefile", ROOT / "imagefile.py")}
    assert known <= {"numpy", "PIL"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", ["confinement", "devices", "journal"])
def test_what_serves_both_sides_knows_neither(name: str) -> None:
    known = {module for module, _ in imports(name, ROOT / f"{name}.py")}
    assert {module.split(".")[0] for module in known} <= set(sys.stdlib_module_names)


def test_contracts_need_pydantic_and_the_standard_library_only() -> None:
    allowed = {"app", "pydantic", "pydantic_core"} | set(sys.stdlib_module_names)
    for name, path in MODULES.items():
        if is_below(name, "app.contracts"):
            assert {module.split(".")[0] for module, _ in imports(name, path)} <= allowed, name


def test_routes_reach_the_store_through_services() -> None:
    breaches = [
        f"{name} imports {imported} of {module}"
        for name, path in MODULES.items()
        if is_below(name, "app.api") or is_below(name, "app.web")
        for module, imported in imports(name, path)
        if is_below(module, "app.store") and imported not in ONLY_STORE_TYPES.get(module, set())
    ]
    assert breaches == []


def test_routes_and_pages_leave_rows_and_files_to_the_services() -> None:
    held = [
        f"{name}: lab.{node.attr}"
        for name, path in MODULES.items()
        if is_below(name, "app.api") or is_below(name, "app.web")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("files", "database", "broker")
        and isinstance(node.value, ast.Name) and node.value.id == "lab"
    ]  # fmt: skip
    assert held == []


def test_only_one_file_of_the_service_knows_celery() -> None:
    knowing = [
        name
        for name, path in MODULES.items()
        if is_below(name, "app")
        and any(is_below(module, "celery") or is_below(module, "kombu")
                for module, _ in imports(name, path))
    ]  # fmt: skip
    assert knowing == ["app.queue"]


WITHOUT_TORCH = """
import sys, threading, urllib.request

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "safetensors", "worker"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())

from app.main import create_app
from tests.plugins.servers import served

with served(create_app()) as url:
    for path in ("/api/health", "/", "/docs", "/api/openapi.json"):
        with urllib.request.urlopen(url + path, timeout=60) as answer:
            assert answer.status == 200, (path, answer.status)
            assert answer.read()
print("served")
"""


def test_the_web_serves_where_torch_cannot_be_imported(broker_url: str, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=ROOT,
        env=environment | {"LAB_DATA_DIR": str(tmp_path), "LAB_REDIS_URL": broker_url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "served\n", done.stderr
