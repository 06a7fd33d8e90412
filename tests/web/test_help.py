"""The documents as pages of the lab."""

from __future__ import annotations

import re
from urllib.parse import urldefrag, urljoin

import httpx
import pytest

from app.contracts.jobs import JobKind
from app.contracts.params import Recipe
from app.services.lab import Lab
from app.web.pages.help import DOCS, anchor
from tests.web.examples import add_dataset, add_job, add_model, full_evaluation
from tests.web.parsing import parsed

NAMES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("name", NAMES)
def test_every_document_is_a_page_whose_links_lead_somewhere(
    client: httpx.Client, name: str
) -> None:
    page = parsed(client.get(f"/help/{name}").text)
    document = page.select_one("article.document")
    assert document is not None
    title = (DOCS / f"{name}.md").read_text().partition("\n")[0].lstrip("# ")
    assert page.select_one("h1").get_text() == title.replace("`", "")
    for link in page.select("main a[href], main img[src]"):
        target, part = urldefrag(urljoin(f"/help/{name}", link.get("href") or link.get("src")))
        if target.startswith("/"):
            answer = client.get(target)
            assert answer.status_code == 200, target
            assert not part or parsed(answer.text).find(id=part), f"{target}#{part}"
    # What scrolls sideways is reached by the keyboard.
    assert all(wide.get("tabindex") == "0" for wide in document.select("pre, table"))


def test_each_check_of_the_verdict_has_its_place(client: httpx.Client) -> None:
    page = parsed(client.get("/help/trust").text)
    checks = re.findall(r"^### `(\w+)`:", (DOCS / "trust.md").read_text(), re.MULTILINE)
    assert len(checks) > 20
    assert all(page.find("h3", id=check) for check in checks)


def test_the_checks_of_an_evaluation_lead_to_their_place(client: httpx.Client, lab: Lab) -> None:
    dataset = add_dataset(lab)
    result = full_evaluation([(add_model(lab, dataset), "Net", Recipe.AGKD_BML)], images=60)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    page = parsed(client.get(f"/jobs/{job}").text)
    verdict = result.models[0].verdict
    assert verdict is not None
    targets = {link["href"] for link in page.select('#trust ~ * a[href^="/help/"]')}
    assert targets == {f"/help/trust#{check.id}" for check in verdict.checks}


def test_the_index_lists_every_document(client: httpx.Client) -> None:
    page = parsed(client.get("/help").text)
    listed = {link["href"].removeprefix("/help/") for link in page.select("nav.topics a[href]")}
    assert set(NAMES) <= listed


@pytest.mark.parametrize(
    "name", ["nothing", "../README", "..%2fREADME", "architecture.py", "trust.md"]
)
def test_nothing_else_is_served(client: httpx.Client, name: str) -> None:
    assert client.get(f"/help/{name}").status_code == 404


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("How to read the page", "how-to-read-the-page"),
        ("`zero_gradients`: Gradients are not zero", "zero_gradients"),
        ("`export.csv`", "exportcsv"),
        ("What AGKD, and BML, add", "what-agkd-and-bml-add"),
    ],
)
def test_anchors(heading: str, expected: str) -> None:
    assert anchor(heading) == expected
