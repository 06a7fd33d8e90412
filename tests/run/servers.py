"""The services of docker-compose.yml whose images are not the lab's, by what this system has.

Compose's storage is no package of the system: the tests' own S3 server is in its place.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import httpx

from tests.plugins import needs
from tests.plugins.lab_process import wait_until
from tests.run.containers import Container


def make_database(database: Container) -> None:
    """What its image does before it runs the command for the first time."""
    told = database.service["environment"]
    data, password = database.paths["/var/lib/postgresql/data"], told["POSTGRES_PASSWORD_FILE"]
    # For what is run beside it.
    told |= {"PGPORT": database.here("5432"), "PGPASSFILE": os.devnull}
    if user := _other_user():
        shutil.chown(data, user)
        database.folder.chmod(0o711)
    made = [
        f"{needs.postgresql()}/initdb", "-D", str(data), "-U", told["POSTGRES_USER"],
        "--auth=scram-sha-256", f"--pwfile={database.here(password)}", "--no-sync",
    ]  # fmt: skip
    subprocess.run([*_as(user), *made], check=True, stdout=subprocess.DEVNULL, cwd=data)
    with (data / "pg_hba.conf").open("a") as who:
        who.write("host all all all scram-sha-256\n")


def run_database(database: Container) -> None:
    """Its command, where a package has the programs."""
    data, port = database.paths["/var/lib/postgresql/data"], database.here("5432")
    postgres, *options = database.service["command"]
    command = [
        f"{needs.postgresql()}/{postgres}", "-D", str(data), "-k", str(data),
        "-h", database.address, "-p", port, *options,
    ]  # fmt: skip
    database.start([*_as(_other_user()), *command], cwd=data)


def start_database(database: Container) -> None:
    """For the first time, with the lab's own database."""
    make_database(database)
    run_database(database)
    database.wait()
    secret = Path(database.here(database.service["environment"]["POSTGRES_PASSWORD_FILE"]))
    create = [
        *database.within, f"{needs.postgresql()}/createdb", "-h", database.address,
        "-p", database.here("5432"), "-U", "lab", "lab",
    ]  # fmt: skip
    environment = {**os.environ, "PGPASSWORD": secret.read_text().strip()}
    subprocess.run(create, check=True, env=environment)


def _other_user() -> str | None:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _as(user: str | None) -> list[str]:
    if user is None:
        return []
    group = str(pwd.getpwnam(user).pw_gid)
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]


def start_storage(storage: Container) -> None:
    """Another server of the same kind; it believes whoever has a key."""
    port = storage.here("8333")
    storage.start([sys.executable, "-m", "moto.server", "-H", storage.address, "-p", port])

    def answers() -> bool:
        try:
            return httpx.get(f"http://{storage.address}:{port}/").status_code < 500
        except httpx.TransportError:
            return False

    wait_until(answers, "the storage answers")


def start_proxy(proxy: Container, resolver: str) -> None:
    """Debian's nginx is older than the image's: it says `http2` elsewhere."""
    file = proxy.paths["/etc/nginx"] / "nginx.conf"
    text = file.read_text().replace("http2 on;", "")
    file.write_text(text.replace("resolver 127.0.0.11 ", f"resolver {resolver} "))
    assert f"resolver {resolver} " in file.read_text()
    _, *options = proxy.service["command"]
    proxy.start([str(needs.nginx()), "-e", "stderr", "-c", str(file), *options])
    proxy.wait()
