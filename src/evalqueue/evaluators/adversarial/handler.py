"""How `evaluate-adversarial` tests a chatbot: the steps that only this kind of run has.

Each credential holds one conversation at a time, in all workers together: each conversation takes a
credential lease. After a crash the next attempt puts the cases that were not begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from evalqueue.context import Checkpoint
from evalqueue.errors import InvalidParams, JobFailed
from evalqueue.evaluators.adversarial import rates, store
from evalqueue.evaluators.adversarial.adjudication import NAME as JUDGE
from evalqueue.evaluators.adversarial.adjudication import Adjudicator
from evalqueue.evaluators.adversarial.cases.case import Case, distinct
from evalqueue.evaluators.adversarial.cases.generation import NAME as GENERATION
from evalqueue.evaluators.adversarial.cases.generation import TooFewCases, generate
from evalqueue.evaluators.adversarial.chatbot import difficult_users, tested
from evalqueue.evaluators.adversarial.credential_leases import ChatbotUnavailable, CredentialLeases
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.adversarial.simulated_user import UserSimulator
from evalqueue.evaluators.adversarial.trials import CaseTrial, TrialWork, replaying_judge
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.runs.attempt import Conclusion, RunAttempt, RunInput
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.evaluators.runs.store import Opened
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Connection

_Stored = tuple[Checkpoint, dict[str, store.UnjudgedConversation]]


@dataclass(slots=True, kw_only=True)
class AdversarialRun:
    """A run of `evaluate-adversarial`: a `RunKind`."""

    attempt: RunAttempt
    params: EvaluateAdversarial
    stored_app: StoredApp
    app: App
    users: DifficultUsers
    target: Target
    credentials: tuple[Credential, ...]
    simulator: UserSimulator
    adjudicator: Adjudicator
    planned_trials: int | None = None
    """Trials of the run in all; None until its cases are settled."""

    @classmethod
    async def open(cls, attempt: RunAttempt, params: EvaluateAdversarial) -> Self:
        """Load the app, and find the chatbot that the params name.

        Raises:
            JobFailed: the params name something that is wrong or missing.
        """
        context = attempt.context
        admission = AdmissionContext(
            settings=attempt.settings, database=context.database, owner=context.job.owner
        )
        try:
            stored_app = await context.database.retry_transient(
                partial(params.app_of_job, admission), what=f"Job {context.job.id}"
            )
            app = stored_app.app
            users = difficult_users(app)
            target, credentials = tested(params.chatbot, app)
        except (UnknownApp, TargetRefused) as error:
            raise JobFailed(str(error)) from error
        playing = params.parameters(params.simulator_temperature, max_output_tokens=2048)
        judging = params.parameters(params.temperature, max_output_tokens=4096)
        return cls(
            attempt=attempt,
            params=params,
            stored_app=stored_app,
            app=app,
            users=users,
            target=target,
            credentials=credentials,
            simulator=UserSimulator(app, users, parameters=playing),
            adjudicator=Adjudicator(app, users, parameters=judging),
        )

    @property
    def stop_errors(self) -> tuple[type[Exception], ...]:
        return (ProviderError, ChatbotUnavailable)

    @property
    def calls_llm(self) -> bool:
        return True

    @property
    def models(self) -> Sequence[str]:
        return ()

    def run_input(self) -> RunInput:
        return RunInput(
            app=self.stored_app,
            data_path=self.params.cases_path,
            total_items=self.params.generated * self.params.trials,
            config={
                "params": self.params.model_dump(mode="json", exclude={"cases"}),
                "evaluator_versions": {JUDGE: self.adjudicator.version},
                "simulator_version": self.simulator.version,
                "chatbot": {"protocol": self.target.protocol, "url": self.target.url},
            },
        )

    async def estimate(self, _prices: PriceList, /) -> None:
        """How long the conversations will be is not known."""

    async def begin(self, connection: Connection, _opened: Opened, /) -> list[Case]:
        """The run's cases; none: no earlier attempt has settled them."""
        return await store.cases(connection, self.attempt.run_id)

    async def work(self, begun: list[Case], caller: LlmCaller, call_log: CallLog, /) -> None:
        async with CredentialLeases(
            self.attempt.context,
            self.target,
            self.app,
            self.credentials,
            case_delay_seconds=self.params.case_delay_seconds,
        ) as leases:
            cases = begun or await self._settle_cases(caller)
            self.planned_trials = len(cases) * self.params.trials
            await self._put(cases, leases, caller, call_log)

    async def conclude(self, connection: Connection, /) -> Conclusion:
        outcomes = await store.outcomes(connection, self.attempt.run_id)
        return Conclusion(
            settlement=rates.settle(outcomes),
            summary=rates.summarise(outcomes, planned=self.planned_trials),
            judged=sum(outcome.is_judged for outcome in outcomes),
            planned=self.planned_trials,
            noun="conversations",
        )

    async def _settle_cases(self, caller: LlmCaller) -> list[Case]:
        """Collect and generate the run's cases, and store them for all its attempts."""
        judge = await replaying_judge(self.attempt, caller, GENERATION)
        collected = await self._collect_cases(judge)
        run_id, trials = self.attempt.run_id, self.params.trials

        async def settle(connection: Connection) -> list[Case]:
            await store.settle_cases(connection, run_id, collected, trials=trials)
            return await store.cases(connection, run_id)

        return await self.attempt.context.retry_fenced(settle)

    async def _collect_cases(self, judge: Judge) -> list[Case]:
        context = self.attempt.context
        admission = AdmissionContext(
            settings=self.attempt.settings, database=context.database, owner=context.job.owner
        )
        try:
            given = distinct(await self.params.given(admission, self.app))
            slots = self.params.slots(self.users)
        except (InvalidParams, ValueError) as error:
            raise JobFailed(str(error)) from error
        if not slots and not given:
            raise JobFailed("There is no case to put: none is generated, and none is given")
        if not slots:
            return given
        context.progress(0, len(slots) + len(given), f"Making up {len(slots)} cases")
        try:
            generated = await generate(
                self.app,
                slots,
                judge,
                instructions=self.params.extra_instructions or "",
                taken=[case.opening for case in given],
                parameters=self.params.parameters(
                    self.params.simulator_temperature, max_output_tokens=4096
                ),
            )
        except TooFewCases as error:
            raise JobFailed(str(error)) from error
        return [*given, *generated]

    async def _put(
        self,
        cases: Sequence[Case],
        leases: CredentialLeases,
        caller: LlmCaller,
        call_log: CallLog,
    ) -> None:
        """Put every case that is left, one at a time with each credential."""
        attempt = self.attempt

        async def stored(connection: Connection) -> _Stored:
            return (
                await store.checkpoint(connection, attempt.run_id, attempt.job_id),
                await store.dialogues(connection, attempt.run_id, attempt.job_id),
            )

        checkpoint, unjudged = await attempt.context.retry_fenced(stored)
        work = TrialWork(
            attempt=attempt,
            simulator=self.simulator,
            adjudicator=self.adjudicator,
            limits=self.params.limits,
            leases=leases,
            caller=caller,
            call_log=call_log,
            unjudged=unjudged,
        )
        await attempt.context.map(
            [
                CaseTrial(case=case, number=number)
                for case in cases
                for number in range(1, self.params.trials + 1)
            ],
            work,
            checkpoint=checkpoint,
            # While one conversation of a credential is judged, the next one can be led.
            concurrency=2 * len(leases),
        )
