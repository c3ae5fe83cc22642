"""The pace that is found for a vendor whose limits are unknown, or that refuses calls at random."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from virtual_pace import Ledger, Process, Vendor, bursts, endless, steady, work

ANY_PACE = 16.0  # a second, which is enough for a batch: what it begins with


@dataclass(frozen=True, slots=True)
class Demand:
    """What calls are wanted, and the pace without which they wait."""

    name: str
    calls: Callable[[], Iterator[float]]
    mean: float
    pace: float


DEMANDS = (
    Demand("1/s", lambda: steady(1), mean=1, pace=4),
    Demand("5/s", lambda: steady(5), mean=5, pace=5),
    Demand("16/s", lambda: steady(16), mean=16, pace=ANY_PACE),
    Demand("50/s", lambda: steady(50), mean=50, pace=ANY_PACE),
    Demand("30 every 20 s", lambda: bursts(30, 20), mean=1.5, pace=ANY_PACE),
    Demand("200 every 30 s", lambda: bursts(200, 30), mean=200 / 30, pace=ANY_PACE),
)


@pytest.mark.parametrize("demand", DEMANDS, ids=lambda each: each.name)
@pytest.mark.parametrize("share", [0.005, 0.01, 0.02])
def test_a_few_refusals_at_random_do_not_slow_calls_down(
    ledger: Ledger, share: float, demand: Demand
) -> None:
    vendor = Vendor(refused_share=share)
    process = Process(ledger, vendor, "w1", demand.calls())
    paces = list[float]()

    work(process, until=180, note=paces.append)

    late = sorted(paces[60:])
    assert late[len(late) // 2] >= demand.pace
    assert sum(at >= 60 for at in vendor.admitted) >= 0.85 * 120 * min(demand.mean, ANY_PACE)


@pytest.mark.parametrize("demand", DEMANDS, ids=lambda each: each.name)
def test_many_refusals_at_random_end_in_no_crawl(ledger: Ledger, demand: Demand) -> None:
    vendor = Vendor(refused_share=0.05)
    process = Process(ledger, vendor, "w1", demand.calls())
    paces = list[float]()
    work(process, until=300, note=paces.append)
    assert min(paces) >= 3
    assert sorted(paces)[150] >= 4

    vendor.refused_share = 0
    work(process, begin=300, until=361, note=paces.append)

    assert paces[-1] >= min(demand.mean, ANY_PACE)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that is not stated, and what has to come of it."""

    name: str
    per_second: float
    window: float | None
    capacity: float
    workers: int = 1
    is_telling: bool = False
    calls: Callable[[], Iterator[float]] = endless
    wanted: float | None = None
    """A second, if less than is allowed."""
    used: float = 0.9
    """At least, of what is allowed and wanted."""
    refused: float = 0.03
    """At most, of all calls after the first minute."""


LIMITS = (
    Limit("600/min", 10, None, 10),
    Limit("600/min, two workers", 10, None, 10, workers=2),
    Limit("600/min, a minute's reserve", 10, None, 600),
    Limit("600/min, windows", 10, 60, 600),
    Limit("600/min, less is wanted", 10, None, 10, calls=lambda: steady(9.5), wanted=9.5),
    Limit("600/min, a little more is wanted", 10, None, 10, calls=lambda: steady(12)),
    Limit("600/min, long bursts", 10, None, 10, calls=lambda: bursts(200, 30), wanted=200 / 30),
    # A burst is over before what is allowed was measured.
    Limit("600/min, bursts", 10, None, 10, calls=lambda: bursts(30, 5), wanted=6, refused=0.06),
    Limit("120/min", 2, None, 4),
    Limit("60/min", 1, None, 2),
    Limit("60/min, stated windows", 1, 60, 60, is_telling=True),
    Limit("30/min, stated windows", 0.5, 60, 30, is_telling=True, refused=0.05),
    Limit("60/min, windows", 1, 60, 60, used=0.6, refused=0.06),
    Limit("6,000/min", 100, None, 100),
    Limit("100/s, windows", 100, 1, 100),
)


@pytest.mark.parametrize("limit", LIMITS, ids=lambda each: each.name)
def test_an_unknown_limit_is_found(ledger: Ledger, limit: Limit) -> None:
    vendor = Vendor(
        per_second=limit.per_second, window=limit.window, capacity=limit.capacity,
        is_telling=limit.is_telling,
    )  # fmt: skip
    processes = [Process(ledger, vendor, f"w{n}", limit.calls()) for n in range(limit.workers)]

    work(*processes, until=300)

    late = sum(at >= 60 for at in vendor.admitted)
    assert late >= limit.used * 240 * (limit.wanted or limit.per_second)
    refused = sum(at >= 60 for at in vendor.refused)
    assert refused <= limit.refused * (late + refused)


def test_a_limit_that_is_halved_is_found_again(ledger: Ledger) -> None:
    vendor = Vendor(per_second=10, capacity=10)
    process = Process(ledger, vendor, "w1", endless())
    work(process, until=60)
    vendor.per_second, refused = 5, len(vendor.refused)

    work(process, begin=60, until=180)

    assert sum(at >= 75 for at in vendor.admitted) >= 0.95 * 5 * 105
    assert len(vendor.refused) - refused <= 0.03 * 600


@pytest.mark.parametrize("share", [0.01, 0.02])
def test_a_limit_is_used_whatever_else_is_refused(ledger: Ledger, share: float) -> None:
    vendor = Vendor(per_second=10, capacity=10, refused_share=share)
    process = Process(ledger, vendor, "w1", endless())

    work(process, until=300)

    late = sum(at >= 60 for at in vendor.admitted)
    assert late >= 0.8 * 240 * 10
    refused = sum(at >= 60 for at in vendor.refused)
    assert refused <= (share + 0.03) * (late + refused)


def test_an_idle_time_does_not_stop_the_recovery(ledger: Ledger) -> None:
    vendor = Vendor(per_second=2, capacity=4)
    process = Process(ledger, vendor, "w1", bursts(60, 30))
    work(process, until=300)
    vendor.per_second = 1_000
    vendor.capacity = 1_000
    paces = list[float]()

    work(process, begin=300, until=660, note=paces.append)

    assert paces[-1] >= ANY_PACE


def test_a_refusal_is_forgotten_after_many_answers(ledger: Ledger) -> None:
    ledger.answer_probe(0)
    ledger(0.1, refused=1, epoch=ledger.last["epoch"])
    ledger(0.5, wanted=1)
    ledger(0.6, probe="answered", answered=1, succeeded=True)
    assert ledger(0.7, refused=1)["is_probing"], "of no known limit"
    ledger(0.8, wanted=1)
    for number in range(100):
        ledger(1.0 + number, probe="answered", answered=5_000, succeeded=True)

    row = ledger.connection.execute("SELECT unexplained_share FROM llm_credentials").fetchone()
    assert row == (0.0,)
