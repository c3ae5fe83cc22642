"""The worker daemon: `procrastinate --app=evalqueue.daemon.app worker`.

One of the two modules that import both layers: it combines settings, handlers and the App.
"""

import importlib
import logging
from functools import cache
from pathlib import Path

from evalqueue import settings
from evalqueue.environment import EnvironmentSettings, check
from evalqueue.errors import Refused
from evalqueue.evaluators.alerts.webhook import WebhookSettings
from evalqueue.evaluators.batch.economy.settings import EconomySettings
from evalqueue.evaluators.caps.limits import CapSettings
from evalqueue.evaluators.chatbots.targets import ChatbotSettings
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.pace.limits import PaceSettings
from evalqueue.evaluators.prices.price_list import PriceSettings
from evalqueue.evaluators.providers.registry import ProviderSettings, ProviderUnavailable, resolve
from evalqueue.evaluators.sources.settings import SourceSettings
from evalqueue.handlers import Handlers, registered
from evalqueue.jobtypes import JobParams
from evalqueue.postgres.embedded.server import Embedded
from evalqueue.settings import Settings
from evalqueue.worker.app import ProcrastinateApp

ALL_SETTINGS: tuple[type[EnvironmentSettings], ...] = (
    Settings, ProviderSettings, PaceSettings, PriceSettings, EconomySettings, SourceSettings,
    CapSettings, ChatbotSettings, WebhookSettings,
)  # fmt: skip

logger = logging.getLogger(__name__)


class ImportsMissing(Refused):
    """A module named in `EVALQUEUE_IMPORTS` is not there."""


@cache
def embedded(home: Path) -> Embedded:
    """The embedded Postgres of this process; it stops with the last process that uses it."""
    return Embedded(home)


def address(settings: Settings) -> str:
    """Where the database is: `DATABASE_URL`, or else the embedded one, started if need be."""
    return settings.database_address or embedded(settings.home).url


def all_handlers() -> Handlers:
    """Every handler of this process: ours, and those of the modules in `EVALQUEUE_IMPORTS`."""
    current = settings.read()
    handlers = evaluation_handlers(current, ProviderSettings())
    for module in current.imports:
        _import(module)
    handlers.include(registered)
    return handlers


def worker_handlers() -> Handlers:
    """The handlers of a worker that is about to start, which says what it won't be able to do.

    Raises:
        SettingsRefused: some can't be used.
    """
    check_settings()
    try:
        resolve(ProviderSettings(), None, "any")
    except ProviderUnavailable as error:
        logger.warning("Jobs that name no llm_provider will fail here. %s", error)
    return all_handlers()


def check_settings() -> None:
    """Read all settings of this process, and the files that they name.

    Raises:
        SettingsRefused: some can't be used.
    """
    check(ALL_SETTINGS)


def job_types() -> list[type[JobParams]]:
    """Every job type of this process."""
    return list(all_handlers().job_types.values())


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportsMissing(
            f"EVALQUEUE_IMPORTS: there is no module {module!r}. Is it installed, or on PYTHONPATH?"
        ) from error


app = ProcrastinateApp(
    address=lambda: address(settings.read()), handlers=worker_handlers, settings=settings.read()
)
"""What procrastinate's command line asks for."""
