"""What every chatbot keeps to, whatever it speaks. A new protocol is one more line in `BOTS`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest

from evalqueue.evaluators.apps import App, load
from evalqueue.evaluators.apps.difficult_users import Webhook
from evalqueue.evaluators.chatbots.protocol import TEXT_LIMIT, Chatbot, ChatbotError, Fault, Reply
from evalqueue.evaluators.chatbots.registry import PROTOCOLS, open_chatbot
from evalqueue.evaluators.chatbots.scripted import Cue
from evalqueue.evaluators.chatbots.targets import (
    ChatbotSettings,
    Target,
    TargetRefused,
    check,
    credentials,
    scripted,
)
from evalqueue.evaluators.simulated.chatbot.server import SimulatedKaira
from evalqueue.evaluators.simulated.chatbot.simulation import ChatbotBehaviour

PATIENCE = 60.0  # seconds; the machine may be busy
TOKEN = "a-token-that-must-not-be-seen"
SETTINGS = ChatbotSettings(
    hosts="localhost",
    credentials={"one": {"user_id": "user-1", "token": TOKEN, "host": "localhost"}},
)
WEBHOOK = Webhook(
    body='{"message": "$message", "session": "$session", "user_id": "$user_id", "new": "$new"}',
    reply="/reply/text",
    session="/session",
    error="/error",
    close_path="/webhook/$session",
)
SCRIPT = (
    Cue(when="[[hang]]", fault=Fault.TIMEOUT),
    Cue(when="[[drop_mid_stream]]", fault=Fault.CONNECTION_LOST, say="half"),
    Cue(when="[[garbage]]", fault=Fault.UNREADABLE),
    Cue(when="[[too_large]]", fault=Fault.TOO_LARGE),
    Cue(when="[[http_503]]", fault=Fault.HTTP_ERROR),
    Cue(when="[[error_chunk]]", error="out of order"),
    Cue(when="[[empty]]", say=""),
    Cue(say="Hello!"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """How a protocol is spoken to the simulated bot."""

    path: str = ""
    model: str | None = None
    is_remote: bool = True


BOTS: dict[str, Bot] = {
    "kaira_v1": Bot(),
    "kaira_v2": Bot(),
    "openai": Bot(path="/v1", model="simulated"),
    "webhook": Bot(path="/webhook"),
    "scripted": Bot(is_remote=False),
}
REMOTE = [name for name, bot in BOTS.items() if bot.is_remote]
every_protocol = pytest.mark.parametrize("protocol", BOTS)
every_remote_protocol = pytest.mark.parametrize("protocol", REMOTE)


@pytest.fixture
async def server() -> AsyncIterator[SimulatedKaira]:
    async with SimulatedKaira(ChatbotBehaviour(obey_markers=True, pause_ms=1)) as kaira:
        yield kaira


def app() -> App:
    found = load("kaira-bot")
    assert found.difficult_users is not None
    return replace(found, difficult_users=replace(found.difficult_users, webhook=WEBHOOK))


def aim(protocol: str, server: SimulatedKaira, timeout_seconds: float) -> Target:
    bot = BOTS[protocol]
    if not bot.is_remote:
        return scripted(SCRIPT)
    return check(
        f"{server.url}{bot.path}",
        SETTINGS,
        protocol=protocol,
        model=bot.model,
        timeout_seconds=timeout_seconds,
        reply_seconds=PATIENCE,
    )


Open = Callable[..., Chatbot]


@pytest.fixture
async def open_bot(server: SimulatedKaira) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        def open_(protocol: str, *, timeout_seconds: float = PATIENCE) -> Chatbot:
            target = aim(protocol, server, timeout_seconds)
            own = credentials(["one"], target, SETTINGS)[0] if BOTS[protocol].is_remote else None
            bot = open_chatbot(target, own, app())
            stack.push_async_callback(bot.aclose)
            return bot

        yield open_


async def say(bot: Chatbot, *messages: str) -> list[Reply]:
    async with asyncio.timeout(PATIENCE), bot.chat() as chat:
        return [await chat.say(message) for message in messages]


async def fails(bot: Chatbot, message: str) -> ChatbotError:
    with pytest.raises(ChatbotError) as failed:
        await say(bot, message)
    error = failed.value
    assert error.message
    assert TOKEN not in f"{error!r} {error} {error.message} {error.partial} {error.__cause__!r}"
    assert len(error.partial) <= TEXT_LIMIT
    return error


def test_every_protocol_is_put_to_this_test() -> None:
    assert set(BOTS) == set(PROTOCOLS)


@every_protocol
async def test_it_is_named_as_its_protocol_and_answers(protocol: str, open_bot: Open) -> None:
    bot = open_bot(protocol)

    first, second = await say(bot, "Hello", "What did I eat?")

    assert bot.name == protocol
    assert first.text
    assert first.error is second.error is None
    assert TOKEN not in f"{bot!r} {first!r}"


@every_remote_protocol
async def test_a_reply_knows_how_long_it_took(protocol: str, open_bot: Open) -> None:
    (reply,) = await say(open_bot(protocol), "Hello")

    assert reply.duration_ms > 0
    assert reply.first_byte_ms is None or 0 < reply.first_byte_ms <= reply.duration_ms


@every_protocol
async def test_conversations_have_nothing_to_do_with_one_another(
    protocol: str, open_bot: Open, server: SimulatedKaira
) -> None:
    bot = open_bot(protocol)

    first = await say(bot, "I had 2 idli for breakfast at 8:30 am today", "Yes, log this meal")
    again = await say(bot, "I had 2 idli for breakfast at 8:30 am today", "Yes, log this meal")

    assert [reply.text for reply in first] == [reply.text for reply in again]
    assert server.stats["mixed_turns"] == 0


@every_protocol
@pytest.mark.parametrize(
    ("trouble", "faults"),
    [
        ("hang", {Fault.TIMEOUT}),
        ("drop_mid_stream", {Fault.CONNECTION_LOST, Fault.UNREADABLE}),
        ("garbage", {Fault.UNREADABLE}),
        ("too_large", {Fault.TOO_LARGE}),
        ("http_503", {Fault.HTTP_ERROR}),
    ],
)
async def test_trouble_on_the_line_is_a_fault_and_the_next_conversation_is_well(
    protocol: str, open_bot: Open, trouble: str, faults: set[Fault]
) -> None:
    bot = open_bot(protocol, timeout_seconds=2.0 if trouble == "hang" else PATIENCE)

    assert (await fails(bot, f"Hello [[{trouble}]]")).fault in faults
    (reply,) = await say(bot, "Hello")

    assert reply.text


@every_protocol
async def test_an_error_that_the_bot_reports_is_its_word_and_no_fault(
    protocol: str, open_bot: Open
) -> None:
    (reply,) = await say(open_bot(protocol), "Hello [[error_chunk]]")

    assert reply.error


@every_protocol
async def test_an_answer_that_says_nothing_is_an_answer(protocol: str, open_bot: Open) -> None:
    (reply,) = await say(open_bot(protocol), "Hello [[empty]]")

    assert (reply.shown, reply.error) == ("", None)


@every_protocol
@pytest.mark.parametrize(
    "text", ["", "é 🍎 \ud83c", "\x00", '"}\r\n\r\ndata: [DONE]', "x" * 50_000]
)
async def test_anything_may_be_said_to_it(protocol: str, open_bot: Open, text: str) -> None:
    bot = open_bot(protocol)
    try:
        (reply,) = await say(bot, text)
    except ChatbotError as error:
        assert error.fault is Fault.HTTP_ERROR  # noqa: PT017  a bot may refuse such a message
    else:
        assert "\x00" not in reply.text
        assert not any("\ud800" <= letter <= "\udfff" for letter in reply.text)


@every_remote_protocol
async def test_nobody_there_is_unreachable_until_somebody_is(
    protocol: str, open_bot: Open, server: SimulatedKaira
) -> None:
    bot = open_bot(protocol)
    await server.outage()

    assert (await fails(bot, "Hello")).fault is Fault.UNREACHABLE
    await server.restore()
    (reply,) = await say(bot, "Hello")

    assert reply.text


@every_remote_protocol
async def test_what_was_not_sent_can_be_said_again_in_the_same_conversation(
    protocol: str, open_bot: Open, server: SimulatedKaira
) -> None:
    await server.outage()
    async with asyncio.timeout(PATIENCE), open_bot(protocol).chat() as chat:
        with pytest.raises(ChatbotError):
            await chat.say("Hello")
        await server.restore()
        reply = await chat.say("Hello")

    assert reply.text
    assert server.stats["mixed_turns"] == 0


@every_remote_protocol
async def test_a_cancelled_answer_is_broken_off_at_the_bot(
    protocol: str, open_bot: Open, server: SimulatedKaira
) -> None:
    talking = asyncio.create_task(say(open_bot(protocol), "Hello [[endless]]"))
    async with asyncio.timeout(PATIENCE):
        await server.until(lambda stats: stats["open_streams"] == 1)
        talking.cancel()
        await server.until(lambda stats: stats["open_streams"] == 0)

    with pytest.raises(asyncio.CancelledError):
        await talking
    assert server.stats["aborted"] == 1


@every_protocol
async def test_it_can_be_closed_unused_and_twice(protocol: str, open_bot: Open) -> None:
    bot = open_bot(protocol)

    await bot.aclose()
    await bot.aclose()


@every_remote_protocol
def test_a_token_is_sent_nowhere_but_to_its_own_host(protocol: str) -> None:
    settings = ChatbotSettings(
        hosts="kaira.example.com, localhost",
        credentials={"one": {"user_id": "u", "token": TOKEN, "host": "localhost"}},
    )
    mine = check("http://localhost:1", settings, protocol=protocol, model="m")
    other = check("https://kaira.example.com", settings, protocol=protocol, model="m")
    (credential,) = credentials(["one"], mine, settings)

    with pytest.raises(TargetRefused, match="belongs to localhost"):
        open_chatbot(other, credential, app())


def test_an_unknown_protocol_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(TargetRefused, match="'fax'; the names are: kaira_v1, kaira_v2, openai"):
        open_chatbot(replace(scripted(()), protocol="fax"), None, app())


def test_a_webhook_must_be_described_by_the_profile() -> None:
    target = check("http://localhost:1", SETTINGS, protocol="webhook")
    found = replace(app(), difficult_users=None)

    with pytest.raises(TargetRefused, match=r"kaira-bot does not describe a webhook"):
        open_chatbot(target, None, found)
