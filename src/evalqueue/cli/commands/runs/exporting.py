"""Prints all results of a run: for a spreadsheet, for programs, or for other tools."""

import csv
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_batch_run
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import Refused
from evalqueue.evaluators.judging.scores import declared
from evalqueue.evaluators.results import columnar, inspect_log, langfuse
from evalqueue.evaluators.results.exports import ExportedThread, Spreadsheet, exported
from evalqueue.evaluators.results.formats import ExportFormat
from evalqueue.evaluators.runs.reading import Run
from evalqueue.postgres.database import Connection


async def export(given: str, export_format: ExportFormat) -> ExitCode:
    """Print the results of a run.

    Raises:
        Refused: a terminal would get bytes, or what writes the format is not installed.
    """
    is_binary = export_format is ExportFormat.PARQUET
    if is_binary and sys.stdout.isatty():
        raise Refused("Parquet is no text for a terminal: add > results.parquet")
    async with open_client() as client:
        run = await find_batch_run(client, given)
        async with (await client.database()).long_read() as connection:
            await _print(connection, run, export_format)
    sys.stdout.flush()
    return ExitCode.DONE


async def _print(connection: Connection, run: Run, export_format: ExportFormat) -> None:
    threads = exported(connection, run.id)
    evaluators = declared(run.config.get("evaluators"))
    match export_format:
        case ExportFormat.CSV:
            await _print_rows(Spreadsheet(evaluators), threads)
        case ExportFormat.JSONL:
            async for thread in threads:
                console.print_json({"run_id": run.id, **asdict(thread)})
        case ExportFormat.PARQUET:
            await columnar.write(sys.stdout.buffer, run.id, evaluators, threads)
        case ExportFormat.LANGFUSE:
            async for thread in threads:
                for event in langfuse.events(run.id, thread):
                    console.print_json(event)
        case ExportFormat.INSPECT:
            async for piece in inspect_log.pieces(connection, run, threads):
                sys.stdout.write(console.printable(piece))


async def _print_rows(spreadsheet: Spreadsheet, threads: AsyncIterator[ExportedThread]) -> None:
    writer = csv.writer(_Printed(), lineterminator="\n")
    writer.writerow(spreadsheet.heading())
    async for thread in threads:
        writer.writerow(spreadsheet.row(thread))


class _Printed:
    """A file for `csv`: control characters can't reach the terminal."""

    def write(self, text: str, /) -> int:
        return sys.stdout.write(console.printable(text.replace("\r\n", "\n")))
