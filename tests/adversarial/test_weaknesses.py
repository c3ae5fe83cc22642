"""Adversarial tests find every weakness of the simulated bot, and nothing else.

Only the language model is simulated: cases are generated, users talk over HTTP through the clients
of the protocols, and judges are called through the vendor's SDK. Generator, user and judge read
prompts only, so they do not know which weakness is enabled.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial.adjudication import Adjudicator, CaseResult
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.cases.generation import generate
from evalqueue.evaluators.adversarial.cases.slots import spread
from evalqueue.evaluators.adversarial.dialogue import Exchange, Limits, converse
from evalqueue.evaluators.adversarial.simulated_user import UserSimulator
from evalqueue.evaluators.chatbots import registry, targets
from evalqueue.evaluators.chatbots.targets import ChatbotSettings, Credential
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderRegistry,
    ProviderSettings,
)
from evalqueue.evaluators.simulated.chatbot.bot import RULE_OF, Weakness
from evalqueue.evaluators.simulated.chatbot.server import SimulatedKaira
from evalqueue.evaluators.simulated.chatbot.simulation import ChatbotBehaviour
from evalqueue.evaluators.simulated.vendor.server import SimulatedServer
from evalqueue.evaluators.verdicts import AdversarialVerdict

APP = apps.load("kaira-bot")
PROTOCOLS = ("kaira_v1", "kaira_v2")
CONCURRENT_USERS = 4  # users of the bot, each in one conversation at a time
FAILING = {AdversarialVerdict.SOFT_FAIL, AdversarialVerdict.HARD_FAIL, AdversarialVerdict.CRITICAL}

CASES_FOR: dict[Weakness, dict[str, Any]] = {
    Weakness.ACCEPTS_FUTURE_TIMES: {"traits": ["future_time_rejection"]},
    Weakness.MERGES_MEALS: {"traits": ["multi_meal_single_message"]},
    Weakness.ASSUMES_QUANTITY: {"traits": ["quantity_ambiguity"], "goals": ["meal_logged"]},
    Weakness.ASSUMES_TIME: {"traits": ["quantity_ambiguity"], "goals": ["meal_logged"]},
    Weakness.GUESSES_FOOD: {"traits": ["contextual_without_context"], "goals": ["meal_logged"]},
    Weakness.SPLITS_DISHES: {"traits": ["composite_dish"]},
    Weakness.FORGETS_CORRECTIONS: {"traits": ["correction_contradiction"]},
    Weakness.REFUSES_LATE_EDITS: {"traits": ["edit_after_confirmation"]},
    Weakness.OMITS_CHIPS: {"traits": ["composite_dish"]},
    Weakness.LOGS_UNCONFIRMED: {"traits": ["composite_dish"]},
    Weakness.DEFLECTS_QUESTIONS: {"goals": ["question_answered"]},
    Weakness.LEAKS_PROMPT: {"tactics": ["system_disclosure"]},
    Weakness.OBEYS_INJECTIONS: {"tactics": ["prompt_override"]},
    Weakness.LEAKS_RECORDS: {"tactics": ["data_exfil"]},
    Weakness.ANSWERS_SQL: {"tactics": ["sql_syntax_select"]},
    Weakness.MIRRORS_ABUSE: {"personas": ["crack"]},
    Weakness.SHOWS_ERRORS: {"goals": ["question_answered"]},
    Weakness.ANSWERS_NOTHING: {"goals": ["question_answered"]},
}
"""The cases in which each weakness shows."""


@dataclass(slots=True)
class Recorder:
    """Records exchanges in memory."""

    exchanges: list[Exchange] = field(default_factory=list)

    async def record(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


@pytest.fixture
async def judge() -> AsyncGenerator[Judge]:
    """A judge that calls the simulated vendor as it calls any other vendor."""
    async with SimulatedServer() as vendor, aclosing(_Closing(vendor.url)) as closing:
        provider = await closing.providers.provider(
            ModelChoice(provider="simulated", model="simulated-judge")
        )
        yield Judge(
            LlmCaller(provider, slots=Slots(16), recorder=NoRecorder(), policy=CallPolicy())
        )


class _Closing:
    """A catalogue, for `aclosing`."""

    def __init__(self, url: str) -> None:
        self.providers = ProviderRegistry(ProviderSettings(evalqueue_simulated_url=url))

    async def aclose(self) -> None:
        await self.providers.aclose()


class NoRecorder:
    """Records nothing."""

    is_ready = True

    async def ready(self) -> None: ...

    def record(self, call: object) -> None:
        """Do nothing."""


async def cases(judge: Judge, count: int, **selection: Any) -> list[Case]:
    assert APP.difficult_users is not None
    slots = spread(APP.difficult_users, count, **selection)
    return await generate(APP, slots, judge)


async def run_cases(
    cases: Sequence[Case], judge: Judge, protocol: str, *weaknesses: Weakness
) -> list[CaseResult]:
    """Run cases against a bot with these weaknesses."""
    assert APP.difficult_users is not None
    simulator = UserSimulator(APP, APP.difficult_users)
    adjudicator = Adjudicator(APP, APP.difficult_users)
    waiting = list(cases)
    found: list[CaseResult] = []
    async with AsyncExitStack() as stack:
        bot = SimulatedKaira(ChatbotBehaviour(weaknesses=frozenset(weaknesses)))
        await stack.enter_async_context(bot)
        settings = ChatbotSettings()
        target = targets.check(bot.url, settings, protocol=protocol)

        async def talk(user: str) -> None:
            token = SecretStr(f"token-of-{user}")
            credential = Credential(name=user, user_id=user, token=token, host="localhost")
            chatbot = registry.open_chatbot(target, credential, APP)
            stack.push_async_callback(chatbot.aclose)
            while waiting:
                case = waiting.pop()
                dialogue = await converse(
                    case, key=f"{case.case_id}/1", chatbot=chatbot, simulator=simulator,
                    judge=judge, limits=Limits(turn_delay_seconds=0), recorder=Recorder(),
                )  # fmt: skip
                key = f"{case.case_id}/1"
                found.append(await adjudicator.judged(case, 1, dialogue, key=key, judge=judge))

        async with asyncio.TaskGroup() as group:
            for number in range(CONCURRENT_USERS):
                group.create_task(talk(f"user-{number}"))
        assert bot.stats["max_parallel_per_user"] == 1
        assert bot.stats["mixed_turns"] == 0
    return found


def violated(result: CaseResult) -> set[str]:
    compliance = (result.result["judge"] or {"rule_compliance": []})["rule_compliance"]
    return {each["rule_id"] for each in compliance if each["status"] == "VIOLATED"}


def shown(result: CaseResult) -> str:
    """A case result as text, for the message of a failed assertion."""
    lines = [
        f"{each['message']['text']!r} -> {(each['reply'] or {}).get('text')!r}"
        for each in result.result["transcript"]
    ]
    about = (result.case.category, result.case.persona, result.verdict, result.error)
    return "\n".join([str(about), *sorted(violated(result)), str(result.result["derived"]), *lines])


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_bot_without_weaknesses_passes_every_case(judge: Judge, protocol: str) -> None:
    all_personas = {"personas": ["easy", "medium", "hard", "crack", "moriarty"]}
    found = await run_cases(await cases(judge, 40, **all_personas), judge, protocol)

    assert len(found) == 40
    for result in found:
        assert result.verdict is AdversarialVerdict.PASS, shown(result)
        assert violated(result) == set(), shown(result)
        assert result.result["derived"]["contradictions"] == [], shown(result)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("weakness", Weakness)
async def test_a_weakness_is_found_and_no_other_is_blamed(
    judge: Judge, weakness: Weakness, protocol: str
) -> None:
    found = await run_cases(await cases(judge, 4, **CASES_FOR[weakness]), judge, protocol, weakness)

    caught = [each for each in found if RULE_OF[weakness] in violated(each)]
    assert caught, "\n\n".join(map(shown, found))
    assert any(each.verdict in FAILING for each in caught), "\n\n".join(map(shown, found))
    for result in found:
        assert result.verdict is not None, shown(result)
        others = set(RULE_OF.values()) - {RULE_OF[weakness]}
        assert violated(result) & others == set(), shown(result)
