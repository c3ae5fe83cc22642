"""The job type `evaluate-batch`: its params, and what is refused before a job is stored."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Self

from pydantic import Field, field_validator, model_validator

from evalqueue.errors import InvalidParams, Problem
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.evaluators.batch.asking_params import AskingParams, admitted_model, replayed_run
from evalqueue.evaluators.batch.file_params import FileParams, refusals
from evalqueue.evaluators.batch.fit import Misfit, NamedBy, misfits, without_data
from evalqueue.evaluators.datasets import bundled, imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.formats.data_directory import opened_confined
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.judge import DEFAULT_PARAMETERS, Parameters
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.registry import EvaluatorParams
from evalqueue.evaluators.judging.threads import Chosen, choose
from evalqueue.evaluators.providers.registry import ProviderSettings, ProviderUnavailable, resolve
from evalqueue.evaluators.runs.other_models import refuse_other_models
from evalqueue.evaluators.runs.params import AppDigest, AppId, DatasetId, RunParams, usual_name
from evalqueue.evaluators.runs.vote_params import VoteParams, refuse_votes
from evalqueue.jobtypes import AdmissionContext, JobParams

_THREADS_PER_HELPER = 50  # fewer are done before another worker has read the data
_HELPERS_MAX = 31
_BUNDLED_DATASET = "kaira"
_TEXT_NAME = "csv_content"  # of a dataset that came without a name
SOURCES = ("data_path", "csv_content", "dataset_id", "total_items")
_STORED = (["data_path", "dataset_id"], ["dataset_id", "total_items"])


class EvaluateBatch(
    RunParams,
    AskingParams,
    FileParams,
    EvaluatorParams,
    VoteParams,
    job_type="evaluate-batch",
):
    """Evaluate conversations."""

    dataset_id: DatasetId | None = None
    """A stored dataset."""
    total_items: int | None = Field(default=None, ge=1)
    """So many of the bundled conversations (48), for a first try without data of one's own."""

    thread_ids: list[str] | None = Field(default=None, min_length=1, max_length=10_000)
    """Only these threads."""
    sample_size: int | None = Field(default=None, ge=1)
    """Only so many threads, drawn by `seed`: the same ones each time."""
    seed: int = 0
    """Another seed draws other threads."""

    app_id: AppId | None = None
    """The app that describes the bot. Default: the dataset's app, else EVALQUEUE_DEFAULT_APP."""
    app_digest: AppDigest | None = None
    """One version of the app. Default: its newest when the job is submitted, from then on fixed."""
    evaluators: list[str] | None = Field(default=None, max_length=100)
    """Only these evaluators, of the app, the catalogue or those installed; without it, all of the
    app and all that are installed and not switched off."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """LLM calls in flight at most, in each worker that shares the batch."""
    max_workers: int | None = Field(default=None, ge=1, le=1000)
    """Workers that may share a large batch; without it, as many as are idle."""
    call_timeout_seconds: float = Field(default=60.0, ge=5, le=600)
    """Of one attempt at one LLM call."""
    max_wait_seconds: float | None = Field(default=None, gt=0, le=30 * 86_400)
    """The job fails, with all that was judged, once no LLM call was answered for so long: because
    of a rate limit, or because the endpoint is down. `retry` continues it. Default:
    EVALQUEUE_LLM_MAX_WAIT_SECONDS, else it waits without end."""

    api_key: str | None = None
    """Not accepted: the worker's environment has the credentials."""
    service_account_path: str | None = None
    """Not accepted, either."""

    @field_validator("api_key", "service_account_path")
    @classmethod
    def _no_secrets(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError(
                "Credentials never travel in a job: set OPENAI_API_KEY, AZURE_OPENAI_API_KEY, "
                "GEMINI_API_KEY or GOOGLE_APPLICATION_CREDENTIALS where the worker runs"
            )
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        # What was asked for stays beside the dataset that it led to.
        if len(given) != 1 and given not in _STORED:
            raise ValueError(
                f"Say what to evaluate by one of {', '.join(SOURCES)}; "
                f"{'given are ' + ' and '.join(given) if given else 'none is given'}"
            )
        if self.app_digest is not None and self.app_id is None:
            raise ValueError("app_digest: say of which app (app_id)")
        if self.replay is not None and self.panel:
            raise ValueError("replay does not tell the answers of models apart: leave out panel")
        if self.replay is not None and self.is_batched:
            raise ValueError("replay calls no LLM: leave out mode")
        if self.evaluators is not None and not self.evaluators:
            raise ValueError("All evaluators are off: there is nothing to do")
        return self

    async def admit_without_data(self, admission: AdmissionContext) -> None:
        """Refuse what can't work whatever the conversations are: they come later, and without an
        app of their own.

        Raises:
            InvalidParams: with the params that are wrong.
        """
        with refusals(self.source_field):
            app = (await self.app(admission, None)).app
            self._refuse_no_evaluators(app)
            calls_llm = registry.calls_llm(self.plan(app))
            replayed = await replayed_run(self, admission)
            await admitted_model(self, admission, ProviderSettings(), replayed, calls_llm=calls_llm)

    async def admit(self, admission: AdmissionContext) -> Self:
        """Refuse what can't work: no key, no model, no price for a cap, no such app, bad
        rows, unknown threads."""
        with refusals(self.source_field):
            settings = ProviderSettings()
            replayed = await replayed_run(self, admission)
            # Before a file is stored, by what is known then.
            if self.app_id is not None:
                self._refuse_no_evaluators((await self.app(admission, None)).app)
            may_call = await self._may_call_llm(admission)
            await admitted_model(self, admission, settings, replayed, calls_llm=may_call)
            content = await self.content(admission)
            stored = await self.app(admission, content.id)
            self._refuse_no_evaluators(stored.app)
            calls_llm = registry.calls_llm(self.plan(stored.app))
            choice = await admitted_model(self, admission, settings, replayed, calls_llm=calls_llm)
            await refuse_other_models(
                self,
                settings,
                registry.models(self.plan(stored.app)),
                owner=admission.owner,
                is_batched=self.is_batched,
            )
        if self.total_items is not None and self.total_items > content.threads:
            raise InvalidParams.of(
                "total_items", f"There are {content.threads} bundled conversations"
            )
        if self.thread_ids is not None:
            chosen = await self.choose(admission, content.id)
            if chosen.unknown:
                shown = ", ".join(chosen.unknown[:10])
                raise InvalidParams.of("thread_ids", f"Not in the data: {shown}")
        named_by = await self.app_named_by(admission, content.id)
        found = await self.misfits(admission, stored.app, content.id, named_by=named_by)
        if refused := [each for each in found if each.refused]:
            raise InvalidParams(
                [Problem(loc=("params", each.field), msg=each.message) for each in refused]
            )
        async with admission.database.transaction() as connection:
            await app_store.keep(connection, stored.app)
        # Beside a stored dataset, a mask would do nothing any more.
        done = {"csv_content": None, "mask": None} if self.csv_content is not None else {}
        named = None if content.name == _TEXT_NAME else content.name
        some = f"{content.threads} conversation{'' if content.threads == 1 else 's'}"
        return self.model_copy(
            update={
                "name": self.name or usual_name(self.data_path or named or some, stored.app_id),
                "app_id": stored.app_id,
                "app_digest": stored.digest,
                "llm_provider": None if choice is None else choice.provider,
                "llm_model": None if choice is None else choice.model,
                "dataset_id": content.id,
                "mask_names": None,
                **({} if replayed is None else {"replay": replayed.id}),
                **done,
            }
        )

    async def _may_call_llm(self, admission: AdmissionContext) -> bool:
        """Whether an LLM may be asked, as far as that is known before a file is read: the file may
        be a dataset with an app of its own."""
        try:
            return registry.calls_llm(self.plan((await self.app(admission, self.dataset_id)).app))
        except (UnknownApp, registry.UnknownEvaluator):
            return True

    def stored(self) -> dict[str, object]:
        """A file never travels in a job: nor does the place where it was."""
        is_here = self.csv_content is not None
        without = set[str]() if is_here else {"csv_content", "mask_names"}
        return self.model_dump(mode="json", exclude_unset=True, exclude=without)

    def lasting(self) -> dict[str, object]:
        """A schedule reads a file, and an app, as they are when its time has come."""
        stored = self.stored()
        stored.pop("app_digest", None)
        if self.data_path is not None or self.total_items is not None:
            stored.pop("dataset_id", None)
        return stored

    async def app(self, admission: AdmissionContext, dataset_id: str | None) -> StoredApp:
        """The app that is meant: the job's, else the dataset's, else the default app.

        Raises:
            UnknownApp: there is none of this name.
        """
        async with admission.database.connection() as connection:
            app_id = self.app_id
            if app_id is None and dataset_id is not None:
                app_id = await app_store.of_dataset(connection, dataset_id, owner=admission.owner)
            return await app_store.named(
                connection,
                app_id or admission.settings.default_app,
                owner=admission.owner,
                digest=self.app_digest,
            )

    async def app_named_by(self, admission: AdmissionContext, dataset_id: str) -> NamedBy:
        """What names the app of these params."""
        if self.app_id is not None:
            return NamedBy.JOB
        async with admission.database.connection() as connection:
            found = await app_store.of_dataset(connection, dataset_id, owner=admission.owner)
        return NamedBy.SETTINGS if found is None else NamedBy.DATASET

    async def misfits(
        self, admission: AdmissionContext, app: App, dataset_id: str, *, named_by: NamedBy
    ) -> tuple[Misfit, ...]:
        """What does not fit between the app, the evaluators and a dataset."""
        plan = self.plan(app)
        wanted = (await self.choose(admission, dataset_id)).thread_ids if self.chooses else None
        async with admission.database.connection() as connection:
            statistics = await datasets.statistics(connection, dataset_id)
            lacking = await without_data(connection, plan, dataset_id, wanted)
        return misfits(
            plan,
            {} if statistics is None else statistics.intents,
            named_by=named_by,
            without_data=lacking,
        )

    async def warnings(
        self, admission: AdmissionContext, given: JobParams | None = None
    ) -> Sequence[str]:
        """What does not fit, and was accepted."""
        if self.dataset_id is None:
            return ()
        app = (await self.app_of_job(admission, self.dataset_id)).app
        submitted = given if isinstance(given, EvaluateBatch) else self
        named_by = await submitted.app_named_by(admission, self.dataset_id)
        found = await self.misfits(admission, app, self.dataset_id, named_by=named_by)
        return [each.message for each in found]

    async def app_of_job(self, admission: AdmissionContext, dataset_id: str) -> StoredApp:
        """The app of a job that was submitted: its content is fixed, even if the app has changed or
        was removed since. A job that came by plain SQL was not looked at before.

        Raises:
            UnknownApp: there is none.
        """
        if self.app_id is None or self.app_digest is None:
            return await self.app(admission, dataset_id)
        async with admission.database.connection() as connection:
            return await app_store.of_job(
                connection, self.app_id, self.app_digest, owner=admission.owner
            )

    def _refuse_no_evaluators(self, app: App) -> None:
        chosen = registry.chosen(self.plan(app))
        if not chosen:
            raise InvalidParams.of("evaluators", "All of them are switched off")
        refuse_votes(self, self.plan(app))

    async def content(self, admission: AdmissionContext) -> datasets.Content:
        """The dataset that is meant, which is stored by then.

        Raises:
            SourceError: it can't be read, or some rows are bad.
        """
        dataset_id = self.dataset_id
        if dataset_id is None:
            async with self.incoming(admission) as incoming:
                added = await imports.add(
                    admission.database, incoming, owner=admission.owner, kept=False
                )
            dataset_id = added.dataset_id
        found = await self._found(admission, dataset_id)
        if found is None:
            # Looked up again in any case: another process may have read it in the meantime.
            dataset_id = await self._read(admission, dataset_id)
            found = await self._found(admission, dataset_id)
        if found is None:
            raise FormatError(f"There is no dataset {dataset_id}")
        return found

    async def _found(self, admission: AdmissionContext, dataset_id: str) -> datasets.Content | None:
        async with admission.database.connection() as connection:
            return await datasets.content(connection, dataset_id, owner=admission.owner)

    async def _read(self, admission: AdmissionContext, dataset_id: str) -> str:
        """Read what came by plain SQL, unless that was done before. Returns the dataset's id."""
        async with admission.database.connection() as connection:
            text = await datasets.raw(connection, dataset_id)
        if text is None:
            return dataset_id
        async with imports.spooled(text) as file:
            del text
            incoming = Incoming(file=file, name=_TEXT_NAME, date_order=self.date_order)
            added = await imports.add(
                admission.database, incoming, owner=admission.owner, kept=False
            )
        return added.dataset_id

    @asynccontextmanager
    async def incoming(self, admission: AdmissionContext) -> AsyncGenerator[Incoming]:
        """The file that is meant, where it is not stored yet."""
        masks = await self.masks(admission.settings.data_directory)
        if self.csv_content is not None:
            async with imports.spooled(self.csv_content) as file:
                yield Incoming(file=file, name=_TEXT_NAME, date_order=self.date_order, masks=masks)
        elif self.data_path is not None:
            opening = opened_confined(
                admission.settings.data_directory,
                self.data_path,
                max_bytes=admission.settings.max_dataset_bytes,
            )
            with ExitStack() as files:
                file = await asyncio.to_thread(files.enter_context, opening)
                yield Incoming(
                    file=file, name=self.data_path, date_order=self.date_order, masks=masks
                )
        else:
            path = bundled.path(_BUNDLED_DATASET)
            with await asyncio.to_thread(path.open, "rb") as file:
                yield Incoming(file=file, name=path.name)

    async def choose(self, admission: AdmissionContext, dataset_id: str) -> Chosen:
        """The threads of a dataset that are meant."""
        async with admission.database.connection() as connection:
            available = await datasets.thread_ids(connection, dataset_id)
        return self.chosen(available)

    def chosen(self, available: Iterable[str]) -> Chosen:
        """The threads that are meant, of those there are."""
        return choose(
            available,
            thread_ids=self.thread_ids,
            sample_size=self.sample_size or self.total_items,
            seed=self.seed,
        )

    def max_helpers(self, threads: int) -> int:
        """How many other workers so many threads are worth."""
        others = _HELPERS_MAX if self.max_workers is None else self.max_workers - 1
        return min(threads // _THREADS_PER_HELPER, others)

    def plan(self, app: App) -> EvaluationPlan:
        """What is asked of every thread."""
        return EvaluationPlan(
            app=app,
            evaluators=None if self.evaluators is None else tuple(self.evaluators),
            options=self.evaluator_options,
            parameters=Parameters(
                temperature=self.temperature,
                max_output_tokens=self.max_output_tokens or DEFAULT_PARAMETERS.max_output_tokens,
                model_settings=self.model_settings,
            ),
            votes=self.votes,
            second_model=self.second_model,
            panel=self.panel,
            model=self._own_model() if self.panel else None,
        )

    def _own_model(self) -> str | None:
        with suppress(ProviderUnavailable):
            choice = resolve(ProviderSettings(), self.llm_provider, self.llm_model)
            return f"{choice.provider}/{choice.model}"
        return None

    @property
    def evaluator_options(self) -> dict[str, object]:
        """The params of the evaluators."""
        return {name: getattr(self, name) for name in EvaluatorParams.model_fields}

    @property
    def chooses(self) -> bool:
        """Whether some threads only are meant, and not all there are."""
        return not (
            self.thread_ids is None and self.sample_size is None and self.total_items is None
        )

    @property
    def source_field(self) -> str:
        """The param that says what to evaluate."""
        return next(name for name in SOURCES if getattr(self, name) is not None)
