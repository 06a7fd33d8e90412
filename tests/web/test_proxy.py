"""The lab behind a proxy: under a path, under another name, with TLS in front."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from playwright.sync_api import Browser, expect
from pydantic import ValidationError

from app.admission.token import kept_token
from app.client import Lab as Client
from app.contracts.jobs import JobKind, JobStatus
from app.main import create_app
from app.services.announcing import announcement
from app.services.lab import Lab
from app.settings import Settings
from app.store import job_queries
from tests.plugins.applications import Entrance, InProcess, running
from tests.web.browsing import browser as browser
from tests.web.examples import add_job, train_params
from tests.web.furnished import PLAIN, furnish
from tests.web.parsing import parsed

ROOT, NAME = "/team/lab", "lab.example.org"
UNITS = {"/255"}
"""Begin with a slash, and are no addresses."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changed = {"root_path": f"{ROOT}/", "allowed_hosts": f"{NAME}, other.example.org:8443"}
    return Settings.model_validate({**settings.model_dump(), **changed})


@pytest.fixture
def proxied(app: FastAPI, portal: BlockingPortal) -> Iterator[httpx.Client]:
    """As a proxy with TLS asks that leaves the path as it is."""
    with httpx.Client(
        transport=InProcess(app, portal), base_url="https://127.0.0.1", headers={"Host": NAME}
    ) as opened:
        yield opened


def addresses(html: str) -> list[str]:
    """Every address of this host that a page names, in whatever attribute."""
    values = (v for tag in parsed(html).find_all(True) for v in tag.attrs.values())
    return [v for v in values if isinstance(v, str) and re.match(r"/(?!/)", v) and v not in UNITS]


@pytest.mark.slow
def test_every_page_names_addresses_below_the_path(lab: Lab, proxied: httpx.Client) -> None:
    begin = [f"{ROOT}{path}" for path in furnish(lab, PLAIN).values()]
    waiting, known = [f"{ROOT}/", f"{ROOT}/help", f"{ROOT}/docs", *begin], set[str]()
    kinds = set()
    while waiting:
        address = waiting.pop()
        if address in known or len(known) > 400:
            continue
        known.add(address)
        answer = proxied.get(address)
        kinds.add(answer.headers["content-type"].split(";")[0])
        if "location" in answer.headers:
            assert answer.headers["location"].startswith(ROOT), address
        if not answer.headers["content-type"].startswith("text/html"):
            assert answer.status_code in (200, 404), address  # files of models are not furnished
            continue
        found = addresses(answer.text)
        assert [each for each in found if not each.startswith(f"{ROOT}/")] == [], address
        links = (tag["href"] for tag in parsed(answer.text).select("a[href], link[href]"))
        paths = (urljoin(address, str(link).partition("#")[0]) for link in links)
        waiting += [path for path in paths if path.startswith(f"{ROOT}/") and "?" not in path]
    assert {"text/html", "text/css", "application/json"} <= kinds
    assert len(known) > 60


def test_a_form_leads_to_a_page_below_the_path(lab: Lab, proxied: httpx.Client) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED)
    for path in (f"{ROOT}/jobs/{job}", f"/jobs/{job}"):  # left as it is, or taken away
        answer = proxied.post(
            f"{path}/change", data={"note": "x"}, headers={"Origin": f"https://{NAME}"}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}/jobs/{job}")
    answer = proxied.get(f"{ROOT}/jobs/", follow_redirects=False)
    assert answer.headers.get("location", ROOT).startswith(ROOT)


def test_the_api_says_where_it_is(lab: Lab, proxied: httpx.Client) -> None:
    described = proxied.get(f"{ROOT}/api/openapi.json").json()
    assert described["servers"] == [{"url": ROOT}]
    sent = proxied.post(f"{ROOT}/api/datasets", data={"name": "S", "source": "shapes"})
    job = sent.json()["id"]
    assert sent.headers["location"] == f"{ROOT}/api/jobs/{job}"
    code = proxied.get(f"{ROOT}/jobs/{job}/code").text
    assert f"https://{NAME}{ROOT}/api/datasets" in code
    over = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED, finished_at=1.0)
    row = job_queries.get(lab.database, over)
    assert row is not None
    assert f"{ROOT}/jobs/{over}" in announcement(lab, row).address


def test_a_path_that_only_begins_alike_is_another_one(proxied: httpx.Client) -> None:
    assert proxied.get(f"{ROOT}rador/jobs").status_code == 404
    assert proxied.get(ROOT).status_code == 200


