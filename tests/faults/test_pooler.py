"""Behind PgBouncer, a session ends while a worker uses it."""

from pathlib import Path

from faults.bouncer import bouncer
from faults.proxy import Proxy
from faults.stage import Stage
from faults.steps import STATEMENTS, Moment
from faults.work import Steps

from evalqueue import JobStatus


async def test_a_session_that_ends_at_a_commit_behind_a_pooler_costs_no_attempt(
    stage: Stage, tmp_path: Path
):
    """The worker hears two goodbyes at once, the server's and the pooler's."""
    async with (
        bouncer(tmp_path, stage.server.port) as port,
        Proxy(port).open() as proxy,
    ):
        trap = proxy.trap(STATEMENTS["commit"], Moment.BEFORE)
        job = await stage.submit(Steps(items=2))
        stage.fleet.start(stage.behind(proxy), EVALQUEUE_LISTEN_URL=stage.address)
        await trap.sprung.wait()
        await stage.server.terminate_backends(database=stage.database)
        await stage.until_over(job)

    found = await stage.get(job)
    assert (found.status, found.error_message) == (JobStatus.COMPLETED, None)
    assert (found.attempt, found.failed_attempts) == (1, 0)
    await stage.assert_sound()
