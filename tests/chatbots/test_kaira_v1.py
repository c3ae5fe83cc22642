"""Kaira version 1: what is sent, how a stream is read, and what is no answer."""

import asyncio
import json
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kaira_lines import CREDENTIAL, Teller, event, target, telling

from evalqueue.evaluators.chatbots.protocol import ChatbotError, Fault, Reply
from evalqueue.evaluators.chatbots.protocols.kaira.events import Events
from evalqueue.evaluators.chatbots.protocols.kaira.v1 import KairaV1
from evalqueue.evaluators.chatbots.targets import TargetRefused

CONTEXT = event(type="session_context", thread_id="t-1", session_id="s-1", response_id="r-1")
INTENTS = event(
    type="intent_classification",
    detected_intents=[{"agent": "FoodAgent", "confidence": 0.9}, {"agent": "General"}],
    is_multi_intent=True,
)
SAID = event(type="agent_response", agent="FoodAgent", message="How many?", success=True, data={})
DONE = b"data: [DONE]\n\n"


async def replies(*answers: bytes) -> list[Reply]:
    """What a client makes of some answers, in one conversation."""
    async with telling(*answers) as teller:
        kaira = KairaV1(target(teller.url, "kaira_v1"), CREDENTIAL)
        async with aclosing(kaira), kaira.chat() as chat:
            return [await chat.say("hello") for _ in answers]


async def refusal(*answers: bytes) -> ChatbotError:
    with pytest.raises(ChatbotError) as refused:
        await replies(*answers)
    return refused.value


async def test_the_first_message_ends_the_old_session_and_later_ones_name_both_ids() -> None:
    async with telling(CONTEXT + SAID + DONE) as teller:
        kaira = KairaV1(target(teller.url, "kaira_v1"), CREDENTIAL)
        async with aclosing(kaira):
            async with kaira.chat() as chat:
                await chat.say("two idlis")
                await chat.say("at 8")
            async with kaira.chat() as chat:
                await chat.say("and now?")

    always = {"user_id": "user-1", "context": {"additionalProp1": {}}, "stream": False}
    first = {"session_id": "user-1", "end_session": True}
    later = {"session_id": "s-1", "thread_id": "t-1", "end_session": False}
    assert teller.requests == [
        {**always, **first, "query": "two idlis"},
        {**always, **later, "query": "at 8"},
        {**always, **first, "query": "and now?"},
    ]
    assert teller.paths == ["/chat/stream"] * 3
    assert teller.headers[0]["token"] == "made-up-token"
    assert teller.headers[0]["accept"] == "*/*"
    assert teller.headers[0]["content-type"] == "application/json"


async def test_the_ids_of_the_first_answer_are_kept_whatever_later_ones_say() -> None:
    other = event(type="session_context", thread_id="t-2", session_id="s-2")
    async with telling(CONTEXT + SAID + DONE, other + SAID + DONE) as teller:
        kaira = KairaV1(target(teller.url, "kaira_v1"), CREDENTIAL)
        async with aclosing(kaira), kaira.chat() as chat:
            for _ in range(3):
                await chat.say("hello")

    assert [request["session_id"] for request in teller.requests] == ["user-1", "s-1", "s-1"]


async def test_a_whole_answer_has_text_intents_and_ids() -> None:
    (reply,) = await replies(CONTEXT + b"data: 1\n\ndata: 2\n\n" + INTENTS + SAID + DONE)

    assert (reply.text, reply.intents) == ("How many?", ("FoodAgent", "General"))
    assert (reply.session, reply.response_id, reply.error) == ("s-1", "r-1", None)
    assert reply.first_byte_ms is not None
    assert 0 < reply.first_byte_ms <= reply.duration_ms


async def test_a_summary_stands_for_what_the_agents_said() -> None:
    other = event(type="agent_response", agent="General", message="Hi!", success=True)

    both, summed_up = await replies(
        CONTEXT + SAID + other + DONE,
        CONTEXT + SAID + event(type="summary", message="All of it.") + other + DONE,
    )

    assert both.text == "How many?\n\nHi!"
    assert summed_up.text == "All of it."


