"""LLM call records on their way into `api_logs`: in batches, off the hot path.

`record` only appends to a list. What is in it is written at once, but not more often than every
`WRITE_INTERVAL`; before each thread's result is kept, so that a checkpoint never stands without the
calls that led to it; and at the end. It is never fenced: what was paid for is on record even if the
attempt is over by then.

A killed process loses what was answered within its last `WRITE_INTERVAL` and the time of one write.
That is bought again, like what was in flight; everything before it is replayed. A process that
can't reach Postgres may have lost its jobs to others, who ask again what is not on record: once as
many answers wait to be written as calls are made at the same time, or once the lease has run out,
no further call starts.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

from psycopg.types.json import Json

from evalqueue import codec
from evalqueue.evaluators.metrics import EvaluationMetrics
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.evaluators.runs.store import ERROR_LIMIT, QUERIES
from evalqueue.postgres.database import TRANSIENT, Database
from evalqueue.telemetry import tasks

WRITE_INTERVAL = 0.05  # seconds between writes, while calls are answered
RETRY_INTERVAL = 1.0  # seconds between tries while Postgres is away
CLOSING_PATIENCE = 30.0  # seconds to go on trying once the run is over
WRITTEN_AT_ONCE = 50  # records in one statement
FEWEST_UNWRITTEN = 4  # records that may wait to be written before another call starts

logger = logging.getLogger(__name__)


class SupportsLease(Protocol):
    """The lease of an attempt; `JobContext` has it."""

    @property
    def is_held(self) -> bool:
        """Whether it has not run out, as far as this process knows."""
        ...

    async def until_held(self) -> None:
        """Wait until it is extended."""
        ...


class CallLog:
    """The recorder of one attempt at a job: at its run, where it has one."""

    def __init__(
        self,
        database: Database,
        *,
        run_id: UUID | None,
        job_id: UUID,
        attempt: int,
        prices: PriceList,
        metrics: EvaluationMetrics,
        at_once: int,
        others: Mapping[str, PriceList] | None = None,
        lease: SupportsLease | None = None,
    ) -> None:
        """Make one, to be entered.

        Args:
            database: where it writes.
            run_id: the run.
            job_id: its job.
            attempt: of the job.
            prices: of the job's model.
            metrics: count what is stored.
            at_once: calls made at the same time.
            others: of further models, by provider.
            lease: of the attempt. None: nothing else can have its job.
        """
        self._database = database
        self._run_id = run_id
        self._job_id = job_id
        self._attempt = attempt
        self._lease = lease
        self._metrics = metrics
        self._prices = prices
        self._batch_prices = prices.of_batches()
        self._others = others or {}
        self._held: list[CallRecord] = []
        self._being_written: list[CallRecord] = []
        self._most_unwritten = max(at_once, FEWEST_UNWRITTEN)
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._noted = asyncio.Event()
        self._pause = WRITE_INTERVAL
        self._written_at = -math.inf
        self._writing = asyncio.Lock()
        self._is_closing = False
        self._pause_over = asyncio.Event()
        """Ends the pause between two writes early."""
        self._writer: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        return self._has_room.is_set() and (self._lease is None or self._lease.is_held)

    async def ready(self) -> None:
        while not self.is_ready:
            await self._has_room.wait()
            if self._lease is not None:
                await self._lease.until_held()

    def record(self, call: CallRecord) -> None:
        self._held.append(call)
        self._noted.set()
        unwritten = len(self._held) + len(self._being_written)
        if unwritten >= self._most_unwritten and self._is_writing_on:
            self._has_room.clear()
            if self._pause == WRITE_INTERVAL:
                self._pause_over.set()

    @property
    def _is_writing_on(self) -> bool:
        return self._writer is not None and not self._writer.done()

    async def store(self, calls: Sequence[CallRecord]) -> None:
        """Write records now, however long Postgres is away. Those that are stored stay as they
        are."""
        await self._database.retry_transient(
            lambda: self._write(calls), what=f"Calls of job {self._job_id}"
        )

    async def __aenter__(self) -> Self:
        self._writer = tasks.start(self._write_as_they_come(), name="call log")
        # An error that ended it is raised by the next flush, which a waiting call must not delay.
        self._writer.add_done_callback(lambda _: self._has_room.set())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_closing = True
        self._noted.set()
        self._pause_over.set()
        if self._writer is not None:
            await self._writer
        await self.flush()
        deadline = time.monotonic() + CLOSING_PATIENCE
        while self._held and time.monotonic() < deadline:
            await asyncio.sleep(RETRY_INTERVAL)
            await self.flush()

    async def flush(self) -> None:
        """Write what is held. Postgres being away is no reason to lose it, nor to stop a run."""
        if not self._held and not self._writing.locked():
            return
        # An interrupted write would leave open which rows are stored.
        await tasks.uninterrupted(self._flush_held(), name="call log flush")

    async def _flush_held(self) -> None:
        async with self._writing:
            calls = self._being_written = self._held
            self._held = []
            if not calls:
                return
            self._written_at = time.monotonic()
            try:
                await self._write(calls)
                self._pause = WRITE_INTERVAL
            except TRANSIENT as error:
                self._pause = RETRY_INTERVAL
                self._noted.set()
                self._held = [*calls, *self._held]
                logger.warning(
                    "%d LLM call record(s) wait for Postgres: %s", len(self._held), error
                )
            finally:
                self._being_written = []
                if len(self._held) < self._most_unwritten:
                    self._has_room.set()

    async def _write(self, calls: Sequence[CallRecord]) -> None:
        async with self._database.connection() as connection:
            for first in range(0, len(calls), WRITTEN_AT_ONCE):
                priced = [
                    (call, self._cost(call)) for call in calls[first : first + WRITTEN_AT_ONCE]
                ]
                rows = [self._row(call, cost) for call, cost in priced]
                cursor = await connection.execute(
                    QUERIES["log"], {"calls": Json(rows, dumps=codec.encode_json)}
                )
                stored = {call_id for (call_id,) in await cursor.fetchall()}
                for call, cost in priced:
                    if call.call_id in stored:
                        self._metrics.called(call, cost)

    async def _write_as_they_come(self) -> None:
        while not self._is_closing:
            await self._noted.wait()
            # A flush meanwhile has taken what there was: what has come since waits as long.
            while (pause := self._written_at + self._pause - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._pause_over.wait()
                        break
            self._pause_over.clear()
            self._noted.clear()
            await self.flush()

    def _cost(self, call: CallRecord) -> Decimal | None:
        own = self._batch_prices if call.is_batched else self._prices
        prices = own if call.is_batched else self._others.get(call.provider, own)
        return prices.cost(call.model, call.usage, at=call.started_at)

    def _row(self, call: CallRecord, cost: Decimal | None) -> Mapping[str, Any]:
        """A record as its row: JSON by the names of the columns."""
        site, usage = call.site, call.usage
        # What has to be cleaned to be stored is no longer the answer that was given.
        whole = call.response is not None and codec.clean_text(call.response) == call.response
        request_hash = call.request_hash if whole else None
        question_hash = call.question_hash if whole else None
        return {
            "run_id": None if self._run_id is None else str(self._run_id),
            "job_id": str(self._job_id),
            "call_id": str(call.call_id),
            "thread_id": site.thread_id,
            "test_case_label": site.label,
            "evaluator": site.evaluator,
            "turn": site.turn,
            "provider": call.provider,
            "model": call.model,
            "method": call.method,
            "outcome": call.outcome.value,
            "try_number": call.try_number,
            "prompt": call.prompt,
            "system_prompt": call.system_prompt,
            "response": call.response,
            "error": None
            if call.error is None
            else codec.clean_text(call.error, limit=ERROR_LIMIT),
            "duration_ms": call.duration_ms,
            "tokens_in": usage.input_tokens,
            "tokens_out": usage.output_tokens,
            "tokens_cached": usage.cached_tokens,
            "tokens_reasoning": usage.reasoning_tokens,
            "cost_usd": None if cost is None else str(cost),
            "request_id": call.request_id,
            "parameters": dict(call.parameters) or None,
            "request_hash": request_hash and f"\\x{request_hash.hex()}",
            "question_hash": question_hash and f"\\x{question_hash.hex()}",
            "batched": call.is_batched,
            "attempt": self._attempt,
            "started_at": call.started_at.isoformat(),
        }
