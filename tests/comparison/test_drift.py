"""A judge is judged by a run that it has judged before."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from costing import query, repeated, run_of, work

from evalqueue import (
    Client,
    Handlers,
    InvalidParams,
    Job,
    JobContext,
    JobFailed,
    JobStatus,
    Settings,
)
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.alerts.decision import of_drift
from evalqueue.evaluators.comparison.compare import compare
from evalqueue.evaluators.comparison.drift.decision import (
    DriftDecision,
    Judgements,
    Tolerance,
    decide,
    decide_scores,
    measured,
)
from evalqueue.evaluators.comparison.drift.handler import check_drift
from evalqueue.evaluators.comparison.drift.job_type import CheckDrift
from evalqueue.evaluators.comparison.store import (
    ComparedRun,
    Conversations,
    LabelChange,
    NumberChange,
    RunPair,
)
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.evaluators.statistics.significance import holm, more_often_than
from evalqueue.postgres import schedules
from evalqueue.postgres.database import Database
from evalqueue.postgres.schedules import Schedule
from evalqueue.testing import Behaviour, SimulatedServer, run_jobs

LABELS = ("PASS", "SOFT FAIL", "HARD FAIL")
TOLERANCE = Tolerance(false_alarm_rate=0.05, tolerated_flips=0.1)


def evaluator(name: str) -> EvaluatorDeclaration:
    return EvaluatorDeclaration(
        name=name,
        title=name,
        scores=(
            ScoreDeclaration(
                name="verdict", title="Verdict", kind=ScoreKind.CATEGORY, labels=LABELS,
                good=("PASS",), bad=("HARD FAIL", "SOFT FAIL"),
            ),
        ),
        headline="verdict",
        details_key=name,
    )  # fmt: skip


def judgements(
    pairs: dict[str, Counter[tuple[str, str]]], *, before: str = "m-1", now: str = "m-1"
) -> Judgements:
    """What two runs came to, by evaluator."""
    runs = [
        ComparedRun(
            run_id=uuid4(), command="evaluate-batch", status="completed", name=None, app_id="a",
            judge="openai/m", dataset_id=None, created_at=datetime(2026, 1, 1, tzinfo=UTC),
            declarations=[evaluator(name) for name in pairs], versions={},
        )
        for _ in range(2)
    ]  # fmt: skip
    labels = [
        LabelChange(evaluator=name, name="verdict", before=one, after=other, times=times)
        for name, found in pairs.items()
        for (one, other), times in found.items()
    ]
    pair = RunPair(candidate=runs[0], baseline=runs[1])
    return Judgements(
        comparison=compare(
            pair, Conversations(candidate=1, baseline=1, both=1, changed=0), labels, []
        ),
        labels=labels,
        numbers=[],
        served_before=[before],
        served_now=[now],
    )


def judged_twice(
    draw: random.Random, *, conversations: int, noise: float, harsher: float = 0.0
) -> Counter[tuple[str, str]]:
    """A judge that gives another label than the usual one in `noise` of its answers, each time
    anew; and the second time a worse one in so many more."""

    def said(usual: str, share: float) -> str:
        return draw.choice([e for e in LABELS if e != usual]) if draw.random() < share else usual

    found = Counter[tuple[str, str]]()
    for _ in range(conversations):
        usual = draw.choices(LABELS, [0.7, 0.2, 0.1])[0]
        again = "HARD FAIL" if draw.random() < harsher else said(usual, noise)
        found[said(usual, noise), again] += 1
    return found


def alarms(draw: random.Random, evaluators: int, **judge: Any) -> bool:
    pairs = {f"e{number}": judged_twice(draw, **judge) for number in range(evaluators)}
    found = judgements(pairs)
    drifts = measured(found, TOLERANCE)
    return any(each.alarm for each in decide_scores(drifts, TOLERANCE.false_alarm_rate))


def test_holm_as_in_published_examples() -> None:
    # Aickin and Gensler 1996, Am. J. Public Health 86:726.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("times", "trials", "rate", "p_value"),
    [(0, 10, 0.1, 1.0), (10, 10, 0.5, 2**-10), (2, 3, 0.5, 0.5), (3, 3, 0.1, 0.001)],
)
def test_how_likely_so_many_are(times: int, trials: int, rate: float, p_value: float) -> None:
    assert more_often_than(rate, times=times, trials=trials) == pytest.approx(p_value)


@pytest.mark.parametrize(("evaluators", "noise"), [(1, 0.02), (4, 0.02), (4, 0.045), (8, 0.045)])
def test_a_judge_that_is_the_same_raises_few_alarms(evaluators: int, noise: float) -> None:
    """In 200 checks at most 5 %."""
    draw = random.Random(f"same {evaluators} {noise}")  # noqa: S311  a simulation
    raised = sum(alarms(draw, evaluators, conversations=100, noise=noise) for _ in range(200))
    assert raised <= 10


def test_a_judge_that_is_another_one_raises_an_alarm() -> None:
    draw = random.Random("another")  # noqa: S311  likewise
    raised = sum(alarms(draw, 4, conversations=100, noise=0.03, harsher=0.2) for _ in range(50))
    assert raised >= 48


def test_labels_that_flip_both_ways_alike_are_an_alarm_too() -> None:
    both = Counter({("PASS", "PASS"): 60, ("PASS", "HARD FAIL"): 20, ("HARD FAIL", "PASS"): 20})
    found = decide(judgements({"correctness": both}), TOLERANCE)

    assert found.alarm
    (score,) = found.scores
    assert score.drift.p_shift == 1.0
    assert (score.drift.flips, score.drift.better, score.drift.worse) == (40, 20, 20)
    kappa = score.drift.kappa()
    assert kappa is not None
    assert kappa.low < kappa.value < kappa.high < 0.5
    assert found.reasons == [
        f"correctness: Verdict: 40 of 100 values differ (20 better, 20 worse), "
        f"adjusted p = {score.p_value:.2g}"
    ]


@pytest.mark.parametrize(("values", "decidable"), [(1, False), (2, True), (60, True)])
def test_too_few_values_for_an_alarm_decide_nothing(values: int, decidable: bool) -> None:
    """All of them differ, or none: with one value not even the former is an alarm."""
    same = decide(judgements({"a": Counter({("PASS", "PASS"): values})}), TOLERANCE)
    other = decide(judgements({"a": Counter({("PASS", "HARD FAIL"): values})}), TOLERANCE)

    assert (same.alarm, same.decidable) == (False, decidable)
    assert (other.alarm, other.decidable) == (decidable, decidable)
    assert ("Not decidable: 1 values are too few" in same.reasons[0]) is not decidable
    result = {"alarm": same.alarm, "decidable": same.decidable, "reasons": same.reasons}
    assert of_drift(result).fires is (False if decidable else None)


def test_another_name_of_the_model_is_an_alarm() -> None:
    same = Counter({("PASS", "PASS"): 20})
    found = decide(judgements({"correctness": same}, now="m-2"), TOLERANCE)
    unchanged = decide(judgements({"correctness": same}), TOLERANCE)

    assert (found.alarm, found.model_changed) == (True, True)
    assert found.reasons == ["The vendor serves m-2; before, it served m-1"]
    assert (unchanged.alarm, unchanged.model_changed) == (False, False)
    assert "more than chance" in unchanged.reasons[0]


def test_a_number_shifts_by_the_signs_of_its_differences() -> None:
    declared = EvaluatorDeclaration(
        name="length", title="Length", headline="words", details_key="length",
        scores=(ScoreDeclaration(name="words", title="Words", kind=ScoreKind.NUMBER),),
    )  # fmt: skip

    def decision(higher: int, lower: int) -> DriftDecision:
        base = judgements({})
        runs = RunPair(
            candidate=_with(base.comparison.candidate, declared),
            baseline=_with(base.comparison.baseline, declared),
        )
        numbers = [
            NumberChange(
                evaluator="length", name="words", pairs=100, before=1, after=2, total=30,
                squares=30, higher=higher, lower=lower, largest=1,
            )
        ]  # fmt: skip
        conversations = Conversations(candidate=1, baseline=1, both=1, changed=0)
        found = Judgements(
            comparison=compare(runs, conversations, [], numbers), labels=[], numbers=numbers
        )
        return decide(found, TOLERANCE)

    assert decision(30, 0).alarm
    assert not decision(15, 15).alarm


def _with(run: ComparedRun, declared: EvaluatorDeclaration) -> ComparedRun:
    return ComparedRun(
        run_id=run.run_id, command=run.command, status=run.status, name=run.name,
        app_id=run.app_id, judge=run.judge, dataset_id=None, created_at=run.created_at,
        declarations=[declared], versions={},
    )  # fmt: skip


@pytest.fixture
def checked(client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch, database: Database) -> Any:
    client.job_types.add(CheckDrift)

    async def checked(behaviour: Behaviour, **params: Any) -> Job:
        """A drift check by a vendor that behaves so."""
        async with SimulatedServer(behaviour) as vendor:
            monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
            job = await client.submit(CheckDrift(**params))
            await until_over(client, dsn, database, job.id)
        return await client.get(job.id)

    return checked


async def until_over(client: Client, dsn: str, database: Database, job_id: UUID) -> None:
    """Run what waits, without waiting for the time of what is postponed."""
    while not (await client.get(job_id)).status.is_over:
        await query(
            database,
            "UPDATE procrastinate_jobs SET scheduled_at = NULL"
            " WHERE status = 'todo' AND scheduled_at IS NOT NULL RETURNING id",
        )
        await work(dsn)


async def test_the_same_judge_is_no_alarm_and_another_one_is(
    judged: Any, checked: Any, client: Client, database: Database
) -> None:
    text, gold = repeated(2)
    anchor = await judged(
        Behaviour(gold=gold), csv_content=text, evaluators=["intent", "efficiency"],
        temperature=0.3, sample_size=80, name="frozen",
    )  # fmt: skip
    same = await checked(Behaviour(gold=gold, flip_rate=0.01), anchor=anchor)
    other = await checked(Behaviour(gold=gold, error_rate=0.5), anchor=anchor)

    assert same.status is JobStatus.COMPLETED, same.error_message
    assert (same.result["alarm"], same.result["model_changed"]) == (False, False)
    assert other.result["alarm"]
    assert any("Intent" in reason for reason in other.result["reasons"])
    assert same.result["conversations"] == other.result["conversations"] == 80
    attempts = await client.attempts(other.id)
    assert {each.outcome for each in attempts[:-1]} == {"postponed"}, "it held no slot"
    flips = {each["name"]: each["flips"] for each in other.result["scores"]}
    assert flips["verdict"] > 10
    kappa = next(each["kappa"] for each in other.result["scores"] if each["name"] == "verdict")
    assert kappa["low"] <= kappa["value"] <= kappa["high"] < 0.9

    again = UUID(other.result["checked_run_id"])
    rows = await query(
        database,
        "SELECT id = %s, dataset_id, app_digest, llm_model, config -> 'evaluator_versions',"
        " config #> '{params,temperature}', (SELECT array_agg(thread_id ORDER BY thread_id)"
        " FROM thread_evaluations WHERE run_id = eval_runs.id), name FROM eval_runs"
        " WHERE id IN (%s, %s) ORDER BY created_at",
        anchor, anchor, again,
    )  # fmt: skip
    (first, second) = rows
    assert first[0]
    assert first[1:7] == second[1:7]
    assert second[7] == "Drift check of frozen"


async def test_answers_of_earlier_runs_are_not_taken(
    judged: Any, checked: Any, database: Database
) -> None:
    anchor = await judged(Behaviour(), total_items=5, evaluators=["intent"], reuse=True)
    job = await checked(Behaviour(), anchor=anchor, sample_size=3)

    assert job.result["conversations"] == 3
    rows = await query(
        database,
        "SELECT count(*) FILTER (WHERE outcome = 'reused'), count(*) > 0 FROM api_logs"
        " WHERE run_id = %s",
        UUID(job.result["checked_run_id"]),
    )
    assert rows == [(0, True)]


async def test_a_batch_that_comes_to_another_end_fails_the_check(
    judged: Any, client: Client, dsn: str, database: Database
) -> None:
    anchor = await judged(Behaviour(), total_items=2, evaluators=["intent"])
    job = await client.submit(CheckDrift(anchor=anchor))
    handlers = Handlers()

    @handlers.handles(CheckDrift)
    async def check(context: JobContext, params: CheckDrift) -> Any:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await check_drift(context, params, Settings())

    @handlers.handles(EvaluateBatch)
    async def fail(context: JobContext, params: EvaluateBatch) -> Any:  # pyright: ignore[reportUnusedFunction]  likewise
        raise JobFailed("No judge")

    await run_jobs(dsn, handlers)
    await until_over(client, dsn, database, job.id)
    found = await client.get(job.id)

    assert found.status is JobStatus.FAILED
    assert "which was to judge again, is failed" in (found.error_message or "")


async def test_a_cancelled_check_cancels_its_batch(
    judged: Any, client: Client, dsn: str, database: Database
) -> None:
    anchor = await judged(Behaviour(), total_items=2, evaluators=["intent"])
    job = await client.submit(CheckDrift(anchor=anchor))
    handlers = Handlers()

    @handlers.handles(CheckDrift)
    async def check(context: JobContext, params: CheckDrift) -> Any:  # pyright: ignore[reportUnusedFunction]  the decorator keeps it
        return await check_drift(context, params, Settings())

    await run_jobs(dsn, handlers)  # no worker here knows the batch
    (batch,) = [each for each in await client.list(status=JobStatus.QUEUED) if each.id != job.id]
    await client.cancel(job.id)

    assert (await client.get(batch.id)).status is JobStatus.CANCELLED
    audited = await query(
        database, "SELECT subject_id FROM audit_log WHERE action = 'job.cancel' ORDER BY id"
    )
    assert {row[0] for row in audited} == {str(job.id), str(batch.id)}


async def test_an_anchor_that_can_not_be_judged_again_is_refused(
    judged: Any, client: Client, database: Database
) -> None:
    with pytest.raises(InvalidParams, match="There is no batch"):
        await client.submit(CheckDrift(anchor=uuid4()))
    job = await client.submit(EvaluateBatch(total_items=2))
    with pytest.raises(InvalidParams, match="The run is pending"):
        await client.submit(CheckDrift(anchor=run_of(job)))
    await client.cancel(job.id)
    anchor = await judged(Behaviour(), total_items=2)
    with pytest.raises(InvalidParams, match="There is no batch"):
        await client.submit(CheckDrift(anchor=anchor), owner="ben")
    await query(database, "UPDATE eval_runs SET dataset_id = NULL RETURNING id")
    with pytest.raises(InvalidParams, match="dataset of the run was deleted"):
        await client.submit(CheckDrift(anchor=anchor))


async def test_a_schedule_checks_regularly(
    judged: Any, client: Client, dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = await judged(Behaviour(), total_items=4, evaluators=["intent"])
    nightly = Schedule(
        name="drift", cron="@daily", timezone="UTC", job_type="check-drift",
        params={"anchor": str(anchor)}, owner="default", queue="evalqueue", priority=0,
        max_attempts=3, next_at=datetime.now(UTC),
    )  # fmt: skip
    async with database.connection() as connection:
        await schedules.put(connection, nightly)
        await schedules.fire_due(connection)
    found: Sequence[Job] = await client.list(job_type="check-drift")
    async with SimulatedServer(Behaviour()) as vendor:
        monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
        await until_over(client, dsn, database, found[0].id)
    job = await client.get(found[0].id)

    assert job.result is not None, job.error_message
    assert job.result["alarm"] is False
