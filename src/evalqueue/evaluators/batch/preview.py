"""What a batch would do, before anything is stored or paid: its conversations, its LLM calls, and
what these may use."""

import asyncio
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.apps import UnknownApp
from evalqueue.evaluators.batch import earlier_runs, samples
from evalqueue.evaluators.batch.estimates import Estimate, estimate_batch
from evalqueue.evaluators.batch.file_params import problems
from evalqueue.evaluators.batch.fit import Misfit, NamedBy, data_needed, misfits, without_data
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.batch.planned_calls import (
    NO_CALLS,
    PlannedCalls,
    looks_at_answers,
    marked_answers,
    marks_of,
    planned,
    staged_counts,
    staged_ids,
    staged_marks,
)
from evalqueue.evaluators.conversation import MAY_BE_EMPTY, Thread, TurnData
from evalqueue.evaluators.datasets import staging
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Identified, Incoming, identified
from evalqueue.evaluators.datasets.store import JudgedCounts
from evalqueue.evaluators.formats import (
    BadRow,
    Column,
    ContentStatistics,
    Faults,
    FormatError,
    Message,
    Notice,
)
from evalqueue.evaluators.formats.raw.compression import decompressed
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.threads import Chosen
from evalqueue.evaluators.providers.registry import ProviderSettings, ProviderUnavailable, resolve
from evalqueue.evaluators.runs.cap_params import price_list
from evalqueue.evaluators.runs.other_models import PricedModel, priced
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Connection, Database

HEAD_BYTES = 4 * 1024**2
"""Of a file that is cut off: more of it is not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a batch would do."""

    format: str
    columns: tuple[Column, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict[str, str])
    missing_columns: tuple[str, ...] = ()
    statistics: ContentStatistics | None = None
    """None: the file is cut off, or has faults."""
    chosen: JudgedCounts | None = None
    unknown_thread_ids: tuple[str, ...] = ()
    skipped: int = 0
    """How many conversations are left out, since earlier runs have evaluated them."""
    llm_calls: PlannedCalls | None = None
    estimate: Estimate | None = None
    """What the calls may use."""
    bad_rows: tuple[BadRow, ...] = ()
    more_bad_rows: int = 0
    is_date_order_needed: bool = False
    """Whether the file has dates like 1/2/2025, and does not decide their order."""
    notices: tuple[Notice, ...] = ()
    app_id: str | None = None
    """The app that is used. None: only the beginning of a file was looked at."""
    misfits: tuple[Misfit, ...] = ()
    """What does not fit between the app, the evaluators and the recorded labels."""


async def of_params(admission: AdmissionContext, params: EvaluateBatch) -> Preview:
    """Of a job that could be submitted so.

    Raises:
        InvalidParams: naming the fields.
    """
    try:
        if params.dataset_id is None:
            plan = await _plan(admission, params, None)
            async with params.incoming(admission) as file:
                found = await _of_file(admission.database, file, params, plan, admission.owner)
            return replace(found, columns=(), mapping={}, missing_columns=())
        content = await params.content(admission)
        plan = await _plan(admission, params, content.id)
    except FormatError as error:
        raise InvalidParams(problems(params.source_field, error)) from error
    async with admission.database.connection() as connection:
        statistics = await datasets.statistics(connection, content.id)
        thread_ids = await datasets.thread_ids(connection, content.id)
        chosen = params.chosen(thread_ids) if params.chooses else None
        wanted = None if chosen is None else chosen.thread_ids
        skipped = 0
        if params.skip_evaluated:
            asked = thread_ids if wanted is None else wanted
            wanted = await _not_evaluated(connection, admission.owner, params, plan, content, asked)
            skipped = len(asked) - len(wanted)
        counts = await datasets.counts(connection, content.id, wanted)
    marked = Counter[int]()
    if looks_at_answers(plan):
        marked = await marked_answers(admission.database, content.id, wanted, marks_of(plan))
    calls = planned(plan, counts, marked) if params.replay is None else NO_CALLS
    async with admission.database.connection() as connection:
        sample = await samples.of_dataset(
            connection, content.id, thread_ids if wanted is None else wanted
        )
        lacking = await without_data(connection, plan, content.id, wanted)
    named_by = await params.app_named_by(admission, content.id)
    counted = _Counted(statistics=statistics, chosen=chosen, counts=counts, calls=calls)
    preview = _preview(content.format, counted, plan, named_by, lacking)
    estimate = await _estimate(admission.database, admission.owner, params, plan, sample, preview)
    return replace(preview, estimate=estimate, skipped=skipped)


