"""A real redis-server that speaks TLS alone and asks for a password."""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.plugins.lab_process import free_port, wait_until
from tests.plugins.needs import redis_server


class SecureRedis(NamedTuple):
    url: str
    ca: Path
    """The certificate that it is known by."""


@contextmanager
def secure_redis(folder: Path) -> Iterator[SecureRedis]:
    """Mark what uses it with `redis`. Its database is `folder`'s, and nothing is kept."""
    certificate, key = self_signed(folder)
    port, password = free_port(), secrets.token_urlsafe(16)
    config = folder / "redis.conf"
    config.write_text(
        f"port 0\ntls-port {port}\nbind 127.0.0.1\ntls-auth-clients no\nsave ''\n"
        f"tls-cert-file {certificate}\ntls-key-file {key}\nrequirepass {password}\n"
    )
    server = subprocess.Popen(
        [str(redis_server()), str(config)], stdout=subprocess.DEVNULL, cwd=folder
    )
    found = SecureRedis(f"rediss://:{password}@127.0.0.1:{port}/0", certificate)
    try:
        wait_until(lambda: _answers(found), "a Redis that speaks TLS")
        yield found
    finally:
        server.terminate()
        server.wait(20)


def _answers(found: SecureRedis) -> bool:
    try:
        with redis.Redis.from_url(found.url, ssl_ca_certs=str(found.ca)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for 127.0.0.1, and of its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "server.crt", folder / "server.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
