"""The chatbots and credentials that are allowed. The operator decides, never a job.

An address is parsed, checked and built anew here, so that every later parser finds the same host. A
name is resolved only when a connection is made, so a target has a `Reach`, which then checks every
resolved address.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Any, ClassVar, cast

from pydantic import ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from evalqueue.environment import EnvironmentSettings, is_given
from evalqueue.evaluators.chatbots.addresses import (
    PORTS,
    Address,
    Network,
    TargetRefused,
    covers,
    host_and_port,
    is_public,
    split,
    unwrapped,
)
from evalqueue.evaluators.chatbots.scripted import Cue
from evalqueue.tokens import SINGLE_SIGN_ON, VARIABLE

LOCALHOST = "localhost"
TIMEOUT_SECONDS = 60.0
REPLY_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedHost:
    """One entry of the list of hosts: a name or a network."""

    name: str | None = None
    network: Network | None = None
    port: int | None = None
    """None: every port."""

    def admits(self, host: str | Address, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if isinstance(host, str):
            return host == self.name
        if self.network is not None:
            return covers(self.network, host)
        return self.name == LOCALHOST and host.is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user account of a bot. A bot has one conversation per user at a time."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    """The name that jobs use for it."""
    user_id: Annotated[str, Field(min_length=1, max_length=200)]
    token: SecretStr
    host: str
    """`kaira.example.com` or `kaira.example.com:8443`. The token is sent to no other host."""

    def fits(self, target: "Target") -> bool:
        """Whether this target is the host that the token belongs to."""
        host, port = host_and_port(self.host)
        is_local = host == LOCALHOST and target.reach.is_loopback
        return (is_local or str(host) == target.host) and port in (None, target.port)


def _has_callers() -> bool:
    """Whether others than this machine's user submit jobs: those who have to sign in."""
    return is_given(VARIABLE) or is_given(SINGLE_SIGN_ON)


def default_hosts() -> tuple[AllowedHost, ...]:
    """This machine, where nobody else submits jobs."""
    # A caller elsewhere must not reach what listens on the worker's loopback.
    return () if _has_callers() else (AllowedHost(name=LOCALHOST),)


class HostSettings(EnvironmentSettings):
    """Hosts that may be spoken to."""

    variable: ClassVar[str]
    """What names them in the environment."""

    hosts: Annotated[tuple[AllowedHost, ...], NoDecode] = Field(default_factory=default_hosts)

    def __init__(self, **values: object) -> None:
        super().__init__(**values)  # pyright: ignore[reportArgumentType]  pydantic checks them

    @field_validator("hosts", mode="before")
    @classmethod
    def _read_hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        texts = [text.strip() for text in value.split(",")]
        return tuple(
            _allowed_host(number, text) for number, text in enumerate(texts, start=1) if text
        )


