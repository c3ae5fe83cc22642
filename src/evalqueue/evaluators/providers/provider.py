"""The interface of a provider: its requests and completions, and how a vendor declares it.

A provider makes exactly one attempt per call. `policy` waits, retries and limits concurrency for
all of them. A failure is raised as a classified `errors.ProviderError`.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Generic, Protocol, Self, TypeVar

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from evalqueue.environment import EnvironmentSettings


class AnswerSchema(dict[str, Any]):
    """A JSON schema that many requests have. It is not changed."""

    @cached_property
    def text(self) -> str:
        """Its JSON."""
        return json.dumps(self)


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """One question to an LLM."""

    system: str
    prompt: str
    schema_name: str
    """The schema's name for the vendor: at most 64 letters, digits, `_` and `-`."""
    schema: Mapping[str, Any]
    """JSON Schema of the answer, in the subset that every vendor's strict mode accepts."""
    temperature: float | None = 0.1
    max_output_tokens: int = 4096
    model_settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further parameters in the vendor's own spelling, passed on as they are."""
    asked_of: str | None = None
    """The model that is asked, as `provider/model`. None: the job's."""
    vote: int = 1
    """Which of several independent answers to the same question this is. It is not sent to the
    vendor. It is part of what identifies a call, so that one answer does not count as two votes."""

    @cached_property
    def digest(self) -> str:
        """A digest of all of it but the model: 64 hexadecimal digits."""
        schema = self.schema.text if isinstance(self.schema, AnswerSchema) else _text(self.schema)
        # The texts are long, so they follow as they are: their lengths tell them apart.
        asked = {
            "system": len(self.system),
            "prompt": len(self.prompt),
            "schema_name": self.schema_name,
        }
        parameters = {
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "model_settings": self.model_settings,
            "vote": self.vote,
        }
        # Unsorted: an answer is written in the order of its schema, so the order decides, too.
        everything = f'{_text(asked)[:-1]}, "schema": {schema}, {_text(parameters)[1:]}'
        found = sha256(everything.encode())
        for text in (self.system, self.prompt):
            found.update(text.encode("utf-8", "surrogatepass"))
        return found.hexdigest()


_text = json.JSONEncoder().encode


def schema_in_prompt(request: CompletionRequest) -> str:
    """The system text for an endpoint that takes no JSON schema."""
    return (
        f"{request.system}\n\nAnswer with one JSON object and nothing else. It follows this JSON "
        f"schema.\nSchema name: {request.schema_name}\n{json.dumps(dict(request.schema))}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. None: the vendor did not report them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    """All tokens billed as output: the answer and the reasoning before it."""
    cached_tokens: int | None = None
    """The part of `input_tokens` that the vendor had in its cache."""
    reasoning_tokens: int | None = None
    """The part of `output_tokens` that is not in the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorLimits:
    """What a vendor says it allows. None: it does not say."""

    requests_per_second: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmCredential:
    """What a vendor's limits belong to: an endpoint, a model and a key. It contains no secret."""

    key: str
    """64 hexadecimal digits."""
    label: str
    """For people: `openai/gpt-4o`."""
    endpoint: str = field(default="", repr=False)
    """The address that is called."""

    @classmethod
    def of(cls, provider: str, model: str, *, endpoint: str = "", secret: str = "") -> Self:
        hashed = sha256(secret.encode("utf-8", "replace")).hexdigest()
        parts = "\n".join((provider, endpoint.rstrip("/"), model, hashed))
        key = sha256(parts.encode("utf-8", "replace")).hexdigest()
        return cls(key=key, label=f"{provider}/{model}"[:300], endpoint=endpoint.rstrip("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer, with its own usage."""

    text: str
    model: str
    """The model's name in the vendor's answer."""
    usage: Usage = field(default_factory=Usage)
    latency_ms: float
    request_id: str | None = None
    limits: VendorLimits | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What was really sent besides the messages, in the vendor's spelling."""
    is_of_other_job: bool = False
    """Whether it is taken from the record of an earlier job."""


class Provider(Protocol):
    """One model of an LLM vendor, with one credential."""

    @property
    def name(self) -> str:
        """Of its `ProviderType`."""
        ...

    @property
    def model(self) -> str: ...

    async def complete(self, request: CompletionRequest, *, timeout: float) -> Completion:
        """Make one attempt, of at most `timeout` seconds.

        Raises:
            ProviderError: the attempt failed; `outcome` says how.
        """
        ...

    async def aclose(self) -> None: ...


class VendorSettings(EnvironmentSettings):
    """Keys, addresses and defaults. Each comes from the environment variable with its name."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")


VendorSettingsT = TypeVar("VendorSettingsT", bound=VendorSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderType(Generic[VendorSettingsT]):
    """How a provider is chosen, configured and opened. Declaring one loads no SDK."""

    name: str
    settings: type[VendorSettingsT]
    """Its environment variables. Their names differ from those of every other provider."""
    keys: tuple[str, ...]
    """Names in `settings`, of which each is a credential by itself. Empty: it needs none, and is
    used only where it is named."""
    missing: Callable[[VendorSettingsT], str | None] = lambda _: None
    """A variable to set, where the keys do not say it."""
    default_model: Callable[[VendorSettingsT], str | None] = lambda _: None
    demo_model: str | None = None
    """Small, cheap, good enough for a demo."""
    without_batches: Callable[[VendorSettingsT], str | None] = lambda _: None
    """Why it has no batches with these settings. None: it may have them."""
    price_address: Callable[[VendorSettingsT], str | None] = lambda _: None
    """The address by which public prices know the vendor. None: there are none."""
    module: str
    """The module to load in a thread before `open`, since an SDK takes seconds."""
    prepare: Callable[[VendorSettingsT, AsyncExitStack], Awaitable[VendorSettingsT]] | None = None
    """Starts what its providers share in a process. Returns the settings to open them with."""
    open: Callable[[VendorSettingsT, str], Awaitable[Provider]]
    """Open a provider of a model."""

    def has_key(self, settings: VendorSettingsT) -> bool:
        return any(getattr(settings, key.lower()) for key in self.keys)

    def missing_variable(self, settings: VendorSettingsT) -> str | None:
        """What has to be set before it can be used."""
        missing = self.missing(settings)
        if missing is None and self.keys and not self.has_key(settings):
            return self.shown_keys
        return missing

    @property
    def shown_keys(self) -> str:
        first, *others = self.keys
        return f"{first} (or {' or '.join(others)})" if others else first


def plain(secret: SecretStr | None) -> str:
    """The secret itself; empty if there is none."""
    return secret.get_secret_value() if secret else ""


def credential_of(provider: Provider) -> LlmCredential:
    """The credential of a provider; without one (`credential`), its name and its model."""
    # No protocol that is checked at run time: that takes longer than all else here, at every call.
    found = getattr(provider, "credential", None)
    if isinstance(found, LlmCredential):
        return found
    return LlmCredential.of(provider.name, provider.model)
