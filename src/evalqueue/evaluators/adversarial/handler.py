"""One attempt at one run of `evaluate-adversarial`: wiring only.

Each credential is a lane: one conversation at a time, in all workers together. What is said is
written down as it is said. After a crash the next attempt puts the cases that were not begun; a
conversation that came to its end is judged from the record, one that was cut short is marked so.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from evalqueue.context import Checkpoint, JobContext
from evalqueue.errors import InvalidParams, JobFailed, leaves
from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial import rates
from evalqueue.evaluators.adversarial import store as kept
from evalqueue.evaluators.adversarial.adjudication import NAME as JUDGE
from evalqueue.evaluators.adversarial.adjudication import Adjudicator, CaseResult
from evalqueue.evaluators.adversarial.cases.case import Case, distinct
from evalqueue.evaluators.adversarial.cases.generation import NAME as GENERATION
from evalqueue.evaluators.adversarial.cases.generation import TooFewCases, generate
from evalqueue.evaluators.adversarial.chatbot import chatbot_settings, difficult_users
from evalqueue.evaluators.adversarial.credential_leases import ChatbotGone, CredentialLeases
from evalqueue.evaluators.adversarial.dialogue import Dialogue, Ending, Exchange, converse
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.adversarial.simulated_user import UserSimulator
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused
from evalqueue.evaluators.judging.judge import Judge, Parameters
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderRegistry,
    ProviderSettings,
    ProviderUnavailable,
    resolve,
)
from evalqueue.evaluators.providers.replay import Replay
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.summary import RunEnd
from evalqueue.evaluators.verdicts import StopReason
from evalqueue.items import ItemWork
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Connection
from evalqueue.settings import Settings

Summary = Mapping[str, Any]

CUT_SHORT = (
    "The conversation was cut short after turn {turns}: the worker that held it was lost or had to "
    "let go. A live conversation can't be gone on with; retry the job to put the case again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """What is to be done, and with what."""

    app: App
    users: DifficultUsers
    choice: ModelChoice
    target: Target
    credentials: tuple[Credential, ...]
    simulator: UserSimulator
    adjudicator: Adjudicator


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One case, put once."""

    case: Case
    number: int

    @property
    def key(self) -> str:
        return kept.key_of(self.case.case_id, self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """What earlier attempts have left."""

    cases: Sequence[Case]
    checkpoint: Checkpoint
    dialogues: Mapping[str, kept.UnjudgedConversation]


class AdversarialRun:
    """One attempt at one run."""

    def __init__(
        self,
        context: JobContext,
        params: EvaluateAdversarial,
        settings: Settings,
        registry: ProviderRegistry,
        providers: ProviderSettings,
    ) -> None:
        self.context = context
        self.params = params
        self.settings = settings
        self.registry = registry
        self.providers = providers
        self.run_id = UUID(str(context.job.progress.details["run_id"]))
        self.job_id = context.job.root_id
        self.planned: int | None = None
        """Tests of the run in all, once its cases are settled."""
        self.started = time.monotonic()

    async def run(self) -> Summary:
        test = self._open()
        await self._freeze(test)
        provider = await self.registry.provider(test.choice)
        policy = CallPolicy(attempt_timeout_seconds=self.params.call_timeout_seconds)
        attempt = self.context.job.attempt
        async with (
            CallLog(
                self.context.database, run_id=self.run_id, job_id=self.job_id, attempt=attempt
            ) as calls,
            CredentialLeases(
                self.context,
                test.target,
                test.app,
                test.credentials,
                case_delay_seconds=self.params.case_delay_seconds,
            ) as lanes,
        ):
            slots = Slots(self.params.concurrency)
            caller = LlmCaller(provider, slots=slots, recorder=calls, policy=policy)
            try:
                left = await self._prepare(test, caller)
                await self._put(test, left, lanes, caller, calls)
            except* (ProviderError, ChatbotGone) as stopping:
                # Every later case would fare the same: stop here, with what there is.
                await calls.flush()  # its summary counts them
                result = await self._result(await self._outcomes())
                raise JobFailed(_reason(stopping), result=result) from stopping
        return await self._settle()

    def _open(self) -> _Test:
        """What a job that came by plain SQL may still have wrong is its reason to fail."""
        params = self.params
        try:
            settings = chatbot_settings()
            choice = resolve(self.providers, params.llm_provider, params.llm_model)
            app = apps.load(params.app_id)
            users = difficult_users(app)
            target = params.chatbot.target(app, settings)
            if target is None:
                raise TargetRefused(
                    "Where is the chatbot? Set chatbot.url, or EVALQUEUE_CHATBOT_URL where the "
                    "workers run"
                )
            credentials = params.chatbot.credentials_for(target, settings)
        except (ProviderUnavailable, UnknownApp, TargetRefused) as error:
            raise JobFailed(str(error)) from error
        playing = Parameters(temperature=params.simulator_temperature, max_output_tokens=2048)
        judging = Parameters(temperature=params.temperature)
        return _Test(
            app=app,
            users=users,
            choice=choice,
            target=target,
            credentials=credentials,
            simulator=UserSimulator(app, users, parameters=playing),
            adjudicator=Adjudicator(app, users, parameters=judging),
        )

    async def _freeze(self, test: _Test) -> None:
        opening = store.Opening(
            run_id=self.run_id,
            app_id=self.params.app_id,
            llm_provider=test.choice.provider.value,
            llm_model=test.choice.model,
            eval_temperature=self.params.temperature,
            data_path=self.params.cases_path,
            data_file_hash=None,
            dataset_id=None,
            total_items=self.params.generated * self.params.trials,
            config={
                "params": self.params.model_dump(mode="json", exclude={"cases"}),
                "evaluator_versions": {JUDGE: test.adjudicator.version},
                "simulator_version": test.simulator.version,
                "chatbot": {"protocol": test.target.protocol, "url": test.target.url},
            },
        )
        run = await self.context.retry_fenced(partial(store.open_run, opening=opening))
        if run is None:
            raise JobFailed(f"Its run {self.run_id} was deleted: submit it anew")

    async def _prepare(self, test: _Test, caller: LlmCaller) -> _Left:
        """The run's cases, settled by the first attempt that comes this far, and what is done."""
        cases = await self.context.retry_fenced(partial(kept.cases, run_id=self.run_id))
        if not cases:
            settled = await self._cases(test, await self._replaying(caller, GENERATION))
            trials = self.params.trials

            async def settle(connection: Connection) -> list[Case]:
                await kept.settle_cases(connection, self.run_id, settled, trials=trials)
                return await kept.cases(connection, self.run_id)

            cases = await self.context.retry_fenced(settle)
        self.planned = len(cases) * self.params.trials

        async def look(connection: Connection) -> _Left:
            return _Left(
                cases=cases,
                checkpoint=await kept.checkpoint(connection, self.run_id, self.job_id),
                dialogues=await kept.dialogues(connection, self.run_id, self.job_id),
            )

        return await self.context.retry_fenced(look)

    async def _cases(self, test: _Test, judge: Judge) -> list[Case]:
        admission = AdmissionContext(settings=self.settings, database=self.context.database)
        try:
            given = distinct(await self.params.given(admission, test.app))
            slots = self.params.slots(test.users)
        except (InvalidParams, ValueError) as error:
            raise JobFailed(str(error)) from error
        if not slots and not given:
            raise JobFailed("There is no case to put: none is generated, and none is given")
        if not slots:
            return given
        self.context.progress(0, len(slots) + len(given), f"Making up {len(slots)} cases")
        try:
            made_up = await generate(
                test.app,
                slots,
                judge,
                instructions=self.params.extra_instructions or "",
                taken=[case.opening for case in given],
                parameters=Parameters(temperature=self.params.simulator_temperature),
            )
        except TooFewCases as error:
            raise JobFailed(str(error)) from error
        return [*given, *made_up]

    async def _put(
        self, test: _Test, left: _Left, lanes: CredentialLeases, caller: LlmCaller, calls: CallLog
    ) -> None:
        """Put every case that is left, one at a time on each lane."""
        trials = [
            _Trial(case=case, number=number)
            for case in left.cases
            for number in range(1, self.params.trials + 1)
        ]

        await self.context.map(
            trials,
            _TrialWork(self, test, left, lanes, caller, calls),
            checkpoint=left.checkpoint,
            # While one case of a lane is judged, the next one can be put.
            concurrency=2 * len(lanes),
        )

    async def finish(
        self, test: _Test, trial: _Trial, held: kept.UnjudgedConversation, caller: LlmCaller
    ) -> kept.TrialResult:
        """The verdict on a conversation that an earlier attempt has left, if it was a whole one."""
        place = self._place(trial, held.credential)
        if held.dialogue is None:
            message = CUT_SHORT.format(turns=len(held.exchanges))
            ending = Ending(stop_reason=StopReason.ERROR, reason=message)
            cut = Dialogue(exchanges=held.exchanges, ending=ending)
            found = test.adjudicator.interrupted(trial.case, trial.number, cut, message)
        else:
            judge = await self._replaying(caller, JUDGE, trial.key)
            found = await self._judged(test, trial, held.dialogue, judge)
        return kept.TrialResult(
            place=place, case_result=found, started_at=held.started_at, ended_at=held.ended_at
        )

    async def _replaying(self, caller: LlmCaller, evaluator: str, key: str | None = None) -> Judge:
        """A judge behind what an earlier attempt of this job has on record."""
        bought = await self.context.retry_fenced(
            partial(
                kept.recorded,
                run_id=self.run_id, job_id=self.job_id, evaluator=evaluator, key=key,
            )
        )  # fmt: skip
        return Judge(Replay(caller, bought))

    async def put_live(
        self, test: _Test, trial: _Trial, lanes: CredentialLeases, judge: Judge
    ) -> kept.TrialResult:
        async with lanes.take(trial.key) as lane:
            place = self._place(trial, lane.credential)
            started_at = datetime.now(UTC)
            dialogue = await converse(
                trial.case,
                key=trial.key,
                chatbot=lane.chatbot,
                simulator=test.simulator,
                judge=judge,
                limits=self.params.limits,
                recorder=_FencedRecorder(self.context, place),
            )
            ended_at = datetime.now(UTC)
            await self.context.retry_fenced(partial(kept.end, place=place, ending=dialogue.ending))
            lanes.note_ending(lane, dialogue.fault)
        found = await self._judged(test, trial, dialogue, judge)
        return kept.TrialResult(
            place=place, case_result=found, started_at=started_at, ended_at=ended_at
        )

    async def _judged(
        self, test: _Test, trial: _Trial, dialogue: Dialogue, judge: Judge
    ) -> CaseResult:
        return await test.adjudicator.judged(
            trial.case, trial.number, dialogue, key=trial.key, judge=judge
        )

    def _place(self, trial: _Trial, credential: str | None) -> kept.TrialAttempt:
        return kept.TrialAttempt(
            run_id=self.run_id,
            job_id=self.job_id,
            attempt=self.context.job.attempt,
            case_id=trial.case.case_id,
            trial=trial.number,
            credential=credential,
        )

    async def _settle(self) -> Summary:
        outcomes = await self._outcomes()
        settlement = rates.settle(outcomes)
        result = await self._result(outcomes) | {"run_status": settlement.status.value}
        if settlement.status is RunEnd.COMPLETED_WITH_ERRORS:
            result["incomplete"] = True  # so that the job can be retried
        if settlement.error_message is not None:
            result["message"] = settlement.error_message
        if settlement.status is RunEnd.FAILED:
            raise JobFailed(settlement.error_message or "Nothing was judged", result=result)
        return result

    async def _outcomes(self) -> list[rates.TrialOutcome]:
        return await self.context.retry_fenced(partial(kept.outcomes, run_id=self.run_id))

    async def _result(self, outcomes: list[rates.TrialOutcome]) -> dict[str, Any]:
        usage = await self.context.retry_fenced(partial(store.usage, run_id=self.run_id))
        return {
            "run_id": str(self.run_id),
            "duration_seconds": round(time.monotonic() - self.started, 3),
            **rates.summarise(outcomes, planned=self.planned),
            **usage.as_json(),
        }


class _TrialWork(ItemWork[_Trial, kept.TrialResult]):
    """Puts one case to the chatbot, and judges the conversation."""

    noun = "Case"

    def __init__(
        self,
        run: AdversarialRun,
        test: _Test,
        left: _Left,
        lanes: CredentialLeases,
        caller: LlmCaller,
        calls: CallLog,
    ) -> None:
        self._run = run
        self._test = test
        self._left = left
        self._lanes = lanes
        self._caller = caller
        self._calls = calls

    def key(self, item: _Trial, /) -> str:
        return item.key

    async def work(self, item: _Trial, /) -> kept.TrialResult:
        held = self._left.dialogues.get(item.key)
        if held is None:
            judge = Judge(self._caller)
            found = await self._run.put_live(self._test, item, self._lanes, judge)
        else:
            found = await self._run.finish(self._test, item, held, self._caller)
        await self._calls.flush()
        return found

    async def store(self, connection: Connection, result: kept.TrialResult, /) -> None:
        await kept.keep(connection, result)

    def succeeded(self, result: kept.TrialResult, /) -> bool:
        return result.case_result.verdict is not None

    def on_stored(self, result: kept.TrialResult, /) -> None:
        self._lanes.note_stored(result.place.key)


class _FencedRecorder:
    """Writes down what is said, inside the fence: who is no longer in charge says nothing more."""

    def __init__(self, context: JobContext, place: kept.TrialAttempt) -> None:
        self._context = context
        self._place = place

    async def record(self, exchange: Exchange) -> None:
        async def write(connection: Connection) -> None:
            if exchange.number == 1 and exchange.reply is None and exchange.fault is None:
                await kept.begin(connection, self._place)
            await kept.note(connection, self._place, exchange)

        await self._context.retry_fenced(write)


def _reason(stopping: ExceptionGroup[ProviderError | ChatbotGone]) -> str:
    error = next(leaves(stopping))
    return f"{error.outcome}: {error.message}" if isinstance(error, ProviderError) else str(error)