async def of_file(
    admission: AdmissionContext, incoming: Incoming, params: EvaluateBatch
) -> Preview:
    """Of a job on a file that is not stored, nor will be by this.

    Raises:
        SourceError: there is no such format.
        InvalidParams: naming the fields.
    """
    plan = await _plan(admission, params, None)
    return await _of_file(admission.database, incoming, params, plan, admission.owner)


def of_head(incoming: Incoming) -> Preview:
    """Of a file that is cut off somewhere: its columns, and the faults of the rows that are whole.
    Blocks.

    Raises:
        SourceError: there is no such format.
    """
    beginning = incoming.file.read(HEAD_BYTES)
    end = max(beginning.rfind(b"\n"), beginning.rfind(b"\r"))
    whole = beginning[: end + 1] if end >= 0 else beginning
    found = identified(replace(incoming, file=io.BytesIO(whole)))
    preview, mapped = _columns(found, incoming.mapping)
    faults = Faults(incoming.name)
    inside = decompressed(mapped.file, is_cut=True)
    for _ in mapped.format.messages(
        inside, faults, mapping=mapped.mapping, date_order=mapped.date_order, is_cut=True
    ):
        pass
    return replace(preview, bad_rows=faults.rows, more_bad_rows=faults.more, notices=faults.notices)


async def _of_file(
    database: Database,
    incoming: Incoming,
    params: EvaluateBatch,
    plan: EvaluationPlan,
    owner: str,
) -> Preview:
    found = await asyncio.to_thread(identified, incoming)
    preview, mapped = await asyncio.to_thread(_columns, found, incoming.mapping)
    faults = Faults(incoming.name)
    marks = marks_of(plan)
    sample = samples.FileSample()

    needed = data_needed(plan)
    lacking = set(needed)

    def mark(message: Message) -> int:
        sample.take(message)
        if lacking:
            lacking.difference_update(
                [each for each in lacking if any(_has(message, data) for data in needed[each])]
            )
        return marks(message.bot_text)

    async with database.long_read(owner=owner) as connection:
        await staging.stage(connection, mapped, faults, with_turns=False, mark=mark)
        if faults:
            return replace(
                preview, bad_rows=faults.rows, more_bad_rows=faults.more, notices=faults.notices
            )
        statistics = await staging.statistics(connection)
        chosen = params.chosen(await staged_ids(connection)) if params.chooses else None
        wanted = None if chosen is None else chosen.thread_ids
        counts = await staged_counts(connection, wanted)
        marked = await staged_marks(connection, wanted)
    _check_total_items(params, statistics.threads)
    calls = planned(plan, counts, marked) if params.replay is None else NO_CALLS
    named_by = NamedBy.SETTINGS if params.app_id is None else NamedBy.JOB
    counted = _Counted(statistics=statistics, chosen=chosen, counts=counts, calls=calls)
    found_out = _preview(preview.format, counted, plan, named_by, lacking)
    return replace(
        found_out,
        estimate=await _estimate(database, owner, params, plan, sample.threads, found_out),
        columns=preview.columns,
        mapping=preview.mapping,
        missing_columns=preview.missing_columns,
        is_date_order_needed=preview.is_date_order_needed,
        notices=faults.notices,
    )


