"""The fleet's statements: claims, limits, yielding, recovery, and their cost with many rows."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from evalqueue.jobs import Ended, Job
from evalqueue.postgres import fleet, store
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker
from evalqueue.postgres.listener import WORK_WAITS
from evalqueue.postgres.store import Submission

LEASE = 30.0  # seconds
PATIENCE = 30.0  # seconds
ALL = Capabilities(queues=None, job_types=["work"])


@pytest.fixture
async def connection(database: Database) -> AsyncGenerator[Connection]:
    async with database.connection() as connection:
        yield connection


@asynccontextmanager
async def connections(dsn: str, number: int) -> AsyncGenerator[list[Connection]]:
    """Several connections, as workers of several processes have them."""
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(
                await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            )
            for _ in range(number)
        ]


async def submitted(connection: Connection, **what: Any) -> Job:
    return await store.submit(connection, Submission(**{"job_type": "work", "params": {}} | what))


async def entered(connection: Connection, name: str = "w") -> RegisteredWorker:
    return await fleet.register(connection, name=name, version="1", capabilities=ALL, slots=4)


async def claimed(
    connection: Connection,
    worker: RegisteredWorker,
    slots: int = 1,
    *,
    capabilities: Capabilities = ALL,
    lease_seconds: float = LEASE,
) -> list[Job]:  # fmt: skip
    return await fleet.claim(
        connection, worker, capabilities, slots=slots, lease_seconds=lease_seconds
    )


async def one_claimed(connection: Connection, worker: RegisteredWorker, **how: Any) -> Job:
    (job,) = await claimed(connection, worker, **how)
    return job


async def finish(connection: Connection, job: Job, outcome: Ended) -> str | None:
    return await store.finish(
        connection, job_id=job.id, attempt=job.attempt, ended=outcome, delete_task=False
    )


async def value(connection: Connection, statement: str, *arguments: Any) -> Any:
    row = await (await connection.execute(statement.encode(), arguments)).fetchone()
    assert row is not None
    return row[0]


async def running(connection: Connection) -> int:
    return await value(connection, "SELECT count(*) FROM jobs WHERE status = 'running'")


# Claims.


async def test_eight_workers_that_want_one_job_start_it_once_each_time(dsn: str):
    async with connections(dsn, 8) as workers:
        us = [await entered(each) for each in workers]
        for _ in range(1000):
            job = await submitted(workers[0])
            async with asyncio.TaskGroup() as all_at_once:
                claims = [
                    all_at_once.create_task(claimed(connection, me))
                    for connection, me in zip(workers, us, strict=True)
                ]
            given = [each for claim in claims for each in claim.result()]
            assert [(each.id, each.attempt) for each in given] == [(job.id, 1)]
        attempts = await value(workers[0], "SELECT count(*) FROM job_attempts WHERE attempt = 1")
        assert attempts == await value(workers[0], "SELECT count(*) FROM job_attempts") == 1000


async def test_a_claim_names_the_worker_and_extends_the_lease(connection: Connection):
    await submitted(connection)
    me = await entered(connection)
    job = await one_claimed(connection, me, lease_seconds=100)

    assert job.worker == me.name
    left = await value(
        connection, "SELECT extract(epoch FROM lease_expires_at - now())::float FROM jobs"
    )
    assert 90 < left <= 100


async def test_a_worker_is_only_given_what_it_offers_to_do(connection: Connection):
    me = await entered(connection)
    await submitted(connection, job_type="other")
    await submitted(connection, queue="elsewhere")
    capabilities = Capabilities(queues=["evalqueue"], job_types=["work"])

    assert await claimed(connection, me, 4, capabilities=capabilities) == []
    assert len(await claimed(connection, me, 4)) == 1


async def test_a_worker_that_was_taken_for_gone_has_to_enter_again(connection: Connection):
    await submitted(connection)
    gone = await entered(connection)
    await connection.execute("DELETE FROM procrastinate_workers")

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await claimed(connection, gone)
    assert not await fleet.heartbeat(connection, gone.id, stuck=0, draining=False, listening=True)
    assert await running(connection) == 0
    again = await entered(connection)
    assert again.name != gone.name
    assert len(await claimed(connection, again)) == 1


async def test_what_was_claimed_by_a_statement_whose_answer_was_lost_is_found(
    connection: Connection,
):
    me, other = await entered(connection), await entered(connection)
    for _ in range(3):
        await submitted(connection)
    acknowledged, unacknowledged = await claimed(connection, me, 2)
    await claimed(connection, other)

    assert await fleet.unacknowledged(connection, me.id, {acknowledged.id}) == [unacknowledged]
    await finish(connection, unacknowledged, Ended.released())
    assert await fleet.unacknowledged(connection, me.id, {acknowledged.id}) == []


async def test_a_job_that_another_worker_is_claiming_is_skipped(dsn: str):
    async with connections(dsn, 2) as (one, other):
        me = await entered(one)
        await submitted(one)
        second = await submitted(one)
        async with other.transaction(), asyncio.timeout(PATIENCE):
            await other.execute("SELECT 1 FROM procrastinate_jobs ORDER BY id LIMIT 1 FOR UPDATE")
            assert (await one_claimed(one, me)).id == second.id
            assert await claimed(one, me) == []


# Fair order.


async def test_jobs_are_ordered_by_priority_then_before_helper_jobs_then_by_time(
    connection: Connection,
):
    me, helper = await entered(connection), await entered(connection)
    parent = await submitted(connection)
    assert await claimed(connection, me) != []
    assert await store.start_helpers(connection, job_id=parent.id, attempt=1, wanted=1)
    first = await submitted(connection)
    second = await submitted(connection)
    urgent = await submitted(connection, priority=1)

    given = await claimed(connection, helper, 4)

    assert [job.id for job in given[:3]] == [urgent.id, first.id, second.id]
    assert given[3].parent_id == parent.id


async def test_a_helper_job_is_not_claimed_by_the_worker_that_has_its_parent(
    connection: Connection,
):
    me, helper = await entered(connection), await entered(connection)
    parent = await submitted(connection)
    await claimed(connection, me)
    await store.start_helpers(connection, job_id=parent.id, attempt=1, wanted=2)

    assert await claimed(connection, me, 4) == []
    (helper_job,) = await claimed(connection, helper, 1)
    assert helper_job.parent_id == parent.id
    assert await claimed(connection, helper, 4) == [], "one helper job of it is enough for a worker"


async def test_owners_take_turns_whoever_submitted_more(connection: Connection):
    for _ in range(50):
        await submitted(connection, owner="ann")
    for owner in ("bob", "cid", "bob"):
        await submitted(connection, owner=owner)
    me = await entered(connection)

    given = [job.owner for job in await claimed(connection, me, 7)]

    assert given == ["ann", "bob", "cid", "ann", "bob", "ann", "ann"]


async def test_what_all_workers_run_for_an_owner_counts(connection: Connection):
    one, other = await entered(connection), await entered(connection)
    for owner in ("ann", "ann", "ann", "bob", "bob"):
        await submitted(connection, owner=owner)
    busy = Capabilities(queues=None, job_types=["work"])
    assert [job.owner for job in await claimed(connection, one, 2, capabilities=busy)] == [
        "ann",
        "bob",
    ]

    assert [job.owner for job in await claimed(connection, other, 2)] == ["ann", "bob"]


async def test_a_yielded_job_goes_to_the_end_of_its_queue_a_released_one_keeps_its_place(
    connection: Connection,
):
    me = await entered(connection)
    jobs = [await submitted(connection) for _ in range(3)]
    first = await one_claimed(connection, me)
    await finish(connection, first, Ended.released())
    first = await one_claimed(connection, me)
    assert first.id == jobs[0].id
    await finish(connection, first, Ended.yielded())

    assert [job.id for job in await claimed(connection, me, 3)] == [
        jobs[1].id, jobs[2].id, jobs[0].id,
    ]  # fmt: skip


async def test_a_job_scheduled_for_the_past_gets_ahead_of_no_other(connection: Connection):
    me = await entered(connection)
    first = await submitted(connection)
    await connection.execute("SELECT evalqueue_submit_job('work', scheduled_at => '-infinity')")
    second = await submitted(connection)

    given = await claimed(connection, me, 3)

    assert (given[0].id, given[2].id) == (first.id, second.id)


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01"])
async def test_no_job_stands_at_a_moment_that_no_program_can_read(
    connection: Connection, moment: str
):
    """One such row would break every list that contains it."""
    await submitted(connection)
    with pytest.raises(psycopg.errors.CheckViolation, match="jobs_due_at_is_a_moment"):
        await connection.execute(
            "UPDATE procrastinate_jobs SET scheduled_at = %s::timestamptz", [moment]
        )


# Queues: paused, limited.


async def test_a_paused_queue_gives_nothing_and_what_runs_goes_on(connection: Connection):
    me = await entered(connection)
    job, _ = await submitted(connection), await submitted(connection)
    begun = await one_claimed(connection, me)
    await fleet.pause(connection, "evalqueue")
    await fleet.pause(connection, "evalqueue")

    assert await claimed(connection, me) == []
    assert await finish(connection, begun, Ended.completed({})) == "completed"
    (state,) = await fleet.queues(connection)
    assert (state.paused_at is not None, state.due, state.running) == (True, 1, 0)
    await fleet.resume(connection, "evalqueue")
    assert (await one_claimed(connection, me)).id != job.id


async def test_what_waits_is_counted_to_a_limit_and_the_oldest_job_is_found_all_the_same(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    first = await submitted(connection, queue="a")
    for _ in range(3):
        await submitted(connection, queue="a", priority=1, scheduled_at=tomorrow)
        await submitted(connection, queue="b")
    await submitted(connection, queue="c", after=first.id)
    counted = await fleet.queues(connection)
    assert [(each.name, each.due, each.later, each.counts_complete) for each in counted] == [
        ("a", 1, 3, True), ("b", 3, 0, True), ("c", 0, 1, True),
    ]  # fmt: skip

    monkeypatch.setattr(fleet, "WAITING_MAX", 6)  # three of each queue in which jobs wait
    first_ones = await fleet.queues(connection)
    assert [(each.name, each.due, each.later, each.counts_complete) for each in first_ones] == [
        ("a", 0, 3, False), ("b", 3, 0, False), ("c", 0, 1, True),
    ]  # fmt: skip
    assert first_ones[0].oldest_waits is not None
    assert (first_ones[0].shown(3), counted[0].shown(3)) == ("3+", "3")

    monkeypatch.setattr(fleet, "WAITING_MAX", 2)
    await submitted(connection, queue="c", after=first.id)
    assert not any(each.counts_complete for each in await fleet.queues(connection))


async def test_what_waits_in_a_queue_behind_a_thousand_others_is_not_counted(
    connection: Connection,
):
    names = [f"q{number:04}" for number in range(1001)]
    await connection.execute(
        "SELECT evalqueue_submit_jobs(jsonb_agg(jsonb_build_object('job_type', 'note',"
        " 'params', '{}'::jsonb, 'queue', name))) FROM unnest(%s::text[]) AS name",
        [names],
    )
    await fleet.limit(connection, names[-1], max_running=1, max_running_per_owner=None)

    found = await fleet.queues(connection)

    assert [each.name for each in found] == names
    assert {(each.due, each.counts_complete) for each in found[:-1]} == {(1, True)}
    assert (found[-1].due, found[-1].counts_complete) == (0, False)


async def test_limits_are_kept_exactly_however_many_claim_at_once(dsn: str):
    async with connections(dsn, 8) as workers:
        us = [await entered(each) for each in workers]
        await fleet.limit(workers[0], "evalqueue", max_running=5, max_running_per_owner=2)
        for owner in ("ann", "bob", "cid") * 30:
            await submitted(workers[0], owner=owner)
        most: Counter[str] = Counter()

        async def work(connection: Connection, me: RegisteredWorker) -> None:
            for _ in range(25):
                jobs = await claimed(connection, me, 2)
                rows = await connection.execute(
                    "SELECT owner, count(*) FROM jobs WHERE status = 'running' GROUP BY owner"
                )
                for owner, number in (counted := dict(await rows.fetchall())).items():
                    most[owner] = max(most[owner], number)
                most["all"] = max(most["all"], sum(counted.values()))
                for job in jobs:
                    await finish(connection, job, Ended.completed({}))

        async with asyncio.TaskGroup() as all_at_once:
            for connection, me in zip(workers, us, strict=True):
                all_at_once.create_task(work(connection, me))

        assert most == {"ann": 2, "bob": 2, "cid": 2, "all": 5}


@asynccontextmanager
async def notifications(dsn: str) -> AsyncGenerator[asyncio.Queue[str]]:
    """The notifications that waiting workers receive."""
    received: asyncio.Queue[str] = asyncio.Queue()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute(f"LISTEN {WORK_WAITS}")

        async def listen() -> None:
            async for each in listener.notifies():
                received.put_nowait(each.payload)

        listening = asyncio.create_task(listen())
        try:
            yield received
        finally:
            listening.cancel()
            await asyncio.wait({listening})


async def next_of(received: asyncio.Queue[str]) -> str:
    async with asyncio.timeout(PATIENCE):
        return await received.get()


async def test_resuming_and_lifting_a_limit_wake_waiting_workers(dsn: str, connection: Connection):
    async with notifications(dsn) as received:
        await fleet.pause(connection, "slow")
        await fleet.resume(connection, "slow")
        assert await next_of(received) == "slow"
        await fleet.limit(connection, "slow", max_running=1, max_running_per_owner=None)
        assert await next_of(received) == "slow"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE job_queues SET paused_at = NULL WHERE name = 'slow'",
        "UPDATE job_queues SET max_running = 5 WHERE name = 'slow'",
        "DELETE FROM job_queues WHERE name = 'slow'",
    ],
)
async def test_a_queue_that_is_changed_by_sql_wakes_waiting_workers(
    dsn: str, connection: Connection, change: str
):
    await fleet.pause(connection, "slow")
    async with notifications(dsn) as received:
        await connection.execute(change)
        assert await next_of(received) == "slow"


async def test_truncating_the_queues_wakes_waiting_workers(dsn: str, connection: Connection):
    await fleet.pause(connection, "slow")
    async with notifications(dsn) as received:
        await connection.execute("TRUNCATE job_queues")
        assert await next_of(received) == ""  # of every queue


@pytest.mark.parametrize(
    "end",
    [
        "SELECT evalqueue_finish_job(id, 1, 'completed') FROM jobs WHERE attempt = 1",
        "SELECT evalqueue_finish_job(id, 1, 'failed', error => 'x') FROM jobs WHERE attempt = 1",
        "SELECT evalqueue_finish_job(id, 1, 'retry', error => 'x', delay_seconds => 99) "
        "FROM jobs WHERE attempt = 1",
        "SELECT evalqueue_cancel_job(id) FROM jobs WHERE attempt = 1",
        "DELETE FROM procrastinate_jobs WHERE status = 'doing'",
        "UPDATE jobs SET lease_expires_at = now() WHERE attempt = 1;"
        " SELECT evalqueue_recover_jobs()",
    ],
)
async def test_however_a_job_ends_workers_that_a_limit_held_back_are_notified(
    dsn: str, connection: Connection, end: str
):
    me = await entered(connection)
    await fleet.limit(connection, "evalqueue", max_running=1, max_running_per_owner=None)
    await submitted(connection)
    await submitted(connection)
    assert len(await claimed(connection, me, 4)) == 1
    async with notifications(dsn) as received:
        await connection.execute(end.encode())
        assert await next_of(received) == "evalqueue"


# Yielding slots.


async def full(
    connection: Connection,
    me: RegisteredWorker,
    jobs: Sequence[dict[str, Any]],
    *,
    ran_seconds: float,
) -> list[UUID]:
    """Let a worker claim these jobs, and date their starts back by `ran_seconds`."""
    held: list[UUID] = []
    for what in jobs:
        await submitted(connection, **what)
        held.append((await one_claimed(connection, me)).id)
    await connection.execute(
        "UPDATE job_attempts SET started_at = started_at - make_interval(secs => %s)",
        [ran_seconds],
    )
    return held


async def to_yield(
    connection: Connection, me: RegisteredWorker, held: Sequence[UUID]
) -> list[UUID]:
    return await fleet.jobs_to_yield(connection, me, ALL, held=held, slice_seconds=5)


async def test_no_job_yields_while_none_waits(connection: Connection):
    me = await entered(connection)
    held = await full(connection, me, [{}, {}], ran_seconds=60)

    assert await to_yield(connection, me, held) == []


async def test_a_job_yields_to_one_that_never_ran_but_not_before_it_had_its_slice(
    connection: Connection,
):
    me = await entered(connection)
    held = await full(connection, me, [{}, {}], ran_seconds=-3600)  # their slices are far from over
    await submitted(connection)

    assert await to_yield(connection, me, held) == []
    await connection.execute(
        "UPDATE job_attempts SET started_at = started_at - interval '3606 s' WHERE job_id = %s",
        [held[1]],
    )
    assert await to_yield(connection, me, held) == [held[1]]


async def test_a_job_does_not_yield_to_one_of_lower_priority(connection: Connection):
    me = await entered(connection)
    held = await full(connection, me, [{"priority": 5}], ran_seconds=60)
    await submitted(connection, priority=4)

    assert await to_yield(connection, me, held) == []
    await submitted(connection, priority=6)
    assert await to_yield(connection, me, held) == held


async def test_among_equal_jobs_that_all_ran_before_none_yields_to_the_same_owner(
    connection: Connection,
):
    me = await entered(connection)
    held = await full(connection, me, [{}, {}], ran_seconds=60)
    await finish(connection, (await all_of(connection, held))[1], Ended.yielded())

    assert await to_yield(connection, me, held[:1]) == []


async def test_an_owner_with_two_more_running_yields_to_another_owner_whose_job_ran_before(
    connection: Connection,
):
    me = await entered(connection)
    (theirs,) = await full(connection, me, [{"owner": "bob"}], ran_seconds=60)
    await finish(connection, (await all_of(connection, [theirs]))[0], Ended.yielded())
    await connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 h'")
    one = await full(connection, me, [{"owner": "ann"}], ran_seconds=60)
    await connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now() "
                             "WHERE status = 'todo'")  # fmt: skip
    assert await to_yield(connection, me, one) == [], "one each would be no gain"

    other = await entered(connection)
    await fleet.pause(connection, "evalqueue")  # bob's job is not claimed
    two = await full(connection, other, [{"owner": "ann", "queue": "q2"}], ran_seconds=60)
    await connection.execute("UPDATE procrastinate_jobs SET queue_name = 'q2'")
    await connection.execute("UPDATE jobs SET queue = 'q2'")

    assert await to_yield(connection, me, one) == one
    assert await to_yield(connection, other, two) == two


async def all_of(connection: Connection, ids: Sequence[UUID]) -> list[Job]:
    found = [await store.get(connection, job_id) for job_id in ids]
    return [job for job in found if job is not None]


async def test_a_helper_job_yields_to_any_job_at_once_and_goes_first(connection: Connection):
    me, helper = await entered(connection), await entered(connection)
    parent = await submitted(connection)
    await claimed(connection, me)
    await store.start_helpers(connection, job_id=parent.id, attempt=1, wanted=1)
    helper_job = await one_claimed(connection, helper)
    mine = await full(connection, helper, [{}], ran_seconds=60)
    await submitted(connection)

    assert await to_yield(connection, helper, [*mine, helper_job.id]) == [helper_job.id]


async def test_one_job_yields_for_each_that_waits_and_no_more(connection: Connection):
    me = await entered(connection)
    held = await full(connection, me, [{}, {}, {}], ran_seconds=60)
    await submitted(connection)
    await submitted(connection)

    assert len(await to_yield(connection, me, held)) == 2


async def test_no_job_yields_to_one_that_may_not_start(connection: Connection):
    me = await entered(connection)
    held = await full(connection, me, [{}], ran_seconds=60)
    await submitted(connection, queue="closed")
    await fleet.pause(connection, "closed")
    await submitted(connection, after=held[0])
    await submitted(connection, job_type="other")

    assert await to_yield(connection, me, held) == []


# Timers.


async def test_the_next_due_moment_is_that_of_the_queues_one_serves(connection: Connection):
    await connection.execute(
        "SELECT evalqueue_submit_job('work', scheduled_at => now() + interval '200 s'),"
        "  evalqueue_submit_job('work', scheduled_at => now() + interval '100 s', queue => 'q2')"
    )
    served = Capabilities(queues=["evalqueue"], job_types=["work"])
    me = await entered(connection)
    everything = await fleet.next_due(connection, me, ALL)
    mine = await fleet.next_due(connection, me, served)

    assert everything is not None
    assert 50 < everything <= 100
    assert mine is not None
    assert 150 < mine <= 200
    other = Capabilities(queues=["q3"], job_types=["work"])
    assert await fleet.next_due(connection, me, other) is None


async def test_a_retried_job_is_due_after_its_delay(connection: Connection):
    me = await entered(connection)
    await submitted(connection)
    job = await one_claimed(connection, me)
    assert await fleet.next_due(connection, me, ALL) is None
    await finish(connection, job, Ended.retry("not now", delay_seconds=500))
    due = await fleet.next_due(connection, me, ALL)

    assert due is not None
    assert 450 < due <= 500


# Leading the fleet.


async def test_one_worker_leads_and_another_takes_over_when_its_term_has_ended(
    connection: Connection,
):
    one, other = await entered(connection), await entered(connection)
    assert (await fleet.lead(connection, one, term_seconds=600)).is_leader
    turn = await fleet.lead(connection, other, term_seconds=60)
    assert not turn.is_leader
    assert 550 < turn.due_in <= 600, "it waits for the end of the term"
    assert (await fleet.lead(connection, one, term_seconds=600)).is_leader
    await connection.execute("UPDATE job_leader SET ends_at = now()")

    assert (await fleet.lead(connection, other, term_seconds=60)).is_leader
    leader = await fleet.leader(connection)
    assert leader is not None
    assert (leader.worker, leader.term, leader.is_current) == (other.name, 2, True)


async def test_who_leaves_resigns(connection: Connection):
    one, other = await entered(connection), await entered(connection)
    await fleet.lead(connection, one, term_seconds=60)
    await fleet.unregister(connection, other.id)
    leader = await fleet.leader(connection)
    assert leader is not None
    assert leader.is_current, "another worker's leaving changes nothing"
    await fleet.unregister(connection, one.id)

    other = await entered(connection)
    assert (await fleet.lead(connection, other, term_seconds=60)).is_leader
    assert [each.id for each in await fleet.workers(connection)] == [other.id]


async def test_a_leader_that_slept_past_its_term_finds_another_leader_and_recovers_nothing(
    connection: Connection,
):
    sleeper, other = await entered(connection), await entered(connection)
    await fleet.lead(connection, sleeper, term_seconds=0)
    await fleet.lead(connection, other, term_seconds=60)
    await submitted(connection)
    await claimed(connection, other, lease_seconds=0)

    turn = await fleet.lead(connection, sleeper, term_seconds=60)
    assert (turn.is_leader, turn.recovered, await running(connection)) == (False, 0, 1)
    turn = await fleet.lead(connection, other, term_seconds=60)
    assert (turn.is_leader, turn.recovered, await running(connection)) == (True, 1, 0)


async def test_what_was_lost_is_brought_back_once_however_many_look(dsn: str):
    async with connections(dsn, 4) as workers:
        us = [await entered(each) for each in workers]
        for _ in range(3):
            await submitted(workers[0], max_attempts=1000)
        for number in range(1, 201):
            # One each: of several that a worker claimed together none would be charged.
            jobs = [
                await one_claimed(connection, me, lease_seconds=0)
                for connection, me in zip(workers[:3], us, strict=False)
            ]
            async with asyncio.TaskGroup() as all_at_once:
                # Leader terms that end at once, so that each worker can become the leader.
                recoveries = [
                    all_at_once.create_task(fleet.lead(connection, me, term_seconds=0))
                    for connection, me in zip(workers, us, strict=True)
                ]
            assert sum(recovery.result().recovered for recovery in recoveries) == len(jobs) == 3
            counted = await workers[0].execute("SELECT DISTINCT attempt, failed_attempts FROM jobs")
            assert await counted.fetchall() == [(number, number)]


async def test_a_worker_that_is_back_gives_back_every_attempt_that_its_absence_cost(
    connection: Connection,
):
    worker = await entered(connection)
    gone = await value(connection, "SELECT clock_timestamp()")
    job = await submitted(connection, max_attempts=5)
    for _ in range(2):
        await one_claimed(connection, worker)
        await connection.execute("UPDATE jobs SET lease_expires_at = now() - interval '1 s'")
        assert await value(connection, "SELECT evalqueue_recover_jobs()") == 1
    failed = "SELECT failed_attempts FROM jobs WHERE id = %s"
    assert await value(connection, failed, job.id) == 2

    await connection.execute("SELECT evalqueue_worker_is_back(%s, %s)", [worker.name, gone])

    assert await value(connection, failed, job.id) == 0
    outcomes = "SELECT array_agg(DISTINCT outcome) FROM job_attempts WHERE job_id = %s"
    assert await value(connection, outcomes, job.id) == ["released"]


async def test_a_leader_looks_again_when_the_next_lease_may_run_out(connection: Connection):
    me = await entered(connection)
    assert (await fleet.lead(connection, me, term_seconds=600)).due_in == pytest.approx(300)
    await submitted(connection)
    await claimed(connection, me, lease_seconds=100)

    assert 50 < (await fleet.lead(connection, me, term_seconds=600)).due_in <= 100


async def test_workers_without_a_heartbeat_for_a_minute_are_removed(connection: Connection):
    me, silent, slow = [await entered(connection) for _ in range(3)]
    await connection.execute(
        "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '30 s' WHERE id = %s",
        [slow.id],
    )
    await submitted(connection)
    await claimed(connection, silent)
    await connection.execute(
        "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '61 s' WHERE id = %s",
        [silent.id],
    )
    await fleet.lead(connection, me, term_seconds=60)

    assert [each.id for each in await fleet.workers(connection)] == [me.id, slow.id]
    assert await running(connection) == 1, "its lease says whether its job is lost"


async def test_a_job_that_lost_very_many_workers_stops_no_sweep(connection: Connection):
    """The workers' names are longer than an error message may be."""
    me = await entered(connection)
    await submitted(connection, max_attempts=60)
    for _ in range(60):
        worker = await entered(connection, name="x" * 100)
        await claimed(connection, worker, lease_seconds=0)
        assert (await fleet.lead(connection, me, term_seconds=60)).recovered == 1

    assert await value(connection, "SELECT status FROM jobs") == "failed"
    assert await value(connection, "SELECT length(error_message) FROM jobs") == 4000


