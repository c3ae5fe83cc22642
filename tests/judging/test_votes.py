"""Votes: who wins, ties, abstentions, agreement, panels; and votes of every evaluator."""

import statistics
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_calls import ScriptedCalls, scripted_calls

from evalqueue.evaluators import apps
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.definitions.definition import (
    EvaluatorDefinition,
    JudgeParameters,
    Output,
    OutputKind,
)
from evalqueue.evaluators.formats.whole_file import read_threads
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.defined.evaluator import evaluator_type
from evalqueue.evaluators.judging.evaluator import Evaluation, Evaluator
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.judging.threads import score_rows
from evalqueue.evaluators.judging.voting.counting import Ballot, Vote, flip_rate, mean_agreement
from evalqueue.evaluators.judging.voting.evaluator import voted
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.openai import OpenAIProvider
from evalqueue.evaluators.providers.provider import CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite, question_hash, request_hash
from evalqueue.evaluators.simulated.conversations import kaira_csv

APP = apps.load("kaira-bot")
TIMEOUT = ProviderError(CallOutcome.TIMEOUT, "no answer in time")


def ballot(*cast: Any, asked: int | None = None) -> Ballot:
    failed = 0 if asked is None else asked - len(cast)
    return Ballot(votes=tuple(Vote(value=each) for each in (*cast, *[None] * failed)))


def weighed(*votes: tuple[Any, str]) -> Ballot:
    return Ballot(votes=tuple(Vote(value=value, weight=Decimal(w)) for value, w in votes))


@pytest.mark.parametrize(
    ("votes", "decision"),
    [
        (ballot("PASS", "PASS", "FAIL"), "PASS"),
        (ballot("PASS", "FAIL"), None),
        (ballot("A", "B", "C"), None),
        (ballot("A", "A", "B", "C"), None),  # the most, and not more than half
        (ballot("A", "A", asked=3), "A"),
        (ballot("A", asked=3), None),  # one of three is no quorum
        (ballot("A", asked=2), None),
        (ballot(asked=3), None),
        (ballot(True, False, False), False),
        (ballot(1.0, 2.0, 5.0), 2.0),
        (ballot(1.0, 2.0), 1.5),
        (ballot(4.0, asked=3), None),
    ],
)
def test_more_than_half_of_the_votes_cast_win(votes: Ballot, decision: Any) -> None:
    assert votes.decision == decision
    assert type(votes.decision) is type(decision)


@pytest.mark.parametrize(
    ("votes", "decision"),
    [
        (weighed(("A", "2.5"), ("B", "1"), ("B", "1")), "A"),
        (weighed(("A", "2"), ("B", "1"), ("B", "1")), None),  # a tie
        (weighed(("A", "0.3"), ("B", "0.1"), ("B", "0.2")), None),  # a tie, whatever floats say
        (weighed(("A", "2"), ("B", "1.5"), ("C", "1")), None),  # the most, and not more than half
        (weighed(("A", "2"), (None, "1"), (None, "0.9")), "A"),
        (weighed(("A", "1"), ("A", "1"), (None, "2")), None),  # half of the weight is no quorum
        (weighed(("A", "1"), ("A", "1"), (None, "5")), None),
        (weighed((False, "1"), (True, "1.1")), True),
        (weighed((1.0, "1"), (2.0, "1"), (9.0, "3")), 9.0),
        (weighed((1.0, "1"), (2.0, "1"), (9.0, "2")), 5.5),
        (weighed((9.0, "0.2"), (1.0, "0.1"), (2.0, "0.1")), 5.5),
        (weighed((1.0, "1"), (2.0, "1.5"), (9.0, "2")), 2.0),
        (weighed((1.0, "1"), (None, "1")), None),
    ],
)
def test_votes_count_with_their_weights(votes: Ballot, decision: Any) -> None:
    assert votes.decision == decision
    assert type(votes.decision) is type(decision)


def counted_without_weights(cast: Sequence[Any], asked: int) -> Any:
    if len(cast) * 2 <= asked:
        return None
    if isinstance(cast[0], float):
        return statistics.median(cast)
    value, times = Counter(cast).most_common(1)[0]
    return value if times * 2 > len(cast) else None


LABELS, NUMBERS = st.sampled_from(["A", "B", "C"]), st.floats(0, 10)


@given(
    cast=st.one_of(*(st.lists(each, max_size=9) for each in (LABELS, NUMBERS, st.booleans()))),
    failed=st.integers(0, 5),
    weight=st.decimals("0.000001", 1000, places=6),
)
def test_equal_weights_count_as_votes_without_weights(
    cast: list[Any], failed: int, weight: Decimal
) -> None:
    votes = [*((each, str(weight)) for each in cast), *[(None, str(weight))] * failed]

    assert weighed(*votes).decision == counted_without_weights(cast, len(votes))


