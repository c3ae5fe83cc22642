"""The JSON of comparisons: a candidate run against its baseline, conversation by conversation."""

from uuid import UUID

from evalqueue.evaluators.comparison.compare import ScoreChange
from evalqueue.evaluators.comparison.store import Direction
from evalqueue.evaluators.judging.scores import ScoreKind
from evalqueue.http.models.fields import Model, Moment, RunId
from evalqueue.http.models.jobs import RunStatus


class ComparedRuns(RunId):
    """Which runs are compared."""

    baseline_id: UUID


class ComparedRunJson(Model):
    """One of the two runs."""

    run_id: UUID
    command: str
    """The job type."""
    name: str | None
    status: RunStatus
    app_id: str | None
    judge: str
    """Provider and model."""
    dataset_id: str | None
    created_at: Moment
    versions: dict[str, list[str]]
    """Of each evaluator, those that have scores."""


class ComparedConversationsJson(Model):
    """How many conversations are compared."""

    candidate: int
    baseline: int
    both: int
    changed: int
    """Of those that both have, how many are stored with other messages, or by one run only."""


class PairedDifferenceJson(Model):
    """How much more the candidate has, with the 95 % interval: of a share (0 to 1), or in a
    number's unit."""

    pairs: int
    difference: float
    low: float
    high: float
    p_value: float | None
    """Two-sided, by the exact McNemar test; null: of numbers only the interval is computed."""
    detectable: float
    """The smallest true difference that so many pairs show with a probability of 80 %."""


class ScoreComparisonJson(Model):
    """One score of whole conversations, in both runs."""

    evaluator: str
    name: str
    title: str
    kind: ScoreKind
    change: ScoreChange
    reason: str | None
    """Why it was not compared."""
    before: float | None
    """In the baseline: the share of good conversations, or the mean."""
    after: float | None
    """In the candidate."""
    difference: PairedDifferenceJson | None
    """Null: it was not compared, or one conversation gives no interval."""
    improved: int
    """Conversations whose value is a better one."""
    worsened: int


class FlipTotalsJson(Model):
    """How many values have changed, of all scores that were compared."""

    worse: int
    better: int
    other: int
    """Still good, still not good, or not judged in one of the runs."""


class FlipJson(Model):
    """A conversation whose score is another one now."""

    thread_id: str
    evaluator: str
    name: str
    direction: Direction
    candidate_id: int
    """Of its row in the candidate's results."""
    baseline_id: int
    before: str | bool | float
    after: str | bool | float


class RunComparison(Model):
    """A candidate run, compared with a baseline."""

    candidate: ComparedRunJson
    baseline: ComparedRunJson
    conversations: ComparedConversationsJson
    notes: list[str]
    """What differs between the runs besides their results."""
    scores: list[ScoreComparisonJson]
    flip_totals: FlipTotalsJson
    flips: list[FlipJson]
    """The 100 severest of each direction: worse, better, other."""
