"""A bot behind an endpoint that speaks OpenAI's protocol."""

from typing import Any

import pytest

from evalqueue.evaluators.chatbots.protocol import ChatbotError, Fault
from evalqueue.evaluators.chatbots.protocols.openai_compatible import OpenAICompatible
from evalqueue.evaluators.chatbots.targets import ChatbotSettings, TargetRefused, check, credentials


def completion(message: dict[str, Any], reason: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": reason}
    return {"id": "answer-1", "object": "chat.completion", "choices": [choice]}


@pytest.fixture
def open_bot(closing: Any, aim: Any) -> Any:
    def open_(url: str, **changes: Any) -> OpenAICompatible:
        bot = OpenAICompatible(aim(f"{url}/v1", model="a-model", **changes))
        closing.push_async_callback(bot.aclose)
        return bot

    return open_


async def test_a_conversation_is_sent_again_with_every_message(
    serve: Any, open_bot: Any, as_json: Any
) -> None:
    server = await serve(as_json(completion({"content": "Which eggs?"})))
    bot = open_bot(server.url)

    async with bot.chat() as chat:
        reply = await chat.say("Log eggs")
        await chat.say("Two")
        await chat.say("Yes")
    async with bot.chat() as chat:
        await chat.say("Hello")

    assert (reply.text, reply.error, reply.response_id) == ("Which eggs?", None, "answer-1")
    assert server.asked[0].path == "/v1/chat/completions"
    assert "authorization" not in server.asked[0].headers
    assert [len(asked.json["messages"]) for asked in server.asked] == [1, 3, 5, 1]
    assert [asked.json for asked in (*server.asked[:2], server.asked[3])] == [
        {"model": "a-model", "messages": [{"role": "user", "content": "Log eggs"}]},
        {
            "model": "a-model",
            "messages": [
                {"role": "user", "content": "Log eggs"},
                {"role": "assistant", "content": "Which eggs?"},
                {"role": "user", "content": "Two"},
            ],
        },
        {"model": "a-model", "messages": [{"role": "user", "content": "Hello"}]},
    ]


async def test_the_token_is_a_bearer_token(serve: Any, closing: Any, as_json: Any) -> None:
    server = await serve(as_json(completion({"content": "hi"})))
    own = {"one": {"user_id": "u", "token": "a-token", "host": "localhost"}}
    found = ChatbotSettings(credentials=own)
    target = check(server.url, found, protocol="openai", model="m")
    bot = OpenAICompatible(target, *credentials(["one"], target, found))
    closing.push_async_callback(bot.aclose)

    async with bot.chat() as chat:
        await chat.say("Hello")

    assert server.asked[0].headers["authorization"] == "Bearer a-token"


@pytest.mark.parametrize(
    ("body", "status", "text", "error"),
    [
        (completion({"content": None, "refusal": "I can't."}), "200 OK", "I can't.", None),
        (completion({"content": None, "tool_calls": []}), "200 OK", "", None),
        (
            completion({"content": "Par"}, "content_filter"),
            "200 OK",
            "Par",
            "content_filter: the answer was withheld",
        ),
        (
            {"error": {"message": "The prompt was filtered.", "code": "content_filter"}},
            "400 Bad Request",
            "",
            "The prompt was filtered.",
        ),
        ({"error": {"message": "Out of order", "code": None}}, "200 OK", "", "Out of order"),
    ],
)
async def test_a_refusal_is_what_the_bot_says_and_no_fault_of_the_line(
    serve: Any, open_bot: Any, as_json: Any, body: Any, status: str, text: str, error: str | None
) -> None:
    server = await serve(as_json(body, status))

    async with open_bot(server.url).chat() as chat:
        reply = await chat.say("Hello")

    assert (reply.text, reply.error) == (text, error)


@pytest.mark.parametrize(
    ("body", "status", "fault"),
    [
        ({"error": {"message": "no such model"}}, "404 Not Found", Fault.HTTP_ERROR),
        ({"error": {"message": "bad", "code": "other"}}, "400 Bad Request", Fault.HTTP_ERROR),
        ({"message": "bad", "code": 400}, "400 Bad Request", Fault.HTTP_ERROR),
        ({}, "200 OK", Fault.UNREADABLE),
        ({"choices": []}, "200 OK", Fault.UNREADABLE),
        ({"choices": {"0": 1}}, "200 OK", Fault.UNREADABLE),
        ({"choices": [None]}, "200 OK", Fault.UNREADABLE),
        ({"choices": [{"message": "hi"}]}, "200 OK", Fault.UNREADABLE),
        (completion({"content": ["x"]}), "200 OK", Fault.UNREADABLE),
        (completion({"content": 5}), "200 OK", Fault.UNREADABLE),
    ],
)
async def test_what_is_no_completion_is_a_fault(
    serve: Any, open_bot: Any, as_json: Any, body: Any, status: str, fault: Fault
) -> None:
    server = await serve(as_json(body, status))

    async with open_bot(server.url).chat() as chat:
        with pytest.raises(ChatbotError) as failed:
            await chat.say("Hello")

    assert failed.value.fault is fault


async def test_a_message_that_failed_is_not_said_twice_when_it_is_said_again(
    serve: Any, open_bot: Any, as_json: Any
) -> None:
    server = await serve(as_json({}, "503 Busy"))

    async with open_bot(server.url).chat() as chat:
        for _ in range(2):
            with pytest.raises(ChatbotError):
                await chat.say("Hello")

    assert [len(asked.json["messages"]) for asked in server.asked] == [1, 1]


def test_a_model_must_be_named(aim: Any) -> None:
    with pytest.raises(TargetRefused, match="needs a model"):
        OpenAICompatible(aim("http://localhost:1"))
