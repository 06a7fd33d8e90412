"""Models behind an HTTP address: how they are asked, what they answer, and which are refused."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from app.contracts.access import Access, Held
from app.contracts.attacks import Method
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, ImportModelParams
from app.contracts.results import EvaluationResult, Light
from app.errors import InvalidInput, JobError
from app.services import checks
from app.store import job_queries, jobs
from app.store.tables import JobRow
from tests.jobs.evaluations import evaluate, small
from tests.jobs.measured import Measured
from tests.jobs.onnx_files import Linear, fitted
from tests.jobs.runs import add_job, run
from tests.jobs.test_importing_model import failure, log, result
from worker import endpoint, registry
from worker.data.augment import to_float
from worker.endpoint import Line, Reach
from worker.job_run import run_job
from worker.jobs import importing_model
from worker.models import BlackBox

Reply = tuple[int, dict[str, str], Any]


class Server:
    """A model behind an address. `answer` makes of images (N, 3, 32, 32) in [0, 1] the predictions;
    `before` may answer a request in its place, by how many came before it."""

    def __init__(self, net: Linear) -> None:
        self._own, server = net, self
        self.begin()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.headers.append(dict(self.headers))
                status, headers, reply = server.reply(json.loads(body)["instances"])
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1/models/net:predict"

    def begin(self) -> None:
        """As if nobody had asked anything or changed an answer."""
        self.net, self.images, self.requests = self._own, 0, 0
        self.answer: Callable[[Tensor], Any] = self.logits
        self.before: Callable[[int], Reply | None] = lambda number: None
        self.seen: list[Tensor] = []
        """The images of each request."""
        self.headers: list[dict[str, str]] = []

    def reply(self, instances: list[Any]) -> Reply:
        self.requests += 1
        instead = self.before(self.requests)
        if instead is not None:
            return instead
        x = torch.stack([_image(one) for one in instances])
        self.seen.append(x)
        self.images += len(x)
        return 200, {}, {"predictions": self.answer(x)}

    def logits(self, x: Tensor) -> Any:
        return self.net.logits(x).tolist()

    def probabilities(self, x: Tensor) -> Any:
        return self.net.logits(x).softmax(dim=1).tolist()

    def labels(self, x: Tensor) -> Any:
        return self.net.logits(x).argmax(dim=1).tolist()


def _image(sent: Any) -> Tensor:
    if isinstance(sent, dict):
        picture = Image.open(io.BytesIO(base64.b64decode(sent["b64"])))
        return to_float(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None])[0]
    return torch.from_numpy(np.array(sent, dtype=np.float32))


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    """Fewer images than an import looks at."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importing_model, "CHECKED_IMAGES", 100)
        yield


