"""The trace of a job: what is accepted as one, and which other jobs continue it."""

import json
from collections.abc import Generator

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from evalqueue.postgres.database import Database

SOUND = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
IDS = SOUND[2:52]


async def value(database: Database, sql: str, *arguments: object) -> object:
    async with database.connection() as connection:
        row = await (await connection.execute(sql.encode(), arguments)).fetchone()
    assert row is not None
    return row[0]


async def submitted(database: Database, traceparent: str) -> str | None:
    """What is stored of a trace, for a job alone and for one of several."""
    submit = "SELECT evalqueue_submit_job('greet', traceparent => %s)"
    job_id = await value(database, submit, traceparent)
    alone = await value(database, "SELECT traceparent FROM jobs WHERE id = %s", job_id)
    assert alone == await submitted_among(database, traceparent)
    assert alone is None or isinstance(alone, str)
    return alone


async def submitted_among(database: Database, traceparent: object) -> object:
    listed = json.dumps([{"job_type": "greet", "traceparent": traceparent}])
    job_id = await value(database, "SELECT evalqueue_submit_jobs(%s::jsonb)", listed)
    return await value(database, "SELECT traceparent FROM jobs WHERE id = %s", job_id)


@pytest.mark.parametrize(
    "sound",
    [SOUND, f"00{IDS}-00", f"00{IDS}-ff"],
)
async def test_a_sound_trace_is_stored(database: Database, sound: str):
    assert await submitted(database, sound) == sound


@pytest.mark.parametrize("later", [f"01{IDS}-01", f"cc{IDS}-01-what-the-future-will-be"])
async def test_of_a_later_version_the_known_part_is_stored(database: Database, later: str):
    assert await submitted(database, later) == SOUND


MALFORMED = [
    "",
    " ",
    SOUND.upper(),
    f" {SOUND}",
    f"{SOUND}\n",
    f"{SOUND}-more",
    f"{SOUND}, {SOUND}",
    SOUND[:-1],
    f"ff{IDS}-01",
    f"01{IDS}-01more",
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    f"00{IDS}-0g",
    SOUND.replace("0af7", "０af7"),
    "'; DROP TABLE jobs; --",
    "<script>alert(1)</script>",
    "x" * 100_000,
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_trace_is_ignored(database: Database, malformed: str):
    assert await submitted(database, malformed) is None


@pytest.mark.parametrize("other", [None, 5, {"a": SOUND}, [SOUND], True])
async def test_what_is_no_text_is_ignored(database: Database, other: object):
    assert await submitted_among(database, other) is None


@pytest.fixture(scope="module")
def connection(postgres: str) -> Generator[psycopg.Connection]:
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("CREATE DATABASE traceparents TEMPLATE evalqueue_template")
        with psycopg.connect(postgres, dbname="traceparents", autocommit=True) as connection:
            yield connection
        server.execute("DROP DATABASE traceparents")


hexadecimal = st.text("0123456789abcdef", min_size=1, max_size=33)
storable = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])


@given(
    st.one_of(
        st.tuples(hexadecimal, hexadecimal, hexadecimal, hexadecimal).map("-".join),
        st.from_regex(
            r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?",
            fullmatch=True,
            alphabet=storable,
        ),
        st.text(storable),
    )
)
@hypothesis_settings(max_examples=200)
def test_what_is_accepted_is_what_opentelemetry_accepts(connection: psycopg.Connection, text: str):
    """Of its own version: of later ones OpenTelemetry takes any length."""
    context = TraceContextTextMapPropagator().extract({"traceparent": text}, context=Context())
    theirs = trace.get_current_span(context).get_span_context()
    row = connection.execute("SELECT evalqueue_traceparent(%s)", [text]).fetchone()
    assert row is not None
    if row[0] is not None or (theirs.is_valid and text.startswith("00-")):
        assert row[0][:52] == f"00-{theirs.trace_id:032x}-{theirs.span_id:016x}"


async def test_no_other_writer_stores_anything_else(database: Database):
    await submitted(database, SOUND)
    with pytest.raises(psycopg.errors.CheckViolation, match="jobs_traceparent_is_sound"):
        await value(database, "UPDATE jobs SET traceparent = 'hostile' RETURNING id")


async def test_the_same_key_is_the_same_request_whatever_its_trace(database: Database):
    submit = "SELECT evalqueue_submit_job('greet', idempotency_key => 'k', traceparent => %s)"
    first = await value(database, submit, SOUND)
    assert await value(database, submit, None) == first
    assert await value(database, "SELECT traceparent FROM jobs") == SOUND


async def test_retries_and_helper_jobs_continue_the_trace(database: Database):
    job = await value(database, "SELECT evalqueue_submit_job('greet', traceparent => %s)", SOUND)
    await value(database, "SELECT evalqueue_cancel_job(%s)", job)
    retried = await value(database, "SELECT traceparent FROM evalqueue_retry_job(%s)", job)

    other = await value(database, "SELECT evalqueue_submit_job('greet', traceparent => %s)", SOUND)
    await value(
        database,
        "WITH task AS (UPDATE procrastinate_jobs SET status = 'doing' WHERE id = "
        "(SELECT task_id FROM jobs WHERE id = %s) RETURNING id) SELECT count(*) FROM task",
        other,
    )
    await value(database, "SELECT evalqueue_start_helpers(%s, 1, 2)", other)
    helping = await value(
        database, "SELECT array_agg(traceparent) FROM jobs WHERE parent_id = %s", other
    )

    assert retried == SOUND
    assert helping == [SOUND, SOUND]
