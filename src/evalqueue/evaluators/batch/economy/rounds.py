"""The rounds of economy mode: submit questions, look at batches, record what they answered.

Every step can be repeated by another process. A batch is written down before it is submitted, under
a name by which it is found at the vendor. Calls are recorded under ids that follow from their batch
and question, so that results that are read twice are recorded once.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import BinaryIO, cast
from uuid import UUID, uuid4

from evalqueue.context import JobContext
from evalqueue.errors import Postponed
from evalqueue.evaluators.batch.economy import store
from evalqueue.evaluators.batch.economy.results import ResultRecorder
from evalqueue.evaluators.batch.economy.store import OpenBatch, StoredQuestion
from evalqueue.evaluators.prices.price_list import BATCH_SHARE, PriceList
from evalqueue.evaluators.providers.batching import (
    BatchesMissing,
    SupportsBatches,
    VendorBatch,
    VendorBatches,
)
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.providers.provider import Provider
from evalqueue.evaluators.providers.reservations import Reservations, SetAside
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.postgres.database import Connection
from evalqueue.telemetry import tasks

CHUNK = 256  # questions that are read at a time
LOOK_MIN_SECONDS = 2.0
LOOK_MAX_SECONDS = 600.0
LOOK_SHARE = 0.25  # of a batch's age, until it is looked at again
RETRY_SECONDS = 30.0  # until a vendor that is away or busy is asked again
LOST_SECONDS = 1800.0  # after which a batch that is not found at the vendor was not submitted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A batch before it is submitted."""

    question_ids: Sequence[int]
    reserved: SetAside
    refusal: ProviderError | None
    """Why it has no more questions, where a cap is the reason."""


def _draft(
    ids: list[int],
    usd: Decimal,
    tokens: int,
    month: str | None,
    refusal: ProviderError | None = None,
) -> _Draft:
    reserved = SetAside(usd=usd, tokens=tokens, month=month)
    return _Draft(question_ids=ids, reserved=reserved, refusal=refusal)