@pytest.fixture(scope="module")
def serving(measured: Measured) -> Iterator[Server]:
    found = Server(fitted(measured.dataset))
    thread = Thread(target=found.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()
    thread.join()


@pytest.fixture
def server(serving: Server) -> Server:
    serving.begin()
    return serving


@pytest.fixture(scope="module")
def model(measured: Measured, serving: Server) -> str:
    """One that was registered as it answers, whatever a test before had it say."""
    serving.begin()
    at = listing(measured, serving.url)
    return result(at, connect(at)).model


@pytest.fixture
def at(measured: Measured, server: Server) -> Measured:
    """The lab whose operator has listed the server."""
    return listing(measured, server.url)


def listing(measured: Measured, *addresses: str, **more: Any) -> Measured:
    settings = measured.lab.settings.model_copy(update={"endpoints": addresses, **more})
    return measured._replace(lab=replace(measured.lab, settings=settings))


def params(at: Measured, **given: Any) -> ImportModelParams:
    (address,) = at.lab.settings.endpoints
    values = {"name": "Net", "dataset": at.dataset_id, "address": address}
    return ImportModelParams.model_validate(values | given)


def connect(at: Measured, **given: Any) -> JobRow:
    return run(at.lab, JobKind.IMPORT_MODEL, params(at, **given))


def reach(at: Measured) -> Reach:
    return Reach(at.lab.settings, lambda: None)


def loaded(at: Measured, model: str) -> BlackBox:
    found = registry.load(at.lab.files, registry.model_row(at.lab.database, model), reach(at))
    assert isinstance(found, BlackBox)
    return found


def images(measured: Measured, count: int = 7) -> Tensor:
    return to_float(measured.dataset.split("test").to("cpu").images[:count])


def test_it_becomes_a_black_box_that_answers_as_it_does(at: Measured, server: Server) -> None:
    job = connect(at, at_once=40)
    card = result(at, job).card
    asked = card.endpoint
    assert asked is not None
    assert (card.architecture, card.parameters, card.held) == ("HTTP", None, Held.ADDRESS)
    assert (card.access, asked.answers, asked.width) == (Access.BLACK_BOX, "logits", 10)
    assert card.test[0].accuracy.low > 0.1
    assert server.url in card.selection
    assert any("another model at any time" in warning for warning in card.warnings)
    assert max(len(x) for x in server.seen) == 40
    x = images(at)
    torch.testing.assert_close(
        loaded(at, result(at, job).model)(x), server.net.logits(x), rtol=0, atol=1e-4
    )
    assert server.headers[0]["Host"] == server.url.split("/")[2]
    assert "Authorization" not in server.headers[0]


def by_name(measured: Measured, server: Server) -> Callable[[Tensor], Any]:
    names = measured.dataset.class_names
    return lambda x: [names[k] for k in server.labels(x)]


@pytest.mark.parametrize("kind", ["probabilities", "labels", "names"])
def test_what_it_answers_with_is_seen(at: Measured, server: Server, kind: str) -> None:
    ways = {
        "probabilities": server.probabilities,
        "labels": server.labels,
        "names": by_name(at, server),
    }
    server.answer = ways[kind]
    job = connect(at)
    card = result(at, job).card
    assert card.endpoint is not None
    assert card.endpoint.answers == ("labels" if kind == "names" else kind)
    hard = kind != "probabilities"
    assert card.access is (Access.LABELS_ONLY if hard else Access.BLACK_BOX)
    x = images(at, 30)
    right = server.net.logits(x).argmax(dim=1)
    assert torch.equal(loaded(at, result(at, job).model)(x).argmax(dim=1), right)
    assert ("by name" in log(at, job)) == (kind == "names")


@pytest.mark.parametrize(("layout", "pixels"), [("nchw", "0-1"), ("nhwc", "0-255")])
def test_numbers_are_sent_as_was_said(
    at: Measured, server: Server, monkeypatch: pytest.MonkeyPatch, layout: str, pixels: str
) -> None:
    monkeypatch.setattr(importing_model, "CHECKED_IMAGES", 20)  # of 3,072 numbers each
    white = 255.0 if pixels == "0-255" else 1.0

    def plain(x: Tensor) -> Any:
        first = x.permute(0, 3, 1, 2) if layout == "nhwc" else x
        return server.logits(first / white * 0.5 + 0.5)

    server.answer = plain
    job = connect(at, sends="floats", layout=layout, pixels=pixels, mean=(0.5,) * 3, std=(0.5,) * 3)
    x = images(at)
    torch.testing.assert_close(
        loaded(at, result(at, job).model)(x), server.net.logits(x), rtol=0, atol=1e-3
    )


def test_an_address_that_is_not_listed_is_never_asked(measured: Measured, server: Server) -> None:
    at = listing(measured, server.url + "/other")
    wanted = params(at, address=server.url)
    with pytest.raises(InvalidInput, match="not among the addresses"):
        checks.check(at.lab, JobKind.IMPORT_MODEL, wanted)  # type: ignore[arg-type]
    said = failure(at, run(at.lab, JobKind.IMPORT_MODEL, wanted))
    assert "not among the addresses" in said
    assert server.requests == 0


def test_one_that_was_registered_is_not_asked_once_it_is_listed_no_more(
    at: Measured, model: str, server: Server
) -> None:
    before = server.requests
    with pytest.raises(JobError, match="not among the addresses"):
        loaded(listing(at), model)
    assert server.requests == before


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(at: Measured, server: Server, status: int) -> None:
    server.before = lambda number: (status, {"Location": server.url}, b"")
    assert "the lab follows nobody" in failure(at, connect(at))
    assert server.requests == 1


@pytest.mark.parametrize(
    ("found", "networks", "fine"),
    [
        ("10.1.2.3", (), False),
        ("169.254.169.254", (), False),
        ("::ffff:127.0.0.1", (), False),
        ("fd00::1", (), False),
        ("0.0.0.0", (), False),
        ("10.1.2.3", ("10.1.0.0/16",), True),
        ("10.2.2.3", ("10.1.0.0/16",), False),
        ("93.184.215.14", (), True),
    ],
)
def test_a_name_leads_to_public_places_or_listed_networks(
    measured: Measured,
    monkeypatch: pytest.MonkeyPatch,
    found: str,
    networks: tuple[str, ...],
    fine: bool,
) -> None:
    """Looked up once, and the connection goes to what was looked at."""
    at = listing(measured, "http://models.example.org/predict", endpoint_networks=networks)
    monkeypatch.setattr(endpoint.socket, "getaddrinfo", lambda *a, **k: [(0, 0, 0, "", (found, 0))])
    line = Line("http://models.example.org/predict", reach(at), per_second=None, patience_s=1)
    if fine:
        assert list(map(str, line._places())) == [found]
    else:
        with pytest.raises(JobError, match="no public address"):
            line.ask(b"{}", 1)


def test_localhost_is_this_machine_at_whichever_of_its_places_it_answers(
    measured: Measured, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(0, 0, 0, "", ("::1", 0, 0, 0)), (0, 0, 0, "", ("127.0.0.1", 0))]
    found = endpoint.socket.getaddrinfo
    monkeypatch.setattr(
        endpoint.socket,
        "getaddrinfo",
        lambda host, *a, **k: places if host == "localhost" else found(host, *a, **k),
    )
    url = server.url.replace("127.0.0.1", "localhost")
    server.before = lambda number: (200, {}, b"fine")
    line = Line(url, reach(listing(measured, url)), per_second=None, patience_s=5)
    assert line.ask(b'{"instances": []}', 0) == b"fine"
    assert server.headers[0]["Host"].startswith("localhost:")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_WAITS_S", (0.0, 0.01, 0.01, 0.01))


@pytest.mark.usefixtures("quick")
def test_what_passes_is_tried_again(at: Measured, server: Server) -> None:
    down: Reply = (503, {"Retry-After": "0"}, b"")
    server.before = lambda number: down if number % 3 else None
    result(at, connect(at))


@pytest.mark.usefixtures("quick")
def test_what_does_not_pass_ends_the_job_in_words(at: Measured, server: Server) -> None:
    server.before = lambda number: (503, {}, b"")
    said = failure(at, connect(at))
    assert "answered 503 Service Unavailable, 5 times in a row" in said
    assert server.requests == 5


@pytest.mark.usefixtures("quick")
def test_a_silent_one_is_not_waited_for(at: Measured, server: Server) -> None:
    def slow(number: int) -> Reply | None:
        time.sleep(0.3)
        return None

    server.before = slow
    assert "did not answer within 0.1 s" in failure(at, connect(at, patience_s=0.1))


WRONG: list[tuple[Reply, str]] = [
    ((200, {}, b"<html>"), "no such JSON"),
    ((200, {}, b"[" * 100_000), "no such JSON"),
    ((200, {}, {"outputs": []}), "no such JSON"),
    ((200, {}, {"predictions": [[1.0, 2.0]]}), "for each of 32 images"),
    ((200, {}, {"predictions": [[1.0, 2.0]] * 31 + [[1.0]]}), "neither a row of scores"),
    ((200, {}, {"predictions": [{"scores": [1.0]}] * 32}), "neither a row of scores"),
    ((200, {}, b'{"predictions": [' + b",".join([b"[NaN, 1.0]"] * 32) + b"]}"), "no finite number"),
    ((200, {}, {"predictions": [[1e999, 1.0]] * 32}), "no finite number"),
    ((400, {}, {"error": "no \u001b[31mtensor"}), 'It says: {"error": "no'),
    ((401, {}, b""), "sends no password or key"),
]


@pytest.mark.parametrize(("reply", "reason"), WRONG)
def test_answers_that_are_none_are_refused_in_words(
    at: Measured, server: Server, reply: Reply, reason: str
) -> None:
    server.before = lambda number: reply
    said = failure(at, connect(at, at_once=32))
    assert reason in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("zebra", "the class “zebra”, which is none of its 10"),
        (10, "the class “10”, which is none of its 10"),
        ([0.1] * 7, "number of classes differs"),
        ([0.1] * 12, "12 outputs, the dataset 10 classes"),
    ],
)
def test_answers_of_other_classes_are_refused(
    at: Measured, server: Server, answer: Any, reason: str
) -> None:
    server.answer = lambda x: [answer] * len(x)
    assert reason in failure(at, connect(at))


