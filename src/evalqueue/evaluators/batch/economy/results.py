"""The results of a batch become records of calls."""

from collections.abc import AsyncIterable, Sequence
from datetime import UTC, datetime
from uuid import uuid5

from evalqueue.evaluators.batch.economy import store
from evalqueue.evaluators.batch.economy.questions import failure_of
from evalqueue.evaluators.batch.economy.store import OpenBatch, SettledQuestion, StoredQuestion
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.batching import BatchResult, QuestionNotRun
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, Provider
from evalqueue.evaluators.providers.recorder import (
    PROMPT_LIMIT,
    RESPONSE_LIMIT,
    SYSTEM_PROMPT_LIMIT,
    CallRecord,
    question_hash,
)
from evalqueue.evaluators.runs.call_log import WRITTEN_AT_ONCE, CallLog
from evalqueue.postgres.database import Database


class ResultRecorder:
    """Records the results of one batch: first the calls, then what became of the questions."""

    def __init__(
        self,
        database: Database,
        provider: Provider,
        call_log: CallLog,
        prices: PriceList,
        batch: OpenBatch,
    ) -> None:
        self._database = database
        self._provider = provider
        self._call_log = call_log
        self._prices = prices.of_batches()
        self._batch = batch
        self._waited_ms = (datetime.now(UTC) - batch.created_at).total_seconds() * 1000

    async def record(self, results: AsyncIterable[BatchResult]) -> None:
        """Record all results. What is recorded already is left as it is."""
        chunk: list[BatchResult] = []
        async for each in results:
            chunk.append(each)
            if len(chunk) == WRITTEN_AT_ONCE:
                await self._record(chunk)
                chunk = []
        await self._record(chunk)

    async def _record(self, results: Sequence[BatchResult]) -> None:
        by_hash = {key: each.result for each in results if (key := _hash_of(each.key)) is not None}
        asked = await self._database.until_done(
            lambda each: store.in_batch_by_hash(each, self._batch.id, list(by_hash)),
            what=f"Batch {self._batch.id}",
        )
        pairs = [(each, by_hash[each.question.request_hash]) for each in asked]
        await self._call_log.store([
            self._call(each, result) for each, result in pairs if _was_run(result)
        ])  # fmt: skip
        settled = [self._settled(each, result) for each, result in pairs]
        await self._database.until_done(
            lambda each: store.settle(each, settled), what=f"Batch {self._batch.id}"
        )

    def _call(self, asked: StoredQuestion, result: Completion | ProviderError) -> CallRecord:
        question, provider = asked.question, self._provider
        request = question.request
        is_ok = isinstance(result, Completion)
        text = result.text if isinstance(result, Completion) else result.answer
        is_whole = is_ok and len(result.text) <= RESPONSE_LIMIT
        return CallRecord(
            site=question.site,
            provider=provider.name,
            model=_model(result, provider),
            method=question.method,
            outcome=CallOutcome.OK if is_ok else result.outcome,
            try_number=1,
            prompt=request.prompt[:PROMPT_LIMIT],
            system_prompt=request.system[:SYSTEM_PROMPT_LIMIT],
            response=None if text is None else text[:RESPONSE_LIMIT],
            error=None if is_ok else result.message,
            started_at=self._batch.created_at,
            duration_ms=max(0.0, self._waited_ms),
            usage=result.usage,
            request_id=result.request_id,
            call_id=uuid5(self._batch.id, question.request_hash.hex()),
            is_batched=True,
            request_hash=question.request_hash if is_whole else None,
            question_hash=question_hash(request, question.method, provider) if is_whole else None,
        )

    def _settled(
        self, asked: StoredQuestion, result: Completion | ProviderError
    ) -> SettledQuestion:
        usage = result.usage
        is_known = usage.input_tokens is not None and usage.output_tokens is not None
        model = _model(result, self._provider)
        cost = self._prices.cost(model, usage, at=self._batch.created_at)
        return SettledQuestion(
            id=asked.id,
            outcome=CallOutcome.OK if isinstance(result, Completion) else result.outcome,
            failure=None if isinstance(result, Completion) else failure_of(result),
            used_usd=cost,
            used_tokens=(usage.input_tokens or 0) + (usage.output_tokens or 0)
            if is_known
            else None,
        )


def _hash_of(key: str) -> bytes | None:
    try:
        return bytes.fromhex(key)
    except ValueError:
        return None  # of no question of ours


def _was_run(result: Completion | ProviderError) -> bool:
    """Whether a call was made: not where a batch ended before the question's turn."""
    return not isinstance(result, QuestionNotRun)


def _model(result: Completion | ProviderError, provider: Provider) -> str:
    return result.model if isinstance(result, Completion) else provider.model
