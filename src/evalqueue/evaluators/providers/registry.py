"""The known providers, the choice of a provider for a job, and one instance of each per process.

An SDK is loaded when a provider is first needed, since that takes seconds. Keys come from the
worker's environment, never from a job.
"""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, cast

from pydantic import create_model

from evalqueue.evaluators.loading import load
from evalqueue.evaluators.providers.provider import Provider, ProviderType, VendorSettings
from evalqueue.evaluators.providers.vendors.azure_openai import AZURE_OPENAI
from evalqueue.evaluators.providers.vendors.gemini import GEMINI
from evalqueue.evaluators.providers.vendors.openai import OPENAI
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED

PROVIDERS: tuple[ProviderType[Any], ...] = (OPENAI, AZURE_OPENAI, GEMINI, SIMULATED)

_OBJECTS_BETWEEN_COLLECTIONS = 20_000
_BY_NAME: Mapping[str, ProviderType[Any]] = {kind.name: kind for kind in PROVIDERS}


class _Defaults(VendorSettings):
    """Which provider and model are meant where a job names none."""

    evalqueue_llm_provider: str | None = None
    evalqueue_llm_model: str | None = None


_BASES: tuple[type[Any], ...] = (*(kind.settings for kind in PROVIDERS), _Defaults)
_AllSettings = cast("type[_Defaults]", create_model("_AllSettings", __base__=_BASES))


class ProviderSettings(_AllSettings):
    """The defaults, and the settings of every provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A provider and a model."""

    provider: str
    model: str

    @property
    def name(self) -> str:
        """As evaluators name it: `provider/model`."""
        return f"{self.provider}/{self.model}"


def shown_model(provider: str | None, model: str | None) -> str:
    """The model of a run, for people: `provider/model`, or `none` if none was asked."""
    return "none" if model is None else f"{provider}/{model}"


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
    kind = _chosen(settings, provider)
    missing = kind.missing_variable(settings)
    if missing:
        raise ProviderUnavailable("llm_provider", _needs(kind.name, missing))
    chosen = model or _default_model(settings, kind)
    if not chosen:
        raise ProviderUnavailable(
            "llm_model",
            f"No model is named for the provider {kind.name}: "
            "set llm_model or EVALQUEUE_LLM_MODEL.",
        )
    return ModelChoice(provider=kind.name, model=chosen)


def resolve_named(settings: ProviderSettings, name: str) -> ModelChoice:
    """The choice that `provider/model` means. No vendor is called yet.

    Raises:
        ProviderUnavailable: the provider is unknown, or its key is missing.
    """
    provider, _, model = name.partition("/")
    return resolve(settings, provider, model)


def price_address(settings: ProviderSettings, provider: str) -> str | None:
    """The address by which public prices know a provider. None: they don't."""
    return _BY_NAME[provider].price_address(settings)


def without_batches(settings: ProviderSettings, provider: str) -> str | None:
    """Why a provider has no batches. None: it has, or only a call will tell."""
    return _BY_NAME[provider].without_batches(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReadiness:
    """Whether a process can use a provider with its settings. It never contains a key."""

    name: str
    model: str | None
    """The model of jobs that name none. None: they must name one, or the provider is not ready."""
    reason: str | None
    """Why it can't be used. None: it can be used."""
    without_batches: str | None
    """Why it has no batches. None: it has, or only a call will tell."""

    @property
    def ready(self) -> bool:
        return self.reason is None


def readiness(settings: ProviderSettings) -> list[ProviderReadiness]:
    """The readiness of every provider. No vendor is called."""
    return [_readiness(settings, kind) for kind in PROVIDERS]


class ProviderRegistry:
    """The long-lived providers of one process, one per choice. Settings never change."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._prepared: dict[str, VendorSettings] = {}
        self._providers: dict[ModelChoice, Provider] = {}
        self._opening = asyncio.Lock()
        self._closing = AsyncExitStack()

    async def provider(self, choice: ModelChoice) -> Provider:
        """The provider of a choice. It is always the same object."""
        async with self._opening:
            provider = self._providers.get(choice)
            if provider is None:
                provider = await self._open(_BY_NAME[choice.provider], choice.model)
                self._providers[choice] = provider
                self._closing.push_async_callback(provider.aclose)
            return provider

    async def aclose(self) -> None:
        """Close every provider and, last, what was started for them."""
        self._providers.clear()
        self._prepared.clear()
        await self._closing.aclose()

    async def _open(self, kind: ProviderType[Any], model: str) -> Provider:
        if kind.prepare and kind.name not in self._prepared:
            self._prepared[kind.name] = await kind.prepare(self._settings, self._closing)
        # In a thread: loading an SDK takes seconds and would block the event loop.
        await asyncio.to_thread(_load, kind.module)
        return await kind.open(self._prepared.get(kind.name, self._settings), model)


def _load(module: str) -> None:
    """Import a provider's module, with its SDK.

    An SDK's classes exist as long as the process. Freezing them excludes them from every full
    garbage collection, which would otherwise block the event loop for 0.1 s or more.

    A call that is waited for has hundreds of objects, and none of them is garbage. Python's own
    threshold is about one call: it would look at the objects of all calls again and again.
    """
    load(module)
    gc.collect()
    gc.freeze()
    youngest, *others = gc.get_threshold()
    if youngest:  # else collection is switched off
        gc.set_threshold(max(youngest, _OBJECTS_BETWEEN_COLLECTIONS), *others)


def _chosen(settings: ProviderSettings, asked: str | None) -> ProviderType[Any]:
    name = asked or settings.evalqueue_llm_provider
    if name:
        if name not in _BY_NAME:
            known = ", ".join(_BY_NAME)
            raise ProviderUnavailable(
                "llm_provider", f"There is no provider {name!r}; the names are: {known}."
            )
        return _BY_NAME[name]
    usable = [kind for kind in PROVIDERS if kind.has_key(settings)]
    if len(usable) > 1:
        raise ProviderUnavailable(
            "llm_provider",
            f"There are keys for {' and '.join(kind.name for kind in usable)}: "
            "set llm_provider or EVALQUEUE_LLM_PROVIDER to the one that is meant.",
        )
    if not usable:
        keys = ", ".join(kind.shown_keys for kind in PROVIDERS if kind.keys)
        keyless = " or ".join(kind.name for kind in PROVIDERS if not kind.keys)
        raise ProviderUnavailable(
            "llm_provider",
            f"There is no key for any provider: set {keys}, "
            f"or choose {keyless}, which needs none, as llm_provider or EVALQUEUE_LLM_PROVIDER.",
        )
    return usable[0]


def _needs(name: str, missing: str) -> str:
    return f"The provider {name} needs {missing} to be set."


def _readiness(settings: ProviderSettings, kind: ProviderType[Any]) -> ProviderReadiness:
    missing = kind.missing_variable(settings)
    return ProviderReadiness(
        name=kind.name,
        model=None if missing else _default_model(settings, kind),
        reason=_needs(kind.name, missing) if missing else None,
        without_batches=kind.without_batches(settings),
    )


def _default_model(settings: ProviderSettings, kind: ProviderType[Any]) -> str | None:
    # A default model belongs to the default provider: a Gemini model is never sent to OpenAI.
    if settings.evalqueue_llm_provider in (None, kind.name) and settings.evalqueue_llm_model:
        return settings.evalqueue_llm_model
    return kind.default_model(settings)
