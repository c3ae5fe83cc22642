"""Makes the report of a run."""

import sys
from pathlib import Path

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_run
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import NothingMeant, Refused
from evalqueue.evaluators.figures.reports import document
from evalqueue.evaluators.figures.reports.content import report_of


async def report(given: str, output: Path | None) -> ExitCode:
    """Write the report of a run to a file, or print it.

    Raises:
        Refused: the file can't be written.
    """
    async with open_client() as client:
        run = await find_run(client, given)
        async with (await client.database()).connection() as connection:
            found = await report_of(connection, run.id, owner=None)
    if found is None:
        raise NothingMeant(f"Run {run.id} was deleted just now")
    text = document.html(found)
    if output is None:
        sys.stdout.write(console.printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
    else:
        _write(output, text)
        console.print_message(f"Wrote {output}")
    return ExitCode.DONE


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"--output {output}: {error.strerror}") from error
