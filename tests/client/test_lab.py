"""What a lab has and can be asked to do, against a real server: names, errors, what is repeated."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from app.client import Lab, LabError
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.units import from_255
from app.services.lab import Lab as Service
from app.store import jobs as stored
from tests.client.line import line_to
from tests.plugins.lab_process import free_port
from tests.plugins.rows import job_row
from tests.plugins.stock import WEIGHTS, stock_model
from tests.web.measured import add_measured


@contextmanager
def refused(**expected: object) -> Iterator[pytest.ExceptionInfo[LabError]]:
    """A LabError of these attributes, that says what happened."""
    with pytest.raises(LabError) as caught:
        yield caught
    assert {name: getattr(caught.value, name) for name in expected} == expected
    assert caught.value.title
    assert caught.value.detail
    assert str(caught.value).startswith(caught.value.detail)


def test_a_lab_tells_what_it_has(api: Lab, lab: Service, dataset: str) -> None:
    model = stock_model(lab)
    assert [view.id for view in api.datasets()] == [dataset]
    assert [view.id for view in api.models()] == [model]
    assert api.dataset("Pets").report.classes == ("cat", "dog", "ship")
    assert api.dataset(dataset) == api.dataset("Pets")
    assert api.model("Teacher").card.architecture == "wrn-10-2"
    assert api.model(model) == api.model("Teacher")
    assert api.jobs() == []
    assert api.health().database


def test_workers_are_listed_drained_and_resumed(api: Lab, lab: Service, dataset: str) -> None:
    job = api.train("Net", dataset=dataset, priority="low")
    assert job.view.priority == "low"
    assert stored.claim(lab.database, job.id, lease_s=600, worker="train@box")
    (worker,) = api.workers()
    assert (worker.name, [run.job for run in worker.runs]) == ("train@box", [job.id])
    assert api.drain("train@box").drained_at
    assert api.resume("train@box").drained_at is None
    with refused(status=404):
        api.drain("../jobs")


def test_a_long_list_is_read_to_its_end(api: Lab, lab: Service) -> None:
    made = {stock_model(lab, name=f"Model {number}") for number in range(203)}
    assert {view.id for view in api.models()} == made


def test_weights_arrive_as_a_file(api: Lab, lab: Service, tmp_path: Path) -> None:
    stock_model(lab)
    assert api.weights("Teacher", tmp_path / "w.safetensors").read_bytes() == WEIGHTS


def test_what_is_named_is_asked_for_alone(
    api: Lab, lab: Service, dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One question each, of one answer: no list is read to find one thing in it."""
    for number in range(101):
        stock_model(lab, name=f"Model {number}")
    row = job_row(id="5e0c7d21" * 4)
    stored.add(lab.database, row)
    for number in range(25):
        stored.add(lab.database, job_row(id=f"{number:032x}"))
    caplog.set_level("INFO", "httpx")
    assert api.model("Model 0").name == "Model 0"
    assert api.dataset("Pets").id == dataset
    assert api.job("5e0c").id == row.id
    with refused(detail="25 jobs have an id that begins with '0'.") as caught:
        api.job("0")
    assert caught.value.hint.endswith(", ….")
    asked = [
        str(record.args[1]).partition("?")
        for record in caplog.records
        if record.name == "httpx" and isinstance(record.args, tuple)
    ]
    assert [(url.removeprefix(api.url), "=" in query) for url, _, query in asked] == [
        ("/api/models", True),
        ("/api/datasets", True),
        ("/api/jobs", True),
        ("/api/jobs", True),
    ]


def test_a_file_that_cannot_be_written_is_named(api: Lab, lab: Service, tmp_path: Path) -> None:
    stock_model(lab)
    for path in (tmp_path, tmp_path / "absent" / "weights.safetensors"):
        with refused(title="The file cannot be written", field="path") as caught:
            api.weights("Teacher", path)
        assert str(path) in caught.value.detail


def test_an_unknown_name_is_answered_with_what_there_is(api: Lab, lab: Service) -> None:
    with refused(field="model") as caught:
        api.model("Teacher")
    assert caught.value.hint == "There are no models yet."
    for name in ("Teacher", "Student", "Somebody else"):
        stock_model(lab, name=name)
    with refused(field="model", detail="There is no model named “teacher”.") as caught:
        api.model("teacher")
    assert caught.value.hint == "Did you mean “Teacher”?"
    with refused(field="model") as caught:
        api.model("zzz")
    assert all(name in caught.value.hint for name in ("Teacher", "Student", "Somebody else"))


