"""What earlier runs have is not bought again: answers are reused, conversations left out."""

from datetime import timedelta
from decimal import Decimal

import pytest
from costing import Judged, billed, query, run_of

from evalqueue import Client, JobStatus
from evalqueue.postgres.database import Database
from evalqueue.testing import SimulatedServer


async def scores_of(database: Database, run_id: object) -> list[tuple[object, ...]]:
    return await query(
        database,
        "SELECT thread_id, turn, evaluator, name, value_text, value_number, value_boolean"
        " FROM scores WHERE run_id = %s ORDER BY 1, 2, 3, 4",
        run_id,
    )


@pytest.mark.usefixtures("priced")
async def test_identical_questions_are_answered_from_earlier_runs(
    judge: Judged, vendor: SimulatedServer, database: Database
):
    first = await judge(total_items=6)
    asked, cost = vendor.simulation.stats["requests"], billed(vendor.simulation.stats)
    # Another selection and order: the same questions.
    again = await judge(total_items=6, reuse=True, concurrency=3)
    assert again.status is JobStatus.COMPLETED
    assert vendor.simulation.stats["requests"] == asked, "nothing is asked twice"
    assert await scores_of(database, run_of(again)) == await scores_of(database, run_of(first))
    assert again.result is not None
    assert again.result["reused_llm_calls"] == asked
    assert (again.result["llm_calls"], again.result["cost_usd"]) == (0, "0")
    logged = await query(
        database,
        "SELECT DISTINCT outcome, tokens_in, cost_usd FROM api_logs WHERE run_id = %s",
        run_of(again),
    )
    assert logged == [("reused", None, None)]

    # Answers that were reused are not reused as if they were new, and count in no cost.
    third = await judge(total_items=8, reuse=True)
    assert third.result is not None
    assert third.result["reused_llm_calls"] == asked
    assert third.result["llm_calls"] == vendor.simulation.stats["requests"] - asked > 0
    assert Decimal(third.result["cost_usd"]) == billed(vendor.simulation.stats) - cost


@pytest.mark.parametrize("other", ["owner", "model", "parameters", "age", "off"])
async def test_other_questions_and_old_answers_are_not_taken(
    judge: Judged, vendor: SimulatedServer, database: Database, other: str
):
    await judge(total_items=2)
    asked = vendor.simulation.stats["requests"]
    if other == "age":
        await query(
            database,
            "UPDATE api_logs SET created_at = created_at - %s RETURNING 1", timedelta(days=3),
        )  # fmt: skip
    job = await judge(
        total_items=2,
        reuse=other != "off",
        reuse_max_age_days=2,
        owner="anna" if other == "owner" else "default",
        **({"llm_model": "simulated-other"} if other == "model" else {}),
        **({"temperature": 0.7} if other == "parameters" else {}),
    )
    assert job.status is JobStatus.COMPLETED
    assert vendor.simulation.stats["requests"] == 2 * asked
    assert job.result is not None
    assert job.result["reused_llm_calls"] == 0


async def test_an_attempt_that_does_a_conversation_anew_counts_no_hit_twice(
    judge: Judged, client: Client, vendor: SimulatedServer, database: Database
):
    await judge(total_items=2)
    asked = vendor.simulation.stats["requests"]
    job = await judge(total_items=2, reuse=True)
    await query(
        database,
        "UPDATE api_logs SET call_id = call_id WHERE run_id = %s RETURNING 1", run_of(job),
    )  # fmt: skip
    ids = await query(database, "SELECT call_id FROM api_logs WHERE outcome = 'reused'")
    assert len({each for (each,) in ids}) == asked


async def test_conversations_that_were_evaluated_are_left_out_and_counted(
    judge: Judged, vendor: SimulatedServer, database: Database
):
    await judge(total_items=5)
    asked = vendor.simulation.stats["requests"]
    job = await judge(total_items=8, skip_evaluated=True)
    assert job.result is not None
    assert (job.result["skipped_evaluated"], job.result["total_threads"]) == (5, 3)
    ((total,),) = await query(
        database, "SELECT total_items FROM eval_runs WHERE id = %s", run_of(job)
    )
    assert total == 3
    assert vendor.simulation.stats["requests"] > asked

    asked = vendor.simulation.stats["requests"]
    job = await judge(total_items=8, skip_evaluated=True)
    assert job.status is JobStatus.COMPLETED, "there is nothing left to do"
    assert job.result is not None
    assert (job.result["skipped_evaluated"], job.result["total_threads"]) == (8, 0)
    assert vendor.simulation.stats["requests"] == asked

    for different in ({"owner": "anna"}, {"temperature": 0.9}, {"evaluators": ["intent"]}):
        job = await judge(total_items=8, skip_evaluated=True, **different)
        assert job.result is not None
        is_part = "evaluators" in different  # what it asks was evaluated, with more beside it
        assert job.result["skipped_evaluated"] == (8 if is_part else 0), different