def test_another_model_in_its_place_is_noticed(at: Measured, model: str, server: Server) -> None:
    server.net = server.net.only([1, 0, *range(2, 10)])
    with pytest.raises(JobError, match="not the model that was registered"):
        loaded(at, model)


def test_one_that_answers_otherwise_each_time_is_told(at: Measured, server: Server) -> None:
    generator = torch.Generator().manual_seed(0)

    def noisy(x: Tensor) -> Any:
        logits = server.net.logits(x)
        return (logits + 0.3 * torch.randn(logits.shape, generator=generator)).tolist()

    server.answer = noisy
    found = result(at, connect(at))
    assert found.card.endpoint is not None
    assert found.card.endpoint.known == ()
    assert any("otherwise when it was asked again" in each for each in found.card.warnings)
    loaded(at, found.model)


SQUARE, HARD = Attack(method=Method.SQUARE), Attack(method=Method.HOP_SKIP_JUMP)


def test_it_is_attacked_by_square_and_its_questions_are_counted(
    at: Measured, model: str, server: Server
) -> None:
    before = server.images
    asked = small(
        at, SQUARE, models=(model,), queries=30, epsilon=4 / 255, epsilons=(), images=20,
        further=(Method.HOP_SKIP_JUMP, Method.TRANSFER), sources=(at.teacher,),
    )  # fmt: skip
    (figures,) = evaluate(at, asked).models
    assert [row.method for row in figures.attacks] == [
        "square",
        "hop_skip_jump",
        "transfer",
        "noise",
    ]
    assert figures.attacks[0].broken > 0
    assert figures.verdict is not None
    assert figures.verdict.light is Light.AMBER
    again = 8  # by which it is known
    assert figures.asked == server.images - before - again


