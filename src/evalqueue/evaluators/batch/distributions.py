"""What a batch found, with 95 % intervals: arithmetic over counts, and nothing else.

What was not measured is outside of every share and every mean. Scores of different versions of an
evaluator are never counted together. A share of threads has Wilson's interval: threads are
independent. What is measured in turns comes in threads: clusters, in the sense of `intervals`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalqueue.evaluators.judging.answers import label_key
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.evaluators.statistics.intervals import (
    Cluster,
    effective_size,
    mean_interval,
    wilson,
)

MATRIX_LABELS = 30
OTHER = "other"
"""Where the rarest of too many labels are counted, together with one that calls itself so."""

YES_OR_NO = ("true", "false")

Key = tuple[str, str, str]
"""Evaluator, version, and the name of a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    evaluator: str
    version: str
    name: str

    @property
    def key(self) -> Key:
        return self.evaluator, self.version, self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount(_Counted):
    """How many threads were given a label; None: none, for a failure or because none applies."""

    label: str | None
    failed: bool
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLabels(_Counted):
    """How many threads have turns that were given the same labels equally often."""

    labels: Mapping[str, int] | None
    failures: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSums(_Counted):
    """What the interval of a mean is made of."""

    mean: float | None
    measured: int
    failures: int
    threads: int
    """Those with a number."""
    squares: float
    """The sum over threads of (sum of deviations from the mean)²."""
    lowest: float | None
    highest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPair(_Counted):
    """How many turns had one label on record and were given another, or the same, by the judge."""

    expected: str
    predicted: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedLabels(_Counted):
    """How many threads have labels that can be compared with those on record."""

    failures: int
    """Labels that are missing for a reason."""
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingScores:
    """How many scores are missing for a reason."""

    evaluator: str
    reason: str
    count: int
    example: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShare:
    """How much of what was measured has a label; None: nothing was measured."""

    label: str
    count: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over what was measured."""

    mean: float
    low: float | None
    """None: one thread does not show how much they differ."""
    high: float | None
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Which labels on record were taken for which."""

    labels: Sequence[str]
    """The most frequent first; of labels that differ in spelling only, the usual spelling."""
    matrix: Sequence[Sequence[int]]
    """A row for each label expected, a column for each predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreStatistics:
    """What one score of one version of an evaluator came to."""

    name: str
    title: str
    kind: ScoreKind
    per_turn: bool
    version: str | None
    """None: nothing was measured yet."""
    measured: int
    """Values: of threads, or of turns."""
    threads: int
    """Those with a value."""
    failed: int
    """Values that are missing for a reason."""
    shares: Sequence[LabelShare]
    """Of a category or boolean, in the declared order."""
    mean: Mean | None
    """Of a number; None: none was measured."""
    confusion: Confusion | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorStatistics:
    """What one evaluator found in the threads of a run so far."""

    declaration: EvaluatorDeclaration
    coverage: Coverage
    scores: Sequence[ScoreStatistics]
    """Of each version one after the other, where a run has several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """What was found in the threads of a run so far."""

    threads: int
    failed: int
    """Nothing at all could be measured in them."""
    evaluators: Sequence[EvaluatorStatistics]
    coverage: Mapping[str, Coverage]
    failures: Sequence[MissingScores]
    """The most frequent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCounts:
    """All that is counted of a run's scores."""

    labels: Sequence[LabelCount] = ()
    turn_labels: Sequence[TurnLabels] = ()
    numbers: Sequence[NumberSums] = ()
    pairs: Sequence[LabelPair] = ()
    compared: Sequence[ComparedLabels] = ()

    def versions(self, evaluator: str) -> list[str]:
        everything: list[_Counted] = [
            *self.labels, *self.turn_labels, *self.numbers, *self.pairs, *self.compared,
        ]  # fmt: skip
        return sorted({each.version for each in everything if each.evaluator == evaluator})


def of_evaluator(
    declaration: EvaluatorDeclaration, counts: ScoreCounts, coverage: Coverage
) -> EvaluatorStatistics:
    """What an evaluator's scores come to; of each version apart."""
    versions: list[str | None] = [*counts.versions(declaration.name)]
    return EvaluatorStatistics(
        declaration=declaration,
        coverage=coverage,
        scores=[
            _of_score(declaration.name, version, declared, counts)
            for version in versions or [None]
            for declared in declaration.scores
        ],
    )


