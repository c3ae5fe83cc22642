"""The known providers, the choice of a provider for a job, and one instance of each per process.

This is the only module that imports the providers with their SDKs. It does so when a provider is
first needed, since loading takes seconds. Keys come from the worker's environment, never from a
job.
"""

import asyncio
import gc
import importlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from evalqueue.evaluators.providers.provider import Provider

if TYPE_CHECKING:
    from evalqueue.evaluators.simulated.vendor.server import Behaviour


class ProviderName(StrEnum):
    """The known providers."""

    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"
    GEMINI = "gemini"
    SIMULATED = "simulated"


class ProviderSettings(BaseSettings):
    """Keys, addresses and defaults. Each comes from the environment variable with its name."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    azure_openai_api_key: SecretStr | None = None
    azure_openai_endpoint: str | None = None
    openai_api_version: str = "2025-03-01-preview"
    azure_openai_deployment: str | None = None
    gemini_api_key: SecretStr | None = None
    google_api_key: SecretStr | None = None
    google_gemini_base_url: str | None = None
    google_application_credentials: str | None = None
    google_cloud_project: str | None = None
    google_cloud_location: str = "global"
    evalqueue_llm_provider: str | None = None
    evalqueue_llm_model: str | None = None
    evalqueue_simulated_url: str | None = None

    @property
    def gemini_key(self) -> SecretStr | None:
        """Google's SDK has two names for the key."""
        return self.gemini_api_key or self.google_api_key


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A provider and a model."""

    provider: ProviderName
    model: str


class ProviderUnavailable(Exception):
    """The requested provider is not available. The message says what to set."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        """The invalid parameter: `llm_provider` or `llm_model`."""
        self.message = message


def resolve(settings: ProviderSettings, provider: str | None, model: str | None) -> ModelChoice:
    """Choose a provider and a model. No vendor is called yet.

    Raises:
        ProviderUnavailable: the provider is unknown or ambiguous, or its key or model is missing.
    """
    name = _provider(settings, provider)
    missing = _missing_variable(settings, name)
    if missing:
        raise ProviderUnavailable("llm_provider", _needs(name, missing))
    chosen = model or _default_model(settings, name)
    if not chosen:
        raise ProviderUnavailable(
            "llm_model",
            f"No model is named for the provider {name}: set llm_model or EVALQUEUE_LLM_MODEL.",
        )
    return ModelChoice(provider=name, model=chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReadiness:
    """Whether a process can use a provider with its settings. It never contains a key."""

    name: ProviderName
    model: str | None
    """The model of jobs that name none. None: they must name one, or the provider is not ready."""
    reason: str | None
    """Why it can't be used. None: it can be used."""

    @property
    def ready(self) -> bool:
        return self.reason is None


def readiness(settings: ProviderSettings) -> list[ProviderReadiness]:
    """The readiness of every provider. No vendor is called."""
    return [_readiness(settings, name) for name in ProviderName]


class ProviderRegistry:
    """The long-lived providers of one process, one per choice. Settings never change."""

    def __init__(self, settings: ProviderSettings, *, simulated: "Behaviour | None" = None) -> None:
        """`simulated` is the behaviour of the simulated provider, if it is started here."""
        self._settings = settings
        self._behaviour = simulated
        self._providers: dict[ModelChoice, Provider] = {}
        self._simulated_url = settings.evalqueue_simulated_url
        self._opening = asyncio.Lock()
        self._closing = AsyncExitStack()

    async def provider(self, choice: ModelChoice) -> Provider:
        """The provider of a choice. It is always the same object."""
        async with self._opening:
            provider = self._providers.get(choice)
            if provider is None:
                if choice.provider is ProviderName.SIMULATED:
                    await self._start_simulated()
                # In a thread: loading an SDK takes seconds and would block the event loop.
                await asyncio.to_thread(_load, _MODULES[choice.provider])
                provider = await self._open(choice)
                self._providers[choice] = provider
                self._closing.push_async_callback(provider.aclose)
            return provider

    async def aclose(self) -> None:
        """Close every provider and, last, the simulated server."""
        self._providers.clear()
        await self._closing.aclose()
        self._simulated_url = self._settings.evalqueue_simulated_url

    async def _start_simulated(self) -> None:
        if self._simulated_url is None:
            from evalqueue.evaluators.simulated.vendor.server import SimulatedServer

            server = await self._closing.enter_async_context(SimulatedServer(self._behaviour))
            self._simulated_url = server.url

    async def _open(self, choice: ModelChoice) -> Provider:
        settings, model = self._settings, choice.model
        match choice.provider:
            case ProviderName.OPENAI:
                from evalqueue.evaluators.providers.openai import OpenAIProvider

                return OpenAIProvider.open(
                    model=model,
                    api_key=_plain(settings.openai_api_key),
                    base_url=settings.openai_base_url,
                )
            case ProviderName.AZURE_OPENAI:
                from evalqueue.evaluators.providers.openai import OpenAIProvider

                return OpenAIProvider.open_azure(
                    deployment=model,
                    api_key=_plain(settings.azure_openai_api_key),
                    endpoint=settings.azure_openai_endpoint or "",
                    api_version=settings.openai_api_version,
                )
            case ProviderName.GEMINI:
                return await _open_gemini(settings, model)
            case ProviderName.SIMULATED:
                from evalqueue.evaluators.providers.openai import OpenAIProvider

                return OpenAIProvider.open(
                    model=model,
                    api_key="no-key-needed",
                    base_url=f"{(self._simulated_url or '').rstrip('/')}/v1",
                    name=ProviderName.SIMULATED.value,
                )


