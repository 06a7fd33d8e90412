"""Facts of the environment: LAB_* variables and the code's version. No hyper-parameters."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from enum import StrEnum
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from pydantic import Field, HttpUrl, Secret, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

import journal
from app.contracts.accounts import Role
from app.contracts.complaints import invalid
from app.contracts.endpoint import plain_url
from app.contracts.storage import Storage

VERSION = "0.3.0"
RELEASE = int("{:d}{:03d}{:03d}".format(*map(int, VERSION.split("."))))
"""The same as a number that grows from release to release."""
_CODE = Path(__file__).resolve().parent.parent
_PACKED = _CODE / "app" / "beside"
BESIDE = _PACKED if _PACKED.is_dir() else _CODE
"""Where `docs`, `models`, `static` and `templates` are: beside the code, and in a wheel inside of
`app`, where they meet no files of other packages."""


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")
_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)*")


class Auth(StrEnum):
    """How the lab knows who asks."""

    OWNER = "owner"
    """By the user of the process that asks, where the system tells it; else by the token."""
    TOKEN = "token"
    """By the token alone."""
    ACCOUNTS = "accounts"
    """By a name and a password, or a token of one's own."""
    OFF = "off"
    """Not at all: whoever reaches the lab may do everything."""


class Settings(BaseSettings):
    """Where the lab listens, keeps its files and finds its services."""

    model_config = SettingsConfigDict(
        env_prefix="LAB_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    port: int = Field(8000, ge=1, le=65535)
    """Where it listens."""
    host: str = "127.0.0.1"
    """The address it listens on, `0.0.0.0` for all; on any but the loopback ones there are
    accounts."""
    tls_cert: Path | None = None
    """A file with the certificate, and those that lead to it, to speak https with."""
    tls_key: Path | None = None
    """The file with its key."""
    data_dir: Path = Path("data")
    """Everything that the lab keeps."""
    auth: Auth = Auth.OWNER
    """Who may use it. `owner`: processes of its own user and of root, and whoever has the token in
    the data folder; `token`: the token alone; `accounts`: `python -m app users` makes them; `off`:
    everybody on this machine."""
    session_h: int = Field(168, ge=1, le=8760)
    """Hours after which a browser signs in again."""
    oidc_issuer: str | None = None
    """The address of an OpenID provider that people sign in by, such as
    `https://login.example.org/realms/team`."""
    oidc_client_id: str = ""
    """What it calls the lab."""
    oidc_client_secret_file: Path | None = None
    """A file with the password that it gave the lab; none for a public client."""
    oidc_domains: Annotated[tuple[str, ...], NoDecode] = ()
    """Whose verified address of e-mail is of one of these may come in; several with commas."""
    oidc_groups: Annotated[tuple[tuple[str, Role], ...], NoDecode] = ()
    """Groups that may come in, with their roles, such as `ml=runner,ml-leads=admin`."""
    oidc_group_claim: str = "groups"
    """Where the provider says somebody's groups."""
    oidc_role: Role = Role.VIEWER
    """Of who comes in by a domain. Admins change it; where groups have roles, it holds again from
    the next sign-in on."""
    root_path: str = ""
    """The path under which a proxy serves it, such as `/lab`; empty: the whole of an address."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names by which a proxy is reached, such as `lab.example.org`; several with commas."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed,
    such as `127.0.0.1`; several with commas. Nobody else's are."""
    secrets_dir: Path | None = None
    """A folder with files called like these variables in small letters, such as `lab_redis_url`: a
    setting that is a secret need not stand in the environment."""
    redis_url: str | None = Field(None, repr=False)
    """A Redis or Valkey for the queue; the lab starts its own where none is given."""
    database_url: str | None = Field(None, repr=False)
    """A PostgreSQL, `postgresql://lab:password@db.example.org/lab`, for a lab on several machines;
    SQLite in the data folder where none is given."""
    redis_ca: Path | None = None
    """A file with the authority that signed the certificate of a `rediss://` server; those of the
    system where none is given."""
    storage_url: str | None = None
    """A bucket of an S3-compatible storage for the files that all machines of the lab share, such
    as `s3://lab/files?endpoint=https://s3.example.org`; the data folder where none is given."""
    cache_mb: int = Field(20_000, ge=1)
    """Disk space of the data folder for copies of what lies in that storage, in units of 2^20
    bytes."""
    max_upload_mb: int = Field(1024, ge=1)
    """The largest dataset archive or file of weights accepted, in units of 2^20 bytes."""
    max_dataset_mb: int = Field(8192, ge=1)
    """The most that a dataset takes as pixels, and its archive unpacked, in units of 2^20 bytes; 8
    times LAB_MAX_UPLOAD_MB where that is more and this is not set."""
    max_waiting: int = Field(1000, ge=1)
    """Jobs that may be unfinished at once; more are refused."""
    user_requests: int = Field(1200, ge=1)
    """Requests a minute that each account's pages and programs may make; more are refused."""
    user_waiting: int = Field(200, ge=1)
    """Jobs of each account that may be unfinished at once."""
    user_streams: int = Field(32, ge=1)
    """Streams of events that each account may have open at once."""
    user_disk_mb: int = Field(50_000, ge=1)
    """Disk space of what each account sent and of what its jobs left, in units of 2^20 bytes."""
    min_free_mb: int = Field(500, ge=0)
    """Free disk space of the data folder under which no job starts, in units of 2^20 bytes."""
    max_kept_mb: int = Field(512, ge=1)
    """The most that one evaluation keeps of adversarial images, in units of 2^20 bytes."""
    log: journal.Form = journal.Form.TEXT
    """How the lab's processes write what they say on the standard error: `text`, warnings and
    errors for a person; `json`, a record a line, also of every request and job."""
    log_file: Path | None = None
    """A file that gets the same lines; only of a lab that `python -m app` runs."""
    log_file_mb: int = Field(10, ge=1)
    """How large it grows, in units of 2^20 bytes, before it is put aside; five are kept."""
    lease_s: float = Field(30.0, gt=0)
    """A running job whose worker has not renewed its lease for this long is given to another."""

    checkpoint_s: float = Field(60.0, gt=0)
    """A training run writes a checkpoint this often, or as rarely as takes 2 % of its time."""
    thin_after_d: float = Field(30.0, ge=0)
    """Days after a job's end when its log and the points of its curves are thinned to what pages
    show of them; 0: never."""
    rendezvous: str | None = None
    """Where the machines of one training meet, an address and a free port of the first of them such
    as `node1:29500`; only for trainings on several (`nodes`)."""
    node: int = Field(0, ge=0, le=63)
    """Which of these machines this one is: 0 runs the job, the others join it."""
    train_gpus: int = Field(1, ge=1, le=64)
    """GPUs of each worker that trains, for trainings in as many processes."""
    shipped_dir: Path = BESIDE / "models"
    """The models that a lab starts with; a folder without any, for a lab that starts empty."""
    endpoints: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses of models that may be asked as black boxes, such as
    `https://models.example.org/v1/predict`; several with commas. Nothing else is."""
    endpoint_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Private networks in which the hosts of such addresses may be, such as `172.18.0.0/16`;
    several with commas. An address that is written in numbers, and localhost, need none."""
    mlflow_url: Secret[HttpUrl] | None = None
    """An MLflow server that trainings and evaluations are mirrored to."""
    mlflow_experiment: str = Field("AGKD-BML Lab", min_length=1)
    """The experiment of that server that gets their runs."""
    tensorboard_dir: Path | None = None
    """A folder that gets TensorBoard files of trainings and evaluations when they end."""
    webhook_url: Secret[HttpUrl] | None = None
    """Who is told of every job that ends. Such addresses often are a password: only the host is
    shown."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is said in the program, then the environment, then files."""
        folder = env_settings().get("secrets_dir")
        if folder is None or not Path(folder).expanduser().is_dir():
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, folder)

    @field_validator("secrets_dir")
    @classmethod
    def _is_folder(cls, value: Path | None) -> Path | None:
        if value is not None and not value.expanduser().is_dir():
            raise ValueError("there is no such folder")
        return value

    @field_validator("oidc_groups", mode="before")
    @classmethod
    def _with_roles(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [tuple(pair.strip().rsplit("=", 1)) for pair in value.split(",")]
        if any(len(pair) != 2 or pair[1] not in set(Role) for pair in pairs):
            raise ValueError("no groups with roles; write them like ml=runner,ml-leads=admin")
        return pairs

    @field_validator("oidc_issuer")
    @classmethod
    def _is_secure(cls, value: str | None) -> str | None:
        if value is not None:
            url = urlsplit(value)
            own = url.hostname in ("localhost", "127.0.0.1", "::1")
            if url.scheme != "https" and not (url.scheme == "http" and own):
                raise ValueError("no https address; write it like https://login.example.org")
        return value

    @field_validator(
        "allowed_hosts", "oidc_domains", "trusted_proxies", "endpoints", "endpoint_networks",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _listed(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("allowed_hosts", "oidc_domains")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HOST.fullmatch(name):
                raise ValueError(f"no name of a host: {name!r}; write it like lab.example.org")
        return tuple(name.lower() for name in value)

    @field_validator("rendezvous")
    @classmethod
    def _is_a_place(cls, value: str | None) -> str | None:
        if value is not None and not (_HOST.fullmatch(value) and ":" in value):
            raise ValueError("no address with a port; write it like node1:29500")
        return value

    @field_validator("endpoints")
    @classmethod
    def _are_whole(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(plain_url(address) for address in value)

    @field_validator("redis_url", "database_url")
    @classmethod
    def _is_whole(cls, value: str | None) -> str | None:
        """A password with a character that means something in a URL would be taken for a host or a
        port, and shown as that by whatever cannot reach it."""
        if value is not None and not value.startswith("sqlite"):
            url = urlsplit(value)
            try:
                torn = url.port == 0 or "@" in f"{url.path}{url.query}{url.fragment}"
            except ValueError:
                torn = True
            if torn:
                raise ValueError(
                    "no whole URL; write @ : / ? # and % in a password as %40 %3A %2F %3F %23 %25"
                )
        return value

    @field_validator("storage_url")
    @classmethod
    def _is_bucket(cls, value: str | None) -> str | None:
        if value is not None:
            Storage.of(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _is_of_a_known_kind(cls, value: str | None) -> str | None:
        if value is None or value.startswith("sqlite"):
            return value
        if urlsplit(value).scheme not in ("postgresql", "postgresql+psycopg"):
            raise ValueError(
                "no PostgreSQL; write it like postgresql://lab:password@db.example.org/lab"
            )
        if find_spec("psycopg") is None:
            raise ValueError("it needs psycopg; `pip install 'psycopg[binary]'` brings that")
        return value

    @field_validator("trusted_proxies", "endpoint_networks")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            try:
                ipaddress.ip_network(address)
            except ValueError:
                raise ValueError(
                    f"no address or network: {address!r}; write it like 127.0.0.1 or 10.0.0.0/8"
                ) from None
        return value

    @field_validator("root_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        path = value.rstrip("/")
        if not _PATH.fullmatch(path):
            raise ValueError("no path; write it like /lab, with letters, digits, - _ . and ~")
        return path

    @field_validator("host")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("no address; write it like 127.0.0.1, 0.0.0.0 or ::1") from None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.on_loopback:
            if "auth" not in self.model_fields_set:
                self.auth = Auth.ACCOUNTS
            elif self.auth is not Auth.ACCOUNTS:
                raise invalid("auth", "on an address that others reach there have to be accounts")
        if "max_dataset_mb" not in self.model_fields_set:
            self.max_dataset_mb = max(self.max_dataset_mb, 8 * self.max_upload_mb)
        elif self.max_dataset_mb < self.max_upload_mb:
            raise invalid("max_dataset_mb", "less than LAB_MAX_UPLOAD_MB lets in, packed")
        if self.oidc_issuer is not None:
            self._fit_openid()
        if self.redis_ca is not None and not self.redis_ca.is_file():
            raise invalid("redis_ca", "there is no such file")
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise invalid("tls_key", "a certificate needs its key, and a key its certificate")
        return self

    def _fit_openid(self) -> None:
        file = self.oidc_client_secret_file
        if self.auth is not Auth.ACCOUNTS:
            raise invalid(
                "oidc_issuer", "who signs in there has an account here: LAB_AUTH=accounts"
            )
        if not self.oidc_client_id:
            raise invalid("oidc_client_id", "what the provider calls the lab")
        if file is not None and not file.is_file():
            raise invalid("oidc_client_secret_file", "there is no such file")
        if not (self.oidc_domains or self.oidc_groups):
            raise invalid("oidc_domains", "whom to let in: name domains, or groups in oidc_groups")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def shown_host(self) -> str:
        """The name in its address; of a lab that listens everywhere, this machine's own."""
        address = ipaddress.ip_address(self.host)
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        return f"[{address}]" if address.version == 6 else str(address)

    @property
    def address(self) -> str:
        """Where this machine finds it."""
        return f"http{'' if self.tls_cert is None else 's'}://{self.shown_host}:{self.port}"

    @field_validator(
        "data_dir",
        "shipped_dir",
        "log_file",
        "oidc_client_secret_file",
        "redis_ca",
        "tensorboard_dir",
        "tls_cert",
        "tls_key",
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @property
    def believes_sockets(self) -> bool:
        """Whether a process of the lab's own user is its owner. Not behind a proxy: that may run as
        the same user, and asks for others."""
        proxied = self.root_path or self.allowed_hosts or self.trusted_proxies
        return self.auth is Auth.OWNER and not proxied

    @property
    def sql_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'lab.sqlite3'}"

    @property
    def broker_url(self) -> str:
        """`redis_url`, with what a server that speaks TLS is known by."""
        url = urlsplit(self.redis_url or "")
        if url.scheme != "rediss":
            return self.redis_url or ""
        known = {"ssl_cert_reqs": "required"}
        if self.redis_ca is not None:
            known["ssl_ca_certs"] = str(self.redis_ca)
        query = urlencode(known | dict(parse_qsl(url.query)))
        return url._replace(query=query).geturl()

    @property
    def shares_database(self) -> bool:
        """Whether other web processes may serve the same lab."""
        return not self.sql_url.startswith("sqlite")

    @property
    def celery_url(self) -> str:
        """`broker_url` as Celery writes it.

        `unix://:password@/lab.sock?db=0` is `redis+socket://:password@/lab.sock?virtual_host=0`.
        """
        url = urlsplit(self.broker_url)
        if url.scheme != "unix":
            return url.geturl()
        database = parse_qs(url.query).get("db", ["0"])[0]
        return f"redis+socket://{url.netloc}{url.path}?virtual_host={database}"


@lru_cache
def settings() -> Settings:
    """The process's settings, read once."""
    return Settings()


@lru_cache
def code_version() -> str:
    """`0.3.0+3f2a9c1`, with `.dirty` for uncommitted changes; `0.3.0` outside a checkout."""
    if BESIDE != _CODE:
        return VERSION  # a repository around an installed lab is another project's
    try:
        commit = _git(_CODE, "rev-parse", "--short=12", "HEAD")
        changed = _git(_CODE, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return VERSION
    return f"{VERSION}+{commit}{'.dirty' if changed else ''}"


def _git(root: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout.strip()