async def test_chips_stay_in_the_text_and_sentinels_do_not() -> None:
    chips = '<button id="confirm_log">Yes</button><button id="edit_meal">Edit</button>'
    message = f'{chips}\n___SESSION_STATE___{{"a": 1}}___END_SS___'

    (reply,) = await replies(CONTEXT + event(type="agent_response", message=message) + DONE)

    assert reply.text == chips


async def test_what_the_bot_reports_as_an_error_is_its_word_and_no_fault() -> None:
    failed = event(type="agent_response", agent="FoodAgent", message="no data", success=False)

    alone, after_text, agents, unexplained = await replies(
        CONTEXT + event(type="error", error="upstream is gone"),
        CONTEXT + SAID + event(type="error", error="timed out") + DONE,
        CONTEXT + failed + DONE,
        CONTEXT + event(type="error", error={"code": 5}) + DONE,
    )

    assert (alone.text, alone.error) == ("", "upstream is gone")
    assert (after_text.text, after_text.error) == ("How many?", "timed out")
    assert (agents.text, agents.error) == ("", "no data")
    assert unexplained.error == "no details: {'code': 5}"


async def test_one_failing_agent_among_others_is_no_error() -> None:
    failed = event(type="agent_response", agent="General", message="no data", success=False)

    (reply,) = await replies(CONTEXT + failed + SAID + DONE)

    assert (reply.text, reply.error) == ("How many?", None)


async def test_an_error_without_a_session_lets_the_next_message_begin_one() -> None:
    _, later = await replies(event(type="error", error="busy") + DONE, CONTEXT + SAID + DONE)

    assert later.session == "s-1"


async def test_without_the_ids_of_the_first_answer_nothing_goes_on() -> None:
    nameless = event(type="session_context", session_id="s-1") + SAID + DONE

    refused = await refusal(nameless, nameless)

    assert refused.fault is Fault.UNREADABLE
    assert "no session" in refused.message


async def test_an_empty_answer_is_an_answer() -> None:
    silent, wordless = await replies(CONTEXT + INTENTS + DONE, DONE)

    assert silent.shown == wordless.shown == ""


async def test_a_stream_that_ends_early_is_a_lost_connection() -> None:
    for answer in (b"", b"data: 1\n\n", CONTEXT + INTENTS, CONTEXT + SAID[:40]):
        refused = await refusal(answer)
        assert refused.fault is Fault.CONNECTION_LOST, answer


async def test_a_stream_that_ends_after_its_message_is_whole_without_done() -> None:
    (reply,) = await replies(CONTEXT + SAID)

    assert reply.text == "How many?"


async def test_an_answer_of_nothing_readable_is_unreadable() -> None:
    for answer in (b"<html>502</html>\n", b"data: {oops\n\n" + DONE, b'data: [1, 2]\n\ndata: "a"'):
        refused = await refusal(answer)
        assert refused.fault is Fault.UNREADABLE, answer
    assert "[1, 2]" in refused.quote
    assert "[1, 2]" not in refused.message


@pytest.mark.parametrize(
    "disturbed",
    [
        CONTEXT.replace(b"\n", b"\r\n") + SAID.replace(b"\n", b"\r\n") + DONE,
        (CONTEXT + SAID + DONE).replace(b"data: ", b"data:"),
        (CONTEXT + SAID + DONE).replace(b"\n\n", b"\n"),
        b"\xef\xbb\xbf" + CONTEXT + b": hello\nid: 7\nretry: 10\nevent: message\n" + SAID + DONE,
        b"data: {broken\n" + CONTEXT + b"data: \xff\xfe\nnoise\n" + SAID + DONE,
        CONTEXT + b"data: [[[[[[[[\n\n" + SAID + DONE,
        CONTEXT + b"data: " + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"\n\n" + SAID + DONE,
        CONTEXT + b'data: {"type": 7}\n\ndata: {"type": "news", "message": []}\n\n' + SAID + DONE,
    ],
    ids=["CRLF", "no space", "no empty lines", "other fields", "noise", "open", "deep", "unknown"],
)  # fmt: skip
async def test_what_is_odd_in_a_stream_does_not_break_it(disturbed: bytes) -> None:
    (reply,) = await replies(disturbed)

    assert (reply.text, reply.session) == ("How many?", "s-1")


