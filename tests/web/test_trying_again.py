"""A failed import is changed and tried again: with everything that was typed, and its file."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.contracts.jobs import JobKind
from app.services import jobs
from app.services.lab import Lab
from tests.plugins.families import fail, take
from tests.web.examples import CLASSES, add_dataset
from tests.web.parsing import parsed, typed

DATASET = ("/datasets", {"source": "archive", "name": "Pets", "image_size": "64"}, "pets.zip")
MODEL = ("/models/import", {"name": "Net", "architecture": "wrn-28-10",
                            "classes": "\n".join(reversed(CLASSES))}, "net.pt")  # fmt: skip


def _failed(lab: Lab, client: httpx.Client, case: tuple[str, dict[str, str], str]) -> Any:
    """The page of a job that failed."""
    address, sent, file = case
    if address == MODEL[0]:
        sent = sent | {"dataset": add_dataset(lab)}
    answer = client.post(address, data=sent, files={"file": (file, b"not what it says")})
    job = answer.headers["location"]
    fail(lab.database, take(lab.database, job.removeprefix("/jobs/")))
    return parsed(client.get(job).text)


@pytest.mark.parametrize("case", [DATASET, MODEL], ids=["dataset", "model"])
def test_nothing_has_to_be_given_twice(
    lab: Lab, client: httpx.Client, case: tuple[str, dict[str, str], str]
) -> None:
    link = _failed(lab, client, case).find("a", string="Change and try again")
    page = client.get(link["href"]).text
    assert typed(page, "name") == case[1]["name"]
    assert f"{case[2]} is still here" in " ".join(parsed(page).get_text().split())
    form = parsed(page).select_one(f'form[action="{case[0]}"]:has(input[type=file])')
    assert not form.select_one("input[type=file]").has_attr("required")
    again = {
        field["name"]: field.get("value") or field.get_text()
        for field in form.select("input[name]:not([type=file], [type=checkbox]), textarea[name]")
    }
    chosen = {one["name"]: one.select_one("[selected]") for one in form.select("select[name]")}
    again |= {name: one["value"] for name, one in chosen.items() if one is not None}
    answer = client.post(case[0], data=again | {"name": "Another name"})
    assert answer.status_code == 303, answer.text
    newest, first = jobs.page(lab, page_size=2).items
    assert newest.params == first.params | {"name": "Another name"}


def test_a_file_that_is_gone_is_asked_for(lab: Lab, client: httpx.Client) -> None:
    link = _failed(lab, client, DATASET).find("a", string="Change and try again")
    upload = jobs.page(lab, page_size=1).items[0].params["upload"]
    lab.files.upload(str(upload)).unlink()
    page = client.get(link["href"]).text
    assert "is still here" not in page
    assert parsed(page).select_one("#archive-file").has_attr("required")
    answer = client.post("/datasets", data=DATASET[1] | {"upload": str(upload)})
    assert answer.status_code == 422
    assert "Choose a file" in answer.text
    assert jobs.page(lab, kinds=[JobKind.IMPORT]).total == 1


@pytest.mark.parametrize("upload", ["0" * 32, "../../etc/passwd", ""])
def test_only_a_file_of_the_lab_is_taken(lab: Lab, client: httpx.Client, upload: str) -> None:
    answer = client.post("/datasets", data=DATASET[1] | {"upload": upload})
    assert answer.status_code == 422
    assert jobs.page(lab).total == 0