def _of_score(
    evaluator: str, version: str | None, declared: ScoreDeclaration, counts: ScoreCounts
) -> ScoreStatistics:
    key = (evaluator, version, declared.name)
    measured, threads, failed = 0, 0, 0
    found_shares: Sequence[LabelShare] = ()
    found_mean: Mean | None = None
    pairs = [each for each in counts.pairs if each.key == key]
    if declared.kind is ScoreKind.NUMBER:
        for sums in (each for each in counts.numbers if each.key == key):
            measured, threads, failed = sums.measured, sums.threads, sums.failures
            found_mean = _mean(sums, declared)
    elif declared.has_expected:
        measured = sum(each.times for each in pairs)
        for compared in (each for each in counts.compared if each.key == key):
            threads, failed = compared.threads, compared.failures
    else:
        clusters = list(_clusters(key, counts))
        measured = sum(sum(labels.values()) * times for labels, times in clusters)
        threads = sum(times for _, times in clusters)
        failed = _failures(key, counts)
        found_shares = shares(_menu(declared, clusters), clusters)
    return ScoreStatistics(
        name=declared.name,
        title=declared.title,
        kind=declared.kind,
        per_turn=declared.per_turn,
        version=version,
        measured=measured,
        threads=threads,
        failed=failed,
        shares=found_shares,
        mean=found_mean,
        confusion=confusion(pairs) if pairs else None,
    )


LabelsOfThreads = tuple[Mapping[str, int], int]
"""How often each label was given in a thread, and how many threads are like that."""


def _clusters(key: tuple[str, str | None, str], counts: ScoreCounts) -> Iterable[LabelsOfThreads]:
    for one in counts.labels:
        if one.key == key and one.label is not None:
            yield {one.label: 1}, one.times
    for one in counts.turn_labels:
        if one.key == key and one.labels:
            yield one.labels, one.threads


def _failures(key: tuple[str, str | None, str], counts: ScoreCounts) -> int:
    whole = sum(each.times for each in counts.labels if each.key == key and each.failed)
    return whole + sum(each.failures for each in counts.turn_labels if each.key == key)


def _menu(declared: ScoreDeclaration, clusters: Iterable[LabelsOfThreads]) -> Sequence[str]:
    if declared.kind is ScoreKind.BOOLEAN:
        return YES_OR_NO
    if declared.labels:
        return declared.labels
    times: Counter[str] = Counter()
    for labels, threads in clusters:
        for label, count in labels.items():
            times[label] += count * threads
    return [label for label, _ in times.most_common(MATRIX_LABELS)]


def shares(menu: Iterable[str], found: Iterable[LabelsOfThreads]) -> tuple[LabelShare, ...]:
    """The share of every label of a menu, in its order, of what was measured."""
    found = list(found)
    measured = sum(sum(labels.values()) * times for labels, times in found)
    return tuple(_share(label, found, measured) for label in menu)


def _share(label: str, found: Sequence[LabelsOfThreads], measured: int) -> LabelShare:
    if not measured:
        return LabelShare(label=label, count=0, share=None, low=None, high=None)
    clusters = [
        Cluster(positive=labels.get(label, 0), size=sum(labels.values()), times=times)
        for labels, times in found
    ]
    count = sum(each.positive * each.times for each in clusters)
    low, high = wilson(count / measured, effective_size(clusters))
    return LabelShare(label=label, count=count, share=count / measured, low=low, high=high)


def _mean(sums: NumberSums, declared: ScoreDeclaration) -> Mean | None:
    if sums.mean is None or sums.lowest is None or sums.highest is None:
        return None
    interval = mean_interval(
        sums.mean, measured=sums.measured, clusters=sums.threads, squares=sums.squares
    )
    low, high = interval or (None, None)
    if low is not None and declared.minimum is not None:
        low = max(low, declared.minimum)
    if high is not None and declared.maximum is not None:
        high = min(high, declared.maximum)
    return Mean(mean=sums.mean, low=low, high=high, lowest=sums.lowest, highest=sums.highest)


def confusion(pairs: Iterable[LabelPair]) -> Confusion:
    """Labels, and how often each was taken for each; compared as `same_label` does."""
    cells: Counter[tuple[str, str]] = Counter()
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        expected, predicted = label_key(pair.expected), label_key(pair.predicted)
        cells[expected, predicted] += pair.times
        spellings[expected][pair.expected] += pair.times
        spellings[predicted][pair.predicted] += pair.times
    named = _most_frequent(spellings)
    labels = [_usual(spellings[key]) for key in named]
    if len(named) < len(spellings):
        labels.append(OTHER)
    places = {key: place for place, key in enumerate(named)}
    matrix = [[0] * len(labels) for _ in labels]
    for (expected, predicted), times in cells.items():
        matrix[places.get(expected, -1)][places.get(predicted, -1)] += times
    return Confusion(labels=labels, matrix=matrix)


def _most_frequent(spellings: Mapping[str, Counter[str]]) -> list[str]:
    """The keys that have a row of their own."""
    keys = sorted(spellings, key=lambda key: (-spellings[key].total(), key))
    if len(keys) <= MATRIX_LABELS:
        return keys
    return [key for key in keys if key != OTHER][: MATRIX_LABELS - 1]


def _usual(spellings: Counter[str]) -> str:
    return min(spellings, key=lambda spelling: (-spellings[spelling], spelling))
