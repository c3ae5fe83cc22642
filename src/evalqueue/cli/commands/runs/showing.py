"""Prints what one run has found, and where its page is."""

import asyncio
import http.client
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_batch_run
from evalqueue.cli.output import console
from evalqueue.cli.output import runs as output
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.runs import SHOWN_WORST, Headline, Tally, Worst
from evalqueue.client import Client
from evalqueue.errors import NothingMeant
from evalqueue.evaluators import figures
from evalqueue.evaluators.batch.distributions import BatchStatistics, ScoreStatistics
from evalqueue.evaluators.figures import RunFigures
from evalqueue.evaluators.judging.scores import ScoreKind, declared
from evalqueue.evaluators.judging.voting.evaluator import AGREEMENT, FLIP_RATE
from evalqueue.evaluators.prices.costs import shown
from evalqueue.evaluators.results.worst import ListedThread, bad_labels, worst_first
from evalqueue.evaluators.runs.reading import Run
from evalqueue.settings import Settings

_PROBE_SECONDS = 1.0


async def show(given: str, *, as_json: bool) -> ExitCode:
    """Print what a run has found so far."""
    async with open_client() as client:
        run = await find_batch_run(client, given)
        if as_json:
            await _print_as_json(client, run)
        else:
            await print_run(client, run)
    return ExitCode.DONE


async def print_run(client: Client, run: Run) -> None:
    """Print the summary of a run, and the address of its page if an API is found that has it."""
    found, batch = await _figures(client, run)
    async with (await client.database()).connection() as connection:
        evaluators = declared(run.config.get("evaluators"))
        worst = await worst_first(connection, run.id, evaluators, limit=SHOWN_WORST)
    shown = [
        Worst(thread_id=each.thread_id, labels=bad_labels(each.scores, evaluators))
        for each in worst
        if each.bad
    ]
    document = run_json(run)
    output.print_summary(
        output.summary(
            document,
            batch.threads,
            [tally for each in output.headlines(document) for tally in _tallies(each, batch)],
            shown,
            _bad(worst) - len(shown),
            coverage={name: each.as_json() for name, each in batch.coverage.items()},
            failures=_reasons(batch),
            usage=_usage(found),
        )
    )
    address = await page_address(client.settings, run.id)
    if address is not None:
        console.print_message(f"Its page: {address}")
    console.print_message(f"All its conversations, worst first: evalqueue runs threads {run.id}")


async def _print_as_json(client: Client, run: Run) -> None:
    from evalqueue.http.models.figures.statistics import RunStatistics

    found, _ = await _figures(client, run)
    statistics = RunStatistics.model_validate(found).model_dump(mode="json")
    console.print_json({"run": run_json(run), "statistics": statistics})


def run_json(run: Run) -> dict[str, Any]:
    """A run as the API has it."""
    from evalqueue.http.models.jobs import EvalRun

    return EvalRun.model_validate(run).model_dump(mode="json")


async def page_address(settings: Settings, run_id: UUID) -> str | None:
    """The address of a run's page, if the API of these settings is there and has the run."""
    host = _host(settings)
    if not settings.port or not await asyncio.to_thread(_has_run, host, settings.port, run_id):
        return None
    return f"{api_address(settings)}/runs/{run_id}"


def api_address(settings: Settings) -> str:
    """Where the API of these settings is, seen from this machine."""
    host = _host(settings)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.port}{settings.root_path}"


def _host(settings: Settings) -> str:
    return "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104


def _has_run(host: str, port: int, run_id: UUID) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_PROBE_SECONDS)
    try:
        connection.request("HEAD", f"/api/eval-runs/{run_id}")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):  # nothing is there, or it speaks no HTTP
        return False
    finally:
        connection.close()


async def _figures(client: Client, run: Run) -> tuple[RunFigures, BatchStatistics]:
    async with (await client.database()).connection() as connection:
        found = await figures.statistics(connection, run.id, owner=None)
    if found is None or found.batch is None:
        raise NothingMeant(f"Run {run.id} was deleted just now")
    return found, found.batch


def _tallies(headline: Headline, batch: BatchStatistics) -> list[Tally]:
    """What a headline came to; each version apart."""
    found = [
        score
        for evaluator in batch.evaluators
        for score in evaluator.scores
        if (evaluator.declaration.name, score.name) == (headline.evaluator, headline.score["name"])
    ]
    return [_tally(headline, each, batch, is_only=len(found) == 1) for each in found]


def _tally(
    headline: Headline, score: ScoreStatistics, batch: BatchStatistics, *, is_only: bool
) -> Tally:
    is_number = score.kind is ScoreKind.NUMBER
    means = {
        each.name: each.mean.mean
        for evaluator in batch.evaluators
        for each in evaluator.scores
        if evaluator.declaration.name == headline.evaluator
        and each.version == score.version
        and each.mean is not None
    }
    return Tally(
        headline=headline,
        missing=batch.threads - score.measured if is_only else score.failed,
        counts=None if is_number else {each.label: each.count for each in score.shares},
        mean=None if score.mean is None else score.mean.mean,
        version=None if is_only else score.version,
        agreement=means.get(AGREEMENT),
        flip_rate=means.get(FLIP_RATE),
    )


def _reasons(batch: BatchStatistics) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for each in batch.failures:
        reasons[each.reason] = reasons.get(each.reason, 0) + each.count
    return reasons


def _usage(found: RunFigures) -> Mapping[str, Any]:
    llm = found.llm
    return {
        "llm_calls": llm.calls,
        "failed_llm_calls": llm.failed_calls,
        "tokens_in": llm.tokens_in,
        "tokens_out": llm.tokens_out,
        "cost_usd": shown(llm.cost_usd),
        "unpriced_calls": llm.unpriced_calls,
    }


def _bad(worst: list[ListedThread]) -> int:
    """How many conversations of the run have a bad label."""
    return worst[0].found_bad if worst else 0
