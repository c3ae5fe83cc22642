"""A bot behind plain HTTP, described by a profile."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from evalqueue.evaluators.apps.difficult_users import Webhook
from evalqueue.evaluators.chatbots.protocol import ChatbotError, Fault
from evalqueue.evaluators.chatbots.protocols import webhook
from evalqueue.evaluators.chatbots.protocols.webhook import WebhookChatbot
from evalqueue.evaluators.chatbots.targets import ChatbotSettings, check, credentials

PATIENCE = 60.0  # seconds; the machine may be busy
BODY = {
    "text": "$message",
    "first": "$new",
    "session": "$session",
    "from": {"user": "$user_id", "note": "said by $user_id: $message ($new, $session, $other)"},
    "fixed": [1, None, "$message"],
}
WEBHOOK = Webhook(
    body=json.dumps(BODY),
    reply="/reply/text",
    session="/session",
    error="/error",
    token_header="X-Key",
    token_prefix="",
    close_path="/bot/sessions/$session",
)
ANSWER = {"reply": {"text": "Hello"}, "session": "s/1"}


@pytest.fixture
def open_bot(closing: Any) -> Any:
    def open_(url: str, webhook: Webhook = WEBHOOK) -> WebhookChatbot:
        own = {"one": {"user_id": "user-1", "token": "a-token", "host": "localhost"}}
        found = ChatbotSettings(credentials=own)
        target = check(f"{url}/bot", found, protocol="webhook")
        bot = WebhookChatbot(webhook, target, *credentials(["one"], target, found))
        closing.push_async_callback(bot.aclose)
        return bot

    return open_


async def test_the_profile_says_what_is_sent_and_where_the_answer_is(
    serve: Any, open_bot: Any, as_json: Any
) -> None:
    server = await serve(as_json(ANSWER))

    async with open_bot(server.url).chat() as chat:
        reply = await chat.say('Say "$session" \\ $new')
        await chat.say("more")

    assert (reply.text, reply.session, reply.error) == ("Hello", "s/1", None)
    first, second, close = server.asked
    assert (first.method, first.path, first.headers["x-key"]) == ("POST", "/bot", "a-token")
    assert first.json == {
        "text": 'Say "$session" \\ $new',
        "first": True,
        "session": None,
        "from": {
            "user": "user-1",
            "note": 'said by user-1: Say "$session" \\ $new (true, , $other)',
        },
        "fixed": [1, None, 'Say "$session" \\ $new'],
    }
    assert (second.json["first"], second.json["session"]) == (False, "s/1")
    assert (close.method, close.path, close.headers["x-key"]) == (
        "DELETE",
        "/bot/sessions/s%2F1",
        "a-token",
    )


async def test_a_bot_that_names_no_session_is_given_one_per_conversation(
    serve: Any, open_bot: Any, as_json: Any
) -> None:
    server = await serve(as_json(ANSWER))
    bot = open_bot(server.url, replace(WEBHOOK, session=None, close_path=None))

    for _ in range(2):
        async with bot.chat() as chat:
            await chat.say("a")
            await chat.say("b")

    one, again, other, _ = [asked.json["session"] for asked in server.asked]
    assert one == again != other
    assert len(one) == 32


async def test_without_a_credential_every_conversation_is_another_user(
    serve: Any, closing: Any, aim: Any, as_json: Any
) -> None:
    server = await serve(as_json(ANSWER))
    bot = WebhookChatbot(replace(WEBHOOK, close_path=None), aim(server.url))
    closing.push_async_callback(bot.aclose)

    for _ in range(2):
        async with bot.chat() as chat:
            await chat.say("a")

    users = [asked.json["from"]["user"] for asked in server.asked]
    assert users[0] != users[1]
    assert "x-key" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("body", "text", "error"),
    [
        ({"reply": {"text": ""}}, "", None),
        ({"reply": {"text": None}}, "", None),
        ({"reply": {"text": 5}}, "5", None),
        ({"reply": {"text": "Hi"}, "error": None}, "Hi", None),
        ({"reply": {"text": "Hi"}, "error": "half of it"}, "Hi", "half of it"),
        ({"error": {"code": 7}}, "", '{"code": 7}'),
    ],
)
async def test_an_error_that_the_bot_reports_is_its_word(
    serve: Any, open_bot: Any, as_json: Any, body: Any, text: str, error: str | None
) -> None:
    server = await serve(as_json(body))

    async with open_bot(server.url).chat() as chat:
        reply = await chat.say("Hello")

    assert (reply.text, reply.error) == (text, error)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "nothing at /reply/text"),
        ({"reply": "Hi"}, "nothing at /reply/text"),
        ({"reply": {"text": "Hi"}, "session": ""}, "/session is no session"),
        ({"reply": {"text": "Hi"}, "session": "x" * 5_000}, "/session is no session"),
    ],
)
async def test_an_answer_that_is_not_as_described_is_unreadable(
    serve: Any, open_bot: Any, as_json: Any, body: Any, said: str
) -> None:
    server = await serve(as_json(body))

    async with open_bot(server.url).chat() as chat:
        with pytest.raises(ChatbotError, match=said) as failed:
            await chat.say("Hello")

    assert failed.value.fault is Fault.UNREADABLE


@pytest.mark.parametrize(
    ("pointer", "text"),
    [("/a~1b/1/~0", "deep"), ("/a~1b/0", "first"), ("/a~1b/9", None), ("/a~1b/-", None),
     ("/a~1b/01234567890", None), ("/x", None)],
)  # fmt: skip
async def test_a_pointer_leads_through_objects_and_lists(
    serve: Any, open_bot: Any, as_json: Any, pointer: str, text: str | None
) -> None:
    server = await serve(as_json({"a/b": ["first", {"~": "deep"}]}))
    bot = open_bot(server.url, replace(WEBHOOK, reply=pointer))

    async with bot.chat() as chat:
        if text is None:
            with pytest.raises(ChatbotError):
                await chat.say("Hello")
        else:
            assert (await chat.say("Hello")).text == text


@pytest.mark.parametrize("session", [".", ".."])
async def test_a_session_that_is_a_way_up_is_not_deleted(
    serve: Any, open_bot: Any, as_json: Any, session: str
) -> None:
    server = await serve(as_json(ANSWER | {"session": session}))

    async with open_bot(server.url).chat() as chat:
        await chat.say("Hello")

    assert [asked.method for asked in server.asked] == ["POST"]


async def test_a_conversation_without_a_word_needs_no_end(serve: Any, open_bot: Any) -> None:
    server = await serve(b"")

    async with open_bot(server.url).chat():
        pass

    assert server.connections == 0


async def test_a_bot_that_can_not_be_reached_is_told_again_that_the_conversation_is_new(
    open_bot: Any, serve: Any, as_json: Any
) -> None:
    server = await serve(as_json(ANSWER))
    await server.aclose()

    async with open_bot(server.url).chat() as chat:
        with pytest.raises(ChatbotError) as failed:
            await chat.say("Hello")
        again = await serve(as_json(ANSWER), port=server.port)
        await chat.say("Hello")

    assert failed.value.fault is Fault.UNREACHABLE
    assert again.asked[0].json["first"] is True


@pytest.mark.parametrize("how_often", [1, 2])
async def test_a_cancelled_conversation_is_ended_at_the_bot_too(
    serve: Any, open_bot: Any, as_json: Any, how_often: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is told so while it does that."""
    monkeypatch.setattr(webhook, "_CLOSING_SECONDS", PATIENCE)
    is_ending, may_end, is_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def behave(asked: Any, writer: asyncio.StreamWriter) -> None:
        if asked.method == "DELETE":
            is_ending.set()
            await may_end.wait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked.gone.wait(), 0.2)  # it was not broken off
            is_ended.set()
        writer.write(as_json(ANSWER))

    server = await serve(behave)
    bot = open_bot(server.url)
    is_begun = asyncio.Event()

    async def talk() -> None:
        async with bot.chat() as chat:
            await chat.say("Hello")
            is_begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(talk())
    await asyncio.wait_for(is_begun.wait(), PATIENCE)
    task.cancel()
    await asyncio.wait_for(is_ending.wait(), PATIENCE)
    if how_often > 1:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)  # it lets go, and the end is still under way
    may_end.set()
    await asyncio.wait([task], timeout=PATIENCE)
    await bot.aclose()

    assert task.cancelled()
    assert is_ended.is_set()
    assert [asked.method for asked in server.asked] == ["POST", "DELETE"]


async def test_a_bot_that_will_not_end_a_session_holds_nobody_up(
    serve: Any, open_bot: Any, as_json: Any
) -> None:
    async def behave(asked: Any, writer: asyncio.StreamWriter) -> None:
        if asked.method == "DELETE":
            await asyncio.Event().wait()
        writer.write(as_json(ANSWER))

    server = await serve(behave)

    async with asyncio.timeout(PATIENCE), open_bot(server.url).chat() as chat:
        await chat.say("Hello")

    assert server.asked[-1].method == "DELETE"
