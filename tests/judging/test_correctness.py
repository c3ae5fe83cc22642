"""Correctness: judged where there are figures, computed where a program can."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.judging.builtin.correctness import CorrectnessEvaluator
from evalqueue.evaluators.judging.builtin.correctness.figures import CorrectnessAnswer
from evalqueue.evaluators.judging.builtin.correctness.verdicts import Correctness
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

Make = Callable[..., Any]

SUMMARY = """Meal summary
| Food | kcal |
|---|---|
| Idli | 116 |
| Sambar | 98 |
| Total | {total} |
Consumed at 8:00"""
RIGHT = SUMMARY.format(total=214)
WRONG = SUMMARY.format(total=900)


def opinion(
    verdict: str = "PASS",
    *,
    plausible: bool = True,
    consistent: bool = True,
    coherent: bool = True,
    rules: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    return {
        "evidence": [{"turn": 1, "quote": "| Idli | 116 |"}],
        "calorie_sanity": {
            "reason": "r",
            "stated_total_kcal": 214,
            "expected_range_low": None,
            "expected_range_high": None,
            "plausible": plausible,
        },
        "arithmetic_consistency": {
            "reason": "r",
            "items_sum_kcal": 214,
            "stated_total_kcal": 214,
            "macro_calories_estimate": None,
            "consistent": consistent,
        },
        "quantity_coherence": {
            "mismatches": [] if coherent else ["3 idli, not 2"],
            "coherent": coherent,
        },
        "rule_compliance": rules or [],
        "reasoning": "so",
        "verdict": verdict,
    }


@pytest.fixture
def evaluate(app: App, scripted: Make, thread: Make) -> Make:
    async def run(script: Any, *turns: Any) -> tuple[Evaluation, Any]:
        calls = scripted(script if callable(script) else lambda *_: script)
        return await CorrectnessEvaluator(app).evaluate(thread(*turns), Judge(calls)), calls

    return run


def test_the_judges_labels_are_the_verdicts_that_are_stored() -> None:
    offered = get_args(CorrectnessAnswer.model_fields["verdict"].annotation)

    assert {each.replace("_", " ") for each in offered} == set(Correctness)


async def test_an_answer_without_figures_costs_no_call(evaluate: Make, turn: Make) -> None:
    found, calls = await evaluate(opinion(), turn(1, bot="At what time?"), turn(2, bot="Logged."))

    assert calls.asked == []
    assert found.headline == "NOT APPLICABLE"
    assert [row["judged"] for row in found.details] == [False, False]


async def test_the_worst_verdict_is_the_threads(evaluate: Make, turn: Make) -> None:
    def script(_: Any, site: Any, __: Any) -> dict[str, Any]:
        return opinion({1: "PASS", 2: "HARD_FAIL", 3: "SOFT_FAIL"}[site.turn])

    found, _ = await evaluate(script, *(turn(n, bot=RIGHT) for n in (1, 2, 3)))

    assert found.headline == "HARD FAIL"
    assert [row["verdict"] for row in found.details] == ["PASS", "HARD FAIL", "SOFT FAIL"]


async def test_a_failed_message_is_a_failure_and_never_a_verdict(
    evaluate: Make, turn: Make
) -> None:
    def script(_: Any, site: Any, __: Any) -> Any:
        return ProviderError(CallOutcome.TIMEOUT, "late") if site.turn == 2 else opinion()

    found, _ = await evaluate(script, turn(1, bot=RIGHT), turn(2, bot=RIGHT))

    assert found.headline is None, "the answer that was not judged may have failed"
    assert found.task_completed is None
    assert [row["turn"] for row in found.details] == [1]
    assert [failure.turn for failure in found.failures] == [2]


async def test_nothing_judged_is_null_even_beside_messages_that_do_not_apply(
    evaluate: Make, turn: Make
) -> None:
    found, _ = await evaluate(
        ProviderError(CallOutcome.TRANSIENT, "down"), turn(1, bot="Hi!"), turn(2, bot=RIGHT)
    )

    assert found.headline is None
    assert len(found.failures) == 1


async def test_the_computed_sum_stands_beside_the_judges_opinion(
    evaluate: Make, turn: Make
) -> None:
    found, _ = await evaluate(opinion(), turn(1, bot=WRONG))

    row = found.details[0]
    assert row["verdict"] == "PASS"
    assert row["computed"]["consistent"] is False
    assert row["computed"]["disagrees_with_judge"] is True
    assert row["computed"]["meals"][0]["items_sum_kcal"] == 214


async def test_agreement_is_not_flagged(evaluate: Make, turn: Make) -> None:
    found, _ = await evaluate(opinion(), turn(1, bot=RIGHT))

    assert found.details[0]["computed"]["disagrees_with_judge"] is False


async def test_an_impossible_figure_that_the_judge_finds_plausible_is_flagged(
    evaluate: Make, turn: Make
) -> None:
    bot = "Meal summary\n| Food | kcal |\n|---|---|\n| Idli | 11600 |"

    found, _ = await evaluate(opinion(), turn(1, bot=bot))

    assert found.details[0]["computed"]["disagrees_with_judge"] is True


async def test_a_summary_without_a_table_has_nothing_computed(evaluate: Make, turn: Make) -> None:
    found, _ = await evaluate(opinion(), turn(1, bot="Meal summary: 2 idli, 116 kcal"))

    assert found.details[0]["computed"] is None


@pytest.mark.parametrize(
    ("image_in", "context"), [(6, "this_turn"), (2, "recent"), (1, "earlier"), (None, "none")]
)
async def test_a_photo_stays_in_force_for_the_rest_of_the_thread(
    evaluate: Make, turn: Make, image_in: int | None, context: str
) -> None:
    turns = [turn(n, bot="?", has_image=n == image_in) for n in range(1, 6)]

    found, _ = await evaluate(opinion(), *turns, turn(6, bot=RIGHT, has_image=image_in == 6))

    assert found.details[5]["image_context"] == context
    assert found.details[5]["has_image_context"] is (image_in is not None)


async def test_a_photo_that_comes_later_excuses_nothing(evaluate: Make, turn: Make) -> None:
    found, _ = await evaluate(
        opinion("HARD_FAIL", coherent=False), turn(1, bot=RIGHT), turn(2, bot="?", has_image=True)
    )

    assert found.details[0]["verdict"] == "HARD FAIL"


@pytest.mark.parametrize("verdict", ["HARD_FAIL", "CRITICAL"])
async def test_quantities_that_only_a_photo_shows_are_no_failure(
    evaluate: Make, turn: Make, verdict: str
) -> None:
    found, _ = await evaluate(opinion(verdict, coherent=False), turn(1, bot=RIGHT, has_image=True))

    row = found.details[0]
    assert found.headline == "PASS"
    assert row["judge_verdict"] == verdict.replace("_", " ")
    assert "photo" in row["override"]


@pytest.mark.parametrize(
    ("answer", "bot"),
    [
        (opinion("HARD_FAIL", coherent=False, plausible=False), RIGHT),
        (opinion("HARD_FAIL", coherent=False, consistent=False), RIGHT),
        (opinion("HARD_FAIL", coherent=False), WRONG),
        (opinion("HARD_FAIL", coherent=True), RIGHT),
        (opinion("SOFT_FAIL", coherent=False), RIGHT),
    ],
)
async def test_a_photo_excuses_nothing_else(
    evaluate: Make, turn: Make, answer: dict[str, Any], bot: str
) -> None:
    found, _ = await evaluate(answer, turn(1, bot=bot, has_image=True))

    assert found.details[0]["override"] is None
    assert found.details[0]["verdict"] == answer["verdict"].replace("_", " ")


async def test_rules_are_all_there_in_their_order(evaluate: Make, turn: Make) -> None:
    said = [
        {"rule_id": "2. **exact_calorie_values**", "evidence": "e", "status": "VIOLATED"},
        {"rule_id": "made_up", "evidence": "e", "status": "FOLLOWED"},
    ]

    found, _ = await evaluate(opinion(rules=said), turn(1, bot=RIGHT))

    rows = found.details[0]["rule_compliance"]
    assert [(row["rule_id"], row["status"]) for row in rows] == [
        ("require_xml_chips", "NOT_EVALUATED"),
        ("exact_calorie_values", "VIOLATED"),
    ]


async def test_the_judge_is_told_rules_bounds_and_photos(evaluate: Make, turn: Make) -> None:
    _, calls = await evaluate(opinion(), turn(1, "this", RIGHT, has_image=True))

    request = calls.asked[0][0]
    assert "- require_xml_chips [Chips]: Both chips are there." in request.system
    assert "ask_time_if_missing" not in request.system
    assert "10000 or more is always wrong" in request.system
    assert "within 15 kcal or 5%" in request.system
    assert "Photos: attached to turn 1" in request.prompt
    assert "    | Idli | 116 |" in request.prompt
