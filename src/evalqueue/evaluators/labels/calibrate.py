"""How often a judge is wrong, by people's labels, and its rates as people would have found them.

A calibration is computed from labels and scores whenever it is asked for. It is of one version of
an evaluator, judged by one model, over one dataset: nothing can be out of date.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.evaluators.labels import store
from evalqueue.evaluators.labels.store import CurrentLabel, LabelledRun
from evalqueue.evaluators.statistics.agreement import (
    Agreement,
    Ratings,
    cohens_kappa,
    krippendorffs_alpha,
    majority,
    with_interval,
)
from evalqueue.evaluators.statistics.intervals import wilson
from evalqueue.evaluators.statistics.prediction_powered import (
    MIN_LABELS,
    CorrectedShare,
    JudgedAndLabelled,
    corrected_share,
    labels_needed,
)
from evalqueue.postgres.database import Connection

TARGET = 0.05
"""Half of the width of an interval that is narrow enough, for `labels_needed`."""
MAX_DISAGREEMENTS = 50


class Half(StrEnum):
    """Labelled conversations in two halves: a prompt that was improved with the labels of one is
    judged by the other."""

    DEVELOPMENT = "development"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """How many conversations have this label, and this value from the judge."""

    label: str
    judged: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A conversation in which the judge does not say what people say."""

    thread_id: str
    label: str
    judged: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRate:
    """The share of good conversations by the judge alone, with its 95 % interval."""

    share: float
    low: float
    high: float
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCalibration:
    """One score of one version of an evaluator, compared with people's labels."""

    evaluator: str
    version: str
    name: str
    title: str
    good: Sequence[str]
    """The values that count as good; none: the score has no rate, only an agreement."""
    judged: JudgedRate | None
    """None: nothing was judged, or no value counts as good."""
    labelled: int
    """Conversations with a verdict and a label."""
    random: int
    """Of them, those that were drawn at random."""
    left_out: int
    """Labelled conversations without a verdict, or with a neutral one, or about which people
    disagree."""
    table: JudgedAndLabelled
    """Of all labelled ones."""
    corrected: CorrectedShare | None
    """None: uncalibrated, for `reason`."""
    reason: str | None
    labels_needed: int | None
    """Random labels in all, about, for an interval of ± 0.05."""
    judge_agreement: Agreement | None
    """Cohen's κ of judge and people."""
    people_agreement: Agreement | None
    """Krippendorff's α of people with each other: a judge can hardly do better."""
    panel_weight: float | None
    """What the judge's vote should weigh in a panel, by the random labels; 0 or less: leave it out.
    None: there are too few."""
    confusion: Sequence[ConfusedPair]
    disagreements: Sequence[Disagreement]
    """The first ones, by the conversation's id."""

    @property
    def is_calibrated(self) -> bool:
        return self.corrected is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCalibration:
    """The scores of a run, compared with people's labels."""

    run: LabelledRun
    half: Half | None
    scores: Sequence[ScoreCalibration]
    """Of whole conversations, except numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Consensus:
    value: str | None
    """None: people disagree."""
    is_random: bool


async def calibration(
    connection: Connection, run: LabelledRun, *, half: Half | None = None
) -> RunCalibration:
    """Compare the scores of a run with the labels of its conversations.

    Args:
        half: use only the labels of one half of the conversations; None: all.
    """
    labels = [e for e in await store.current(connection, run) if half in {None, half_of(e)}]
    counts = await store.judged_counts(connection, run)
    values = await store.judged_values(connection, run, sorted({e.thread_id for e in labels}))
    versions: dict[str, set[str]] = defaultdict(set)
    for each in counts:
        versions[each.evaluator].add(each.version)
    return RunCalibration(
        run=run,
        half=half,
        scores=[
            _score(
                evaluator,
                declared,
                version,
                {e.value: e.times for e in counts if _is(e, evaluator, version, declared)},
                {e.thread_id: e.value for e in values if _is(e, evaluator, version, declared)},
                [e for e in labels if (e.evaluator, e.name) == (evaluator.name, declared.name)],
            )
            for evaluator in run.declarations
            for declared in evaluator.scores
            if not declared.per_turn and declared.kind is not ScoreKind.NUMBER
            for version in sorted(versions[evaluator.name]) or [""]
        ],
    )


def half_of(label: CurrentLabel) -> Half:
    """The half that a conversation is in, by its id: the same in every run."""
    digest = sha256(label.thread_id.encode("utf-8", "surrogatepass")).digest()
    return Half.TEST if digest[0] % 2 else Half.DEVELOPMENT


def _is(
    found: store.JudgedCount | store.JudgedValue,
    evaluator: EvaluatorDeclaration,
    version: str,
    declared: ScoreDeclaration,
) -> bool:
    key = (found.evaluator, found.version, found.name)
    return key == (evaluator.name, version, declared.name)


def _score(
    evaluator: EvaluatorDeclaration,
    declared: ScoreDeclaration,
    version: str,
    counts: Mapping[str, int],
    values: Mapping[str, str],
    labels: Sequence[CurrentLabel],
) -> ScoreCalibration:
    good = _good(declared)
    people = _consensus(labels)
    pairs = {
        thread_id: (each.value, values[thread_id])
        for thread_id, each in people.items()
        if each.value is not None and thread_id in values
    }
    rated = {
        thread_id: pair
        for thread_id, pair in pairs.items()
        if not set(pair).intersection(declared.neutral)
    }
    random = {thread_id: rated[thread_id] for thread_id in rated if people[thread_id].is_random}
    judged = {value: times for value, times in counts.items() if value not in declared.neutral}
    rest = Counter(judged)
    rest.subtract(value for _, value in random.values())
    corrected = (
        corrected_share(
            _table(random.values(), good),
            good=sum(rest[value] for value in good),
            rest=rest.total(),
        )
        if good
        else None
    )
    confusion = Counter(pairs.values())
    rated_by_both: Counter[Ratings] = Counter(pairs.values())
    return ScoreCalibration(
        evaluator=evaluator.name,
        version=version,
        name=declared.name,
        title=f"{evaluator.title}: {declared.title}",
        good=good,
        judged=_judged(judged, good),
        labelled=len(rated),
        random=len(random),
        left_out=len(people) - len(rated),
        table=_table(rated.values(), good),
        corrected=corrected,
        reason=None if corrected else _reason(good, len(random)),
        labels_needed=corrected
        and labels_needed(corrected, labelled=len(random), half_width=TARGET),
        judge_agreement=with_interval(rated_by_both, cohens_kappa),
        people_agreement=with_interval(_ratings(labels), krippendorffs_alpha),
        panel_weight=_panel_weight(random.values()),
        confusion=[
            ConfusedPair(label=label, judged=value, times=times)
            for (label, value), times in sorted(confusion.items())
        ],
        disagreements=[
            Disagreement(thread_id=thread_id, label=label, judged=value)
            for thread_id, (label, value) in sorted(pairs.items())
            if label != value
        ][:MAX_DISAGREEMENTS],
    )


def _good(declared: ScoreDeclaration) -> Sequence[str]:
    if declared.kind is ScoreKind.CATEGORY:
        return declared.good
    # The share of "yes", whichever is the better one.
    return ("false",) if declared.higher_is_better is False else ("true",)


def _consensus(labels: Iterable[CurrentLabel]) -> dict[str, _Consensus]:
    """What people say about each conversation: the majority, else the newest adjudication."""
    by_thread: dict[str, list[CurrentLabel]] = defaultdict(list)
    for label in labels:
        by_thread[label.thread_id].append(label)
    return {thread_id: _agreed(each) for thread_id, each in by_thread.items()}


def _agreed(labels: Sequence[CurrentLabel]) -> _Consensus:
    is_random = any(label.is_random for label in labels)
    agreed = majority([label.value for label in labels if not label.adjudicates])
    decided = [label for label in labels if label.adjudicates]
    if agreed is None and decided:
        agreed = max(decided, key=lambda label: label.created_at).value
    return _Consensus(value=agreed, is_random=is_random)


def _ratings(labels: Sequence[CurrentLabel]) -> Counter[tuple[str | None, ...]]:
    """Of each conversation, the labels of all people in one order, without adjudications."""
    own = [label for label in labels if not label.adjudicates]
    people = sorted({label.labelled_by for label in own})
    given = {(label.thread_id, label.labelled_by): label.value for label in own}
    threads = {label.thread_id for label in own}
    return Counter(
        tuple(given.get((thread_id, person)) for person in people) for thread_id in threads
    )


def _table(pairs: Iterable[tuple[str, str]], good: Sequence[str]) -> JudgedAndLabelled:
    cells = Counter((value in good, label in good) for label, value in pairs)
    return JudgedAndLabelled(
        both_good=cells[True, True],
        only_judge_good=cells[True, False],
        only_label_good=cells[False, True],
        neither_good=cells[False, False],
    )


def _panel_weight(pairs: Collection[tuple[str, str]]) -> float | None:
    """The logarithm of the odds that a judge is right: the optimal weight of independent judges
    (Nitzan and Paroush 1982, "Optimal decision rules in uncertain dichotomous choice situations").

    One right and one wrong verdict are added, so that there are odds of a judge that is always
    right.
    """
    if len(pairs) < MIN_LABELS:
        return None
    right = sum(label == value for label, value in pairs)
    return round(math.log((right + 1) / (len(pairs) - right + 1)), 2)


def _judged(counts: Mapping[str, int], good: Sequence[str]) -> JudgedRate | None:
    size = sum(counts.values())
    if not size or not good:
        return None
    share = sum(counts.get(value, 0) for value in good) / size
    low, high = wilson(share, size)
    return JudgedRate(share=share, low=low, high=high, size=size)


def _reason(good: Sequence[str], random: int) -> str:
    if not good:
        return "None of its labels is declared to be good"
    return f"{random} of the {MIN_LABELS} random labels that a correction needs"
