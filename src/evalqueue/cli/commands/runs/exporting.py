"""Prints all results of a run: as CSV for a spreadsheet, or as JSON lines."""

import csv
import sys
from dataclasses import asdict

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_batch_run
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.evaluators.judging.scores import declared
from evalqueue.evaluators.results.exports import Spreadsheet, exported


async def export(given: str, *, as_json: bool) -> ExitCode:
    """Print the results of a run, a conversation on each line."""
    async with open_client() as client:
        run = await find_batch_run(client, given)
        spreadsheet = Spreadsheet(declared(run.config.get("evaluators")))
        writer = csv.writer(_Printed(), lineterminator="\n")
        if not as_json:
            writer.writerow(spreadsheet.heading())
        async with (await client.database()).connection() as connection:
            async for thread in exported(connection, run.id):
                if as_json:
                    console.print_json({"run_id": run.id, **asdict(thread)})
                else:
                    writer.writerow(spreadsheet.row(thread))
    sys.stdout.flush()
    return ExitCode.DONE


class _Printed:
    """A file for `csv`: control characters can't reach the terminal."""

    def write(self, text: str, /) -> int:
        return sys.stdout.write(console.printable(text.replace("\r\n", "\n")))