def test_only_named_hosts_are_answered(proxied: httpx.Client) -> None:
    for host, status in (
        (NAME, 200), (f"{NAME}:444", 200), (NAME.upper(), 200), ("other.example.org:8443", 200),
        ("127.0.0.1", 200), ("other.example.org", 421), (f"x.{NAME}", 421), (f"{NAME}.evil", 421),
        (f"{NAME}:x", 421),
    ):  # fmt: skip
        answer = proxied.get(f"{ROOT}/api/health", headers={"Host": host})
        assert answer.status_code == status, host
    refused = proxied.get("/api/health", headers={"Host": "evil.example"}).json()
    assert "LAB_ALLOWED_HOSTS" in refused["hint"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("allowed_hosts", "*"), ("allowed_hosts", "http://a"), ("allowed_hosts", "a b"),
     ("root_path", "lab"), ("root_path", "/a b"), ("root_path", "/../x\""), ("root_path", "//x"),
     ("trusted_proxies", "*"), ("trusted_proxies", "proxy"), ("trusted_proxies", "10.0.0.1/8")],
)  # fmt: skip
def test_what_is_no_name_or_path_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({field: value})


def test_the_client_takes_an_address_with_a_path(lab: Lab, web: str) -> None:
    job = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED)
    with Client(f"{web}{ROOT}", token=kept_token(lab.settings.data_dir)) as client:
        assert client.job(job[:8]).id == job


@pytest.mark.parametrize(
    ("trusted", "status"), [((), 403), (("10.0.0.0/8", "127.0.0.1"), 303), (("10.0.0.1",), 403)]
)
def test_a_trusted_proxy_that_ends_tls_says_so(
    lab: Lab, portal: BlockingPortal, door: Entrance, trusted: tuple[str, ...], status: int
) -> None:
    """Origins are compared with their scheme, which a proxy that is trusted tells."""
    job = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED)
    settings = lab.settings.model_copy(update={"trusted_proxies": trusted})
    sent = {
        "Host": NAME,
        "Origin": f"https://{NAME}",
        "Authorization": f"Bearer {kept_token(settings.data_dir)}",
    }
    https = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    with running(create_app(settings), portal) as app, door.leading_to(app) as web:
        for more, expected in (({}, 403), (https, status)):
            answer = httpx.post(f"{web}/jobs/{job}/change", data={"note": "x"}, headers=sent | more)
            assert answer.status_code == expected


def test_nobody_is_known_by_a_proxys_socket(connected: httpx.Client, proxied: httpx.Client) -> None:
    """It may run as the lab's own user, and asks for others."""
    assert connected.get("/api/jobs").status_code == 401
    assert connected.get(f"{ROOT}/").status_code == 401
    assert proxied.get(f"{ROOT}/").status_code == 200


def test_a_cookie_stays_below_the_path(lab: Lab, connected: httpx.Client) -> None:
    token = kept_token(lab.settings.data_dir)
    answer = connected.get(f"{ROOT}/jobs?token={token}")
    assert answer.headers["location"] == f"{ROOT}/jobs"
    assert f"Path={ROOT};" in answer.headers["set-cookie"]
    assert connected.get(f"{ROOT}/jobs").status_code == 200
    assert connected.get(f"{ROOT}rador").status_code == 401
    connected.cookies.clear()
    form = parsed(connected.get(f"{ROOT}/jobs").text).select_one("main form")
    assert form is not None
    assert form["action"] == f"{ROOT}/login"


@pytest.mark.browser
@pytest.mark.slow
def test_scripts_and_streams_stay_below_the_path(lab: Lab, web: str, browser: Browser) -> None:
    pages = furnish(lab, PLAIN)
    page = browser.new_context(base_url=web).new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{ROOT}/?token={kept_token(lab.settings.data_dir)}")
    for path in ("/", "/live", "/models", "/jobs", pages["evaluation"]):
        page.goto(f"{ROOT}{path}", wait_until="load")
    page.goto(f"{ROOT}{pages['evaluation-running']}", wait_until="load")
    expect(page.locator(".main-svg").first).to_be_visible()  # what was reported is drawn
    page.get_by_role("link", name="Datasets").first.click()
    expect(page).to_have_url(re.compile(f"{ROOT}/datasets$"))
    assert {path for path in asked if not path.startswith(f"{ROOT}/")} == set()
    assert any(path.endswith("/record.json") for path in asked)
    assert any(path.endswith("/events") for path in asked)
    assert wrong == []
