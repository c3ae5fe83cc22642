"""An alert on a rate decides on the rate that people would have found, where labels say it."""

import random
from dataclasses import replace
from typing import Any

import pytest
from costing import query, repeated, run_of
from tests.alerts.conftest import Watching, receiving

from evalqueue import Job
from evalqueue.evaluators.batch.distributions import (
    BatchStatistics,
    Coverage,
    EvaluatorStatistics,
    LabelShare,
    ScoreStatistics,
)
from evalqueue.evaluators.comparison.gate import Decision, GatedRun, decide
from evalqueue.evaluators.comparison.rates import CorrectedRate
from evalqueue.evaluators.comparison.requirements import parse
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.evaluators.labels import store as labels
from evalqueue.evaluators.labels.store import NewLabel
from evalqueue.evaluators.statistics.prediction_powered import (
    JudgedAndLabelled,
    corrected_share,
)
from evalqueue.testing import Behaviour

REQUIRED = "efficiency >= 0.9"


async def labelled(watching: Watching, job: Job, value: str, count: int) -> None:
    """People say the same of so many random conversations."""
    async with watching.database.connection() as connection:
        run = await labels.labelled_run(connection, run_of(job), owner="default")
        assert run is not None
    threads = await query(
        watching.database,
        "SELECT thread_id FROM thread_evaluations WHERE run_id = %s ORDER BY md5(thread_id)"
        " LIMIT %s",
        run_of(job), count,
    )  # fmt: skip
    said = [
        NewLabel(
            thread_id=thread_id, evaluator="efficiency", value=value, labelled_by="ann",
            is_random=True,
        )
        for (thread_id,) in threads
    ]  # fmt: skip
    async with watching.database.connection() as connection:
        await labels.add(connection, run, said)


async def test_a_rate_is_decided_as_people_would_have_found_it(watching: Watching) -> None:
    """The judge says that few are good; people say that all are."""
    text, gold = repeated(4)
    for found in gold["efficiency"].values():
        found["verdict"] = "BROKEN"
    harsh: dict[str, Any] = {"csv_content": text, "evaluators": ["efficiency"]}
    async with receiving() as receiver:
        alert = await watching.add(
            name="good", watches="rate", requirements=[REQUIRED], webhook_url=receiver.url
        )
        first = await watching.judge(Behaviour(gold=gold), **harsh)
        await labelled(watching, first, "efficient", 100)
        second = await watching.judge(Behaviour(gold=gold), **harsh)

    fired, recovered = await watching.events(alert)
    assert (fired[:2], recovered[:2]) == (("fired", first.id), ("recovered", second.id))
    assert fired[2].endswith(", uncalibrated")
    assert recovered[2].endswith(", corrected by 80 random labels"), "20 have a neutral verdict"
    told = [each.message["data"]["figures"]["requirements"][0] for each in receiver.received]
    assert [each["corrected_by"] for each in told] == [None, 80]


def tone(good: int, bad: int, kind: ScoreKind = ScoreKind.CATEGORY) -> GatedRun:
    """A run with so many good and bad conversations, by its judge."""
    names = ("GOOD", "BAD") if kind is ScoreKind.CATEGORY else ("true", "false")
    shares = [
        LabelShare(label=name, count=count, share=count / (good + bad), low=None, high=None)
        for name, count in zip(names, (good, bad), strict=True)
    ]
    score = ScoreStatistics(
        name="verdict", title="Verdict", kind=kind, per_turn=False, version="1",
        measured=good + bad, threads=good + bad, failed=0, shares=shares, mean=None,
        confusion=None,
    )  # fmt: skip
    is_category = kind is ScoreKind.CATEGORY
    declared = ScoreDeclaration(
        name="verdict", title="Verdict", kind=kind, labels=names if is_category else (),
        good=("GOOD",) if is_category else (),
    )  # fmt: skip
    evaluator = EvaluatorStatistics(
        declaration=EvaluatorDeclaration(
            name="tone",
            title="Tone",
            version="1",
            headline="verdict",
            details_key="tone",
            scores=(declared,),
        ),
        coverage=Coverage(judged=good + bad, attempted=good + bad),
        scores=[score],
    )
    statistics = BatchStatistics(
        threads=good + bad, failed=0, evaluators=[evaluator], coverage={}, failures=[]
    )
    return GatedRun(status="completed", statistics=statistics, corrected={})