def _load(module: str) -> None:
    """Import a provider's module, with its SDK.

    An SDK's classes exist as long as the process. Freezing them excludes them from every full
    garbage collection, which would otherwise block the event loop for 0.1 s or more.
    """
    importlib.import_module(module)
    gc.collect()
    gc.freeze()


async def _open_gemini(settings: ProviderSettings, model: str) -> Provider:
    from evalqueue.evaluators.providers.gemini import GeminiProvider

    if (
        settings.google_application_credentials
    ):  # meant for machines: takes precedence over a person's key
        return await GeminiProvider.open_vertex(
            model=model,
            project=settings.google_cloud_project,
            location=settings.google_cloud_location,
        )
    return await GeminiProvider.open(
        model=model,
        api_key=_plain(settings.gemini_key),
        base_url=settings.google_gemini_base_url,
    )


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


_MODULES = {
    ProviderName.OPENAI: "evalqueue.evaluators.providers.openai",
    ProviderName.AZURE_OPENAI: "evalqueue.evaluators.providers.openai",
    ProviderName.GEMINI: "evalqueue.evaluators.providers.gemini",
    ProviderName.SIMULATED: "evalqueue.evaluators.providers.openai",
}
_KEYS = {
    ProviderName.OPENAI: "OPENAI_API_KEY",
    ProviderName.AZURE_OPENAI: "AZURE_OPENAI_API_KEY",
    ProviderName.GEMINI: "GEMINI_API_KEY (or GOOGLE_APPLICATION_CREDENTIALS)",
}


def _provider(settings: ProviderSettings, asked: str | None) -> ProviderName:
    name = asked or settings.evalqueue_llm_provider
    if name:
        if name not in set(ProviderName):
            known = ", ".join(ProviderName)
            raise ProviderUnavailable(
                "llm_provider", f"There is no provider {name!r}; the names are: {known}."
            )
        return ProviderName(name)
    usable = [name for name in _KEYS if _has_key(settings, name)]
    if len(usable) > 1:
        raise ProviderUnavailable(
            "llm_provider",
            f"There are keys for {' and '.join(usable)}: "
            "set llm_provider or EVALQUEUE_LLM_PROVIDER to the one that is meant.",
        )
    if not usable:
        raise ProviderUnavailable(
            "llm_provider",
            f"There is no key for any provider: set {', '.join(_KEYS.values())}, "
            "or choose simulated, which needs none, as llm_provider or EVALQUEUE_LLM_PROVIDER.",
        )
    return usable[0]


def _has_key(settings: ProviderSettings, name: ProviderName) -> bool:
    match name:
        case ProviderName.OPENAI:
            return settings.openai_api_key is not None
        case ProviderName.AZURE_OPENAI:
            return settings.azure_openai_api_key is not None
        case ProviderName.GEMINI:
            return bool(settings.gemini_key or settings.google_application_credentials)
        case ProviderName.SIMULATED:
            return True


def _missing_variable(settings: ProviderSettings, name: ProviderName) -> str | None:
    if not _has_key(settings, name):
        if name is ProviderName.OPENAI and settings.openai_base_url:
            return "OPENAI_API_KEY (any text, for a server that wants none)"
        return _KEYS[name]
    if name is ProviderName.AZURE_OPENAI and not settings.azure_openai_endpoint:
        return "AZURE_OPENAI_ENDPOINT"
    return None


def _needs(name: ProviderName, missing: str) -> str:
    return f"The provider {name} needs {missing} to be set."


def _readiness(settings: ProviderSettings, name: ProviderName) -> ProviderReadiness:
    missing = _missing_variable(settings, name)
    if missing:
        return ProviderReadiness(name=name, model=None, reason=_needs(name, missing))
    return ProviderReadiness(name=name, model=_default_model(settings, name), reason=None)


def _default_model(settings: ProviderSettings, name: ProviderName) -> str | None:
    # A default model belongs to the default provider: a Gemini model is never sent to OpenAI.
    if settings.evalqueue_llm_provider in (None, name) and settings.evalqueue_llm_model:
        return settings.evalqueue_llm_model
    match name:
        case ProviderName.AZURE_OPENAI:
            return settings.azure_openai_deployment
        case ProviderName.SIMULATED:
            return "simulated-judge"
        case _:
            return None
