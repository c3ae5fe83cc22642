"""The simulated Kaira over real connections: its protocols, sessions, faults and counts."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from kaira_lines import CREDENTIAL, target
from pydantic import SecretStr

from evalqueue.evaluators.apps.difficult_users import Webhook
from evalqueue.evaluators.chatbots.protocol import Chatbot, ChatbotError, Reply
from evalqueue.evaluators.chatbots.protocol import Fault as ClientFault
from evalqueue.evaluators.chatbots.protocols.kaira.v1 import KairaV1
from evalqueue.evaluators.chatbots.protocols.kaira.v2 import KairaV2
from evalqueue.evaluators.chatbots.protocols.openai_compatible import OpenAICompatible
from evalqueue.evaluators.chatbots.protocols.webhook import WebhookChatbot
from evalqueue.evaluators.chatbots.targets import Credential
from evalqueue.evaluators.simulated import loopback
from evalqueue.evaluators.simulated.chatbot.bot import Weakness
from evalqueue.evaluators.simulated.chatbot.faults import SimulatedFault
from evalqueue.evaluators.simulated.chatbot.server import SimulatedKaira
from evalqueue.evaluators.simulated.chatbot.simulation import BAD_TOKEN, ChatbotBehaviour

NOON = datetime(2026, 1, 5, 14, 0, tzinfo=ZoneInfo("Asia/Kolkata"))
HOOK = Webhook(
    body='{"message": "$message", "session": "$session", "user_id": "$user_id", "new": "$new"}',
    reply="/reply/text",
    session="/session",
    error="/error",
    close_path="/webhook/$session",
)
MEAL = "I had 2 idli for breakfast at 8:30 am today"


def kaira(**behaviour: Any) -> SimulatedKaira:
    return SimulatedKaira(ChatbotBehaviour(now=lambda: NOON, pause_ms=1, **behaviour))


def client(
    protocol: str, url: str, *, credential: Credential = CREDENTIAL, **options: Any
) -> Chatbot:
    match protocol:
        case "kaira_v1":
            return KairaV1(target(url, protocol, **options), credential)
        case "kaira_v2":
            return KairaV2(target(url, protocol, **options), credential)
        case "openai":
            to = target(f"{url}/v1", protocol, model="kaira", **options)
            return OpenAICompatible(to, credential)
        case _:
            return WebhookChatbot(HOOK, target(f"{url}/webhook", protocol, **options), credential)


async def conversation(bot: Chatbot, *messages: str) -> list[Reply]:
    async with aclosing(bot), bot.chat() as chat:
        return [await chat.say(message) for message in messages]


PROTOCOLS = ["kaira_v1", "kaira_v2", "openai", "webhook"]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@every_protocol
async def test_a_meal_is_described_shown_and_logged(protocol: str) -> None:
    async with kaira() as server:
        shown, logged = await conversation(client(protocol, server.url), MEAL, "Yes, log this meal")

    assert "Idli" in shown.shown
    assert "Consumed at" in shown.shown
    assert "Successfully logged" in logged.text
    assert shown.error is logged.error is None


async def test_version_1_shows_chips_and_version_2_a_card_that_its_button_logs() -> None:
    async with kaira() as server:
        (first,) = await conversation(client("kaira_v1", server.url), MEAL)
        bot = client("kaira_v2", server.url)
        async with aclosing(bot), bot.chat() as chat:
            second = await chat.say(MEAL)
            assert second.card is not None
            logged = await chat.say(second.card.confirmation)

    assert '<button id="confirm_log">' in first.text
    assert first.card is None
    assert first.intents == second.intents == ("FoodAgent",)
    assert "confirm_log" not in second.shown
    assert "___" not in second.shown
    assert "| Idli | 2 " in second.card.shown
    assert second.card.data["consumed_at"] == "2026-01-05T08:30:00+05:30"
    assert "Successfully logged" in logged.text


async def test_several_meals_are_one_card_with_both() -> None:
    several = "I had 2 idli at 8 am for breakfast and 1 bowl dal at 1 pm for lunch"

    async with kaira() as server:
        (shown,) = await conversation(client("kaira_v2", server.url), several)

    assert shown.card is not None
    assert (shown.card.kind, len(shown.card.data["sessions"])) == ("food_card_batch", 2)


async def test_a_bot_that_omits_chips_shows_no_card_either() -> None:
    async with kaira(weaknesses=frozenset({Weakness.OMITS_CHIPS})) as server:
        (first,) = await conversation(client("kaira_v1", server.url), MEAL)
        (second,) = await conversation(client("kaira_v2", server.url), MEAL)

    assert "confirm_log" not in first.text
    assert second.card is None
    assert "Consumed at" in second.text


@every_protocol
async def test_a_bad_token_is_refused(protocol: str) -> None:
    bad = replace(CREDENTIAL, token=SecretStr(BAD_TOKEN))
    async with kaira() as server:
        with pytest.raises(ChatbotError, match="401") as refused:
            await conversation(client(protocol, server.url, credential=bad), "hello")
    assert refused.value.fault is ClientFault.HTTP_ERROR


async def test_only_the_tokens_given_are_accepted_if_there_are_any() -> None:
    async with kaira(tokens=frozenset({"another-token"})) as server:
        with pytest.raises(ChatbotError, match="401"):
            await conversation(client("kaira_v1", server.url), "hello")


async def test_two_conversations_of_one_user_are_mixed_up_and_that_is_counted() -> None:
    """As with the real one; two clients, since one of ours would wait."""
    async with kaira() as server:
        first, second = client("kaira_v2", server.url), client("kaira_v2", server.url)
        async with aclosing(first), aclosing(second), first.chat() as one, second.chat() as two:
            await one.say("I had 2 idli for breakfast")
            await two.say("I had 1 bowl dal")
            mixed = await one.say("at 8:30 am today")
        stats = server.stats

    assert "Dal" in mixed.shown
    assert "Idli" not in mixed.shown
    assert (stats["sessions"], stats["active"], stats["mixed_turns"]) == (2, 1, 1)


async def test_a_user_who_says_two_things_at_once_is_seen() -> None:
    async with kaira(obey_markers=True) as server:
        first, second = client("kaira_v1", server.url), client("kaira_v1", server.url)
        async with aclosing(first), aclosing(second), first.chat() as one, second.chat() as two:
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(one.say("[[hang]]"))
                await server.until(lambda stats: stats["open_streams"] == 1)
                await two.say("hello")
                waiting.cancel()
            await server.until(lambda stats: stats["open_streams"] == 0)
        stats = server.stats

    assert stats["max_parallel_per_user"] == 2
    assert stats["aborted"] == 1


async def test_two_users_talk_concurrently_and_neither_overlaps_its_own_turns() -> None:
    credentials = [replace(CREDENTIAL, name=name, user_id=name) for name in ("one", "two")]

    async def talk_as(server: SimulatedKaira, credential: Credential) -> None:
        bot = client("kaira_v2", server.url, credential=credential)
        async with aclosing(bot):
            for _ in range(3):
                async with bot.chat() as chat:
                    await chat.say("I had 2 idli")
                    await chat.say("at 8:30 am today")

    async with kaira(latency_ms=20) as server, asyncio.TaskGroup() as group:
        for credential in credentials:
            group.create_task(talk_as(server, credential))
        await server.until(lambda stats: sum(map(len, stats["turns"].values())) == 12)
        stats = server.stats

    one, two = (stats["turns"][name] for name in ("one", "two"))
    for turns in (one, two):
        assert all(a["end"] <= b["start"] for a, b in pairwise(turns))
        assert len({turn["session"] for turn in turns}) == 3
    assert one[0]["start"] < two[-1]["end"]
    assert two[0]["start"] < one[-1]["end"]
    assert (stats["max_parallel_per_user"], stats["mixed_turns"]) == (1, 0)
    assert stats["by_status"] == {"200": 12}


FATAL = {
    SimulatedFault.HANG: ClientFault.TIMEOUT,
    SimulatedFault.DROP_MID_STREAM: ClientFault.CONNECTION_LOST,
    SimulatedFault.HTTP_500: ClientFault.HTTP_ERROR,
    SimulatedFault.HTTP_503: ClientFault.HTTP_ERROR,
    SimulatedFault.TOO_LARGE: ClientFault.TOO_LARGE,
    SimulatedFault.ENDLESS: ClientFault.TIMEOUT,
    SimulatedFault.GARBAGE: ClientFault.UNREADABLE,
}


@every_protocol
async def test_a_fault_of_the_connection_is_no_answer(protocol: str) -> None:
    brief = {"timeout_seconds": 1.0, "reply_seconds": 2.0}
    patient = {"timeout_seconds": 30.0, "reply_seconds": 60.0}
    async with kaira(obey_markers=True) as server:
        async with asyncio.TaskGroup() as group:
            talks = {
                fault: group.create_task(
                    faulty(conversation(client(protocol, server.url, **options), f"[[{fault}]]"))
                )
                for fault, expected in FATAL.items()
                for options in [brief if expected is ClientFault.TIMEOUT else patient]
            }
        await server.until(lambda stats: stats["open_streams"] == 0)

    assert {fault: talk.result() for fault, talk in talks.items()} == FATAL


@every_protocol
async def test_an_answer_is_an_answer_however_it_comes(protocol: str) -> None:
    async with kaira(obey_markers=True) as server:
        for fault in (SimulatedFault.SLOW_TOKENS, SimulatedFault.KEEP_ALIVES):
            (reply,) = await conversation(client(protocol, server.url), f"{MEAL} [[{fault}]]")
            assert "Idli" in reply.shown


@every_protocol
async def test_an_empty_answer_is_an_answer_of_the_bot(protocol: str) -> None:
    async with kaira(obey_markers=True) as server:
        (reply,) = await conversation(client(protocol, server.url), "hello [[empty]]")

    assert (reply.shown, reply.error) == ("", None)


@pytest.mark.parametrize("protocol", ["kaira_v1", "kaira_v2", "webhook"])
async def test_an_error_that_the_bot_reports_is_an_answer_of_the_bot(protocol: str) -> None:
    async with kaira(obey_markers=True) as server:
        (reply,) = await conversation(client(protocol, server.url), "hello [[error_chunk]]")

    assert (reply.shown, reply.error) == ("", "The upstream agent did not answer.")


async def test_what_had_come_of_a_broken_answer_is_kept() -> None:
    async with kaira(obey_markers=True) as server:
        with pytest.raises(ChatbotError) as refused:
            await conversation(client("kaira_v2", server.url), f"{MEAL} [[drop_mid_stream]]")

    assert refused.value.partial


async def test_markers_mean_nothing_unless_they_are_obeyed() -> None:
    async with kaira() as server:
        (reply,) = await conversation(client("kaira_v1", server.url), "hello [[http_500]]")

    assert reply.text


async def test_faults_come_in_the_stated_share_and_again_with_the_same_seed() -> None:
    async def statuses(seed: int) -> list[str]:
        async with kaira(
            faults={SimulatedFault.HTTP_500: 0.2, SimulatedFault.EMPTY: 0.2}, seed=seed
        ) as server:
            found: list[str] = []
            bot = client("kaira_v1", server.url)
            async with aclosing(bot):
                for _ in range(100):
                    async with bot.chat() as chat:
                        try:
                            reply = await chat.say("hello")
                            found.append("answer" if reply.text else "empty")
                        except ChatbotError as error:
                            found.append(str(error.status))
            return found

    first, again, other = await statuses(1), await statuses(1), await statuses(2)

    assert first == again != other
    assert 5 < first.count("500") < 40
    assert 5 < first.count("empty") < 40


async def test_an_outage_cuts_answers_off_and_refuses_new_ones_until_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopback, "GRACE_SECONDS", 600)
    async with kaira(obey_markers=True) as server:
        bot = client("kaira_v2", server.url)
        async with aclosing(bot), bot.chat() as chat:
            await chat.say("I had 2 idli")
            async with asyncio.TaskGroup() as group:
                cut = group.create_task(faulty(chat.say("so [[endless]]")))
                await server.until(lambda stats: stats["by_status"].get("200") == 2)
                async with asyncio.timeout(60):  # less than it would wait for answers to end
                    await server.outage()
            unreachable = await faulty(chat.say("at 8:30 am today"))
            await server.restore()
            shown = await chat.say("at 8:30 am today")

    assert cut.result() is ClientFault.CONNECTION_LOST
    assert unreachable is ClientFault.UNREACHABLE
    assert "Idli" in shown.shown


async def faulty(saying: Any) -> ClientFault:
    with pytest.raises(ChatbotError) as refused:
        await saying
    return refused.value.fault


@every_protocol
async def test_a_conversation_that_is_cancelled_breaks_off_at_the_bot(protocol: str) -> None:
    async with kaira(obey_markers=True) as server, asyncio.TaskGroup() as group:
        talking = group.create_task(
            conversation(client(protocol, server.url), "hello", "so [[endless]]")
        )
        await server.until(lambda stats: stats["by_status"].get("200") == 2)
        talking.cancel()
        await server.until(lambda stats: stats["open_streams"] == 0 and stats["aborted"] == 1)
        if protocol == "webhook":
            await server.until(lambda stats: stats["active"] == 0)


V1 = {"query": "hi", "user_id": "u"}
V2 = {"user_id": "u", "message": "hi", "timezone": "Asia/Kolkata"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/stream", {"query": "hi"}, 422),
        ("/chat/stream", {**V1, "session_id": "no thread", "end_session": False}, 422),
        ("/api/chat", {**V2, "new_session": False}, 422),
        ("/api/chat", {**V2, "new_session": False, "session_id": "never-was"}, 404),
        ("/api/chat", {**V2, "new_session": True, "image_id": "never-was"}, 422),
        ("/webhook", {"user_id": "u", "message": "hi", "new": False}, 422),
        ("/v1/chat/completions", {"model": "m", "messages": []}, 422),
    ],
)
async def test_what_is_against_a_protocol_is_refused(
    path: str, body: Mapping[str, Any], status: int
) -> None:
    async with kaira() as server, httpx.AsyncClient(timeout=60, trust_env=False) as http:
        refused = await http.post(f"{server.url}{path}", json=body, headers={"token": "t"})

    assert refused.status_code == status
    assert refused.json()["detail"]


async def test_an_image_can_be_sent_once() -> None:
    message = {"user_id": "u", "message": "lunch", "new_session": True, "timezone": "Asia/Kolkata"}
    headers = {"token": "t"}
    async with (
        kaira() as server,
        httpx.AsyncClient(timeout=60, trust_env=False, headers=headers) as http,
    ):
        chat, upload = f"{server.url}/api/chat", f"{server.url}/api/upload-image"
        image = (await http.post(upload, files={"file": ("a.jpg", b"...")})).json()
        first = await http.post(chat, json={**message, **image})
        second = await http.post(chat, json={**message, **image})
        wrong = await http.post(upload, files={"photo": ("a.jpg", b"...")})
        refused = await http.post(upload, headers={"token": BAD_TOKEN})

    assert json.loads(first.text.splitlines()[0][6:])["source"] == "vision"
    assert [second.status_code, wrong.status_code, refused.status_code] == [422, 422, 401]


async def test_a_webhook_session_ends_when_it_is_deleted() -> None:
    async with kaira() as server, httpx.AsyncClient(timeout=60, trust_env=False) as http:
        await conversation(client("webhook", server.url), "hello")
        await server.until(lambda stats: stats["active"] == 0)
        again = await http.delete(f"{server.url}/webhook/simulated-1", headers={"token": "t"})
        refused = await http.delete(f"{server.url}/webhook/simulated-1")

    assert [again.status_code, refused.status_code] == [404, 401]


async def test_a_clock_says_what_is_in_the_future() -> None:
    moment = [NOON]

    def now() -> datetime:
        return moment[0]

    async with SimulatedKaira(ChatbotBehaviour(now=now)) as server:
        bot = client("kaira_v2", server.url)
        (early,) = await conversation(bot, "I had 2 idli at 3 pm today")
        moment[0] = NOON + timedelta(hours=4)
        (late,) = await conversation(bot, "I had 2 idli at 3 pm today")

    assert early.card is None
    assert late.card is not None


@pytest.fixture
def program() -> Callable[..., "subprocess.Popen[str]"]:
    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            "-m",
            "evalqueue.evaluators.simulated.chatbot.server",
            *arguments,
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


async def test_it_runs_as_a_program(program: Callable[..., "subprocess.Popen[str]"]) -> None:
    with program(
        "--port", "0", "--weakness", "omits_chips", "--fault", "http_503=0", "--obey-markers"
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        (shown,) = await conversation(
            client("kaira_v2", address), "I had 2 idli at 8:30 am yesterday"
        )
        dropped = await faulty(conversation(client("kaira_v1", address), "[[drop_mid_stream]]"))
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            stats = (await http.get(f"{address}/stats")).json()
        process.terminate()
        _, complaints = process.communicate()

    assert "Idli" in shown.text
    assert shown.card is None
    assert dropped is ClientFault.CONNECTION_LOST
    assert stats["by_status"] == {"200": 2}
    assert complaints == ""


def test_a_fault_that_does_not_exist_is_refused_with_those_that_do(
    program: Callable[..., "subprocess.Popen[str]"],
) -> None:
    with program("--fault", "nonsense") as process:
        _, complaints = process.communicate()

    assert process.returncode == 2
    assert "'nonsense' is neither" in complaints
    assert "drop_mid_stream" in complaints
