"""What the flags of all commands share."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer

from evalqueue.console import ExitCode

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
Owner = Annotated[str, typer.Option(help="Whose job it is.")]
Priority = Annotated[int, typer.Option(min=-(2**31), max=2**31 - 1, help="Higher goes first.")]
Queue = Annotated[str | None, typer.Option(help="Default: EVALQUEUE_QUEUE, else evalqueue.")]


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    # \b keeps the lines as they are; without it they would be filled into a paragraph.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def run(work: Coroutine[Any, Any, ExitCode]) -> NoReturn:
    """Do what a command does, and leave it with its exit code."""
    raise typer.Exit(asyncio.run(work))
