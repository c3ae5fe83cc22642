"""Declares the commands that simulate the outside world: an LLM vendor, a chatbot."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from evalqueue.cli.options import UntilEofOption, examples, stop_at_eof


class _ListsWeaknesses(TyperCommand):
    """A command whose help lists weaknesses and faults, imported only for that."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # typer keeps their types private
        from evalqueue.evaluators.simulated.chatbot.bot import Weakness
        from evalqueue.evaluators.simulated.chatbot.faults import SimulatedFault

        super().format_epilog(ctx, formatter)
        for heading, names in (("Weaknesses", Weakness), ("Faults", SimulatedFault)):
            with formatter.section(heading):
                formatter.write_text(", ".join(names))


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog=examples("evalqueue simulate --port 8722 --latency-ms 200 --rate-429 0.02"))(
        simulate
    )
    app.command(
        "simulate-bot",
        cls=_ListsWeaknesses,
        epilog=examples(
            "evalqueue simulate-bot",
            "evalqueue simulate-bot --weakness merges_meals --weakness leaks_prompt",
            "evalqueue simulate-bot --port 9000 --latency-ms 300 --fault drop_mid_stream=0.1",
        ),
    )(simulate_bot)


def simulate(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free port.")] = 8722,
    latency_ms: Annotated[
        float, typer.Option(min=0, help="The median latency, in milliseconds.")
    ] = 0.0,
    latency_sigma: Annotated[
        float, typer.Option(min=0, help="Sigma of the lognormal latency; 0: always the median.")
    ] = 0.0,
    rate_429: Annotated[
        float, typer.Option("--rate-429", min=0, max=1, help="Rate limit errors.")
    ] = 0.0,
    rate_500: Annotated[
        float, typer.Option("--rate-500", min=0, max=1, help="Server errors.")
    ] = 0.0,
    rate_malformed: Annotated[
        float, typer.Option(min=0, max=1, help="Answers that are not JSON.")
    ] = 0.0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Wrong labels.")] = 0.0,
    gold: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Gold labels. Default: those of the bundled conversations.",
        ),
    ] = None,
    guess: Annotated[
        bool,
        typer.Option("--guess", help="Guess where there is no gold label. Default: don't judge."),
    ] = False,
    until_eof: UntilEofOption = False,
) -> None:
    """Run the simulated LLM vendor. Rates are shares of requests, from 0 to 1."""
    from evalqueue.evaluators.simulated.vendor import server as simulated

    stop_at_eof(until_eof)
    simulated.main([
        f"--port={port}", f"--latency-ms={latency_ms}",
        f"--latency-sigma={latency_sigma}", f"--rate-429={rate_429}", f"--rate-500={rate_500}",
        f"--rate-malformed={rate_malformed}", f"--error-rate={error_rate}",
        *([f"--gold={gold}"] if gold else []), *([] if guess else ["--only-gold"]),
    ])  # fmt: skip


def simulate_bot(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free port.")] = 8723,
    weakness: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A weakness of the chatbot. May be repeated."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=SHARE]",
            help="A fault of the connection, in a share of turns from 0 to 1. May be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed: the same faults.")] = 0,
    latency_ms: Annotated[
        float, typer.Option(min=0, help="Before each answer, in milliseconds.")
    ] = 0.0,
    obey_markers: Annotated[
        bool, typer.Option("--obey-markers", help="[[NAME]] in a message forces that fault.")
    ] = False,
    until_eof: UntilEofOption = False,
) -> None:
    """Run a simulated chatbot to test.

    It is a Kaira bot with the protocols kaira_v1, kaira_v2, openai and webhook. Without a
    weakness it follows every rule of its app.
    """
    from evalqueue.evaluators.simulated.chatbot import server as simulated

    stop_at_eof(until_eof)
    simulated.main([
        f"--port={port}", f"--seed={seed}", f"--latency-ms={latency_ms}",
        *(f"--weakness={each}" for each in weakness or []),
        *(f"--fault={each}" for each in fault or []),
        *(["--obey-markers"] if obey_markers else []),
    ])  # fmt: skip
