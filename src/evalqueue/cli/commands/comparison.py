"""The commands that compare runs and decide on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_batch_run
from evalqueue.cli.output import comparison as output
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.client import Client
from evalqueue.errors import NothingMeant
from evalqueue.evaluators import figures
from evalqueue.evaluators.comparison.gate import Decision, GatedRun, decide
from evalqueue.evaluators.comparison.read import comparison_of, obstacle
from evalqueue.evaluators.comparison.requirements import parse
from evalqueue.evaluators.figures.corrected import corrected_rates

EXIT_CODE_OF_DECISION = {
    Decision.PASSED: ExitCode.DONE,
    Decision.FAILED: ExitCode.FAILED,
    Decision.NOT_DECIDABLE: ExitCode.NOT_DECIDABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """The options of `evalqueue gate`."""

    baseline: str | None
    min_coverage: float
    junit: Path | None
    github: bool
    as_json: bool


async def compare(candidate: str, baseline: str, *, as_json: bool) -> ExitCode:
    """Print the comparison of two runs, as the API has it."""
    from evalqueue.http.models.comparison import RunComparison

    async with open_client() as client:
        ids = await _run_ids(client, candidate, baseline)
        async with (await client.database()).connection() as connection:
            found = await comparison_of(connection, candidate=ids[0], baseline=ids[1], owner=None)
    if found is None:
        raise NothingMeant(f"Run {ids[0]} was deleted just now")
    document = RunComparison.model_validate(found).model_dump(mode="json")
    reason = obstacle(found)
    text = output.text(found) if reason is None else f"Nothing to compare: {reason}."
    console.print_result(document, text, as_json=as_json)
    return ExitCode.DONE if reason is None else ExitCode.NOT_DECIDABLE


async def gate(candidate: str, require: Sequence[str], options: GateOptions) -> ExitCode:
    """Print what a gate says of a run."""
    requirements = [parse(each) for each in require]
    async with open_client() as client:
        given = [candidate, *([] if options.baseline is None else [options.baseline])]
        ids = await _run_ids(client, *given)
        async with (await client.database()).connection() as connection:
            found = await figures.statistics(connection, ids[0], owner=None)
            corrected = await corrected_rates(connection, ids[0], owner=None)
            comparison = None
            if len(ids) > 1:
                comparison = await comparison_of(
                    connection, candidate=ids[0], baseline=ids[1], owner=None
                )
    if found is None:
        raise NothingMeant(f"Run {ids[0]} was deleted just now")
    run = GatedRun(status=found.status, statistics=found.batch, corrected=corrected)
    verdict = decide(requirements, run, comparison, min_coverage=options.min_coverage)
    if options.junit is not None:
        options.junit.write_bytes(output.junit(verdict, name=f"evalqueue gate {ids[0]}"))
    if options.github and not options.as_json:
        for line in output.annotations(verdict):
            console.print_data(line)
    document = output.verdict_as_json(verdict, run_id=ids[0])
    console.print_result(document, output.verdict_text(verdict), as_json=options.as_json)
    return EXIT_CODE_OF_DECISION[verdict.decision]


async def _run_ids(client: Client, *given: str) -> list[UUID]:
    """The ids of some runs.

    Raises:
        NothingMeant: one of them does not exist.
        Refused: one could be several, or is an adversarial test.
    """
    return [(await find_batch_run(client, each)).id for each in given]
