"""A bot that says what a script says."""

import pytest

from evalqueue.evaluators.chatbots.protocol import ChatbotError, Fault
from evalqueue.evaluators.chatbots.scripted import Cue, ScriptedChatbot


async def said(script: list[Cue], *messages: str) -> list[str]:
    async with ScriptedChatbot(script).chat() as chat:
        return [(await chat.say(message)).text for message in messages]


async def test_lines_come_in_their_order_and_the_last_one_again_and_again() -> None:
    script = [Cue(say="How many?"), Cue(say="Logged.")]

    assert await said(script, "eggs", "two", "thanks") == ["How many?", "Logged.", "Logged."]


async def test_words_of_the_user_call_for_their_answer_every_time() -> None:
    script = [Cue(say="Yes?"), Cue(when="EGG", say="How many eggs?"), Cue(say="Fine.")]

    assert await said(script, "two eggs", "hello", "eggs!", "bye") == [
        "How many eggs?",
        "Yes?",
        "How many eggs?",
        "Fine.",
    ]


async def test_words_are_no_pattern() -> None:
    assert await said([Cue(when="(a+)+$", say="matched")], "a" * 100, "(A+)+$") == ["", "matched"]


async def test_every_conversation_begins_at_the_beginning() -> None:
    bot = ScriptedChatbot([Cue(say="one"), Cue(say="two")])
    for _ in range(2):
        async with bot.chat() as chat:
            assert (await chat.say("hi")).text == "one"
    await bot.aclose()


async def test_a_script_can_report_an_error_and_break_the_line() -> None:
    script = [Cue(say="half", error="oops"), Cue(say="ha", fault=Fault.CONNECTION_LOST)]
    async with ScriptedChatbot(script).chat() as chat:
        reply = await chat.say("hi")
        with pytest.raises(ChatbotError) as failed:
            await chat.say("hi")

    assert (reply.text, reply.error) == ("half", "oops")
    assert (failed.value.fault, failed.value.partial) == (Fault.CONNECTION_LOST, "ha")
