"""Kaira version 2: tokens, cards, and what confirming a card sends."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kaira_lines import CREDENTIAL, Teller, event, target, telling

from evalqueue.evaluators.chatbots.protocol import TEXT_LIMIT, ChatbotError, Fault, Reply
from evalqueue.evaluators.chatbots.protocols.kaira.cards import (
    CARD_LIMIT,
    read_card,
    without_sentinels,
)
from evalqueue.evaluators.chatbots.protocols.kaira.v2 import KairaV2

BEGUN = event(
    type="classification", intent="logging", agent="FoodAgent", confidence=0.9, source="text",
    session_id="s-1",
)  # fmt: skip
TOKENS = event(type="token", content="How ") + event(type="token", content="many?")
DONE = event(type="done", full_response="How many?")
IDLI = {
    "name": "Idli", "ingredients": ["rice", "urad dal"], "qty": "2 pieces", "meal": "breakfast",
    "kcal": 116.0, "protein_g": 4.2, "carbs_g": 24, "fat_g": 0.4, "fiber_g": None,
}  # fmt: skip
MEAL = {"items": [IDLI], "consumed_at": "2026-01-05T08:30:00+05:30", "consumed_label": "8:30 AM"}
BATCH = {"isBatch": True, "sessions": [MEAL, {**MEAL, "consumed_label": "1 PM"}]}


async def replies(*answers: bytes) -> list[Reply]:
    """What a client makes of some answers, in one conversation."""
    async with telling(*answers) as teller:
        kaira = KairaV2(target(teller.url, "kaira_v2"), CREDENTIAL)
        async with aclosing(kaira), kaira.chat() as chat:
            return [await chat.say("hello") for _ in answers]


async def refusal(*answers: bytes) -> ChatbotError:
    with pytest.raises(ChatbotError) as refused:
        await replies(*answers)
    return refused.value


async def test_the_first_message_asks_for_a_session_and_later_ones_name_it() -> None:
    async with telling(BEGUN + TOKENS + DONE) as teller:
        kaira = KairaV2(target(teller.url, "kaira_v2"), CREDENTIAL)
        async with aclosing(kaira), kaira.chat() as chat:
            await chat.say("idli")
            await chat.say("two")

    always = {"user_id": "user-1", "timezone": "Asia/Kolkata"}
    assert teller.requests == [
        {**always, "message": "idli", "new_session": True},
        {**always, "message": "two", "new_session": False, "session_id": "s-1"},
    ]
    assert teller.paths == ["/api/chat"] * 2
    assert teller.headers[0]["token"] == "made-up-token"


async def test_a_second_classification_without_a_session_takes_the_first_ones_not_away() -> None:
    second = event(type="classification", agent="General")
    async with telling(BEGUN + second + TOKENS + DONE) as teller:
        kaira = KairaV2(target(teller.url, "kaira_v2"), CREDENTIAL)
        async with aclosing(kaira), kaira.chat() as chat:
            first = await chat.say("idli")
            await chat.say("two")

    assert (first.session, first.intents) == ("s-1", ("General",))
    assert teller.requests[1]["session_id"] == "s-1"


async def test_the_text_is_the_full_response_or_else_the_tokens() -> None:
    full = event(type="done", full_response="Yes.")

    whole, joined, empty = await replies(
        BEGUN + TOKENS + full, BEGUN + TOKENS + event(type="done"), BEGUN + event(type="done")
    )

    assert (whole.text, whole.intents, whole.session) == ("Yes.", ("FoodAgent",), "s-1")
    assert (joined.text, empty.text) == ("How many?", "")


async def test_the_type_of_a_chunk_may_be_the_name_of_its_event() -> None:
    named = b'event: token\ndata: {"content": "Hi"}\n\nevent: done\ndata: {}\n\n'

    (reply,) = await replies(BEGUN + named)

    assert reply.text == "Hi"


async def test_what_comes_after_done_still_counts_but_is_not_waited_for() -> None:
    (reply,) = await replies(BEGUN + DONE + event(type="food_card", data=MEAL))

    assert reply.card is not None


async def raw_reply(answer: bytes, *, hangs_up: bool) -> Reply:
    """What a client makes of an answer whose stream never ends as it should."""
    told = asyncio.Event()

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")  # all of the request: what is unread resets the connection
        length = str(len(answer) + 100).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + answer)
        await writer.drain()
        if not hangs_up:
            await reader.read()  # until the client goes away
        writer.close()
        await writer.wait_closed()
        told.set()

    server = await asyncio.start_server(tell, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        kaira = KairaV2(target(f"http://127.0.0.1:{port}", "kaira_v2"), CREDENTIAL)
        try:
            async with asyncio.timeout(20), aclosing(kaira), kaira.chat() as chat:
                return await chat.say("hello")
        finally:
            await told.wait()


async def test_a_stream_that_stays_open_after_done_holds_nobody_up() -> None:
    reply = await raw_reply(BEGUN + DONE, hangs_up=False)

    assert reply.text == "How many?"


async def test_a_line_that_fails_after_done_takes_nothing_back() -> None:
    reply = await raw_reply(BEGUN + DONE, hangs_up=True)
    with pytest.raises(ChatbotError) as refused:
        await raw_reply(BEGUN + TOKENS, hangs_up=True)

    assert reply.text == "How many?"
    assert (refused.value.fault, refused.value.partial) == (Fault.CONNECTION_LOST, "How many?")


async def test_an_error_is_the_bots_word_also_after_a_part_of_an_answer() -> None:
    alone, after = await replies(
        BEGUN + event(type="error", detail="agent is down"),
        BEGUN + TOKENS + event(type="error", detail="agent is down"),
    )

    assert (alone.text, alone.error) == ("", "agent is down")
    assert (after.text, after.error) == ("How many?", "agent is down")


async def test_what_breaks_off_is_kept_as_a_part_and_is_no_answer() -> None:
    refused = await refusal(BEGUN + TOKENS)

    assert (refused.fault, refused.partial) == (Fault.CONNECTION_LOST, "How many?")


async def test_an_answer_of_nothing_readable_is_unreadable() -> None:
    refused = await refusal(b"data: \xff{\n\n" * 20)

    assert refused.fault is Fault.UNREADABLE


async def test_a_meal_card_is_a_table_with_a_button_that_sends_it() -> None:
    beside = event(type="done", full_response='Here:\n___FOOD_CARD___{"items": []}___END___')

    (reply,) = await replies(BEGUN + event(type="food_card", data=MEAL) + beside)

    card = reply.card
    assert card is not None
    assert (card.kind, card.label, card.data) == ("food_card", "Yes log this meal", MEAL)
    assert card.shown == (
        "**Meal summary: breakfast**\n\n"
        "| Food | Quantity | Calories (kcal) | Protein (g) | Carbs (g) | Fat (g) | Fiber (g) |\n"
        "|---|---|---|---|---|---|---|\n"
        "| Idli (with rice, urad dal) | 2 pieces | 116 | 4.2 | 24 | 0.4 | – |\n\n"
        "Consumed at: 8:30 AM\n\n[Yes log this meal]"
    )
    command, meals = card.confirmation.split(" - ", 1)
    assert (command, json.loads(meals)) == ("update_meal & log_meal", [MEAL])
    assert reply.shown == f"Here:\n\n{card.shown}"


async def test_several_meals_are_one_card_whose_button_sends_them_all() -> None:
    (reply,) = await replies(BEGUN + event(type="food_card", data=BATCH) + DONE)

    assert reply.card is not None
    assert (reply.card.kind, reply.card.label) == ("food_card_batch", "Yes log all meals")
    assert reply.card.shown.count("**Meal summary") == 2
    assert json.loads(reply.card.confirmation.split(" - ", 1)[1]) == BATCH["sessions"]


@pytest.mark.parametrize(
    ("kind", "label", "confirmation"),
    [
        ("bp_card", "Yes log this BP reading", "yes log this bp reading"),
        ("vitals_card", "Yes, save these", "yes, save these"),
    ],
)
async def test_readings_are_confirmed_by_words(kind: str, label: str, confirmation: str) -> None:
    (reply,) = await replies(BEGUN + event(type=kind, data={"systolic": 120, "arm": "left"}) + DONE)

    assert reply.card is not None
    assert (reply.card.label, reply.card.confirmation) == (label, confirmation)
    assert reply.card.shown == f"- systolic: 120\n- arm: left\n\n[{label}]"


async def test_the_last_known_card_wins_and_unknown_ones_are_kept_by_name() -> None:
    (reply,) = await replies(
        BEGUN
        + event(type="bp_card", data={"systolic": 120})
        + event(type="step_card", data={"steps": 9})
        + event(type="food_card", data=MEAL)
        + event(type="mood", data={"is": "fine"})
        + DONE
    )

    assert reply.card is not None
    assert reply.card.kind == "food_card"
    assert reply.unsupported_cards == ("step_card", "mood")


@pytest.mark.parametrize(
    "data",
    [None, "text", [], {}, {"items": []}, {"items": "x"}, {"isBatch": True, "items": [IDLI]}],
)
async def test_a_card_with_nothing_to_confirm_is_never_confirmed(data: Any) -> None:
    (reply,) = await replies(BEGUN + event(type="food_card", data=data) + DONE)

    assert (reply.card, reply.unsupported_cards) == (None, ("food_card",))


@pytest.mark.parametrize("large", [0.9e6, CARD_LIMIT], ids=["huge", "a little too large"])
async def test_a_card_that_is_too_large_to_keep_is_never_confirmed(large: float) -> None:
    data = {"items": [{**IDLI, "name": "x" * int(large)}]}

    (reply,) = await replies(BEGUN + event(type="food_card", data=data) + DONE)

    assert (reply.card, reply.unsupported_cards) == (None, ("food_card",))


def test_the_size_of_a_card_does_not_depend_on_its_script() -> None:
    card = read_card("food_card", {"items": [{"name": "इ" * (CARD_LIMIT - 100)}]})

    assert card is not None
    assert len(card.confirmation) < CARD_LIMIT


@pytest.mark.parametrize(
    "number", ["1e300", "-1e300", "1e-300", "1" + "0" * 15, "-" + "9" * 400, "1e999", "NaN"]
)
async def test_a_card_with_a_number_that_means_nothing_is_never_confirmed(number: str) -> None:
    """Some of them would be stored digit by digit."""
    data = f'{{"items": [{{"name": "Idli", "more": [{{"kcal": {number}}}]}}]}}'

    (reply,) = await replies(
        BEGUN + f'data: {{"type": "food_card", "data": {data}}}\n\n'.encode() + DONE
    )

    assert (reply.card, reply.unsupported_cards) == (None, ("food_card",))


@pytest.mark.parametrize("number", [0, -0.0, True, 1e-15, 0.1 + 0.2, -1e14, 10**15 - 1])
def test_a_card_with_any_number_that_can_mean_something_is_known(number: float) -> None:
    assert read_card("vitals_card", {"weight": number}) is not None


async def test_a_token_that_the_bot_repeats_in_a_card_is_never_kept() -> None:
    item = {**IDLI, "name": "made-up-token", "made-up-token": ["made-up-token"]}
    food = event(type="food_card", data={**MEAL, "items": [item]})

    (reply,) = await replies(BEGUN + food + event(type="made-up-token_card", data={}) + DONE)

    assert reply.card is not None
    assert "made-up-token" not in f"{reply!r}"
    assert "| *** (with rice, urad dal) |" in reply.card.shown
    assert reply.unsupported_cards == ("***_card",)


def test_sentinels_are_stripped_with_what_they_enclose() -> None:
    text = (
        "a___MULTI_FOOD_CARD___{}___END___b___BP_CARD___\n{}\n___END___c"
        "___VITALS_CARD___{}___END___d___SESSION_STATE___{___END___}___END_SS___e"
        "___FOOD_CARD___{} never closed"
    )

    assert without_sentinels(text) == "abcde"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FOODS = st.fixed_dictionaries({}, optional={"items": JSON, "isBatch": JSON, "sessions": JSON})


@given(
    kind=st.sampled_from(["food_card", "bp_card", "vitals_card", "other"]),
    data=st.one_of(JSON, FOODS, st.dictionaries(st.sampled_from(["items", "x|y"]), JSON)),
)
def test_any_card_can_be_shown_sent_and_stored(kind: str, data: Any) -> None:
    card = read_card(kind, data)

    if card is not None:
        json.dumps(card.data, allow_nan=False)
        assert "\x00" not in card.shown + card.confirmation
        assert len(card.shown) <= TEXT_LIMIT
        assert len(json.dumps(card.data, ensure_ascii=False)) <= CARD_LIMIT


CHUNK = st.dictionaries(
    st.sampled_from(["type", "content", "full_response", "detail", "data", "session_id", "agent"]),
    st.one_of(JSON, st.sampled_from(["token", "done", "error", "classification", "food_card"])),
)


def test_arbitrary_chunks_are_an_answer_or_a_fault_of_the_line() -> None:
    faults = {Fault.UNREADABLE, Fault.CONNECTION_LOST}

    async def told(teller: Teller, answer: bytes) -> None:
        teller.will_say(answer)
        kaira = KairaV2(target(teller.url, "kaira_v2"), CREDENTIAL)
        async with aclosing(kaira), kaira.chat() as chat:
            try:
                await chat.say("hello")
            except ChatbotError as error:
                assert error.fault in faults  # noqa: PT017  both ends are good ones

    with asyncio.Runner() as runner:
        server = telling()
        teller = runner.run(server.__aenter__())

        @given(chunks=st.lists(CHUNK, max_size=8))
        def tried(chunks: list[dict[str, Any]]) -> None:
            runner.run(told(teller, b"".join(event(**chunk) for chunk in chunks)))

        try:
            tried()
        finally:
            runner.run(server.__aexit__(None, None, None))
