"""Triggers of another program that refuse statements for one row: the other rows go on."""

from datetime import UTC, datetime

from faults.deployment import Deployment
from faults.work import Steps

from evalqueue import Job, JobStatus
from evalqueue.postgres import schedules
from evalqueue.postgres.database import Database
from evalqueue.postgres.schedules import Schedule

CODES = [
    "22012", "23514", "25006", "40001", "42501", "53100", "54000", "55P03", "57014", "P0001",
    "XX000",
]  # fmt: skip
"""One SQLSTATE of each class that a trigger may raise."""

REFUSE_CLAIM = """
CREATE FUNCTION faults.refuse_claim() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    code text := (SELECT replace(owner, 'refused ', '') FROM jobs
        WHERE task_id = NEW.id AND owner LIKE 'refused %');
BEGIN
    IF code IS NOT NULL AND NEW.status = 'doing' THEN
        RAISE EXCEPTION 'no claim for %', code USING ERRCODE = code;
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER refuse_claim BEFORE UPDATE ON procrastinate_jobs
    FOR EACH ROW EXECUTE FUNCTION faults.refuse_claim();
"""

REFUSE_END = """
CREATE FUNCTION faults.refuse_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    code text := (SELECT replace(owner, 'refused ', '') FROM jobs
        WHERE id = NEW.job_id AND owner LIKE 'refused %');
BEGIN
    IF code IS NOT NULL AND NEW.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'no end for %', code USING ERRCODE = code;
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER refuse_end BEFORE UPDATE ON job_attempts
    FOR EACH ROW EXECUTE FUNCTION faults.refuse_end();
"""

REFUSE_ATTEMPT = """
CREATE FUNCTION faults.refuse_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT owner FROM jobs WHERE id = NEW.job_id) = 'refused' THEN
        RAISE EXCEPTION 'no attempt';
    END IF;
    RETURN NEW;
END;
$$;
CREATE CONSTRAINT TRIGGER refuse_attempt AFTER INSERT ON job_attempts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION faults.refuse_attempt();
"""

REFUSE_UPDATE = """
CREATE FUNCTION faults.refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no update';
END;
$$;
"""


async def execute(deployment: Deployment, statement: str) -> None:
    async with await deployment.server.connect(deployment.database) as connection:
        await connection.execute(statement.encode())


async def completed_at_once(deployment: Deployment, *jobs: Job) -> None:
    await deployment.until_over(*jobs)
    for job in jobs:
        found = await deployment.get(job)
        assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)


async def test_jobs_whose_claim_is_refused_are_named_and_left_out(deployment: Deployment):
    await execute(deployment, REFUSE_CLAIM)
    refused = [await deployment.submit(Steps(), owner=f"refused {code}") for code in CODES]
    neighbours = [await deployment.submit(Steps(), owner="other") for _ in range(10)]
    worker = await deployment.worker(None, "--concurrency=3")
    await completed_at_once(deployment, *neighbours)
    for job in refused:
        await worker.until_logged(f"Job {job.id} can't be claimed")
    await completed_at_once(deployment, *[await deployment.submit(Steps()) for _ in range(4)])

    for job in refused:
        found = await deployment.get(job)
        assert (found.status, found.attempt) == (JobStatus.QUEUED, 0)
        assert worker.log_text().count(f"Job {job.id} can't be claimed") == 1
    assert worker.is_alive
    await execute(deployment, "DROP TRIGGER refuse_claim ON procrastinate_jobs")
    await completed_at_once(deployment, *refused)
    await deployment.assert_sound()


async def test_an_attempt_that_is_refused_at_the_commit_harms_no_neighbour(deployment: Deployment):
    await execute(deployment, REFUSE_ATTEMPT)
    refused = await deployment.submit(Steps(), owner="refused")
    neighbours = [await deployment.submit(Steps(), owner="other") for _ in range(3)]
    worker = await deployment.worker()
    await completed_at_once(deployment, *neighbours)
    await worker.until_logged(f"Job {refused.id} can't be claimed")
    await execute(deployment, "DROP TRIGGER refuse_attempt ON job_attempts")
    await completed_at_once(deployment, refused)
    await deployment.assert_sound()


async def test_attempts_that_can_t_end_hold_no_slot_for_ever(deployment: Deployment):
    """Neither can the job be recovered: the same statement would do it."""
    await execute(deployment, REFUSE_END)
    refused = [
        await deployment.submit(Steps(items=1), owner=f"refused {code}", priority=1)
        for code in CODES
    ]
    worker = await deployment.worker(None, "--concurrency=3", EVALQUEUE_LEASE_SECONDS="2")
    neighbours = [await deployment.submit(Steps(), owner="other") for _ in range(10)]
    await completed_at_once(deployment, *neighbours)

    assert worker.is_alive
    await execute(deployment, "DROP TRIGGER refuse_end ON job_attempts")
    await deployment.until_over(*refused)
    for job in refused:
        assert (await deployment.get(job)).status is JobStatus.COMPLETED
    await deployment.assert_sound()


