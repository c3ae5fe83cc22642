"""Labels, and calibrations by them."""

from uuid import UUID

from pydantic import Field

from evalqueue.evaluators.labels.calibrate import Half
from evalqueue.evaluators.labels.store import MAX_LABELS, NewLabel
from evalqueue.http.models.fields import LabelText, Model, Moment, ThreadName


class AddLabels(Model):
    """What people say about conversations of a run."""

    run_id: UUID
    labels: list[NewLabel] = Field(min_length=1, max_length=MAX_LABELS)


class AddedLabels(Model):
    """How many labels were stored."""

    added: int
    unchanged: int
    """Those that say what the same person's newest label says already."""


class LabelJson(Model):
    """The newest label of one person about one conversation."""

    thread_id: ThreadName
    evaluator: str
    name: str
    value: LabelText
    labelled_by: str
    is_random: bool
    adjudicates: bool
    note: str | None
    created_at: Moment


class RunLabels(Model):
    """The labels of a run's conversations, by the conversation's id."""

    run_id: UUID
    labels: list[LabelJson]


class CalibrationRequest(Model):
    """Which labels a calibration uses."""

    run_id: UUID
    half: Half | None = None
    """Only those of one half of the conversations; null: all."""


class JudgedRateJson(Model):
    """The share of good conversations by the judge alone, with its 95 % interval."""

    share: float
    low: float
    high: float
    size: int


class CorrectedShareJson(Model):
    """The share of good conversations as people would have found it, with its 95 % interval."""

    share: float
    low: float
    high: float
    weight: float
    """Of the judge: from 0 (the labels alone) to 1."""


class JudgedAndLabelledJson(Model):
    """Labelled conversations, by what judge and people say: good or not."""

    both_good: int
    only_judge_good: int
    only_label_good: int
    neither_good: int


class AgreementJson(Model):
    """A coefficient of agreement beyond chance, with its 95 % interval."""

    value: float
    low: float
    high: float
    items: int


class ConfusedPairJson(Model):
    """How many conversations have this label, and this value from the judge."""

    label: str
    judged: str
    times: int


class DisagreementJson(Model):
    """A conversation in which the judge does not say what people say."""

    thread_id: str
    label: str
    judged: str


class ScoreCalibrationJson(Model):
    """One score of one version of an evaluator, compared with people's labels."""

    evaluator: str
    version: str
    """Empty: nothing was judged yet."""
    name: str
    title: str
    good: list[str]
    """The values that count as good; none: the score has no rate, only an agreement."""
    judged: JudgedRateJson | None
    labelled: int
    """Conversations with a verdict and a label."""
    random: int
    """Of them, those that were drawn at random."""
    left_out: int
    """Labelled conversations without a verdict, or with a neutral one, or about which people
    disagree."""
    table: JudgedAndLabelledJson
    corrected: CorrectedShareJson | None
    """Null: uncalibrated, for `reason`."""
    reason: str | None
    labels_needed: int | None
    """Random labels in all, about, for an interval of ± 0.05."""
    judge_agreement: AgreementJson | None
    """Cohen's κ of judge and people."""
    people_agreement: AgreementJson | None
    """Krippendorff's α of people with each other."""
    panel_weight: float | None
    """What the judge's vote should weigh in a panel, by the random labels; 0 or less: leave it out.
    Null: there are too few."""
    confusion: list[ConfusedPairJson]
    disagreements: list[DisagreementJson]
    """The first 50, by the conversation's id."""


class RunCalibrationJson(Model):
    """How often the judge of a run is wrong, by people's labels."""

    run_id: UUID
    app_id: str | None
    llm_provider: str | None
    llm_model: str | None
    dataset_id: str | None
    half: Half | None
    scores: list[ScoreCalibrationJson]
