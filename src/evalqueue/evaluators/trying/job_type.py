"""The job type `try-evaluators`: its params, and what is refused before a job is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, cast

from pydantic import Field, StringConstraints, model_validator

from evalqueue.errors import InvalidParams
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, InvalidApp, UnknownApp, documents
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.store import JudgedCounts
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.judge import DEFAULT_PARAMETERS, Parameters
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.registry import UnknownEvaluator
from evalqueue.evaluators.providers.registry import ProviderSettings, ProviderUnavailable, resolve
from evalqueue.evaluators.runs.cap_params import CapParams, refuse_unpriced, refuse_used_up
from evalqueue.evaluators.runs.model_params import ModelParams
from evalqueue.evaluators.runs.other_models import refuse_other_models
from evalqueue.evaluators.runs.params import AppDigest, AppId, DatasetId
from evalqueue.jobtypes import AdmissionContext, JobParams
from evalqueue.postgres.database import Connection
from evalqueue.problems import OneLine

THREADS_MAX = 10
EVALUATORS_MAX = 10
CALLS_MAX = 200
"""LLM calls of a job, if none has to be repeated."""
_DRAFT = ("document", "text", "definition")

EvaluatorName = Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine]
ThreadId = Annotated[str, StringConstraints(min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """What is tried, and on what."""

    app: StoredApp
    evaluators: tuple[Evaluator, ...]
    thread_ids: tuple[str, ...]
    models: Mapping[str, str]
    """Those that are asked besides the job's, as `provider/model`; each with who asks it."""


class TryEvaluators(JobParams, CapParams, ModelParams, job_type="try-evaluators"):
    """Ask evaluators about a few conversations, before an app is saved. It makes no run."""

    dataset_id: DatasetId
    """Where the conversations are."""
    thread_ids: list[ThreadId] | None = Field(default=None, min_length=1, max_length=THREADS_MAX)
    """Only these conversations. Default: the first ones."""
    count: int = Field(default=3, ge=1, le=THREADS_MAX)
    """How many of the first ones."""

    evaluators: list[EvaluatorName] | None = Field(
        default=None, min_length=1, max_length=EVALUATORS_MAX
    )
    """Of the app, the catalogue or those installed. Default: the definition that is given, else the
    app's own."""
    definition: dict[str, Any] | None = None
    """An evaluator's definition, which is tried in the app."""
    app_id: AppId | None = None
    """The app. Default: the dataset's app, else EVALQUEUE_DEFAULT_APP."""
    app_digest: AppDigest | None = None
    """One version of the app. Default: its newest when the job is submitted, from then on fixed."""
    document: dict[str, Any] | None = None
    """An app that is not saved, as a JSON object. Its content stays as long as the job."""
    text: str | None = Field(default=None, max_length=documents.MAX_BYTES)
    """An app that is not saved, as text."""
    notation: Notation = Notation.TOML
    """How `text` is written."""

    max_wait_seconds: float = Field(default=600.0, gt=0, le=86_400)
    """The job fails once no LLM call was answered for so long."""

    @property
    def concurrency(self) -> int:
        """LLM calls in flight at most."""
        return 8

    @property
    def call_timeout_seconds(self) -> float:
        """Of one attempt at one LLM call."""
        return 60.0

    @model_validator(mode="after")
    def _names_one_app(self) -> Self:
        if sum(each is not None for each in (self.app_id, self.document, self.text)) > 1:
            raise ValueError("Name the app by one of app_id, document and text")
        if self.app_digest is not None and self.app_id is None:
            raise ValueError("app_digest: say of which app (app_id)")
        return self

    async def admit(self, admission: AdmissionContext) -> Self:
        """Refuse what can't work, or would take too many calls; store the draft's content."""
        try:
            settings = ProviderSettings()
            choice = resolve(settings, self.llm_provider, self.llm_model)
            await refuse_unpriced(self, settings, choice, admission.owner)
            await refuse_used_up(admission)
        except ProviderUnavailable as error:
            raise InvalidParams.of(error.field, error.message) from error
        async with admission.database.transaction() as connection:
            stored = await self._app(connection, admission)
            trial = await self._trial(connection, stored)
            await app_store.keep(connection, trial.app.app)
        await refuse_other_models(
            self, settings, trial.models, owner=admission.owner, is_batched=False
        )
        return self.model_copy(
            update={
                **dict.fromkeys(_DRAFT),
                "app_id": trial.app.app_id,
                "app_digest": trial.app.digest,
                "evaluators": [each.declaration.name for each in trial.evaluators],
                "thread_ids": list(trial.thread_ids),
                "llm_provider": choice.provider,
                "llm_model": choice.model,
            }
        )

    def stored(self) -> dict[str, object]:
        """The draft of an app is stored as an app's content, and never travels in a job."""
        without = set(_DRAFT) | {"notation"} if self.app_digest is not None else set[str]()
        return self.model_dump(mode="json", exclude_unset=True, exclude=without)

    async def of_job(self, admission: AdmissionContext) -> TrialPlan:
        """What a job does that was submitted. One that came by plain SQL was not looked at before.

        Raises:
            InvalidParams: it can't be done.
        """
        async with admission.database.transaction() as connection:
            if self.app_id is None or self.app_digest is None:
                return await self._trial(connection, await self._app(connection, admission))
            try:
                stored = await app_store.of_job(
                    connection, self.app_id, self.app_digest, owner=admission.owner
                )
            except UnknownApp as error:
                raise InvalidParams.of("app_digest", str(error)) from error
            return await self._trial(connection, stored)

    async def _app(self, connection: Connection, admission: AdmissionContext) -> StoredApp:
        """The app that is meant, with the definition in it."""
        try:
            if self.text is not None:
                app = documents.read(self.text, self.notation, where="text")
            elif self.document is not None:
                app = documents.from_document(self.document, where="document")
            else:
                app = None
            if app is not None:
                app_store.check_name(app)
                registry.check(app)
                stored = app_store.not_stored(app)
            else:
                stored = await self._stored_app(connection, admission)
        except InvalidApp as error:
            field = "document" if self.text is None else "text"
            raise InvalidParams(
                [each.within("params", field) for each in error.problems]
            ) from error
        except UnknownApp as error:
            raise InvalidParams.of("app_id", str(error)) from error
        if self.definition is None:
            return stored
        return app_store.not_stored(_with(stored.app, self.definition))

    async def _stored_app(self, connection: Connection, admission: AdmissionContext) -> StoredApp:
        app_id = self.app_id
        if app_id is None:
            app_id = await app_store.of_dataset(connection, self.dataset_id, owner=admission.owner)
        return await app_store.named(
            connection,
            app_id or admission.settings.default_app,
            owner=admission.owner,
            digest=self.app_digest,
        )

    async def _trial(self, connection: Connection, stored: StoredApp) -> TrialPlan:
        thread_ids = await self._thread_ids(connection)
        plan = EvaluationPlan(
            app=stored.app,
            evaluators=self._names(stored.app),
            parameters=Parameters(
                temperature=self.temperature,
                max_output_tokens=self.max_output_tokens or DEFAULT_PARAMETERS.max_output_tokens,
                model_settings=self.model_settings,
            ),
        )
        counts = await datasets.counts(connection, self.dataset_id, thread_ids)
        try:
            calls = most_calls(plan, counts)
            evaluators = registry.make(plan)
        except UnknownEvaluator as error:
            raise InvalidParams.of("evaluators", str(error)) from error
        if calls > CALLS_MAX:
            raise InvalidParams.of(
                "evaluators" if self.thread_ids is None else "thread_ids",
                f"It may take {calls} LLM calls, and {CALLS_MAX} are allowed: try fewer evaluators,"
                " or fewer or shorter conversations",
            )
        return TrialPlan(
            app=stored, evaluators=evaluators, thread_ids=thread_ids, models=registry.models(plan)
        )

    async def _thread_ids(self, connection: Connection) -> tuple[str, ...]:
        available = await datasets.thread_ids(connection, self.dataset_id)
        if not available:
            raise InvalidParams.of("dataset_id", f"There is no dataset {self.dataset_id}")
        if self.thread_ids is None:
            return tuple(available[: self.count])
        wanted = tuple(dict.fromkeys(self.thread_ids))
        if missing := sorted(set(wanted) - set(available)):
            raise InvalidParams.of("thread_ids", f"Not in the data: {', '.join(missing)}")
        return wanted

    def _names(self, app: App) -> tuple[str, ...]:
        if self.evaluators is not None:
            return tuple(dict.fromkeys(self.evaluators))
        if self.definition is not None:
            return (str(self.definition.get("name") or self.definition.get("use")),)
        own = tuple(each.name for each in app.definitions)
        if not own:
            raise InvalidParams.of(
                "evaluators", f"{app.app_id} has no evaluators of its own: name one, or more"
            )
        if len(own) > EVALUATORS_MAX:
            msg = f"{app.app_id} has {len(own)} of its own: name at most {EVALUATORS_MAX}"
            raise InvalidParams.of("evaluators", msg)
        return own