def test_a_name_of_several_models_is_not_guessed(api: Lab, lab: Service, dataset: str) -> None:
    twins = [stock_model(lab, name="Twin") for _ in range(2)]
    with refused(detail="2 models are named “Twin”.") as caught:
        api.evaluate("Twin", dataset="Pets")
    assert all(twin in caught.value.hint for twin in twins)
    assert api.evaluate(twins[0], dataset="Pets").view.params["models"] == [twins[0]]


def test_an_evaluation_is_submitted_by_names(api: Lab, lab: Service, dataset: str) -> None:
    teacher, student = stock_model(lab), stock_model(lab, name="Student")
    source = stock_model(lab, name="Other")
    job = api.evaluate(
        ["Teacher", "Student"], dataset="Pets", attack={"method": "pgd", "steps": 50},
        epsilon="4/255", further=["autoattack", "transfer"], sources=["Other"], images=10,
    )  # fmt: skip
    assert (job.view.kind, job.view.status) == (JobKind.EVALUATE, JobStatus.QUEUED)
    params = job.view.params
    assert params["models"] == [teacher, student]
    assert params["dataset"] == dataset
    assert params["sources"] == [source]
    assert params["epsilon"] == pytest.approx(from_255(4))
    assert (params["attack"]["steps"], params["images"]) == (50, 10)
    assert set(params["further"]) == {"autoattack", "transfer"}
    by_name_alone = api.evaluate("Teacher", dataset="Pets", attack="mi_fgsm")
    assert by_name_alone.view.params["attack"]["method"] == "mi_fgsm"


def test_a_teacher_makes_a_student(api: Lab, lab: Service, dataset: str) -> None:
    teacher = stock_model(lab)
    clean = api.train("Second", dataset="Pets", epochs=2).view.params
    assert (clean["recipe"], clean["teacher"], clean["epochs"]) == ("clean", None, 2)
    student = api.train("Student", dataset="Pets", teacher="Teacher", step_size="3/255").view.params
    assert (student["recipe"], student["teacher"]) == ("agkd_bml", teacher)
    assert student["step_size"] == pytest.approx(from_255(3))


def test_a_preset_fills_in_what_is_not_given(api: Lab, lab: Service, dataset: str) -> None:
    teacher = stock_model(lab)
    quick = api.train("Quick", dataset="Pets", teacher="Teacher", preset="quick", steps=2)
    params = quick.view.params
    assert (params["recipe"], params["teacher"]) == ("agkd_bml", teacher)
    assert (params["epochs"], params["steps"], params["schedule"]) == (3, 2, "one_cycle")
    with refused(field="preset") as caught:
        api.train("Slow", dataset="Pets", preset="slow")
    assert "gpu-short" in caught.value.detail


def test_a_model_is_imported_from_a_file(api: Lab, dataset: str, tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    file.write_bytes(b"not looked at before the job runs")
    job = api.import_model(
        file, name="Net", dataset="Pets", architecture="timm:resnet18", expected=0.9,
        classes=("dog", "cat", "ship"), mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2],
    )  # fmt: skip
    params = job.view.params
    assert (job.view.kind, params["dataset"]) == (JobKind.IMPORT_MODEL, dataset)
    assert params["classes"] == ["dog", "cat", "ship"]
    assert (params["mean"], params["expected"]) == ([0.5, 0.4, 0.3], 0.9)
    with refused(field="architecture"):
        api.import_model(file, name="Net", dataset="Pets", architecture="resnet")
    with refused(field="file"):
        api.import_model(tmp_path / "no.pt", name="N", dataset="Pets", architecture="wrn-10-1")


def test_a_dataset_is_imported_from_a_file_or_from_a_source(api: Lab, tmp_path: Path) -> None:
    drawn = api.import_dataset(name="Shapes", source="shapes", train_per_class=20)
    assert drawn.view.params["train_per_class"] == 20
    archive = tmp_path / "photos.zip"
    archive.write_bytes(b"not read before the job")
    assert api.import_dataset(archive, name="Photos").view.params["source"] == "archive"
    with refused(field="file"):
        api.import_dataset(name="Neither")
    with refused(field="file", status=None) as caught:
        api.import_dataset(tmp_path / "absent.zip", name="Absent")
    assert "absent.zip" in caught.value.detail


