"""The commands about sources."""

from collections import defaultdict

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.times import format_time
from evalqueue.errors import Refused
from evalqueue.evaluators.sources import reader, store
from evalqueue.evaluators.sources.settings import SourceSettings
from evalqueue.evaluators.sources.store import StoredPosition


async def list_sources(*, as_json: bool) -> ExitCode:
    """Print every source of the settings, with the positions that are stored."""
    known = SourceSettings.read().sources
    async with open_client() as client, (await client.database()).connection() as connection:
        stored = await store.positions(connection)
    positions: dict[str, list[StoredPosition]] = defaultdict(list)
    for each in stored:
        positions[each.source].append(each)
    if as_json:
        console.print_json(
            [
                {
                    "name": name,
                    "relation": source.relation,
                    "settle_minutes": source.settle_minutes,
                    "masks": source.masking.labels,
                    "owners": sorted(source.owners),
                    "positions": [console.row_json(each) for each in positions[name]],
                }
                for name, source in known.items()
            ]
        )
    elif not known:
        console.print_message("No sources. EVALQUEUE_SOURCES names them: see configuration.md")
    else:
        console.print_table(
            ("name", "relation", "owner", "position", "read until"),
            [
                (name, source.relation, *row)
                for name, source in known.items()
                for row in [
                    (each.owner, each.name, format_time(each.last_at)) for each in positions[name]
                ]
                or [("", "", "never")]
            ],
        )
    return ExitCode.DONE


async def check_source(name: str, *, as_json: bool) -> ExitCode:
    """Connect to a source, and print which of its columns are read.

    Raises:
        Refused: there is no such source.
        SourceError: it can't be read.
    """
    known = SourceSettings.read().sources
    if name not in known:
        raise Refused(f"There is no source {name!r}. Known: {', '.join(sorted(known)) or 'none'}.")
    source = known[name]
    async with reader.opened(source, name) as opened:
        layout = opened.columns.layout
    row = "message" if layout.is_of_messages else "turn"
    document = {"name": name, "relation": source.relation, "row": row, "columns": layout.mapping}
    lines = [f"{source.relation} has a row for each {row}. Columns that are read:"]
    lines += [f"  {ours}: {theirs}" for ours, theirs in layout.mapping.items()]
    console.print_result(document, "\n".join(lines), as_json=as_json)
    return ExitCode.DONE
