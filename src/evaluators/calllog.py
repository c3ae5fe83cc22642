"""LLM call records on their way into `api_logs`: in batches, off the hot path.

`record` only appends to a list. What it holds is written once a second, before each thread's result
is kept (so that a checkpoint never stands without the calls that led to it), and at the end. It is
never fenced: what was paid for is on record even if the attempt is over by then.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from evalqueue import codec
from evalqueue.database import TRANSIENT, Database
from evalqueue.evaluators.llm.recorder import CallRecord
from evalqueue.evaluators.store import ERROR_LIMIT, QUERIES

WRITE_INTERVAL = 1.0  # seconds
CLOSING_PATIENCE = 30.0  # seconds to go on trying once the run is over
HELD_LIMIT = 10_000  # records kept while Postgres is away; beyond that the oldest are dropped

logger = logging.getLogger(__name__)


class CallLog:
    """The recorder of one attempt at a run."""

    def __init__(self, database: Database, *, run_id: UUID, attempt: int) -> None:
        self._database = database
        self._run_id = run_id
        self._attempt = attempt
        self._held: list[CallRecord] = []
        self._writing = asyncio.Lock()
        self._closing = asyncio.Event()
        self._timer: asyncio.Task[None] | None = None

    def record(self, call: CallRecord) -> None:
        self._held.append(call)

    async def __aenter__(self) -> Self:
        self._timer = asyncio.create_task(self._write_regularly(), name="call log")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._timer is not None:
            await self._timer
        await self.flush()
        deadline = time.monotonic() + CLOSING_PATIENCE
        while self._held and time.monotonic() < deadline:
            await asyncio.sleep(WRITE_INTERVAL)
            await self.flush()

    async def flush(self) -> None:
        """Write what is held. Postgres being away is no reason to lose it, nor to stop a run."""
        writing = asyncio.create_task(self._flush_held(), name="call log flush")
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # Cut short, nobody could say which of them are stored.
            await asyncio.wait({writing})
            raise

    async def _flush_held(self) -> None:
        async with self._writing:
            calls, self._held = self._held, []
            if not calls:
                return
            try:
                await self._write(calls)
            except TRANSIENT as error:
                self._held = [*calls, *self._held]
                dropped = max(0, len(self._held) - HELD_LIMIT)
                del self._held[:dropped]
                logger.warning(
                    "%d LLM call record(s) wait for Postgres (%d dropped): %s",
                    len(self._held), dropped, error,
                )  # fmt: skip

    async def _write(self, calls: Sequence[CallRecord]) -> None:
        async with (
            self._database.connection() as connection,
            connection.cursor() as cursor,
            cursor.copy(QUERIES["log"]) as copy,
        ):
            for call in calls:
                await copy.write_row(self._row(call))

    async def _write_regularly(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_INTERVAL):
                    await self._closing.wait()
            await self.flush()

    def _row(self, call: CallRecord) -> tuple[Any, ...]:
        site, usage = call.site, call.usage
        error = None if call.error is None else codec.clean_text(call.error, limit=ERROR_LIMIT)
        return (
            self._run_id, _clean(site.thread_id), _clean(site.label), site.evaluator, site.turn,
            call.provider, _clean(call.model), call.method, call.outcome.value, call.try_number,
            _clean(call.prompt), _clean(call.system_prompt), _clean(call.response), error,
            call.duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens,
            usage.reasoning_tokens, _clean(call.request_id), self._attempt, call.started_at,
        )  # fmt: skip


def _clean(text: str | None) -> str | None:
    return None if text is None else codec.clean_text(text)
