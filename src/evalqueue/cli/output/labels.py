"""Calibrations as text and JSON."""

from collections.abc import Iterator
from dataclasses import asdict

from evalqueue.evaluators.labels.calibrate import RunCalibration, ScoreCalibration
from evalqueue.evaluators.providers.registry import shown_model
from evalqueue.evaluators.statistics.agreement import Agreement

_SHOWN = 10


def as_json(found: RunCalibration) -> dict[str, object]:
    """A calibration as the API gives it."""
    return {
        "run_id": str(found.run.run_id),
        "app_id": found.run.app_id,
        "judge": shown_model(found.run.llm_provider, found.run.llm_model),
        "dataset_id": found.run.dataset_id,
        "half": found.half,
        "scores": [asdict(each) for each in found.scores],
    }


def text(found: RunCalibration) -> str:
    """A calibration for people."""
    judge = shown_model(found.run.llm_provider, found.run.llm_model)
    head = f"Judge: {judge}. App: {found.run.app_id}."
    half = "" if found.half is None else f" Labels of the {found.half} half."
    return "\n".join([head + half, *(line for each in found.scores for line in _lines(each))])


def _lines(score: ScoreCalibration) -> Iterator[str]:
    yield ""
    yield f"{score.title} (version {score.version or 'unknown'})"
    if score.judged is not None:
        rate = score.judged
        yield (
            f"  judged     {rate.share:.1%} good, 95 % interval {rate.low:.1%} to {rate.high:.1%}, "
            f"n = {rate.size}"
        )
    if score.corrected is not None:
        rate = score.corrected
        yield (
            f"  corrected  {rate.share:.1%} good, 95 % interval {rate.low:.1%} to {rate.high:.1%}, "
            f"by {score.random} random labels"
        )
        yield f"             about {score.labels_needed} random labels would give ± 5 %"
    else:
        yield f"  uncalibrated: {score.reason}"
    if not score.labelled:
        return
    table = score.table
    yield (
        f"  {score.labelled} labelled, {score.left_out} left out; judge and people say the same "
        f"in {_share(table.agreement)}"
    )
    yield (
        f"  of the good ones the judge finds {_share(table.sensitivity)}, "
        f"of the others {_share(table.specificity)}"
    )
    yield f"  agreement of judge and people (κ): {_agreement(score.judge_agreement)}"
    yield f"  agreement of people (α): {_agreement(score.people_agreement)}"
    if score.panel_weight is not None:
        advice = "" if score.panel_weight > 0 else ": leave it out"
        yield f"  weight in a panel: {score.panel_weight:.2f}{advice}"
    for each in score.disagreements[:_SHOWN]:
        yield f"    {each.thread_id}: people {each.label}, judge {each.judged}"
    if len(score.disagreements) > _SHOWN:
        yield "    … more with --json"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _agreement(found: Agreement | None) -> str:
    if found is None:
        return "–"
    interval = f"95 % interval {found.low:.2f} to {found.high:.2f}"
    return f"{found.value:.2f}, {interval}, n = {found.items}"
