"""A stress test, end to end: real workers, a real line to a simulated bot, and whatever cuts it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from evalqueue import Client, Job, JobStatus
from evalqueue.evaluators.adversarial.chatbot import ChatbotParams
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.simulated.chatbot.server import SimulatedKaira
from evalqueue.evaluators.simulated.chatbot.simulation import ChatbotBehaviour as BotBehaviour
from evalqueue.http.app import OPERATIONS
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 60.0  # seconds
TOKENS = {name: f"secret-token-of-{name}" for name in ("anna", "ben", "anna-again")}
USERS = {"anna": "user-a", "ben": "user-b", "anna-again": "USER-A"}
CREDENTIALS = json.dumps({
    name: {"user_id": USERS[name], "token": token, "host": "localhost"}
    for name, token in TOKENS.items()
})  # fmt: skip
OPENINGS = (
    "I had 2 idli at 8 am", "I ate 1 dosa at 9 am", "I had 3 roti at 1 pm yesterday",
    "I had 1 bowl of dal at 2 pm yesterday", "I had 2 eggs at 7 am", "I had 1 banana at 7:30 am",
    "I ate 2 samosa at 5 pm yesterday", "I had 1 bowl of poha at 8:20 am",
)  # fmt: skip
"""Of users who say all there is to say: the bot shows a card, and that is all."""


@pytest.fixture
async def players() -> AsyncGenerator[SimulatedServer]:
    """A simulated vendor that answers at once: it plays the users and judges."""
    async with SimulatedServer(Behaviour()) as server:
        yield server


@pytest.fixture
async def bot() -> AsyncGenerator[SimulatedKaira]:
    """A bot without weaknesses, that stumbles when a message says so."""
    behaviour = BotBehaviour(latency_ms=20, pause_ms=20, obey_markers=True)
    async with SimulatedKaira(behaviour) as bot:
        yield bot


@pytest.fixture
def environment(players: SimulatedServer) -> dict[str, str]:
    """What the workers are told."""
    return {
        "EVALQUEUE_SIMULATED_URL": players.url,
        "EVALQUEUE_CHATBOT_CREDENTIALS": CREDENTIALS,
    }


def stress(
    bot: SimulatedKaira, *openings: str, credentials: tuple[str, ...] = ("anna",), **params: Any
) -> EvaluateAdversarial:
    """Cases with these openings, by users who have nothing difficult about them."""
    limits = {
        name: params.pop(name) for name in ("timeout_seconds", "reply_seconds") & params.keys()
    }
    cases = [
        {"opening": opening, "expected_behavior": "It shows a summary.", "difficulty": "easy",
         "goals": ["meal_logged"], "label": opening}
        for opening in openings
    ]  # fmt: skip
    chatbot = ChatbotParams(
        protocol="kaira_v2", url=bot.url, credentials=list(credentials), **limits
    )
    return EvaluateAdversarial.model_validate(
        {"chatbot": chatbot, "cases": cases, "turn_delay_seconds": 0, **params}
    )


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


async def until(database: Database, sql: str) -> None:
    """Wait until a query says yes."""
    async with asyncio.timeout(PATIENCE):
        while not (await query(database, sql))[0][0]:
            await asyncio.sleep(0.02)


async def until_bot(bot: SimulatedKaira, **wanted: int) -> None:
    """Wait until the bot has counted so much."""
    async with asyncio.timeout(PATIENCE):
        await bot.until(lambda stats: all(stats[name] == value for name, value in wanted.items()))


async def until_asked(bot: SimulatedKaira, times: int) -> None:
    """Wait until the bot has been asked so often; it answers nothing before the test goes on."""
    async with asyncio.timeout(PATIENCE):
        await bot.until(lambda stats: stats["requests"] >= times)


async def finished(client: Client, job: Job) -> Job:
    return await client.wait(job.id, timeout=PATIENCE)


async def results(database: Database) -> dict[str, Mapping[str, Any]]:
    """What became of each case, by its opening."""
    rows = await query(database, "SELECT row_to_json(e) FROM adversarial_evaluations e ORDER BY id")
    return {row["result"]["test_case"]["opening"]: row for (row,) in rows}


async def summary(database: Database) -> Mapping[str, Any]:
    ((status, found),) = await query(database, "SELECT status, summary FROM eval_runs")
    return {"status": status, **(found or {})}


def assert_never_mixed(bot: SimulatedKaira) -> None:
    """No user of the bot was ever in two conversations."""
    assert bot.stats["max_parallel_per_user"] == 1
    assert bot.stats["mixed_turns"] == 0


async def assert_no_conversations_overlap(database: Database) -> None:
    """As our own records have it, by the bot's users and not by the credentials' names."""
    rows = await query(
        database,
        "SELECT credential, started_at, ended_at FROM adversarial_evaluations"
        " WHERE started_at IS NOT NULL ORDER BY started_at",
    )
    free_from: dict[str, Any] = {}
    for credential, started_at, ended_at in rows:
        user = USERS[credential].casefold()
        assert user not in free_from or free_from[user] <= started_at
        free_from[user] = ended_at


async def assert_no_token(database: Database, *logs: Path) -> None:
    """No token is in any row of any table, nor in a log."""
    tables = await query(
        database,
        "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    for (table,) in tables:
        for (row,) in await query(database, f"SELECT each::text FROM {table} AS each"):
            assert not any(token in row for token in TOKENS.values()), table
    for log in logs:
        text = log.read_text()
        assert text
        assert not any(token in text for token in TOKENS.values())


async def test_two_credentials_are_two_lanes_that_never_overlap(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    async with start_daemon(**environment) as daemon:
        job = await client.submit(
            stress(bot, credentials=("anna", "ben", "anna-again"), test_count=12)
        )
        messages = [change.progress.message async for change in client.watch(job.id)]
        job = await client.get(job.id)

    assert job.status is JobStatus.COMPLETED, job.error_message
    assert messages[-1] == "Case 12/12 (12 ok, 0 failed)"
    assert_never_mixed(bot)
    await assert_no_conversations_overlap(database)
    assert bot.stats["turns"].keys() == {"user-a", "user-b"}, "two names of one user are one lane"
    assert await query(
        database,
        "SELECT count(*) > 0 FROM adversarial_evaluations AS one, adversarial_evaluations AS other"
        " WHERE one.credential <> 'ben' AND other.credential = 'ben'"
        " AND one.started_at < other.ended_at AND other.started_at < one.ended_at",
    ) == [(True,)], "the lanes run side by side"
    found = await summary(database)
    assert (found["status"], found["pass_rate"], found["judged"]) == ("completed", 1.0, 12)
    assert (await query(database, "SELECT total_items FROM eval_runs")) == [(12,)]
    await assert_no_token(database, daemon.log)


async def test_two_jobs_in_two_workers_share_a_credential_without_meeting(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    alone = ("--concurrency=1",)
    async with start_daemon(*alone, **environment), start_daemon(*alone, **environment):
        await until(database, "SELECT count(*) = 2 FROM job_workers WHERE listening")
        async with database.transaction() as gate:
            # No lane can be taken, and so no job ends, before each worker has one.
            await gate.execute("LOCK TABLE credential_leases")
            jobs = [
                await client.submit(stress(bot, *OPENINGS[:3], credentials=(name,)))
                for name in ("anna", "anna-again")
            ]
            await until(database, "SELECT count(*) = 2 FROM jobs WHERE status = 'running'")
        jobs = [await finished(client, job) for job in jobs]

    assert [job.status for job in jobs] == [JobStatus.COMPLETED] * 2
    assert await query(database, "SELECT count(DISTINCT worker) FROM job_attempts") == [(2,)]
    assert_never_mixed(bot)
    await assert_no_conversations_overlap(database)


async def test_a_job_that_waits_for_a_lane_hears_that_its_worker_is_to_stop(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    alone = ("--concurrency=1",)
    async with start_daemon(*alone, **environment):
        talking = await client.submit(stress(bot, f"{OPENINGS[0]} [[hang]]", timeout_seconds=60))
        await until_bot(bot, open_streams=1)
        async with start_daemon(*alone, **environment) as daemon:
            waiting = await client.submit(stress(bot, OPENINGS[1]))
            await until(database, "SELECT count(wanted_by) = 1 FROM credential_leases")
            assert await daemon.terminate() == 0
        waiting = await client.get(waiting.id)
        talking = await client.get(talking.id)

    assert (waiting.status, waiting.failed_attempts) == (JobStatus.QUEUED, 0)
    assert talking.status is JobStatus.RUNNING
    assert bot.stats["requests"] == 1


async def test_a_killed_worker_costs_the_conversation_it_was_in_and_nothing_else(
    client: Client,
    database: Database,
    start_daemon: Any,
    environment: dict[str, str],
):
    """With one turn at most nobody has to play: the judge alone is asked, and here it hangs."""
    cut, waiting, rest = f"{OPENINGS[1]} [[hang]]", OPENINGS[0], OPENINGS[2:4]
    async with (
        SimulatedKaira(BotBehaviour(obey_markers=True)) as bot,
        SimulatedServer(Behaviour(rate_silent=1.0)) as silent,
    ):
        port = int(bot.url.rpartition(":")[2])
        async with start_daemon(**environment | {"EVALQUEUE_SIMULATED_URL": silent.url}) as first:
            job = await client.submit(stress(bot, waiting, cut, *rest, max_turns=1))
            await until_bot(bot, requests=2, open_streams=1)
            async with asyncio.timeout(PATIENCE):
                await silent.simulation.until(lambda stats: stats["in_flight"] == 1)
            await first.kill()
            await first.declare_lost()
        await until_bot(bot, open_streams=0)

    async with SimulatedKaira(BotBehaviour(), port=port) as bot, start_daemon(**environment):
        job = await finished(client, job)
        assert bot.stats["requests"] == len(rest), "what had ended is judged from the record"
        found = await results(database)
        told = await summary(database)
        kept = await query(database, "SELECT id FROM adversarial_evaluations WHERE verdict > ''")
        again = await client.retry(job.id)
        again = await finished(client, again)
        assert bot.stats["requests"] == len(rest) + 1

    assert (job.status, job.attempt, job.failed_attempts) == (JobStatus.COMPLETED, 2, 1)
    assert {opening for opening, row in found.items() if row["verdict"] is None} == {cut}
    assert found[waiting]["verdict"] == "PASS"
    assert found[waiting]["attempt"] == 2
    interrupted = found[cut]
    assert interrupted["stop_reason"] == "error"
    assert "cut short after turn 1" in interrupted["error"]
    ((turn,),) = (interrupted["result"]["transcript"],)
    assert (turn["message"]["text"], turn["reply"], turn["fault"]) == (cut, None, None)
    assert told["status"] == "completed_with_errors"
    assert (told["total_tests"], told["judged"], told["infrastructure_failures"]) == (4, 3, 1)
    assert told["pass_rate"] == 1.0
    assert again.status is JobStatus.COMPLETED
    after = await query(database, "SELECT id FROM adversarial_evaluations WHERE verdict > ''")
    assert set(kept) < set(after)
    assert (await summary(database))["judged"] == 4
    assert await query(database, "SELECT count(*) FROM adversarial_dialogues") == [(0,)]


async def test_a_cancel_hangs_up_and_leaves_the_lane_to_the_next_job(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    async with start_daemon(**environment):
        first = await client.submit(stress(bot, f"{OPENINGS[0]} [[hang]]", *OPENINGS[1:4]))
        await until_bot(bot, open_streams=1)
        next_one = await client.submit(stress(bot, OPENINGS[4]))
        await until(database, "SELECT count(wanted_by) = 1 FROM credential_leases")
        await client.cancel(first.id)
        # A lane that was not left is free some seconds after its job's end, which here is far off:
        # what frees it now is that it is left.
        await query(
            database,
            "UPDATE job_attempts SET ended_at = ended_at + interval '1 hour' WHERE job_id = %s"
            " RETURNING 1",
            first.id,
        )
        assert (await client.get(first.id)).status is JobStatus.CANCELLED
        await until_bot(bot, open_streams=0)
        next_one = await finished(client, next_one)
        first = await client.get(first.id)

    assert first.status is JobStatus.CANCELLED
    assert next_one.status is JobStatus.COMPLETED
    assert_never_mixed(bot)
    assert await query(database, "SELECT status FROM eval_runs ORDER BY created_at") == [
        ("cancelled",), ("completed",),
    ]  # fmt: skip
    assert await query(database, "SELECT count(job_id) FROM credential_leases") == [(0,)]


async def test_a_job_whose_run_was_deleted_is_refused(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    job = await client.submit(stress(bot, OPENINGS[0]))
    await query(database, "DELETE FROM eval_runs RETURNING 1")
    async with start_daemon(**environment):
        job = await finished(client, job)

    assert job.status is JobStatus.FAILED
    run_id = job.progress.details["run_id"]
    assert job.error_message == f"Its run {run_id} was deleted: submit it anew"
    assert bot.stats["requests"] == 0


async def test_cases_during_an_outage_of_the_bot_are_in_no_rate(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    async with start_daemon(**environment):
        job = await client.submit(stress(bot, *OPENINGS))
        # In the middle of the fifth case. Were all the rest lost, it would not end the job.
        await until_asked(bot, 9)
        await bot.outage()
        await until(database, "SELECT count(*) >= 2 FROM adversarial_evaluations WHERE error > ''")
        await bot.restore()
        job = await finished(client, job)
        found = await results(database)
        told = await summary(database)
        again = await finished(client, await client.retry(job.id))

    assert job.status is JobStatus.COMPLETED
    lost = [row for row in found.values() if row["verdict"] is None]
    assert 2 <= len(lost) < len(OPENINGS)
    faults = {row["result"]["facts"]["fault"] for row in lost}
    assert faults <= {"unreachable", "connection_lost"}
    assert {row["stop_reason"] for row in lost} == {"error"}
    assert told["status"] == "completed_with_errors"
    assert told["infrastructure_failures"] == len(lost)
    assert told["judged"] == len(OPENINGS) - len(lost)
    assert told["pass_rate"] == 1.0
    assert again.status is JobStatus.COMPLETED
    assert (await summary(database))["pass_rate"] == 1.0
    assert (await summary(database))["judged"] == len(OPENINGS)


async def test_a_bot_that_is_not_there_stops_the_job_which_can_be_retried(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    await bot.outage()
    async with start_daemon(**environment):
        job = await client.submit(stress(bot, *OPENINGS, credentials=("anna", "ben")))
        job = await finished(client, job)
        told = await summary(database)
        await bot.restore()
        again = await finished(client, await client.retry(job.id))

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert "cases in a row could not connect" in job.error_message
    assert (told["status"], told["judged"], told["pass_rate"]) == ("failed", 0, None)
    assert 5 <= told["total_tests"] < len(OPENINGS)
    assert told["infrastructure_failures"] == told["total_tests"]
    assert again.status is JobStatus.COMPLETED
    told = await summary(database)
    assert (told["status"], told["judged"], told["pass_rate"]) == ("completed", len(OPENINGS), 1.0)


async def test_a_credential_that_is_not_let_in_rests_and_the_others_do_its_cases(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    known = json.loads(environment["EVALQUEUE_CHATBOT_CREDENTIALS"])
    known["ben"]["token"] = "bad-token"
    environment |= {"EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(known)}
    async with start_daemon(**environment):
        job = await client.submit(stress(bot, *OPENINGS, credentials=("anna", "ben")))
        job = await finished(client, job)

    assert job.status is JobStatus.COMPLETED
    told = await summary(database)
    assert told["status"] == "completed_with_errors"
    assert told["failures"] == {"chatbot: http_error": 2}
    assert (told["judged"], told["pass_rate"]) == (len(OPENINGS) - 2, 1.0)


async def test_each_answer_that_is_none_costs_one_case(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    faults = {
        "hang": "timeout", "endless": "timeout", "too_large": "too_large",
        "garbage": "unreadable", "drop_mid_stream": "connection_lost", "http_500": "http_error",
    }  # fmt: skip
    said_by_the_bot = ("error_chunk", "empty", "keep_alives", "slow_tokens")
    openings = [
        f"{opening} [[{name}]]"
        for name, opening in zip(
            [*faults, *said_by_the_bot], [*OPENINGS, *(f"{o}, at home" for o in OPENINGS)],
            strict=False,
        )
    ]  # fmt: skip
    async with start_daemon(**environment) as daemon:
        job = await client.submit(
            stress(
                bot, *openings, OPENINGS[0], credentials=("anna", "ben"),
                # Not less: an answer that is one may take its time.
                timeout_seconds=8, reply_seconds=10,
            )
        )  # fmt: skip
        job = await finished(client, job)

    assert job.status is JobStatus.COMPLETED
    found = await results(database)
    lost = {
        opening.partition("[[")[2].rstrip("]"): row["result"]["facts"]["fault"]
        for opening, row in found.items()
        if row["verdict"] is None
    }
    assert lost == faults
    told = await summary(database)
    assert told["infrastructure_failures"] == len(faults)
    assert told["judged"] == len(said_by_the_bot) + 1
    (error,) = (row for opening, row in found.items() if "[[error_chunk]]" in opening)
    assert error["verdict"] is not None
    assert "reported an error" in error["result"]["facts"]["line"][0]
    sizes = await query(database, "SELECT max(pg_column_size(result)) FROM adversarial_evaluations")
    assert sizes[0][0] < 1_000_000
    await assert_no_token(database, daemon.log)


async def test_sigterm_lets_conversations_end_and_leaves_the_other_cases_to_others(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    async with start_daemon(**environment) as daemon:
        job = await client.submit(stress(bot, *OPENINGS))
        await until_asked(bot, 3)  # at the second of eight cases
        assert await daemon.terminate() == 0
    handed_over = await client.get(job.id)
    under_way = await query(database, "SELECT count(*) FROM adversarial_dialogues")
    judged = await query(database, "SELECT count(verdict) FROM adversarial_evaluations")
    async with start_daemon(**environment):
        job = await finished(client, job)

    assert (handed_over.status, handed_over.failed_attempts) == (JobStatus.QUEUED, 0)
    assert under_way == [(0,)]
    assert 1 <= judged[0][0] < len(OPENINGS)
    assert job.status is JobStatus.COMPLETED
    told = await summary(database)
    assert (told["judged"], told["infrastructure_failures"]) == (len(OPENINGS), 0)


async def test_sigterm_past_the_grace_period_cuts_one_conversation_and_costs_no_attempt(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    cut = f"{OPENINGS[0]} [[hang]]"
    async with start_daemon("--shutdown-graceful-timeout=0.2", **environment) as daemon:
        job = await client.submit(stress(bot, cut, *OPENINGS[1:4]))
        await until_bot(bot, open_streams=1)
        assert await daemon.terminate() == 0
        await until_bot(bot, open_streams=0)
    released = await client.get(job.id)
    lanes = await query(database, "SELECT count(job_id) FROM credential_leases")
    async with start_daemon(**environment):
        job = await finished(client, job)

    assert (released.status, released.failed_attempts) == (JobStatus.QUEUED, 0)
    assert lanes == [(0,)]
    assert (job.status, job.failed_attempts) == (JobStatus.COMPLETED, 0)
    found = await results(database)
    assert [opening for opening, row in found.items() if row["verdict"] is None] == [cut]
    assert "cut short after turn 1" in found[cut]["error"]
    assert_never_mixed(bot)


async def test_a_conversation_that_nobody_could_judge_is_judged_by_a_retry_without_the_bot(
    client: Client,
    database: Database,
    start_daemon: Any,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    async with SimulatedServer(Behaviour(rate_refusal=1.0)) as refusing:
        wordless = environment | {"EVALQUEUE_SIMULATED_URL": refusing.url}
        async with start_daemon(**wordless):
            job = await client.submit(stress(bot, *OPENINGS[:3], max_turns=1))
            job = await finished(client, job)
    told, asked = await summary(database), bot.stats["requests"]
    async with start_daemon(**environment):
        again = await finished(client, await client.retry(job.id))

    assert job.status is JobStatus.FAILED
    assert (told["judged"], told["pass_rate"]) == (0, None)
    assert again.status is JobStatus.COMPLETED
    assert bot.stats["requests"] == asked == 3
    assert (await summary(database))["pass_rate"] == 1.0


async def test_tokens_are_in_no_row_no_log_and_no_answer_of_the_api(
    client: Client,
    database: Database,
    start_daemon: Any,
    environment: dict[str, str],
):
    """Though every case failed by them."""
    async with SimulatedKaira(BotBehaviour(tokens=frozenset({"another"}))) as bot:
        async with start_daemon(**environment) as daemon:
            job = await client.submit(stress(bot, *OPENINGS[:6], credentials=("anna", "ben")))
            job = await finished(client, job)

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert "401" in job.error_message or "found nobody" in job.error_message
    await assert_no_token(database, daemon.log)
    ((case_id,),) = await query(database, "SELECT min(case_id) FROM adversarial_evaluations")
    places = {
        "run_id": job.progress.details["run_id"], "job_id": job.id, "case_id": case_id,
        "app_id": "kaira-bot", "baseline_id": job.progress.details["run_id"],
    }  # fmt: skip
    # There was no call, no dataset and no annotation queue; and one answer has no end.
    elsewhere = ("dataset_id", "evaluation_id", "log_id", "queue_id", "{token}", "/api/events")
    async with (
        serve(client, host="127.0.0.1", port=0) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        for operation in OPERATIONS:
            if operation.method == "GET" and not any(e in operation.path for e in elsewhere):
                told = await http.get(operation.path.format_map(places))
                # Nothing was tried, and runs of adversarial tests are not compared.
                others = {"/tried/": 404, "/comparison/": 422}
                status = next((v for k, v in others.items() if k in operation.path), 200)
                assert told.status_code == status, f"{operation.path}: {told.text}"
                assert not any(token in told.text for token in TOKENS.values()), operation.path
        results = await http.get(f"/api/eval-runs/{places['run_id']}/adversarial")
    assert "401" in results.text, "what went wrong is told"


async def test_a_cap_stops_a_test_with_what_was_judged(
    client: Client,
    database: Database,
    start_daemon: Any,
    players: SimulatedServer,
    bot: SimulatedKaira,
    environment: dict[str, str],
):
    async with start_daemon(**environment):
        job = await finished(
            client, await client.submit(stress(bot, *OPENINGS, trials=3, max_tokens=40_000))
        )

    assert job.status is JobStatus.FAILED
    judged = len(await query(database, "SELECT FROM adversarial_evaluations WHERE verdict <> ''"))
    assert job.error_message == (
        f"The cap of 40,000 tokens is reached: {judged} of 24 conversations are judged"
    )
    assert 0 < judged < 24
    stats: Mapping[str, Any] = players.simulation.stats
    assert 0 < stats["tokens_in"] + stats["tokens_out"] <= 40_000
