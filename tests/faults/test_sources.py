"""A worker that reads a source is killed: no conversation is left out, and none evaluated twice."""

import json

import pytest
from faults.deployment import Deployment
from faults.steps import Moment

from evalqueue import Client, JobStatus
from evalqueue.evaluators import EvaluateBatch, EvaluateSource, post_messages
from evalqueue.evaluators.sources import store
from evalqueue.testing import Behaviour, SimulatedServer

CONVERSATIONS = 10
TABLE = """
CREATE SCHEMA chat;
CREATE TABLE chat.log AS
SELECT 'c' || number AS ticket_id, 'Two rotis' AS question, 'Noted' AS reply,
    now() - interval '9 hours' + number * interval '1 minute' AS sent_at
FROM generate_series(1, 10) AS number;
"""


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("statement", ["INSERT INTO source_positions", "evalqueue_submit_job_row"])
async def test_another_worker_goes_on_where_the_killed_one_was(
    deployment: Deployment, statement: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {"support": {"address": deployment.address, "relation": "chat.log"}}
    async with SimulatedServer(Behaviour()) as judge:
        environment = {
            "EVALQUEUE_SOURCES": json.dumps(sources),
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": judge.url,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        async with await deployment.server.connect(deployment.database) as connection:
            await connection.execute(TABLE)
        async with Client(deployment.address, job_types=[EvaluateSource, EvaluateBatch]) as client:
            job = await client.submit(EvaluateSource(source="support", batch_size=2))
            async with deployment.proxy().open() as proxy:
                trap = proxy.trap(statement, moment, nth=3)
                killed = deployment.fleet.start(deployment.behind(proxy), **environment)
                await trap.sprung.wait()
                await killed.kill()
            await deployment.expire(*await client.list(status=JobStatus.RUNNING))
            await deployment.worker(name="heir", **environment)
            await deployment.watch.until(
                "SELECT bool_and(completed_at IS NOT NULL) AND count(*) = 6 FROM jobs"
            )
            found = await client.get(job.id)

    assert (found.status, found.attempt) == (JobStatus.COMPLETED, 2)
    async with await deployment.server.connect(deployment.database) as connection:
        cursor = await connection.execute(
            "SELECT thread_id, count(*) FROM thread_evaluations GROUP BY thread_id"
        )
        evaluated = dict(await cursor.fetchall())
    assert evaluated == {f"c{number}": 1 for number in range(1, CONVERSATIONS + 1)}


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize(
    "statement", ["INSERT INTO posted_readings", "INSERT INTO source_readings"]
)
async def test_posted_conversations_are_evaluated_once_when_a_worker_is_killed(
    deployment: Deployment, statement: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimulatedServer(Behaviour()) as judge:
        environment = {
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": judge.url,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        async with Client(deployment.address, job_types=[EvaluateSource, EvaluateBatch]) as client:
            for number in range(1, CONVERSATIONS + 1):
                said = {"role": "user", "content": f"Roti {number}", "id": "m1"}
                await post_messages(client, {"thread_id": f"c{number}", "messages": [said]})
            job = await client.submit(
                EvaluateSource(source="posted", settle_minutes=0, batch_size=2)
            )
            async with deployment.proxy().open() as proxy:
                trap = proxy.trap(statement, moment, nth=3)
                killed = deployment.fleet.start(deployment.behind(proxy), **environment)
                await trap.sprung.wait()
                await killed.kill()
            await deployment.expire(*await client.list(status=JobStatus.RUNNING))
            await deployment.worker(name="heir", **environment)
            await deployment.watch.until(
                "SELECT bool_and(completed_at IS NOT NULL) AND count(*) = 6 FROM jobs"
            )
            found = await client.get(job.id)
            async with (await client.database()).connection() as connection:
                (rule,) = await store.rules(connection)

    assert (found.status, found.attempt) == (JobStatus.COMPLETED, 2)
    assert (found.progress.current, found.progress.total) == (CONVERSATIONS, CONVERSATIONS)
    assert rule.matched == rule.sampled == rule.judged == CONVERSATIONS
    async with await deployment.server.connect(deployment.database) as connection:
        cursor = await connection.execute(
            "SELECT thread_id, count(*) FROM thread_evaluations GROUP BY thread_id"
        )
        evaluated = dict(await cursor.fetchall())
    assert evaluated == {f"c{number}": 1 for number in range(1, CONVERSATIONS + 1)}
