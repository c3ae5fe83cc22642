"""Real runs, compared and decided on: the same judge, and one that has got worse."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from costing import query, repeated

from evalqueue.evaluators import figures
from evalqueue.evaluators.comparison.compare import Comparison, ScoreChange
from evalqueue.evaluators.comparison.gate import Decision, GatedRun, Verdict, decide
from evalqueue.evaluators.comparison.read import comparison_of
from evalqueue.evaluators.comparison.requirements import BadRequirement, parse
from evalqueue.evaluators.figures.corrected import corrected_rates
from evalqueue.evaluators.labels import store as labels
from evalqueue.evaluators.labels.store import NewLabel
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour

THREADS = 4 * 48


async def compared(database: Database, candidate: UUID, baseline: UUID) -> Comparison:
    async with database.connection() as connection:
        found = await comparison_of(
            connection, candidate=candidate, baseline=baseline, owner="default"
        )
    assert found is not None
    return found


async def decided(
    database: Database, candidate: UUID, baseline: UUID | None, requirements: Sequence[str]
) -> Verdict:
    async with database.connection() as connection:
        found = await figures.statistics(connection, candidate, owner="default")
        corrected = await corrected_rates(connection, candidate, owner="default")
    assert found is not None
    run = GatedRun(status=found.status, statistics=found.batch, corrected=corrected)
    comparison = None if baseline is None else await compared(database, candidate, baseline)
    return decide([parse(each) for each in requirements], run, comparison)


async def test_two_runs_are_compared_conversation_by_conversation(
    judged: Any, database: Database
) -> None:
    text, gold = repeated(4)
    right = await judged(Behaviour(gold=gold), csv_content=text)
    again = await judged(Behaviour(gold=gold), csv_content=text)
    wrong = await judged(Behaviour(gold=gold, error_rate=0.5), csv_content=text)

    same = await compared(database, again, right)
    assert same.conversations.both == THREADS
    assert (same.conversations.changed, same.notes, same.flips) == (0, [], [])
    assert {each.change for each in same.scores} <= {ScoreChange.UNCLEAR, ScoreChange.NOT_COMPARED}

    worse = await compared(database, wrong, right)
    accuracy = worse.score("intent", "accuracy")
    assert accuracy is not None
    assert accuracy.change is ScoreChange.WORSE
    assert accuracy.difference is not None
    assert accuracy.difference.pairs == THREADS
    assert accuracy.before is not None
    assert accuracy.after is not None
    assert accuracy.after - accuracy.before == pytest.approx(accuracy.difference.difference)
    ((before,), (after,)) = [
        await query(
            database,
            "SELECT avg(value_number) FROM scores WHERE run_id = %s AND name = 'accuracy'",
            run,
        )
        for run in (right, wrong)
    ]
    assert (accuracy.before, accuracy.after) == (pytest.approx(before[0]), pytest.approx(after[0]))
    assert {flip.evaluator for flip in worse.flips} >= {"intent", "efficiency"}
    mirrored = (await compared(database, right, wrong)).score("intent", "accuracy")
    assert mirrored is not None
    assert mirrored.change is ScoreChange.BETTER
    assert (mirrored.improved, mirrored.worsened) == (accuracy.worsened, accuracy.improved)


async def test_a_gate_passes_fails_and_says_what_it_can_not_decide(
    judged: Any, database: Database
) -> None:
    text, gold = repeated(4)
    right = await judged(Behaviour(gold=gold), csv_content=text)
    wrong = await judged(Behaviour(gold=gold, error_rate=0.5), csv_content=text)
    few = await judged(Behaviour(gold=gold), csv_content=text, sample_size=5)

    passing = ["intent.accuracy > 0.8", "intent no worse", "correctness.critical <= 10%"]
    assert (await decided(database, right, right, passing)).decision is Decision.PASSED
    failing = await decided(database, wrong, right, ["intent > 0.8", "intent no worse"])
    assert [each.decision for each in failing.checks] == [Decision.FAILED] * 2
    for requirement in ("intent > 0.8", "intent no worse"):
        unclear = await decided(database, few, few, [requirement])
        assert unclear.decision is not Decision.FAILED
    share = await decided(database, few, None, ["efficiency.efficient >= 0.5"])
    assert share.decision is Decision.NOT_DECIDABLE, share.checks

    # One that fails decides; one that is not decidable lets nothing pass.
    mixed = await decided(database, wrong, right, ["intent > 0.8", "efficiency.efficient >= 0"])
    assert mixed.decision is Decision.FAILED


@pytest.mark.parametrize(
    ("behaviour", "params", "reason"),
    [
        ({"rate_refusal": 0.5}, {}, "coverage"),
        ({}, {"llm_model": "another"}, "judges differ"),
        ({}, {"evaluate_intent": False}, None),
    ],
)
async def test_what_is_missing_or_differs_passes_no_gate(
    judged: Any, database: Database, behaviour: dict[str, Any], params: dict[str, Any],
    reason: str | None,
) -> None:  # fmt: skip
    baseline = await judged(Behaviour(), total_items=20)
    candidate = await judged(Behaviour(**behaviour), total_items=20, **params)
    if reason is None:
        with pytest.raises(BadRequirement, match="no evaluator 'intent'; it has: "):
            await decided(database, candidate, baseline, ["intent no worse"])
        return
    verdict = await decided(database, candidate, baseline, ["intent no worse"])
    assert verdict.decision is Decision.NOT_DECIDABLE
    assert reason in verdict.checks[0].explanation


async def test_a_run_with_nothing_in_it_passes_no_gate(judged: Any, database: Database) -> None:
    run = await judged(Behaviour(), total_items=5)
    await query(
        database,
        "UPDATE scores SET value_text = NULL, value_number = NULL, value_boolean = NULL,"
        " failure = 'refusal' RETURNING 1",
    )
    for requirement in ("intent > 0", "intent >= 0", "intent no worse"):
        verdict = await decided(database, run, run, [requirement])
        assert verdict.decision is Decision.NOT_DECIDABLE
    await query(database, "DELETE FROM thread_evaluations RETURNING 1")
    verdict = await decided(database, run, run, ["intent >= 0", "correctness.critical <= 1"])
    assert verdict.decision is Decision.NOT_DECIDABLE


async def test_a_gate_decides_on_the_rate_that_people_would_have_found(
    judged: Any, database: Database
) -> None:
    """The judge finds every conversation broken, and people find that all are efficient."""
    text, gold = repeated(1)
    for found in gold["efficiency"].values():
        found["verdict"] = "BROKEN"
    run = await judged(Behaviour(gold=gold), csv_content=text)
    requirement = ["efficiency >= 0.5"]
    alone = await decided(database, run, None, requirement)
    assert (alone.decision, alone.checks[0].corrected_by) == (Decision.FAILED, None)
    assert alone.checks[0].explanation.endswith(", uncalibrated")

    threads = await query(
        database, "SELECT thread_id FROM thread_evaluations WHERE run_id = %s", run
    )
    async with database.connection() as connection:
        labelled = await labels.labelled_run(connection, run, owner="default")
        assert labelled is not None
        given = [
            NewLabel(
                thread_id=thread_id, evaluator="efficiency", value="efficient", labelled_by="ann",
                is_random=True,
            )
            for (thread_id,) in threads
        ]  # fmt: skip
        await labels.add(connection, labelled, given)
    by_people = await decided(database, run, None, requirement)
    assert by_people.decision is Decision.PASSED
    assert (by_people.checks[0].corrected_by or 0) >= 30
    assert "corrected by" in by_people.checks[0].explanation


async def test_another_owners_run_is_not_compared(judged: Any, database: Database) -> None:
    run = await judged(Behaviour(), total_items=2)
    async with database.connection() as connection:
        assert await comparison_of(connection, candidate=run, baseline=run, owner="anna") is None


@pytest.mark.parametrize(
    "text",
    ["", "intent", "intent > ", "> 0.5", "intent no better", "intent == 1", "a b >= 1", "x" * 400],
)
def test_what_is_no_requirement_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadRequirement):
        parse(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nothing >= 1", "no evaluator 'nothing'"),
        ("intent.nothing >= 1", "no 'intent.nothing'"),
        ("correctness.nothing >= 1", "hard_fail"),
        ("intent no worse", "needs a baseline"),
    ],
)
async def test_what_a_run_does_not_have_is_refused_with_what_it_has(
    judged: Any, database: Database, text: str, named: str
) -> None:
    run = await judged(Behaviour(), total_items=2)
    with pytest.raises(BadRequirement) as caught:
        await decided(database, run, None, [text])
    assert named in str(caught.value)


async def test_the_same_judge_passes_against_itself(judged: Any, database: Database) -> None:
    """Runs of the same judge with errors of its own: none is taken for worse."""
    text, gold = repeated(4)
    runs = [
        await judged(Behaviour(gold=gold, error_rate=0.1, seed=seed), csv_content=text)
        for seed in range(5)
    ]
    decisions = [
        (await decided(database, a, b, ["intent no worse", "efficiency no worse"])).decision
        for a in runs
        for b in runs
        if a != b
    ]
    assert decisions.count(Decision.FAILED) <= 1, json.dumps(decisions)
