"""Spans in one process, kept by OpenTelemetry's in-memory exporter: names, parents, attributes."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from costing import work
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from evalqueue import (
    Client,
    Handlers,
    InvalidParams,
    Job,
    JobContext,
    JobFailed,
    JobParams,
    JobStatus,
    Settings,
    TryAgain,
)
from evalqueue.evaluators import EvaluateBatch
from evalqueue.postgres.database import Database
from evalqueue.telemetry.spans import continued
from evalqueue.testing import Behaviour, SimulatedServer, run_jobs

REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
SECRET = "sk-a-marked-secret-of-this-test"


class Step(JobParams, job_type="step"):
    fails: str | None = None


def steps() -> Handlers:
    handlers = Handlers()

    @handlers.handles(Step)
    async def step(context: JobContext, params: Step) -> dict[str, Any]:
        match params.fails:
            case "for good":
                raise JobFailed(f"It said {SECRET}")
            case "once" if context.job.attempt == 1:
                raise TryAgain(f"It said {SECRET}", after=0)
            case "unexpectedly":
                raise ZeroDivisionError(SECRET)
            case _:
                return {}

    return handlers


@pytest.fixture
async def client(dsn: str, tmp_path: Path) -> AsyncGenerator[Client]:
    async with Client(dsn, settings=Settings(data_dir=tmp_path)) as client:
        yield client


def spans(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [each for each in exporter.get_finished_spans() if each.name == name]


def only(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = spans(exporter, name)
    return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def trace_ids(exporter: InMemorySpanExporter) -> set[int]:
    return {each.context.trace_id for each in exporter.get_finished_spans()}


def everything(exporter: InMemorySpanExporter) -> str:
    return "\n".join(each.to_json() for each in exporter.get_finished_spans())


async def traceparents(database: Database) -> list[str | None]:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT traceparent FROM jobs ORDER BY created_at")
        return [found for (found,) in await cursor.fetchall()]


async def test_a_submission_and_its_attempt_are_one_trace(
    client: Client, dsn: str, exported: InMemorySpanExporter
):
    tracer = trace.get_tracer("the host's")
    with tracer.start_as_current_span("the host's request"):
        job = await client.submit(Step())
    await run_jobs(dsn, steps())

    host = only(exported, "the host's request")
    submit = only(exported, "submit evalqueue")
    process = only(exported, "process evalqueue")
    assert len(trace_ids(exported)) == 1
    assert parent_id(host) is None
    assert parent_id(submit) == host.context.span_id
    assert parent_id(process) == submit.context.span_id
    assert (submit.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert attributes(submit) == {
        "messaging.system": "evalqueue",
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "messaging.destination.name": "evalqueue",
        "messaging.message.id": str(job.id),
        "evalqueue.job.type": "step",
    }
    worker = attributes(process).pop("messaging.client.id")
    assert attributes(process) == {
        "messaging.system": "evalqueue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "evalqueue",
        "messaging.message.id": str(job.id),
        "messaging.client.id": worker,
        "evalqueue.job.type": "step",
        "evalqueue.job.attempt": 1,
        "evalqueue.attempt.outcome": "completed",
    }
    assert process.status.status_code is StatusCode.UNSET


async def test_jobs_of_one_statement_continue_its_trace(
    client: Client, dsn: str, exported: InMemorySpanExporter
):
    await client.submit_many([Step(), Step()])
    await run_jobs(dsn, steps())

    submit = only(exported, "submit evalqueue")
    attempts = spans(exported, "process evalqueue")
    assert attributes(submit)["messaging.batch.message_count"] == 2
    assert [parent_id(each) for each in attempts] == 2 * [submit.context.span_id]


async def test_what_was_submitted_without_a_trace_begins_one_at_its_attempt(
    dsn: str, exported: InMemorySpanExporter
):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT evalqueue_submit_job('step')")
    with trace.get_tracer("the host's").start_as_current_span("around the worker"):
        await run_jobs(dsn, steps())

    assert only(exported, "process evalqueue").parent is None


async def test_a_job_of_plain_sql_continues_the_trace_it_names(
    dsn: str, exported: InMemorySpanExporter
):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SELECT evalqueue_submit_job('step', traceparent => '{REMOTE}')")
    await run_jobs(dsn, steps())

    process = only(exported, "process evalqueue")
    assert (process.context.trace_id, parent_id(process)) == (TRACE, PARENT)


async def test_a_trace_that_is_not_sampled_is_not_recorded(
    dsn: str, exported: InMemorySpanExporter
):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SELECT evalqueue_submit_job('step', traceparent => '{REMOTE[:-2]}00')")
    await run_jobs(dsn, steps())

    assert exported.get_finished_spans() == ()


async def test_the_current_span_goes_before_a_header(
    client: Client, database: Database, exported: InMemorySpanExporter
):
    """A host that has instrumented its server has a span that descends from the header."""
    with continued(REMOTE):
        await client.submit(Step())
        with trace.get_tracer("the host's").start_as_current_span("the host's"):
            await client.submit(Step())

    first, second = spans(exported, "submit evalqueue")
    assert (first.context.trace_id, parent_id(first)) == (TRACE, PARENT)
    assert parent_id(second) == only(exported, "the host's").context.span_id
    assert [each[:-3] for each in await traceparents(database) if each] == [
        f"00-{each.context.trace_id:032x}-{each.context.span_id:016x}" for each in (first, second)
    ]


async def test_without_a_provider_a_trace_is_passed_on(client: Client, database: Database):
    with continued(REMOTE):
        await client.submit(Step())
        await client.submit_many([Step()])
    with continued("nonsense\x00\ud800"):
        await client.submit(Step())
        await client.submit_many([Step()])
    await client.submit(Step())

    assert await traceparents(database) == [REMOTE, REMOTE, None, None, None]


@pytest.mark.parametrize(
    ("fails", "outcome", "count"), [("for good", "failed", 1), ("once", "retry", 2)]
)
async def test_a_failed_attempt_says_how_and_never_what(
    client: Client, dsn: str, exported: InMemorySpanExporter, fails: str, outcome: str, count: int
):
    job = await client.submit(Step(fails=fails))
    while not job.status.is_over:  # a retry may be due only after a worker has looked
        await run_jobs(dsn, steps())
        job = await client.get(job.id)

    attempts = spans(exported, "process evalqueue")
    submit = only(exported, "submit evalqueue")
    assert len(attempts) == count
    assert [parent_id(each) for each in attempts] == count * [submit.context.span_id]
    assert attributes(attempts[0])["evalqueue.attempt.outcome"] == outcome
    assert attributes(attempts[0])["error.type"] == outcome
    assert attempts[0].status.status_code is StatusCode.ERROR
    assert attempts[0].status.description == outcome
    assert SECRET not in everything(exported)


async def test_an_unexpected_error_leaves_no_text_in_a_span(
    client: Client, dsn: str, exported: InMemorySpanExporter
):
    await client.submit(Step(fails="unexpectedly"))
    await run_jobs(dsn, steps())

    assert attributes(only(exported, "process evalqueue"))["error.type"] == "failed"
    assert SECRET not in everything(exported)


async def test_a_refused_submission_is_an_error_by_its_class(
    client: Client, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    with pytest.raises(InvalidParams, match=SECRET):
        await client.submit(EvaluateBatch(data_path=f"{SECRET}.csv"))

    span = only(exported, "submit evalqueue")
    assert attributes(span)["error.type"] == "InvalidParams"
    assert SECRET not in everything(exported)


CONVERSATIONS = "\n".join(
    json.dumps(
        {
            "thread_id": thread,
            "messages": [
                {"role": "user", "content": f"what did the marked user {thread} eat?"},
                {"role": "assistant", "content": f"the marked answer of {thread}: 2 apples"},
            ],
        }
    )
    for thread in ("one", "two")
)


@pytest.fixture
def evaluate(client: Client, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "chats.jsonl").write_text(CONVERSATIONS)
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")

    async def evaluate(behaviour: Behaviour, *others: dict[str, Any]) -> Job:
        """Evaluate the conversations, and again with each of other params."""
        async with SimulatedServer(behaviour) as vendor:
            monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
            for params in ({}, *others):
                job = await client.submit(EvaluateBatch(data_path="chats.jsonl", **params))
                await work(dsn)
        return await client.get(job.id)

    return evaluate


async def test_a_conversation_and_its_calls_are_below_the_attempt(
    evaluate: Any, exported: InMemorySpanExporter
):
    job = await evaluate(Behaviour())

    assert job.status is JobStatus.COMPLETED, job
    process = only(exported, "process evalqueue")
    assert attributes(process)["evalqueue.run.id"] == str(job.run_id)
    threads = {attributes(each)["evalqueue.thread_id"]: each for each in spans(exported, "thread")}
    assert set(threads) == {"one", "two"}
    assert {parent_id(each) for each in threads.values()} == {process.context.span_id}
    calls = spans(exported, "chat simulated-judge")
    assert calls
    for call in calls:
        found = attributes(call)
        assert parent_id(call) == threads[found["gen_ai.conversation.id"]].context.span_id
        assert call.kind is SpanKind.CLIENT
        assert found["gen_ai.operation.name"] == "chat"
        assert found["gen_ai.provider.name"] == "simulated"
        assert found["gen_ai.request.model"] == "simulated-judge"
        assert found["gen_ai.response.model"] == "simulated-judge"
        assert found["gen_ai.output.type"] == "json"
        assert found["gen_ai.request.max_tokens"] > 0
        assert found["gen_ai.usage.input_tokens"] > 0
        assert found["gen_ai.usage.output_tokens"] > 0
        assert found["server.address"] == "127.0.0.1"
        assert found["evalqueue.call.try"] == 1
        assert call.status.status_code is StatusCode.UNSET
    assert len(trace_ids(exported)) == 1


async def test_texts_are_in_spans_only_where_that_is_asked_for(
    evaluate: Any, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
):
    await evaluate(Behaviour())
    assert "marked" not in everything(exported)

    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    exported.clear()
    await evaluate(Behaviour())

    calls = [attributes(each) for each in spans(exported, "chat simulated-judge")]
    assert any("marked" in each["gen_ai.input.messages"] for each in calls)
    for call in calls:
        (asked,) = json.loads(call["gen_ai.input.messages"])
        (answered,) = json.loads(call["gen_ai.output.messages"])
        (instructed,) = json.loads(call["gen_ai.system_instructions"])
        assert (asked["role"], answered["role"]) == ("user", "assistant")
        assert json.loads(answered["parts"][0]["content"])
        assert instructed["content"]


async def test_a_refused_call_says_why_and_its_retry_is_beside_it(
    evaluate: Any, exported: InMemorySpanExporter
):
    await evaluate(Behaviour(rate_429=0.4, rate_refusal=0.2, retry_after_seconds=0, seed=3))

    calls = spans(exported, "chat simulated-judge")
    kinds = {attributes(each).get("error.type") for each in calls}
    assert {"rate_limited", "judge_refused", None} <= kinds
    assert max(attributes(each)["evalqueue.call.try"] for each in calls) > 1
    for call in calls:
        failed = "error.type" in attributes(call)
        assert (call.status.status_code is StatusCode.ERROR) == failed
        assert call.status.description == attributes(call).get("error.type")
    assert "marked" not in everything(exported)


async def test_an_answer_that_is_on_record_is_marked(evaluate: Any, exported: InMemorySpanExporter):
    await evaluate(Behaviour(), {"reuse": True})

    calls = spans(exported, "chat simulated-judge")
    first, second = spans(exported, "submit evalqueue")
    made = [each for each in calls if each.context.trace_id == first.context.trace_id]
    found = [each for each in calls if each.context.trace_id == second.context.trace_id]
    assert len(found) == len(made) == len(calls) / 2
    for call in found:
        assert attributes(call)["evalqueue.call.answer"] == "reused"
        assert "gen_ai.usage.input_tokens" not in attributes(call)
        assert call.kind is SpanKind.INTERNAL