async def test_a_worker_whose_heartbeat_is_refused_goes_on(deployment: Deployment):
    worker = await deployment.worker()
    await execute(
        deployment,
        REFUSE_UPDATE + "CREATE TRIGGER refuse BEFORE UPDATE ON job_workers"
        " FOR EACH ROW EXECUTE FUNCTION faults.refuse_update()",
    )
    await worker.until_logged("No heartbeat this time")
    await completed_at_once(deployment, await deployment.submit(Steps()))
    assert worker.is_alive
    await deployment.assert_sound()


async def test_a_job_whose_progress_is_refused_ends_alone(deployment: Deployment):
    gate = str(deployment.gate)
    await execute(
        deployment,
        REFUSE_UPDATE + "CREATE TRIGGER refuse BEFORE UPDATE OF progress ON jobs FOR EACH ROW"
        " WHEN (NEW.owner = 'refused' AND NEW.status = 'running' AND OLD.status = 'running')"
        " EXECUTE FUNCTION faults.refuse_update()",
    )
    neighbour = await deployment.submit(Steps(items=2, gate=gate), owner="other")
    refused = await deployment.submit(Steps(items=2, gate=gate), owner="refused")
    worker = await deployment.worker()
    await deployment.until_over(refused)
    deployment.gate.touch()
    await completed_at_once(deployment, neighbour)
    found = await deployment.get(refused)
    assert found.status is JobStatus.FAILED
    assert "no update" in str(found.error_message)
    assert worker.is_alive
    await deployment.assert_sound()


async def test_a_lost_job_that_can_t_be_recovered_is_named_and_delays_no_other(
    deployment: Deployment,
):
    first = await deployment.worker(EVALQUEUE_LEASE_SECONDS="2")
    gate = str(deployment.gate)
    refused = await deployment.submit(Steps(items=2, gate=gate), owner="refused")
    neighbour = await deployment.submit(Steps(items=2, gate=gate), owner="other")
    await deployment.until_begun(refused)
    await deployment.until_begun(neighbour)
    await execute(
        deployment,
        REFUSE_UPDATE
        + "CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.owner = 'refused')"
        " EXECUTE FUNCTION faults.refuse_update()",
    )
    await first.kill()
    deployment.gate.touch()
    second = await deployment.worker(EVALQUEUE_LEASE_SECONDS="2")
    await deployment.until_over(neighbour)
    await second.until_logged(f"Job {refused.id} has lost its worker and can't be recovered")
    await execute(deployment, "DROP TRIGGER refuse ON jobs")
    await deployment.until_over(refused)
    assert second.is_alive
    await deployment.assert_sound()


async def test_a_schedule_whose_job_is_refused_is_paused_and_named(deployment: Deployment):
    await execute(
        deployment,
        REFUSE_UPDATE
        + "CREATE TRIGGER refuse BEFORE INSERT ON jobs FOR EACH ROW WHEN (NEW.owner = 'refused')"
        " EXECUTE FUNCTION faults.refuse_update()",
    )
    database = Database(deployment.address, max_size=1)
    await database.open()
    async with database.connection() as connection:
        for name in ("refused", "sound"):
            await schedules.put(
                connection,
                Schedule(
                    name=name, cron="* * * * *", timezone="UTC", job_type="fault-steps",
                    params={}, owner=name, queue="evalqueue", priority=0, max_attempts=3,
                    next_at=datetime(2026, 1, 1, tzinfo=UTC),
                ),
            )  # fmt: skip
    worker = await deployment.worker()
    await deployment.watch.until("SELECT count(*) > 0 FROM jobs WHERE owner = 'sound'")
    await worker.until_logged("Schedule 'refused' can't be submitted and is paused: no update")
    async with database.connection() as connection:
        paused = {each.name: each.paused_at for each in await schedules.list_all(connection)}
    await database.close()
    assert paused["refused"] is not None
    assert paused["sound"] is None
    assert worker.is_alive


async def test_a_job_that_kills_its_worker_is_not_charged_to_its_neighbours(
    deployment: Deployment,
):
    """The worker had the neighbours for longer than the job that kills it."""
    steps = Steps(items=2, gate=str(deployment.gate))
    neighbours = [await deployment.submit(steps, max_attempts=1) for _ in "abc"]
    worker = await deployment.worker(EVALQUEUE_LEASE_SECONDS="2")
    for job in neighbours:
        await deployment.until_begun(job)
    await execute(
        deployment, "UPDATE job_attempts SET started_at = started_at - interval '10 seconds'"
    )
    killer = await deployment.submit(Steps(items=1, kills_its_worker=1), max_attempts=1)
    await worker.wait()
    deployment.gate.touch()
    await deployment.worker(EVALQUEUE_LEASE_SECONDS="2")
    await deployment.until_over(killer, *neighbours)

    assert str((await deployment.get(killer)).error_message).startswith("Quarantined")
    for job in neighbours:
        found = await deployment.get(job)
        assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 0)
    await deployment.assert_sound()
