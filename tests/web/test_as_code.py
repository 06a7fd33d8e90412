"""A job as a line for curl and as Python: run, they start the very same job."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.contracts.jobs import JobKind
from app.contracts.params import PARAMS_OF, ImportParams
from app.services import jobs
from app.services.lab import Lab
from app.store.tables import JobRow, UploadRow
from tests.web.examples import add_dataset, add_model, png, train_params
from tests.web.parsing import parsed


def _codes(page: str) -> list[str]:
    return [block.get_text() for block in parsed(page).select("pre code")]


def _same(lab: Lab, first: str, kind: JobKind) -> None:
    """The newest job of a kind is another one, with the parameters of the first."""
    newest = jobs.page(lab, kinds=[kind], page_size=1).items[0]
    assert newest.id != first
    params = [
        PARAMS_OF[kind].model_validate(jobs.get(lab, job).params) for job in (first, newest.id)
    ]
    assert params[0] == params[1]


@pytest.fixture
def jobs_of_each_kind(lab: Lab) -> dict[JobKind, str]:
    dataset = add_dataset(lab)
    teacher = add_model(lab, dataset)
    student = add_model(lab, dataset, name="It's “a $(student)” `x`", teacher=teacher)
    training = train_params(
        name="It's “mine” & $(no) `x`", dataset=dataset, recipe="agkd_bml", teacher=teacher,
        epsilon=8 / 255, step_size=0.0123, milestones=[3, 5],
    )  # fmt: skip
    given: dict[JobKind, Any] = {
        JobKind.TRAIN: training,
        JobKind.EVALUATE: {
            "models": [teacher, student], "dataset": dataset, "images": 50, "epsilon": 4 / 255,
            "epsilons": [0, 4 / 255, 8 / 255], "further": ["cw", "square"],
            "attack": {"method": "pgd", "steps": 7},
        },
        JobKind.ABLATION: {
            "name": "Rows", "training": training.model_dump(mode="json") | {"name": "Rows"},
            "recipes": ["pgd_at", "agkd_bml"], "grid": {"steps": [3, 7]}, "seeds": [0, 1],
        },
        JobKind.IMPORT: {"name": "Drawn", "source": "shapes", "train_per_class": 20},
    }  # fmt: skip
    return {
        kind: jobs.submit(lab, kind, PARAMS_OF[kind].model_validate(params)).id
        for kind, params in given.items()
    }


@pytest.mark.parametrize(
    "kind", [JobKind.TRAIN, JobKind.EVALUATE, JobKind.ABLATION, JobKind.IMPORT]
)
def test_they_start_the_same_job(
    connected: httpx.Client, lab: Lab, jobs_of_each_kind: dict[JobKind, str], kind: JobKind
) -> None:
    job = jobs_of_each_kind[kind]
    curl, python = _codes(connected.get(f"/jobs/{job}/code").text)
    if kind is JobKind.IMPORT:  # a name is taken once
        curl, python = (
            text.replace("Drawn", f"Drawn-{n}") for n, text in enumerate((curl, python))
        )
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    if kind is not JobKind.IMPORT:
        _same(lab, job, kind)
    before = jobs.page(lab, kinds=[kind]).total
    exec(compile(python.partition("    result =")[0], "python", "exec"), {})
    assert jobs.page(lab, kinds=[kind]).total == before + 1
    if kind is not JobKind.IMPORT:
        _same(lab, job, kind)


def test_budgets_are_written_as_people_write_them(
    client: httpx.Client, jobs_of_each_kind: dict[JobKind, str]
) -> None:
    curl, python = _codes(client.get(f"/jobs/{jobs_of_each_kind[JobKind.EVALUATE]}/code").text)
    for text in (curl, python):
        assert "4/255" in text
        assert "0.0156" not in text


def test_a_form_is_code_as_it_stands_or_says_what_is_missing(
    client: httpx.Client, lab: Lab
) -> None:
    dataset = add_dataset(lab)
    typed = {"name": "Mine", "dataset": dataset, "epochs": "3", "epsilon": "4"}
    curl, python = _codes(client.post("/train/code", data=typed).text)
    assert '"epochs": 3' in curl
    assert "epochs=3" in python
    assert jobs.page(lab).total == 0, "nothing is started"
    wrong = client.post("/train/code", data=typed | {"epochs": "many"})
    assert not _codes(wrong.text)
    assert parsed(wrong.text).select("li")


def test_an_evaluation_keeps_the_name_that_was_typed(connected: httpx.Client, lab: Lab) -> None:
    dataset = add_dataset(lab)
    typed = {"models": add_model(lab, dataset), "dataset": dataset, "called": "For 'us'"}
    curl, python = _codes(connected.post("/evaluate/code", data=typed).text)
    subprocess.run(["bash", "-c", curl], capture_output=True, check=True, timeout=60)
    exec(compile(python.partition("    result =")[0], "python", "exec"), {})
    answer = connected.post("/evaluate", data=typed)
    assert answer.status_code == 303
    assert [job.name for job in jobs.page(lab).items] == ["For 'us'"] * 3


@pytest.mark.parametrize("kind", [JobKind.IMPORT, JobKind.IMPORT_MODEL, JobKind.EXPLAIN])
def test_forms_with_files_are_code_too(
    connected: httpx.Client, lab: Lab, kind: JobKind, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    classes = ("a $(cat)", "dog", "'ship'")
    dataset = add_dataset(lab, classes=classes)
    one, two = (add_model(lab, dataset, name=name, classes=classes) for name in ("One", "It's 2"))
    address, typed = {
        JobKind.IMPORT: ("/datasets", {"source": "archive", "image_size": "64"}),
        JobKind.IMPORT_MODEL: (
            "/models/import",
            {"dataset": dataset, "architecture": "wrn-10-1", "classes": "\n".join(classes[::-1])},
        ),
        JobKind.EXPLAIN: (
            "/live",
            {"models": [one, two], "attack.steps": "7", "max_epsilon": "8", "label": "a $(cat)"},
        ),
    }[kind]
    name = "image.png" if kind is JobKind.EXPLAIN else 'my "own".bin'
    (tmp_path / name).write_bytes(base64.b64decode(png(128)))
    monkeypatch.chdir(tmp_path)
    codes = [
        _codes(connected.post(f"{address}/code", data={**typed, "name": n, "file": name}).text)
        for n in ("A", "B")
    ]
    done = subprocess.run(["bash", "-c", codes[0][0]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    exec(compile(codes[1][1].partition("    result =")[0], "python", "exec"), {})
    second, first = (job.params for job in jobs.page(lab, kinds=[kind]).items)
    for params in (first, second):
        assert lab.files.upload(params.pop("upload")).stat().st_size > 0
    assert {**first, "name": ""} == {**second, "name": ""}
    assert {
        JobKind.IMPORT: lambda: first["image_size"] == 64,
        JobKind.IMPORT_MODEL: lambda: first["classes"] == ["'ship'", "dog", "a $(cat)"],
        JobKind.EXPLAIN: lambda: (first["attack"]["steps"], first["label"]) == (7, "a $(cat)"),
    }[kind]()


def test_without_a_file_there_is_a_name_to_fill_in(client: httpx.Client) -> None:
    curl, python = _codes(
        client.post("/datasets/code", data={"source": "archive", "name": "Mine"}).text
    )
    assert "-F 'file=@\"archive.zip\"'" in curl
    assert "'archive.zip'," in python
    missing = parsed(client.post("/datasets/code", data={"source": "archive"}).text).select("li")
    assert [one.get_text() for one in missing] == ["Name: must be given"]
    missing = parsed(client.post("/ablation/code").text).select("li")  # where two are called so
    assert [one.get_text() for one in missing].count("Name: must be given") == 1


def test_a_files_name_is_a_name_to_curl_too(
    connected: httpx.Client, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = 'a",".netrc2 \\ "b".zip'
    answer = connected.post(
        "/api/datasets", data={"name": "One"}, files={"file": ("plain.zip", b"sent as it is")}
    )
    job = answer.json()
    with lab.database.writing() as session:
        session.get_one(UploadRow, job["params"]["upload"]).filename = name
    (tmp_path / name).write_bytes(b"sent as it is, too")
    (tmp_path / ".netrc2").write_bytes(b"secret")
    monkeypatch.chdir(tmp_path)
    curl, _ = _codes(connected.get(f"/jobs/{job['id']}/code").text)
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    newest = jobs.page(lab, kinds=[JobKind.IMPORT], page_size=1).items[0]
    sent = lab.files.upload(str(newest.params["upload"])).read_bytes()
    assert sent == b"sent as it is, too"


def test_a_job_of_an_earlier_version_has_no_code(client: httpx.Client, lab: Lab) -> None:
    job = jobs.submit(lab, JobKind.IMPORT, ImportParams(name="Drawn")).id
    with lab.database.writing() as session:
        session.get_one(JobRow, job).params = {"teacher": "0" * 32}
    answer = client.get(f"/jobs/{job}/code")
    assert answer.status_code == 200
    assert "earlier version" in answer.text


def test_the_largest_budget_of_a_live_attack_is_in_its_norm(client: httpx.Client, lab: Lab) -> None:
    typed = {"models": add_model(lab, add_dataset(lab)), "max_epsilon": "1.5"}
    for norm, budget in (("l2", "382.5/255"), ("linf", "1.5/255")):
        curl, _ = _codes(client.post("/live/code", data={**typed, "attack.norm": norm}).text)
        assert f"max_epsilon={budget}" in curl
