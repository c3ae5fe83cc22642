"""The accounts of two attempts that share a cap, on a real Postgres."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from costing import query

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.caps.account import CapAccount, CapReached
from evalqueue.evaluators.caps.ledger import CapLedger, Held
from evalqueue.evaluators.caps.limits import Caps
from evalqueue.evaluators.caps.worst_case import NOTHING, CallAmount, CallAmounts
from evalqueue.evaluators.prices.price_list import ModelPrice, PriceList
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Usage
from evalqueue.postgres.database import Database

REQUEST = CompletionRequest(
    system="Judge.", prompt="Is it good?", schema_name="answer", schema={}, max_output_tokens=1_000
)
AMOUNTS = CallAmounts(
    prices=PriceList(None, {"m": ModelPrice(input=Decimal(1), output=Decimal(2))}), model="m"
)
WORST = AMOUNTS.worst(REQUEST)


def answer(tokens: int | None = 10) -> Completion:
    usage = Usage(input_tokens=tokens, output_tokens=tokens)
    return Completion(text="{}", model="m", usage=usage, latency_ms=1.0)


async def running_job(client: Client, database: Database) -> UUID:
    job = await client.submit(EvaluateBatch(total_items=1))
    await query(
        database,
        "UPDATE procrastinate_jobs SET status = 'doing'"
        " WHERE id = (SELECT task_id FROM jobs WHERE id = %s) RETURNING 1", job.id,
    )  # fmt: skip
    return job.id


def ledger(database: Database, job_id: UUID, root_job_id: UUID, caps: Caps) -> CapLedger:
    return CapLedger.of_attempt(
        database, job_id=job_id, root_job_id=root_job_id, owner="default", attempt=1, caps=caps
    )


@pytest.fixture
async def job(client: Client, database: Database) -> UUID:
    return await running_job(client, database)


@pytest.fixture
async def helper(client: Client, database: Database) -> UUID:
    return await running_job(client, database)


async def test_what_an_idle_attempt_does_not_need_is_for_the_others(
    database: Database, job: UUID, helper: UUID
):
    caps = Caps(job_tokens=50 * WORST.tokens)
    async with (
        CapAccount(ledger(database, job, job, caps), AMOUNTS) as idle,
        CapAccount(ledger(database, helper, job, caps), AMOUNTS) as busy,
    ):
        (await idle.reserve(REQUEST)).settle(answer())
        async with asyncio.timeout(10):
            granted = await asyncio.gather(*(busy.reserve(REQUEST) for _ in range(49)))
        waiting = asyncio.create_task(busy.reserve(REQUEST))
        await asyncio.sleep(0.5)
        assert not waiting.done(), "calls in flight may leave something"
        for each in granted:
            each.settle(None)  # interrupted: all of it may be billed
        with pytest.raises(CapReached, match=r"the cap of [\d,]+ tokens is reached"):
            await waiting
    held = await query(database, "SELECT sum(held_tokens), bool_or(is_open) FROM llm_cap_holders")
    assert held == [(20 + 49 * WORST.tokens, False)]


async def test_what_an_attempt_used_is_what_may_be_billed(database: Database, job: UUID):
    def failed(outcome: CallOutcome) -> ProviderError:
        return ProviderError(outcome, "no")

    lost = failed(CallOutcome.TRANSIENT)
    lost.is_answer_lost = True
    for result, used in (
        (answer(10), CallAmount(Decimal("0.00003"), 20)),
        (answer(None), WORST),
        (failed(CallOutcome.TIMEOUT), WORST),
        (lost, WORST),
        (failed(CallOutcome.TRANSIENT), NOTHING),
        (failed(CallOutcome.BAD_REQUEST), NOTHING),
        (None, WORST),
    ):
        assert AMOUNTS.used(result, worst=WORST) == used
    caps = Caps(job_usd=10 * WORST.usd, month_usd=2 * WORST.usd)
    async with CapAccount(ledger(database, job, job, caps), AMOUNTS) as account:
        first = await account.reserve(REQUEST)
        first.settle(answer(10))
        first.settle(None)  # only the first report counts
        first.release()
        (await account.reserve(REQUEST)).release()
        (await account.reserve(REQUEST)).settle(None)
        with pytest.raises(CapReached, match=r"the monthly cap of \$0\.00\d+ for default"):
            await account.reserve(REQUEST)
    held = await query(database, "SELECT DISTINCT held_usd FROM llm_cap_holders")
    assert held == [(WORST.usd + Decimal("0.00003"),)]


async def test_a_statement_that_arrives_after_its_successor_changes_nothing(
    database: Database, job: UUID
):
    caps = Caps(job_tokens=1_000)
    numbers: Iterator[int] = iter([2, 1, 4, 3])
    one = replace(ledger(database, job, job, caps), revisions=numbers)
    nothing = Held(amount=NOTHING, in_this_month=NOTHING)
    each = CallAmount(Decimal(0), 400)
    assert (await one.reserve(nothing, [each, each, each], extra=NOTHING, in_flight=0)).calls == 2
    assert await one.reserve(nothing, [], extra=NOTHING, in_flight=0) is None
    held = Held(amount=each, in_this_month=NOTHING)
    await one.settle(held, month="")
    await one.settle(nothing, month="")
    assert await query(database, "SELECT held_tokens FROM llm_cap_holders") == [(400,)]


async def test_an_attempt_that_is_over_reserves_nothing_and_its_reservations_stay_used(
    client: Client, database: Database, job: UUID
):
    caps = Caps(job_tokens=1_000)
    nothing = Held(amount=NOTHING, in_this_month=NOTHING)
    each = CallAmount(Decimal(0), 700)
    first = ledger(database, job, job, caps)
    assert (await first.reserve(nothing, [each], extra=NOTHING, in_flight=0)).calls == 1
    await query(database, "UPDATE jobs SET attempt = attempt + 1 WHERE id = %s RETURNING 1", job)
    assert await first.reserve(nothing, [each], extra=NOTHING, in_flight=0) is None
    second = replace(ledger(database, job, job, caps), attempt=2)
    grant = await second.reserve(nothing, [each], extra=NOTHING, in_flight=0)
    assert grant is not None
    assert grant.calls == 0
    assert grant.refusal is not None
    assert not grant.refusal.others_may_free
    assert await query(database, "SELECT used_tokens FROM llm_caps") == [(700,)]


async def test_a_question_to_another_model_is_set_aside_at_its_own_price(
    database: Database, job: UUID
):
    dear = CallAmounts(
        prices=PriceList(None, {"n": ModelPrice(input=Decimal(10), output=Decimal(20))}), model="n"
    )
    caps = Caps(job_tokens=50 * WORST.tokens)
    async with CapAccount(ledger(database, job, job, caps), AMOUNTS) as account:
        own = await account.set_aside(REQUEST, price_share=Decimal("0.5"))
        other = await account.of_model(dear).set_aside(REQUEST, price_share=Decimal("0.5"))
    assert (own.usd, own.tokens) == (WORST.usd / 2, WORST.tokens)
    assert (other.usd, other.tokens) == (WORST.usd * 5, WORST.tokens)
    assert await query(database, "SELECT held_tokens FROM llm_cap_holders") == [(2 * WORST.tokens,)]
