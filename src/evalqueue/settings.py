"""Settings, from the environment (12-factor). Secrets of LLM vendors are not here."""

import os
import re
import shlex
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import platformdirs
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from evalqueue import tokens
from evalqueue.environment import EnvironmentSettings
from evalqueue.hosts import is_loopback
from evalqueue.telemetry.logs import LogFormat, LogLevel
from evalqueue.tokens import ClaimRule, Token

NO_LIMIT = "off"

_RATE = re.compile(r"([1-9]\d{0,8}) ?/ ?(second|minute|hour)")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_-]{1,100}){1,10}")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


def _user_data_dir() -> Path:
    # Root's own directory is closed to the account that the embedded Postgres runs as then.
    if os.geteuid() == 0:
        return Path("/var/lib/evalqueue")
    return Path(platformdirs.user_data_dir("evalqueue"))


def check_address(address: str) -> None:
    """Whether a Postgres address can be read at all. Says what is wrong without repeating it: it
    may hold a password.

    Raises:
        ValueError: it can't.
    """
    try:
        is_whole = not _is_torn(address)
    except ProgrammingError:
        is_whole = False
    if not is_whole:
        raise ValueError(
            "This is not a Postgres address: write postgresql://user:password@host/database "
            "(without a driver's name, and with special characters percent-encoded)"
        )


def _is_torn(address: str) -> bool:
    """Whether libpq finds parts of a password in the host, the port or the database's name, which
    errors repeat: those of a password with a slash or an at sign that is not percent-encoded.

    Raises:
        ProgrammingError: it finds nothing.
    """
    parts = conninfo_to_dict(address)
    scheme, _, rest = address.partition("://")
    if scheme not in ("postgres", "postgresql"):
        return False
    hosts, ports = (str(parts.get(name) or "").split(",") for name in ("host", "port"))
    return (
        "@" in rest.partition("?")[0].partition("/")[2]
        or any("@" in each[1:] for each in hosts if not each.startswith("/"))  # no socket's path
        or any(each and not each.isdecimal() for each in ports)
    )


