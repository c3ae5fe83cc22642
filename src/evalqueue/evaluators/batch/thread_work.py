"""What is done with one conversation of a batch."""

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from evalqueue.errors import JobFailed
from evalqueue.evaluators.batch import earlier_runs
from evalqueue.evaluators.batch.economy import store as economy
from evalqueue.evaluators.batch.economy.questions import EconomyCaller
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.ahead import ReadAhead
from evalqueue.evaluators.datasets.store import Content
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.threads import evaluate_thread
from evalqueue.evaluators.providers.earlier.replay import RecordedAnswer, Replay
from evalqueue.evaluators.providers.earlier.replayed_run import ReplayedRun
from evalqueue.evaluators.providers.earlier.reuse import EarlierAnswer, Reuse
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.attempt import RunAttempt
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.store import EvaluatedThread
from evalqueue.items import ItemWork, Upcoming
from evalqueue.postgres.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadInputs:
    """What the conversations of a job have in common."""

    attempt: RunAttempt
    params: EvaluateBatch
    dataset: Content
    evaluators: Sequence[Evaluator]


class ThreadWork(ItemWork[str, EvaluatedThread]):
    """Evaluates one conversation, by its id."""

    noun = "Thread"
    log_field = "thread_id"

    def __init__(
        self, inputs: ThreadInputs, caller: LlmCaller, call_log: CallLog, *, is_fresh: bool
    ) -> None:
        """`is_fresh`: whether no call of the run is recorded yet."""
        self._inputs = inputs
        self._attempt = inputs.attempt
        self._caller = caller
        self._call_log = call_log
        self._is_fresh = is_fresh
        self._reads = ReadAhead(self._read, lambda _count: ())

    def may_look_ahead(self, upcoming: Upcoming, /) -> None:
        self._reads = ReadAhead(self._read, upcoming)

    async def work(self, item: str, /) -> EvaluatedThread | None:
        return await self._evaluated(item, self._caller)

    async def _evaluated(self, item: str, caller: LlmCaller | EconomyCaller) -> EvaluatedThread:
        started = time.perf_counter()
        found = await self._reads.get(item)
        if found is None:
            dataset_id = self._inputs.dataset.id
            raise JobFailed(f"The dataset {dataset_id} was deleted under it: submit it anew")
        thread, recorded = found
        asking = await self._with_earlier_answers(thread.thread_id, caller)
        if recorded:
            asking = Replay(asking, recorded)
        result = await evaluate_thread(thread, self._inputs.evaluators, Judge(asking))
        return EvaluatedThread(
            run_id=self._attempt.run_id,
            job_id=self._attempt.job_id,
            attempt=self._attempt.number,
            data_file_hash=self._inputs.dataset.sha256,
            duration_ms=(time.perf_counter() - started) * 1000,
            found=result,
        )

    async def before_store(self) -> None:
        await self._call_log.flush()  # no checkpoint stands without the calls that led to it

    async def store(self, connection: Connection, result: EvaluatedThread, /) -> None:
        await store.keep(connection, result)

    def succeeded(self, result: EvaluatedThread, /) -> bool:
        return not result.found.failed

    def on_stored(self, result: EvaluatedThread, /) -> None:
        for row in result.scores:
            self._attempt.metrics.judged(
                row.evaluator, has_value=row.value is not None, failure=row.failure
            )

    async def _read(
        self, thread_ids: Sequence[str]
    ) -> Mapping[str, tuple[Thread, Sequence[RecordedAnswer]]]:
        """Conversations, and the answers that earlier attempts recorded for them.

        They are read just before they are worked on: this bounds what is in memory. The read is not
        fenced, as it writes nothing.
        """
        context, dataset = self._attempt.context, self._inputs.dataset
        run_id, job_id = self._attempt.run_id, self._attempt.job_id

        async def read(
            connection: Connection,
        ) -> Mapping[str, tuple[Thread, Sequence[RecordedAnswer]]]:
            threads = await datasets.threads_ahead(connection, dataset.id, thread_ids)
            if self._is_fresh or not threads:
                return {each.thread_id: (each, ()) for each in threads}
            recorded = await store.recorded(
                connection,
                run_id=run_id,
                job_id=job_id,
                thread_ids=[each.thread_id for each in threads],
            )
            return {each.thread_id: (each, recorded.get(each.thread_id, ())) for each in threads}

        return await context.database.until_done(read, what=f"Job {context.job.id}")

    async def _with_earlier_answers(
        self, thread_id: str, caller: LlmCaller | EconomyCaller
    ) -> LlmCaller | EconomyCaller | Reuse | ReplayedRun:
        """The caller, behind the answers of earlier runs or replaced by those of one."""
        params, run_id = self._inputs.params, self._attempt.run_id
        if params.replay is not None:
            context = self._attempt.context
            answered = await context.database.until_done(
                partial(
                    earlier_runs.answered,
                    run_id=params.replay,
                    owner=context.job.owner,
                    thread_id=thread_id,
                ),
                what=f"Job {context.job.id}",
            )
            return ReplayedRun(
                caller,
                answered,
                replayed=params.replay,
                recorder=self._call_log,
                run_id=run_id,
            )
        if params.reuse:
            return Reuse(caller, self._answers, recorder=self._call_log, run_id=run_id)
        return caller

    async def _answers(self, question_hash: bytes) -> list[EarlierAnswer]:
        context = self._attempt.context
        return await context.database.until_done(
            partial(
                earlier_runs.answers,
                question_hash=question_hash,
                owner=context.job.owner,
                run_id=self._attempt.run_id,
                max_age_seconds=self._inputs.params.reuse_max_age_days * 86_400,
            ),
            what=f"Job {context.job.id}",
        )


class EconomyThreadWork(ThreadWork):
    """Evaluates one conversation if all its questions are answered, and else queues them."""

    def __init__(
        self, inputs: ThreadInputs, caller: LlmCaller, call_log: CallLog, visited: Container[str]
    ) -> None:
        """`visited`: conversations whose questions are queued, and are in no batch yet."""
        super().__init__(inputs, caller, call_log, is_fresh=False)
        self._visited = visited

    def may_look_ahead(self, upcoming: Upcoming, /) -> None:
        def unvisited(count: int) -> Sequence[str]:
            return [each for each in upcoming(count) if each not in self._visited]

        super().may_look_ahead(unvisited)

    async def work(self, item: str, /) -> EvaluatedThread | None:
        if item in self._visited:
            return None  # an attempt that was interrupted has been here
        attempt = self._attempt
        what = f"Job {attempt.context.job.id}"
        known = await attempt.context.database.until_done(
            partial(economy.known, job_id=attempt.job_id, thread_id=item), what=what
        )
        caller = EconomyCaller(self._caller, known, asks_live=self._inputs.params.asks_live)
        kept = await self._evaluated(item, caller)
        if not caller.is_waiting:
            return kept
        await self._call_log.flush()
        questions = list(caller.new_questions.values())

        async def add(connection: Connection) -> None:
            await economy.add_questions(
                connection, questions, run_id=attempt.run_id, job_id=attempt.job_id
            )
            await economy.fail_live(connection, attempt.job_id, caller.failed_live)

        if questions or caller.failed_live:
            await attempt.context.retry_fenced(add)
        return None