def test_an_interrupted_evaluation_goes_on_and_goes_on_counting(
    at: Measured, model: str, server: Server
) -> None:
    asked = small(
        at, SQUARE, models=(model,), queries=30, epsilon=4 / 255, epsilons=(), images=20,
        further=(Method.HOP_SKIP_JUMP,), batch_size=10,
    )  # fmt: skip
    whole = evaluate(at, asked)
    job, begin = add_job(at.lab, JobKind.EVALUATE, asked), server.requests
    run_job(at.lab, job, stopping=lambda: server.requests > begin + 100)
    row = job_queries.get(at.lab.database, job)
    assert row is not None
    assert row.status == JobStatus.QUEUED
    left = server.requests
    run_job(at.lab, job, stopping=lambda: False)
    row = job_queries.get(at.lab.database, job)
    assert row is not None
    assert row.status == JobStatus.SUCCEEDED, row.failure
    found = EvaluationResult.model_validate_json(at.lab.files.result(row.result_name).read_bytes())
    assert found.models[0].attacks[0].broken == whole.models[0].attacks[0].broken
    assert found.models[0].outcomes == whole.models[0].outcomes
    first, again = whole.models[0].asked, found.models[0].asked
    assert first is not None
    assert again is not None
    assert first <= again <= first + 10  # the clean images of one batch are seen once more
    assert server.requests - left < left - begin + 100


def test_labels_alone_are_attacked_by_hop_skip_jump(at: Measured, server: Server) -> None:
    server.answer = server.labels
    model = result(at, connect(at)).model
    asked = small(
        at, HARD, models=(model,), queries=150, epsilon=8 / 255, epsilons=(), images=20,
    )  # fmt: skip
    checks.check(at.lab, JobKind.EVALUATE, asked)  # type: ignore[arg-type]
    (figures,) = evaluate(at, asked).models
    assert figures.attacks[0].method is Method.HOP_SKIP_JUMP
    assert figures.attacks[0].broken > 0
    assert figures.attacks[0].largest <= 8 / 255 + 1e-6
    assert figures.against_queries[-1].accuracy == figures.attacks[0].alone
    assert figures.verdict is not None
    assert figures.verdict.light is Light.AMBER
    scores = small(at, SQUARE, models=(model,), queries=30, epsilons=())
    with pytest.raises(InvalidInput, match="gives no scores"):
        checks.check(at.lab, JobKind.EVALUATE, scores)  # type: ignore[arg-type]