def most_calls(plan: EvaluationPlan, counts: JudgedCounts) -> int:
    """How many LLM calls it may take at most, if none has to be repeated.

    Raises:
        UnknownEvaluator: the plan names one that there is not.
    """
    total = 0
    for kind in registry.chosen(plan):
        calls = kind.calls(plan)
        of_turn = calls.per_turn + (calls.for_answer is not None)
        once = calls.per_thread * counts.threads + of_turn * counts.messages
        total += once * kind.votes_in(plan)
    return total


def _with(app: App, definition: Mapping[str, Any]) -> App:
    """An app with one more evaluator, or with another one of the same name."""
    document = apps.to_document(app, with_defaults=False)
    there = cast("Sequence[Mapping[str, Any]]", document.get("evaluators", []))
    name = definition.get("name") or definition.get("use")
    kept = [each for each in there if (each.get("name") or each.get("use")) != name]
    # No owner can save an app under the name of a shipped one: nor is its content stored so.
    app_id = f"{app.app_id[:90]}-draft" if app.app_id in apps.known() else app.app_id
    changed = {**document, "app_id": app_id, "evaluators": [*kept, dict(definition)]}
    try:
        found = documents.from_document(changed, where="definition")
        registry.check(found)
    except InvalidApp as error:
        place = ("evaluators", len(kept))
        raise InvalidParams(
            [
                each.within("params", "definition")
                if each.loc[:2] != place
                else type(each)(
                    loc=("params", "definition", *each.loc[2:]), msg=each.msg, type=each.type
                )
                for each in error.problems
            ]
        ) from error
    return found
