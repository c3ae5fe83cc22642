"""Options and arguments that several commands have, and how a command runs."""

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", show_default=False, help="An id, its first characters, or a name."
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        show_default=False,
        help="An id or its first characters, of the run or its job; or a name.",
    ),
]
UntilEofOption = Annotated[
    bool, typer.Option("--until-eof", help="Stop when stdin is closed; for parent processes.")
]
ParamsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=TEXT|KEY:=JSON|-",
        show_default=False,
        help="Params one by one, as text or as JSON; - reads a JSON object from stdin.",
    ),
]
ParamsOption = Annotated[
    str, typer.Option(metavar="JSON|@FILE|-", help="All params as one JSON object.")
]
WatchOption = Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")]


def complete_job_type(incomplete: str) -> list[str]:
    """The job types that this environment knows, for the shell."""
    from evalqueue import daemon

    names = sorted(each.job_type for each in daemon.job_types())
    return [name for name in names if name.startswith(incomplete)]


OwnerOption = Annotated[str, typer.Option(help="The owner.")]
PriorityOption = Annotated[
    int, typer.Option(min=-(2**31), max=2**31 - 1, help="Higher goes first.")
]
MaxWaitOption = Annotated[
    float | None,
    typer.Option(
        "--max-wait",
        metavar="SECONDS",
        min=1,
        help="Fail once the LLM has answered nothing for so long. Default: wait without end.",
    ),
]
MaxOutputTokensOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=16,
        help="Output tokens of one LLM call, with its reasoning. Default: 4096.",
    ),
]
ModelSettingsOption = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|@FILE",
        help="Further parameters of the LLM, in its vendor's spelling: a JSON object.",
    ),
]
MaxCostOption = Annotated[
    str | None,
    typer.Option(
        metavar="USD",
        help="US dollars that its LLM calls may cost, as 1.50. Then it fails, with all it judged.",
    ),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Tokens that its LLM calls may use, likewise."),
]
QueueOption = Annotated[
    str | None, typer.Option(help="The queue. Default: EVALQUEUE_QUEUE, else evalqueue.")
]


def examples(*lines: str) -> str:
    """The epilog of a command's help: examples, and where the exit codes are."""
    # \b keeps the line breaks; without it the lines would be joined into a paragraph.
    listed = "\n".join(f"  {line}" for line in lines)
    return f"\b\nExamples:\n{listed}\n\nThe exit codes are in evalqueue --help."


def run(command: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command and exit with its exit code."""
    raise typer.Exit(asyncio.run(command))


def stop_at_eof(enabled: bool) -> None:
    """Treat the end of stdin as SIGTERM: however a parent process ends, the pipe is closed."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would block our own exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if enabled:
        threading.Thread(target=watch, name="until eof", daemon=True).start()