# Locks.


async def test_an_open_transaction_that_submits_a_successor_blocks_no_worker(dsn: str):
    async with connections(dsn, 2) as (mine, other):
        me = await entered(other)
        before = await submitted(mine)
        async with mine.transaction(), asyncio.timeout(PATIENCE):
            await submitted(mine, after=before.id)
            job = await one_claimed(other, me)
            assert await finish(other, job, Ended.completed({})) == "completed"


async def test_claims_of_items_and_the_end_of_their_job_never_deadlock(dsn: str):
    """A helper job names its parent in a claim while the end of the parent cancels it."""
    async with connections(dsn, 2) as (one, other):
        me, helper = await entered(one), await entered(other)
        for _ in range(150):
            parent = await submitted(one)
            begun = await one_claimed(one, me)
            await store.start_helpers(one, job_id=parent.id, attempt=1, wanted=1)
            helper_job = await one_claimed(other, helper)
            async with asyncio.TaskGroup() as both:
                both.create_task(finish(one, begun, Ended.failed("no")))
                both.create_task(
                    store.claim_items(
                        other, job_id=helper_job.id, attempt=1, items=["a", "b", "c"], wanted=2
                    )
                )
            states = await one.execute(
                "SELECT DISTINCT status FROM jobs WHERE id IN (%s, %s) ORDER BY status",
                [parent.id, helper_job.id],
            )
            assert await states.fetchall() == [("cancelled",), ("failed",)]
        assert await value(one, "SELECT count(*) FROM job_items") == 0


