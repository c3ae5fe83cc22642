"""What a batch found, in shares with 95 % intervals: arithmetic over counts, and nothing else.

What was not measured is outside of every share, and told apart: the threads of a run less the sum
of a verdict's counts. A share of threads has Wilson's interval: threads are independent. The
accuracy of intents is over messages, which come in threads: clusters, in the sense of `intervals`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from evalqueue.evaluators.judging.answers import label_key
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.statistics.intervals import Cluster, effective_size, wilson
from evalqueue.evaluators.verdicts import Correctness, Efficiency

MATRIX_LABELS = 30
OTHER = "other"
"""Where the rarest of too many labels are counted, together with one that calls itself so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many threads came out in the same way."""

    worst_correctness: str | None
    efficiency_verdict: str | None
    failed: bool
    intents_correct: int
    intents_compared: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """How many messages had one label and were given another, or the same, by the judge."""

    expected: str
    predicted: str
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingVerdicts:
    """How many verdicts are missing for a reason."""

    evaluator: str
    reason: str
    count: int
    example: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of the threads measured have a verdict; None: none was measured."""

    verdict: str
    count: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intents:
    """How often the router's label is the judge's, and which were taken for which."""

    accuracy: float
    low: float
    high: float
    correct: int
    compared: int
    threads: int
    """Those with a message that could be compared."""
    labels: Sequence[str]
    """The most frequent first; of labels that differ in spelling only, the usual spelling."""
    matrix: Sequence[Sequence[int]]
    """A row for each label expected, a column for each predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """What was found in the threads of a run so far."""

    threads: int
    failed: int
    """Nothing at all could be measured in them."""
    correctness: Sequence[Share]
    efficiency: Sequence[Share]
    intent: Intents | None
    """None: no message could be compared."""
    coverage: Mapping[str, Coverage]
    failures: Sequence[MissingVerdicts]
    """The most frequent first."""


def of_batch(
    tallies: Sequence[Tally],
    pairs: Iterable[Pair],
    coverage: Mapping[str, Coverage],
    failures: Sequence[MissingVerdicts],
) -> BatchStatistics:
    return BatchStatistics(
        threads=sum(each.threads for each in tallies),
        failed=sum(each.threads for each in tallies if each.failed),
        correctness=shares(
            Correctness, ((each.worst_correctness, each.threads) for each in tallies)
        ),
        efficiency=shares(
            Efficiency, ((each.efficiency_verdict, each.threads) for each in tallies)
        ),
        intent=intents(tallies, pairs),
        coverage=coverage,
        failures=failures,
    )


def shares(
    vocabulary: type[StrEnum], counts: Iterable[tuple[str | None, int]]
) -> tuple[Share, ...]:
    """The share of every verdict of a vocabulary, in its order, of those that were measured."""
    times: Counter[str] = Counter()
    for verdict, threads in counts:
        if verdict is not None:
            times[verdict] += threads
    return tuple(_share(verdict.value, times[verdict], times.total()) for verdict in vocabulary)


def intents(tallies: Iterable[Tally], pairs: Iterable[Pair]) -> Intents | None:
    clusters = [
        Cluster(positive=each.intents_correct, size=each.intents_compared, times=each.threads)
        for each in tallies
        if each.intents_compared
    ]
    compared = sum(each.size * each.times for each in clusters)
    if not compared:
        return None
    correct = sum(each.positive * each.times for each in clusters)
    low, high = wilson(correct / compared, effective_size(clusters))
    labels, matrix = confusion(pairs)
    return Intents(
        accuracy=correct / compared,
        low=low,
        high=high,
        correct=correct,
        compared=compared,
        threads=sum(each.times for each in clusters),
        labels=labels,
        matrix=matrix,
    )


def confusion(pairs: Iterable[Pair]) -> tuple[list[str], list[list[int]]]:
    """Labels, and how often each was taken for each; compared as `same_label` does."""
    cells: Counter[tuple[str, str]] = Counter()
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        expected, predicted = label_key(pair.expected), label_key(pair.predicted)
        cells[expected, predicted] += pair.messages
        spellings[expected][pair.expected] += pair.messages
        spellings[predicted][pair.predicted] += pair.messages
    named = _most_frequent(spellings)
    labels = [_usual(spellings[key]) for key in named]
    if len(named) < len(spellings):
        labels.append(OTHER)
    places = {key: place for place, key in enumerate(named)}
    matrix = [[0] * len(labels) for _ in labels]
    for (expected, predicted), messages in cells.items():
        matrix[places.get(expected, -1)][places.get(predicted, -1)] += messages
    return labels, matrix


def _share(verdict: str, count: int, measured: int) -> Share:
    low, high = wilson(count / measured, measured) if measured else (None, None)
    return Share(
        verdict=verdict,
        count=count,
        share=count / measured if measured else None,
        low=low,
        high=high,
    )


def _most_frequent(spellings: Mapping[str, Counter[str]]) -> list[str]:
    """The keys that have a row of their own."""
    keys = sorted(spellings, key=lambda key: (-spellings[key].total(), key))
    if len(keys) <= MATRIX_LABELS:
        return keys
    return [key for key in keys if key != OTHER][: MATRIX_LABELS - 1]


def _usual(spellings: Counter[str]) -> str:
    return min(spellings, key=lambda spelling: (-spellings[spelling], spelling))
