"""Declares the commands about evaluators.

What they do is imported by the command that needs it: it imports the evaluation layer.
"""

from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, examples, run

evaluators_app = typer.Typer(rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
AppOption = Annotated[
    str | None,
    typer.Option("--app", metavar="APP|FILE", help="An app, whose own evaluators are looked at."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(evaluators_app, name="evaluators")


@evaluators_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue evaluators",
        "evalqueue evaluators show resolution >> my-bot.toml",
        "evalqueue evaluators try my-bot.toml resolution --dataset sha256:5f3a…",
    ),
)
def evaluators_group(
    context: typer.Context, *, app: AppOption = None, as_json: JsonOption = False
) -> None:
    """List evaluators, show their definitions, and try one on a few conversations."""
    if context.invoked_subcommand is None:
        list_evaluators(app=app, as_json=as_json)


@evaluators_app.command("list", epilog=examples("evalqueue evaluators list --app my-bot --json"))
def list_evaluators(*, app: AppOption = None, as_json: JsonOption = False) -> None:
    """List the installed evaluators, those of an app, and the catalogue."""
    from evalqueue.cli.commands.evaluators import definitions

    run(definitions.list_evaluators(app, as_json=as_json))


@evaluators_app.command(
    "show",
    epilog=examples(
        "evalqueue evaluators show resolution",
        "evalqueue evaluators show manners --app my-bot.toml",
    ),
)
def show_evaluator(
    name: NameArgument, *, app: AppOption = None, as_json: JsonOption = False
) -> None:
    """Print a definition as TOML, as it can stand in an app's document."""
    from evalqueue.cli.commands.evaluators import definitions

    run(definitions.show(name, app, as_json=as_json))


@evaluators_app.command("gold", epilog=examples("evalqueue evaluators gold pii_leak --json"))
def show_gold(name: NameArgument, *, app: AppOption = None, as_json: JsonOption = False) -> None:
    """Print a definition's gold cases: conversations, and the right verdict on each."""
    from evalqueue.cli.commands.evaluators import definitions

    run(definitions.gold(name, app, as_json=as_json))


@evaluators_app.command(
    "try",
    epilog=examples(
        "evalqueue evaluators try my-bot.toml manners --dataset sha256:5f3a… --prompt",
        "evalqueue evaluators try my-bot manners --dataset sha256:5f3a… --thread t-17",
        "evalqueue evaluators try my-bot pii_leak --dataset sha256:5f3a… --count 10 --json",
    ),
)
def try_evaluator(
    app: Annotated[str, typer.Argument(metavar="APP|FILE", show_default=False)],
    name: NameArgument,
    *,
    dataset: Annotated[str, typer.Option(metavar="ID", help="Where the conversations are.")],
    thread: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A conversation; repeatable. Default: the first ones."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10, help="How many of the first ones.")] = 1,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Print what the judge would be asked, and don't ask.")
    ] = False,
    provider: Annotated[str | None, typer.Option(help="Default: the one whose key is set.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: EVALQUEUE_LLM_MODEL.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the judge about a few conversations, from this process. Nothing is stored."""
    from evalqueue.cli.commands.evaluators import trying

    options = trying.TryOptions(
        app=app, evaluator=name, dataset=dataset, threads=tuple(thread or ()), count=count,
        provider=provider, model=model, only_prompt=prompt,
    )  # fmt: skip
    run(trying.try_evaluator(options, as_json=as_json))
