"""An alert tells once when it begins to fire, and once when it recovers."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from costing import query, repeated, work
from pydantic import ValidationError
from tests.alerts.conftest import Watching

from evalqueue import JobStatus
from evalqueue.evaluators.alerts import store
from evalqueue.evaluators.alerts.alert import ALERTS_MAX, NewAlert
from evalqueue.evaluators.alerts.decision import AlertFinding
from evalqueue.evaluators.alerts.job_types import CheckAlerts
from evalqueue.evaluators.alerts.store import AlertRefused
from evalqueue.testing import Behaviour

ACCURATE = ["intent.accuracy >= 0.8"]
UNJUDGED = Behaviour(rate_refusal=1.0)


async def test_a_rate_that_leaves_its_band_is_told_once_and_when_it_is_back(
    watching: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    text, gold = repeated(2)
    alert = await watching.add(name="accurate", watches="rate", requirements=ACCURATE)
    wrong, right = Behaviour(gold=gold, error_rate=0.9), Behaviour(gold=gold)
    params: dict[str, Any] = {"csv_content": text, "evaluators": ["intent"]}

    jobs = [
        await watching.judge(behaviour, **params)
        for behaviour in (right, wrong, wrong, right, right)
    ]

    fired, recovered = await watching.events(alert)
    assert fired[:2] == ("fired", jobs[1].id)
    assert recovered[:2] == ("recovered", jobs[3].id)
    assert "95 % interval" in fired[2]
    told = [each.getMessage() for each in caplog.records if "Alert 'accurate'" in each.getMessage()]
    assert [message.split(":")[0] for message in told] == [
        "Alert 'accurate' fired", "Alert 'accurate' recovered",
    ]  # fmt: skip


async def test_what_is_not_decidable_changes_nothing(watching: Watching) -> None:
    alert = await watching.add(name="accurate", watches="rate", requirements=ACCURATE)
    unknown = await watching.add(name="unknown", watches="rate", requirements=["nothing >= 0.8"])

    await watching.judge(Behaviour(error_rate=0.9), total_items=1, evaluators=["intent"])

    assert await watching.events(alert) == await watching.events(unknown) == []
    (check,) = await watching.job_ids("check-alerts")
    assert (await watching.client.get(check)).result == {
        "fired": [], "recovered": [],
        "unchanged": [each.name for each in sorted([alert, unknown], key=lambda each: each.id)],
    }  # fmt: skip


async def test_coverage_below_its_bound_is_told(watching: Watching) -> None:
    alert = await watching.add(name="judged", watches="coverage", min_coverage=0.9)
    await watching.judge(UNJUDGED, total_items=3, evaluators=["intent"])
    await watching.judge(total_items=3, evaluators=["intent"])

    assert [(kind, told.split(",")[0]) for kind, _, told in await watching.events(alert)] == [
        ("fired", "Coverage of intent: 0.000"), ("recovered", "Coverage of intent: 1.000"),
    ]  # fmt: skip


async def test_only_what_is_watched_is_looked_at(watching: Watching) -> None:
    await watching.add(name="other", watches="coverage", min_coverage=0.9, app_id="other-bot")
    await watching.add(name="theirs", watches="failed", owner="ben")
    await watching.add(name="sources", watches="failed", job_type="evaluate-source")
    await watching.add(name="drift", watches="drift")

    await watching.judge(total_items=1, evaluators=["intent"])

    assert await watching.job_ids("check-alerts") == []


async def test_a_job_ends_although_the_look_at_it_is_refused(watching: Watching) -> None:
    alert = await watching.add(name="judged", watches="coverage", min_coverage=0.9)
    async with watching.database.connection() as connection:
        await connection.execute("""
            CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION 'the host refuses it'; END; $$""")
        await connection.execute(
            "CREATE TRIGGER refused BEFORE INSERT ON jobs FOR EACH ROW"
            " WHEN (NEW.job_type = 'check-alerts') EXECUTE FUNCTION refused()"
        )
    try:
        job = await watching.judge(UNJUDGED, total_items=1, evaluators=["intent"])
    finally:  # another test gets the database
        async with watching.database.connection() as connection:
            await connection.execute("DROP FUNCTION refused() CASCADE")

    ended = await watching.client.get(job.id)
    assert (ended.status.is_over, ended.attempt) == (True, 1)
    assert await watching.job_ids("check-alerts") == await watching.events(alert) == []


async def test_a_job_that_failed_is_told_without_its_error(watching: Watching) -> None:
    alert = await watching.add(name="broken", watches="failed")
    job = await watching.client.submit(CheckAlerts(job_id=uuid4()))  # is not watched itself
    await query(
        watching.database,
        "SELECT evalqueue_submit_job('evaluate-source', '{\"source\": \"secret words\"}')",
    )
    await work(watching.dsn)
    await watching.judge(total_items=1, evaluators=["intent"])
    assert [kind for kind, *_ in await watching.events(alert)] == ["fired"], "by another job type"
    await query(
        watching.database,
        "SELECT evalqueue_submit_job('evaluate-source', '{\"source\": \"posted\"}')",
    )
    await work(watching.dsn)

    failed, _ = await watching.job_ids("evaluate-source")
    (fired, recovered) = await watching.events(alert)
    assert fired == ("fired", failed, "A job evaluate-source failed")
    assert recovered[0] == "recovered"
    assert (await watching.client.get(job.id)).status is JobStatus.COMPLETED
    assert len(await watching.job_ids("check-alerts")) == 4


async def test_each_job_is_told_of_once_however_often_it_is_looked_at(watching: Watching) -> None:
    alert = await watching.add(name="judged", watches="coverage", min_coverage=0.9)
    job = await watching.judge(UNJUDGED, total_items=1, evaluators=["intent"])
    for _ in range(3):
        await watching.client.submit(CheckAlerts(job_id=job.id))
    await work(watching.dsn)

    assert len(await watching.events(alert)) == 1


async def test_jobs_that_are_looked_at_at_once_or_in_another_order_tell_of_the_newest(
    watching: Watching,
) -> None:
    alert = await watching.add(name="broken", watches="failed")
    job = await watching.client.submit(CheckAlerts(job_id=uuid4()))
    ended = job.created_at

    async def decide(fires: bool, seconds: int) -> UUID | None:
        async with watching.database.connection() as connection:
            return await store.decide(
                connection, alert, AlertFinding(fires=fires, explanation="x"),
                job_id=uuid4(), run_id=None, ended_at=ended + timedelta(seconds=seconds),
            )  # fmt: skip

    assert await decide(fires=True, seconds=10) is not None
    assert await decide(fires=False, seconds=5) is None, "it ended before"
    told = await asyncio.gather(*(decide(fires=False, seconds=20) for _ in range(5)))
    assert sum(each is not None for each in told) == 1
    assert await decide(fires=True, seconds=30) is not None
    assert [kind for kind, *_ in await watching.events(alert)] == ["fired", "recovered", "fired"]


async def test_an_alert_that_is_removed_takes_its_events_with_it(watching: Watching) -> None:
    alert = await watching.add(name="judged", watches="coverage", min_coverage=0.9)
    await watching.judge(UNJUDGED, total_items=1, evaluators=["intent"])
    async with watching.database.connection() as connection:
        (listed,) = await store.alerts(connection, owner="default", firing=True, limit=10)
        assert await store.remove(connection, alert.id)
        assert not await store.remove(connection, alert.id)
    assert listed.kind == "fired"
    assert await watching.events(alert) == []


async def test_an_owner_has_a_name_once_and_so_many_alerts_at_most(watching: Watching) -> None:
    await watching.add(name="one", watches="drift")
    await watching.add(name="one", watches="drift", owner="ben")
    new = NewAlert.model_validate({"name": "one", "watches": "drift"})
    async with watching.database.connection() as connection:
        with pytest.raises(AlertRefused, match="There is an alert 'one' already"):
            await store.add(connection, new, owner="default", job_types=())
        for number in range(1, ALERTS_MAX):
            await watching.add(name=f"n{number}", watches="drift")
        last = new.model_copy(update={"name": "last"})
        with pytest.raises(AlertRefused, match="'default' has 100 alerts"):
            await store.add(connection, last, owner="default", job_types=())


async def test_a_job_type_that_nothing_knows_is_refused_with_those_that_are_known(
    watching: Watching,
) -> None:
    with pytest.raises(AlertRefused, match="no job type 'evaluate-bach'. Known: .*evaluate-batch"):
        await watching.add(name="typo", watches="failed", job_type="evaluate-bach")
    await query(
        watching.database,
        "SELECT evalqueue_register_worker('w', 'h', 1, '1', '{evalqueue}', '{theirs}', 1)",
    )
    await watching.add(name="of a worker's", watches="failed", job_type="theirs")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"watches": "rate"}, "requirements: an alert that watches rate needs it"),
        ({"watches": "rate", "requirements": ["a no worse"]}, "An alert has no baseline"),
        ({"watches": "rate", "requirements": ["a > b"]}, "is not a requirement"),
        ({"watches": "coverage"}, "min_coverage"),
        ({"watches": "coverage", "min_coverage": 1.5}, "less than or equal to 1"),
        ({"watches": "drift", "min_coverage": 0.5}, "min_coverage is for alerts that watch"),
        ({"watches": "failed", "app_id": "a"}, "app_id is for alerts"),
        ({"watches": "sleep"}, "'rate', 'coverage', 'drift' or 'failed'"),
        ({"watches": "drift", "name": "a\nb"}, "one line"),
        ({"watches": "drift", "webhook_url": "http://10.0.0.1/x?k=s3cret"}, "WEBHOOK_HOSTS"),
        ({"watches": "drift", "webhook_url": "http://localhost:9/x?k=s3cret#"}, "query"),
        ({"watches": "drift", "webhook_url": "file:///etc/passwd"}, "begin with https"),
        ({"watches": "drift", "webhook_url": "http://u:s3cret@localhost/"}, "user name"),
    ],
)
def test_what_can_not_be_watched_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NewAlert.model_validate({"name": "a"} | fields)
    assert reason in str(refused.value)
    assert "s3cret" not in str(refused.value)
