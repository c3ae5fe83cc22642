"""Arguments of a wrong type are refused in words, before they come to a statement."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest

from evalqueue import Client, InvalidParams, JobNotFound, JobParams, SyncClient
from evalqueue.jobs import JobStatus


class Wait(JobParams, job_type="wait"):
    pass


@pytest.fixture
async def client(dsn: str) -> AsyncGenerator[Client]:
    async with Client(dsn, job_types=[Wait]) as client:
        yield client


@pytest.mark.parametrize("method", ["get", "cancel", "retry", "attempts", "wait"])
@pytest.mark.parametrize("wrong", [7, "0f1c", None, True, "x" * 36, b"\xff", object()])
async def test_what_is_no_id_is_refused(client: Client, method: str, wrong: Any) -> None:
    with pytest.raises(InvalidParams, match="job_id: Write a whole id"):
        await getattr(client, method)(wrong)


async def test_an_id_may_be_a_text(client: Client) -> None:
    job = await client.submit(Wait())
    text: Any = str(job.id)

    assert (await client.get(text)).id == job.id
    await client.cancel(text)
    assert (await client.wait(text)).status is JobStatus.CANCELLED
    missing: Any = str(uuid4())
    with pytest.raises(JobNotFound):
        await client.get(missing)


WRONG: list[tuple[str, Any]] = [
    ("queue", 7), ("queue", "q" * 41), ("queue", " "), ("queue", ["a"]),
    ("owner", 7), ("owner", ""), ("owner", "x" * 201), ("owner", "a\x00"),
    ("priority", "high"), ("priority", 2**31), ("priority", True),
    ("max_attempts", 0), ("max_attempts", "many"),
    ("scheduled_at", "soon"), ("after", "0f1c"), ("after", 7),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
async def test_what_a_submission_can_not_have_is_refused_by_its_name(
    client: Client, name: str, value: Any
) -> None:
    with pytest.raises(InvalidParams) as alone:
        await client.submit(Wait(), **{name: value})
    with pytest.raises(InvalidParams) as together:
        await client.submit_many([Wait(), Wait()], **{name: value})

    for refused in (alone, together):
        assert [problem.loc for problem in refused.value.problems] == [(name,)]
    assert await client.list() == []


@pytest.mark.parametrize(
    "wrong", [{"status": "done"}, {"limit": "all"}, {"offset": -1}, {"owner": 7}, {"job_type": 7}]
)
async def test_what_no_list_can_be_of_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams, match=next(iter(wrong))):
        await client.list(**wrong)


async def test_params_of_no_job_type_are_refused(client: Client) -> None:
    wrong: Any = {"text": "a"}
    with pytest.raises(InvalidParams, match="This is dict: give params of a job type"):
        await client.submit(wrong)
    with pytest.raises(InvalidParams, match="This is dict"):
        await client.submit_many([Wait(), wrong])
    for key in (7, "", "k" * 256):
        with pytest.raises(InvalidParams, match="idempotency_key"):
            await client.submit(Wait(), idempotency_key=key)  # pyright: ignore[reportArgumentType]


def test_the_client_without_an_event_loop_says_the_same(dsn: str) -> None:
    wrong: Any = 7
    with SyncClient(dsn) as client:
        with pytest.raises(InvalidParams, match="job_id"):
            client.get(wrong)
        with pytest.raises(InvalidParams, match="queue"):
            client.submit(Wait(), queue=wrong)
        with pytest.raises(InvalidParams, match="job_id"):
            list(client.watch(wrong))
