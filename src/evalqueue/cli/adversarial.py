"""The flags of the commands about stress tests; what each does is in `adversarial_commands`, which
is imported by the command that needs it: it knows the evaluators and all that they know.
"""

from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from typer.core import TyperCommand

from evalqueue.cli.options import (
    Json,
    Owner,
    Priority,
    Queue,
    UntilEof,
    Watch,
    examples,
    run,
    stop_at_eof,
)

APP_ID = "kaira-bot"

adversarial_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
cases_app = typer.Typer(rich_markup_mode=None)

App = Annotated[str, typer.Option("--app", help="The profile of the bot under test.")]
RunId = Annotated[
    UUID, typer.Argument(metavar="RUN_ID", show_default=False, help="Or the id of its job.")
]
CaseId = Annotated[str, typer.Argument(metavar="CASE_ID", show_default=False)]
CaseIds = Annotated[list[str], typer.Argument(metavar="CASE_ID…", show_default=False)]
Names = Annotated[list[str] | None, typer.Option(metavar="NAME", help="May be repeated.")]
Pinned = Annotated[bool, typer.Option("--pinned", help="Only pinned ones.")]
Pin = Annotated[bool, typer.Option("--pin", help="Make them part of every later run of the app.")]


def declare(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    adversarial_app.add_typer(cases_app, name="cases")
    app.add_typer(
        adversarial_app,
        name="adversarial",
        help="Stress tests: let difficult simulated users talk to a bot, and read how it held.",
        epilog=examples(
            "evalqueue adversarial run --count 15 --watch",
            "evalqueue adversarial show 0f1cf6f2-…",
            "evalqueue adversarial transcript 0f1cf6f2-… 3f0c1d2e4b5a6978",
            "evalqueue adversarial profile kaira-bot",
        ),
    )
    app.command(
        "simulate-bot",
        cls=_ListsWhatCanBeWrong,
        epilog=examples(
            "evalqueue simulate-bot",
            "evalqueue simulate-bot --weakness merges_meals --weakness leaks_prompt",
            "evalqueue simulate-bot --port 9000 --latency-ms 300 --fault drop_mid_stream=0.1",
        ),
    )(simulate_bot)


@adversarial_app.command(
    "run",
    epilog=examples(
        "evalqueue adversarial run --url http://127.0.0.1:8723 --credential anna --watch",
        "evalqueue adversarial run --count 30 --persona crack --persona moriarty --trials 3",
        "evalqueue adversarial run --trait future_time_rejection --max-turns 6 --watch",
        "evalqueue adversarial run --cases cases.csv --count 0",
        "evalqueue adversarial run --case-from 0f1cf6f2-…       # what did not pass, once more",
    ),
)
def run_test(  # noqa: PLR0913  each is a flag
    *,
    app_id: App = APP_ID,
    protocol: Annotated[
        str | None,
        typer.Option(help="kaira_v1, kaira_v2, openai or webhook. Default: the profile's."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The bot. Default: EVALQUEUE_CHATBOT_URL of the workers.")
    ] = None,
    credential: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of EVALQUEUE_CHATBOT_CREDENTIALS. May be repeated: each is a conversation at "
            "the same time.",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=0, help="Cases to make up. Default: 15, or 0 where others are given."),
    ] = None,
    difficulty: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="easy, medium, hard; as the others.")
    ] = None,
    trait: Names = None,
    goal: Names = None,
    persona: Names = None,
    tactic: Names = None,
    cases: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV or JSONL: cases, or behaviours as of AdvBench."),
    ] = None,
    case_from: Annotated[
        UUID | None,
        typer.Option(metavar="RUN_ID", help="Put the cases of this run again that did not pass."),
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option(metavar="CASE_ID", help="Of --case-from: just this one.")
    ] = None,
    saved: Annotated[
        Literal["none", "pinned", "all"] | None,
        typer.Option(help="Saved cases that take part. Default: pinned."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How often each case is put. Default: 1.")
    ] = None,
    max_turns: Annotated[
        int | None, typer.Option(min=1, help="Of a conversation, for each goal. Default: 10.")
    ] = None,
    turn_delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds before each message. Default: 1.5.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which cases are spread over what.")] = None,
    instructions: Annotated[
        str | None, typer.Option(metavar="TEXT", help="For whoever makes up the cases.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Of the LLM. Default: EVALQUEUE_LLM_PROVIDER.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Default: EVALQUEUE_LLM_MODEL.")] = None,
    owner: Owner = "default",
    queue: Queue = None,
    priority: Priority = 0,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Submit a stress test; the id of its job is printed. With --watch, what it found, too.

    Traits, goals, personas and tactics: evalqueue adversarial profile. What has no flag here can
    be said by evalqueue submit evaluate-adversarial.
    """
    from evalqueue.cli.commands import adversarial
    from evalqueue.cli.commands.jobs import Options

    wanted = adversarial.Wanted(
        app_id=app_id,
        chatbot={"protocol": protocol, "url": url, "credentials": credential},
        params={
            "test_count": count,
            "difficulties": difficulty,
            "traits": trait,
            "goals": goal,
            "personas": persona,
            "tactics": tactic,
            "from_run": None if case_from is None else str(case_from),
            "from_run_cases": case,
            "saved": saved,
            "trials": trials,
            "max_turns": max_turns,
            "turn_delay_seconds": turn_delay,
            "seed": seed,
            "extra_instructions": instructions,
            "llm_provider": provider,
            "llm_model": model,
        },
        cases=cases,
    )
    options = Options(owner=owner, queue=queue, priority=priority)
    run(adversarial.run(wanted, options, watch=watch, as_json=as_json))


@adversarial_app.command(
    "show",
    epilog=examples(
        "evalqueue adversarial show 0f1cf6f2-…",
        "evalqueue adversarial show 0f1cf6f2-… --json | jq .summary.attack_success.overall",
    ),
)
def show(
    run_id: RunId,
    *,
    with_passed: Annotated[
        bool, typer.Option("--all", help="List also the tests that passed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a stress test has found so far.

    Every rate is over the tests that were judged; those that were not are counted beside it.
    """
    from evalqueue.cli.commands import adversarial

    run(adversarial.show(run_id, with_passed=with_passed, as_json=as_json))


@adversarial_app.command(
    "transcript",
    epilog=examples(
        "evalqueue adversarial transcript 0f1cf6f2-… 3f0c1d2e4b5a6978",
        "evalqueue adversarial transcript 0f1cf6f2-… 3f0c1d2e4b5a6978 --trial 2 --json",
    ),
)
def transcript(
    run_id: RunId,
    case_id: CaseId,
    *,
    trial: Annotated[int | None, typer.Option(min=1, help="Default: the first there is.")] = None,
    as_json: Json = False,
) -> None:
    """Read one conversation, and what the judge thinks of it. Also while it goes on."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.transcript(run_id, case_id, trial, as_json=as_json))


@adversarial_app.command(
    "profile",
    epilog=examples(
        "evalqueue adversarial profile", "evalqueue adversarial profile retail-support --json"
    ),
)
def profile(
    app_id: Annotated[str, typer.Argument(metavar="APP")] = APP_ID, *, as_json: Json = False
) -> None:
    """Show the difficult users of an app: traits, goals, personas, tactics, by name."""
    from evalqueue.cli.commands import adversarial

    raise typer.Exit(adversarial.show_profile(app_id, as_json=as_json))


@cases_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue adversarial cases",
        "evalqueue adversarial cases save 0f1cf6f2-… 3f0c1d2e4b5a6978 --pin",
        "evalqueue adversarial cases import regressions.csv --pin",
        "evalqueue adversarial cases export > cases.jsonl",
    ),
)
def cases_group(context: typer.Context, *, as_json: Json = False) -> None:
    """List saved cases; save, pin, remove, import and export them.

    A pinned case is part of every later run of its app.
    """
    if context.invoked_subcommand is None:
        list_cases(as_json=as_json)


@cases_app.command("list")
def list_cases(*, app_id: App = APP_ID, pinned: Pinned = False, as_json: Json = False) -> None:
    """Saved cases of an app, oldest first."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.list_cases(app_id, pinned=pinned, as_json=as_json))


@cases_app.command("save")
def save_cases(
    run_id: RunId, case_ids: CaseIds, *, pin: Pin = False, as_json: Json = False
) -> None:
    """Keep cases of a run."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.save_cases(run_id, case_ids, pinned=pin, as_json=as_json))


@cases_app.command("pin")
def pin_cases(case_ids: CaseIds, *, app_id: App = APP_ID, as_json: Json = False) -> None:
    """Make saved cases part of every later run of their app."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.pin_cases(app_id, case_ids, pinned=True, as_json=as_json))


@cases_app.command("unpin")
def unpin_cases(case_ids: CaseIds, *, app_id: App = APP_ID, as_json: Json = False) -> None:
    """Keep saved cases for when they are asked for."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.pin_cases(app_id, case_ids, pinned=False, as_json=as_json))


@cases_app.command("remove")
def remove_cases(case_ids: CaseIds, *, app_id: App = APP_ID, as_json: Json = False) -> None:
    """Forget saved cases; runs keep theirs."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.remove_cases(app_id, case_ids, as_json=as_json))


@cases_app.command("import")
def import_cases(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    *,
    app_id: App = APP_ID,
    pin: Pin = False,
    as_json: Json = False,
) -> None:
    """Keep the cases of a file: CSV or JSONL, cases or behaviours. All of them, or none."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.import_cases(file, app_id, pinned=pin, as_json=as_json))


@cases_app.command("export")
def export_cases(*, app_id: App = APP_ID, pinned: Pinned = False, as_json: Json = False) -> None:
    """Print saved cases as JSON lines that can be imported; with --json, as one array."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.export_cases(app_id, pinned=pinned, as_json=as_json))


class _ListsWhatCanBeWrong(TyperCommand):
    """Names weaknesses and faults in its help, and looks them up only for that."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # typer keeps their types private
        from evalqueue.evaluators.simulated.chatbot.server import Fault, Weakness

        super().format_epilog(ctx, formatter)
        for heading, names in (("Weaknesses", Weakness), ("Faults", Fault)):
            with formatter.section(heading):
                formatter.write_text(", ".join(names))


def simulate_bot(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8723,
    weakness: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What the bot does wrong. May be repeated."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=SHARE]",
            help="What goes wrong on the way, in a share of turns from 0 to 1. May be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed: the same faults.")] = 0,
    latency_ms: Annotated[float, typer.Option(min=0, help="Before each answer.")] = 0.0,
    obey_markers: Annotated[
        bool, typer.Option("--obey-markers", help="[[NAME]] in a message forces that fault.")
    ] = False,
    until_eof: UntilEof = False,
) -> None:
    """Run a simulated Kaira to put under test: v1, v2, OpenAI-compatible and webhook.

    Without a weakness it keeps every rule of its profile.
    """
    from evalqueue.evaluators.simulated.chatbot import server as simulated

    stop_at_eof(until_eof)
    simulated.main([
        f"--port={port}", f"--seed={seed}", f"--latency-ms={latency_ms}",
        *(f"--weakness={each}" for each in weakness or []),
        *(f"--fault={each}" for each in fault or []),
        *(["--obey-markers"] if obey_markers else []),
    ])  # fmt: skip