# Costs.

FILL = """
WITH tasks AS (
    INSERT INTO procrastinate_jobs (queue_name, task_name, status)
    SELECT 'evalqueue', 'evalqueue.run_job', '{task}' FROM generate_series(1, {number}) RETURNING id
)
INSERT INTO jobs (job_type, owner, status, task_id, created_at, due_at, started_at, completed_at,
    attempt, result)
SELECT '{job_type}', {owner}, '{status}', id, now() - interval '9 days' + id * interval '1 s',
    now() + interval '{due}', {over}, {over}, 0, '{{}}' FROM tasks
"""


async def filled(
    connection: Connection, number: int, *, task: str = "todo", status: str = "queued",
    job_type: str = "work", owner: str = "'big'", due: str = "-8 days", over: str = "NULL",
) -> None:  # fmt: skip
    await connection.execute(
        FILL.format(
            number=number, task=task, status=status, job_type=job_type, owner=owner, due=due,
            over=over,
        ).encode()
    )  # fmt: skip


async def reads(connection: Connection) -> tuple[int, int]:
    """Scans of whole tables, and rows read by index, of jobs and tasks."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    whole = await value(
        connection,
        "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables "
        "WHERE relname IN ('jobs', 'procrastinate_jobs')",
    )
    rows = await value(
        connection,
        "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes "
        "WHERE relname IN ('jobs', 'procrastinate_jobs')",
    )
    return whole, rows


async def test_jobs_that_wait_or_are_over_do_not_slow_down_a_claim(connection: Connection):
    """10,000 jobs wait for each reason to wait, and 20,000 are over."""
    await connection.execute("SET session_replication_role = replica")  # without triggers
    await filled(connection, 20_000, task="succeeded", status="completed", over="now()")
    await filled(connection, 10_000)
    await filled(connection, 10_000, job_type="unknown")
    await filled(connection, 10_000, due="1 day", owner="'later'")
    await filled(connection, 300, owner="'owner ' || id % 300")
    await connection.execute("SET session_replication_role = origin")
    await connection.execute("ANALYZE")
    me = await entered(connection)
    held = [job.id for job in await claimed(connection, me, 4)]
    other = Capabilities(queues=None, job_types=["work", "unknown-type"])

    async def listed(status: str | None, job_type: str | None) -> None:
        wanted = {"owner": None, "status": status, "job_type": job_type}
        await connection.execute(store.JOBS["list"], wanted | {"limit": 20, "offset": 0})

    steps = {
        "claim": lambda: claimed(connection, me, capabilities=other),
        "claim nothing": lambda: claimed(
            connection, me, capabilities=Capabilities(queues=None, job_types=["unknown-type"])
        ),
        "next due": lambda: fleet.next_due(connection, me, ALL),
        "lead": lambda: fleet.lead(connection, me, term_seconds=60),
        "jobs to yield": lambda: fleet.jobs_to_yield(
            connection, me, ALL, held=held, slice_seconds=0
        ),
        "unacknowledged": lambda: fleet.unacknowledged(connection, me.id, held),
        "submit": lambda: submitted(connection, idempotency_key="k"),
        "cancel": lambda: store.cancel(connection, held[0]),
        "list": lambda: listed(None, None),
        "list of a status": lambda: listed("failed", None),
        "list of a type": lambda: listed(None, "unknown-type"),
        "prune nothing": lambda: connection.execute("SELECT evalqueue_prune('1 day', NULL, NULL)"),
    }
    for name, step in steps.items():
        whole, rows = await reads(connection)
        for _ in range(8):  # prepared statements change their plans after five
            await step()
        whole_after, rows_after = await reads(connection)
        assert whole_after == whole, f"{name} reads a whole table"
        assert rows_after - rows < 8 * 1500, f"{name} reads rows it does not need"


async def test_leases_that_could_not_be_extended_while_the_database_was_away_get_a_term(
    database: Database,
):
    async with database.connection() as connection:
        me = await fleet.register(connection, name="w", version="1", capabilities=ALL, slots=1)
        await store.submit(connection, Submission(job_type="work", params={}))
        (job,) = await fleet.claim(connection, me, ALL, slots=1, lease_seconds=30)
        await fleet.lead(connection, me, term_seconds=10)
        await connection.execute("UPDATE job_leader SET ends_at = now() - interval '70 seconds'")
        await connection.execute("UPDATE jobs SET lease_expires_at = now() - interval '60 seconds'")

        assert (await fleet.lead(connection, me, term_seconds=10)).recovered == 0
        assert await store.flush(
            connection, job_id=job.id, attempt=1, progress=None, lease_seconds=30
        )
        await connection.execute("UPDATE jobs SET lease_expires_at = now() - interval '1 second'")
        assert (await fleet.lead(connection, me, term_seconds=10)).recovered == 1
