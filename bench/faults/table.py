"""Plays every scenario of bench/faults.py on every side, and prints the table."""

import argparse
import asyncio
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import psycopg
from scenarios import SCENARIOS
from sides import CONCURRENCY, LEASE_SECONDS, SIDES, Side
from stage import BOUND_SECONDS, Seen, scene

AT_ONCE = 8
PLAY_TIMEOUT = 330.0  # seconds

Table = dict[str, dict[str, Seen | str]]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), metavar="NAME",
                        default=list(SCENARIOS), help=", ".join(SCENARIOS))  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=[side.name for side in SIDES],
                        default=[side.name for side in SIDES])  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    table = asyncio.run(_play_all(given.only, given.sides))
    print(_markdown(table, given.sides))
    if given.json is not None:
        rows = {
            name: {
                side: seen if isinstance(seen, str) else asdict(seen) for side, seen in row.items()
            }
            for name, row in table.items()
        }
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


async def _play_all(names: Collection[str], sides: Collection[str]) -> Table:
    table: Table = {name: {} for name in names}
    limit = asyncio.Semaphore(AT_ONCE)

    async def play(name: str, side: Side) -> None:
        async with limit:
            table[name][side.name] = seen = await _play(name, side)
            print(f"{name}: {side.name}: {seen}", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as together:
        for name in sorted(names, key=lambda name: name != "outage-120"):  # the longest first
            for side in SIDES:
                if side.name in sides:
                    together.create_task(play(name, side))
    return table


async def _play(name: str, side: Side) -> Seen | str:
    """One scenario on one side; if it could not be played to its end, why."""
    try:
        async with asyncio.timeout(PLAY_TIMEOUT), scene(side) as here:
            await SCENARIOS[name][1](here)
            return await here.settle()
    except (AssertionError, TimeoutError, psycopg.Error) as error:
        return f"not played to its end: {error!r}"


def _markdown(table: Table, sides: Collection[str]) -> str:
    named = [side.name for side in SIDES if side.name in sides]
    lines = [
        f"lost / twice / stuck / recovered after. Stuck: not over {BOUND_SECONDS:.0f} s after the "
        f"fault, though a worker lives. {CONCURRENCY} jobs at a time per worker, "
        f"EVALQUEUE_LEASE_SECONDS={LEASE_SECONDS:.0f}, all else as it comes.",
        "",
        f"| scenario | {' | '.join(named)} |",
        f"|---|{'---|' * len(named)}",
    ]
    for name, row in table.items():
        cells = " | ".join(str(row[side]) for side in named)
        lines.append(f"| {SCENARIOS[name][0]} | {cells} |")
    return "\n".join(lines)