@pytest.mark.parametrize(
    ("counts", "agreement"),
    [
        ((0, 0, 0, 0, 14), 1.0),
        ((0, 2, 6, 4, 2), 0.253),
        ((0, 0, 3, 5, 6), 0.308),
        ((0, 3, 9, 2, 0), 0.440),
        ((2, 2, 8, 1, 1), 0.330),
        ((7, 7, 0, 0, 0), 0.462),
        ((3, 2, 6, 3, 0), 0.242),
        ((2, 5, 3, 2, 2), 0.176),
        ((6, 5, 2, 1, 0), 0.286),
        ((0, 2, 2, 3, 7), 0.286),
    ],
)
def test_agreement_is_that_of_the_published_example(
    counts: Sequence[int], agreement: float
) -> None:
    """Fleiss' example of 14 raters and 10 subjects, as in the article on Fleiss' kappa."""
    cast = tuple(f"category {n}" for n, times in enumerate(counts) for _ in range(times))

    assert ballot(*cast).agreement == pytest.approx(agreement, abs=0.0005)


def test_a_question_without_two_votes_says_nothing_about_agreement() -> None:
    single = ballot("A", asked=3)

    assert single.agreement is None
    assert mean_agreement([single]) is None
    assert flip_rate([single]) is None
    assert mean_agreement([single, ballot("A", "B")]) == 0
    assert flip_rate([single, ballot("A", "A"), ballot("A", "B")]) == 0.5


THREAD = read_threads(kaira_csv())[0]


def efficiency(verdict: str, reasoning: str = "so it is") -> dict[str, Any]:
    return {
        "evidence": [], "thread_type": APP.thread_types[0].name, "friction_turns": [],
        "rule_compliance": [], "recovery_quality": "NOT_NEEDED", "incomplete_reason": None,
        "failure_reason": None, "reasoning": reasoning, "task_completed": True,
        "verdict": verdict,
    }  # fmt: skip


def made(name: str, votes: int) -> Evaluator:
    (evaluator,) = registry.make(EvaluationPlan(app=APP, evaluators=(name,), votes={name: votes}))
    return evaluator


async def evaluated(evaluator: Evaluator, calls: ScriptedCalls) -> Evaluation:
    return await evaluator.evaluate(THREAD, Judge(calls))


def values(evaluation: Evaluation) -> dict[str, Any]:
    rows = score_rows(evaluation)
    return {row.name: row.failure or row.value for row in rows if row.turn is None}


async def test_the_majority_decides_and_gives_its_reasons() -> None:
    calls = scripted_calls(
        efficiency("BROKEN", "wrong"), efficiency("EFFICIENT", "first of the majority"),
        efficiency("EFFICIENT", "second"),
    )  # fmt: skip

    found = await evaluated(made("efficiency", 3), calls)

    assert found.headline == "EFFICIENT"
    assert found.details["reasoning"] == "first of the majority"
    assert values(found)["vote_agreement"] == pytest.approx(1 / 3)
    assert values(found)["vote_flip_rate"] == 1
    (row,) = [row for row in score_rows(found) if row.name == "vote_flip_rate"]
    assert row.reasoning == "EFFICIENT 2, BROKEN 1."


async def test_a_tie_is_not_judged() -> None:
    calls = scripted_calls(efficiency("BROKEN"), efficiency("EFFICIENT"))

    found = await evaluated(made("efficiency", 2), calls)

    assert found.headline is None
    assert values(found)["verdict"] == "undecided"
    assert [each.message for each in found.failures] == ["Not decided: BROKEN 1, EFFICIENT 1."]


async def test_a_vote_that_failed_abstains() -> None:
    calls = scripted_calls(TIMEOUT, efficiency("BROKEN"), efficiency("BROKEN"))
    alone = scripted_calls(TIMEOUT, TIMEOUT, efficiency("BROKEN"))

    found = await evaluated(made("efficiency", 3), calls)
    without_quorum = await evaluated(made("efficiency", 3), alone)

    assert found.headline == "BROKEN"
    assert not found.failures
    assert without_quorum.headline is None
    (failure,) = without_quorum.failures
    assert failure.reason is CallOutcome.TIMEOUT
    assert failure.message == "2 of 3 votes failed: no answer in time"


