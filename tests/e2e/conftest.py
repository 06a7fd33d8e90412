"""One running lab, with real workers and a real broker, for all tests of this folder."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab_client import LabClient
from tests.plugins.images import few
from tests.plugins.lab_process import LabProcess
from tests.plugins.postgresql import POSTGRESQL

LEASE_S = "6"
"""So that a test need not wait long for a lost worker to be noticed."""
CHECKPOINT_S = "0.5"
"""So that short trainings have checkpoints, too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 real images to train on and 100 to test on."""
    return few(tmp_path_factory.mktemp("archive") / "few.zip")


@pytest.fixture(scope="session")
def picture(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test image of a ship, as a file."""
    with zipfile.ZipFile(archive) as members:
        data = members.read("cifar10-mini/test/ship/0003.jpg")
    path = tmp_path_factory.mktemp("picture") / "ship.jpg"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def sql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """As LAB_DATABASE_URL: a PostgreSQL with `LAB_SQL=postgresql`."""
    if os.environ.get("LAB_SQL") != POSTGRESQL:
        yield ""
        return
    with request.getfixturevalue("postgresql").migrated() as url:
        yield url


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, sql_url: str) -> Iterator[LabClient]:
    """A client of the running lab, which has to stop without a complaint."""
    data = tmp_path_factory.mktemp("lab") / "data"
    process = LabProcess(
        data, LAB_LEASE_S=LEASE_S, LAB_CHECKPOINT_S=CHECKPOINT_S, LAB_DATABASE_URL=sql_url
    )
    try:
        client = LabClient(process.wait_ready())
        yield client
        client.http.close()
        assert process.stop() == 0
        # A worker says how its killed child ended; the web has nothing to complain about.
        assert not [line for line in process.output if line.startswith("[web]")], process.output
    finally:
        process.clean_up()