@pytest.mark.parametrize("prefix", ["data: ", ""], ids=["every line marked", "first line marked"])
@pytest.mark.parametrize("end", ["\n\n", "\n"], ids=["an empty line after it", "none"])
async def test_json_over_several_lines_is_one_chunk(prefix: str, end: str) -> None:
    chunk = {
        "type": "agent_response",
        "message": "x",
        "success": True,
        "data": {"n": [1, {"a": 2}]},
    }
    lines = json.dumps(chunk, indent=2).replace("\n", f"\n{prefix}")

    several = f"data: {lines}{end}".encode()

    (reply,) = await replies(CONTEXT + several + INTENTS.replace(b"\n\n", b"\n") + several + DONE)

    assert (reply.text, len(reply.intents)) == ("x\n\nx", 2)


async def test_a_token_that_the_bot_repeats_is_never_kept() -> None:
    said = event(type="agent_response", message="your token is made-up-token", success=True)

    (reply,) = await replies(CONTEXT + said + DONE)
    refused = await refusal(b"made-up-token?\n")

    assert reply.text == "your token is ***"
    assert "made-up-token" not in refused.message


async def test_a_token_that_the_bot_repeats_in_its_ids_and_names_is_never_kept() -> None:
    context = event(
        type="session_context", thread_id="t-1", session_id="made-up-token", response_id="r" * 195
        + "made-up-token",
    )  # fmt: skip
    intents = event(type="intent_classification", detected_intents=[{"agent": "made-up-token"}])
    failed = event(type="error", error={"made-up-token": "made-up-token"})

    (reply,) = await replies(context + intents + failed + DONE)

    assert (reply.session, reply.intents) == ("***", ("***",))
    assert reply.response_id == "r" * 195 + "***"
    assert reply.error == "no details: {'***': '***'}"


async def test_the_next_conversation_of_a_user_waits_for_the_one_before() -> None:
    async with telling(CONTEXT + SAID + DONE) as teller:
        kaira = KairaV1(target(teller.url, "kaira_v1"), CREDENTIAL)
        order: list[str] = []

        async def second() -> None:
            async with kaira.chat() as chat:
                order.append("second begins")
                await chat.say("hello")

        async with aclosing(kaira), asyncio.TaskGroup() as group:
            async with kaira.chat() as chat:
                waiting = group.create_task(second())
                await chat.say("hello")
                await chat.say("hello again")
                order.append("first ends")
            await waiting

    assert order == ["first ends", "second begins"]


async def test_without_a_credential_nobody_can_be_spoken_to() -> None:
    with pytest.raises(TargetRefused, match="EVALQUEUE_CHATBOT_CREDENTIALS"):
        KairaV1(target("http://127.0.0.1:1", "kaira_v1"), None)


WORDS = st.sampled_from(
    [b"data: ", b"data:", b"\n", b"\r\n", b"{", b"}", b'"type"', b": ", b'"error"', b"[DONE]", b"1",
     b"event: token", CONTEXT, INTENTS, SAID[:30], SAID[30:], b"\xff", b"[", b"]", b"null", b","]
)  # fmt: skip


def test_arbitrary_bytes_are_an_answer_or_a_fault_of_the_line() -> None:
    faults = {Fault.UNREADABLE, Fault.CONNECTION_LOST}

    async def told(teller: Teller, answer: bytes) -> None:
        teller.will_say(answer)
        kaira = KairaV1(target(teller.url, "kaira_v1"), CREDENTIAL)
        async with aclosing(kaira), kaira.chat() as chat:
            try:
                await chat.say("hello")
            except ChatbotError as error:
                assert error.fault in faults  # noqa: PT017  both ends are good ones

    with asyncio.Runner() as runner:
        server = telling()
        teller = runner.run(server.__aenter__())

        @given(pieces=st.lists(st.one_of(WORDS, st.binary(max_size=20)), max_size=30))
        def tried(pieces: list[bytes]) -> None:
            runner.run(told(teller, b"".join(pieces)))

        try:
            tried()
        finally:
            runner.run(server.__aexit__(None, None, None))


@given(lines=st.lists(st.one_of(st.text(), WORDS.map(lambda word: word.decode(errors="replace")))))
def test_arbitrary_lines_yield_typed_objects_or_nothing(lines: list[str]) -> None:
    events = Events()

    chunks = [chunk for line in lines for chunk in events.feed(line)] + list(events.end())

    assert all(isinstance(chunk["type"], str) for chunk in chunks)
    assert events.chunks == len(chunks)