async def test_a_panel_weighs_its_models_and_names_them() -> None:
    said = {None: "BROKEN", "openai/a": "EFFICIENT", "gemini/b": "BROKEN", "openai/c": TIMEOUT}

    def answer(request: CompletionRequest, _site: CallSite, _method: str) -> Any:
        verdict = said[request.asked_of]
        return verdict if verdict is TIMEOUT else efficiency(str(verdict), str(request.asked_of))

    async def of_panel(**weights: float) -> Evaluation:
        named = {name.replace("_", "/"): Decimal(str(w)) for name, w in weights.items()}
        plan = EvaluationPlan(
            app=APP, evaluators=("efficiency",), panel=named, model="simulated/own"
        )
        (evaluator,) = registry.make(plan)
        return await evaluated(evaluator, scripted_calls(answer))

    won = await of_panel(openai_a=2.5, gemini_b=1.4)
    tied = await of_panel(openai_a=2.4, gemini_b=1.4)
    own = await of_panel(openai_a=2.4, gemini_b=1.4, simulated_own=1.1)
    failed = await of_panel(openai_a=1, openai_c=2)
    (tie,), (no_quorum,) = tied.failures, failed.failures
    (flip,) = [row.reasoning for row in score_rows(won) if row.name == "vote_flip_rate"]

    assert (won.headline, tied.headline, own.headline) == ("EFFICIENT", None, "BROKEN")
    assert won.details["reasoning"] == "openai/a"
    assert values(won)["vote_agreement"] == pytest.approx(1 / 3)
    assert flip == "EFFICIENT 2.5 (openai/a), BROKEN 2.4 (simulated/own, gemini/b)."
    assert tie.reason is CallOutcome.UNDECIDED
    assert no_quorum.reason is CallOutcome.TIMEOUT
    assert no_quorum.message == "1 of 3 votes, 2 of 4 by weight, failed: no answer in time"


async def test_votes_on_turns_are_counted_turn_by_turn() -> None:
    def label(request: CompletionRequest, site: CallSite, _method: str) -> Any:
        wrong = site.turn == 1 and request.vote == 2
        menu = request.schema["properties"]["predicted_agent"]["enum"]
        kinds = request.schema["properties"]["query_type"]["enum"]
        return {
            "evidence": "", "reasoning": "", "confidence": 1,
            "predicted_agent": menu[1 if wrong else 0], "query_type": kinds[0],
        }  # fmt: skip

    calls = scripted_calls(label)
    found = await evaluated(made("intent", 3), calls)

    turns = len(THREAD.turns)
    assert len(calls.asked) == 3 * turns
    assert values(found)["vote_flip_rate"] == pytest.approx(1 / turns)
    assert values(found)["vote_agreement"] == pytest.approx((turns - 1 + 1 / 3) / turns)
    assert len({row["predicted_intent"] for row in found.details}) == 1, "one of three never wins"


async def test_the_median_of_numbers_counts() -> None:
    definition = EvaluatorDefinition(
        name="warmth", prompt="How warm is it?",
        output=Output(kind=OutputKind.NUMBER, minimum=0, maximum=10),
        parameters=JudgeParameters(votes=3),
    )  # fmt: skip
    kind = evaluator_type(definition, APP)
    plan = EvaluationPlan(app=APP)
    calls = scripted_calls(
        *({"evidence": [], "reasoning": f"{n}", "verdict": n} for n in (9, 1, 4))
    )

    found = await evaluated(voted(kind.make(plan), kind.votes_in(plan)), calls)

    assert found.headline == 4
    assert found.details[0]["reasoning"] == "4"


async def test_every_vote_is_a_call_of_its_own() -> None:
    """Its place among the votes is part of what identifies a call, and a question elsewhere."""
    calls = scripted_calls(*(efficiency("BROKEN") for _ in range(3)))
    await evaluated(made("efficiency", 3), calls)

    provider = OpenAIProvider.open(name="openai", model="gpt", api_key="none")
    keys = {request_hash(request, site, method, provider) for request, site, method in calls.asked}
    questions = {question_hash(request, method, provider) for request, _, method in calls.asked}
    await provider.aclose()
    assert (len(keys), len(questions)) == (3, 3)
    assert len({(request.system, request.prompt) for request, *_ in calls.asked}) == 1


def test_the_number_of_votes_is_part_of_the_version_and_one_vote_is_none() -> None:
    versions = {made("efficiency", votes).version for votes in (1, 2, 3)}
    (usual,) = registry.make(EvaluationPlan(app=APP, evaluators=("efficiency",)))
    names = [score.name for score in usual.declaration.scores]

    assert len(versions) == 3
    assert usual.version in versions
    assert names == ["verdict", "task_completed"]


def test_a_panel_and_its_weights_are_part_of_the_version() -> None:
    def version(votes: int = 1, **weights: str) -> str:
        panel = {f"openai/{name}": Decimal(weight) for name, weight in weights.items()}
        plan = EvaluationPlan(
            app=APP, evaluators=("efficiency",), votes={"efficiency": votes}, panel=panel,
            model="openai/own",
        )  # fmt: skip
        return registry.make(plan)[0].version

    versions = [
        version(), version(a="1"), version(a="1.4"), version(b="1"), version(a="1", b="1"),
        version(a="1", own="2"), version(2, a="1"),
    ]  # fmt: skip

    assert len(set(versions)) == len(versions)
    assert version(a="1.40", b="1") == version(b="1.0", a="1.4")
    assert version(own="2") == version(), "it has no other model"


@pytest.mark.parametrize("name", catalogue.names())
def test_every_evaluator_of_the_catalogue_can_have_votes(name: str) -> None:
    kind = evaluator_type(catalogue.load(name), APP)

    assert kind.has_votes
    assert kind.votes_in(EvaluationPlan(app=APP, votes={name: 5})) == 5
    assert kind.votes_in(EvaluationPlan(app=APP)) == 1
