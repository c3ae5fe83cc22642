"""How long LLM calls take, and when they are made: arithmetic over counts, and nothing else.

Latencies spread over orders of magnitude, so the edges of their bins are powers: the n-th part of a
decade apart, as fine as the bins allowed. Edges and stretches of time lie on fixed grids, so that a
chart of a run that goes on grows, and seldom changes its scale.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil, floor, log10

MAX_BINS = 24
MAX_STRETCHES = 120
FASTEST_MS = 1.0  # what takes less is counted in the first bin

_PER_DECADE = (24, 12, 8, 6, 4, 3, 2, 1)  # the last: up to 10^24 ms
_WIDTHS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600)
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorCalls:
    """The LLM calls of one evaluator, every attempt one."""

    evaluator: str
    calls: int
    failed_calls: int
    reused_calls: int
    """Calls that were not made, since an earlier run's answer was taken; not in `calls`."""
    p50_ms: float | None
    """Of the calls that got an answer, as all latencies are; None: there is none."""
    p95_ms: float | None
    max_ms: float | None
    min_ms: float | None
    tokens_in: int | None
    """None: no call reported any."""
    tokens_out: int | None
    cost_usd: Decimal | None
    """Of the calls whose price is known; None: of none."""
    unpriced_calls: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answered calls of an evaluator between two edges; the first bin is 1."""

    evaluator: str
    bin: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The LLM calls of a stretch of time in which there were some; the first stretch is 1."""

    stretch: int
    calls: int
    failed_calls: int
    tokens_in: int | None
    tokens_out: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The LLM calls that began within a stretch of time."""

    at: datetime
    """When it begins; it ends where the next one begins."""
    calls: int
    failed_calls: int
    tokens_in: int | None
    tokens_out: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """How many calls took how long; the n-th count is between the n-th edge and the next."""

    edges_ms: Sequence[float]
    counts: Mapping[str, Sequence[int]]
    """By evaluator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmStatistics:
    """What the LLM calls of a run came to so far."""

    calls: int
    failed_calls: int
    reused_calls: int
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: Decimal | None
    unpriced_calls: int
    evaluators: Sequence[EvaluatorCalls]
    latency: Latencies
    timeline: Sequence[Stretch]
    """Equal stretches from the first call to the last, also those without any."""


def of_calls(
    evaluators: Sequence[EvaluatorCalls],
    edges_ms: Sequence[float],
    bins: Iterable[Bin],
    starts: Sequence[datetime],
    busy: Iterable[Busy],
) -> LlmStatistics:
    """`bins` are counted between `edges_ms`, `busy` from `starts` on."""
    counts = {each.evaluator: [0] * max(0, len(edges_ms) - 1) for each in evaluators}
    for each in bins:
        counts[each.evaluator][each.bin - 1] += each.calls
    calls = sum(each.calls for each in evaluators)
    costs = [each.cost_usd for each in evaluators if each.cost_usd is not None]
    return LlmStatistics(
        calls=calls,
        failed_calls=sum(each.failed_calls for each in evaluators),
        reused_calls=sum(each.reused_calls for each in evaluators),
        tokens_in=_sum(each.tokens_in for each in evaluators) if calls else 0,
        tokens_out=_sum(each.tokens_out for each in evaluators) if calls else 0,
        cost_usd=sum(costs, Decimal(0)) if costs or not calls else None,
        unpriced_calls=sum(each.unpriced_calls for each in evaluators),
        evaluators=evaluators,
        latency=Latencies(edges_ms=edges_ms, counts=counts),
        timeline=_timeline(starts, busy),
    )


def edges(evaluators: Iterable[EvaluatorCalls]) -> tuple[float, ...]:
    """Edges of bins that hold every answered call; none without any."""
    answered = [
        duration
        for each in evaluators
        for duration in (each.min_ms, each.max_ms)
        if duration is not None
    ]
    if not answered:
        return ()
    grids = (_grid(min(answered), max(answered), steps) for steps in _PER_DECADE)
    return next(grid for grid in grids if len(grid) <= MAX_BINS + 1)


def starts(evaluators: Sequence[EvaluatorCalls]) -> tuple[datetime, ...]:
    """When stretches of the timeline begin that hold every call; none without any."""
    if not evaluators:
        return ()
    first = min(each.first_at for each in evaluators) - _EPOCH
    last = max(each.last_at for each in evaluators) - _EPOCH
    widths = (timedelta(seconds=each) for each in _WIDTHS)
    width = next(
        (each for each in widths if last // each - first // each < MAX_STRETCHES),
        _DAY * ceil((last - first) / (_DAY * (MAX_STRETCHES - 1))),
    )
    return tuple(_EPOCH + width * each for each in range(first // width, last // width + 1))


def _grid(lowest: float, highest: float, steps: int) -> tuple[float, ...]:
    """Edges around all latencies, so many to a decade."""
    lowest, highest = max(FASTEST_MS, lowest), max(FASTEST_MS, highest)
    first, last = floor(log10(lowest) * steps), ceil(log10(highest) * steps)
    return tuple(10 ** (step / steps) for step in range(first, max(last, first + 1) + 1))


def _timeline(starts: Sequence[datetime], busy: Iterable[Busy]) -> list[Stretch]:
    """Also where nothing happened; nothing is said of tokens there."""
    found = {each.stretch: each for each in busy}
    idle = Busy(stretch=0, calls=0, failed_calls=0, tokens_in=None, tokens_out=None)
    return [
        Stretch(
            at=at,
            calls=each.calls,
            failed_calls=each.failed_calls,
            tokens_in=each.tokens_in,
            tokens_out=each.tokens_out,
        )
        for number, at in enumerate(starts, start=1)
        for each in (found.get(number, idle),)
    ]


def _sum(values: Iterable[int | None]) -> int | None:
    """A sum over nothing known is not known."""
    known = [each for each in values if each is not None]
    return sum(known) if known else None