def checked_root_path(text: str) -> str:
    """A root path without slashes at its end; "" is the root itself.

    Raises:
        ValueError: it is none.
    """
    path = text.rstrip("/")
    if path and not _ROOT_PATH.fullmatch(path):
        raise ValueError(
            "Write a path such as /evalqueue, of letters, digits, hyphens and underscores"
        )
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many in so many seconds."""

    amount: int
    seconds: float


class Settings(EnvironmentSettings):
    """Each field is `EVALQUEUE_<NAME>` in the environment; the database is `DATABASE_URL`."""

    model_config = SettingsConfigDict(
        env_prefix="EVALQUEUE_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
    )

    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    """Where Postgres is. Unset: a private one is started in `home`."""
    listen_url: SecretStr | None = None
    """Where to LISTEN, when `DATABASE_URL` is a pooler in transaction mode (PgBouncer): an address
    of Postgres itself, of the same database."""
    password_command: Annotated[tuple[str, ...], NoDecode] = ()
    """Prints the password of `DATABASE_URL` and `listen_url`, whenever a connection is opened: a
    program with its arguments, split as a shell does, without a shell."""
    home: Path = Field(default_factory=_user_data_dir)
    """Holds the embedded Postgres and the default `data_dir`."""
    data_dir: Path | None = None
    """The only directory that a job's `data_path` may name files in. Default: `<home>/data`."""
    database_wait_seconds: float = Field(default=30.0, ge=0)
    """How long to wait for Postgres at start before giving up."""
    pool_size: int = Field(default=10, ge=2, le=200)
    """Connections per process at most."""

    host: str = "127.0.0.1"
    port: int = Field(default=8721, ge=0, le=65535)
    root_path: str = Field(default="/", validate_default=True)
    """What a proxy serves the API and the page under, such as `/evalqueue`. The value has no slash
    at its end: "" is the root."""
    api_tokens: Annotated[tuple[Token, ...], NoDecode] = ()
    """Who may call: `name:right:sha256hex`, separated by commas or white space, made by `evalqueue
    token`. None: every program on this machine. Must be set to listen beyond loopback."""
    oidc_issuer: str | None = None
    """The address of an OpenID Connect provider, by which people sign in to the page."""
    oidc_client_id: str | None = None
    """As the provider knows this server."""
    oidc_client_secret: SecretStr | None = None
    """Unset: the provider asks for none (a public client, with PKCE)."""
    oidc_rights: Annotated[tuple[ClaimRule, ...], NoDecode] = ()
    """Who may do what, by the provider's claims: `right:claim=value`, separated by commas or white
    space. An asterisk in front of a value: what ends so; `read:*`: everybody."""
    oidc_name_claim: str = "email"
    """The claim that names people: the owner of what they submit. An email must be verified."""
    public_url: str | None = None
    """The address at which browsers find the page: of links in alerts and to reports."""
    metrics_host: str = "127.0.0.1"
    """Where a worker serves its metrics, which need no token."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Where a worker serves Prometheus's metrics, under `/metrics`; 0: on a free port. Unset:
    nowhere. Of several processes of `evalqueue worker`, each takes the next port."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins whose pages may call the API, separated by commas."""
    proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks of the proxies in front of the API, separated by commas: what they say
    about who calls (`X-Forwarded-For`) is believed."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Larger request bodies are refused with 413."""
    max_dataset_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    """Of a file of conversations: one that is uploaded, or that a job names."""
    max_connections: int = Field(default=2000, ge=1)
    """Connections to the API at the same time; more are answered with 503."""
    rate_limit: str = "6000/minute"
    """Requests of one caller: `600/minute`, `10/second`, `off`. More are refused with 429."""

    max_watchers: int = Field(default=1000, ge=1, le=100_000)
    """Streams of events at the same time; beyond, clients get an error, and try again later."""

    queue: str = "evalqueue"
    """The procrastinate queue jobs go to and workers listen on by default."""
    concurrency: int = Field(default=4, ge=1, le=1000)
    """Jobs a worker runs at the same time."""
    lease_seconds: float = Field(default=30.0, ge=2)
    """A job whose worker sends nothing for this long is recovered by the leader."""
    patience_seconds: float = Field(default=5.0, ge=0.1)
    """How long an interrupted handler may take to end, after each of three cancellations."""
    keep_jobs_days: float | None = Field(default=None, gt=0)
    """Jobs that are over are deleted after so many days; their runs stay. Unset: never."""
    keep_runs_days: float | None = Field(default=None, gt=0)
    """Runs that are over are deleted after so many days, with all their results. Unset: never."""
    keep_logs_days: float | None = Field(default=None, gt=0)
    """LLM calls of runs that are over are deleted after so many days. Unset: never."""
    keep_audit_days: float | None = Field(default=None, gt=0)
    """Rows of the audit log are deleted after so many days. Unset: never."""
    default_app: str = Field(default="kaira-bot", min_length=1, max_length=100)
    """The app_id of jobs that name no app and whose dataset has none."""
    imports: Annotated[tuple[str, ...], NoDecode] = ()
    """Modules with further job types and handlers, separated by commas."""

    log_format: LogFormat = LogFormat.TEXT
    """How the processes that evalqueue starts write their logs: `text`, or `json`, a line each."""
    log_level: LogLevel | None = None
    """The least level of what they log: `DEBUG`, `INFO`, `WARNING`, `ERROR`. Unset: each command's
    own."""

    @field_validator("log_format", "log_level", mode="before")
    @classmethod
    def _in_any_case(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        return value.lower() if info.field_name == "log_format" else value.upper()

    @field_validator("database_url", "listen_url")
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_address(value.get_secret_value())
        return value

    @field_validator("password_command", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        if self.password_command:
            if self.database_address is None:
                raise ValueError("EVALQUEUE_PASSWORD_COMMAND needs DATABASE_URL.")
            if conninfo_to_dict(self.database_address).get("password"):
                raise ValueError(
                    "DATABASE_URL has a password, and EVALQUEUE_PASSWORD_COMMAND is set. "
                    "Leave one out."
                )
        return self

    @field_validator("api_tokens", mode="before")
    @classmethod
    def _parse_tokens(cls, value: object) -> object:
        return tokens.parse(value) if isinstance(value, str) else value

    @field_validator("oidc_rights", mode="before")
    @classmethod
    def _parse_rights(cls, value: object) -> object:
        return tokens.parse_claim_rules(value) if isinstance(value, str) else value

    @field_validator("oidc_issuer", "public_url")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        is_web = url.scheme in ("http", "https") and url.hostname and value.isprintable()
        if not is_web or "@" in url.netloc or url.query or url.fragment:
            raise ValueError("Write an address such as https://evals.example.com")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _knows_the_provider(self) -> Self:
        needed = {
            "EVALQUEUE_OIDC_CLIENT_ID": self.oidc_client_id,
            "EVALQUEUE_OIDC_RIGHTS": self.oidc_rights,
            "EVALQUEUE_PUBLIC_URL": self.public_url,
        }
        missing = [name for name, value in needed.items() if not value]
        if self.oidc_issuer is not None and missing:
            raise ValueError(f"EVALQUEUE_OIDC_ISSUER needs {', '.join(missing)} as well.")
        for address in (self.oidc_issuer, self.public_url):
            url = urlsplit(address or "")
            if self.oidc_issuer and url.scheme != "https" and not is_loopback(url.hostname or ""):
                raise ValueError("Single sign-on needs https:// on both sides.")
        return self

    @field_validator("root_path")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        return checked_root_path(value)

    @field_validator("proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, each in enumerate(value, start=1):
            try:
                ip_network(each)
            except ValueError:  # its text repeats the entry
                raise ValueError(f"Entry {number} is neither an IP address nor a network") from None
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if value != NO_LIMIT and not _RATE.fullmatch(value):
            raise ValueError(f"Write 600/minute, 10/second or 5000/hour; or {NO_LIMIT}")
        return value

    @field_validator("cors_origins", "imports", "proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    def __init__(self, **values: object) -> None:
        super().__init__(**values)  # pyright: ignore[reportArgumentType]  pydantic checks them

    @property
    def database_address(self) -> str | None:
        return None if self.database_url is None else self.database_url.get_secret_value()

    @property
    def listen_address(self) -> str | None:
        return None if self.listen_url is None else self.listen_url.get_secret_value()

    @property
    def needs_sign_in(self) -> bool:
        """Whether the API has to know who calls."""
        return bool(self.api_tokens) or self.oidc_issuer is not None

    @property
    def rate(self) -> Rate | None:
        """`rate_limit` as a value; None: there is no limit."""
        if self.rate_limit == NO_LIMIT:
            return None
        amount, _, unit = self.rate_limit.replace(" ", "").partition("/")
        return Rate(amount=int(amount), seconds=_SECONDS[unit])

    @property
    def data_directory(self) -> Path:
        return self.data_dir or self.home / "data"


@cache
def read() -> Settings:
    """The settings of this process, read once."""
    return Settings()
