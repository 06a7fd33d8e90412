"""What others may do with the project, and how they cite it: complete, and the same everywhere."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import VERSION

ROOT = Path(__file__).resolve().parents[1]
APACHE_2_0 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt."""
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
FROM_OTHERS = ("static/vendor", "static/examples")
OWN = {"README.md", "pictures.json"}
IS_A_LICENCE = re.compile(r"LICENSE|NOTICE")


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return read


def test_the_licence_is_the_whole_standard_text() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_0


@pytest.mark.parametrize("folder", FROM_OTHERS)
def test_the_notice_names_every_file_that_comes_from_others(folder: str) -> None:
    _, _, after = NOTICE.partition(f"\n{folder}/ ")
    section, _, _ = after.partition("\n\n")
    files = {path.name for path in (ROOT / folder).iterdir()} - OWN
    theirs = {name for name in files if not IS_A_LICENCE.search(name)}
    assert theirs
    assert {name for name in theirs if not re.search(rf"^  {name}\b", section, re.M)} == set()


def test_every_licence_that_the_notice_points_to_is_there() -> None:
    named = set(re.findall(r"\bstatic/[\w./-]+[\w]", NOTICE))
    assert {path for path in named if not (ROOT / path).exists()} == set()
    kept = {str(path.relative_to(ROOT)) for path in (ROOT / "static").glob("*/*LICENSE*")}
    assert kept <= named


def test_versions_in_the_notice_are_those_of_the_folders() -> None:
    table = (ROOT / "static/vendor/README.md").read_text()
    versions = re.findall(r"\| (\d+\.\d+\.\d+) \|", table)
    assert len(versions) == 3
    assert [version for version in versions if version not in NOTICE] == []


def test_the_package_says_the_same(project: dict[str, Any], citation: dict[str, Any]) -> None:
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert project["version"] == citation["version"] == VERSION
    shipped = {path for pattern in project["license-files"] for path in ROOT.glob(pattern)}
    assert {ROOT / "LICENSE", ROOT / "NOTICE"} <= shipped
    assert set((ROOT / "static").glob("*/*LICENSE*")) <= shipped
    assert set((ROOT / "static").glob("*/NOTICE")) <= shipped


def test_the_citation_has_what_the_format_requires(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["type"] == "software"
    assert [author["name"] for author in citation["authors"]] == ["AGKD-BML Lab maintainers"]


def test_the_citation_names_the_paper(citation: dict[str, Any]) -> None:
    (paper,) = citation["references"]
    assert {"type", "title", "authors", "year"} <= paper.keys()
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Wang", "Deng", "Yoo", "Ling", "Lin"]
    assert paper["year"] == 2021
    assert "arXiv:2108.06017" in [one["value"] for one in paper["identifiers"]]
    assert paper["title"].startswith("AGKD-BML: Defense Against Adversarial Attack")
