"""The lab behind a real nginx with TLS, by the configuration that the documentation gives."""

from __future__ import annotations

import io
import ssl
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.contracts.accounts import Role
from app.services import accounts
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store import audit, catalogue
from tests.admission.people import PASSWORD
from tests.plugins.lab_process import ROOT, free_port, wait_until
from tests.plugins.needs import nginx
from tests.web.parsing import parsed

pytestmark = pytest.mark.nginx
NAME = "lab.example.org"
TLS = ROOT / "tests" / "admission" / "tls"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changed = {
        "auth": Auth.ACCOUNTS, "root_path": "/lab", "allowed_hosts": NAME,
        "trusted_proxies": "127.0.0.2",
    }  # fmt: skip
    return Settings.model_validate({**settings.model_dump(), **changed})


def documented(port: int, web: str, folder: Path) -> str:
    """The server of docs/security.md on a port of its own, asking from an address of its own."""
    text = (ROOT / "docs" / "security.md").read_text()
    block = text[text.index("    server {") : text.index("\n    }\n") + len("\n    }\n")]
    for said, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/lab/cert.pem", str(TLS / "cert.pem")),
        ("/etc/lab/key.pem", str(TLS / "key.pem")),
        ("proxy_pass http://127.0.0.1:8000;", f"proxy_pass {web}; proxy_bind 127.0.0.2;"),
    ):
        assert block.count(said) == 1, said
        block = block.replace(said, here)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{textwrap.dedent(block)}}}\n"
    )


@pytest.fixture
def proxy(web: str, tmp_path: Path) -> Iterator[str]:
    """The address of an nginx in front of the lab."""
    port, file = free_port(), tmp_path / "nginx.conf"
    file.write_text(documented(port, web, tmp_path))
    command = [str(nginx()), "-p", str(tmp_path), "-e", "stderr", "-c", str(file)]
    process = subprocess.Popen(command)

    def answers() -> bool:
        assert process.poll() is None, "nginx takes the configuration"
        try:
            httpx.get(f"http://127.0.0.1:{port}")
        except httpx.TransportError:
            return False
        return True

    try:
        wait_until(answers, "nginx listens")
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def ada(lab: Lab, proxy: str) -> Iterator[httpx.Client]:
    """A browser that has signed in through it."""
    accounts.add(lab.database, "ada", PASSWORD, Role.ADMIN)
    known = ssl.create_default_context(cafile=TLS / "cert.pem")
    known.check_hostname = False  # it is asked by its address
    host = f"{NAME}:{httpx.URL(proxy).port}"
    headers = {"Host": host, "Origin": f"https://{host}"}
    with httpx.Client(base_url=proxy, verify=known, headers=headers, timeout=30) as client:
        form = {"name": "ada", "password": PASSWORD, "then": "/jobs"}
        answer = client.post("/lab/login", data=form, headers={"X-Forwarded-For": "203.0.113.9"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/lab/jobs")
        assert answer.headers["set-cookie"].startswith("__Secure-lab-")
        meta = parsed(client.get("/lab/account").text).select_one("meta[name=csrf]")
        assert meta is not None
        client.headers["X-CSRF-Token"] = str(meta["content"])
        yield client


def test_pages_forms_streams_and_uploads_go_through(lab: Lab, ada: httpx.Client) -> None:
    drawn = ada.post("/lab/api/datasets", data={"name": "Drawn", "source": "shapes"})
    job = drawn.json()["id"]
    links = [str(link["href"]) for link in parsed(ada.get("/lab/jobs").text).select("a[href]")]
    assert f"/lab/jobs/{job}" in links
    assert ada.get("/lab/static/lab.css").status_code == 200
    assert ada.post(f"/lab/jobs/{job}/change", data={"note": "seen"}).status_code == 303
    elsewhere = ada.post(f"/lab/jobs/{job}/change", headers={"Origin": "https://evil.example"})
    assert elsewhere.status_code == 403

    with ada.stream("GET", f"/lab/api/jobs/{job}/events") as stream:
        lines = stream.iter_lines()
        assert "queued" in next(line for line in lines if line.startswith("data")), "not kept back"
        assert ada.post(f"/lab/api/jobs/{job}/cancel").status_code == 202
        assert any("cancelled" in line for line in lines)

    sent = {"name": "Pictures", "source": "archive"}
    file = io.BytesIO(b"x" * 3 * 2**20)
    answer = ada.post("/lab/api/datasets", data=sent, files={"file": ("a.zip", file)})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"].startswith("/lab/api/jobs/")
    upload = catalogue.upload(lab.database, answer.json()["params"]["upload"])
    assert upload is not None
    assert upload.size_bytes == 3 * 2**20


def test_only_the_proxy_says_where_requests_come_from(
    lab: Lab, ada: httpx.Client, web: str
) -> None:
    """Neither who asks it, nor who goes around it."""
    (signed_in, *_), _ = audit.newest(lab.database, limit=9)
    assert (signed_in.who, signed_in.address) == ("ada", "127.0.0.1")
    host = str(ada.headers["Host"])
    forged = {"Host": host, "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    form = {"name": "ada", "password": PASSWORD}
    with httpx.Client(base_url=web) as around:
        answer = around.post("/login", data=form, headers=forged | {"Origin": f"https://{host}"})
        assert answer.status_code == 403, "it came by http"
        answer = around.post("/login", data=form, headers=forged | {"Origin": f"http://{host}"})
        assert answer.headers["set-cookie"].startswith("lab-"), "nor is its cookie for https"
    (last, *_), _ = audit.newest(lab.database, limit=9)
    assert last.address == "127.0.0.1"
