"""The server refuses a statement of ours for a reason that passes: it is said again."""

import pytest
from faults.injector import STATES, inject, unused
from faults.stage import Stage
from faults.steps import STATEMENTS
from faults.work import Steps

from evalqueue import Client, Job, JobStatus

TIMES = {"claim": 1, "flush": 2, "keep": 2, "finish": 2}


@pytest.mark.parametrize("statement", TIMES)
async def test_a_statement_that_is_refused_for_a_while_is_said_again(stage: Stage, statement: str):
    """One job per SQLSTATE, all at once: timeouts, deadlock, read-only, disk full."""
    jobs: dict[str, Job] = {}
    async with (
        Client(stage.address) as client,
        await stage.server.connect(stage.database) as connection,
    ):
        for sqlstate in STATES:
            async with connection.transaction():
                job = await client.submit(Steps(items=2), connection=connection)
                await inject(
                    connection,
                    job.id,
                    statement=STATEMENTS[statement],
                    sqlstate=sqlstate,
                    times=TIMES[statement],
                )
            jobs[sqlstate] = job
        worker = await stage.worker(None, "--concurrency=6")
        await stage.until_over(*jobs.values())
        left = await unused(connection)

    found = {sqlstate: await stage.get(job) for sqlstate, job in jobs.items()}
    told = {sqlstate: (str(job.status), job.error_message) for sqlstate, job in found.items()}
    assert told == dict.fromkeys(STATES, (str(JobStatus.COMPLETED), None))
    assert {job.failed_attempts for job in found.values()} == {0}
    assert left == []
    assert worker.is_alive
    await stage.assert_sound()
