"""Jobs by plain SQL, with any JSON: what can't be decoded harms its own job only."""

import asyncio
import contextlib
import json
from pathlib import Path

import httpx
import psycopg
import pytest
from faults.api import api
from faults.deployment import Deployment, OpenDeployment
from faults.server import Connection
from faults.work import Steps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalqueue import JobStatus

SUBMIT = "SELECT evalqueue_submit_job('fault-steps', %s::jsonb)"
SUBMIT_MANY = "SELECT * FROM evalqueue_submit_jobs(%s::jsonb)"
BAD_VALUES = (psycopg.DataError, psycopg.IntegrityError)
WITHOUT_CHECKS = "UPDATE jobs SET params = %s::jsonb WHERE id = %s"

DEEP = '{"items":' + "[" * 3000 + "]" * 3000 + "}"
REFUSED = {
    "a number of 5,000 digits": '{"items": 1e5000}',
    "a number of 5,000 digits and a fraction": '{"seconds": 1.5e4999, "items": [-2e400]}',
    "3,000 levels": DEEP,
    "101 levels": '{"items":' + "[" * 100 + "]" * 100 + "}",
    "a large text": json.dumps({"gate": "x" * 300_000}),
    "many numbers": json.dumps({"items": list(range(100_000))}),
}
UNREADABLE = {
    "a number of 5,000 digits": '{"items": 1e5000}',
    "a fraction beyond a double": '{"items": [1e400, ' + "9" * 400 + ".5]}",
    "3,000 levels": DEEP,
    "300 levels": '{"items":' + "[" * 300 + "]" * 300 + "}",
}  # fmt: skip


@pytest.mark.parametrize("params", REFUSED.values(), ids=REFUSED)
async def test_the_sql_functions_have_the_limits_of_the_api(deployment: Deployment, params: str):
    async with await deployment.server.connect(deployment.database) as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await connection.execute(SUBMIT, [params])
        listed = (
            f'[{{"job_type": "fault-steps"}}, {{"job_type": "fault-steps", "params": {params}}}]'
        )
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await connection.execute(SUBMIT_MANY, [listed])
        stored = await (await connection.execute("SELECT count(*) FROM jobs")).fetchone()
    assert stored == (0,)


async def test_100_levels_and_a_quarter_of_a_megabyte_are_taken(deployment: Deployment):
    largest = {"gate": "x" * (256 * 1024 - 100)}
    deepest = '{"items":' + "[" * 99 + "]" * 99 + "}"
    async with await deployment.server.connect(deployment.database) as connection:
        for params in (json.dumps(largest), deepest):
            await connection.execute(SUBMIT, [params])
            await connection.execute(SUBMIT_MANY, [f'[{{"job_type":"x","params":{params}}}]'])


async def test_an_unreadable_job_fails_with_its_reason_and_harms_no_other(
    deployment: Deployment, tmp_path: Path
):
    gate = str(deployment.gate)
    neighbours = [await deployment.submit(Steps(items=2, gate=gate)) for _ in range(2)]
    unreadable = [await deployment.submit(Steps()) for _ in UNREADABLE]
    neighbours += [await deployment.submit(Steps(items=2, gate=gate)) for _ in range(2)]
    async with await deployment.server.connect(deployment.database) as connection:
        for job, params in zip(unreadable, UNREADABLE.values(), strict=True):
            await connection.execute(WITHOUT_CHECKS, [params, job.id])

    async with api(deployment.address, tmp_path) as http:
        answer = await http.get("/api/jobs")
        assert answer.status_code == 200
        assert len(answer.json()) == len(unreadable) + len(neighbours)

        await deployment.worker(None, "--concurrency=8")
        await deployment.until_over(*unreadable)
        deployment.gate.touch()
        await deployment.until_over(*neighbours)

        listed = {each["id"]: each for each in (await http.get("/api/jobs")).json()}
    for job in unreadable:
        shown = listed[str(job.id)]
        assert (shown["status"], shown["attempt"], shown["params"]) == ("failed", 1, {})
        assert shown["error_message"].startswith("Its params can't be read: ")
    for job in neighbours:
        found = await deployment.get(job)
        assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
    await deployment.assert_sound()


def jsonb() -> st.SearchStrategy[str]:
    """JSON as Postgres takes it: numbers of any size, any nesting, any text."""
    numbers = st.one_of(
        st.integers().map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.integers(300, 6000).map(lambda digits: f"1e{digits}"),
        st.integers(300, 6000).map(lambda digits: f"-1.5e-{digits}"),
        st.integers(300, 5000).map(lambda digits: "9" * digits + ".5"),
    )
    texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(
        json.dumps
    )
    leaves = st.one_of(numbers, texts, st.sampled_from(["null", "true", "false"]))
    values = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner).map(lambda items: f"[{','.join(items)}]"),
            st.dictionaries(texts, inner).map(_object),
            st.tuples(st.integers(1, 400), inner).map(lambda deep: _nested(*deep)),
        ),
    )
    names = st.one_of(st.sampled_from([json.dumps(name) for name in Steps.model_fields]), texts)
    return st.one_of(st.dictionaries(names, values).map(_object), values)


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}:{value}" for name, value in members.items()) + "}"


def _nested(levels: int, inner: str) -> str:
    return "[" * levels + inner + "]" * levels


def test_any_json_by_sql_leaves_a_worker_and_the_api_in_order(
    open_deployment: OpenDeployment, tmp_path: Path
):
    """Each example goes through the functions, and into a row past them."""

    async def put(connection: Connection, value: str, http: httpx.AsyncClient) -> None:
        listed = f'[{{"job_type": "fault-steps", "params": {value}}}, {{"job_type": {value}}}]'
        for statement, argument in ((SUBMIT, value), (SUBMIT_MANY, listed), (SUBMIT_MANY, value)):
            with contextlib.suppress(*BAD_VALUES):
                await connection.execute(statement, [argument])
        await connection.execute(
            "SELECT evalqueue_submit_job('fault-steps', scheduled_at => 'tomorrow')"
        )
        with contextlib.suppress(*BAD_VALUES):
            await connection.execute(
                "UPDATE jobs SET params = %s::jsonb, progress = progress || %s::jsonb "
                "WHERE status = 'queued' AND due_at > clock_timestamp()",
                [value, value],
            )
        await connection.execute(
            "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'"
        )
        answer = await http.get("/api/jobs?limit=100")
        assert answer.status_code == 200, value

    async def fuzz() -> None:
        async with (
            open_deployment(tmp_path) as deployment,
            api(deployment.address, tmp_path) as http,
            await deployment.server.connect(deployment.database) as connection,
        ):
            worker = await deployment.worker()
            loop = asyncio.get_running_loop()

            @settings(
                max_examples=60,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(jsonb())
            def each(value: str) -> None:
                asyncio.run_coroutine_threadsafe(put(connection, value, http), loop).result()

            await asyncio.to_thread(each)
            neighbour = await deployment.submit(Steps())
            await deployment.watch.until("SELECT bool_and(completed_at IS NOT NULL) FROM jobs")
            assert worker.is_alive
            found = await deployment.get(neighbour)
            assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
            lost = await connection.execute(
                "SELECT count(*) FROM job_attempts WHERE outcome = 'lost'"
            )
            assert await lost.fetchone() == (0,)

    asyncio.run(fuzz())
