"""What an alert tells arrives signed, at least once, with the same id each time."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from costing import query
from tests.alerts.conftest import SECRET, Receiver, Watching, receiving

from evalqueue import JobStatus
from evalqueue.evaluators.alerts import webhook
from evalqueue.evaluators.alerts.alert import Alert
from evalqueue.evaluators.comparison.drift.job_type import CheckDrift
from evalqueue.testing import Behaviour

UNJUDGED = Behaviour(rate_refusal=1.0)
QUERY = "?token=s3cret-of-the-receiver"


async def fired(watching: Watching, receiver: Receiver, path: str = "/hooks/") -> Alert:
    """An alert that fires, told to the receiver."""
    alert = await watching.add(
        name="judged", watches="coverage", min_coverage=0.9, webhook_url=f"{receiver.url}{path}"
    )
    await watching.judge(UNJUDGED, total_items=2, evaluators=["intent"])
    return alert


async def delivery(watching: Watching) -> Any:
    (job_id,) = await watching.job_ids("deliver-alert")
    return await watching.client.get(job_id)


async def test_an_alert_is_sent_signed_with_numbers_and_links_and_no_texts(
    watching: Watching,
) -> None:
    watching.monkeypatch.setenv("EVALQUEUE_PUBLIC_URL", "https://eval.example.com/base/")
    async with receiving() as receiver:
        await fired(watching, receiver, f"/hooks/{QUERY}")

    (got,) = receiver.received
    assert got.is_signed
    assert got.target == f"/hooks/{QUERY}"
    assert abs(int(got.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert got.headers["content-type"] == "application/json"
    (batch,) = await watching.job_ids("evaluate-batch")
    message, data = got.message, got.message["data"]
    assert message["type"] == "alert.fired"
    assert (data["alert"], data["watches"], data["job_id"]) == ("judged", "coverage", str(batch))
    assert data["figures"] == {"coverage": {"intent": 0.0}}
    assert data["links"] == {
        "run": f"https://eval.example.com/base/runs/{data['run_id']}",
        "job": f"https://eval.example.com/base/jobs/{batch}",
    }
    job = await delivery(watching)
    assert (job.status, job.result) == (JobStatus.COMPLETED, {"delivered": True})
    rows = await query(watching.database, "SELECT delivered_at IS NOT NULL FROM alert_events")
    assert rows == [(True,)]


async def test_a_receiver_that_fails_twice_gets_the_same_id_a_third_time(
    watching: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving(500, 302) as receiver:
        await fired(watching, receiver, f"/hooks{QUERY}")
        for _ in range(2):
            await watching.hurry()

    job = await delivery(watching)
    attempts = await watching.client.attempts(job.id)
    assert [each.error for each in attempts] == [
        "127.0.0.1 answered HTTP 500", "127.0.0.1 answered HTTP 302", None,
    ]  # fmt: skip
    assert job.status is JobStatus.COMPLETED
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
    assert [each.target for each in receiver.received] == [f"/hooks{QUERY}"] * 3
    assert all(each.is_signed for each in receiver.received)
    everything = await query(
        watching.database,
        "SELECT string_agg(jobs::text, ''), (SELECT string_agg(job_attempts::text, '')"
        " FROM job_attempts), (SELECT string_agg(audit_log::text, '') FROM audit_log) FROM jobs",
    )
    assert "s3cret" not in caplog.text + str(everything)
    assert SECRET not in str(everything)


async def test_a_receiver_that_is_not_there_is_tried_again_later(watching: Watching) -> None:
    await fired(watching, Receiver(url="http://127.0.0.1:9"))

    job = await delivery(watching)
    (attempt,) = await watching.client.attempts(job.id)
    assert job.status is JobStatus.QUEUED
    assert job.max_attempts == 12
    assert "127.0.0.1 can't be reached" in (attempt.error or "")
    seconds = (job.due_at - attempt.ended_at).total_seconds()
    assert 0 < seconds <= 1.5


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("EVALQUEUE_WEBHOOK_SECRET", "", "Set EVALQUEUE_WEBHOOK_SECRET"),
        ("EVALQUEUE_WEBHOOK_HOSTS", "hooks.example.com", "add it to EVALQUEUE_WEBHOOK_HOSTS"),
    ],
)
async def test_a_worker_that_may_not_send_sends_nothing(
    watching: Watching, name: str, value: str, reason: str
) -> None:
    async with receiving() as receiver:
        alert = await watching.add(
            name="judged", watches="coverage", min_coverage=0.9, webhook_url=receiver.url
        )
        watching.monkeypatch.setenv(name, value)
        await watching.judge(UNJUDGED, total_items=1, evaluators=["intent"])

    job = await delivery(watching)
    (attempt,) = await watching.client.attempts(job.id)
    assert reason in (attempt.error or "")
    assert receiver.received == []
    assert len(await watching.events(alert)) == 1


async def test_a_name_that_leads_to_a_private_address_is_not_called(watching: Watching) -> None:
    """The list has a name, and says nothing of loopback."""
    watching.monkeypatch.setenv("EVALQUEUE_WEBHOOK_HOSTS", "localhost.localdomain")
    async with receiving() as receiver:
        port = receiver.url.rpartition(":")[2]
        await fired(watching, Receiver(url=f"http://localhost.localdomain:{port}"))

    assert receiver.received == []
    assert (await delivery(watching)).status is not JobStatus.COMPLETED


async def test_a_receiver_without_an_end_is_left(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "QUIET_SECONDS", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await fired(watching, Receiver(url=f"http://127.0.0.1:{port}"))

    job = await delivery(watching)
    (attempt,) = await watching.client.attempts(job.id)
    assert attempt.error == "127.0.0.1 said nothing for 0.2 s"


async def test_an_alert_that_was_removed_is_not_sent(watching: Watching) -> None:
    async with receiving(500) as receiver:
        alert = await fired(watching, receiver)
        await query(watching.database, "DELETE FROM alerts WHERE id = %s RETURNING id", alert.id)
        await watching.hurry()

    assert len(receiver.received) == 1
    assert (await delivery(watching)).result == {"delivered": False}


def test_the_signature_is_that_of_the_reference_libraries() -> None:
    """The values of their own tests."""
    settings = webhook.WebhookSettings(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert settings.key is not None
    headers = webhook.headers(
        settings.key,
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at=datetime.fromtimestamp(1614265330, UTC),
        body=b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_a_drift_alarm_is_told(watching: Watching) -> None:
    harsh = Behaviour(error_rate=1.0)
    async with receiving() as receiver:
        await watching.add(name="judge", watches="drift", webhook_url=receiver.url)
        anchor = await watching.judge(total_items=48, evaluators=["intent"])
        job = await watching.client.submit(CheckDrift(anchor=anchor.id))
        while not (await watching.client.get(job.id)).status.is_over:
            await watching.hurry(harsh)
        await watching.hurry(harsh)

    (got,) = receiver.received
    data = got.message["data"]
    assert (got.message["type"], data["alert"], data["app_id"]) == ("alert.fired", "judge", None)
    assert "values differ" in data["explanation"]
    assert data["links"] == {"job": f"/jobs/{job.id}"}
