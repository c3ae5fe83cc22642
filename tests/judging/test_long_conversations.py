"""Defined evaluators and conversations that are too long for the judge: asked through real SDKs."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from evalqueue.evaluators.apps import App, Rule
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.definitions.definition import (
    AppliesWhen,
    EvaluatorDefinition,
    JudgedUnit,
    LongConversations,
    Output,
    OutputKind,
    OutputLabel,
    TurnPart,
    Verdict,
)
from evalqueue.evaluators.judging.defined.evaluator import DefinedEvaluator
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.voting.evaluator import voted
from evalqueue.evaluators.judging.voting.panel import Panel
from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.recorder import CallRecord
from evalqueue.evaluators.providers.registry import ModelChoice, ProviderRegistry, ProviderSettings
from evalqueue.testing import Behaviour, SimulatedServer

Make = Callable[..., Any]
Labels = Mapping[int, Verdict | None]
"""What the judge says about a part, by its first turn. None: it refuses."""

AROUND = 700
"""Tokens of a question besides its transcript, at most."""
OF_A_TURN = 500
WORST, BEST, LAST, MEAN = (
    LongConversations.WORST, LongConversations.BEST, LongConversations.LAST, LongConversations.MEAN,
)  # fmt: skip
LABELS = Output(
    kind=OutputKind.CATEGORY,
    labels=tuple(OutputLabel(name=name) for name in ("FINE", "SO_SO", "BAD", "AWFUL", "NONE")),
    good=("FINE",),
    bad=("AWFUL", "BAD"),
    neutral=("NONE",),
)
ORDERED = Output(
    kind=OutputKind.CATEGORY,
    ordered=True,
    labels=tuple(OutputLabel(name=name) for name in ("A", "B", "C")),
)
TOPIC = Output(
    kind=OutputKind.CATEGORY, labels=(OutputLabel(name="bill"), OutputLabel(name="network"))
)
GRADE = Output(kind=OutputKind.NUMBER, minimum=1, maximum=5)
ERRORS = Output(kind=OutputKind.NUMBER, minimum=0, maximum=9, higher_is_better=False)
GREETS = Output(kind=OutputKind.BOOLEAN)
LEAKS = Output(kind=OutputKind.BOOLEAN, higher_is_better=False)
FOUR = (1, 8, 15, 22)
"""The first turns of the four parts of a conversation of 32 turns."""


def definition(**more: Any) -> EvaluatorDefinition:
    given: dict[str, Any] = {"name": "manners", "prompt": "Is it polite?", "output": LABELS}
    return EvaluatorDefinition(**given | more)


@dataclass(frozen=True, kw_only=True)
class Found:
    evaluation: Evaluation
    records: Sequence[CallRecord]
    stats: Any

    @property
    def row(self) -> dict[str, Any]:
        return self.evaluation.details[0]

    @property
    def parts(self) -> list[tuple[int, int]]:
        return [(each["first_turn"], each["last_turn"]) for each in self.row["parts"]]


class Records(list[CallRecord]):
    """A recorder that keeps what it is given."""

    is_ready = True

    async def ready(self) -> None: ...

    record = list[CallRecord].append


@asynccontextmanager
async def judging(
    behaviour: Behaviour, provider: str
) -> AsyncGenerator[tuple[Judge, Records, SimulatedServer]]:
    async with SimulatedServer(behaviour) as server:
        settings = ProviderSettings(
            openai_api_key="k", openai_base_url=f"{server.url}/v1",
            gemini_api_key="k", google_gemini_base_url=server.url,
        )  # fmt: skip
        registry = ProviderRegistry(settings)
        records = Records()
        model = await registry.provider(ModelChoice(provider=provider, model="m"))
        caller = LlmCaller(
            model, slots=Slots(16), recorder=records, policy=CallPolicy(max_attempts=1)
        )
        yield Judge(caller), records, server
        await registry.aclose()


@pytest.fixture
def talk(thread: Make, turn: Make) -> Callable[[int], Thread]:
    def talk(turns: int) -> Thread:
        """So many turns of about `OF_A_TURN` tokens."""
        return thread(*(turn(n, f"question {n}", "a word " * 280) for n in range(1, turns + 1)))

    return talk


@pytest.fixture
def evaluate(app: App, talk: Callable[[int], Thread]) -> Make:
    async def run(
        asked: EvaluatorDefinition,
        labels: Labels,
        *,
        turns: int | Thread = 32,
        room: int = 11,
        provider: str = "openai",
        votes: int = 1,
        panel: Panel | None = None,
        app: App = app,
    ) -> Found:
        """Evaluate so many turns with a model that reads `room` of them at once."""
        said = {
            str(first): {"evidence": [{"turn": first, "quote": f"question {first}"}],
                         "reasoning": f"of {first}", "verdict": verdict}
            for first, verdict in labels.items() if verdict is not None
        }  # fmt: skip
        # Without a label, a question is refused.
        parts = {**dict.fromkeys(map(str, range(300))), **said}
        gold = {"manners": {"thr_1": {**next(iter(said.values())), "parts": parts}}}
        behaviour = Behaviour(context_tokens=AROUND + room * OF_A_TURN, gold=gold, only_gold=True)
        evaluator = voted(DefinedEvaluator(asked, app), votes, panel=panel or Panel())
        conversation = turns if isinstance(turns, Thread) else talk(turns)
        async with judging(behaviour, provider) as (judge, records, server):
            found = await evaluator.evaluate(conversation, judge)
            return Found(evaluation=found, records=records, stats=server.simulation.stats)

    return run


@pytest.mark.parametrize("provider", ["openai", "gemini"])
@pytest.mark.parametrize(
    ("turns", "room", "parts"),
    [
        (32, 18, [(1, 18), (15, 32)]),
        (32, 11, [(1, 11), (8, 18), (15, 25), (22, 32)]),
        (32, 17, [(1, 11), (8, 18), (15, 25), (22, 32)]),
    ],
)
async def test_parts_overlap_and_cover_all_turns(
    evaluate: Make, provider: str, turns: int, room: int, parts: list[tuple[int, int]]
):
    labels = dict.fromkeys([first for first, _ in parts], "FINE")
    found = await evaluate(
        definition(long_conversations=WORST), labels, turns=turns, room=room, provider=provider
    )

    assert found.evaluation.failures == ()
    assert found.evaluation.headline == "FINE"
    assert found.parts == parts
    assert found.row["counts"] == "worst"
    assert "each part" in found.evaluation.declaration.calls
    assert found.row["reasoning"].startswith(f"Judged in {len(parts)} parts: the worst one counts.")
    answered = [each for each in found.records if each.outcome is CallOutcome.OK]
    assert len(answered) == len(parts)
    assert {each.outcome for each in found.records} == {
        CallOutcome.OK, CallOutcome.CONTEXT_TOO_LONG,
    }  # fmt: skip
    assert sum(each.usage.input_tokens or 0 for each in found.records) == found.stats["tokens_in"]


async def test_there_are_sixteen_parts_at_most(evaluate: Make):
    labels = dict.fromkeys(range(1, 65), "FINE")
    sixteen = await evaluate(definition(long_conversations=LAST), labels, turns=64, room=8)
    more = await evaluate(definition(long_conversations=LAST), labels, turns=130, room=8)

    assert len(sixteen.parts) == 16
    assert sixteen.evaluation.headline == "FINE"
    assert more.evaluation.headline is None
    (failure,) = more.evaluation.failures
    assert failure.reason is CallOutcome.CONTEXT_TOO_LONG
    assert failure.message.startswith("Turns 1 to ")
    assert len(more.records) <= 31


@pytest.mark.parametrize(
    ("output", "rule", "said", "verdict", "deciding"),
    [
        (LABELS, WORST, ["FINE", "AWFUL", "BAD", "NONE"], "AWFUL", [8]),
        (LABELS, WORST, ["FINE", "SO_SO", "FINE", "NONE"], "SO_SO", [8]),
        (LABELS, WORST, ["NONE", "FINE", "FINE", "NONE"], "FINE", [8, 15]),
        (LABELS, WORST, ["NONE"] * 4, "NONE", [*FOUR]),
        (LABELS, BEST, ["NONE", "AWFUL", "BAD", "SO_SO"], "SO_SO", [22]),
        (LABELS, BEST, ["NONE", "AWFUL", "BAD", "NONE"], "BAD", [15]),
        (LABELS, LAST, ["FINE", "FINE", "BAD", "NONE"], "BAD", [15]),
        (LABELS, LAST, ["NONE"] * 4, "NONE", [22]),
        (ORDERED, WORST, ["A", "C", "B", "A"], "C", [8]),
        (ORDERED, BEST, ["B", "C", "B", "C"], "B", [1, 15]),
        (TOPIC, LAST, ["bill", "network", "network", "bill"], "bill", [22]),
        (GREETS, WORST, [True, False, True, True], False, [8]),
        (GREETS, BEST, [False, False, True, False], True, [15]),
        (GREETS, LAST, [False, False, True, False], False, [22]),
        (LEAKS, WORST, [False, False, True, False], True, [15]),
        (LEAKS, WORST, [False] * 4, False, [*FOUR]),
        (LEAKS, BEST, [True, False, True, True], False, [8]),
        (GRADE, WORST, [4, 2, 3, 5], 2.0, [8]),
        (GRADE, BEST, [4, 2, 3, 5], 5.0, [22]),
        (GRADE, LAST, [4, 2, 3, 5], 5.0, [22]),
        (GRADE, MEAN, [4, 2, 3, 5], 3.5, [*FOUR]),
        (ERRORS, WORST, [0, 2, 7, 1], 7.0, [15]),
        (ERRORS, BEST, [3, 2, 7, 1], 1.0, [22]),
    ],
)
async def test_the_rule_says_what_the_parts_come_to(
    evaluate: Make,
    output: Output,
    rule: LongConversations,
    said: list[Verdict],
    verdict: Verdict,
    deciding: list[int],
):
    labels = dict(zip(FOUR, said, strict=True))
    found = await evaluate(definition(output=output, long_conversations=rule), labels)

    assert found.evaluation.headline == verdict
    assert type(found.evaluation.headline) is type(verdict)
    assert [each["verdict"] for each in found.row["parts"]] == said
    assert [each["turn"] for each in found.row["evidence"]] == deciding
    assert all(each["in_transcript"] for each in found.row["evidence"])
    for first, each in labels.items():
        said_by = str(each).lower() if isinstance(each, bool) else each
        assert f"{said_by}: simulated: of {first}" in found.row["reasoning"]


@pytest.mark.parametrize(
    ("name", "said", "verdict"),
    [
        ("escalation", ["NOT_NEEDED", "ESCALATED", "NOT_NEEDED", "NOT_NEEDED"], "ESCALATED"),
        ("escalation", ["ESCALATED", "UNNECESSARY", "MISSED", "NOT_NEEDED"], "MISSED"),
        ("policy_compliance", ["COMPLIANT", "VIOLATION", "COMPLIANT", "COMPLIANT"], "VIOLATION"),
        ("resolution", ["UNRESOLVED", "NO_REQUEST", "RESOLVED", "NO_REQUEST"], "RESOLVED"),
        ("resolution", ["RESOLVED", "RESOLVED", "RESOLVED", "UNRESOLVED"], "UNRESOLVED"),
        ("role_adherence", ["OUT_OF_ROLE", "IN_ROLE", "IN_ROLE", "IN_ROLE"], "OUT_OF_ROLE"),
        ("tool_use", ["CORRECT", "UNNECESSARY_CALL", "WRONG_TOOL", "CORRECT"], "WRONG_TOOL"),
        ("knowledge_retention", ["FORGOTTEN"] * 4, None),
    ],
)
async def test_each_of_the_catalogue_has_the_rule_of_its_question(
    evaluate: Make, name: str, said: list[str], verdict: str | None
):
    asked = replace(catalogue.load(name), name="manners", applies_when=AppliesWhen())
    found = await evaluate(asked, dict(zip(FOUR, said, strict=True)), room=12)

    assert found.evaluation.headline == verdict


async def test_a_mean_weighs_parts_by_their_turns(evaluate: Make, thread: Make, turn: Make):
    # The first half fits at once, the second one does not.
    turns = [turn(n, f"question {n}", "a word " * (20 if n < 17 else 280)) for n in range(1, 33)]
    found = await evaluate(
        definition(output=GRADE, long_conversations=MEAN),
        {1: 5, 15: 1, 22: 1},
        turns=thread(*turns),
    )

    assert found.parts == [(1, 18), (15, 25), (22, 32)]
    assert found.evaluation.headline == pytest.approx((18 * 5 + 11 + 11) / 40)


async def test_a_conversation_of_which_a_part_was_not_judged_has_no_verdict(evaluate: Make):
    labels = {1: "AWFUL", 8: "FINE", 15: None, 22: "FINE"}
    found = await evaluate(definition(long_conversations=WORST), labels)

    assert found.evaluation.headline is None
    assert found.evaluation.scores == ()
    (failure,) = found.evaluation.failures
    assert failure.reason is not CallOutcome.CONTEXT_TOO_LONG
    assert failure.message.startswith("Turns 15 to 25: ")


async def test_without_a_rule_it_is_not_judged_and_the_failure_says_what_to_set(evaluate: Make):
    found = await evaluate(definition(), dict.fromkeys(FOUR, "FINE"))
    short = await evaluate(definition(), {1: "FINE"}, turns=7, room=3)

    assert found.evaluation.headline is None
    (failure,) = found.evaluation.failures
    assert failure.reason is CallOutcome.CONTEXT_TOO_LONG
    assert "set long_conversations of manners." in failure.message
    assert len(found.records) == 1
    (failure,) = short.evaluation.failures
    assert "long_conversations" not in failure.message


async def test_where_the_criterion_is_what_is_too_long_no_part_helps(evaluate: Make):
    asked = definition(prompt="Is it polite? " * 3_000, long_conversations=WORST)
    found = await evaluate(asked, dict.fromkeys(range(64), "FINE"))

    (failure,) = found.evaluation.failures
    assert failure.reason is CallOutcome.CONTEXT_TOO_LONG
    assert failure.message.startswith("Turns 1 to 7: ")
    assert found.stats["tokens_in"] == 0


async def test_one_that_fits_is_asked_about_once_and_has_no_parts(evaluate: Make):
    found = await evaluate(definition(long_conversations=WORST), {1: "BAD"}, room=40)

    assert found.evaluation.headline == "BAD"
    assert len(found.records) == 1
    assert "part" not in found.records[0].prompt
    assert not {"parts", "counts"} & found.row.keys()


async def test_what_a_part_is_judged_by_is_in_its_question(
    evaluate: Make, thread: Make, turn: Make
):
    turns = [
        turn(n, f"question {n}", "a word " * 280,
             system={1: "Be kind.", 20: "Be brief."}.get(n), tools="[a tool]" if n == 1 else None)
        for n in range(1, 33)
    ]  # fmt: skip
    labels = dict.fromkeys(FOUR, "FINE")
    asked = definition(long_conversations=LAST)
    found = await evaluate(asked, labels, turns=thread(*turns))
    unseen = await evaluate(
        replace(asked, shows=(TurnPart.USER, TurnPart.BOT)), labels, turns=thread(*turns)
    )

    prompts = {
        first: each.prompt
        for each in found.records if each.outcome is CallOutcome.OK
        for first in FOUR if f"turns {first} to" in each.prompt
    }  # fmt: skip
    assert "Shown is a part: turns 8 to 18 of 32." in prompts[8]
    assert "as it stands at the end of this part." in prompts[8]
    assert "Judge this part of the conversation." in prompts[8]
    assert ["Be kind." in prompts[first] for first in FOUR] == [True, True, True, False]
    assert ["Be brief." in prompts[first] for first in FOUR] == [False, False, True, True]
    assert all("[a tool]" in each for each in prompts.values())
    assert not any("Be kind." in each.prompt for each in unseen.records)


async def test_of_rules_the_most_severe_finding_of_all_parts_counts(evaluate: Make, app: App):
    rule = Rule(rule_id="no_address", section="s", text="No address.", scopes=("manners",))
    found = await evaluate(
        definition(long_conversations=WORST),
        dict.fromkeys(FOUR, "FINE"),
        app=replace(app, rules=(*app.rules, rule)),
    )

    (row,) = found.row["rule_compliance"]
    assert row["rule_id"] == "no_address"
    assert len(found.parts) == 4


async def test_votes_are_counted_for_each_part(evaluate: Make):
    labels = {1: "FINE", 8: "BAD", 15: "FINE", 22: "FINE"}
    found = await evaluate(definition(long_conversations=WORST), labels, votes=3)

    assert found.evaluation.headline == "BAD"
    assert len(found.parts) == 4
    outcomes = [each.outcome for each in found.records]
    assert outcomes.count(CallOutcome.OK) == 4 * 3
    assert outcomes.count(CallOutcome.CONTEXT_TOO_LONG) == 3 * 3
    scores = {each.name: each.value for each in found.evaluation.scores}
    assert (scores["vote_agreement"], scores["vote_flip_rate"]) == (1, 0)


@pytest.mark.parametrize(("characters", "earlier"), [(280, 4), (1_000, 2), (2_000, 1), (4_000, 0)])
async def test_before_an_answer_fewer_turns_are_shown_if_they_are_too_long(
    app: App, thread: Make, turn: Make, characters: int, earlier: int
):
    turns = [
        turn(n, f"question {n}", "a word " * (characters if n < 9 else 10),
             system="Be kind." if n == 1 else None)
        for n in range(1, 10)
    ]  # fmt: skip
    asked = definition(scope=JudgedUnit.TURN)
    gold = {"manners": {"thr_1": {"9": {"evidence": [], "reasoning": "so", "verdict": "FINE"}}}}
    behaviour = Behaviour(context_tokens=5_000, gold=gold, only_gold=True)
    async with judging(behaviour, "openai") as (judge, records, _):
        found = await DefinedEvaluator(asked, app).evaluate(thread(*turns), judge)
    row = next(each for each in found.details if each["turn"] == 9)

    assert row["verdict"] == "FINE"
    assert row.get("earlier_turns", 4) == earlier
    (record,) = (each for each in records if each.site.turn == 9 and each.outcome is CallOutcome.OK)
    assert [n for n in range(1, 9) if f"question {n}" in record.prompt] == [*range(9 - earlier, 9)]
    assert "Be kind." in record.prompt
