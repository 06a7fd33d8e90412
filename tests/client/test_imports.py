"""The client is a program beside the lab: it knows its language, and nothing of its insides."""

from __future__ import annotations

import sys

from tests.test_imports import MODULES, imports, is_below

ALLOWED = {"httpx", "pydantic", "pydantic_core", "tqdm"} | set(sys.stdlib_module_names)
"""Beside the contracts, which are made of pydantic."""


def test_the_client_knows_the_contracts_and_nothing_else_of_the_lab() -> None:
    files = {name: path for name, path in MODULES.items() if is_below(name, "app.client")}
    assert "app.client.lab" in files
    breaches = [
        f"{name} imports {module}"
        for name, path in files.items()
        for module, imported in imports(name, path)
        if module.split(".")[0] not in ALLOWED
        and not any(
            is_below(f"{module}.{imported}", own) for own in ("app.contracts", "app.client")
        )
    ]
    assert breaches == []


def test_the_service_does_not_know_its_client() -> None:
    breaches = [
        name
        for name, path in MODULES.items()
        if not is_below(name, "app.client")
        for module, imported in imports(name, path)
        if is_below(f"{module}.{imported}", "app.client")
    ]
    assert breaches == []
