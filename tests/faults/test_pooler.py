"""Behind PgBouncer, a session ends while a worker uses it."""

from pathlib import Path

from faults.bouncer import bouncer
from faults.deployment import Deployment
from faults.proxy import Proxy
from faults.steps import STATEMENTS, Moment
from faults.work import Steps

from evalqueue import JobStatus


async def test_a_session_that_ends_at_a_commit_behind_a_pooler_costs_no_attempt(
    deployment: Deployment, tmp_path: Path
):
    """The worker receives two error messages at once, the server's and the pooler's."""
    async with (
        bouncer(tmp_path, deployment.server.port) as port,
        Proxy(port).open() as proxy,
    ):
        trap = proxy.trap(STATEMENTS["commit"], Moment.BEFORE)
        job = await deployment.submit(Steps(items=2))
        deployment.fleet.start(deployment.behind(proxy), EVALQUEUE_LISTEN_URL=deployment.address)
        await trap.sprung.wait()
        await deployment.server.terminate_backends(database=deployment.database)
        await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.error_message) == (JobStatus.COMPLETED, None)
    assert (found.attempt, found.failed_attempts) == (1, 0)
    await deployment.assert_sound()
