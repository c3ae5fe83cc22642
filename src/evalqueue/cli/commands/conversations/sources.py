"""The commands about sources."""

from collections import defaultdict
from collections.abc import Mapping

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.times import format_time
from evalqueue.errors import Refused
from evalqueue.evaluators.sources import posted, reader, store
from evalqueue.evaluators.sources.settings import Source, SourceSettings
from evalqueue.evaluators.sources.store import SourceRule

_COUNTED = ("matched", "sampled", "skipped", "judged", "failed", "not_judged", "waiting")
_POSTED_RELATION = "posted_threads"


async def list_sources(*, as_json: bool) -> ExitCode:
    """Print every source of the settings, and `posted` if it was read, with the positions that are
    stored and what came of what was read."""
    async with open_client() as client, (await client.database()).connection() as connection:
        stored = await store.rules(connection)
    rules: dict[str, list[SourceRule]] = defaultdict(list)
    for each in stored:
        rules[each.source].append(each)
    known: dict[str, Source | None] = dict(SourceSettings.read().sources)
    if posted.NAME in rules:
        known.setdefault(posted.NAME, None)
    if as_json:
        console.print_json(
            [
                {
                    **_described(name, source),
                    "positions": [_rule_json(each) for each in rules[name]],
                }
                for name, source in known.items()
            ]
        )
    elif not known:
        console.print_message(
            "No sources. EVALQUEUE_SOURCES names databases: see configuration.md. What "
            f"applications post is the source {posted.NAME!r}, once a job has read it."
        )
    else:
        console.print_table(
            ("name", "relation", "owner", "position", "read until", *_words(_COUNTED)),
            [
                (name, _POSTED_RELATION if source is None else source.relation, *row)
                for name, source in known.items()
                for row in [_row(each) for each in rules[name]]
                or [("", "", "never", *("" for _ in _COUNTED))]
            ],
        )
        skipped = {each.owner: each.skipped_rows for each in rules[posted.NAME]}
        for owner, problems in skipped.items():
            for problem, times in sorted(problems.items()):
                console.print_message(f"Rows skipped of {owner}, {times:,} times: {problem}")
    return ExitCode.DONE


def _described(name: str, source: Source | None) -> Mapping[str, object]:
    if source is None:
        return {"name": name, "relation": _POSTED_RELATION, "settle_minutes": posted.SETTLE_MINUTES}
    return {
        "name": name,
        "relation": source.relation,
        "settle_minutes": source.settle_minutes,
        "masks": source.masking.labels,
        "owners": sorted(source.owners),
    }


def _rule_json(rule: SourceRule) -> dict[str, object]:
    return console.row_json(rule) | {"skipped": rule.skipped}


def _row(rule: SourceRule) -> tuple[str, ...]:
    counts = (f"{getattr(rule, name):,}" for name in _COUNTED)
    return (rule.owner, rule.name, format_time(rule.last_at), *counts)


def _words(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.replace("_", " ") for name in names)


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
