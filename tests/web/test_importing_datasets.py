"""The pages of a dataset's import: what was understood, and from a preview to the import."""

from __future__ import annotations

import io

import httpx

from app.contracts.jobs import JobKind
from app.contracts.params import ImportParams, Source
from app.contracts.results import DatasetReport, DatasetWarning, ImportResult, LeftOut
from app.services import jobs, uploads
from app.services.lab import Lab
from tests.web.examples import add_dataset, add_job
from tests.web.parsing import parsed

CLASSES = ("cat", "<b>dog</b>")
REPORT = DatasetReport(
    classes=CLASSES, image_size=96, train_images=12, test_images=5, layout="class folders",
    train_counts=(5, 7), validation_counts=(1, 1), test_counts=(2, 3), skipped=1,
    skipped_examples=("a.png: damaged",), notes=("Labels are numbers.",), checksum="",
    left_out=(LeftOut(reason="pictures that are damaged", count=1),
              LeftOut(reason="HEIC files, which are not read", count=4)),
    warnings=(DatasetWarning(kind="test_in_train", text="2 of 5 test images leak.", count=2),),
)  # fmt: skip


def _looked_at(lab: Lab, **changes: object) -> str:
    upload = uploads.save_archive(lab, io.BytesIO(b"PK"), "pets.zip")
    asked = {"name": "Pets", "source": Source.ARCHIVE, "upload": upload, "image_size": 96,
             "order": "sorted", "classes": CLASSES, "preview": True}  # fmt: skip
    result = ImportResult(dataset=None, report=REPORT, examples=("iVBORw0KGgo=",))
    return add_job(lab, JobKind.IMPORT, ImportParams(**asked | changes), result=result)


def test_a_preview_shows_what_would_be_imported(lab: Lab, client: httpx.Client) -> None:
    page = parsed(client.get(f"/jobs/{_looked_at(lab)}").text)
    shown = page.get_text(" ", strip=True)
    for text in ("Nothing is kept yet", "2 of 5 test images leak.", "Labels are numbers.",
                 "Understood as class folders.", "Pictures that are damaged: 1",
                 "HEIC files, which are not read: 4", "a.png: damaged"):  # fmt: skip
        assert text in shown
    rows = [[cell.get_text() for cell in row("td") + row("th")] for row in page.select("tbody tr")]
    assert ["0", "5", "2", "cat"] in rows
    assert ["1", "7", "3", "<b>dog</b>"] in rows
    assert [img["src"] for img in page.select(".samples img")] == [
        "data:image/png;base64,iVBORw0KGgo="
    ]


def test_one_click_imports_what_was_looked_at(lab: Lab, client: httpx.Client) -> None:
    looked = _looked_at(lab)
    page = parsed(client.get(f"/jobs/{looked}").text)
    (form,) = [f for f in page.select("form[action='/datasets']") if "Import it" in f.get_text()]
    fields = {field["name"]: field["value"] for field in form.select("input")}
    answer = client.post("/datasets", data=fields)
    assert answer.status_code == 303
    started = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/"))
    before = jobs.get(lab, looked).params
    assert started.params == before | {"preview": False}


def test_where_the_file_is_gone_it_is_asked_for_again(lab: Lab, client: httpx.Client) -> None:
    looked = _looked_at(lab)
    lab.files.upload(str(jobs.get(lab, looked).params["upload"])).unlink()
    page = parsed(client.get(f"/jobs/{looked}").text)
    assert "the file is gone" in page.get_text(" ", strip=True)
    assert not page.select("form[action='/datasets']")


def test_the_form_looks_first_where_that_is_asked_for(lab: Lab, client: httpx.Client) -> None:
    sent = {"source": "archive", "name": "Pets", "image_size": "128", "seed": "0",
            "order": "natural", "encoding": "auto", "classes": " dog \r\n\r\ncat",
            "preview": "true"}  # fmt: skip
    answer = client.post("/datasets", data=sent, files={"file": ("pets.zip", b"PK")})
    params = jobs.get(lab, answer.headers["location"].removeprefix("/jobs/")).params
    assert (params["preview"], params["classes"], params["image_size"]) == (
        True,
        ["dog", "cat"],
        128,
    )
    wrong = client.post(
        "/datasets", data={**sent, "classes": "x" * 81}, files={"file": ("p", b"PK")}
    )
    assert wrong.status_code == 422
    (box,) = parsed(wrong.text).select("textarea[name=classes]")
    assert box.get_text() == "x" * 81
    assert box["aria-invalid"] == "true"


def test_a_dataset_for_evaluation_offers_no_training(lab: Lab, client: httpx.Client) -> None:
    dataset = add_dataset(lab, train_images=0, warnings=REPORT.warnings)
    page = client.get(f"/datasets/{dataset}").text
    assert f'href="/train?dataset={dataset}"' not in page
    assert f'href="/evaluate?dataset={dataset}"' in page
    assert "2 of 5 test images leak." in page
    refused = client.post(
        "/api/jobs", json={"kind": "train", "params": {"name": "T", "dataset": dataset}}
    )
    assert refused.status_code == 422
    assert "no training images" in refused.text
