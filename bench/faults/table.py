"""Runs every scenario of bench/faults on every side, and prints the table."""

import argparse
import asyncio
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import psycopg
from scenario_run import BOUND_SECONDS, Outcome, scenario_run
from scenarios import SCENARIOS
from sides import CONCURRENCY, LEASE_SECONDS, SIDES, Side

AT_ONCE = 8
SCENARIO_TIMEOUT = 330.0  # seconds

Table = dict[str, dict[str, Outcome | str]]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), metavar="NAME",
                        default=list(SCENARIOS), help=", ".join(SCENARIOS))  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=[side.name for side in SIDES],
                        default=[side.name for side in SIDES])  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    table = asyncio.run(_run_all(given.only, given.sides))
    print(_markdown(table, given.sides))
    if given.json is not None:
        rows = {
            name: {
                side: outcome if isinstance(outcome, str) else asdict(outcome)
                for side, outcome in row.items()
            }
            for name, row in table.items()
        }
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


async def _run_all(names: Collection[str], sides: Collection[str]) -> Table:
    table: Table = {name: {} for name in names}
    limit = asyncio.Semaphore(AT_ONCE)

    async def run(name: str, side: Side) -> None:
        async with limit:
            table[name][side.name] = outcome = await _run_scenario(name, side)
            print(f"{name}: {side.name}: {outcome}", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as together:
        for name in sorted(names, key=lambda name: name != "outage-120"):  # the longest first
            for side in SIDES:
                if side.name in sides:
                    together.create_task(run(name, side))
    return table


async def _run_scenario(name: str, side: Side) -> Outcome | str:
    """The outcome of one scenario on one side; if it could not be completed, the reason."""
    try:
        async with asyncio.timeout(SCENARIO_TIMEOUT), scenario_run(side) as run:
            await SCENARIOS[name][1](run)
            return await run.settle()
    except (AssertionError, TimeoutError, psycopg.Error) as error:
        return f"not completed: {error!r}"


def _markdown(table: Table, sides: Collection[str]) -> str:
    named = [side.name for side in SIDES if side.name in sides]
    lines = [
        f"lost / twice / stuck / recovered after. Stuck: not over {BOUND_SECONDS:.0f} s after the "
        f"fault, though a worker is alive. {CONCURRENCY} jobs at a time per worker, "
        f"EVALQUEUE_LEASE_SECONDS={LEASE_SECONDS:.0f}, default settings otherwise.",
        "",
        f"| scenario | {' | '.join(named)} |",
        f"|---|{'---|' * len(named)}",
    ]
    for name, row in table.items():
        cells = " | ".join(str(row[side]) for side in named)
        lines.append(f"| {SCENARIOS[name][0]} | {cells} |")
    return "\n".join(lines)
