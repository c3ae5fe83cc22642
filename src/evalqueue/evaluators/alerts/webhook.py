"""Where alerts are sent, and how: the Standard Webhooks scheme
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Self

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from evalqueue.evaluators.chatbots.targets import (
    AllowedHost,
    HostSettings,
    Target,
    TargetRefused,
    check,
    default_hosts,
)

SECRET_PREFIX = "whsec_"  # noqa: S105  of a secret, and none itself
QUIET_SECONDS = 10.0
ANSWER_SECONDS = 20.0
_SECRET_BYTES = range(24, 65)
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$'()*+,;:@/?=&-]|%[0-9A-Fa-f]{2})*")


class WebhookSettings(HostSettings):
    """The hosts that alerts may be sent to, and the secret that signs them."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, extra="ignore", populate_by_name=True
    )
    variable: ClassVar[str] = "EVALQUEUE_WEBHOOK_HOSTS"

    hosts: Annotated[tuple[AllowedHost, ...], NoDecode] = Field(
        default_factory=default_hosts, validation_alias="EVALQUEUE_WEBHOOK_HOSTS"
    )
    """Names, addresses and networks, as EVALQUEUE_CHATBOT_HOSTS has them."""
    secret: SecretStr | None = Field(default=None, validation_alias="EVALQUEUE_WEBHOOK_SECRET")
    """`whsec_` and 24 to 64 random bytes in base64."""

    @field_validator("secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(_decoded(value)) not in _SECRET_BYTES:
            raise ValueError(f"Write {SECRET_PREFIX} and 24 to 64 random bytes in base64")
        return value

    @classmethod
    def read(cls) -> Self:
        return cls()

    @property
    def key(self) -> bytes | None:
        """What signs. None: it is not set."""
        return None if self.secret is None else _decoded(self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """An allowed receiver."""

    target: Target
    suffix: str
    """What follows the target's address: a slash at the end of its path, and a query."""


def target(url: str, settings: WebhookSettings | None = None) -> WebhookTarget:
    """The receiver with an address. No name is resolved and no connection is made.

    Raises:
        TargetRefused: the address is invalid, or its host is not in the operator's list. The
            message does not repeat it.
    """
    address, mark, query = url.partition("?")
    if _QUERY.fullmatch(query) is None:
        raise TargetRefused("The query of the address must be written with % for other characters.")
    found = check(
        address,
        settings or WebhookSettings.read(),
        protocol="standard_webhooks",
        timeout_seconds=QUIET_SECONDS,
        reply_seconds=ANSWER_SECONDS,
    )
    slash = "/" if address.endswith("/") else ""
    return WebhookTarget(target=found, suffix=f"{slash}{mark}{query}")


def origin(url: str) -> str:
    """An address without its path and query."""
    return "/".join(url.partition("?")[0].split("/", 3)[:3])


def headers(key: bytes, *, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a message. Its id is the same whenever it is sent again."""
    timestamp = str(int(at.timestamp()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def _decoded(secret: SecretStr) -> bytes:
    """The bytes of a secret; none if it is no base64."""
    text = secret.get_secret_value()
    if not text.startswith(SECRET_PREFIX):
        return b""
    try:
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""
