"""Trying an evaluator on some conversations, in this process: nothing is stored.

The judge is asked with the keys of this process's environment. Its calls take no part in caps, and
in no run.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

from evalqueue.cli.commands.apps.stored import find_app
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.conversations.datasets import find_dataset, no_dataset
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.text import one_line
from evalqueue.errors import Refused
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.evaluator import Evaluation, Evaluator
from evalqueue.evaluators.judging.judge import Judge, concurrently
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.registry import UnknownEvaluator
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite
from evalqueue.evaluators.providers.registry import ProviderSettings, ProviderUnavailable, resolve
from evalqueue.evaluators.runs import usage
from evalqueue.evaluators.runs.command_calls import CommandCalls, open_calls
from evalqueue.evaluators.runs.usage import UsedByEvaluator
from evalqueue.evaluators.trying import findings
from evalqueue.evaluators.trying.findings import FoundByEvaluator
from evalqueue.postgres.database import Connection, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOptions:
    """What is tried, on what, and by which judge."""

    app: str
    """A file, APP or APP@VERSION."""
    evaluator: str
    dataset: str
    threads: tuple[str, ...]
    """Empty: the first ones of the dataset."""
    count: int
    provider: str | None
    model: str | None
    only_prompt: bool


class _Tried(FoundByEvaluator, UsedByEvaluator):
    """What was found in one conversation, and what that used."""

    thread_id: str


@dataclass(slots=True)
class _Prompts:
    """Keeps the questions instead of asking them."""

    requests: list[CompletionRequest] = field(default_factory=list[CompletionRequest])

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        self.requests.append(request)
        raise ProviderError(CallOutcome.BAD_REQUEST, "not asked")

    def note_read(self, request: CompletionRequest) -> None:
        """Nothing is answered."""

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        """Nothing is answered."""


async def try_evaluator(options: TryOptions, *, as_json: bool) -> ExitCode:
    """Ask a judge about some conversations, and print what it says.

    Returns:
        FAILED if there is no verdict on one, NOT_FOUND if there is nothing to try.
    """
    async with open_client() as client:
        database = await client.database()
        async with database.connection() as connection:
            try:
                app = await find_app(connection, options.app)
            except UnknownApp as error:
                console.print_message(str(error))
                return ExitCode.NOT_FOUND
            dataset = await find_dataset(connection, options.dataset)
            if dataset is None:
                return no_dataset(options.dataset)
            threads = await _threads(connection, dataset.id, options)
        evaluator = _made(app, options.evaluator)
        if options.only_prompt:
            return await _print_prompts(evaluator, threads, as_json=as_json)
        models = registry.models(EvaluationPlan(app=app, evaluators=(options.evaluator,)))
        async with _calls(database, options, models) as calls:
            judge = Judge(calls.caller)
            try:
                found = await concurrently(evaluator.evaluate(each, judge) for each in threads)
            except ProviderError as error:
                msg = f"The judge can't be asked: {error.outcome}: {error.message}"
                raise Refused(msg) from error
    tried = [
        _tried(thread, evaluation, calls) for thread, evaluation in zip(threads, found, strict=True)
    ]
    provider = calls.caller.provider
    if as_json:
        head = {"evaluator": options.evaluator, "version": evaluator.version}
        console.print_json({**head, "model": provider.model, "threads": tried})
    else:
        for each in tried:
            _print(each)
        console.print_message(f"{evaluator.version}, asked of {provider.name}/{provider.model}")
    return ExitCode.FAILED if any(each.failures for each in found) else ExitCode.DONE


def _made(app: App, name: str) -> Evaluator:
    try:
        (evaluator,) = registry.make(EvaluationPlan(app=app, evaluators=(name,)))
    except UnknownEvaluator as error:
        raise Refused(str(error)) from error
    return evaluator


async def _threads(connection: Connection, dataset_id: str, options: TryOptions) -> list[Thread]:
    wanted: Sequence[str] = options.threads
    if not wanted:
        wanted = (await datasets.thread_ids(connection, dataset_id))[: options.count]
    found = [await datasets.thread(connection, dataset_id, each) for each in wanted]
    missing = [name for name, thread in zip(wanted, found, strict=True) if thread is None]
    if missing:
        raise Refused(f"Not in the dataset: {', '.join(missing)}")
    return [thread for thread in found if thread is not None]


async def _print_prompts(
    evaluator: Evaluator, threads: Sequence[Thread], *, as_json: bool
) -> ExitCode:
    prompts = _Prompts()
    for thread in threads:
        await evaluator.evaluate(thread, Judge(prompts))
    if as_json:
        console.print_json([asdict(each) for each in prompts.requests])
    elif prompts.requests:
        system = prompts.requests[0].system
        console.print_data("\n\n".join(["# system", system, "# prompt"]))
        console.print_data("\n\n# prompt\n\n".join(each.prompt for each in prompts.requests))
    else:
        console.print_message("It has nothing to judge there: no call would be made.")
    return ExitCode.DONE


@asynccontextmanager
async def _calls(
    database: Database, options: TryOptions, models: Iterable[str]
) -> AsyncGenerator[CommandCalls]:
    settings = ProviderSettings()
    try:
        choice = resolve(settings, options.provider, options.model)
        async with open_calls(database, settings, choice, models=models) as calls:
            yield calls
    except ProviderUnavailable as error:
        raise Refused(error.message) from error


def _tried(thread: Thread, evaluation: Evaluation, calls: CommandCalls) -> _Tried:
    records = calls.recorded.records
    own = [each for each in records if each.site.thread_id == thread.thread_id]
    used = usage.used(own, calls.prices)
    return {"thread_id": thread.thread_id, **findings.as_json(evaluation), **used}


def _print(tried: _Tried) -> None:
    console.print_data(tried["thread_id"])
    if not tried["calls"]:
        console.print_data("  nothing to judge")
    for score in tried["scores"]:
        where = "" if score["turn"] is None else f" of turn {score['turn']}"
        value = score["failure"] or ("not measured" if score["value"] is None else score["value"])
        console.print_data(f"  {score['name']}{where}: {value}")
        if score["reasoning"]:
            console.print_data(f"    {one_line(score['reasoning'], 500)}")
        for each in score["evidence"]:
            mark = "" if each["in_transcript"] else " (not in what was said)"
            console.print_data(f"    turn {each['turn']}: “{one_line(each['quote'], 200)}”{mark}")
    for failure in tried["failures"]:
        console.print_data(
            f"  no verdict: {failure['reason']}: {one_line(failure['message'], 500)}"
        )
    console.print_data(f"  {usage.in_words(tried)}")
