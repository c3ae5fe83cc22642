"""Schedules: when and how often they submit jobs, and that an invalid one affects no other."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue import InvalidParams
from evalqueue.postgres import schedules
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.schedules import Schedule, next_time

SOON = timedelta(minutes=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]  # year, month, day …


def times(cron: str, timezone: str, after: datetime, number: int) -> list[str]:
    """The next times, in UTC."""
    found = [after]
    for _ in range(number):
        found.append(next_time(cron, timezone, found[-1]))
    return [f"{each.astimezone(UTC):%m-%d %H:%M}" for each in found[1:]]


# Times.


def test_a_time_of_day_is_that_of_the_wall_clock_over_the_change_to_summer_time():
    assert times("0 9 * * *", "Europe/Berlin", utc(2026, 3, 27, 12), 3) == [
        "03-28 08:00", "03-29 07:00", "03-30 07:00",
    ]  # fmt: skip


def test_a_time_that_the_change_to_summer_time_leaves_out_comes_when_the_clock_jumps():
    assert times("30 2 * * *", "Europe/Berlin", utc(2026, 3, 27, 12), 3) == [
        "03-28 01:30", "03-29 01:00", "03-30 00:30",
    ]  # fmt: skip


def test_a_time_that_the_change_to_winter_time_brings_twice_comes_twice():
    assert times("30 2 * * *", "Europe/Berlin", utc(2026, 10, 23, 12), 4) == [
        "10-24 00:30", "10-25 00:30", "10-25 01:30", "10-26 01:30",
    ]  # fmt: skip


@pytest.mark.parametrize("begin", [utc(2026, 3, 28, 22, 50), utc(2026, 10, 24, 22, 50)])
def test_what_comes_every_half_hour_comes_every_half_hour_in_every_night(begin: datetime):
    found = [begin]
    for _ in range(12):
        found.append(next_time("*/30 * * * *", "Europe/Berlin", found[-1]))
    assert {b.astimezone(UTC) - a.astimezone(UTC) for a, b in pairwise(found[1:])} == {
        timedelta(minutes=30)
    }


@given(
    cron=st.tuples(
        st.sampled_from(["*", "0", "30", "*/7", "59"]), st.sampled_from(["*", "0", "2", "*/5"]),
        st.sampled_from(["*", "1", "29"]), st.just("*"), st.sampled_from(["*", "mon", "sun"]),
    ).map(" ".join),
    timezone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca"]
    ),
    after=st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001  made aware below
)  # fmt: skip
def test_the_next_time_is_always_later(cron: str, timezone: str, after: datetime):
    """Otherwise a schedule would submit jobs at one moment for ever."""
    moment = after.replace(tzinfo=UTC)
    assert next_time(cron, timezone, moment).astimezone(UTC) > moment


@pytest.mark.parametrize(
    ("cron", "timezone", "named"),
    [
        ("every day", "UTC", "cron"),
        ("61 * * * *", "UTC", "cron"),
        ("0 0 30 2 *", "UTC", "cron"),
        ("", "UTC", "cron"),
        ("* * * * *", "Mars/Olympus", "timezone"),
        ("* * * * *", "../../etc/passwd", "timezone"),
        ("* * * * *", "Europe", "timezone"),
    ],
)
def test_what_is_no_time_is_refused_and_named(cron: str, timezone: str, named: str):
    with pytest.raises(InvalidParams, match=named):
        next_time(cron, timezone, utc(2026, 1, 1))


# Firing.


@pytest.fixture
async def connection(database: Database) -> AsyncGenerator[Connection]:
    async with database.connection() as connection:
        yield connection


async def put(connection: Connection, *, late: timedelta, name: str = "s", **what: Any) -> None:
    """A schedule that was due so long ago."""
    moment = await schedules.now(connection)
    known = {
        "cron": "*/5 * * * *", "timezone": "UTC", "job_type": "work", "params": {},
        "owner": "ann", "queue": "evalqueue", "priority": 2, "max_attempts": 1,
    }  # fmt: skip
    await schedules.put(connection, Schedule(name=name, next_at=moment - late, **(known | what)))


async def submitted(connection: Connection) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(
        "SELECT job_type, owner, priority, max_attempts, params FROM jobs ORDER BY task_id"
    )
    return await cursor.fetchall()


async def the_one(connection: Connection, name: str = "s") -> Schedule:
    found = await schedules.get(connection, name)
    assert found is not None
    return found


async def test_what_is_due_is_submitted_as_it_was_put(connection: Connection):
    await put(connection, late=SOON, params={"n": 1})
    due = await schedules.fire_due(connection)

    assert await submitted(connection) == [("work", "ann", 2, 1, {"n": 1})]
    assert due is not None
    assert 0 < due <= 300
    schedule = await the_one(connection)
    cursor = await connection.execute("SELECT id FROM jobs")
    assert await cursor.fetchall() == [(schedule.last_job_id,)]
    assert schedule.last_at is not None


async def test_what_is_not_due_is_left_alone(connection: Connection):
    await put(connection, late=-timedelta(hours=1))
    due = await schedules.fire_due(connection)

    assert await submitted(connection) == []
    assert due is not None
    assert 3500 < due <= 3600
    await schedules.remove(connection, "s")
    assert await schedules.fire_due(connection) is None


async def test_what_was_missed_for_days_is_made_up_for_once(connection: Connection):
    # Not */5: its next time could come between two calls.
    await put(connection, late=timedelta(days=30), cron="@daily")
    for _ in range(3):
        await schedules.fire_due(connection)

    assert len(await submitted(connection)) == 1
    assert (await the_one(connection)).next_at > await schedules.now(connection)


async def test_however_many_look_each_time_is_used_once(database: Database, connection: Connection):
    for number in range(5):
        await put(connection, late=SOON, name=f"s{number}", cron="@yearly")

    async def look() -> None:
        async with database.connection() as own:
            await schedules.fire_due(own)

    async with asyncio.TaskGroup() as all_at_once:
        for _ in range(8):
            all_at_once.create_task(look())

    assert len(await submitted(connection)) == 5


async def test_a_time_is_not_used_again_by_who_slept_through_it(connection: Connection):
    """A leader that read the schedule and was suspended until another one has fired it."""
    await put(connection, late=SOON)
    at = (await the_one(connection)).next_at
    await schedules.fire_due(connection)
    cursor = await connection.execute(
        "SELECT evalqueue_fire_schedule('s', %s, %s)", [at, at + timedelta(hours=1)]
    )

    assert await cursor.fetchone() == (None,)
    assert len(await submitted(connection)) == 1


async def test_a_paused_schedule_waits_and_what_it_missed_is_left_out(connection: Connection):
    await put(connection, late=SOON)
    assert await schedules.pause(connection, "s")
    assert await schedules.fire_due(connection) is None
    assert await schedules.resume(connection, "s")
    assert await schedules.fire_due(connection) is not None

    assert await submitted(connection) == []


async def test_what_is_not_there_can_be_neither_paused_nor_resumed_nor_removed(
    connection: Connection,
):
    assert not await schedules.pause(connection, "x")
    assert not await schedules.resume(connection, "x")
    assert not await schedules.remove(connection, "x")


async def test_a_schedule_of_the_same_name_takes_the_other_s_place(connection: Connection):
    await put(connection, late=SOON, params={"n": 1})
    await put(connection, late=SOON, params={"n": 2})
    await schedules.fire_due(connection)

    assert [params for *_, params in await submitted(connection)] == [{"n": 2}]


# Invalid schedules.


@pytest.mark.parametrize(
    "bad",
    [
        "cron = 'whenever'",
        "timezone = 'Mars/Olympus'",
        "job_type = 'No Name'",
        "params = '[]'",
        """params = '{"api_key": "k"}'""",
        "owner = ''",
        "queue = repeat('q', 60)",
        "queue = repeat('q', 200)",
        "max_attempts = 0",
    ],
)
async def test_a_bad_schedule_is_paused_and_stops_no_other(connection: Connection, bad: str):
    await put(connection, late=2 * SOON, name="bad")
    await put(connection, late=SOON, name="good")
    await connection.execute(f"UPDATE job_schedules SET {bad} WHERE name = 'bad'".encode())
    due = await schedules.fire_due(connection)

    assert len(await submitted(connection)) == 1
    assert due is not None
    assert due > 0
    assert (await the_one(connection, "bad")).paused_at is not None
    assert (await the_one(connection, "good")).paused_at is None
