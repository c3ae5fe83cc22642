"""Declares the commands about adversarial tests.

What they do is imported by the command that needs it: it imports the whole evaluation layer.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from evalqueue.cli.adversarial import cases as cases_commands
from evalqueue.cli.adversarial.cases import AppOption, app_or_default
from evalqueue.cli.options import (
    JsonOption,
    MaxCostOption,
    MaxOutputTokensOption,
    MaxTokensOption,
    MaxWaitOption,
    ModelSettingsOption,
    OwnerOption,
    PriorityOption,
    QueueOption,
    RunArgument,
    WatchOption,
    examples,
    run,
)

adversarial_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

CaseIdArgument = Annotated[str, typer.Argument(metavar="CASE_ID", show_default=False)]
NamesOption = Annotated[list[str] | None, typer.Option(metavar="NAME", help="May be repeated.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    cases_commands.register(adversarial_app)
    app.add_typer(
        adversarial_app,
        name="adversarial",
        help="Test a chatbot with difficult simulated users (a stress test).",
        epilog=examples(
            "evalqueue adversarial run --count 15 --watch",
            "evalqueue adversarial show 0f1cf6f2-…",
            "evalqueue adversarial transcript 0f1cf6f2-… 3f0c1d2e4b5a6978",
            "evalqueue adversarial app kaira-bot",
        ),
    )


@adversarial_app.command(
    "run",
    epilog=examples(
        "evalqueue adversarial run --url http://127.0.0.1:8723 --credential anna --watch",
        "evalqueue adversarial run --count 30 --persona crack --persona moriarty --trials 3",
        "evalqueue adversarial run --trait future_time_rejection --max-turns 6 --watch",
        "evalqueue adversarial run --cases cases.csv --count 0",
        "evalqueue adversarial run --case-from 0f1cf6f2-…    # the cases that did not pass",
    ),
)
def run_test(  # noqa: PLR0913  each is an option
    *,
    app_id: AppOption = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="kaira_v1, kaira_v2, openai or webhook. Default: the app's."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Of the chatbot. Default: EVALQUEUE_CHATBOT_URL of the workers."),
    ] = None,
    credential: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name in EVALQUEUE_CHATBOT_CREDENTIALS. May be repeated: one conversation at a "
            "time for each.",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=0, help="Cases to generate. Default: 15, or 0 if other cases are given."),
    ] = None,
    difficulty: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="easy, medium, hard. May be repeated.")
    ] = None,
    trait: NamesOption = None,
    goal: NamesOption = None,
    persona: NamesOption = None,
    tactic: NamesOption = None,
    cases: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV or JSONL: cases, or behaviours as of AdvBench."),
    ] = None,
    case_from: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Repeat the cases of this run that did not pass."),
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="CASE_ID", help="Only this case of --case-from. May be repeated."),
    ] = None,
    saved: Annotated[
        Literal["none", "pinned", "all"] | None,
        typer.Option(help="Saved cases to include. Default: pinned."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Conversations for each case. Default: 1.")
    ] = None,
    max_turns: Annotated[
        int | None, typer.Option(min=1, help="Turns of a conversation, for each goal. Default: 10.")
    ] = None,
    turn_delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds before each message. Default: 1.5.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the random choices. The same seed: the same choices.")
    ] = None,
    instructions: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Further instructions for the LLM that generates the cases."
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="The LLM provider. Default: EVALQUEUE_LLM_PROVIDER.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The LLM. Default: EVALQUEUE_LLM_MODEL.")
    ] = None,
    max_wait: MaxWaitOption = None,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    max_output_tokens: MaxOutputTokensOption = None,
    model_settings: ModelSettingsOption = None,
    owner: OwnerOption = "default",
    queue: QueueOption = None,
    priority: PriorityOption = 0,
    watch: WatchOption = False,
    as_json: JsonOption = False,
) -> None:
    """Submit an adversarial test; its job's id is printed. With --watch: the results, too.

    To list traits, goals, personas and tactics: evalqueue adversarial app. For params without an
    option here: evalqueue submit evaluate-adversarial.
    """
    from evalqueue.cli.commands import adversarial
    from evalqueue.cli.commands.arguments import cap_params, model_params
    from evalqueue.cli.commands.jobs import SubmitOptions

    test = adversarial.AdversarialTestOptions(
        app_id=app_or_default(app_id),
        chatbot={"protocol": protocol, "url": url, "credentials": credential},
        params={
            "test_count": count,
            "difficulties": difficulty,
            "traits": trait,
            "goals": goal,
            "personas": persona,
            "tactics": tactic,
            "from_run_cases": case,
            "saved": saved,
            "trials": trials,
            "max_turns": max_turns,
            "turn_delay_seconds": turn_delay,
            "seed": seed,
            "extra_instructions": instructions,
            "llm_provider": provider,
            "llm_model": model,
            "max_wait_seconds": max_wait,
            **model_params(max_output_tokens, model_settings),
            **cap_params(max_cost, max_tokens),
        },
        cases=cases,
        case_from=case_from,
    )
    options = SubmitOptions(owner=owner, queue=queue, priority=priority)
    run(adversarial.run(test, options, watch=watch, as_json=as_json))


@adversarial_app.command(
    "show",
    epilog=examples(
        "evalqueue adversarial show 0f1cf6f2-…",
        "evalqueue adversarial show 0f1cf6f2-… --json | jq .summary.attack_success.overall",
    ),
)
def show(
    run_reference: RunArgument,
    *,
    with_passed: Annotated[
        bool, typer.Option("--all", help="List the tests that passed, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the results of an adversarial test so far.

    Rates are over the tests that were judged; the others are counted separately.
    """
    from evalqueue.cli.commands import adversarial

    run(adversarial.show(run_reference, with_passed=with_passed, as_json=as_json))


@adversarial_app.command(
    "transcript",
    epilog=examples(
        "evalqueue adversarial transcript 0f1cf6f2-… 3f0c1d2e4b5a6978",
        "evalqueue adversarial transcript 0f1cf6f2-… 3f0c1d2e4b5a6978 --trial 2 --json",
    ),
)
def transcript(
    run_reference: RunArgument,
    case_id: CaseIdArgument,
    *,
    trial: Annotated[int | None, typer.Option(min=1, help="Default: the first trial.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one conversation, even in progress, and the judge's opinion of it."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.transcript(run_reference, case_id, trial, as_json=as_json))


@adversarial_app.command(
    "app",
    epilog=examples("evalqueue adversarial app", "evalqueue adversarial app retail-support --json"),
)
def show_app(
    app_id: Annotated[
        str | None,
        typer.Argument(metavar="APP", help="Default: EVALQUEUE_DEFAULT_APP.", show_default=False),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the traits, goals, personas and tactics of an app."""
    from evalqueue.cli.commands import adversarial

    run(adversarial.show_app(app_or_default(app_id), as_json=as_json))