def test_a_refusal_says_which_input_is_wrong(api: Lab, lab: Service, dataset: str) -> None:
    stock_model(lab)
    with refused(status=422, field="dataset", detail="There is no such dataset."):
        api.train("Model", dataset="0" * 32)
    with refused(status=422, field="epochs"):
        api.train("Model", dataset="Pets", epochs=0)
    with refused(status=422, field="no_such_parameter"):
        api.train("Model", dataset="Pets", no_such_parameter=1)
    with refused(status=422, field="epsilon") as caught:
        api.evaluate("Teacher", dataset="Pets", epsilon=8)
    assert "8/255" in caught.value.detail
    with refused(status=404):
        api.job("0" * 32)
    assert api.jobs() == []


def test_jobs_are_listed_and_found_by_the_beginning_of_their_id(api: Lab, lab: Service) -> None:
    for number in range(3):
        lab_id = f"{number}{'ab' * 15}f"
        kind = JobKind.TRAIN if number else JobKind.EVALUATE
        stored.add(lab.database, job_row(id=lab_id, kind=kind, created_at=float(number)))
    assert [job.id[0] for job in api.jobs()] == ["2", "1", "0"]
    assert [job.id[0] for job in api.jobs(limit=2)] == ["2", "1"]
    assert [job.id[0] for job in api.jobs(kind="evaluate")] == ["0"]
    assert api.jobs(status=JobStatus.FAILED) == []
    assert api.job("1ab").id.startswith("1ab")
    stored.add(lab.database, job_row(id=f"1{'ab' * 15}e", title="Train another"))
    with refused(title="Not a single one", field="job") as caught:
        api.job("1ab")
    assert f"1{'ab' * 15}e (Train another)" in caught.value.hint
    assert f"1{'ab' * 15}f (Train)" in caught.value.hint
    assert api.job(f"1{'ab' * 15}e").view.title == "Train another"
    for unknown in ("3", "", "1AB", "../models"):
        with refused(title="Not found", field="job"):
            api.job(unknown)


def test_a_submission_whose_answer_is_lost_makes_one_job(web: str, api: Lab, dataset: str) -> None:
    """The first answers break off before their first byte: the lab has taken the job by then."""
    with line_to(web, 0, 0) as line, Lab(line.url) as lossy:
        job = lossy.train("Model", dataset=dataset)
        assert line.made == 3
    assert [one.id for one in api.jobs()] == [job.id]


def test_every_submission_is_a_job_of_its_own(api: Lab, dataset: str) -> None:
    jobs = {api.train("Model", dataset=dataset).id for _ in range(2)}
    assert {job.id for job in api.jobs()} == jobs


def test_an_import_that_may_have_begun_is_not_sent_again(
    web: str, api: Lab, tmp_path: Path
) -> None:
    archive = tmp_path / "photos.zip"
    archive.write_bytes(b"bytes")
    with line_to(web, 0) as line, Lab(line.url) as lossy:
        with refused(title="The lab does not answer"):
            lossy.import_dataset(archive, name="Photos")
        assert line.made == 1
    assert len(api.jobs()) == 1


def test_a_read_goes_through_a_line_that_breaks(web: str, dataset: str) -> None:
    with line_to(web, 0, 40, 300) as line, Lab(line.url) as lossy:
        assert [view.id for view in lossy.datasets()] == [dataset]
        assert line.made == 4


def test_who_does_not_answer_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Lab(url) as nobody, refused(title="The lab does not answer", status=None) as caught:
        nobody.datasets()
    assert url in caught.value.detail


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://a:b", "x"])
def test_what_is_no_address_is_said_at_once(url: str) -> None:
    with refused(title="Not the address of a lab") as caught:
        Lab(url)
    assert url in caught.value.detail


