"""What a worker hears of the broker, as its Celery is set up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis
from kombu import Connection, Message, Queue

from bench.lab_process import free_port
from bench.proxy import Proxy

LOG = logging.getLogger(__name__)


@pytest.fixture
def port(broker_url: str) -> int:
    return free_port()


@pytest.fixture
def proxy(port: int, broker_url: str) -> Iterator[Proxy]:
    way = Proxy(port, urlsplit(broker_url).path)
    yield way
    way.down()


@pytest.fixture
def connection(broker_url: str, port: int, proxy: Proxy) -> Iterator[Connection]:
    """As a worker has it."""
    from worker.celery_app import app

    password = urlsplit(broker_url).password
    url = f"redis://:{password}@127.0.0.1:{port}/0" if password else f"redis://127.0.0.1:{port}/0"
    with Connection(url, transport_options=app.conf.broker_transport_options) as opened:
        yield opened


def test_a_broker_that_goes_as_a_message_is_acknowledged_is_missed(
    connection: Connection, proxy: Proxy
) -> None:
    """And the worker connects again, where it waited for ever for what it could not acknowledge."""
    queue, heard = Queue("hearing"), list[Message]()

    def hear(_: object, message: Message) -> None:
        proxy.down()
        message.ack_log_error(LOG, connection.connection_errors)
        heard.append(message)

    with connection.channel() as channel:
        queue(channel).declare()
        connection.Producer(channel).publish("first", routing_key="hearing")
        with connection.Consumer([queue], callbacks=[hear], channel=channel, prefetch_count=1):
            connection.drain_events(timeout=30)
            assert [message.payload for message in heard] == ["first"]
            with pytest.raises(redis.ConnectionError):
                connection.drain_events(timeout=2)
