"""Makes, lists and revokes links to the report of a run."""

from uuid import UUID

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_id, find_run
from evalqueue.cli.commands.runs.showing import api_address
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.times import format_time
from evalqueue.errors import NothingMeant
from evalqueue.evaluators.figures.reports import shares


async def share(given: str, days: int, *, as_json: bool) -> ExitCode:
    """Make a link and print it: its token is shown only now."""
    async with open_client() as client:
        run = await find_run(client, given)
        async with (await client.database()).connection() as connection:
            made = await shares.add(connection, run, days=days)
        public = client.settings.public_url
        url = f"{public or api_address(client.settings)}{made.path}"
    console.print_result({**console.row_json(made.share), "url": url}, url, as_json=as_json)
    shown = f"Who has this link sees the report until {format_time(made.share.expires_at)}."
    if public is None:
        shown += " It begins with the address of evalqueue serve here: set EVALQUEUE_PUBLIC_URL."
    console.print_message(shown)
    return ExitCode.DONE


async def list_shares(given: str, *, as_json: bool) -> ExitCode:
    """Print the links of a run that are good, without their tokens."""
    async with open_client() as client:
        run = await find_run(client, given)
        async with (await client.database()).connection() as connection:
            found = await shares.of_run(connection, run.id)
    if as_json:
        console.print_json([console.row_json(each) for each in found])
    elif found:
        rows = [(e.id, format_time(e.created_at), format_time(e.expires_at)) for e in found]
        console.print_table(("id", "created", "expires"), rows)
    else:
        console.print_message("No link shows this run's report.")
    return ExitCode.DONE


async def revoke(given: str, link: str, *, as_json: bool) -> ExitCode:
    """End a link: by its id, or by itself.

    Raises:
        NothingMeant: the run has no such link.
    """
    _, is_address, token = link.rpartition(shares.PATH.format(token=""))
    async with open_client() as client:
        run = await find_run(client, given)
        async with (await client.database()).connection() as connection:
            if is_address:
                shared = await shares.of_token(connection, token.partition("?")[0])
                if shared is None or shared.run_id != run.id:
                    raise NothingMeant(f"This link does not show run {run.id}, or no longer.")
                found = shared.id
            else:
                known = [str(each.id) for each in await shares.of_run(connection, run.id)]
                missing = f"Run {run.id} has no link {link}. To list them: --list"
                found = UUID(find_id(link, known, missing=missing))
            await shares.revoke(connection, run.id, found)
    console.print_result({"revoked": found}, f"Revoked {found}", as_json=as_json)
    return ExitCode.DONE
