"""The job type of adversarial tests: its params, and the checks before a job is stored."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, field_validator, model_validator

from evalqueue.errors import InvalidParams, Problem
from evalqueue.evaluators.adversarial import saved_cases
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.cases.case import (
    Case,
    CaseInput,
    CaseSource,
    InvalidCase,
    misfit,
)
from evalqueue.evaluators.adversarial.cases.files import read_cases
from evalqueue.evaluators.adversarial.cases.slots import Slot, Unfit, spread
from evalqueue.evaluators.adversarial.chatbot import (
    ChatbotParams,
    Name,
    difficult_users,
    refuse_unfit,
)
from evalqueue.evaluators.adversarial.dialogue import MAX_TURNS, Limits
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.evaluators.batch.economy.params import Mode
from evalqueue.evaluators.batch.file_params import problems
from evalqueue.evaluators.formats import BadData, BadRow, FormatError
from evalqueue.evaluators.formats.data_directory import read_confined
from evalqueue.evaluators.judging.judge import Parameters
from evalqueue.evaluators.providers.registry import ProviderSettings, ProviderUnavailable, resolve
from evalqueue.evaluators.runs.cap_params import CapParams, refuse_unpriced, refuse_used_up
from evalqueue.evaluators.runs.model_params import ModelParams
from evalqueue.evaluators.runs.params import AppDigest, AppId, RunParams, usual_name
from evalqueue.evaluators.verdicts import Difficulty
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Connection
from evalqueue.problems import OneLine

TEST_COUNT = 15
"""How many cases are generated when a job names none of any kind."""
_CASES_MAX = 1_000
_SHOWN_MISFITS = 5
_FILE_MAX_BYTES = 64 * 1024**2

CaseId = Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine]


class EvaluateAdversarial(RunParams, CapParams, ModelParams, job_type="evaluate-adversarial"):
    """Let difficult simulated users talk to a chatbot, and judge the conversations."""

    app_id: AppId | None = None
    """The app of the bot under test. Default: EVALQUEUE_DEFAULT_APP."""
    app_digest: AppDigest | None = None
    """One version of the app. Default: its newest when the job is submitted, from then on fixed."""
    chatbot: ChatbotParams = ChatbotParams()
    """The chatbot under test."""

    test_count: int | None = Field(default=None, ge=0, le=_CASES_MAX)
    """How many cases to generate, exactly. Default: 15, or none where other cases are given."""
    cases: list[CaseInput] = Field(default_factory=list[CaseInput], max_length=_CASES_MAX)
    """Cases of the job's own."""
    cases_path: str | None = Field(default=None, min_length=1)
    """A CSV or JSONL file of cases, or of harmful behaviours, inside `EVALQUEUE_DATA_DIR`."""
    saved: Literal["none", "pinned", "all"] = "pinned"
    """Which of the app's saved cases take part."""
    saved_case_ids: list[CaseId] = Field(default_factory=list[CaseId], max_length=_CASES_MAX)
    """Saved cases that always take part, whatever `saved` is."""
    from_run: UUID | None = None
    """An earlier run, whose cases are repeated."""
    from_run_cases: list[CaseId] | None = Field(default=None, min_length=1, max_length=_CASES_MAX)
    """Which of its cases. Default: those that did not pass every time."""

    traits: list[Name] | None = Field(default=None, min_length=1)
    """The app's traits that generated cases are spread over evenly. Default: all."""
    goals: list[Name] | None = Field(default=None, min_length=1)
    """Default: all; attacks only if an attacker or a tactic is named."""
    personas: list[Name] | None = Field(default=None, min_length=1)
    """Default: the mildest of each difficulty; attackers if a tactic or an attack is named."""
    tactics: list[Name] | None = Field(default=None, min_length=1)
    """Of attackers. Default: all that the app permits."""
    difficulties: list[Difficulty] | None = Field(default=None, min_length=1)
    """Default: all."""
    traits_per_case: int = Field(default=1, ge=1, le=3)
    """The number of traits of one generated case."""
    extra_instructions: str | None = Field(default=None, max_length=5_000)
    """Extra instructions for the LLM that generates the cases."""
    seed: int = 0
    """Another seed combines these in another way."""

    trials: int = Field(default=1, ge=1, le=20)
    """How many conversations each case has."""
    max_turns: int = Field(default=10, ge=1, le=MAX_TURNS)
    """Turns of a conversation for each of its goals. No conversation has more than 30."""
    turn_delay_seconds: float = Field(default=1.5, ge=0, le=10)
    """The delay between an answer and the next message."""
    case_delay_seconds: float = Field(default=0.0, ge=0, le=10)
    """The minimum delay between the starts of two conversations."""

    simulator_temperature: float = Field(default=0.7, ge=0, le=2)
    """The temperature of the LLM that generates cases and plays the users."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """The maximum number of LLM calls at the same time."""
    call_timeout_seconds: float = Field(default=60.0, ge=5, le=600)
    """The timeout of one attempt at one LLM call."""
    max_wait_seconds: float | None = Field(default=None, gt=0, le=30 * 86_400)
    """The job fails, with all that was judged, once no LLM call was answered for so long: because
    of a rate limit, or because the endpoint is down. `retry` continues it. Default:
    EVALQUEUE_LLM_MAX_WAIT_SECONDS, else it waits without end."""

    mode: Mode = Mode.LIVE
    """Only `live`."""
    api_key: str | None = None
    """Not accepted: the worker's environment has the credentials."""
    user_id: str | None = None
    """Not accepted: `chatbot.credentials` names credentials."""
    kaira_auth_token: str | None = None
    """Not accepted, either."""
    kaira_credential_pool: Any = None
    """Not accepted, either."""

    @field_validator("api_key", "user_id", "kaira_auth_token", "kaira_credential_pool")
    @classmethod
    def _no_secrets(cls, value: object) -> object:
        if value is not None:
            raise ValueError(
                "Credentials never travel in a job: set the provider's key and "
                "EVALQUEUE_CHATBOT_CREDENTIALS where the worker runs, and name them in "
                "chatbot.credentials"
            )
        return value

    @field_validator("mode")
    @classmethod
    def _only_live(cls, value: Mode) -> Mode:
        if value is not Mode.LIVE:
            raise ValueError(
                "economy is for evaluate-batch only: an adversarial test talks to a chatbot, where "
                "each message depends on the answer before it"
            )
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.app_digest is not None and self.app_id is None:
            raise ValueError("app_digest: say of which app (app_id)")
        if self.from_run_cases is not None and self.from_run is None:
            raise ValueError("from_run_cases: say of which run (from_run)")
        if self.test_count == 0 and self.saved == "none" and not self._has_cases():
            raise ValueError("There is nothing to do: test_count is 0 and no other cases are given")
        return self

    @property
    def generated(self) -> int:
        """How many cases to generate."""
        if self.test_count is not None:
            return self.test_count
        return 0 if self._has_cases() else TEST_COUNT

    def parameters(self, temperature: float, *, max_output_tokens: int) -> Parameters:
        """How the LLM is asked; `max_output_tokens` is the default."""
        return Parameters(
            temperature=temperature,
            max_output_tokens=self.max_output_tokens or max_output_tokens,
            model_settings=self.model_settings,
        )

    @property
    def limits(self) -> Limits:
        return Limits(max_turns=self.max_turns, turn_delay_seconds=self.turn_delay_seconds)

    async def admit(self, admission: AdmissionContext) -> Self:
        """Refuse params that can't work: a missing key or price, an unknown app or name, a
        chatbot that is not allowed, cases that don't match the app."""
        try:
            providers = ProviderSettings()
            choice = resolve(providers, self.llm_provider, self.llm_model)
            await refuse_unpriced(self, providers, choice, admission.owner)
            await refuse_used_up(admission)
        except ProviderUnavailable as error:
            raise InvalidParams.of(error.field, error.message) from error
        try:
            stored = await self.app(admission)
        except UnknownApp as error:
            raise InvalidParams.of("app_id", str(error)) from error
        app = stored.app
        await refuse_unfit(self.chatbot, app)
        try:
            self.slots(difficult_users(app))
        except Unfit as error:
            raise InvalidParams.of(error.field, str(error)) from error
        if not await self.given(admission, app) and not self.generated:
            raise InvalidParams.of("saved", "There is nothing to do: no such case is saved")
        async with admission.database.transaction() as connection:
            await app_store.keep(connection, app)
        return self.model_copy(
            update={
                "name": self.name or usual_name("adversarial test", app.app_id),
                "app_id": app.app_id,
                "app_digest": stored.digest,
                "llm_provider": choice.provider,
                "llm_model": choice.model,
            }
        )

    def lasting(self) -> dict[str, object]:
        """A schedule uses an app as it is when its time has come."""
        stored = self.stored()
        stored.pop("app_digest", None)
        return stored

    async def app(self, admission: AdmissionContext) -> StoredApp:
        """The app that is meant.

        Raises:
            UnknownApp: there is none of this name.
        """
        async with admission.database.connection() as connection:
            return await app_store.named(
                connection,
                self.app_id or admission.settings.default_app,
                owner=admission.owner,
                digest=self.app_digest,
            )

    async def app_of_job(self, admission: AdmissionContext) -> StoredApp:
        """The app of a job that was submitted: its content is fixed.

        Raises:
            UnknownApp: there is none.
        """
        if self.app_id is None or self.app_digest is None:
            return await self.app(admission)
        async with admission.database.connection() as connection:
            return await app_store.of_job(
                connection, self.app_id, self.app_digest, owner=admission.owner
            )

    def slots(self, users: DifficultUsers) -> list[Slot]:
        """The slots of the cases to generate.

        Raises:
            Unfit: the params have a name that the app doesn't have.
        """
        if not self.generated:
            return []
        return spread(
            users,
            self.generated,
            difficulties=self.difficulties,
            traits=self.traits,
            goals=self.goals,
            personas=self.personas,
            tactics=self.tactics,
            traits_per_case=self.traits_per_case,
            seed=self.seed,
        )

    async def given(self, admission: AdmissionContext, app: App) -> list[Case]:
        """The cases that are not generated: from the params, a file, saved cases, an earlier run.

        Raises:
            InvalidParams: some of them do not exist or are invalid.
        """
        users = difficult_users(app)
        manual = await asyncio.to_thread(self._manual, users)
        imported = await self._imported(admission, app)
        async with admission.database.connection() as connection:
            saved = (
                []
                if self.saved == "none"
                else await saved_cases.saved(
                    connection,
                    app.app_id,
                    owner=admission.owner,
                    only_pinned=self.saved == "pinned",
                )
            )
            named = await saved_cases.saved_named(
                connection,
                app.app_id,
                self.saved_case_ids,
                owner=admission.sees,
                first_owner=admission.owner,
            )
            again = await self._again(connection, admission.sees)
        missing = set(self.saved_case_ids) - {each.case_id for each in named}
        if missing:
            raise InvalidParams.of("saved_case_ids", f"Not saved: {', '.join(sorted(missing))}")
        stored = [*map(_as_saved, (*named, *saved)), *again]
        await asyncio.to_thread(self._refuse_misfits, stored, app)
        return [*manual, *imported, *stored]

    def _refuse_misfits(self, stored: Sequence[Case], app: App) -> None:
        """Refuse stored cases that no longer match the app."""
        users = difficult_users(app)
        misfits = [f"{case.case_id}: {why}" for case in stored if (why := misfit(case, users))]
        if not misfits:
            return
        shown = "; ".join(misfits[:_SHOWN_MISFITS])
        more = len(misfits) - _SHOWN_MISFITS
        raise InvalidParams.of(
            "from_run" if self.from_run else "saved",
            f"The app {app.app_id} has no place for some of these cases: {shown}"
            f"{f'; and {more} more' if more > 0 else ''}. Remove them, or name others.",
        )

    def _manual(self, users: DifficultUsers) -> list[Case]:
        found: list[Case] = []
        wrong: list[Problem] = []
        for number, each in enumerate(self.cases):
            try:
                found.append(each.to_case(users))
            except InvalidCase as error:
                wrong += [
                    Problem(loc=("params", "cases", number, field), msg=reason)
                    for field, reason in error.faults
                ]
        if wrong:
            raise InvalidParams(wrong)
        return found

    async def _imported(self, admission: AdmissionContext, app: App) -> list[Case]:
        path = self.cases_path
        if path is None:
            return []

        def read() -> list[Case]:
            directory = admission.settings.data_directory
            content = read_confined(directory, path, max_bytes=_FILE_MAX_BYTES)
            try:
                text = content.decode()
            except UnicodeDecodeError as error:
                where = content.count(b"\n", 0, error.start) + 1
                fault = BadRow(file=path, row=where, column=None, reason="this is not UTF-8")
                raise BadData((fault,)) from error
            return read_cases(text, name=path, app=app)

        try:
            return await asyncio.to_thread(read)
        except FormatError as error:
            raise InvalidParams(problems("cases_path", error)) from error

    async def _again(self, connection: Connection, sees: str | None) -> list[Case]:
        if self.from_run is None:
            return []
        found = await adversarial_store.cases_of(
            connection, self.from_run, self.from_run_cases, owner=sees
        )
        missing = set(self.from_run_cases or ()) - {case.case_id for case in found}
        if missing:
            shown = ", ".join(sorted(missing)[:10])
            raise InvalidParams.of("from_run_cases", f"Not in run {self.from_run}: {shown}")
        if not found:
            passed = await adversarial_store.cases(connection, self.from_run, owner=sees)
            why = "has no case that did not pass" if passed else "put no cases, or is not there"
            raise InvalidParams.of("from_run", f"Run {self.from_run} {why}")
        return [replace(case, source=CaseSource.RETRIED) for case in found]

    def _has_cases(self) -> bool:
        return bool(self.cases or self.cases_path or self.saved_case_ids or self.from_run)


def _as_saved(each: saved_cases.SavedCase) -> Case:
    return replace(each.case, source=CaseSource.PINNED if each.pinned else CaseSource.SAVED)
