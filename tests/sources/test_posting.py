"""Applications post messages: each is stored once, in any order, or refused with nothing stored."""

import asyncio
import json
from typing import Any

import httpx
import psycopg
import pytest
from tests.sources.conftest import Chat, ago, said

from evalqueue import Settings
from evalqueue.errors import InvalidParams, KeyReused
from evalqueue.evaluators import post_messages
from evalqueue.http.server import serve
from evalqueue.postgres.rows import jsonb

MINE = {"role": "user", "content": "Hi", "id": "m1"}
CALLED: dict[str, Any] = {
    "role": "assistant", "content": None, "id": "a1",
    "tool_calls": [{"id": "c", "type": "function",
                    "function": {"name": "log_meal", "arguments": "{\"food\": \"roti\"}"}}],
}  # fmt: skip


async def stored(chat: Chat) -> list[tuple[Any, ...]]:
    return await chat.run(
        "SELECT as_posted ->> 'content' FROM posted_messages ORDER BY thread_id, sent_at, arrival"
    )


async def test_a_message_is_stored_once_however_often_it_is_posted(chat: Chat) -> None:
    timed = {"role": "user", "content": "ok", "timestamp": "2026-01-05T10:00:00Z"}
    first = await chat.post("c1", MINE, timed, MINE)
    again = await chat.post("c1", timed, MINE, {**timed, "timestamp": "2026-01-05T10:00:01Z"})

    assert (first.added, first.known) == (2, 1)
    assert (again.added, again.known) == (1, 2)
    assert await chat.run("SELECT messages FROM posted_threads") == [(3,)]


async def test_posts_at_once_store_each_message_once(chat: Chat) -> None:
    async with chat.client() as client:
        threads = [
            {"thread_id": f"c{number}", "messages": [MINE, {**MINE, "id": "m2"}]}
            for number in range(5)
        ]
        found = await asyncio.gather(
            *(post_messages(client, threads[:: 1 if even else -1]) for even in [True, False] * 5)
        )

    assert sum(each.added for each in found) == 10
    assert await chat.run("SELECT DISTINCT messages FROM posted_threads") == [(2,)]


async def test_messages_are_in_the_order_of_their_times_then_of_their_arrival(chat: Chat) -> None:
    await chat.post("c1", said("two", timestamp="2026-01-05T10:00:02Z"))
    await chat.post("c1", said("three", timestamp="2026-01-05T15:30:02+05:30"))
    await chat.post("c1", said("one", timestamp="2026-01-05T10:00:01"), said("now"))

    assert [text for (text,) in await stored(chat)] == ["one", "two", "three", "now"]


async def test_another_content_under_the_same_id_is_refused(chat: Chat) -> None:
    await chat.post("c1", MINE)
    with pytest.raises(KeyReused, match="Message m1 of thread c1 was posted with other content"):
        await chat.post("c1", said("new"), {**MINE, "content": "Ho"})
    with pytest.raises(KeyReused):
        await chat.post("c2", MINE, {**MINE, "content": "Ho"})

    assert await stored(chat) == [("Hi",)]