async def _not_evaluated(
    connection: Connection,
    owner: str,
    params: EvaluateBatch,
    plan: EvaluationPlan,
    content: datasets.Content,
    thread_ids: Sequence[str],
) -> Sequence[str]:
    """The threads that `skip_evaluated` leaves over."""
    try:
        choice = (
            resolve(ProviderSettings(), params.llm_provider, params.llm_model)
            if registry.calls_llm(plan)
            else None
        )
    except ProviderUnavailable:
        return thread_ids
    evaluated = await earlier_runs.evaluated(
        connection,
        owner=owner,
        run_id=None,
        dataset_id=content.id,
        thread_ids=thread_ids,
        app_id=plan.app.app_id,
        choice=choice,
        versions={each.declaration.name: each.version for each in registry.make(plan)},
    )
    return [each for each in thread_ids if each not in evaluated]


async def _estimate(
    database: Database,
    owner: str,
    params: EvaluateBatch,
    plan: EvaluationPlan,
    sample: Sequence[Thread],
    preview: Preview,
) -> Estimate | None:
    """What the calls may use: in tokens only, if the model or its price is not known here. None:
    too little is known, or no LLM is called."""
    if params.replay is not None:
        return None
    settings = ProviderSettings()
    choice, prices = None, None
    with suppress(ProviderUnavailable):
        choice = resolve(settings, params.llm_provider, params.llm_model)
        prices = await price_list(settings, choice)
        prices = prices.of_batches() if params.is_batched else prices
    others: dict[str, PricedModel] = {}
    for name in registry.models(plan):
        with suppress(ProviderUnavailable):
            others |= await priced(settings, [name])
    async with database.connection() as connection:
        return await estimate_batch(
            connection,
            threads=sample,
            total_threads=0 if preview.chosen is None else preview.chosen.threads,
            calls=None if preview.llm_calls is None else preview.llm_calls.evaluators,
            evaluators=registry.make(plan),
            owner=owner,
            choice=choice,
            prices=prices,
            plan=plan,
            others=others,
        )


def _columns(found: Identified, given: Mapping[str, str] | None) -> tuple[Preview, Identified]:
    """What the first rows say, and the file as it is read then: by the mapping that was given and,
    for the other columns, by the guess."""
    head = found.format.head(decompressed(found.file, is_cut=True), given)
    found.file.seek(0)
    preview = Preview(
        format=found.format.name,
        columns=head.columns,
        mapping=head.mapping,
        missing_columns=head.missing,
        is_date_order_needed=head.is_date_order_needed and found.date_order is None,
    )
    return preview, replace(found, mapping=dict(given or {}))


def _has(message: Message, data: AbstractSet[TurnData]) -> bool:
    values = {each: getattr(message, each) for each in data}
    return all(
        value is not None if each in MAY_BE_EMPTY else bool(value) for each, value in values.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What there is, and how much of it is meant."""

    statistics: ContentStatistics | None
    chosen: Chosen | None
    counts: JudgedCounts
    calls: PlannedCalls


def _preview(
    form: str,
    counted: _Counted,
    plan: EvaluationPlan,
    named_by: NamedBy,
    without_data: Collection[str],
) -> Preview:
    statistics, counts = counted.statistics, counted.counts
    return Preview(
        format=form,
        statistics=statistics,
        chosen=JudgedCounts(threads=counts.threads, messages=counts.messages),
        unknown_thread_ids=() if counted.chosen is None else counted.chosen.unknown,
        llm_calls=counted.calls,
        app_id=plan.app.app_id,
        misfits=misfits(
            plan,
            {} if statistics is None else statistics.intents,
            named_by=named_by,
            without_data=without_data,
        ),
    )


def _check_total_items(params: EvaluateBatch, there: int) -> None:
    if params.total_items is not None and params.total_items > there:
        raise InvalidParams.of("total_items", f"There are {there} bundled conversations")


async def _plan(
    admission: AdmissionContext, params: EvaluateBatch, dataset_id: str | None
) -> EvaluationPlan:
    try:
        plan = params.plan((await params.app(admission, dataset_id)).app)
        registry.chosen(plan)
    except UnknownApp as error:
        raise InvalidParams.of("app_id", str(error)) from error
    except registry.UnknownEvaluator as error:
        raise InvalidParams.of("evaluators", str(error)) from error
    return plan
