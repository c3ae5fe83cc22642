"""How long calls take, and when they are made: edges, bins and stretches of time."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.statistics.latencies import (
    MAX_BINS,
    MAX_STRETCHES,
    Bin,
    Busy,
    EvaluatorCalls,
    edges,
    of_calls,
    starts,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

_LONGEST = timedelta(days=1)


def calls(
    lowest: float | None, highest: float | None, evaluator: str = "e", **more: Any
) -> EvaluatorCalls:
    said: dict[str, Any] = {
        "calls": 1, "failed_calls": 0, "reused_calls": 0, "p50_ms": None, "p95_ms": None,
        "tokens_in": None, "tokens_out": None, "cost_usd": None, "unpriced_calls": 0,
        "first_at": NOON, "last_at": NOON,
    }  # fmt: skip
    return EvaluatorCalls(evaluator=evaluator, min_ms=lowest, max_ms=highest, **said | more)


@pytest.mark.parametrize(
    ("lowest", "highest", "bins", "first", "last"),
    [
        (100.0, 100.0, 1, 100, 10 ** (49 / 24)),
        (10.0, 100.0, 24, 10, 100),
        (10.0, 1000.0, 24, 10, 1000),
        (1.0, 60_000.0, 20, 1, 10**5),
        (0.0, 0.5, 1, 1, 10 ** (1 / 24)),
        (0.0, 10.0, 24, 1, 10),
    ],
)
def test_edges_are_as_fine_as_the_bins_allow(
    lowest: float, highest: float, bins: int, first: float, last: float
) -> None:
    found = edges([calls(lowest, highest)])

    assert len(found) - 1 == bins
    assert (found[0], found[-1]) == pytest.approx((first, last))


durations = st.floats(0, 1e9)


@given(durations, durations)
def test_edges_go_up_and_hold_every_call(one: float, other: float) -> None:
    lowest, highest = sorted((one, other))
    found = edges([calls(None, None), calls(lowest, highest)])

    assert 2 <= len(found) <= MAX_BINS + 1
    assert list(found) == sorted(set(found))
    assert found[0] <= max(1, lowest) * (1 + 1e-12)
    assert found[-1] >= highest * (1 - 1e-12)
    ratios = [found[n + 1] / found[n] for n in range(len(found) - 1)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_where_no_call_was_answered_there_are_no_bins() -> None:
    assert edges([]) == edges([calls(None, None)]) == ()
    found = of_calls([calls(None, None, calls=3, failed_calls=3)], (), [], [], [])
    assert (found.calls, found.failed_calls, found.latency.counts) == (3, 3, {"e": []})


def test_totals_are_sums_and_a_sum_of_nothing_known_is_not_known() -> None:
    one = calls(1, 9, "one", calls=4, failed_calls=1, tokens_in=7)
    other = calls(2, 3, "other", calls=2)
    bins = [Bin(evaluator="one", bin=1, calls=2), Bin(evaluator="one", bin=3, calls=1)]

    found = of_calls([one, other], (1, 2, 4, 8), bins, [], [])

    assert (found.calls, found.failed_calls) == (6, 1)
    assert (found.tokens_in, found.tokens_out) == (7, None)
    assert found.latency.counts == {"one": [2, 0, 1], "other": [0, 0, 0]}


@pytest.mark.parametrize(
    ("seconds", "width"),
    [(0, 0.1), (11.8, 0.1), (12, 0.2), (100, 1), (130, 2), (3_600, 60), (86_400, 900)],
)
def test_stretches_have_round_lengths(seconds: float, width: float) -> None:
    span, each = timedelta(seconds=seconds), timedelta(seconds=width)
    found = starts([calls(1, 1, last_at=NOON + span)])

    assert found == tuple(NOON + each * number for number in range(span // each + 1))


@given(
    st.timedeltas(timedelta(0), timedelta(days=3_650)).map(lambda past: NOON - past),
    st.timedeltas(timedelta(0), timedelta(days=3_650)),
)
def test_no_more_stretches_than_a_chart_can_show_and_the_calls_are_in_them(
    first: datetime, span: timedelta
) -> None:
    found = starts([calls(1, 1, first_at=first, last_at=first + span)])

    assert len(found) <= MAX_STRETCHES
    widths = {after - before for before, after in pairwise(found)}
    assert len(widths) <= 1
    width = widths.pop() if widths else _LONGEST
    assert found[0] <= first < found[0] + width
    assert found[-1] <= first + span < found[-1] + width


def test_a_stretch_without_calls_says_nothing_of_tokens() -> None:
    begun = [NOON + timedelta(seconds=number) for number in range(3)]
    busy = [
        Busy(stretch=number, calls=number, failed_calls=0, tokens_in=5, tokens_out=None)
        for number in (1, 3)
    ]

    found = of_calls([calls(1, 1)], (), [], begun, busy).timeline

    assert [each.at for each in found] == begun
    assert [each.calls for each in found] == [1, 0, 3]
    assert [each.tokens_in for each in found] == [5, None, 5]


def test_without_calls_there_is_no_timeline() -> None:
    assert starts([]) == ()
    assert of_calls([], (), [], (), []).timeline == []
