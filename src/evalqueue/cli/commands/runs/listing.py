"""Lists runs, and the conversations of one."""

from collections.abc import Sequence
from dataclasses import asdict

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_batch_run
from evalqueue.cli.commands.runs.showing import run_json
from evalqueue.cli.output import console
from evalqueue.cli.output import runs as output
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.text import one_line
from evalqueue.errors import Refused
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, declared
from evalqueue.evaluators.results.rows import UnknownScore, check_filter
from evalqueue.evaluators.results.text_search import threads_in_which
from evalqueue.evaluators.results.worst import ListedThread, worst_first
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.runs.reading import ThreadFilter


async def list_runs(
    job_type: str | None, app_id: str | None, limit: int, *, as_json: bool
) -> ExitCode:
    """Print the newest runs."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await reading.list_runs(
            connection, command=job_type, app_id=app_id, limit=limit, offset=0
        )
    runs = [run_json(each) for each in found]
    if as_json:
        console.print_json(runs)
    elif found:
        output.print_runs(
            [{**run, "created_at": each.created_at} for run, each in zip(runs, found, strict=True)]
        )
    else:
        console.print_message(
            "No runs. Of other job types and apps there may be some: evalqueue runs"
            if job_type or app_id
            else "No runs. A job that evaluates has one: evalqueue submit --help"
        )
    return ExitCode.DONE


async def list_threads(
    given: str, where: Sequence[str], text: str | None, limit: int, *, as_json: bool
) -> ExitCode:
    """Print the conversations of a run, the worst first.

    Raises:
        Refused: a filter can't be read, or names an evaluator that the run does not have.
    """
    async with open_client() as client:
        run = await find_batch_run(client, given)
        evaluators = declared(run.config.get("evaluators"))
        wanted = [_filter(each, evaluators) for each in where]
        async with (await client.database()).connection() as connection:
            thread_ids = None
            if text is not None:
                thread_ids = [*await threads_in_which(connection, run.id, text, owner=None)]
            found = await worst_first(
                connection, run.id, evaluators, wanted=wanted, thread_ids=thread_ids, limit=limit
            )
    if as_json:
        console.print_json([_thread_json(each) for each in found])
    elif found:
        output.print_threads(
            [_row(each, evaluators) for each in found], [each.title for each in evaluators]
        )
        if found[0].found > len(found):
            console.print_message(
                f"The first {len(found)} of {found[0].found}; --limit lists more."
            )
    else:
        console.print_message(
            "No conversation fits." if where or text else "No conversation is evaluated yet."
        )
    return ExitCode.DONE


def _filter(text: str, evaluators: Sequence[EvaluatorDeclaration]) -> ThreadFilter:
    """A filter such as `efficiency=BROKEN` or `correctness.verdict=HARD FAIL`."""
    score, separator, value = text.partition("=")
    evaluator, _, name = score.strip().partition(".")
    if not separator or not evaluator or not value.strip():
        raise Refused(f"--where {text}: write EVALUATOR=VALUE or EVALUATOR.SCORE=VALUE")
    where = ThreadFilter(evaluator=evaluator, name=name or None, value=value.strip())
    try:
        check_filter(where, evaluators)
    except UnknownScore as error:
        raise Refused(f"--where {text}: {error}") from error
    return where


def _thread_json(thread: ListedThread) -> dict[str, object]:
    return {
        name: value
        for name, value in asdict(thread).items()
        if name not in {"id", "bad", "found", "found_bad"}
    }


def _row(thread: ListedThread, evaluators: Sequence[EvaluatorDeclaration]) -> Sequence[object]:
    return (
        one_line(thread.thread_id, 60),
        "" if thread.messages is None else thread.messages,
        *(
            output.shown_value(thread.scores.get(f"{each.name}.{each.headline}"))
            for each in evaluators
        ),
        one_line(thread.error, 60) if thread.error else (thread.missing_verdicts or ""),
    )
