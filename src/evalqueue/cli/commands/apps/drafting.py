"""A commented document to start an app from, perhaps with what a judge proposes.

The judge is asked with the keys of this process's environment. Nothing is stored.
"""

from dataclasses import dataclass, field
from pathlib import Path

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.conversations.datasets import find_dataset, no_dataset
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.text import one_line
from evalqueue.errors import Refused
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import InvalidApp, drafts
from evalqueue.evaluators.apps.drafts import Draft
from evalqueue.evaluators.datasets.store import Dataset
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.pace.waiting import Wait
from evalqueue.evaluators.proposing import asking, sample
from evalqueue.evaluators.proposing.asking import DraftedApp
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderSettings,
    ProviderUnavailable,
    resolve,
)
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED
from evalqueue.evaluators.runs import usage
from evalqueue.evaluators.runs.command_calls import open_calls
from evalqueue.evaluators.runs.usage import UsedByEvaluator
from evalqueue.postgres.database import Database

_CALL_TIMEOUT_SECONDS = 180.0  # the answer is long
_SHOWN_MAX = 300  # characters of a message that repeats what a judge has answered


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOptions:
    """What is drafted, from what, and by which judge."""

    app_id: str | None
    dataset: str | None
    output: Path | None
    propose: bool
    provider: str | None
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """What is printed."""

    drafted: DraftedApp
    used: UsedByEvaluator = field(default_factory=lambda: usage.NO_CALLS)
    has_failed: bool = False
    """Whether a judge was asked in vain."""


async def new(options: DraftOptions, *, as_json: bool) -> ExitCode:
    """Print a commented document to start from, or write it to a new file.

    Returns:
        NOT_FOUND if there is no such dataset, FAILED if a judge was asked in vain.
    """
    if options.dataset is None:
        if options.propose:
            raise Refused("--propose needs --from: conversations to propose something from")
        app_id = options.app_id or "my-app"
        result = _Result(drafted=DraftedApp(app_id=app_id, text=drafts.starter(app_id)))
        _check(result.drafted)
    else:
        async with open_client() as client:
            database = await client.database()
            async with database.connection() as connection:
                dataset = await find_dataset(connection, options.dataset)
            if dataset is None:
                return no_dataset(options.dataset)
            result = await _of_dataset(database, dataset, options)
    if options.output is not None:
        _write(options.output, result.drafted.text)
    if as_json:
        document = {**result.drafted.as_json(), "used": result.used, "file": options.output}
        console.print_json(document)
    else:
        _print(result, options.output)
    return ExitCode.FAILED if result.has_failed else ExitCode.DONE


async def _of_dataset(database: Database, dataset: Dataset, options: DraftOptions) -> _Result:
    draft = asking.recorded(dataset, options.app_id)
    _check(asking.without(draft))
    if not options.propose:
        return _Result(drafted=asking.without(draft))
    settings = ProviderSettings()
    try:
        choice = resolve(settings, options.provider, options.model)
    except ProviderUnavailable as error:
        if options.provider or options.model or settings.evalqueue_llm_provider:
            raise Refused(error.message) from error
        return _Result(drafted=asking.without(draft, error.message))
    if choice.provider == SIMULATED.name:
        return _Result(drafted=asking.without(draft, asking.OF_SIMULATED))
    return await _proposed(database, dataset, draft, settings, choice)


async def _proposed(
    database: Database,
    dataset: Dataset,
    draft: Draft,
    settings: ProviderSettings,
    choice: ModelChoice,
) -> _Result:
    """The draft with what the judge proposes; without, if the judge gives no answer."""
    async with database.connection() as connection:
        shown = await sample.of_dataset(connection, dataset.id)
    console.print_message(
        f"asking {choice.name} about {shown.threads} of {dataset.threads} conversations"
    )
    has_failed = False
    async with open_calls(
        database, settings, choice, call_timeout_seconds=_CALL_TIMEOUT_SECONDS, on_wait=_Waiting()
    ) as calls:
        try:
            judge = Judge(calls.caller)
            drafted = await asking.ask(judge, draft, dataset, shown, model=choice.name)
        except ProviderError as error:
            has_failed = True
            note = f"the judge gave no answer: {error.outcome}: {one_line(error.message, 500)}"
            drafted = asking.without(draft, note)
    used = usage.used(calls.recorded.records, calls.prices)
    return _Result(drafted=drafted, used=used, has_failed=has_failed)


class _Waiting:
    """Says once what the call waits for."""

    def __init__(self) -> None:
        self._is_said = False

    def __call__(self, wait: Wait | None) -> None:
        if wait is not None and not self._is_said:
            self._is_said = True
            console.print_message(wait.describe())


def _check(drafted: DraftedApp) -> None:
    """Refuse a name that no app can have: the rest of a draft is valid."""
    try:
        apps.parse(drafted.text, where=drafted.app_id)
    except InvalidApp as error:
        lines = [f"{apps.path_of(each)}: {each.msg}" for each in error.problems]
        raise Refused("\n".join(lines)) from error


def _write(output: Path, text: str) -> None:
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Refused(f"{output} exists: choose another file") from None


def _print(result: _Result, output: Path | None) -> None:
    drafted = result.drafted
    if output is None:
        console.print_data(drafted.text.rstrip("\n"))
    else:
        console.print_data(str(output))
    if drafted.note is not None:
        console.print_message(f"Nothing is proposed: {drafted.note}")
    for each in drafted.dropped:
        console.print_message(f"dropped: {one_line(f'{each.what}: {each.why}', _SHOWN_MAX)}")
    if result.used["calls"]:
        proposed = f"{len(drafted.proposed)} proposals, to be checked; "
        console.print_message(proposed + usage.in_words(result.used))
    if output is not None:
        console.print_message(f"Edit it, then: evalqueue apps check {output}")
