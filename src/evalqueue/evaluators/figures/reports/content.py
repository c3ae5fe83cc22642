"""What the report of a run says: the figures that the page shows, and the worst conversations.

Nothing is computed here that the page computes in another way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from evalqueue.errors import Refused
from evalqueue.evaluators import figures
from evalqueue.evaluators.adversarial import findings
from evalqueue.evaluators.adversarial.findings import AdversarialRow, Reason
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.batch.distributions import BatchStatistics, Key
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.labels import store as labels
from evalqueue.evaluators.labels.calibrate import ScoreCalibration, calibration
from evalqueue.evaluators.results import rows
from evalqueue.evaluators.results.rows import ThreadView
from evalqueue.evaluators.results.worst import bad_labels, worst_first
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.runs.reading import Run
from evalqueue.evaluators.statistics.latencies import LlmStatistics
from evalqueue.evaluators.verdicts import AdversarialVerdict
from evalqueue.postgres.database import Connection

WORST_MAX = 20
"""Conversations in a report."""
_KINDS = (EvaluateBatch.job_type, EvaluateAdversarial.job_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedConversation:
    """One of the worst conversations of a batch."""

    view: ThreadView
    bad_labels: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a batch has found."""

    statistics: BatchStatistics
    calibrations: Mapping[Key, ScoreCalibration]
    worst: Sequence[ReportedConversation]
    bad: int
    """Conversations with a bad label, with those that are not in the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialReport:
    """What an adversarial test has found."""

    summary: Mapping[str, Any]
    """As `rates.summarise` makes it."""
    not_judged: Sequence[Reason]
    worst: Sequence[AdversarialRow]
    bad: int
    """Trials that did not pass, with those that are not in the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """All that the report of a run says."""

    run: Run
    llm: LlmStatistics
    batch: BatchReport | None
    """None: the run is an adversarial test."""
    adversarial: AdversarialReport | None
    """None: it is a batch."""
    made_at: datetime


class NotReportable(Refused):
    """A run of which no report is made."""


def check_reportable(run: Run) -> None:
    """Refuse a run of which no report is made.

    Raises:
        NotReportable: it is of a job type of another program.
    """
    if run.command not in _KINDS:
        raise NotReportable(
            f"Run {run.id} is of {run.command}. There are reports of {' and '.join(_KINDS)} only."
        )


async def report_of(connection: Connection, run_id: UUID, *, owner: str | None) -> RunReport | None:
    """The report of a run as it is now; None: it does not exist for this owner (None: any).

    Not to be called inside of a transaction.

    Raises:
        NotReportable: there is no report of such a run.
    """
    run = await reading.get_run(connection, run_id, owner=owner)
    if run is None:
        return None
    check_reportable(run)
    found = await figures.statistics(connection, run_id, owner=owner)
    if found is None:
        return None  # it was deleted just now
    batch, adversarial = None, None
    if found.batch is not None:
        batch = await _batch(connection, run_id, found.batch)
    if found.adversarial is not None:
        adversarial = await _adversarial(connection, run_id, found.adversarial)
    return RunReport(
        run=run, llm=found.llm, batch=batch, adversarial=adversarial, made_at=datetime.now(UTC)
    )


async def _batch(connection: Connection, run_id: UUID, statistics: BatchStatistics) -> BatchReport:
    labelled = await labels.labelled_run(connection, run_id, owner=None)
    calibrated = () if labelled is None else (await calibration(connection, labelled)).scores
    declarations = [each.declaration for each in statistics.evaluators]
    listed = await worst_first(connection, run_id, declarations, limit=WORST_MAX)
    worst: list[ReportedConversation] = []
    for each in (each for each in listed if each.bad):
        view = await rows.thread(connection, run_id, each.id, owner=None)
        if view is not None:
            bad = bad_labels(each.scores, declarations)
            worst.append(ReportedConversation(view=view, bad_labels=bad))
    return BatchReport(
        statistics=statistics,
        calibrations={(each.evaluator, each.version, each.name): each for each in calibrated},
        worst=worst,
        bad=listed[0].found_bad if listed else 0,
    )


async def _adversarial(
    connection: Connection, run_id: UUID, summary: Mapping[str, Any]
) -> AdversarialReport:
    found = await findings.of_run(connection, run_id)
    worst: list[AdversarialRow] = []
    for each in [each for each in found.tests if each.verdict is not None][:WORST_MAX]:
        trials = await findings.trials(connection, run_id, each.case_id)
        worst += [row for row in trials if row.trial == each.trial]
    verdicts: Mapping[str, int] = summary["verdict_distribution"]
    passed = verdicts[AdversarialVerdict.PASS]
    return AdversarialReport(
        summary=summary,
        not_judged=found.not_judged,
        worst=worst,
        bad=sum(verdicts.values()) - passed,
    )
