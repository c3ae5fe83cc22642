"""The command line: the typer app, and the boundary of the process.

Large imports (SDKs, the HTTP app, rich) are made by the command that needs them, so that `--help`
does not wait for them. Only `main` turns an error into lines on stderr and an exit code.
"""

import getpass
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from evalqueue.cli import (
    alerts,
    apps,
    evaluators,
    fleet,
    jobs,
    labels,
    processes,
    results,
    schedules,
    setup,
    simulators,
)
from evalqueue.cli.adversarial import runs as adversarial
from evalqueue.cli.conversations import datasets, forgetting, sources
from evalqueue.cli.output import console
from evalqueue.cli.output.errors import DEBUG, error_lines
from evalqueue.cli.output.exit_codes import EXIT_CODES, ExitCode, exit_code_of
from evalqueue.errors import leaves
from evalqueue.telemetry.actors import Actor, Door, act_as
from evalqueue.telemetry.logs import hide, is_json, silence_pool

app = typer.Typer(
    name="evalqueue",
    help="A Postgres-native queue and worker daemon: chatbot conversations, judged by LLMs.",
    epilog="\b\nExit codes:\n"
    + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    + f"\n\n\b\nSettings come from the environment: DATABASE_URL and EVALQUEUE_…\n"
    f"{DEBUG}=1 shows tracebacks.",
    no_args_is_help=True,
    add_completion=True,  # by typer, whose parser knows the commands and their options
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: faster, and easy to search
    context_settings={"help_option_names": ["-h", "--help"]},
)


logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit the process with its exit code."""
    silence_pool()
    hide(os.environ)
    act_as(Actor(door=Door.CLI, name=_login()))
    try:
        app(None if arguments is None else list(arguments), prog_name="evalqueue")
    except Exception as error:  # the boundary of the process: nothing is above it
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        errors = list(leaves(error))
        for each in errors:
            lines = error_lines(each)
            if is_json():
                logger.critical(" ".join(lines))
                continue
            for line in lines:
                console.print_message(line)
        sys.exit(exit_code_of(errors[0]))
    sys.exit(ExitCode.DONE)


def _login() -> str:
    """The name of the person at the terminal. Empty: the system does not know it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the password database, as in some containers
        return ""


def _print_version(requested: bool) -> None:
    if requested:
        from evalqueue import __version__

        console.print_data(f"evalqueue {__version__}")
        raise typer.Exit


@app.callback()
def evalqueue(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """The options of every command; `--version` exits before this is called."""


setup.register(app)
processes.register(app)
jobs.register(app)
simulators.register(app)
datasets.register(app)
forgetting.register(app)
apps.register(app)
evaluators.register(app)
adversarial.register(app)
fleet.register(app)
results.register(app)
labels.register(app)
schedules.register(app)
alerts.register(app)
sources.register(app)