class BatchRounds:
    """The batches of one job."""

    def __init__(
        self,
        context: JobContext,
        provider: Provider,
        call_log: CallLog,
        prices: PriceList,
        *,
        run_id: UUID,
        job_id: UUID,
        max_questions: int,
    ) -> None:
        """`job_id` is the job whose batches they are; `max_questions`: of one batch.

        Raises:
            BatchesMissing: the provider has no batches.
        """
        if not isinstance(provider, SupportsBatches):
            raise BatchesMissing(CallOutcome.BAD_REQUEST, f"{provider.name} has no batches")
        self._context = context
        self._database = context.database
        self._provider = provider
        self._batches: VendorBatches = provider.batches
        self._call_log = call_log
        self._prices = prices
        self._run_id = run_id
        self._job_id = job_id
        self._max_questions = min(max_questions, self._batches.max_requests)

    async def look(self, batches: Sequence[OpenBatch], *, cancel: bool = False) -> None:
        """Look at batches, and record the answers of those that are over.

        Raises:
            Postponed: some are not over.
            ProviderError: the vendor refuses to show them.
        """
        left = [each for each in batches if not await self._is_over(each, cancel=cancel)]
        if left:
            await self.postpone(min(each.age_seconds for each in left))

    async def postpone(self, age_seconds: float) -> None:
        """Give the slot back until it is time to look at a batch of this age.

        Raises:
            Postponed: always.
        """
        delay = min(max(age_seconds * LOOK_SHARE, LOOK_MIN_SECONDS), LOOK_MAX_SECONDS)
        progress = await self._database.until_done(
            lambda each: store.progress(each, self._job_id), what=f"Job {self._context.job.id}"
        )
        raise Postponed(
            f"waiting for {self._provider.name} batch: {progress.done:,} of {progress.total:,} "
            f"done, looks again in {delay:.0f} s",
            after=delay,
        )

    async def hand_in(self, live: LlmCaller) -> bool:
        """Submit the queued questions. False: there was none.

        The first of them is asked live: a wrong key, model or parameter shows at once instead of
        after a day.

        Raises:
            ProviderError: the vendor or a cap refuses them.
            Postponed: the vendor can't take them now.
        """
        first = await self._waiting(after=0, limit=1)
        if not first:
            return False
        await self._ask_live(first[0], live)
        while draft := await self._draft(live.reservations):
            if draft.question_ids:
                await self._hand_in_draft(draft)
            if draft.refusal is not None:
                if draft.question_ids or await self._open():
                    break  # what these use less than was reserved is left for the next ones
                raise draft.refusal
        return True

    async def _open(self) -> list[OpenBatch]:
        return await self._database.until_done(
            lambda each: store.open_of_job(each, self._job_id), what=f"Job {self._context.job.id}"
        )

    async def _waiting(self, *, after: int, limit: int) -> list[StoredQuestion]:
        return await self._database.until_done(
            lambda connection: store.waiting(connection, self._job_id, after=after, limit=limit),
            what=f"Job {self._context.job.id}",
        )

    async def _ask_live(self, first: StoredQuestion, live: LlmCaller) -> None:
        await self._context.retry_fenced(lambda each: store.ask_live(each, first.id))
        question = first.question
        try:
            await live.call(question.request, question.site, question.method)
        except ProviderError as error:
            if error.stops_the_job:
                raise
            failed = {question.request_hash: error}
            await self._context.retry_fenced(
                lambda each: store.fail_live(each, self._job_id, failed)
            )

    async def _draft(self, reservations: Reservations) -> _Draft | None:
        """The questions of the next batch, as many as it may have. None: there are none left."""
        ids: list[int] = []
        size, after = 0, 0
        usd, tokens, month = Decimal(0), 0, None
        while chunk := await self._waiting(after=after, limit=CHUNK):
            for each in chunk[: self._max_questions - len(ids)]:
                size += len(
                    self._batches.line(each.question.request_hash.hex(), each.question.request)
                )
                if size > self._batches.max_bytes and ids:
                    return _draft(ids, usd, tokens, month)
                try:
                    aside = await reservations.set_aside(
                        each.question.request, price_share=BATCH_SHARE
                    )
                except ProviderError as refusal:
                    return _draft(ids, usd, tokens, month, refusal)
                ids.append(each.id)
                usd, tokens, month = usd + aside.usd, tokens + aside.tokens, aside.month
            if len(ids) == self._max_questions:
                break
            after = chunk[-1].id
        return _draft(ids, usd, tokens, month) if ids else None

    async def _hand_in_draft(self, draft: _Draft) -> None:
        context, reserved = self._context, draft.reserved
        batch = OpenBatch(
            id=uuid4(),
            run_id=self._run_id,
            job_id=self._job_id,
            owner=context.job.owner,
            provider=self._provider.name,
            model=self._provider.model,
            vendor_id=None,
            questions=len(draft.question_ids),
            done=0,
            reserved_usd=reserved.usd,
            reserved_tokens=reserved.tokens,
            reserved_month=reserved.month,
            outcome=None,
            created_at=datetime.now(UTC),
            ended_at=None,
            age_seconds=0.0,
        )
        await context.retry_fenced(
            lambda connection: store.open_batch(connection, batch, draft.question_ids)
        )
        await self._create(batch)

    async def _create(self, batch: OpenBatch) -> None:
        """Submit a batch, and store its id at the vendor.

        Raises:
            ProviderError: the vendor refuses it.
            Postponed: it is not known whether the vendor has it.
        """
        # An interrupted one would leave open whether the vendor has it.
        await tasks.uninterrupted(self._create_once(batch), name=f"batch {batch.id}")

    async def _create_once(self, batch: OpenBatch) -> None:
        try:
            with tempfile.TemporaryFile() as opened:
                file = cast("BinaryIO", opened)
                await self._write(batch, file)
                await self._context.retry_fenced(_nothing)  # the attempt is not over
                created = await self._batches.create(str(batch.id), file)
        except ProviderError as error:
            if error.outcome.retryable:
                raise Postponed(f"{error.outcome}: {error.message}", after=RETRY_SECONDS) from error
            why = f"refused: {error.message}"
            await self._database.until_done(
                lambda each: _withdraw(each, batch, why), what=f"Batch {batch.id}"
            )
            error.stops_the_job = True
            raise
        await self._note_created(batch, created)

    async def _note_created(self, batch: OpenBatch, created: VendorBatch) -> None:
        is_ours = await self._database.until_done(
            lambda each: store.mark_submitted(each, batch.id, vendor_id=created.id),
            what=f"Batch {batch.id}",
        )
        if not is_ours:  # the job is over, or another attempt submitted it
            await self._batches.cancel(created.id)

    async def _write(self, batch: OpenBatch, file: BinaryIO) -> None:
        """Write the lines of a batch's questions."""
        after = 0
        while True:
            chunk = await self._database.until_done(
                lambda each, after=after: store.in_batch(each, batch.id, after=after, limit=CHUNK),
                what=f"Batch {batch.id}",
            )
            if not chunk:
                break
            for each in chunk:
                question = each.question
                file.write(self._batches.line(question.request_hash.hex(), question.request))
            after = chunk[-1].id
        file.seek(0)

    async def _is_over(self, batch: OpenBatch, *, cancel: bool) -> bool:
        """Look at a batch; record its results if it is over."""
        try:
            vendor_id = batch.vendor_id or await self._found(batch, cancel=cancel)
            if vendor_id is None:
                return cancel and batch.age_seconds >= LOST_SECONDS and await self._end(batch)
            shown = await self._batches.look(vendor_id)
            if shown is not None and cancel and not shown.is_over:
                await self._batches.cancel(vendor_id)
                shown = await self._batches.look(vendor_id)
            if shown is None:
                return await self._end(batch, "the vendor does not know it")
            if not shown.is_over:
                await self._database.until_done(
                    lambda each: store.note_done(each, batch.id, shown.done),
                    what=f"Batch {batch.id}",
                )
                return False
            await self._record(batch, shown)
        except ProviderError as error:
            if error.outcome.retryable:
                raise Postponed(f"{error.outcome}: {error.message}", after=RETRY_SECONDS) from error
            raise
        return True

    async def _found(self, batch: OpenBatch, *, cancel: bool) -> str | None:
        """The vendor's id of a batch that may have been submitted. If it was not, it is now, unless
        it is to be cancelled or an earlier job's."""
        found = await self._batches.find(str(batch.id))
        for other in found[1:]:
            await self._batches.cancel(other.id)
        if found:
            await self._note_created(batch, found[0])
            return found[0].id
        if not cancel and batch.job_id == self._job_id:
            await self._create(batch)
        return None

    async def _record(self, batch: OpenBatch, shown: VendorBatch) -> None:
        recorder = ResultRecorder(
            self._database, self._provider, self._call_log, self._prices, batch
        )
        async with self._batches.results(shown) as results:
            await recorder.record(results)
        await self._end(batch, shown.end)
        # What can't be deleted is deleted by the vendor some days later.
        with contextlib.suppress(ProviderError):
            await self._batches.forget(shown)

    async def _end(self, batch: OpenBatch, outcome: str = "it was not submitted") -> bool:
        await self._database.until_done(
            lambda each: store.end(each, batch.id, outcome=outcome), what=f"Batch {batch.id}"
        )
        return True


async def _nothing(_connection: Connection) -> None:
    """Only the fence is wanted."""


async def _withdraw(connection: Connection, batch: OpenBatch, why: str) -> None:
    async with connection.transaction():
        await store.withdraw(connection, batch.id, outcome=why)
