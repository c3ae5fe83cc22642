"""The paces of one process: one for each credential."""

from functools import partial
from uuid import uuid4

from evalqueue.evaluators.metrics import EvaluationMetrics
from evalqueue.evaluators.pace.ledger import PostgresLedger
from evalqueue.evaluators.pace.limits import PaceSettings
from evalqueue.evaluators.pace.pace import Pace
from evalqueue.evaluators.providers.provider import Provider, credential_of
from evalqueue.postgres.database import TRANSIENT, Database


class Paces:
    """The paces of one process. Settings never change."""

    def __init__(self, settings: PaceSettings, metrics: EvaluationMetrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self._worker = uuid4().hex
        self._paces: dict[str, Pace] = {}

    def of(self, provider: Provider, database: Database) -> Pace:
        """The pace of a provider's credential. It is always the same object."""
        credential = credential_of(provider)
        pace = self._paces.get(credential.key)
        if pace is None:
            pace = self._paces[credential.key] = Pace(
                credential,
                PostgresLedger(database, credential),
                worker=self._worker,
                limits=self.settings.limits_of(credential),
                away=TRANSIENT,
                on_turn=partial(self._metrics.waited, provider.name, provider.model),
            )
        return pace

    async def aclose(self) -> None:
        for pace in self._paces.values():
            await pace.aclose()
        self._paces.clear()
