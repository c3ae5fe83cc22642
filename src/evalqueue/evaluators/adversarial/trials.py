"""The trials of a run: each puts one case to the chatbot once, and has the conversation judged.

Every turn is stored as it happens. A conversation that an earlier attempt finished is judged from
what is stored; one that was cut short is recorded as that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from evalqueue.context import JobContext
from evalqueue.evaluators.adversarial import store
from evalqueue.evaluators.adversarial.adjudication import NAME as JUDGE
from evalqueue.evaluators.adversarial.adjudication import Adjudicator, CaseResult
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.credential_leases import CredentialLeases
from evalqueue.evaluators.adversarial.dialogue import Dialogue, Ending, Exchange, Limits, converse
from evalqueue.evaluators.adversarial.simulated_user import UserSimulator
from evalqueue.evaluators.adversarial.store import (
    TrialAttempt,
    TrialResult,
    UnjudgedConversation,
)
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.providers.earlier.replay import Replay
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.runs.attempt import RunAttempt
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.verdicts import StopReason
from evalqueue.items import ItemWork
from evalqueue.postgres.database import Connection

CUT_SHORT = (
    "The conversation was cut short after turn {turns}: the worker that held it was lost or had to "
    "let go. A live conversation can't be gone on with; retry the job to put the case again."
)


ADVERSARIAL = "adversarial"
"""The evaluator of adversarial cases, in metrics."""
NOT_JUDGED = "not_judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTrial:
    """One case, put once."""

    case: Case
    number: int
    """From 1."""

    @property
    def key(self) -> str:
        return store.key_of(self.case.case_id, self.number)


@dataclass(frozen=True, kw_only=True)
class TrialWork(ItemWork[CaseTrial, TrialResult]):
    """Puts one case to the chatbot, and judges the conversation."""

    attempt: RunAttempt
    simulator: UserSimulator
    adjudicator: Adjudicator
    limits: Limits
    leases: CredentialLeases
    caller: LlmCaller
    call_log: CallLog
    unjudged: Mapping[str, UnjudgedConversation]
    """Conversations of earlier attempts, by the key of their trial."""

    noun = "Case"
    log_field = "trial"

    def key(self, item: CaseTrial, /) -> str:
        return item.key

    async def work(self, item: CaseTrial, /) -> TrialResult:
        conversation = self.unjudged.get(item.key)
        if conversation is None:
            result = await self._put(item)
        else:
            result = await self._finish(item, conversation)
        return result

    async def before_store(self) -> None:
        await self.call_log.flush()  # no checkpoint stands without the calls that led to it

    async def store(self, connection: Connection, result: TrialResult, /) -> None:
        await store.keep(connection, result)

    def succeeded(self, result: TrialResult, /) -> bool:
        return result.case_result.verdict is not None

    def on_stored(self, result: TrialResult, /) -> None:
        self.leases.note_stored(result.place.key)
        is_judged = result.case_result.verdict is not None
        self.attempt.metrics.judged(
            ADVERSARIAL, has_value=is_judged, failure=None if is_judged else NOT_JUDGED
        )

    async def _put(self, trial: CaseTrial) -> TrialResult:
        """Lead a new conversation, and judge it."""
        context = self.attempt.context
        judge = Judge(self.caller)
        async with self.leases.take(trial.key) as lease:
            place = self._place(trial, lease.credential)
            started_at = datetime.now(UTC)
            dialogue = await converse(
                trial.case,
                key=trial.key,
                chatbot=lease.chatbot,
                simulator=self.simulator,
                judge=judge,
                limits=self.limits,
                recorder=_FencedRecorder(context, place),
            )
            ended_at = datetime.now(UTC)
            await context.retry_fenced(partial(store.end, place=place, ending=dialogue.ending))
            self.leases.note_ending(lease, dialogue.fault)
        case_result = await self._judged(trial, dialogue, judge)
        return TrialResult(
            place=place, case_result=case_result, started_at=started_at, ended_at=ended_at
        )

    async def _finish(self, trial: CaseTrial, conversation: UnjudgedConversation) -> TrialResult:
        """Judge a conversation of an earlier attempt, if it came to its end."""
        if conversation.dialogue is None:
            message = CUT_SHORT.format(turns=len(conversation.exchanges))
            ending = Ending(stop_reason=StopReason.ERROR, reason=message)
            dialogue = Dialogue(exchanges=conversation.exchanges, ending=ending)
            case_result = self.adjudicator.interrupted(trial.case, trial.number, dialogue, message)
        else:
            judge = await replaying_judge(self.attempt, self.caller, JUDGE, trial.key)
            case_result = await self._judged(trial, conversation.dialogue, judge)
        return TrialResult(
            place=self._place(trial, conversation.credential),
            case_result=case_result,
            started_at=conversation.started_at,
            ended_at=conversation.ended_at,
        )

    async def _judged(self, trial: CaseTrial, dialogue: Dialogue, judge: Judge) -> CaseResult:
        return await self.adjudicator.judged(
            trial.case, trial.number, dialogue, key=trial.key, judge=judge
        )

    def _place(self, trial: CaseTrial, credential: str | None) -> TrialAttempt:
        return TrialAttempt(
            run_id=self.attempt.run_id,
            job_id=self.attempt.job_id,
            attempt=self.attempt.number,
            case_id=trial.case.case_id,
            trial=trial.number,
            credential=credential,
        )


async def replaying_judge(
    attempt: RunAttempt, caller: LlmCaller, evaluator: str, key: str | None = None
) -> Judge:
    """A judge that replays the answers which earlier attempts at this job recorded.

    Args:
        evaluator: the name under which the calls were recorded.
        key: of the trial; None: calls that belong to no trial.
    """
    recorded = await attempt.context.retry_fenced(
        partial(
            store.recorded,
            run_id=attempt.run_id, job_id=attempt.job_id, evaluator=evaluator, key=key,
        )
    )  # fmt: skip
    return Judge(Replay(caller, recorded))


class _FencedRecorder:
    """Stores each turn inside the fence: an attempt that is over sends no further message."""

    def __init__(self, context: JobContext, place: TrialAttempt) -> None:
        self._context = context
        self._place = place

    async def record(self, exchange: Exchange) -> None:
        async def write(connection: Connection) -> None:
            if exchange.number == 1 and exchange.reply is None and exchange.fault is None:
                await store.begin(connection, self._place)
            await store.note(connection, self._place, exchange)

        await self._context.retry_fenced(write)
