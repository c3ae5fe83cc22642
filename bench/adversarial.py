"""An adversarial test: the time with two credentials and with one, and the weaknesses it finds.

./run bench adversarial [CASES] [BOT_LATENCY_MS] [CASES_PER_WEAKNESS]
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from processes import postgres, vendor, worker

from evalqueue import Client, Job
from evalqueue.evaluators.adversarial.chatbot import ChatbotParams
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.simulated.chatbot.bot import RULE_OF, Weakness
from evalqueue.evaluators.simulated.chatbot.server import SimulatedKaira
from evalqueue.evaluators.simulated.chatbot.simulation import ChatbotBehaviour

PROTOCOLS = ("kaira_v1", "kaira_v2")
LLM_LATENCY_MS = 200.0
CREDENTIAL_NAMES = tuple(f"user-{number}" for number in range(1, 5))
CREDENTIALS = {
    name: {"user_id": f"user-of-{name}", "token": f"token-of-{name}", "host": "localhost"}
    for name in CREDENTIAL_NAMES
}
ALL_PERSONAS = ["easy", "medium", "hard", "crack", "moriarty"]
FAILING = {"SOFT FAIL", "HARD FAIL", "CRITICAL"}

Row = Mapping[str, Any]


async def main(cases: int, latency_ms: float, per_weakness: int) -> None:
    async with postgres() as database, Client(database=database) as client:
        async with vendor(LLM_LATENCY_MS) as url, worker(database, **environment_of(url)):
            await compare_concurrency(client, cases, latency_ms)
        async with vendor(0, port=18726) as url, worker(database, **environment_of(url)):
            await compare_weaknesses(client, per_weakness)


async def compare_concurrency(client: Client, cases: int, latency_ms: float) -> None:
    """The same cases with one credential and with two."""
    walls: list[float] = []
    async with SimulatedKaira(ChatbotBehaviour(latency_ms=latency_ms)) as bot:
        # Generates the cases, and warms up.
        made_up = await finished(client, bot, CREDENTIAL_NAMES[:2], test_count=cases)
        chosen = the_same_as(made_up, await ids(client, made_up))
        for used in (1, 2):
            job = await finished(client, bot, CREDENTIAL_NAMES[:used], **chosen)
            rows = await results(client, job)
            wall = spent(rows)
            walls.append(wall)
            print(
                f"{cases} cases, {sum(row['total_turns'] for row in rows)} turns of "
                f"{latency_ms:.0f} ms, on {used} credential(s): {wall:.2f} s; "
                f"busy: {busy(rows, wall)}"
            )
        assert bot.stats["max_parallel_per_user"] == 1, "never two conversations of one user"
        assert bot.stats["mixed_turns"] == 0
    print(f"two credentials take {walls[1] / walls[0]:.2f} of the time of one\n")


async def compare_weaknesses(client: Client, cases: int) -> None:
    """The same cases against bots with one weakness each, and with none."""
    headings = [f"{each}: found in, false alarms" for each in PROTOCOLS]
    print(f"| weakness switched on | {' | '.join(headings)} |")
    print("|---|" + "---|" * len(PROTOCOLS))
    async with SimulatedKaira() as bot:
        made_up = await finished(
            client, bot, CREDENTIAL_NAMES, test_count=cases, personas=ALL_PERSONAS
        )
    chosen = the_same_as(made_up, await ids(client, made_up))
    for weakness in (None, *Weakness):
        cells: list[str] = []
        for protocol in PROTOCOLS:
            weaknesses = frozenset([weakness] if weakness else [])
            async with SimulatedKaira(ChatbotBehaviour(weaknesses=weaknesses)) as bot:
                job = await finished(client, bot, CREDENTIAL_NAMES, protocol=protocol, **chosen)
            cells.append(cell(weakness, await results(client, job)))
        print(f"| {weakness or '(none)'} | {' | '.join(cells)} |", flush=True)


def cell(weakness: Weakness | None, rows: Sequence[Row]) -> str:
    """What was reported about a bot with this weakness."""
    reported = Counter(rule for row in rows for rule in violated(row))
    failing = sum(row["verdict"] in FAILING for row in rows)
    unjudged = sum(row["verdict"] is None for row in rows)
    own = RULE_OF[weakness] if weakness else None
    others = {rule for rule in RULE_OF.values() if reported[rule] and rule != own}
    alarms = f"{len(others)} ({', '.join(sorted(others))})" if others else "0"
    undecided = f", {unjudged} not judged" if unjudged else ""
    if own is None:
        return f"{failing} of {len(rows)} fail, {alarms}{undecided}"
    return f"{reported[own] or 'missed'}, {alarms}{undecided}"


def violated(row: Row) -> list[str]:
    verdict = row["result"]["judge"] or {"rule_compliance": []}
    return [each["rule_id"] for each in verdict["rule_compliance"] if each["status"] == "VIOLATED"]


def environment_of(url: str) -> dict[str, str]:
    return {
        "EVALQUEUE_LLM_PROVIDER": "simulated",
        "EVALQUEUE_SIMULATED_URL": url,
        "EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(CREDENTIALS),
    }


def the_same_as(job: Job, case_ids: Sequence[str]) -> dict[str, Any]:
    run_id = job.progress.details["run_id"]
    return {"from_run": run_id, "from_run_cases": list(case_ids)}


async def finished(
    client: Client,
    bot: SimulatedKaira,
    credentials: Sequence[str],
    *,
    protocol: str = "kaira_v2",
    **params: Any,
) -> Job:
    chatbot = ChatbotParams(protocol=protocol, url=bot.url, credentials=list(credentials))
    params |= {"chatbot": chatbot, "turn_delay_seconds": 0, "llm_provider": "simulated"}
    submitted = await client.submit(EvaluateAdversarial.model_validate(params))
    job = await client.wait(submitted.id)
    assert job.error_message is None, job.error_message
    return job


async def ids(client: Client, job: Job) -> list[str]:
    return [row["case_id"] for row in await results(client, job)]


async def results(client: Client, job: Job) -> list[Row]:
    async with (await client.database()).connection() as connection:
        cursor = await connection.execute(
            "SELECT to_jsonb(e) || jsonb_build_object("
            " 'began', extract(epoch FROM started_at), 'over', extract(epoch FROM ended_at))"
            " FROM adversarial_evaluations AS e WHERE run_id = %s ORDER BY id",
            [job.progress.details["run_id"]],
        )
        return [row for (row,) in await cursor.fetchall()]


def spent(rows: Sequence[Row]) -> float:
    """From the first message to the last answer, in seconds."""
    return max(row["over"] for row in rows) - min(row["began"] for row in rows)


def busy(rows: Sequence[Row], wall: float) -> str:
    """The share of that time in which each credential was in a conversation."""
    shares: Counter[str] = Counter()
    for row in rows:
        shares[row["credential"]] += row["over"] - row["began"]
    return ", ".join(f"{name} {share / wall:.0%}" for name, share in sorted(shares.items()))


arguments = sys.argv[1:]
asyncio.run(
    main(
        int(arguments[0]) if arguments else 15,
        float(arguments[1]) if len(arguments) > 1 else 300.0,
        int(arguments[2]) if len(arguments) > 2 else 40,
    )
)