def test_no_evaluation_begins_that_could_ask_too_much(at: Measured, server: Server) -> None:
    model = result(at, connect(at, budget=20_000)).model
    before = server.requests
    asked = small(at, SQUARE, models=(model,), queries=1000, images=60)
    row = run(at.lab, JobKind.EVALUATE, asked)
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert "images, and may be about 20,000" in row.failure["detail"]
    assert server.requests == before + 1  # by which it is known


def test_a_model_that_nothing_breaks_is_asked_no_more_than_was_foreseen(
    at: Measured, server: Server
) -> None:
    server.answer = lambda x: [[1.0] + [0.0] * 9] * len(x)
    model = result(at, connect(at, outputs=tuple(range(10)))).model
    asked = small(
        at, SQUARE, models=(model,), queries=40, epsilon=2 / 255, images=20,
        further=(Method.HOP_SKIP_JUMP,), corruptions=True,
    )  # fmt: skip
    job = add_job(at.lab, JobKind.EVALUATE, asked)
    run_job(at.lab, job, stopping=lambda: False)
    row = job_queries.get(at.lab.database, job)
    assert row is not None
    assert row.status == JobStatus.SUCCEEDED, row.failure
    found = EvaluationResult.model_validate_json(at.lab.files.result(row.result_name).read_bytes())
    most = int(
        log(at, row).split("is asked about ")[1].split(" images at most")[0].replace(",", "")
    )
    assert found.models[0].asked is not None
    assert 500 < found.models[0].asked <= most


def test_it_keeps_pace_and_ends_where_the_job_is_cancelled(at: Measured, server: Server) -> None:
    """At 100 images a second the import of 400 would take seconds."""
    job = add_job(at.lab, JobKind.IMPORT_MODEL, params(at, per_second=100, at_once=10))
    server.before = lambda number: (
        (jobs.request_cancel(at.lab.database, job) if number == 10 else None) and None
    )
    begin = time.monotonic()
    run_job(at.lab, job, stopping=lambda: False)
    row = job_queries.get(at.lab.database, job)
    assert row is not None
    assert row.status == JobStatus.CANCELLED
    assert 0.4 < time.monotonic() - begin < 5
    assert server.images < 200


def test_its_pace_is_one_for_all_who_ask(at: Measured, server: Server) -> None:
    """An import opens three lines, and each would begin at once."""
    server.before = lambda number: (200, {}, {"predictions": []})
    body = json.dumps({"instances": []}).encode()
    begin = time.monotonic()
    for _ in range(4):
        line = Line(server.url, reach(at), per_second=50, patience_s=5)
        line.ask(body, images=10)
    assert 0.6 <= time.monotonic() - begin < 3


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"upload": "1" * 32}, "upload"),
        ({"architecture": "wrn-10-1"}, "architecture"),
        ({"network": "probs"}, "network"),
        ({"pixels": "0-1"}, "pixels"),
        ({"sends": "floats", "pixels": "0-1"}, "layout"),
        ({"address": "ftp://x/"}, "address"),
        ({"address": "http://user:secret@x/"}, "address"),
        ({"address": "http://x/#a"}, "address"),
        ({"address": "http://x:99999/"}, "address"),
        ({"address": None}, "upload"),
        *[
            ({"address": None, "upload": "1" * 32, **said}, next(iter(said)))
            for said in (
                {"sends": "floats"},
                {"at_once": 8},
                {"per_second": 5},
                {"budget": 5_000},
                {"patience_s": 5},
            )
        ],
    ],
)
def test_parameters_that_do_not_go_together(given: dict[str, Any], field: str) -> None:
    values = {"name": "Net", "dataset": "1" * 32, "address": "http://x/"}
    with pytest.raises(ValidationError) as refused:
        ImportModelParams.model_validate(values | given)
    (error,) = refused.value.errors()
    assert (error.get("ctx", {}).get("field") or error["loc"][0]) == field