def corrected(
    run: GatedRun, table: JudgedAndLabelled, *, good: int, rest: int, of: str
) -> GatedRun:
    """The run with its rate corrected by labels."""
    share = corrected_share(table, good=good, rest=rest)
    assert share is not None
    rate = CorrectedRate(good=[of], share=share, labels=table.size)
    return replace(run, corrected={("tone", "1", "verdict"): rate})


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.8, 0.9), (0.95, 0.4)])
def test_a_rate_at_its_bound_is_a_false_alarm_in_one_of_forty_cases(
    sensitivity: float, specificity: float
) -> None:
    """Where the judge alone, which is wrong in one direction, is a false alarm or misses it."""
    rng = random.Random(7)  # noqa: S311
    size, sample, bound, rounds = 400, 60, 0.8, 1_000
    alarms = passes = raw = 0
    requirement = [parse(f"tone >= {bound}")]
    for _ in range(rounds):
        people = [rng.random() < bound for _ in range(size)]
        judge = [rng.random() < (sensitivity if is_good else 1 - specificity) for is_good in people]
        pairs = list(zip(judge[:sample], people[:sample], strict=True))
        table = JudgedAndLabelled(
            both_good=pairs.count((True, True)), only_judge_good=pairs.count((True, False)),
            only_label_good=pairs.count((False, True)), neither_good=pairs.count((False, False)),
        )  # fmt: skip
        run = tone(sum(judge), size - sum(judge))
        raw += decide(requirement, run, None).decision is not Decision.NOT_DECIDABLE
        rest = judge[sample:]
        fair = corrected(run, table, good=sum(rest), rest=len(rest), of="GOOD")
        decision = decide(requirement, fair, None).decision
        alarms += decision is Decision.FAILED
        passes += decision is Decision.PASSED
    assert alarms <= 0.025 * rounds + 15  # three standard deviations of one in forty
    assert passes <= 0.025 * rounds + 15
    assert raw > 0.5 * rounds, "the judge's own rate is decided wrongly"


def test_a_share_of_other_labels_is_the_judge_s_own() -> None:
    table = JudgedAndLabelled(both_good=40, only_judge_good=20, only_label_good=0, neither_good=0)
    run = corrected(tone(380, 20), table, good=320, rest=340, of="GOOD")
    good, same, bad = decide(
        [parse(text) for text in ("tone >= 0.9", "tone.good >= 0.9", "tone.bad <= 0.1")], run, None
    ).checks
    assert (good.corrected_by, same.corrected_by, bad.corrected_by) == (60, 60, None)
    assert good.decision is same.decision is Decision.FAILED
    assert bad.decision is Decision.PASSED
    assert bad.explanation.endswith(", uncalibrated")
    alone = decide([parse("tone >= 0.9")], tone(380, 20), None).checks[0]
    assert (alone.decision, alone.corrected_by) == (Decision.PASSED, None)
    assert alone.explanation.endswith(", uncalibrated")


def test_the_share_of_yes_is_corrected_by_that_of_no() -> None:
    """The good value of this score is `false`, and its headline is the share of `true`."""
    table = JudgedAndLabelled(both_good=45, only_judge_good=0, only_label_good=0, neither_good=15)
    run = corrected(tone(100, 300, ScoreKind.BOOLEAN), table, good=255, rest=340, of="false")
    (check,) = decide([parse("tone <= 0.5")], run, None).checks
    assert check.corrected_by == 60
    assert check.value == pytest.approx(0.25, abs=0.06)
    assert check.low is not None
    assert check.high is not None
    assert check.low < 0.25 < check.high