class ChatbotSettings(HostSettings):
    """The allowed hosts of chatbots, and the credentials for them."""

    variable: ClassVar[str] = "EVALQUEUE_CHATBOT_HOSTS"

    model_config = SettingsConfigDict(
        frozen=True,
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    hosts: Annotated[tuple[AllowedHost, ...], NoDecode] = Field(
        default_factory=default_hosts, validation_alias="EVALQUEUE_CHATBOT_HOSTS"
    )
    """Names, addresses and networks, separated by commas. Names and addresses may have a port.
    `localhost` means loopback. No other hosts are allowed."""
    credentials: Annotated[tuple[Credential, ...], NoDecode] = Field(
        default=(), validation_alias="EVALQUEUE_CHATBOT_CREDENTIALS"
    )
    """JSON: `{"name": {"user_id": "…", "token": "…", "host": "kaira.example.com"}}`."""
    url: SecretStr | None = Field(default=None, validation_alias="EVALQUEUE_CHATBOT_URL")
    """The address of the bot for jobs without one. Secret until it is checked: it may contain a
    password."""

    @field_validator("credentials", mode="before")
    @classmethod
    def _read_credentials(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise ValueError("This is not JSON") from None  # its error carries all of it
        if not isinstance(value, dict):
            return value
        named = cast("dict[str, object]", value)
        for name, fields in named.items():
            if not isinstance(fields, dict) or "name" in fields:
                raise ValueError(
                    f"Credential {name!r}: needs user_id, token and host, and nothing else"
                )
        return tuple({"name": name, **cast("Any", fields)} for name, fields in named.items())

    @field_validator("credentials")
    @classmethod
    def _check_credentials(cls, value: tuple[Credential, ...]) -> tuple[Credential, ...]:
        for credential in value:
            token = credential.token.get_secret_value()
            if not (token.isascii() and token.isprintable()) or token != token.strip() or not token:
                raise ValueError(
                    f"Credential {credential.name!r}: token must be printable ASCII, without "
                    "spaces around it"
                )
            try:
                host_and_port(credential.host)
            except TargetRefused as refused:
                raise ValueError(f"Credential {credential.name!r}: host: {refused}") from None
        return value


@cache
def read() -> ChatbotSettings:
    """The settings of this process, read once."""
    return ChatbotSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The addresses that a target's host may lead to."""

    is_public: bool = False
    """Addresses of the internet."""
    is_loopback: bool = False
    networks: tuple[Network, ...] = ()
    variable: str = ChatbotSettings.variable
    """Where the operator lists what is allowed."""

    def refusal(self, address: str, *, is_secret_in_clear: bool = False) -> str | None:
        """Why no connection to an address is allowed. None: it is allowed.

        Args:
            is_secret_in_clear: whether a token would be sent without TLS.
        """
        found = unwrapped(ip_address(address))
        if self.is_loopback and found.is_loopback:
            return None
        if any(covers(network, found) for network in self.networks):
            return None
        if not self.is_public or not is_public(found):
            return (
                f"{found} is not a public address: if it is meant, add it, or its network, to "
                f"{self.variable} where the API and the workers run"
            )
        if is_secret_in_clear:
            return f"{found} is a public address, where tokens are sent over https only"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One allowed bot. Made by `check` or `scripted`."""

    protocol: str
    url: str
    """Without a slash at its end."""
    host: str
    port: int
    reach: Reach
    model: str | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    """The longest time without any data."""
    reply_seconds: float = REPLY_SECONDS
    """The longest time for one whole answer."""
    script: tuple[Cue, ...] = ()

    @property
    def origin(self) -> str:
        """The address without its path."""
        return "/".join(self.url.split("/", 3)[:3])

    @property
    def is_encrypted(self) -> bool:
        return self.url.startswith("https:")


def check(
    url: str,
    settings: HostSettings,
    *,
    protocol: str,
    model: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    reply_seconds: float = REPLY_SECONDS,
) -> Target:
    """The target with an address. No name is resolved and no connection is made yet.

    Raises:
        TargetRefused: the address is invalid, or its host is not in the operator's list.
    """
    scheme, authority, path = split(url)
    host, given = host_and_port(authority)
    port = given or PORTS[scheme]
    shown = f"[{host}]" if isinstance(host, IPv6Address) else str(host)
    return Target(
        protocol=protocol,
        url=f"{scheme}://{shown}{'' if port == PORTS[scheme] else f':{port}'}{path}",
        host=str(host),
        port=port,
        reach=_reach(host, port, settings),
        model=model,
        timeout_seconds=timeout_seconds,
        reply_seconds=reply_seconds,
    )


def scripted(cues: Sequence[Cue]) -> Target:
    """A target without an endpoint, which answers from a script."""
    return Target(
        protocol="scripted",
        url="scripted:",
        host="",
        port=0,
        reach=Reach(),
        script=tuple(cues),
    )


def credentials(
    names: Iterable[str], target: Target, settings: ChatbotSettings
) -> tuple[Credential, ...]:
    """The credentials with these names, in their order, each user of the bot once.

    Raises:
        TargetRefused: one does not exist, or belongs to another host.
    """
    known = {credential.name: credential for credential in settings.credentials}
    by_user: dict[str, Credential] = {}
    for name in names:
        credential = known.get(name)
        if credential is None:
            there = ", ".join(known) or "none"
            raise TargetRefused(
                f"There is no credential {name!r} (there are: {there}): add it to "
                "EVALQUEUE_CHATBOT_CREDENTIALS where the API and the workers run."
            )
        if not credential.fits(target):
            raise TargetRefused(
                f"Credential {name!r} belongs to {credential.host}, not to "
                f"{target.host}:{target.port}: its token is sent nowhere else."
            )
        by_user.setdefault(credential.user_id.casefold(), credential)
    return tuple(by_user.values())


_WIDEST_PREFIX = 8  # bits: the widest private networks, 10.0.0.0/8 and fd00::/8


def _allowed_host(number: int, text: str) -> AllowedHost:
    # Name an entry by its position: people paste whole addresses, including their secrets.
    try:
        if "/" in text:
            network = ip_network(text)
            if network.prefixlen < _WIDEST_PREFIX:
                raise ValueError(f"no network wider than /{_WIDEST_PREFIX}: list those meant")
            return AllowedHost(network=network)
        if "*" in text:
            raise ValueError("no wildcards: list every host")
        host, port = host_and_port(text)
        if host == LOCALHOST and port is None and _has_callers():
            raise TargetRefused("Where callers sign in, localhost needs a port, as localhost:8723.")
    except TargetRefused as refused:
        raise ValueError(f"Entry {number}: {refused}") from None
    except ValueError:
        raise ValueError(
            f"Entry {number} is neither a host, with a port or without, nor a network like "
            f"10.0.0.0/8 (none wider than /{_WIDEST_PREFIX}); there are no wildcards"
        ) from None
    if isinstance(host, str):
        return AllowedHost(name=host, port=port)
    return AllowedHost(network=ip_network(host), port=port)


def _reach(host: str | Address, port: int, settings: HostSettings) -> Reach:
    listed = settings.hosts
    admitting = [entry for entry in listed if entry.admits(host, port)]
    if not admitting:
        raise TargetRefused(
            f"The host {host} with port {port} is not one that may be spoken to: add it to "
            f"{settings.variable} where the API and the workers run."
        )
    is_loopback = any(entry.name == LOCALHOST for entry in admitting)
    networks = tuple(
        entry.network
        for entry in listed
        if entry.network is not None and entry.port in (None, port)
    )
    if is_loopback:
        return Reach(is_loopback=True, variable=settings.variable)
    return Reach(is_public=isinstance(host, str), networks=networks, variable=settings.variable)
