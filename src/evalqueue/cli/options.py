"""What the flags of all commands share."""

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer

from evalqueue.cli.output.console import ExitCode

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JobId = Annotated[UUID, typer.Argument(metavar="JOB_ID", show_default=False)]
UntilEof = Annotated[
    bool, typer.Option("--until-eof", help="Stop when stdin ends: for whoever starts this.")
]
GivenParams = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=TEXT|KEY:=JSON|-",
        show_default=False,
        help="Params one by one, as text or as JSON; - reads a JSON object from stdin.",
    ),
]
Params = Annotated[str, typer.Option(metavar="JSON|@FILE|-", help="All params as one JSON object.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow it to its end.")]
Owner = Annotated[str, typer.Option(help="Whose it is.")]
Priority = Annotated[int, typer.Option(min=-(2**31), max=2**31 - 1, help="Higher goes first.")]
Queue = Annotated[str | None, typer.Option(help="Default: EVALQUEUE_QUEUE, else evalqueue.")]


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    # \b keeps the lines as they are; without it they would be filled into a paragraph.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def run(work: Coroutine[Any, Any, ExitCode]) -> NoReturn:
    """Do what a command does, and leave it with its exit code."""
    raise typer.Exit(asyncio.run(work))


def stop_at_eof(wanted: bool) -> None:
    """Treat the end of stdin as SIGTERM: however a parent dies, its pipe to us ends."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would be in the way of our own exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if wanted:
        threading.Thread(target=watch, name="until eof", daemon=True).start()
