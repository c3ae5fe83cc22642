"""The commands that compare runs and decide on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs import find_run_id, run_not_found
from evalqueue.cli.output import comparison as output
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.client import Client
from evalqueue.evaluators import figures
from evalqueue.evaluators.comparison.gate import Decision, GatedRun, decide
from evalqueue.evaluators.comparison.read import comparison_of
from evalqueue.evaluators.comparison.requirements import parse

EXIT_CODE_OF_DECISION = {
    Decision.PASSED: ExitCode.DONE,
    Decision.FAILED: ExitCode.FAILED,
    Decision.NOT_DECIDABLE: ExitCode.NOT_DECIDABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """The options of `evalqueue gate`."""

    baseline: UUID | None
    min_coverage: float
    junit: Path | None
    github: bool
    as_json: bool


async def compare(candidate: UUID, baseline: UUID, *, as_json: bool) -> ExitCode:
    """Print the comparison of two runs."""
    async with open_client() as client:
        ids = await _run_ids(client, candidate, baseline)
        if isinstance(ids, ExitCode):
            return ids
        async with (await client.database()).connection() as connection:
            found = await comparison_of(connection, candidate=ids[0], baseline=ids[1], owner=None)
    if found is None:  # removed meanwhile
        return run_not_found(candidate)
    console.print_result(output.as_json(found), output.text(found), as_json=as_json)
    return ExitCode.DONE


async def gate(candidate: UUID, require: Sequence[str], options: GateOptions) -> ExitCode:
    """Print what a gate says of a run."""
    requirements = [parse(each) for each in require]
    async with open_client() as client:
        given = [candidate, *([] if options.baseline is None else [options.baseline])]
        ids = await _run_ids(client, *given)
        if isinstance(ids, ExitCode):
            return ids
        async with (await client.database()).connection() as connection:
            found = await figures.statistics(connection, ids[0], owner=None)
            comparison = None
            if len(ids) > 1:
                comparison = await comparison_of(
                    connection, candidate=ids[0], baseline=ids[1], owner=None
                )
    if found is None:  # removed meanwhile
        return run_not_found(candidate)
    run = GatedRun(status=found.status, statistics=found.batch)
    verdict = decide(requirements, run, comparison, min_coverage=options.min_coverage)
    if options.junit is not None:
        options.junit.write_bytes(output.junit(verdict, name=f"evalqueue gate {ids[0]}"))
    if options.github and not options.as_json:
        for line in output.annotations(verdict):
            console.print_data(line)
    document = output.verdict_as_json(verdict, run_id=ids[0])
    console.print_result(document, output.verdict_text(verdict), as_json=options.as_json)
    return EXIT_CODE_OF_DECISION[verdict.decision]


async def _run_ids(client: Client, *given: UUID) -> list[UUID] | ExitCode:
    """The ids of runs that are given by their id or by their job's."""
    ids: list[UUID] = []
    for each in given:
        run_id = await find_run_id(client, each)
        if run_id is None:
            return run_not_found(each)
        ids.append(run_id)
    return ids