WRONG: dict[str, tuple[Any, str]] = {
    "role": ({**MINE, "role": "robot"}, "threads.0.messages.1.role: Choose user"),
    "no role": ({"content": "Hi", "id": "x"}, "messages.1.role: "),
    "neither id nor time": (
        {"role": "user", "content": "Hi"}, "messages.1: Give it an id, or a timestamp",
    ),
    "future": ({**MINE, "timestamp": ago(hours=-1).isoformat()}, "timestamp: It is in the future"),
    "no time": ({**MINE, "timestamp": "tomorrow"}, "timestamp: Write a date"),
    "no day": ({**MINE, "timestamp": "2026-02-30T00:00:00Z"}, "timestamp: Write a date"),
    "infinity": ({**MINE, "timestamp": "infinity"}, "timestamp: Write a date"),
    "old": ({**MINE, "timestamp": "1066-10-14T09:00:00Z"}, "timestamp: Write a date"),
    "number": ({**MINE, "timestamp": 17}, "timestamp: Write a date"),
    "long id": ({**MINE, "id": "x" * 256}, "id: A text of 1 to 255"),
    "no content": ({"role": "user", "id": "x"}, "content: It is missing"),
    "content": ({**MINE, "content": {"a": 1}}, "content: Write a text"),
    "calls": ({**MINE, "tool_calls": "x"}, "tool_calls: Write a list"),
    "huge": ({**MINE, "content": "x" * 300_000}, "messages.1: It is too large"),
    "text": ("Hi", "messages.1: A message is a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
async def test_a_message_that_can_not_be_read_is_refused_with_its_place(
    chat: Chat, kind: str
) -> None:
    message, reason = WRONG[kind]
    with pytest.raises(InvalidParams) as error:
        await chat.post("c1", said("fine"), message)

    assert reason in str(error.value)
    assert await chat.run("SELECT 1 FROM posted_threads") == []


@pytest.mark.parametrize(
    ("threads", "reason"),
    [
        ([], "1 to 100 threads"),
        ([{"thread_id": f"c{number}", "messages": [MINE]} for number in range(101)], "1 to 100"),
        ({"thread_id": "c", "messages": []}, "threads.0.messages: A list of 1 to 1000"),
        ({"thread_id": "c", "messages": [MINE] * 1001}, "threads.0.messages: A list of 1 to 1000"),
        ({"thread_id": "", "messages": [MINE]}, "threads.0.thread_id: "),
        ({"thread_id": "x" * 501, "messages": [MINE]}, "threads.0.thread_id: "),
        ({"thread_id": "N/A", "messages": [MINE]}, "threads.0.thread_id: "),
        ({"thread_id": "a\nb", "messages": [MINE]}, "threads.0.thread_id: "),
        ({"thread_id": 7, "messages": [MINE]}, "threads.0.thread_id: "),
        ({"thread_id": "c", "user_id": "", "messages": [MINE]}, "threads.0.user_id: "),
        ({"thread_id": "c", "text": "x", "messages": [MINE]}, "threads.0.text: There is no"),
        (["c"], "threads.0: A thread is a JSON object"),
    ],
)
async def test_threads_that_can_not_be_stored_are_refused(
    chat: Chat, threads: Any, reason: str
) -> None:
    async with chat.client() as client:
        with pytest.raises(InvalidParams) as error:
            await post_messages(client, threads)

    assert reason in str(error.value)
    assert await chat.run("SELECT 1 FROM posted_threads") == []


async def test_a_thread_has_a_largest_size(chat: Chat) -> None:
    await chat.post("c1", MINE)
    await chat.run("UPDATE posted_threads SET messages = 9999")
    with pytest.raises(InvalidParams, match="A thread may have 10000 messages"):
        await chat.post("c1", said("one"), said("two"))

    assert await stored(chat) == [("Hi",)]


async def test_they_are_there_if_and_only_if_the_transaction_commits(chat: Chat) -> None:
    posted = jsonb({"thread_id": "c1", "messages": [MINE]})
    async with (
        await psycopg.AsyncConnection.connect(chat.dsn) as connection,
        chat.client() as client,
    ):
        await connection.execute("SELECT evalqueue_post_messages(%s)", [posted])
        await post_messages(client, {"thread_id": "c2", "messages": [MINE]}, connection=connection)
        assert await stored(chat) == []
        await connection.rollback()
        assert await stored(chat) == []
        await connection.execute("SELECT evalqueue_post_messages(%s, 'ann')", [posted])
    assert await chat.run("SELECT owner, thread_id FROM posted_threads") == [("ann", "c1")]


async def test_http_stores_for_the_caller_and_names_what_is_wrong(chat: Chat) -> None:
    settings = Settings(port=0)
    async with chat.client() as client:
        client.settings = settings
        async with serve(client) as address, httpx.AsyncClient(base_url=address.url) as http:
            thread = {"thread_id": "c1", "user_id": "u1", "messages": [MINE, CALLED]}
            posted = await http.post("/api/threads", json={"threads": [thread]})
            other = {**thread, "messages": [{**MINE, "content": "Ho"}]}
            reused = await http.post("/api/threads", json={"threads": [other]})
            future = {**MINE, "id": "m2", "timestamp": ago(days=-1).isoformat()}
            wrong = await http.post(
                "/api/threads", json={"threads": [thread, {**thread, "messages": [future]}]}
            )

    assert (posted.status_code, posted.json()) == (200, {"added": 2, "known": 0})
    assert reused.status_code == 409
    assert wrong.status_code == 422
    assert wrong.json()["detail"][0]["loc"] == [
        "body", "threads", 1, "messages", 0, "timestamp",
    ]  # fmt: skip
    assert await chat.run("SELECT owner, user_id, messages FROM posted_threads") == [
        ("default", "u1", 2)
    ]


def span(span_id: str, asked: list[Any], answered: list[Any], **more: Any) -> dict[str, Any]:
    """A span as GenAI instrumentations export it."""
    attributes = {
        "gen_ai.conversation.id": "c1",
        "user.id": "u1",
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps(answered),
    } | more
    return {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": span_id,
        "startTimeUnixNano": str(1_767_607_200_000_000_000 + int(span_id)),
        "attributes": [
            {"key": key, "value": {"stringValue": value}} for key, value in attributes.items()
        ],
    }


def part(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


async def test_spans_of_llm_calls_are_posted_once_without_what_they_repeat(chat: Chat) -> None:
    asked = [part("system", "Be kind"), part("user", "Two rotis")]
    logged = {"type": "tool_call", "id": "x", "name": "log_meal", "arguments": {"food": "roti"}}
    call = {"role": "assistant", "parts": [logged]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "x", "result": "ok"}]}
    spans = [
        span("1", asked, [call]),
        span("2", [*asked, call, result], [part("assistant", "Noted")]),
        {"traceId": "a", "spanId": "3", "startTimeUnixNano": "1", "attributes": []},
        span("4", asked, [part("assistant", "Hi")], **{"gen_ai.conversation.id": "x" * 600}),
    ]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [each]}]} for each in spans]}
    async with chat.client() as client:
        client.settings = Settings(port=0)
        async with serve(client) as address, httpx.AsyncClient(base_url=address.url) as http:
            replies = [await http.post("/api/v1/traces", json=body) for _ in range(2)]
            odd = await http.post("/api/v1/traces", json={"resourceSpans": [{"scopeSpans": 7}]})
    await chat.read(source="posted", settle_minutes=0)

    assert [each.status_code for each in (*replies, odd)] == [200, 200, 200]
    for reply in replies:
        assert reply.json()["partialSuccess"]["rejectedSpans"] == 1
        assert "thread_id" in reply.json()["partialSuccess"]["errorMessage"]
    assert await chat.run("SELECT user_id, messages FROM posted_threads") == [("u1", 5)]
    (turn,) = await chat.turns("c1")
    assert (turn["system"], turn["user_text"], turn["bot_text"]) == (
        "Be kind", "Two rotis", "Noted",
    )  # fmt: skip
    assert [(each["name"], each["result"]) for each in turn["tool_calls"]] == [("log_meal", "ok")]