def test_the_address_comes_from_the_environment(
    web: str, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_URL", web + "/")
    with Lab() as here:
        assert here.url == web
        assert [view.id for view in here.datasets()] == [dataset]
    monkeypatch.delenv("LAB_URL")
    with Lab() as default:
        assert default.url == "http://127.0.0.1:8000"


def test_no_proxy_is_asked(web: str, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with Lab(web) as direct:
        assert [view.id for view in direct.datasets()] == [dataset]


class _Somebody(BaseHTTPRequestHandler):
    """A server that is no lab, or not one of this version; answers in the order of `answers`."""

    answers: list[tuple[int, bytes]]

    def do_GET(self) -> None:
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def somebody(*answers: tuple[int, bytes]) -> Iterator[str]:
    handler = type("Handler", (_Somebody,), {"answers": list(answers)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"<html>no such page"), (403, b'{"error": "who are you?"}'), (302, b""), (500, b"\xff")],
)
def test_an_answer_of_somebody_else_is_an_error(status: int, body: bytes) -> None:
    with somebody((status, body)) as url, Lab(url) as wrong, refused(status=status) as caught:
        wrong.datasets()
    assert caught.value.hint == "Is this the address of a lab?"


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'[{"id": 3}]', b"\xff\xfe"])
def test_an_answer_of_another_form_is_an_error(body: bytes) -> None:
    not_understood = refused(title="The answer is not understood")
    with somebody((200, body)) as url, Lab(url) as wrong, not_understood:
        wrong.datasets()


def test_a_lab_that_is_just_starting_is_asked_again() -> None:
    with somebody((503, b""), (502, b""), (200, b"[]")) as url, Lab(url) as starting:
        assert starting.datasets() == []


def test_a_job_ends_on_request(api: Lab, dataset: str) -> None:
    job = api.train("Model", dataset=dataset)
    assert job.cancel().status is JobStatus.CANCELLED
    assert job.refresh().status is JobStatus.CANCELLED
    with refused(status=409):
        job.cancel()
    with refused(title="The job was cancelled"):
        job.result()


def test_a_file_that_is_no_export_is_not_sent(api: Lab, tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("not JSON")
    for name in ("text.json", "absent.json"):
        with refused(field="file") as caught:
            api.rerun(tmp_path / name)
        assert name in caught.value.detail


def test_nothing_is_lost_between_the_api_and_a_program(web: str, dataset: str) -> None:
    with Lab(web) as api:
        assert json.loads(api.dataset("Pets").model_dump_json()) == (
            httpx.get(f"{web}/api/datasets/{dataset}").json()
        )


def test_an_ablation_is_submitted_by_names(api: Lab, lab: Service, dataset: str) -> None:
    teacher = stock_model(lab)
    job = api.ablation(
        "Nets", dataset="Pets", teacher="Teacher", recipes=["clean", "agkd"], seeds=[4],
        training={"epochs": 2}, own={"clean": {"label_smoothing": 0}}, measure=None,
    )  # fmt: skip
    assert (job.view.kind, job.view.children) == (JobKind.ABLATION, 2)
    training = job.view.params["training"]
    assert (training["dataset"], training["teacher"], training["epochs"]) == (dataset, teacher, 2)
    assert job.view.params["measure"] is None
    assert [row.label for row in job.table().rows] == ["Clean", "AGKD"]
    with refused(field="training", status=None):
        api.ablation("Nets", dataset="Pets", recipes=["clean"], training=5)  # type: ignore[arg-type]
    assert api.ablation("Nets", dataset="Pets", recipes=["clean"]).view.children == 3


def test_what_is_kept_of_a_model_and_a_dataset(api: Lab, lab: Service, dataset: str) -> None:
    model = stock_model(lab)
    changed = api.change_model("Teacher", name="Mine", tags=["Paper"], note="Good.")
    assert (changed.name, changed.tags, changed.note) == ("Mine", ("paper",), "Good.")
    assert api.change_model("Mine", archived=True).tags == ("paper",)
    assert api.delete_model("Mine") == model
    assert api.models() == []
    assert api.restore_model(model).name == "Mine"
    assert api.change_dataset("Pets", name="Cats").name == "Cats"
    assert api.delete_dataset("Cats") == dataset
    assert api.restore_dataset(dataset).name == "Cats"


def test_what_is_kept_of_a_job(api: Lab, dataset: str) -> None:
    job = api.train("Net", dataset="Pets")
    with refused(title="Conflict with the present state"):
        job.delete()
    job.cancel()
    view = job.change(name="Table 2", pinned=True)
    assert (view.title, view.does) == ("Table 2", "Train Net on Pets")
    job.delete()
    assert api.jobs() == []
    assert job.restore().name == "Table 2"


def test_the_board_of_a_condition(api: Lab, lab: Service) -> None:
    add_measured(lab, [(stock_model(lab), "Net", 80, 40)])
    (condition,) = api.conditions()
    (entry,) = api.board(condition).entries
    assert entry.figures.robust is not None
    assert (entry.name, entry.figures.robust.correct) == ("Teacher", 40)
