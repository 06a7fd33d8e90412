"""The environment's facts, tried on a real broker behind a password."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery
from kombu.messaging import Consumer
from pydantic import ValidationError

from app.contracts.jobs import TASK_OF, Queue
from app.contracts.storage import Storage
from app.queue import Broker
from app.settings import VERSION, Settings, code_version
from tests.plugins.lab_process import ROOT, free_port
from tests.plugins.servers import valkey, wait_for_broker

PASSWORD = "p@ss:w/o?r#d db=7"


@pytest.fixture(params=["unix", "tcp"])
def locked_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A broker that asks for a password with every character that means something in a URL."""
    secret, port, path = quote(PASSWORD, safe=""), str(free_port()), tmp_path / "db=1.sock"
    listen = ["--port", "0", "--unixsocket", str(path)]
    url = f"unix://:{secret}@{path}?db=3"
    if request.param == "tcp":
        listen = ["--port", port, "--bind", "127.0.0.1"]
        url = f"redis://:{secret}@127.0.0.1:{port}/3"
    with valkey(tmp_path, listen, PASSWORD):
        wait_for_broker(url)
        yield url


def test_what_the_web_sends_a_celery_consumer_receives(locked_url: str) -> None:
    settings = Settings(redis_url=locked_url)
    broker = Broker(settings)
    assert broker.send("a" * 32, Queue.LIVE)
    # The plain client, which counts what waits, looks into the same database as Celery.
    assert broker.waiting(Queue.LIVE) == 1

    received: list[tuple[str, list[str]]] = []
    celery = Celery(broker=settings.celery_url, set_as_current=False)
    with celery.connection_for_read() as connection:
        queue = celery.amqp.queues.select_add("live")

        def take(body: Any, message: Any) -> None:
            received.append((message.headers["task"], body[0]))
            message.ack()

        with Consumer(connection, [queue], callbacks=[take], accept=["json"]):
            connection.drain_events(timeout=10)
    assert received == [(TASK_OF[Queue.LIVE], ["a" * 32])]
    assert broker.waiting(Queue.LIVE) == 0
    broker.close()


def test_a_wrong_password_is_no_error_of_the_sender(locked_url: str) -> None:
    wrong = locked_url.replace(quote(PASSWORD, safe=""), "guess")
    broker = Broker(Settings(redis_url=wrong))
    assert not broker.send("a" * 32, Queue.LIVE)
    assert not broker.answers()
    assert broker.waiting(Queue.LIVE) is None
    assert broker.workers() is None
    broker.ring("a" * 32)
    broker.close()


@pytest.mark.parametrize(
    ("url", "celery_url"),
    [
        ("redis://:pw@127.0.0.1:6379/0", "redis://:pw@127.0.0.1:6379/0"),
        ("rediss://u:pw@host:6379/2?x=1", "rediss://u:pw@host:6379/2?ssl_cert_reqs=required&x=1"),
        ("unix:///run/v.sock?db=0", "redis+socket:///run/v.sock?virtual_host=0"),
        ("unix://:p%40@/run/db=4/v.sock", "redis+socket://:p%40@/run/db=4/v.sock?virtual_host=0"),
    ],
)
def test_celerys_spelling_of_the_broker(url: str, celery_url: str) -> None:
    assert Settings(redis_url=url).celery_url == celery_url


def test_a_socket_without_a_password_stays_one() -> None:
    assert Settings(redis_url="unix:///run/v.sock?db=0").broker_url == "unix:///run/v.sock?db=0"


def test_empty_variables_mean_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PORT", "")
    monkeypatch.setenv("LAB_REDIS_URL", "")
    monkeypatch.setenv("LAB_DATA_DIR", "~/lab")
    settings = Settings()
    assert (settings.port, settings.redis_url) == (8000, None)
    assert settings.data_dir == Path.home() / "lab"
    assert settings.sql_url == f"sqlite:///{Path.home()}/lab/lab.sqlite3"


def test_what_may_be_sent_may_be_unpacked() -> None:
    assert Settings().max_dataset_mb == 8192
    assert Settings(max_upload_mb=20_000).max_dataset_mb == 160_000
    assert Settings(max_upload_mb=20_000, max_dataset_mb=20_000).max_dataset_mb == 20_000
    with pytest.raises(ValidationError, match="less than LAB_MAX_UPLOAD_MB lets in"):
        Settings(max_upload_mb=20_000, max_dataset_mb=10_000)


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("lab_redis_url", "redis://:secret@broker:6379/0\n"),
        ("lab_webhook_url", "https://hooks.example.org/secret"),
        ("lab_port", "8001"),
        ("tls_key", "of somebody else"),
    ):
        (tmp_path / name).write_text(value)
    monkeypatch.setenv("LAB_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("LAB_PORT", "8002")
    settings = Settings()
    assert settings.redis_url == "redis://:secret@broker:6379/0"
    assert settings.webhook_url is not None
    assert settings.webhook_url.get_secret_value().path == "/secret"
    assert settings.port == 8002, "the environment is asked first"
    assert settings.tls_key is None
    assert "secret@" not in repr(settings)


def test_a_wrong_secret_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_redis_url").write_text("redis://:hu/sh@broker")
    monkeypatch.setenv("LAB_SECRETS_DIR", str(tmp_path))
    with pytest.raises(ValidationError, match="redis_url") as refused:
        Settings()
    assert "hu/sh" not in str(refused.value)


def test_a_folder_of_secrets_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(ValidationError, match=r"secrets_dir\n.*no such folder"):
        Settings()


def test_the_version_is_one_and_says_which_commit_runs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    assert re.fullmatch(rf"{re.escape(VERSION)}(\+[0-9a-f]{{12}}(\.dirty)?)?", code_version())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("lab/files", "no bucket"),
        ("http://lab.example.org/files", "no bucket"),
        ("s3://Lab", "no bucket"),
        ("s3://", "no bucket"),
        ("s3://lab#x", "no bucket"),
        ("s3://key:secret@lab/files", "AWS_ACCESS_KEY_ID"),
        ("s3://lab/../etc", "a folder has letters"),
        ("s3://lab/a%20b", "a folder has letters"),
        ("s3://lab?endpoint=ftp://x", "the endpoint"),
        ("s3://lab?endpoint=http://x:y", "the endpoint"),
        ("s3://lab?secret=x", "'secret' is not known"),
    ],
)
def test_a_storage_url_that_is_none_is_refused_with_the_form(url: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        Settings.model_validate({"storage_url": url})
    assert "key:secret" not in str(refused.value)


def test_a_storage_url_says_bucket_folder_and_server() -> None:
    found = Storage.of("s3://lab/some/files/?endpoint=https://s3.example.org:9000&region=x")
    assert found == Storage("lab", "some/files", "https://s3.example.org:9000", "x")
    assert str(found) == "s3://lab/some/files at https://s3.example.org:9000"
    assert Storage.of("s3://lab") == Storage("lab", "")


def test_a_redis_that_speaks_tls_is_known_by_the_file(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    with pytest.raises(ValidationError, match="there is no such file"):
        Settings(redis_url="rediss://host", redis_ca=authority)
    authority.write_text("")
    found = Settings(redis_url="rediss://:pw@host:6380/1", redis_ca=authority)
    query = f"ssl_cert_reqs=required&ssl_ca_certs={quote(str(authority), safe='')}"
    assert found.broker_url == found.celery_url == f"rediss://:pw@host:6380/1?{query}"
